//! `offload_values`: values by token turned into values by KV head and chunk.

/// `[kv_heads, chunks, chunk_size, head_dim]` of `values` `[tokens, kv_heads, head_dim]`; tokens beyond the last whole
/// chunk are left out.
pub fn by_head_and_chunk<T: Copy>(
    values: &[T],
    kv_heads: usize,
    head_dim: usize,
    chunk_size: usize,
) -> Vec<T> {
    let tokens = values.len() / (kv_heads * head_dim);
    let whole = tokens / chunk_size * chunk_size;
    let mut result = Vec::with_capacity(whole * kv_heads * head_dim);
    for kv_head in 0..kv_heads {
        for token in 0..whole {
            let first = (token * kv_heads + kv_head) * head_dim;
            result.extend_from_slice(&values[first..first + head_dim]);
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_heads_and_a_remainder() {
        let values: Vec<u8> = (0..20).collect();
        // Five tokens of two heads of two elements, in chunks of two tokens.
        assert_eq!(
            by_head_and_chunk(&values, 2, 2, 2),
            [0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15]
        );
        assert!(by_head_and_chunk(&values[..4], 2, 2, 2).is_empty());
    }
}
