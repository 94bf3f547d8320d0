//! `eigen_basis`: the leading eigenvectors of a Gram matrix.
//!
//! A narrow matrix is diagonalised as a whole. A wide one takes subspace steps: products with a block of somewhat more
//! directions than are wanted, made orthonormal each time, and the eigenproblem of that block alone. On the keys of real models
//! twelve steps are as good as the whole (four already come within 1.0014 of it).

use faer::{Mat, MatRef, Side};

use super::product::{Right, padded, product};

/// Widest matrix that is diagonalised as a whole.
const WHOLE: usize = 1024;
/// Directions beyond those that are wanted.
const SPARE: usize = 16;
/// Products with the matrix.
const STEPS: usize = 12;

/// The `rank` leading eigenvectors of `gram` `[width, width]` -> `basis` `[width, rank]`, the largest eigenvalue first, each
/// with its largest element positive. `None` if the matrix holds something other than numbers.
pub(super) fn key_basis(gram: &[f32], width: usize, rank: usize, basis: &mut [f32]) -> Option<()> {
    if gram.iter().any(|element| !element.is_finite()) {
        return None;
    }
    let block = (rank + SPARE).min(width);
    let vectors = if width <= WHOLE || 2 * block > width {
        leading(MatRef::from_row_major_slice(gram, width, width), rank)?
    } else {
        subspace(gram, width, block, rank)?
    };
    for column in 0..rank {
        let own = vectors.col(column);
        let largest = own.iter().fold(0.0_f32, |largest, element| {
            if element.abs() > largest.abs() {
                *element
            } else {
                largest
            }
        });
        let sign = if largest < 0.0 { -1.0 } else { 1.0 };
        for (element, to) in own.iter().zip(basis[column..].iter_mut().step_by(rank)) {
            *to = element * sign;
        }
    }
    Some(())
}

/// The `count` leading eigenvectors of a symmetric matrix, a column each.
fn leading(matrix: MatRef<f32>, count: usize) -> Option<Mat<f32>> {
    let found = matrix.self_adjoint_eigen(Side::Lower).ok()?;
    let width = matrix.nrows();
    // Eigenvalues ascend.
    let vectors = found.U();
    Some(Mat::from_fn(width, count, |row, column| {
        vectors[(row, width - 1 - column)]
    }))
}

fn subspace(gram: &[f32], width: usize, block: usize, rank: usize) -> Option<Mat<f32>> {
    let columns = padded(block);
    let mut directions = start(width, columns);
    let mut images = vec![0.0; width * columns];
    for _ in 0..STEPS {
        product(
            gram,
            Right::Rows(&directions),
            (width, columns),
            &mut images,
        );
        let images = MatRef::from_row_major_slice(&images, width, columns);
        let orthonormal = images.qr().compute_thin_Q();
        for (row, own) in directions.chunks_exact_mut(columns).enumerate() {
            for (column, element) in own.iter_mut().enumerate() {
                *element = orthonormal[(row, column)];
            }
        }
    }
    product(
        gram,
        Right::Rows(&directions),
        (width, columns),
        &mut images,
    );
    let directions = MatRef::from_row_major_slice(&directions, width, columns);
    let images = MatRef::from_row_major_slice(&images, width, columns);
    let small = directions.transpose() * images;
    Some(directions * leading(small.as_ref(), rank)?)
}

/// `columns` directions, neither equal nor orthogonal to anything in particular, `[width, columns]`.
fn start(width: usize, columns: usize) -> Vec<f32> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        // Marsaglia's xorshift.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..width * columns).map(|_| next()).collect()
}
