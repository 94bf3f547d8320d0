//! Weights of no model, for measurements that need no download.

use std::sync::Arc;

use super::{LayerWeights, ModelError, ModelWeights};
use crate::spec::{ModelFamily, Spec};
use crate::weights::{Bytes, Tensor, WeightType};

/// Magnitudes of the weights: small, so that sums of thousands stay numbers.
const EXPONENT: u16 = 0x3c80;

impl ModelWeights {
    /// bf16 weights of every shape that the spec demands, small numbers of both signs, the same every time. All tensors lie in
    /// the same memory, as large as the largest. What a model with them says means nothing; how long it takes does.
    ///
    /// # Errors
    ///
    /// [`ModelError::NoDecoder`].
    pub fn synthetic(spec: &Spec) -> Result<ModelWeights, ModelError> {
        let decoder = spec.decoder.as_ref().ok_or_else(|| ModelError::NoDecoder {
            name: spec.name.clone(),
        })?;
        let attention = &spec.attention;
        let dim = attention.head_dim as usize;
        let (query, key) = (
            attention.query_heads() as usize * dim,
            attention.key_width() as usize,
        );
        let (hidden, ffn) = (decoder.hidden as usize, decoder.ffn as usize);
        let vocab = decoder.vocab as usize;
        let most = [vocab, query + 2 * key, 2 * ffn].into_iter().max();
        let elements = hidden.max(ffn).max(query) * most.unwrap_or(0);
        let data: Arc<dyn AsRef<[u8]> + Send + Sync> = Arc::new(numbers(elements));
        let tensor = |name: &str, shape: &[usize]| Tensor {
            name: name.to_owned(),
            dtype: WeightType::Bf16,
            shape: shape.to_vec(),
            data: Bytes::new(Arc::clone(&data), 0, 2 * shape.iter().product::<usize>()),
            row_order: None,
        };
        let fused = decoder.family == ModelFamily::Phi3;
        let layer = |_| LayerWeights {
            input_norm: tensor("input norm", &[hidden]),
            qkv: if fused {
                vec![tensor("qkv", &[query + 2 * key, hidden])]
            } else {
                vec![
                    tensor("q", &[query, hidden]),
                    tensor("k", &[key, hidden]),
                    tensor("v", &[key, hidden]),
                ]
            },
            qkv_bias: if decoder.qkv_bias {
                vec![tensor("qkv bias", &[query + 2 * key])]
            } else {
                Vec::new()
            },
            head_norms: decoder
                .qk_norm
                .then(|| (tensor("query norm", &[dim]), tensor("key norm", &[dim]))),
            output: tensor("output", &[hidden, query]),
            post_norm: tensor("post norm", &[hidden]),
            gate_up: vec![tensor("gate and up", &[2 * ffn, hidden])],
            down: tensor("down", &[hidden, ffn]),
        };
        Ok(ModelWeights {
            embedding: tensor("embedding", &[vocab, hidden]),
            layers: (0..decoder.layers).map(layer).collect(),
            final_norm: tensor("final norm", &[hidden]),
            lm_head: (!decoder.tied_embeddings).then(|| tensor("output head", &[vocab, hidden])),
        })
    }
}

/// `count` bf16 numbers of magnitude 2^-6 to 2^-5.
fn numbers(count: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut bytes = Vec::with_capacity(2 * count);
    while bytes.len() < 2 * count {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        for part in 0..4 {
            let bits = (state >> (16 * part)) as u16;
            // A sign and seven bits of mantissa.
            bytes.extend_from_slice(&(EXPONENT | bits & 0x807f).to_le_bytes());
        }
    }
    bytes.truncate(2 * count);
    bytes
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

    use super::*;

    #[test]
    fn numbers_are_small_and_of_both_signs() {
        let bytes = numbers(10_001);
        let numbers: Vec<f32> = bytes
            .as_chunks::<2>()
            .0
            .iter()
            .map(|bytes| half::bf16::from_le_bytes(*bytes).to_f32())
            .collect();
        assert_eq!(numbers.len(), 10_001);
        let most = numbers
            .iter()
            .fold(0.0_f32, |most, own| most.max(own.abs()));
        let least = numbers
            .iter()
            .fold(1.0_f32, |least, own| least.min(own.abs()));
        assert!(least >= 1.0 / 64.0 && most < 1.0 / 32.0);
        let negative = numbers.iter().filter(|own| **own < 0.0).count();
        assert!((4500..5500).contains(&negative), "{negative}");
    }
}
