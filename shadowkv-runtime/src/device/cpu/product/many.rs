//! Many rows: weights become f32 a block at a time, in a cache, and all rows pass by.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::{Operands, Slice, slices};
use crate::device::cpu::simd::{MOST_LANES, with_scratch};
use crate::device::cpu::tile::{self, Panels, Rows};

/// Inputs of a block. A multiple of every format's block. It decides the order of sums.
const DEPTH: usize = 512;
/// Most outputs of a block: half a megabyte of weights.
const OUTPUTS: usize = 256;
/// Rows for which it pays to make the weights f32 once more, where there are more threads than blocks.
const ROWS: usize = 96;
/// Matrix rows that become columns at a time.
const TURNED: usize = 16;

pub(super) fn linear(operands: &Operands) {
    let threads = rayon::current_num_threads();
    let most = operands.matrix.outputs.div_ceil(4 * threads);
    let most = most.next_multiple_of(32).clamp(32, OUTPUTS);
    let slices = slices(operands.matrix, most);
    let spans = (2 * threads).div_ceil(slices.len().max(1));
    let span = operands.rows.div_ceil(spans).next_multiple_of(12).max(ROWS);
    let tasks: Vec<(usize, Slice)> = (0..operands.rows)
        .step_by(span)
        .flat_map(|begin| slices.iter().map(move |slice| (begin, *slice)))
        .collect();
    let arch = Arch::new();
    let depth = DEPTH.min(operands.matrix.inputs);
    let columns = most.next_multiple_of(2 * MOST_LANES);
    let floats = (columns + TURNED) * depth + span * MOST_LANES;
    let work = |(begin, slice): (usize, Slice)| {
        with_scratch(floats, |scratch| {
            arch.dispatch(Many {
                operands,
                slice,
                begin,
                rows: span.min(operands.rows - begin),
                scratch,
            });
        });
    };
    tasks.into_par_iter().with_max_len(1).for_each(work);
}

/// Rows `begin..begin + rows` of the input and a slice of the matrix.
struct Many<'a> {
    operands: &'a Operands<'a>,
    slice: Slice,
    begin: usize,
    rows: usize,
    scratch: &'a mut [f32],
}

impl WithSimd for Many<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Many {
            operands,
            slice,
            begin,
            rows,
            scratch,
        } = self;
        let inputs = operands.matrix.inputs;
        let most = DEPTH.min(inputs);
        let columns = slice.count.next_multiple_of(tile::panel_columns::<S>());
        // Whole vectors go to the output; the rest of a last one passes through `ragged`.
        let whole = slice.count / S::F32_LANES * S::F32_LANES;
        let (packed, scratch) = scratch.split_at_mut(columns * most);
        let (turned, ragged) = scratch.split_at_mut(TURNED * most);
        let ragged = &mut ragged[..rows * S::F32_LANES];
        let block = Block {
            operands,
            slice,
            begin,
            rows,
        };
        block.begin_sums();
        for input in (0..inputs).step_by(DEPTH) {
            let depth = DEPTH.min(inputs - input);
            let packed = &mut packed[..columns * depth];
            block.pack::<S>(input, depth, packed, turned);
            block.multiply(simd, input, depth, packed, whole, ragged);
        }
    }
}

/// The output of a task.
struct Block<'a> {
    operands: &'a Operands<'a>,
    slice: Slice,
    begin: usize,
    rows: usize,
}

