//! `eigen_basis`: the leading eigenvectors of a Gram matrix.
//!
//! A narrow matrix is diagonalised as a whole, in f64: keys have a few directions that are far stronger than the others, and
//! what f32 leaves of those others is too little. A wide one takes subspace steps: products with a block of somewhat more
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
        let matrix = Mat::from_fn(width, width, |row, column| {
            f64::from(gram[row * width + column])
        });
        leading(&matrix, rank)?
    } else {
        subspace(gram, width, block, rank)?
    };
    for column in 0..rank {
        let own = vectors.col(column);
        let larger = |largest: f64, element: &f64| {
            if element.abs() > largest.abs() {
                *element
            } else {
                largest
            }
        };
        let sign = own.iter().fold(0.0, larger).signum();
        for (element, to) in own.iter().zip(basis[column..].iter_mut().step_by(rank)) {
            *to = (element * sign) as f32;
        }
    }
    Some(())
}

/// The `count` leading eigenvectors of a symmetric matrix, a column each.
fn leading(matrix: &Mat<f64>, count: usize) -> Option<Mat<f64>> {
    let found = matrix.self_adjoint_eigen(Side::Lower).ok()?;
    let width = matrix.nrows();
    // Eigenvalues ascend.
    let vectors = found.U();
    Some(Mat::from_fn(width, count, |row, column| {
        vectors[(row, width - 1 - column)]
    }))
}

fn subspace(gram: &[f32], width: usize, block: usize, rank: usize) -> Option<Mat<f64>> {
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
    // The eigenproblem of the block, in f64 again.
    let wide = |floats: &[f32]| {
        Mat::from_fn(width, columns, |row, column| {
            f64::from(floats[row * columns + column])
        })
    };
    let (directions, images) = (wide(&directions), wide(&images));
    let small = directions.transpose() * images;
    Some(directions * leading(&small, rank)?)
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

    use super::*;

    /// A matrix whose eigenvalues fall from 1e6 by a factor of `fall` each, in no particular directions.
    fn gram(width: usize, fall: f64) -> Vec<f32> {
        let directions = start(width, width);
        let matrix = Mat::from_fn(width, width, |row, column| {
            f64::from(directions[row * width + column])
        });
        let basis = matrix.qr().compute_thin_Q();
        let scaled = Mat::from_fn(width, width, |row, column| {
            basis[(row, column)] * 1e6 * fall.powi(column as i32)
        });
        let gram = scaled * basis.transpose();
        (0..width * width)
            .map(|at| gram[(at / width, at % width)] as f32)
            .collect()
    }

    /// Share of the trace that `basis` leaves out.
    fn left_out(gram: &[f32], width: usize, rank: usize, basis: &[f32]) -> f64 {
        let element = |row: usize, column: usize| f64::from(gram[row * width + column]);
        let trace: f64 = (0..width).map(|own| element(own, own)).sum();
        let matrix = Mat::from_fn(width, width, element);
        let basis = Mat::from_fn(width, rank, |row, column| {
            f64::from(basis[row * rank + column])
        });
        let images = matrix * &basis;
        let held: f64 = (0..rank)
            .map(|own| {
                let pairs = basis.col(own).iter().zip(images.col(own).iter());
                pairs.map(|(x, y)| x * y).sum::<f64>()
            })
            .sum();
        1.0 - held / trace
    }

    #[test]
    fn blocks_are_as_good_as_the_whole() {
        let (width, rank) = (320, 48);
        for fall in [0.97, 0.9] {
            let gram = gram(width, fall);
            let mut whole = vec![0.0; width * rank];
            key_basis(&gram, width, rank, &mut whole).unwrap();
            let block = subspace(&gram, width, rank + SPARE, rank).unwrap();
            let block: Vec<f32> = (0..width * rank)
                .map(|at| block[(at / rank, at % rank)] as f32)
                .collect();
            let optimum = fall.powi(rank as i32);
            let whole = left_out(&gram, width, rank, &whole);
            let block = left_out(&gram, width, rank, &block);
            assert!((whole / optimum - 1.0).abs() < 1e-3, "{whole} {optimum}");
            assert!((block / optimum - 1.0).abs() < 1.4e-3, "{block} {optimum}");
        }
    }

    #[test]
    fn vectors_are_in_order_and_have_a_sign() {
        // 3 along (1, 1), 1 along (1, -1).
        let mut basis = [0.0; 4];
        key_basis(&[2.0, 1.0, 1.0, 2.0], 2, 2, &mut basis).unwrap();
        let half = 0.5_f32.sqrt();
        let first = [basis[0], basis[2]];
        assert!(first.iter().all(|element| (element - half).abs() < 1e-6));
        assert!((basis[1] + basis[3]).abs() < 1e-6);
        assert!(key_basis(&[f32::NAN; 4], 2, 1, &mut basis).is_none());
    }
}
