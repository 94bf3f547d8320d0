//! Causal attention.
//!
//! | new tokens of a sequence | how |
//! | --- | --- |
//! | one | [`step`]: keys and values are read once for all query heads that share them |
//! | more | [`prompt`]: tiles of queries against tiles of keys, as two dense products |
//!
//! Both keep a running maximum and sum (the online softmax), in powers of two.

use super::rope::CpuTokens;
use super::simd::Shared;
use crate::device::NewTokens;
use crate::spec::Attention;

mod prompt;
mod step;

/// Tokens whose scores are in hand at a time.
const TILE: usize = 64;

/// What all tasks of a call look at.
struct Operands<'a> {
    heads: Heads,
    queries: &'a [f32],
    keys: &'a [f32],
    values: &'a [f32],
    output: Shared<'a>,
}

/// Sizes of heads.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_field_names, reason = "the field's own name")]
struct Heads {
    kv_heads: usize,
    group: usize,
    dim: usize,
    /// To powers of two: `log2(e) / sqrt(d)`.
    scale: f32,
}

impl Heads {
    /// Floats of a token's keys.
    fn key_width(&self) -> usize {
        self.kv_heads * self.dim
    }

    /// Where the queries of `head`'s group begin in packed row `row`.
    fn query_at(&self, row: usize, head: usize) -> usize {
        (row * self.kv_heads + head) * self.group * self.dim
    }

    /// Where the key of `head` at `position` begins.
    fn key_at(&self, sequence: &NewTokens, position: usize, head: usize) -> usize {
        (sequence.row_begin + position) * self.key_width() + head * self.dim
    }
}

/// [`crate::device::Device::attention`].
pub(super) fn attention(
    shape: &Attention,
    tokens: &CpuTokens,
    queries: &[f32],
    keys: &[f32],
    values: &[f32],
    output: &mut [f32],
) {
    let operands = Operands {
        heads: Heads {
            kv_heads: shape.kv_heads as usize,
            group: shape.gqa_ratio as usize,
            dim: shape.head_dim as usize,
            scale: (f64::from(shape.head_dim).sqrt().recip() * std::f64::consts::LOG2_E) as f32,
        },
        queries,
        keys,
        values,
        output: Shared::new(output),
    };
    let sequences = || tokens.tokens.sequences.iter();
    debug_assert!(sequences().all(|sequence| sequence.total <= sequence.row_capacity));
    let steps: Vec<NewTokens> = sequences().filter(|s| s.count == 1).copied().collect();
    if !steps.is_empty() {
        step::attention(&operands, &steps);
    }
    let prompts: Vec<NewTokens> = sequences().filter(|s| s.count > 1).copied().collect();
    if !prompts.is_empty() {
        prompt::attention(&operands, &prompts);
    }
}
