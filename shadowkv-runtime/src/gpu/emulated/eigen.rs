//! Leading eigenvectors of symmetric matrices on the host.

use faer::{Mat, Side};
use half::bf16;

/// The `rank` leading eigenvectors of `gram` `[width, width]` f32 as `[width, rank]` bf16, the largest eigenvalue first; the
/// largest component of each is positive. Nothing if the matrix holds something else than numbers, or none are found.
pub(super) fn basis(gram: &[u8], width: usize, rank: usize) -> Option<Vec<u8>> {
    let (words, _) = gram.as_chunks::<4>();
    let element = |row: usize, column: usize| {
        f64::from(f32::from_le_bytes(
            words.get(row * width + column).copied().unwrap_or_default(),
        ))
    };
    let matrix = Mat::from_fn(width, width, element);
    // Without this the iteration would go on with what is not a number.
    if (0..width).any(|column| (0..width).any(|row| !matrix[(row, column)].is_finite())) {
        return None;
    }
    let decomposition = matrix.self_adjoint_eigen(Side::Lower).ok()?;
    let vectors = decomposition.U();
    let mut basis = vec![0; width * rank * 2];
    for column in 0..rank {
        // faer has them ascending.
        let own = width - 1 - column;
        let mut largest = 0.0_f64;
        for row in 0..width {
            let value = vectors[(row, own)];
            if value.abs() > largest.abs() {
                largest = value;
            }
        }
        let sign = if largest < 0.0 { -1.0 } else { 1.0 };
        for row in 0..width {
            let value = bf16::from_f64(sign * vectors[(row, own)]);
            let at = (row * rank + column) * 2;
            basis[at..at + 2].copy_from_slice(&value.to_le_bytes());
        }
    }
    Some(basis)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

    use super::*;

    fn bytes(matrix: &[f32]) -> Vec<u8> {
        matrix
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect()
    }

    #[test]
    fn eigenvectors_by_size_of_their_eigenvalues() {
        // Eigenvalues 3 of (1, 1), 1 of (1, -1), 7 of the third axis.
        let gram = bytes(&[2.0, 1.0, 0.0, 1.0, 2.0, 0.0, 0.0, 0.0, 7.0]);
        let basis = basis(&gram, 3, 2).unwrap();
        let (halves, _) = basis.as_chunks::<2>();
        let values: Vec<f32> = halves
            .iter()
            .map(|half| f32::from(bf16::from_le_bytes(*half)))
            .collect();
        let root = f32::from(bf16::from_f64(0.5_f64.sqrt()));
        for (found, expected) in values.iter().zip([0.0, root, 0.0, root, 1.0, 0.0]) {
            assert!((found - expected).abs() < 1e-6, "{values:?}");
        }
    }

    #[test]
    fn what_is_no_number_has_none() {
        let gram = bytes(&[f32::NAN, 0.0, 0.0, 1.0]);
        assert_eq!(basis(&gram, 2, 1), None);
    }
}
