//! Dense products of bf16 matrices on the host.

#![allow(
    clippy::inline_always,
    reason = "a vector operation is worth nothing outside of the function that has its features"
)]
#![allow(
    clippy::needless_range_loop,
    reason = "an index counts in several arrays at once"
)]

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use crate::gpu::Output;

/// Sums that every product is made of, whatever the CPU: sum `i` takes the elements `i`, `i + LANES`, ... in order.
const LANES: usize = 16;

/// Weight rows that are made f32 at a time, so that they stay in the nearest cache while all inputs pass by.
const GROUP: usize = 4;

/// The operands, in the bytes of the GPU's memory.
pub(super) struct Operands<'a> {
    /// `[rows, inputs]` bf16.
    pub(super) input: &'a [u8],
    /// `[outputs, inputs]` bf16.
    pub(super) weights: &'a [u8],
    /// `[outputs]` bf16.
    pub(super) bias: Option<&'a [u8]>,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
}

/// Elements of a row as f32, exactly, with zeros up to a multiple of [`LANES`].
fn widen(bytes: &[u8], to: &mut [f32]) {
    to.fill(0.0);
    let (elements, _) = bytes.as_chunks::<2>();
    for (to, bytes) in to.iter_mut().zip(elements) {
        *to = f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16);
    }
}

/// `[rows, outputs]` as bytes of the type `output`. Every element depends on its own row, column and length alone.
pub(super) fn product(operands: &Operands<'_>, output: Output) -> Vec<u8> {
    let Operands {
        inputs, outputs, ..
    } = *operands;
    if inputs == 0 || outputs == 0 {
        return Vec::new();
    }
    let padded = inputs.next_multiple_of(LANES);
    let rows = operands.input.len() / 2 / inputs;
    let mut input = vec![0.0; rows * padded];
    for (to, from) in input
        .chunks_exact_mut(padded)
        .zip(operands.input.chunks_exact(2 * inputs))
    {
        widen(from, to);
    }
    // Column by column: [outputs, rows].
    let mut columns = vec![0.0_f32; rows * outputs];
    let arch = Arch::new();
    columns
        .par_chunks_mut(GROUP * rows.max(1))
        .enumerate()
        .with_min_len(8)
        .for_each_init(
            || vec![0.0; GROUP * padded],
            |scratch, (group, columns)| {
                let first = group * GROUP;
                let count = GROUP.min(outputs - first);
                for (row, to) in scratch.chunks_exact_mut(padded).take(count).enumerate() {
                    let begin = (first + row) * inputs * 2;
                    widen(&operands.weights[begin..begin + inputs * 2], to);
                }
                arch.dispatch(Columns {
                    input: &input,
                    weights: &scratch[..count * padded],
                    padded,
                    sums: columns,
                });
            },
        );
    let mut bias = vec![0.0; outputs];
    if let Some(bytes) = operands.bias {
        widen(bytes, &mut bias);
    }
    let mut bytes = Vec::new();
    for row in 0..rows {
        for (column, bias) in bias.iter().enumerate() {
            let sum = columns[column * rows + row];
            let sum = if operands.bias.is_some() {
                sum + bias
            } else {
                sum
            };
            match output {
                Output::F32 => bytes.extend(sum.to_le_bytes()),
                Output::Bf16 => bytes.extend(half::bf16::from_f32(sum).to_le_bytes()),
            }
        }
    }
    bytes
}

struct Columns<'a> {
    /// `[rows, padded]`.
    input: &'a [f32],
    /// `[count, padded]`.
    weights: &'a [f32],
    padded: usize,
    /// `[count, rows]`.
    sums: &'a mut [f32],
}

impl WithSimd for Columns<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match LANES / S::F32_LANES {
            1 => self.all::<S, 1>(simd),
            2 => self.all::<S, 2>(simd),
            4 => self.all::<S, 4>(simd),
            _ => self.all::<S, LANES>(simd),
        }
    }
}

impl Columns<'_> {
    /// `V` vectors make up the lanes.
    #[inline(always)]
    fn all<S: Simd, const V: usize>(mut self, simd: S) {
        let rows = self.input.len() / self.padded;
        let mut row = 0;
        // So many sums at a time that none waits for another, and no more than registers hold.
        while rows - row >= 2 {
            self.rows::<S, V, 2>(simd, row);
            row += 2;
        }
        if row < rows {
            self.rows::<S, V, 1>(simd, row);
        }
    }

    /// `R` rows of the input from `row` on, and all weights.
    #[inline(always)]
    fn rows<S: Simd, const V: usize, const R: usize>(&mut self, simd: S, row: usize) {
        let count = self.weights.len() / self.padded;
        let mut column = 0;
        if V == 1 {
            while count - column >= 4 {
                self.tile::<S, V, R, 4>(simd, row, column);
                column += 4;
            }
        }
        while count - column >= 2 {
            self.tile::<S, V, R, 2>(simd, row, column);
            column += 2;
        }
        if column < count {
            self.tile::<S, V, R, 1>(simd, row, column);
        }
    }

    #[inline(always)]
    fn tile<S: Simd, const V: usize, const R: usize, const N: usize>(
        &mut self,
        simd: S,
        row: usize,
        column: usize,
    ) {
        let padded = self.padded;
        let input = &self.input[row * padded..(row + R) * padded];
        let weights = &self.weights[column * padded..(column + N) * padded];
        let sums = sums::<S, V, R, N>(simd, input, weights);
        let rows = self.input.len() / padded;
        for (r, sums) in sums.iter().enumerate() {
            for (n, sum) in sums.iter().enumerate() {
                self.sums[(column + n) * rows + row + r] = *sum;
            }
        }
    }
}

