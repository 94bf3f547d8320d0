//! `prefill_attention`: causal attention of a sequence's new tokens, the last of its tokens.

use super::attention::{weighted_sum, weights};

/// What one query attends to, and what comes of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Attended {
    /// Softmax weights of the tokens up to the query's own, from the first on.
    pub weights: Vec<f64>,
    /// Their values' weighted sum, `[head_dim]`.
    pub output: Vec<f64>,
}

/// Attention of one KV head: `queries` `[new tokens, group, head_dim]` over `keys` and `values` `[tokens, head_dim]`. The
/// new tokens are the last, and each attends to all tokens before it and to itself. One result for every new token and
/// query head of the group.
pub fn prefill_attention(
    queries: &[f64],
    keys: &[f64],
    values: &[f64],
    group: usize,
    head_dim: usize,
) -> Vec<Attended> {
    let tokens = keys.len() / head_dim;
    let new = queries.len() / (group * head_dim);
    let of_query = |(index, query): (usize, &[f64])| {
        let position = tokens - new + index / group;
        let visible = (position + 1) * head_dim;
        let weights = weights(query, &keys[..visible]);
        let output = weighted_sum(&weights, &values[..visible], head_dim);
        Attended { weights, output }
    };
    queries
        .chunks_exact(head_dim)
        .enumerate()
        .map(of_query)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys that no query of these tells apart: everyone attends to all tokens that it sees alike.
    #[test]
    fn a_token_sees_itself_and_what_is_before_it() {
        let values = [6.0, 0.0, 12.0, 3.0, 0.0, 6.0];
        let keys = [1.0, 0.0, 1.0, 5.0, 1.0, -5.0];
        let queries = [2.0, 0.0, 7.0, 0.0, -1.0, 0.0, 3.0, 0.0];
        // Two new tokens of two query heads each: the first of them is the second of three tokens.
        let found = prefill_attention(&queries, &keys, &values, 2, 2);
        let expected = [[9.0, 1.5], [9.0, 1.5], [6.0, 3.0], [6.0, 3.0]];
        assert_eq!(found.len(), expected.len());
        for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
            assert_eq!(found.weights.len(), 2 + index / 2);
            for (found, expected) in found.output.iter().zip(expected) {
                assert!((found - expected).abs() < 1e-14);
            }
        }
    }

    #[test]
    fn nothing_new_is_nothing_to_do() {
        assert_eq!(prefill_attention(&[], &[1.0, 2.0], &[1.0, 2.0], 3, 2), []);
    }
}
