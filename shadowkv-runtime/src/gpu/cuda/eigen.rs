//! Symmetric eigenproblems on the host.

use faer::{MatRef, Side};

use crate::gpu::GpuError;

/// The `rank` leading eigenvectors of a symmetric matrix `[width, width]` of finite numbers, as `[rank, width]`, the largest eigenvalue's last.
pub(super) fn leading(gram: &[f32], width: usize, rank: usize) -> Result<Vec<f32>, GpuError> {
    let matrix = MatRef::from_column_major_slice(gram, width, width);
    let decomposed = matrix
        .self_adjoint_eigen(Side::Lower)
        .map_err(|error| failed(&format!("{error:?}")))?;
    let vectors = decomposed.U();
    let columns = width - rank..width;
    Ok(columns
        .flat_map(|column| vectors.col(column).iter().copied())
        .collect())
}

/// What makes the largest element of a vector positive, so that the same matrix gives the same vectors everywhere.
pub(super) fn sign(vector: &[f32]) -> f32 {
    let mut largest = 0f32;
    for element in vector {
        if element.abs() > largest.abs() {
            largest = *element;
        }
    }
    if largest < 0.0 { -1.0 } else { 1.0 }
}

pub(super) fn failed(message: &str) -> GpuError {
    GpuError::Failed {
        operation: "eigen_basis".to_owned(),
        message: message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

    use super::*;

    #[test]
    fn leading_vectors_of_a_known_matrix() {
        // Eigenvalues 4, 2 and 1 along the axes, the largest along the second.
        let gram = [1.0, 0.0, 0.0, 0.0, 4.0, 0.0, 0.0, 0.0, 2.0];
        let vectors = leading(&gram, 3, 2).unwrap();
        let rows = vectors.chunks_exact(3);
        let signed: Vec<f32> = rows
            .flat_map(|row| row.iter().map(|element| sign(row) * element + 0.0))
            .collect();
        assert_eq!(signed, [0.0, 0.0, 1.0, 0.0, 1.0, 0.0]);
    }
}