/// The products of `R` rows of the input and `N` rows of weights.
#[inline(always)]
fn sums<S: Simd, const V: usize, const R: usize, const N: usize>(
    simd: S,
    input: &[f32],
    weights: &[f32],
) -> [[f32; N]; R] {
    let (input, _) = S::as_simd_f32s(input);
    let (weights, _) = S::as_simd_f32s(weights);
    let length = input.len() / R;
    let mut sums = [[[simd.splat_f32s(0.0); V]; N]; R];
    for step in 0..length / V {
        for v in 0..V {
            let at = step * V + v;
            for n in 0..N {
                let weight = weights[n * length + at];
                for r in 0..R {
                    let sum = &mut sums[r][n][v];
                    *sum = simd.mul_add_e_f32s(input[r * length + at], weight, *sum);
                }
            }
        }
    }
    let mut totals = [[0.0; N]; R];
    for (totals, sums) in totals.iter_mut().zip(&sums) {
        for (total, sums) in totals.iter_mut().zip(sums) {
            *total = joined::<S, V>(sums);
        }
    }
    totals
}

/// The sum of all lanes, halves onto halves: the same tree on every CPU.
#[inline(always)]
fn joined<S: Simd, const V: usize>(sums: &[S::f32s; V]) -> f32 {
    let mut lanes = [0.0; LANES];
    for (to, sum) in lanes.chunks_exact_mut(S::F32_LANES).zip(sums) {
        to.copy_from_slice(bytemuck::cast_slice(std::slice::from_ref(sum)));
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;

    fn matrix(rows: usize, columns: usize, seed: u32) -> (Vec<u8>, Vec<f32>) {
        let mut state = seed;
        let mut values = Vec::new();
        for _ in 0..rows * columns {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let value = f32::from(bf16::from_f32((state >> 8) as f32 / 8_388_608.0 - 1.0));
            values.push(value);
        }
        let bytes = values
            .iter()
            .flat_map(|value| bf16::from_f32(*value).to_le_bytes())
            .collect();
        (bytes, values)
    }

    fn floats(bytes: &[u8]) -> Vec<f32> {
        let (words, _) = bytes.as_chunks::<4>();
        words.iter().map(|word| f32::from_le_bytes(*word)).collect()
    }

    #[test]
    fn products_with_tails_of_every_kind() {
        for (rows, inputs, outputs) in [(1, 1, 1), (3, 17, 5), (2, 64, 7), (9, 100, 130)] {
            let (input_bytes, input) = matrix(rows, inputs, 1);
            let (weight_bytes, weights) = matrix(outputs, inputs, 2);
            let (bias_bytes, bias) = matrix(1, outputs, 3);
            let operands = Operands {
                input: &input_bytes,
                weights: &weight_bytes,
                bias: Some(&bias_bytes),
                inputs,
                outputs,
            };
            let found = floats(&product(&operands, Output::F32));
            let rounded = product(&operands, Output::Bf16);
            assert_eq!(found.len(), rows * outputs);
            for row in 0..rows {
                for column in 0..outputs {
                    let exact: f64 = (0..inputs)
                        .map(|i| {
                            f64::from(input[row * inputs + i])
                                * f64::from(weights[column * inputs + i])
                        })
                        .sum::<f64>()
                        + f64::from(bias[column]);
                    let at = row * outputs + column;
                    assert!((f64::from(found[at]) - exact).abs() < 1e-5, "{exact}");
                    assert_eq!(
                        rounded[2 * at..2 * at + 2],
                        bf16::from_f32(found[at]).to_le_bytes()
                    );
                }
            }
        }
    }

    #[test]
    fn a_row_does_not_depend_on_the_others() {
        let (inputs, outputs) = (200, 33);
        let (input, _) = matrix(50, inputs, 4);
        let (weights, _) = matrix(outputs, inputs, 5);
        let run = |input: &[u8]| {
            let operands = Operands {
                input,
                weights: &weights,
                bias: None,
                inputs,
                outputs,
            };
            product(&operands, Output::F32)
        };
        let all = run(&input);
        for row in 0..50 {
            let own = run(&input[row * inputs * 2..(row + 1) * inputs * 2]);
            assert_eq!(own, all[row * outputs * 4..(row + 1) * outputs * 4]);
        }
    }
}
