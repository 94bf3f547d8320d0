//! The CPU as a device: the algorithm in plain Rust, spread over rayon's threads.
//!
//! Activations are f32, and every sum is f32 in an order that does not depend on the number of threads. Nor does it depend on the
//! other rows of a call, but that products of up to sixteen rows add in another order than those of more. Weights stay as they
//! are stored.

#![allow(
    clippy::inline_always,
    reason = "SIMD instructions are turned on by the function they are inlined into"
)]
#![allow(
    clippy::needless_range_loop,
    reason = "the indices of a tile address several arrays alike"
)]

use rayon::prelude::*;

use super::{Activation, CacheRows, Device, DeviceError, Element, Tokens};
use crate::sampling::{Sampling, sample};
use crate::spec::{Attention, Spec};
use crate::weights::Tensor;

mod attention;
mod elementwise;
mod format;
mod matrix;
mod memory;
mod product;
mod rope;
mod simd;
mod sparse;
mod tensors;
mod tile;

pub use matrix::CpuMatrix;
pub use memory::CpuBuffer;
pub use rope::CpuTokens;

use memory::Account;
use rope::Rotary;

/// The CPU, opened for one spec.
#[derive(Debug)]
pub struct CpuDevice {
    shape: Attention,
    decoder: Option<Widths>,
    rotary: Rotary,
    method: sparse::Method,
    account: Account,
    /// What would be the host's beside a GPU.
    host_account: Account,
}

/// What operations need of the spec's decoder.
#[derive(Clone, Copy, Debug)]
struct Widths {
    eps: f32,
    ffn: usize,
    vocab: usize,
}

impl CpuDevice {
    /// The CPU for `spec`, with as much memory as is free now.
    ///
    /// # Errors
    ///
    /// None today: like every device it may refuse a spec.
    pub fn new(spec: &Spec) -> Result<CpuDevice, DeviceError> {
        CpuDevice::with_memory(spec, memory::available_bytes())
    }

    /// The CPU for `spec`, with at most `bytes` of memory beside weights that lie in mapped files.
    ///
    /// # Errors
    ///
    /// As [`CpuDevice::new`].
    pub fn with_memory(spec: &Spec, bytes: u64) -> Result<CpuDevice, DeviceError> {
        let decoder = spec.decoder.as_ref().map(|decoder| Widths {
            eps: decoder.norm_eps as f32,
            ffn: decoder.ffn as usize,
            vocab: decoder.vocab as usize,
        });
        let account = Account::new(bytes);
        Ok(CpuDevice {
            shape: spec.attention,
            decoder,
            rotary: Rotary::new(spec),
            method: sparse::Method::new(spec),
            host_account: account.beside(),
            account,
        })
    }

    /// Epsilon of the norms.
    fn eps(&self) -> f32 {
        self.decoder.map_or(0.0, |decoder| decoder.eps)
    }

    /// Elements of a row of queries, keys and values.
    fn qkv_width(&self) -> usize {
        (self.shape.gqa_ratio as usize + 2) * self.shape.key_width() as usize
    }
}

impl Device for CpuDevice {
    type Buffer<T: Element> = CpuBuffer<T>;
    type Matrix = CpuMatrix;
    type Tokens = CpuTokens;
    type Samplings = Vec<Sampling>;

    fn name(&self) -> String {
        let threads = rayon::current_num_threads();
        let plural = if threads == 1 { "" } else { "s" };
        format!("cpu ({threads} thread{plural})")
    }

    fn activation_bytes(&self) -> u64 {
        size_of::<f32>() as u64
    }

    fn allocated_bytes(&self) -> u64 {
        self.account.bytes()
    }

    fn allocate<T: Element>(
        &self,
        name: &str,
        elements: usize,
    ) -> Result<CpuBuffer<T>, DeviceError> {
        CpuBuffer::zeroed(&self.account, name, elements)
    }

    fn write<T: Element>(
        &self,
        buffer: &mut CpuBuffer<T>,
        at: usize,
        values: &[T::Host],
    ) -> Result<(), DeviceError> {
        buffer.values[at..at + values.len()].copy_from_slice(values);
        Ok(())
    }

    fn read<T: Element>(
        &self,
        buffer: &CpuBuffer<T>,
        at: usize,
        values: &mut [T::Host],
    ) -> Result<(), DeviceError> {
        values.copy_from_slice(&buffer.values[at..at + values.len()]);
        Ok(())
    }

    fn matrix(&self, name: &str, parts: &[Tensor]) -> Result<CpuMatrix, DeviceError> {
        CpuMatrix::new(&self.account, name, parts)
    }

    fn tokens(&self, tokens: &Tokens) -> Result<CpuTokens, DeviceError> {
        Ok(self.rotary.tokens(tokens))
    }

