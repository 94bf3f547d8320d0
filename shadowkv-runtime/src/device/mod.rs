//! What a decoder needs of the machine it runs on: memory, and the operations of one decoder layer.
//!
//! A [`Device`] is opened for one spec; it knows head sizes, rotary tables and epsilons. The decoder and the KV store are
//! written against the trait alone and cannot tell devices apart. Operations may run later than they are called, in the order
//! of the calls; [`Device::read`] waits for what it reads.
//!
//! | notion | here |
//! | --- | --- |
//! | memory of one element type | [`Device::Buffer`] |
//! | weights of a dense product, as the device likes to keep them | [`Device::Matrix`] |
//! | which tokens of which sequences a call is about | [`Tokens`] |
//! | the operations of the method | [`sparse::SparseDevice`] |
//! | without a GPU | [`cpu::CpuDevice`] |
//! | with one, real or emulated | [`kernels::KernelDevice`] |
//!
//! Activations are in the device's own type (f32 on the CPU, bf16 on a GPU) and cross the trait as f32.

use std::fmt::Debug;

use crate::gpu::GpuError;
use crate::sampling::Sampling;
use crate::weights::Tensor;

#[cfg(feature = "cpu")]
pub mod cpu;
pub mod kernels;
pub mod sparse;

/// An element type of buffers.
pub trait Element: sealed::Sealed + Copy + Debug + Send + Sync + 'static {
    /// What it is on the host.
    type Host: bytemuck::Pod + PartialEq + PartialOrd + Debug + Default + Send + Sync;
}

/// Activations: the device's own type.
#[derive(Clone, Copy, Debug)]
pub struct Activation;

impl Element for Activation {
    type Host = f32;
}
impl Element for f32 {
    type Host = f32;
}
impl Element for i32 {
    type Host = i32;
}
impl Element for u32 {
    type Host = u32;
}
impl Element for u64 {
    type Host = u64;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Activation {}
    impl Sealed for f32 {}
    impl Sealed for i32 {}
    impl Sealed for u32 {}
    impl Sealed for u64 {}
}

/// The new tokens of a call, packed sequence after sequence. They are the last ones of their sequences.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// One entry per sequence, in the order of their rows.
    pub sequences: Vec<NewTokens>,
}

/// New tokens of one sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewTokens {
    /// Packed row of the first.
    pub begin: usize,
    /// How many.
    pub count: usize,
    /// Tokens of the sequence, these included: the first new one has the position `total - count`.
    pub total: usize,
    /// First row of the sequence in the exact keys and values.
    pub row_begin: usize,
    /// Rows of the sequence there: position `p` lies in row `row_begin + p % row_capacity`.
    pub row_capacity: usize,
    /// Rotary table: 0, or 1 for longrope's long one.
    pub rope_table: usize,
}

impl NewTokens {
    /// Position of the first new token.
    pub fn first_position(&self) -> usize {
        self.total - self.count
    }
}

impl Tokens {
    /// Packed rows.
    pub fn rows(&self) -> usize {
        self.sequences.iter().map(|sequence| sequence.count).sum()
    }
}

/// Why a device did not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// No memory left.
    #[error("out of memory: `{name}` needs {bytes} bytes{}", .free.map_or_else(String::new, |free| format!(", and {free} are free")))]
    OutOfMemory {
        /// What for.
        name: String,
        /// Bytes asked for.
        bytes: u64,
        /// Bytes free, if the device can tell.
        free: Option<u64>,
    },
    /// No memory of the host left that the device reaches.
    #[error("the host has no {bytes} bytes of pinned memory for `{name}`{}", .free.map_or_else(String::new, |free| format!("; {free} are left of what it may pin")))]
    OutOfHostMemory {
        /// What for.
        name: String,
        /// Bytes asked for.
        bytes: u64,
        /// Bytes that may still be pinned, where that is known.
        free: Option<u64>,
    },
    /// A kernel that cannot be launched.
    #[error("`{kernel}`: {message}")]
    Kernel {
        /// Short name of the kernel.
        kernel: &'static str,
        /// Why.
        message: String,
    },
    /// The GPU failed.
    #[error(transparent)]
    Gpu(GpuError),
    /// Weights in a form that the device does not take.
    #[error("weights `{name}`: {message}")]
    Weights {
        /// Name of the tensor.
        name: String,
        /// What is wrong.
        message: String,
    },
    /// Keys without eigenvectors.
    #[error("the keys of the sequence in entry {entry} have no basis: they are not all numbers")]
    KeyBasis {
        /// The sequence's entry.
        entry: usize,
    },
}

/// A machine, opened for one spec: `H` KV heads, `G` query heads each, `d` elements each, `D = H d`.
///
/// Shapes are row major. Outputs are written as a whole, but for caches. Lengths of buffers that do not fit the shapes are
/// defects of the caller, and panic in debug builds alone.
pub trait Device: Send + Sync {
    /// Memory of one element type.
    type Buffer<T: Element>: Debug + Send + Sync;
    /// Weights `[outputs, inputs]`.
    type Matrix: Debug + Send + Sync;
    /// [`Tokens`] where the device can see them.
    type Tokens: Debug + Send + Sync;

    /// What it is: `cpu (8 threads, AVX2)`.
    fn name(&self) -> String;

    /// Bytes of an activation.
    fn activation_bytes(&self) -> u64;

    /// Bytes of buffers and matrices that live on it.
    fn allocated_bytes(&self) -> u64;

    /// A buffer of `elements` zeros. `name` is for messages.
    ///
    /// # Errors
    ///
    /// [`DeviceError::OutOfMemory`].
    fn allocate<T: Element>(
        &self,
        name: &str,
        elements: usize,
    ) -> Result<Self::Buffer<T>, DeviceError>;