impl Block<'_> {
    /// Where the slice's first column of input row `row` is in the output.
    fn at(&self, row: usize) -> usize {
        let matrix = self.operands.matrix;
        row * matrix.outputs + matrix.parts[self.slice.part].begin + self.slice.begin
    }

    /// The bias, or zeros.
    fn begin_sums(&self) {
        let first = self.at(0);
        for row in self.begin..self.begin + self.rows {
            // SAFETY: rows and columns of this task, which no other writes.
            let output = unsafe { self.operands.output.part(self.at(row), self.slice.count) };
            match self.operands.bias {
                Some(bias) => output.copy_from_slice(&bias[first..first + self.slice.count]),
                None => output.fill(0.0),
            }
        }
    }

    /// Inputs `begin..begin + depth` of the slice's weights, as f32, to `packed`: panels `[depth, panel]`, with zeros after the
    /// last column.
    #[inline(always)]
    fn pack<S: Simd>(&self, begin: usize, depth: usize, packed: &mut [f32], turned: &mut [f32]) {
        let part = &self.operands.matrix.parts[self.slice.part];
        let (of_block, block_bytes) = part.format.block();
        let first = begin / of_block * block_bytes;
        let bytes = depth / of_block * block_bytes;
        let panel = tile::panel_columns::<S>();
        for (place, packed) in packed.chunks_exact_mut(panel * depth).enumerate() {
            for column in (0..panel).step_by(TURNED) {
                let columns = TURNED.min(panel - column);
                let from = place * panel + column;
                for (column, turned) in turned.chunks_exact_mut(depth).take(columns).enumerate() {
                    if from + column < self.slice.count {
                        let row = self.slice.begin + from + column;
                        let row = part.bytes(row..row + 1);
                        part.format.dequantise(&row[first..first + bytes], turned);
                    } else {
                        turned.fill(0.0);
                    }
                }
                turn(turned, depth, columns, packed, panel, column);
            }
        }
    }

    /// Adds the products of a block.
    #[inline(always)]
    fn multiply<S: Simd>(
        &self,
        simd: S,
        begin: usize,
        depth: usize,
        packed: &[f32],
        whole: usize,
        ragged: &mut [f32],
    ) {
        let Operands { input, matrix, .. } = self.operands;
        let panel = tile::panel_columns::<S>();
        let x = &input[self.begin * matrix.inputs..(self.begin + self.rows) * matrix.inputs];
        let x = Rows {
            begin: x[begin..].as_ptr(),
            stride: matrix.inputs,
        };
        let panels = |column: usize| Panels {
            rows: Rows {
                begin: packed[column / panel * panel * depth + column % panel..].as_ptr(),
                stride: panel,
            },
            step: panel * depth,
        };
        let c = Rows {
            begin: self.operands.output.at(self.at(self.begin)),
            stride: matrix.outputs,
        };
        // SAFETY: `depth` floats of each of `rows` rows of the input, whole panels, and rows and columns of the output that
        // no other task has.
        unsafe { tile::multiply(simd, (self.rows, depth, whole), x, panels(0), c, true) };
        if whole == self.slice.count {
            return;
        }
        let c = Rows {
            begin: ragged.as_mut_ptr(),
            stride: S::F32_LANES,
        };
        // SAFETY: as above; `ragged` has a vector for each row.
        unsafe {
            tile::multiply(
                simd,
                (self.rows, depth, S::F32_LANES),
                x,
                panels(whole),
                c,
                false,
            );
        };
        let columns = self.slice.count - whole;
        for (row, sums) in ragged.chunks_exact(S::F32_LANES).enumerate() {
            // SAFETY: columns of this task.
            let output = unsafe {
                let at = self.at(self.begin + row) + whole;
                self.operands.output.part(at, columns)
            };
            for (output, sum) in output.iter_mut().zip(sums) {
                *output += sum;
            }
        }
    }
}

/// `rows` rows of `depth` floats become columns `column..` of `to` `[depth, stride]`.
#[inline(always)]
pub(in crate::device::cpu) fn turn(
    from: &[f32],
    depth: usize,
    rows: usize,
    to: &mut [f32],
    stride: usize,
    column: usize,
) {
    // Squares, so that neither side is read or written a float at a time.
    const SIDE: usize = 8;
    if rows.is_multiple_of(SIDE) && depth.is_multiple_of(SIDE) {
        for row in (0..rows).step_by(SIDE) {
            for k in (0..depth).step_by(SIDE) {
                let mut square = [[0.0; SIDE]; SIDE];
                for i in 0..SIDE {
                    let from = &from[(row + i) * depth + k..][..SIDE];
                    for j in 0..SIDE {
                        square[j][i] = from[j];
                    }
                }
                for (j, line) in square.iter().enumerate() {
                    to[(k + j) * stride + column + row..][..SIDE].copy_from_slice(line);
                }
            }
        }
        return;
    }
    for row in 0..rows {
        for k in 0..depth {
            to[k * stride + column + row] = from[row * depth + k];
        }
    }
}
