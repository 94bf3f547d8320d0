//! Few rows: as fast as the weights come from memory.

use pulp::{Arch, Simd, WithSimd};

use super::blocks::{Bf16, Blocks, F16, F32, Q4_0, Q4_1, Q8_0, scale_floats};
use super::{Operands, Slice, for_each_slice};
use crate::device::cpu::format::{BLOCK, Format};
use crate::device::cpu::matrix::Part;
use crate::device::cpu::simd::{load, with_scratch};

/// Most rows of weights that are multiplied at a time.
const MOST_WEIGHTS: usize = 4;

pub(super) fn linear(operands: &Operands) {
    let inputs = operands.matrix.inputs;
    let padded = inputs.next_multiple_of(BLOCK);
    let threads = rayon::current_num_threads();
    let most = operands.matrix.outputs.div_ceil(4 * threads);
    let most = most.next_multiple_of(8).clamp(16, 1024);
    if padded == inputs {
        let input = operands.input;
        return run(operands, input, padded, most);
    }
    with_scratch(operands.rows * padded, |input| {
        input.fill(0.0);
        let rows = operands.input.chunks_exact(inputs);
        for (to, from) in input.chunks_exact_mut(padded).zip(rows) {
            to[..inputs].copy_from_slice(from);
        }
        run(operands, input, padded, most);
    });
}

/// All slices; `input` has rows of `padded` floats, whole blocks.
fn run(operands: &Operands, input: &[f32], padded: usize, most: usize) {
    let arch = Arch::new();
    for_each_slice(operands.matrix, most, |slice| {
        with_scratch(padded + MOST_WEIGHTS * scale_floats(padded), |scratch| {
            let (weights, scales) = scratch.split_at_mut(padded);
            arch.dispatch(Few {
                operands,
                input,
                padded,
                slice,
                weights,
                scales,
            });
        });
    });
}

struct Few<'a> {
    operands: &'a Operands<'a>,
    input: &'a [f32],
    padded: usize,
    slice: Slice,
    /// Room for a row of weights.
    #[cfg_attr(
        not(feature = "gguf"),
        allow(dead_code, reason = "nothing else brings such weights")
    )]
    weights: &'a mut [f32],
    /// Room for the scales of [`MOST_WEIGHTS`] rows of weights.
    scales: &'a mut [f32],
}

impl WithSimd for Few<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match self.operands.matrix.parts[self.slice.part].format {
            Format::F32 => self.stored(simd, F32),
            Format::F16 => self.stored(simd, F16),
            Format::Bf16 => self.stored(simd, Bf16),
            Format::Q4_0 => self.stored(simd, Q4_0),
            Format::Q4_1 => self.stored(simd, Q4_1),
            Format::Q8_0 => self.stored(simd, Q8_0),
            #[cfg(feature = "gguf")]
            Format::Other(_) => self.by_row(simd),
        }
    }
}

/// Rows of weights, one after the other.
#[derive(Clone, Copy)]
struct Weights<'a> {
    bytes: &'a [u8],
    row_bytes: usize,
    /// Which row of the part the first one is.
    begin: usize,
}

