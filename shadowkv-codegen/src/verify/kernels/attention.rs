//! What the cases of `decode_attention` and `sparse_attention` share: queries, and what attention makes of them.

use super::Target;
use crate::verify::case::{Content, Region, Segment, Values};
use crate::verify::inputs;
use crate::verify::oracle::attention::{weighted_sum, weights};
use crate::verify::oracle::length;
use crate::verify::random::Stream;
use crate::verify::tolerance::{BF16_ROUND, EXP, ROUND, float_sum, tensor_sum};

/// Times that a running sum may shrink, in warps, spans and their joining, each by an exponential and a product: the
/// largest logit so far rises with the logarithm of the tokens, in any order that is not made for the purpose.
const SHRINKS: f64 = 32.0;

/// How far the logits of a query spread.
#[derive(Clone, Copy)]
pub(super) enum Spread {
    /// As a model's do: many tokens have some weight.
    Usual,
    /// Almost all weight is on few tokens, and most exponents underflow.
    Wide,
}

/// One query token per sequence, `[batch, kv_heads, gqa_ratio, head_dim]`.
pub(super) struct Queries {
    values: Vec<f64>,
    head_dim: usize,
    group: usize,
}

impl Queries {
    pub(super) fn new(target: &Target, stream: &Stream, batch: usize, spread: Spread) -> Queries {
        let (head_dim, group) = (target.head_dim(), target.gqa_ratio());
        let scale = match spread {
            Spread::Usual => 0.8,
            Spread::Wide => 40.0,
        };
        let count = batch * target.kv_heads() * group * head_dim;
        Queries {
            values: inputs::normals(stream, "queries", count, scale),
            head_dim,
            group,
        }
    }

    pub(super) fn content(&self) -> Content {
        Content::Memory(vec![Segment::bf16s(0, &self.values)])
    }

    /// What the query heads of `list`, a sequence and KV head, make of `keys` and `values` `[tokens, head_dim]`.
    pub(super) fn expected(
        &self,
        list: usize,
        kv_heads: usize,
        keys: &[f64],
        values: &[f64],
    ) -> Vec<Region> {
        let size = self.group * self.head_dim;
        self.values[list * size..(list + 1) * size]
            .chunks_exact(self.head_dim)
            .enumerate()
            .map(|(head, query)| Region {
                argument: "output",
                first: (list * size + head * self.head_dim) as u64,
                shared: vec![
                    ("sequence", (list / kv_heads) as u64),
                    ("kv_head", (list % kv_heads) as u64),
                    ("query_head", head as u64),
                ],
                axes: vec![("element", 0, self.head_dim as u64)],
                values: attended(query, keys, values),
            })
            .collect()
    }
}

/// One head's output, and what the kernels' arithmetic may be off by.
fn attended(query: &[f64], keys: &[f64], values: &[f64]) -> Values {
    let head_dim = query.len();
    let weights = weights(query, keys);
    let output = weighted_sum(&weights, values, head_dim);
    let tokens = weights.len();
    let scale = 1.0 / (head_dim as f64).sqrt();
    let of_query = (tensor_sum(head_dim, length(query)) + 2.0 * ROUND * length(query)) * scale;
    let heaviest = weights.iter().copied().fold(0.0, f64::max);
    // Per element: sum |w v|; the same of errors that add up, and the squares of those that do not.
    let mut magnitude = vec![0.0; head_dim];
    let mut added = vec![0.0; head_dim];
    let mut rounded = vec![0.0; head_dim];
    let mut squares = vec![0.0; head_dim];
    for ((weight, key), value) in weights
        .iter()
        .zip(keys.chunks_exact(head_dim))
        .zip(values.chunks_exact(head_dim))
    {
        // A weight that is off moves the output from its mean, for the weights are divided by their sum as it is.
        let below = (heaviest / weight).ln().min(700.0);
        let off = of_query * length(key) + EXP * (below + 1.0 + SHRINKS);
        for (element, value) in value.iter().enumerate() {
            let moved = weight * (value - output[element]).abs();
            magnitude[element] += weight * value.abs();
            added[element] += off * moved;
            rounded[element] += moved;
            squares[element] += moved * moved;
        }
    }
    let slack = (0..head_dim)
        .map(|element| {
            // Weights are rounded to bfloat16 for the second product, as often up as down.
            let of_weights = BF16_ROUND * rounded[element].min(4.0 * squares[element].sqrt());
            let of_sums = tensor_sum(tokens, magnitude[element])
                + float_sum(tokens + 1, magnitude[element])
                + float_sum(tokens + 1, output[element].abs());
            (added[element] + of_weights + of_sums + 3.0 * ROUND * output[element].abs()) as f32
        })
        .collect();
    Values::Real {
        values: output,
        slack,
    }
}
