//! `key_gram`: `M = K^T K` of a sequence's keys before RoPE.

use super::{dot, transposed};

/// The Gram matrix `[width, width]` of `keys` `[tokens, width]`.
pub fn key_gram(keys: &[f64], width: usize) -> Vec<f64> {
    let tokens = keys.len() / width;
    let columns = transposed(keys, width);
    let column = |index: usize| &columns[index * tokens..(index + 1) * tokens];
    let mut gram = vec![0.0; width * width];
    for row in 0..width {
        for other in row..width {
            let product = dot(column(row), column(other));
            gram[row * width + other] = product;
            gram[other * width + row] = product;
        }
    }
    gram
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_tokens() {
        let gram = key_gram(&[1.0, 2.0, 3.0, 0.0, 1.0, -1.0], 3);
        assert_eq!(gram, [1.0, 2.0, 3.0, 2.0, 5.0, 5.0, 3.0, 5.0, 10.0]);
        assert_eq!(key_gram(&[], 2), [0.0; 4]);
    }
}
