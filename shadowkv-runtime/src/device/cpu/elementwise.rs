//! Operations on one row at a time: norms, the gate, embedding.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::matrix::CpuMatrix;
use super::simd::{dot, exp2};

/// Elements below which waking other threads costs more than they save.
const SERIAL: usize = 1 << 14;

/// Rows for one thread at a time, of rows of `width` elements.
pub(super) fn rows_of_task(width: usize) -> usize {
    (SERIAL / width.max(1)).max(1)
}

/// `residual += addend`, then `output = residual / rms(residual) * weight`, rows as wide as `weight`.
pub(super) fn rms_norm(
    addend: Option<&[f32]>,
    residual: &mut [f32],
    weight: &[f32],
    eps: f32,
    output: &mut [f32],
) {
    let arch = Arch::new();
    let span = rows_of_task(weight.len()) * weight.len();
    let work = |(task, (residual, output)): (usize, (&mut [f32], &mut [f32]))| {
        arch.dispatch(RmsNorm {
            addend: addend.map(|addend| &addend[task * span..][..residual.len()]),
            residual,
            weight,
            eps,
            output,
        });
    };
    if residual.len() <= span {
        work((0, (residual, output)));
    } else {
        let tasks = residual
            .par_chunks_mut(span)
            .zip(output.par_chunks_mut(span));
        tasks.enumerate().for_each(work);
    }
}

struct RmsNorm<'a> {
    addend: Option<&'a [f32]>,
    residual: &'a mut [f32],
    weight: &'a [f32],
    eps: f32,
    output: &'a mut [f32],
}

impl WithSimd for RmsNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        if let Some(addend) = self.addend {
            for (sum, addend) in self.residual.iter_mut().zip(addend) {
                *sum += addend;
            }
        }
        let hidden = self.weight.len();
        let rows = self.residual.chunks_exact(hidden);
        for (x, output) in rows.zip(self.output.chunks_exact_mut(hidden)) {
            let scale = inverse_rms(simd, x, self.eps);
            for ((output, x), weight) in output.iter_mut().zip(x).zip(self.weight) {
                *output = x * scale * weight;
            }
        }
    }
}

/// `1 / sqrt(mean of squares + eps)`.
#[inline(always)]
fn inverse_rms<S: Simd>(simd: S, row: &[f32], eps: f32) -> f32 {
    1.0 / (dot(simd, row, row) / row.len() as f32 + eps).sqrt()
}

/// Every query and key head of `qkv` (rows of `width` elements, of which `normed` are queries and keys, `queries` of them
/// queries) divided by its root mean square, times a weight.
pub(super) fn head_norm(
    qkv: &mut [f32],
    (width, queries, normed): (usize, usize, usize),
    query_weight: &[f32],
    key_weight: &[f32],
    eps: f32,
) {
    let arch = Arch::new();
    let work = |rows: &mut [f32]| {
        arch.dispatch(HeadNorm {
            rows,
            widths: (width, queries, normed),
            query_weight,
            key_weight,
            eps,
        });
    };
    let span = rows_of_task(width) * width;
    if qkv.len() <= span {
        work(qkv);
    } else {
        qkv.par_chunks_mut(span).for_each(work);
    }
}

struct HeadNorm<'a> {
    rows: &'a mut [f32],
    widths: (usize, usize, usize),
    query_weight: &'a [f32],
    key_weight: &'a [f32],
    eps: f32,
}

impl WithSimd for HeadNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (width, queries, normed) = self.widths;
        let d = self.query_weight.len();
        for row in self.rows.chunks_exact_mut(width) {
            for (head, x) in row[..normed].chunks_exact_mut(d).enumerate() {
                let weight = if head * d < queries {
                    self.query_weight
                } else {
                    self.key_weight
                };
                let scale = inverse_rms(simd, x, self.eps);
                for (x, weight) in x.iter_mut().zip(weight) {
                    *x = *x * scale * weight;
                }
            }
        }
    }
}

/// `gate_up` `[rows, 2, ffn]` -> `silu(gate) * up` `[rows, ffn]`.
pub(super) fn silu_mul(gate_up: &[f32], ffn: usize, output: &mut [f32]) {
    let arch = Arch::new();
    let work = |(gate_up, output): (&[f32], &mut [f32])| {
        arch.dispatch(SiluMul {
            gate_up,
            ffn,
            output,
        });
    };
    let span = rows_of_task(ffn) * ffn;
    if output.len() <= span {
        work((gate_up, output));
    } else {
        let tasks = gate_up
            .par_chunks(2 * span)
            .zip(output.par_chunks_mut(span));
        tasks.for_each(work);
    }
}

struct SiluMul<'a> {
    gate_up: &'a [f32],
    ffn: usize,
    output: &'a mut [f32],
}

impl WithSimd for SiluMul<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let rows = self.gate_up.chunks_exact(2 * self.ffn);
        for (gate_up, output) in rows.zip(self.output.chunks_exact_mut(self.ffn)) {
            let (gate, up) = gate_up.split_at(self.ffn);
            let (gates, gates_tail) = S::as_simd_f32s(gate);
            let (ups, ups_tail) = S::as_simd_f32s(up);
            let (outputs, outputs_tail) = S::as_mut_simd_f32s(output);
            for ((gate, up), output) in gates.iter().zip(ups).zip(outputs) {
                *output = gated(simd, *gate, *up);
            }
            let gate = simd.partial_load_f32s(gates_tail);
            let up = simd.partial_load_f32s(ups_tail);
            simd.partial_store_f32s(outputs_tail, gated(simd, gate, up));
        }
    }
}

/// `silu(gate) * up`.
#[inline(always)]
fn gated<S: Simd>(simd: S, gate: S::f32s, up: S::f32s) -> S::f32s {
    let power = simd.mul_f32s(gate, simd.splat_f32s(-std::f32::consts::LOG2_E));
    // Where it is clipped the quotient is 0 to f32; what is not a number comes back with `gate`.
    let power = exp2(simd, simd.min_f32s(power, simd.splat_f32s(126.0)));
    let quotient = simd.div_f32s(gate, simd.add_f32s(simd.splat_f32s(1.0), power));
    simd.mul_f32s(quotient, up)
}

/// Rows `ids` of `table`; a row of NaN where there is no such row.
pub(super) fn embed(ids: &[i32], table: &CpuMatrix, output: &mut [f32]) {
    let rows = output.par_chunks_exact_mut(table.inputs.max(1));
    let least = rows_of_task(table.inputs);
    rows.zip(ids).with_min_len(least).for_each(|(output, &id)| {
        let found = usize::try_from(id)
            .ok()
            .and_then(|id| table.row(id, output));
        if found.is_none() {
            output.fill(f32::NAN);
        }
    });
}