    fn embed(
        &self,
        ids: &CpuBuffer<i32>,
        rows: usize,
        table: &CpuMatrix,
        output: &mut CpuBuffer<Activation>,
    ) -> Result<(), DeviceError> {
        let output = &mut output.values[..rows * table.inputs];
        elementwise::embed(&ids.values[..rows], table, output);
        Ok(())
    }

    fn rms_norm(
        &self,
        addend: Option<&CpuBuffer<Activation>>,
        residual: &mut CpuBuffer<Activation>,
        rows: usize,
        weight: &CpuBuffer<Activation>,
        (output, at): (&mut CpuBuffer<Activation>, usize),
    ) -> Result<(), DeviceError> {
        let elements = rows * weight.values.len();
        let first = at * weight.values.len();
        elementwise::rms_norm(
            addend.map(|addend| &addend.values[..elements]),
            &mut residual.values[..elements],
            &weight.values,
            self.eps(),
            &mut output.values[first..first + elements],
        );
        Ok(())
    }

    fn linear(
        &self,
        input: &CpuBuffer<Activation>,
        rows: usize,
        matrix: &CpuMatrix,
        bias: Option<&CpuBuffer<Activation>>,
        output: &mut CpuBuffer<Activation>,
    ) -> Result<(), DeviceError> {
        product::linear(
            &input.values[..rows * matrix.inputs],
            matrix,
            bias.map(|bias| &bias.values[..matrix.outputs]),
            &mut output.values[..rows * matrix.outputs],
        );
        Ok(())
    }

    fn logits(
        &self,
        input: &CpuBuffer<Activation>,
        first: usize,
        rows: usize,
        matrix: &CpuMatrix,
        output: &mut CpuBuffer<f32>,
    ) -> Result<(), DeviceError> {
        product::linear(
            &input.values[first * matrix.inputs..(first + rows) * matrix.inputs],
            matrix,
            None,
            &mut output.values[..rows * matrix.outputs],
        );
        Ok(())
    }

    fn head_norm(
        &self,
        qkv: &mut CpuBuffer<Activation>,
        rows: usize,
        query_weight: &CpuBuffer<Activation>,
        key_weight: &CpuBuffer<Activation>,
    ) -> Result<(), DeviceError> {
        let width = self.qkv_width();
        let keys = self.shape.key_width() as usize;
        elementwise::head_norm(
            &mut qkv.values[..rows * width],
            (width, width - 2 * keys, width - keys),
            &query_weight.values,
            &key_weight.values,
            self.eps(),
        );
        Ok(())
    }

    fn silu_mul(
        &self,
        gate_up: &CpuBuffer<Activation>,
        rows: usize,
        output: &mut CpuBuffer<Activation>,
    ) -> Result<(), DeviceError> {
        let fitting = output.values.len() / rows.max(1);
        let ffn = self.decoder.map_or(fitting, |decoder| decoder.ffn);
        elementwise::silu_mul(
            &gate_up.values[..rows * 2 * ffn],
            ffn,
            &mut output.values[..rows * ffn],
        );
        Ok(())
    }

    fn rope_append(
        &self,
        tokens: &CpuTokens,
        qkv: &CpuBuffer<Activation>,
        queries: &mut CpuBuffer<Activation>,
        cache: CacheRows<'_, CpuDevice>,
    ) -> Result<(), DeviceError> {
        self.rotary.append(
            &self.shape,
            tokens,
            &qkv.values,
            &mut queries.values,
            (
                &mut cache.keys.values,
                &mut cache.values.values,
                cache.k_pre.map(|k_pre| k_pre.values.as_mut_slice()),
            ),
        );
        Ok(())
    }

    fn attention(
        &self,
        tokens: &CpuTokens,
        queries: &CpuBuffer<Activation>,
        keys: &CpuBuffer<Activation>,
        values: &CpuBuffer<Activation>,
        output: &mut CpuBuffer<Activation>,
    ) -> Result<(), DeviceError> {
        attention::attention(
            &self.shape,
            tokens,
            &queries.values,
            &keys.values,
            &values.values,
            &mut output.values,
        );
        Ok(())
    }

    fn samplings(&self, samplings: &[Sampling]) -> Result<Vec<Sampling>, DeviceError> {
        Ok(samplings.to_vec())
    }

    fn sample(
        &self,
        logits: &CpuBuffer<f32>,
        samplings: &Vec<Sampling>,
        ids: &mut CpuBuffer<i32>,
        at: usize,
    ) -> Result<(), DeviceError> {
        let fitting = logits.values.len() / samplings.len().max(1);
        let vocab = self.decoder.map_or(fitting, |decoder| decoder.vocab);
        let rows = logits.values.par_chunks_exact(vocab);
        rows.zip(samplings)
            .zip(&mut ids.values[at..])
            .for_each(|((logits, sampling), id)| *id = sample(logits, &sampling.into()).token);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
