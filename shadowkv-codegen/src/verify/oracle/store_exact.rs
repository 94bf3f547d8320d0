//! `store_exact`: the exact window of a prompt, and the tokens of its outlier chunks.

use std::ops::Range;

/// Positions of the exact window: what lies behind the compressed chunks.
pub fn window(chunks: usize, chunk_size: usize, tokens: usize) -> Range<usize> {
    (chunks * chunk_size).min(tokens)..tokens
}

/// Positions of a chunk's tokens.
pub fn members(chunk: usize, chunk_size: usize) -> Range<usize> {
    chunk * chunk_size..(chunk + 1) * chunk_size
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn window_and_chunks() {
        assert_eq!(window(3, 8, 30), 24..30);
        assert_eq!(window(0, 8, 5), 0..5);
        assert_eq!(window(2, 8, 16), 16..16);
        assert_eq!(members(2, 8), 16..24);
    }
}
