//! `embed`: a token's row of the embedding.

/// The token's row of the table, if there is one.
pub fn row_of(token: i32, vocab: usize) -> Option<usize> {
    usize::try_from(token).ok().filter(|row| *row < vocab)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tokens_of_the_vocabulary_have_rows() {
        assert_eq!(row_of(0, 3), Some(0));
        assert_eq!(row_of(2, 3), Some(2));
        assert_eq!(row_of(3, 3), None);
        assert_eq!(row_of(-1, 3), None);
        assert_eq!(row_of(i32::MIN, usize::MAX), None);
    }
}
