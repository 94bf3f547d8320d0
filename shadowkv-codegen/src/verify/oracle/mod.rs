//! What the kernels must compute, from the definitions of the method, in `f64` and as plainly as possible.
//!
//! An oracle knows nothing of tiles, orders of sums or instructions, and shares no code with the kernels, their templates
//! or the runtime. Inputs are the exact values of what the kernel reads; nothing is rounded on the way.

pub mod attention;
pub mod chunk_landmarks;
pub mod embed;
pub mod fold_chunk;
pub mod gather_values;
pub mod key_basis;
pub mod key_gram;
pub mod key_project;
pub mod landmark_score;
pub mod offload_values;
pub mod prefill_attention;
pub mod reconstruct_keys;
pub mod rms_norm;
pub mod rope;
pub mod rope_append;
pub mod sample;
pub mod select_chunks;
pub mod select_outliers;
pub mod silu_mul;
pub mod store_exact;

/// The scalar product of two vectors of one length.
pub fn dot(left: &[f64], right: &[f64]) -> f64 {
    // Eight sums side by side: one alone would wait for each addition to end.
    let mut sums = [0.0; 8];
    let (left_blocks, right_blocks) = (left.chunks_exact(8), right.chunks_exact(8));
    let rest: f64 = left_blocks
        .remainder()
        .iter()
        .zip(right_blocks.remainder())
        .map(|(x, y)| x * y)
        .sum();
    for (x, y) in left_blocks.zip(right_blocks) {
        for (sum, (x, y)) in sums.iter_mut().zip(x.iter().zip(y)) {
            *sum += x * y;
        }
    }
    sums.iter().sum::<f64>() + rest
}

/// The Euclidean length of a vector.
pub fn length(vector: &[f64]) -> f64 {
    dot(vector, vector).sqrt()
}

/// `matrix` `[rows, columns]` as `[columns, rows]`.
pub fn transposed(matrix: &[f64], columns: usize) -> Vec<f64> {
    let rows = matrix.len().checked_div(columns).unwrap_or(0);
    let mut result = vec![0.0; matrix.len()];
    for (row, values) in matrix.chunks_exact(columns.max(1)).enumerate() {
        for (column, value) in values.iter().enumerate() {
            result[column * rows + row] = *value;
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products() {
        let numbers: Vec<f64> = (1..=19).map(f64::from).collect();
        assert_eq!(dot(&numbers, &numbers), 2470.0);
        assert_eq!(dot(&[], &[]), 0.0);
        assert_eq!(length(&[3.0, 4.0]), 5.0);
        assert_eq!(
            transposed(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 3),
            [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]
        );
    }
}
