//! Attention of one query over some tokens: what `prefill_attention`, `decode_attention` and `sparse_attention` compute of
//! different sets of tokens.

use super::dot;

/// Softmax weights `[tokens]` of `keys` `[tokens, head_dim]` for `query` `[head_dim]`: of `q . k / sqrt(head_dim)`.
pub fn weights(query: &[f64], keys: &[f64]) -> Vec<f64> {
    let scale = 1.0 / (query.len() as f64).sqrt();
    let mut weights: Vec<f64> = keys
        .chunks_exact(query.len())
        .map(|key| dot(query, key) * scale)
        .collect();
    let largest = weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    for weight in &mut weights {
        *weight = (*weight - largest).exp();
    }
    let sum: f64 = weights.iter().sum();
    for weight in &mut weights {
        *weight /= sum;
    }
    weights
}

/// Sum of `values` `[tokens, head_dim]`, weighted by `weights` `[tokens]`; zeros if there is no token.
pub fn weighted_sum(weights: &[f64], values: &[f64], head_dim: usize) -> Vec<f64> {
    let mut output = vec![0.0; head_dim];
    for (weight, value) in weights.iter().zip(values.chunks_exact(head_dim)) {
        for (sum, element) in output.iter_mut().zip(value) {
            *sum += weight * element;
        }
    }
    output
}

/// Attention output `[head_dim]` of `query` `[head_dim]` over `keys` and `values` `[tokens, head_dim]`.
pub fn attention(query: &[f64], keys: &[f64], values: &[f64]) -> Vec<f64> {
    weighted_sum(&weights(query, keys), values, query.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_three_times_as_likely() {
        let query = [2.0, 0.0, 0.0, 0.0];
        let keys = [3.0_f64.ln(), 5.0, 0.0, 0.0, 0.0, -7.0, 0.0, 1.0];
        let found = weights(&query, &keys);
        assert!((found[0] - 0.75).abs() < 1e-15 && (found[1] - 0.25).abs() < 1e-15);
        let output = attention(&query, &keys, &[4.0, 0.0, 1.0, 0.0, 8.0, 4.0, 1.0, 0.0]);
        for (found, expected) in output.iter().zip([5.0, 1.0, 1.0, 0.0]) {
            assert!((found - expected).abs() < 1e-14);
        }
    }

    #[test]
    fn large_logits_and_no_token() {
        let keys = [2000.0, 0.0, -2000.0, 0.0];
        assert_eq!(
            attention(&[1.0, 1.0], &keys, &[1.0, 2.0, 3.0, 4.0]),
            [1.0, 2.0]
        );
        assert_eq!(attention(&[1.0, 1.0], &[], &[]), [0.0, 0.0]);
    }
}
