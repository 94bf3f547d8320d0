//! The step in `f64`, from its definition.

use crate::small_model::{CHUNK_SIZE, GQA_RATIO, HEAD_DIM, KV_HEADS, SELECTED_CHUNKS};

/// Compressed chunks.
pub const CHUNKS: usize = 40;
/// Tokens after them, kept exact.
pub const WINDOW: usize = 13;
/// Tokens of the sequence.
pub const TOKENS: usize = CHUNKS * CHUNK_SIZE + WINDOW;

/// Queries, keys and values that bf16 holds exactly.
pub struct Inputs {
    /// `[kv_heads, gqa_ratio, head_dim]`, after RoPE.
    pub queries: Vec<f32>,
    /// `[tokens, kv_heads, head_dim]`, after RoPE.
    pub keys: Vec<f32>,
    /// `[tokens, kv_heads, head_dim]`.
    pub values: Vec<f32>,
    /// `[kv_heads, chunks, head_dim]`: means of the chunks' keys, rounded to bf16.
    pub landmarks: Vec<f32>,
}

/// What a step gives.
pub struct Outcome {
    /// `[kv_heads, selected_chunks]`, ascending.
    pub selected: Vec<Vec<i32>>,
    /// `[kv_heads, gqa_ratio, head_dim]`.
    pub output: Vec<f64>,
}

impl Inputs {
    /// The same numbers every time.
    pub fn new() -> Inputs {
        let mut state = 0x9e37_79b9_u32;
        let mut number = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            // 7 bits and a sign: bf16 has 8.
            (state >> 24) as f32 / 128.0 - 1.0
        };
        let mut numbers = |count: usize| (0..count).map(|_| number()).collect::<Vec<f32>>();
        let queries = numbers(KV_HEADS * GQA_RATIO * HEAD_DIM);
        let keys = numbers(TOKENS * KV_HEADS * HEAD_DIM);
        let values = numbers(TOKENS * KV_HEADS * HEAD_DIM);
        let mut landmarks = Vec::new();
        for head in 0..KV_HEADS {
            for chunk in 0..CHUNKS {
                for dim in 0..HEAD_DIM {
                    let tokens = chunk * CHUNK_SIZE..(chunk + 1) * CHUNK_SIZE;
                    let sum: f32 = tokens.map(|token| keys[at(token, head) + dim]).sum();
                    // What is stored is rounded; what selects is what is stored.
                    landmarks.push(to_f32(to_bf16(sum / CHUNK_SIZE as f32)));
                }
            }
        }
        Inputs {
            queries,
            keys,
            values,
            landmarks,
        }
    }
}

/// Where a token's key or value of a head begins.
pub fn at(token: usize, head: usize) -> usize {
    (token * KV_HEADS + head) * HEAD_DIM
}

/// To the nearest bf16, ties to even.
pub fn to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

/// A bf16 as f32.
pub fn to_f32(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// The step by its definition.
pub fn decode(inputs: &Inputs) -> Outcome {
    let (mut selected, mut output) = (Vec::new(), Vec::new());
    for head in 0..KV_HEADS {
        let query =
            |query: usize| &inputs.queries[(head * GQA_RATIO + query) * HEAD_DIM..][..HEAD_DIM];
        // A chunk's score is the largest of the group's softmax weights, in logarithms.
        let mut score = vec![f64::NEG_INFINITY; CHUNKS];
        for q in 0..GQA_RATIO {
            let landmark =
                |chunk: usize| &inputs.landmarks[(head * CHUNKS + chunk) * HEAD_DIM..][..HEAD_DIM];
            let logits: Vec<f64> = (0..CHUNKS).map(|c| dot(query(q), landmark(c))).collect();
            let sum: f64 = logits.iter().map(|logit| logit.exp()).sum();
            for (score, logit) in score.iter_mut().zip(&logits) {
                *score = score.max(logit - sum.ln());
            }
        }
        let mut chunks: Vec<usize> = (0..CHUNKS).collect();
        chunks.sort_by(|a, b| score[*b].total_cmp(&score[*a]));
        chunks.truncate(SELECTED_CHUNKS);
        chunks.sort_unstable();
        let mut tokens: Vec<usize> = (CHUNKS * CHUNK_SIZE..TOKENS).collect();
        tokens.extend(
            chunks
                .iter()
                .flat_map(|c| c * CHUNK_SIZE..(c + 1) * CHUNK_SIZE),
        );
        for q in 0..GQA_RATIO {
            let key = |token: usize| &inputs.keys[at(token, head)..][..HEAD_DIM];
            let weights: Vec<f64> = tokens
                .iter()
                .map(|t| dot(query(q), key(*t)).exp())
                .collect();
            let total: f64 = weights.iter().sum();
            for dim in 0..HEAD_DIM {
                let value = |token: usize| f64::from(inputs.values[at(token, head) + dim]);
                let sum: f64 = tokens
                    .iter()
                    .zip(&weights)
                    .map(|(t, w)| w * value(*t))
                    .sum();
                output.push(sum / total);
            }
        }
        selected.push(chunks.into_iter().map(|chunk| chunk as i32).collect());
    }
    Outcome { selected, output }
}

/// `q . k / sqrt(head_dim)`.
fn dot(query: &[f32], key: &[f32]) -> f64 {
    let products = query
        .iter()
        .zip(key)
        .map(|(q, k)| f64::from(*q) * f64::from(*k));
    products.sum::<f64>() / (HEAD_DIM as f64).sqrt()
}