impl Few<'_> {
    fn part(&self) -> &Part {
        &self.operands.matrix.parts[self.slice.part]
    }

    /// Weights as they are stored.
    #[inline(always)]
    fn stored<S: Simd, B: Blocks>(mut self, simd: S, blocks: B) {
        let scales = std::mem::take(&mut self.scales);
        let part = self.part();
        let bytes = part.bytes(self.slice.begin..self.slice.begin + self.slice.count);
        let rows = Weights {
            bytes,
            row_bytes: part.row_bytes,
            begin: self.slice.begin,
        };
        self.rows(simd, blocks, rows, scales);
    }

    /// Weights that become f32 row after row.
    #[cfg_attr(
        not(feature = "gguf"),
        allow(dead_code, reason = "nothing else brings such weights")
    )]
    #[inline(always)]
    fn by_row<S: Simd>(mut self, simd: S) {
        let weights = std::mem::take(&mut self.weights);
        weights.fill(0.0);
        for row in self.slice.begin..self.slice.begin + self.slice.count {
            let part = self.part();
            let inputs = self.operands.matrix.inputs;
            part.format
                .dequantise(part.bytes(row..row + 1), &mut weights[..inputs]);
            let bytes = bytemuck::cast_slice(weights);
            let row = Weights {
                bytes,
                row_bytes: bytes.len(),
                begin: row,
            };
            self.rows(simd, F32, row, &mut []);
        }
    }

    /// The products of all rows of the input and those of `weights`.
    #[inline(always)]
    fn rows<S: Simd, B: Blocks>(&self, simd: S, blocks: B, weights: Weights, scales: &mut [f32]) {
        let mut row = 0;
        macro_rules! rows {
            ($rows:literal, $weights:expr) => {
                while self.operands.rows - row >= $rows {
                    self.weights::<S, B, $rows, { $weights }>(simd, blocks, weights, scales, row);
                    row += $rows;
                }
            };
        }
        // So many sums at a time that none waits for another, and no more than registers hold.
        if S::REGISTER_COUNT >= 32 {
            rows!(4, 2);
        }
        rows!(2, 2);
        rows!(1, MOST_WEIGHTS);
    }

    /// `R` rows of the input from `row` on, `M` of the matrix at a time.
    #[inline(always)]
    fn weights<S: Simd, B: Blocks, const R: usize, const M: usize>(
        &self,
        simd: S,
        blocks: B,
        weights: Weights,
        scales: &mut [f32],
        row: usize,
    ) {
        let input = &self.input[row * self.padded..(row + R) * self.padded];
        let mut groups = weights.bytes.chunks_exact(M * weights.row_bytes);
        let mut at = weights.begin;
        for group in groups.by_ref() {
            let sums = products::<S, B, R, M>(simd, blocks, group, scales, input);
            self.write(&sums, at, row);
            at += M;
        }
        for weights in groups.remainder().chunks_exact(weights.row_bytes) {
            let sums = products::<S, B, R, 1>(simd, blocks, weights, scales, input);
            self.write(&sums, at, row);
            at += 1;
        }
    }

    #[inline(always)]
    fn write<const R: usize, const M: usize>(&self, sums: &[[f32; M]; R], at: usize, row: usize) {
        let column = self.part().begin + at;
        let bias = self.operands.bias.map(|bias| &bias[column..column + M]);
        for (r, sums) in sums.iter().enumerate() {
            let at = (row + r) * self.operands.matrix.outputs + column;
            // SAFETY: this slice's columns, which no other thread writes.
            let output = unsafe { self.operands.output.part(at, M) };
            for (m, sum) in sums.iter().enumerate() {
                output[m] = sum + bias.map_or(0.0, |bias| bias[m]);
            }
        }
    }
}

/// The products of `R` rows of the input and `M` of the matrix. Each is two sums, of the even and the odd vectors in order,
/// whatever `R` and `M` are.
#[inline(always)]
fn products<S: Simd, B: Blocks, const R: usize, const M: usize>(
    simd: S,
    blocks: B,
    weights: &[u8],
    scales: &mut [f32],
    input: &[f32],
) -> [[f32; M]; R] {
    let lanes = S::F32_LANES;
    let row_bytes = weights.len() / M;
    let padded = input.len() / R;
    let mut of_rows = [(weights, &[][..]); M];
    let mut rest = scales;
    for (m, of_row) in of_rows.iter_mut().enumerate() {
        let row = &weights[m * row_bytes..(m + 1) * row_bytes];
        let scales = rest.split_off_mut(..B::SCALES * scale_floats(padded));
        let scales = scales.unwrap_or_default();
        blocks.scales(simd, row, scales);
        *of_row = (row, scales.as_chunks().0);
    }
    let mut sums = [[[simd.splat_f32s(0.0); 2]; R]; M];
    for block in 0..padded / BLOCK {
        for m in 0..M {
            let (row, scales) = of_rows[m];
            let weights = blocks.read(simd, row, scales, block);
            for vector in 0..BLOCK / lanes {
                // SAFETY: `vector` is one of the block's, and `block` one of the row's.
                unsafe {
                    let weight = load::<S>(weights.as_ptr().add(vector * lanes));
                    for r in 0..R {
                        let x = input
                            .as_ptr()
                            .add(r * padded + block * BLOCK + vector * lanes);
                        let sum = &mut sums[m][r][vector % 2];
                        *sum = simd.mul_add_e_f32s(weight, load::<S>(x), *sum);
                    }
                }
            }
        }
    }
    let mut products = [[0.0; M]; R];
    for (m, sums) in sums.iter().enumerate() {
        for (r, [even, odd]) in sums.iter().enumerate() {
            products[r][m] = simd.reduce_sum_f32s(simd.add_f32s(*even, *odd));
        }
    }
    products
}
