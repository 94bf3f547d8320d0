//! `reconstruct_keys`: keys of missing chunks from the factors, rotated to their positions.

use super::dot;
use super::rope::Rotary;

/// Keys of one chunk and one KV head, `[chunk_size, head_dim]`: `RoPE(A V_R^T)`.
///
/// `factors` `[chunk_size, rank]` are the chunk's rows of `A`, `basis` `[head_dim, rank]` the head's rows of `V_R`.
pub fn reconstruct_chunk(
    factors: &[f64],
    basis: &[f64],
    rank: usize,
    chunk: usize,
    rotary: &Rotary,
    table: usize,
) -> Vec<f64> {
    let chunk_size = factors.len() / rank;
    let mut keys = Vec::with_capacity(chunk_size * basis.len() / rank);
    for (token, row) in factors.chunks_exact(rank).enumerate() {
        let mut key: Vec<f64> = basis
            .chunks_exact(rank)
            .map(|vector| dot(row, vector))
            .collect();
        rotary.rotate(&mut key, &rotary.turns(table, chunk * chunk_size + token));
        keys.extend(key);
    }
    keys
}

#[cfg(test)]
mod tests {
    use crate::spec::{Rope, RopeLayout, RopeScaling};

    use super::*;

    #[test]
    fn a_chunk_is_multiplied_and_turned() {
        let rotary = Rotary::new(&Rope {
            base: 10_000.0,
            layout: RopeLayout::HalfSplit,
            rotary_dim: 2,
            max_position: 64,
            scaling: RopeScaling::None,
        });
        // Two tokens of rank 1, one head of two elements; the chunk begins at position 2.
        let keys = reconstruct_chunk(&[1.0, 2.0], &[3.0, 4.0], 1, 1, &rotary, 0);
        let turned = |x: f64, y: f64, angle: f64| {
            [
                x * angle.cos() - y * angle.sin(),
                y * angle.cos() + x * angle.sin(),
            ]
        };
        let expected = [turned(3.0, 4.0, 2.0), turned(6.0, 8.0, 3.0)].concat();
        assert_eq!(keys, expected);
    }
}
