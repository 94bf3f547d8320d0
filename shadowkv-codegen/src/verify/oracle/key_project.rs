//! `key_project`: `A = K V_R`, the keys in the basis of their leading right singular vectors.

use super::{dot, transposed};

/// `A` `[tokens, rank]` of `keys` `[tokens, width]` and `basis` `[width, rank]`.
pub fn key_project(keys: &[f64], basis: &[f64], width: usize, rank: usize) -> Vec<f64> {
    let vectors = transposed(basis, rank);
    let token = |key: &[f64]| -> Vec<f64> {
        vectors
            .chunks_exact(width)
            .map(|vector| dot(key, vector))
            .collect()
    };
    keys.chunks_exact(width).flat_map(token).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_tokens() {
        let basis = [1.0, 0.0, 0.0, 1.0, 1.0, -1.0];
        let factors = key_project(&[1.0, 2.0, 3.0, 0.0, 1.0, -1.0], &basis, 3, 2);
        assert_eq!(factors, [4.0, -1.0, -1.0, 2.0]);
    }
}