    /// Copies `values` to `buffer` from element `at` on.
    ///
    /// # Errors
    ///
    /// The device failed.
    fn write<T: Element>(
        &self,
        buffer: &mut Self::Buffer<T>,
        at: usize,
        values: &[T::Host],
    ) -> Result<(), DeviceError>;

    /// Copies from `buffer`, from element `at` on, after everything called before.
    ///
    /// # Errors
    ///
    /// The device failed.
    fn read<T: Element>(
        &self,
        buffer: &Self::Buffer<T>,
        at: usize,
        values: &mut [T::Host],
    ) -> Result<(), DeviceError>;

    /// The rows of `parts`, all of one width, one below the other.
    ///
    /// # Errors
    ///
    /// [`DeviceError::OutOfMemory`], [`DeviceError::Weights`].
    fn matrix(&self, name: &str, parts: &[Tensor]) -> Result<Self::Matrix, DeviceError>;

    /// The tokens of calls to come.
    ///
    /// # Errors
    ///
    /// The device failed.
    fn tokens(&self, tokens: &Tokens) -> Result<Self::Tokens, DeviceError>;

    /// Rows `ids` `[rows]` of `table` `[vocab, hidden]` -> `output` `[rows, hidden]`.
    ///
    /// # Errors
    ///
    /// The device failed.
    fn embed(
        &self,
        ids: &Self::Buffer<i32>,
        rows: usize,
        table: &Self::Matrix,
        output: &mut Self::Buffer<Activation>,
    ) -> Result<(), DeviceError>;

    /// `residual += addend` (if there is one), then `output = residual / rms(residual) * weight`, all `[rows, hidden]`.
    ///
    /// # Errors
    ///
    /// The device failed.
    fn rms_norm(
        &self,
        addend: Option<&Self::Buffer<Activation>>,
        residual: &mut Self::Buffer<Activation>,
        rows: usize,
        weight: &Self::Buffer<Activation>,
        output: &mut Self::Buffer<Activation>,
    ) -> Result<(), DeviceError>;

    /// `output [rows, outputs] = input [rows, inputs] * matrix^T + bias [outputs]`.
    ///
    /// # Errors
    ///
    /// The device failed.
    fn linear(
        &self,
        input: &Self::Buffer<Activation>,
        rows: usize,
        matrix: &Self::Matrix,
        bias: Option<&Self::Buffer<Activation>>,
        output: &mut Self::Buffer<Activation>,
    ) -> Result<(), DeviceError>;

    /// The same without a bias, of `rows` rows of `input` from row `first` on, to f32.
    ///
    /// # Errors
    ///
    /// The device failed.
    fn logits(
        &self,
        input: &Self::Buffer<Activation>,
        first: usize,
        rows: usize,
        matrix: &Self::Matrix,
        output: &mut Self::Buffer<f32>,
    ) -> Result<(), DeviceError>;

    /// Every query and key head of `qkv` `[rows, H (G + 2), d]` divided by its root mean square, times `query_weight` or
    /// `key_weight` `[d]` (Qwen3).
    ///
    /// # Errors
    ///
    /// The device failed.
    fn head_norm(
        &self,
        qkv: &mut Self::Buffer<Activation>,
        rows: usize,
        query_weight: &Self::Buffer<Activation>,
        key_weight: &Self::Buffer<Activation>,
    ) -> Result<(), DeviceError>;

    /// `gate_up` `[rows, 2, ffn]` -> `output` `[rows, ffn]`: `silu(gate) * up`.
    ///
    /// # Errors
    ///
    /// The device failed.
    fn silu_mul(
        &self,
        gate_up: &Self::Buffer<Activation>,
        rows: usize,
        output: &mut Self::Buffer<Activation>,
    ) -> Result<(), DeviceError>;

    /// `qkv` `[rows, H (G + 2), d]`, per row all query, then all key, then all value heads: rotated queries to `queries`
    /// `[rows, H, G, d]`; rotated keys, values and, if wanted, keys before the rotation to their rows `[cache rows, H, d]`.
    ///
    /// # Errors
    ///
    /// The device failed.
    fn rope_append(
        &self,
        tokens: &Self::Tokens,
        qkv: &Self::Buffer<Activation>,
        queries: &mut Self::Buffer<Activation>,
        cache: CacheRows<'_, Self>,
    ) -> Result<(), DeviceError>;

    /// Causal attention of the new tokens' `queries` `[rows, H, G, d]` over all tokens of their sequences -> `output`
    /// `[rows, H, G, d]`. No sequence has more tokens than rows.
    ///
    /// # Errors
    ///
    /// The device failed.
    fn attention(
        &self,
        tokens: &Self::Tokens,
        queries: &Self::Buffer<Activation>,
        keys: &Self::Buffer<Activation>,
        values: &Self::Buffer<Activation>,
        output: &mut Self::Buffer<Activation>,
    ) -> Result<(), DeviceError>;

    /// One token per sequence from `logits` `[sequences, vocab]` -> `ids` `[sequences]`.
    ///
    /// # Errors
    ///
    /// The device failed.
    fn sample(
        &self,
        logits: &Self::Buffer<f32>,
        sampling: &[Sampling],
        ids: &mut Self::Buffer<i32>,
    ) -> Result<(), DeviceError>;
}

/// Where new keys and values go.
#[derive(Debug)]
pub struct CacheRows<'a, D: Device + ?Sized> {
    /// Rotated keys, `[cache rows, H, d]`.
    pub keys: &'a mut D::Buffer<Activation>,
    /// Values.
    pub values: &'a mut D::Buffer<Activation>,
    /// Keys before the rotation, where they are needed.
    pub k_pre: Option<&'a mut D::Buffer<Activation>>,
}
