//! `rope_append`: the parts of a fused projection's row, and where a token's keys and values go.

use std::ops::Range;

/// Elements of the queries, the keys and the values in a row `[(gqa_ratio + 2) * kv_heads, head_dim]`.
pub fn parts(gqa_ratio: usize, kv_heads: usize, head_dim: usize) -> [Range<usize>; 3] {
    let queries = gqa_ratio * kv_heads * head_dim;
    let keys = queries + kv_heads * head_dim;
    [0..queries, queries..keys, keys..keys + kv_heads * head_dim]
}

/// Position of each of the `new` last tokens of a sequence of `tokens`.
pub fn positions(tokens: usize, new: usize) -> Range<usize> {
    tokens - new..tokens
}

/// Row of a ring of `capacity` rows that keeps each of `positions` once all are appended in their order; nothing for those
/// that a later one overwrites.
pub fn rows(positions: Range<usize>, capacity: usize) -> Vec<Option<usize>> {
    let row = |position: usize| position % capacity;
    positions
        .clone()
        .map(|position| {
            let overwritten =
                (position + 1..positions.end).any(|later| row(later) == row(position));
            (!overwritten).then(|| row(position))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_queries_then_keys_then_values() {
        assert_eq!(parts(3, 2, 4), [0..24, 24..32, 32..40]);
    }

    #[test]
    fn new_tokens_are_the_last() {
        assert_eq!(positions(10, 3), 7..10);
        assert_eq!(positions(3, 3), 0..3);
    }

    #[test]
    fn the_last_tokens_stay_in_a_ring() {
        assert_eq!(rows(7..10, 8), [Some(7), Some(0), Some(1)]);
        assert_eq!(
            rows(2..8, 4),
            [None, None, Some(0), Some(1), Some(2), Some(3)]
        );
        assert!(rows(5..5, 4).is_empty());
    }
}
