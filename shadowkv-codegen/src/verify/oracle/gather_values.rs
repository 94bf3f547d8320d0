//! `gather_values`: the values of missing chunks, copied into their slots.

/// Of one KV head: slot and chunk of every copy, in the order of the copy list. `chunks` and `slots` end with entries of
/// -1 that mean nothing.
pub fn copies(chunks: &[i32], slots: &[i32], missing: usize) -> Vec<(usize, usize)> {
    chunks
        .iter()
        .zip(slots)
        .take(missing)
        .map(|(chunk, slot)| (*slot as usize, *chunk as usize))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_no_copy() {
        assert_eq!(
            copies(&[4, 9, -1], &[0, 7, -1], 2),
            [(0_usize, 4_usize), (7, 9)]
        );
        assert_eq!(copies(&[4, 9, -1], &[0, 7, -1], 0), []);
    }
}
