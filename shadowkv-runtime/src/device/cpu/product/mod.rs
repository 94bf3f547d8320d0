//! Products with weights.
//!
//! | rows | how |
//! | --- | --- |
//! | few: a step of decoding | [`few`]: weights go from their stored form straight into the sums |
//! | many: a prompt | [`many`]: weights become f32 a block at a time, which all rows then share |

use rayon::prelude::*;

use super::matrix::CpuMatrix;
use super::simd::Shared;

mod blocks;
mod few;
mod many;

/// Up to so many rows are few.
const FEW: usize = 16;

/// `output [rows, outputs] = input [rows, inputs] * matrix^T + bias`.
pub(super) fn linear(input: &[f32], matrix: &CpuMatrix, bias: Option<&[f32]>, output: &mut [f32]) {
    let rows = input.len() / matrix.inputs.max(1);
    if rows == 0 {
        return;
    }
    let operands = Operands {
        input,
        rows,
        matrix,
        bias,
        output: Shared::new(output),
    };
    if rows <= FEW {
        few::linear(&operands);
    } else {
        many::linear(&operands);
    }
}

/// What a product is made of.
struct Operands<'a> {
    input: &'a [f32],
    rows: usize,
    matrix: &'a CpuMatrix,
    bias: Option<&'a [f32]>,
    output: Shared<'a>,
}

/// Output columns that one thread computes: rows of one part of the matrix.
#[derive(Clone, Copy, Debug)]
struct Slice {
    part: usize,
    /// First row within the part, and how many.
    begin: usize,
    count: usize,
}

/// The matrix in slices of at most `most` rows.
fn slices(matrix: &CpuMatrix, most: usize) -> Vec<Slice> {
    let of_part = |(part, rows): (usize, usize)| {
        (0..rows).step_by(most).map(move |begin| Slice {
            part,
            begin,
            count: most.min(rows - begin),
        })
    };
    let parts = matrix.parts.iter().map(|part| part.rows).enumerate();
    parts.flat_map(of_part).collect()
}

/// Calls `work` for every slice of at most `most` rows, on all threads.
fn for_each_slice(matrix: &CpuMatrix, most: usize, work: impl Fn(Slice) + Send + Sync) {
    slices(matrix, most)
        .into_par_iter()
        .with_max_len(1)
        .for_each(work);
}
