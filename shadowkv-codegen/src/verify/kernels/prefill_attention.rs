//! Cases of `prefill_attention`.

use std::collections::BTreeMap;

use shadowkv_runtime::manifest::Sizes;

use super::{Layer, LayerSketch, Sketch, Target};
use crate::verify::batch::{Lengths, Rows, affordable};
use crate::verify::case::{Case, Content, Expected, Region, Segment, Values};
use crate::verify::inputs;
use crate::verify::number::bf16;
use crate::verify::oracle::length;
use crate::verify::oracle::prefill_attention::{Attended, prefill_attention};
use crate::verify::random::Stream;
use crate::verify::tolerance::{BF16_ROUND, EXP, ROUND, float_sum, independent_errors, tensor_sum};

/// Products of elements that the oracle may take for a case.
const BUDGET: u64 = 60_000_000;

/// Share of the heaviest weight below which a weight may be lost as a whole: against a reference 2^60 above the heaviest,
/// less is below 2^-126, where exponents end.
const LOST: f64 = 2.710_505_431_213_761e-20; // 2^-65

/// Times the usual length that the last keys of a growing sequence have.
const GROWTH: f64 = 60.0;

/// One sequence: its tokens, and how many of them, the last, are new.
#[derive(Clone, Copy)]
struct Sequence {
    tokens: u32,
    new: u32,
}

/// A sequence of which everything is new.
fn prompt(tokens: u32) -> Sequence {
    continued(tokens, tokens)
}

/// A sequence of which the last `new` tokens are new.
fn continued(tokens: u32, new: u32) -> Sequence {
    Sequence { tokens, new }
}

/// How long the keys of a sequence are.
#[derive(Clone, Copy, PartialEq)]
enum Keys {
    /// All alike.
    Even,
    /// Longer and longer: later scores exceed all earlier ones by far, and the kernel must scale what it has summed.
    Growing,
}

pub(super) fn cases(target: &Target) -> Vec<Sketch> {
    let width = (target.width() * target.gqa_ratio()) as u64;
    // Every pair of a new token and one that it attends to is a product of the group's queries with a key.
    let pairs = affordable(BUDGET, width, 800, 200_000);
    let most = (2 * pairs).isqrt();
    let tile = target.constant("TILE_TOKENS");
    // Tokens of a tile of query rows.
    let own = target
        .constant("TILE_ROWS")
        .div_ceil(target.spec.attention.gqa_ratio);
    // As far as one new token, or a tile of them, can look back.
    let far = (pairs / 4).min(20 * tile) + 5;
    let late = own.min(most / 4) + 1;
    [
        ("no token", vec![prompt(0)], Keys::Even),
        ("one token", vec![prompt(1)], Keys::Even),
        (
            "one past a tile of tokens",
            vec![prompt(most.min(tile + 1))],
            Keys::Even,
        ),
        (
            "one past a tile of rows",
            vec![continued(most, most.min(own + 1))],
            Keys::Even,
        ),
        ("one long prompt", vec![prompt(most)], Keys::Even),
        ("one new token", vec![continued(far, 1)], Keys::Even),
        (
            "scores that grow",
            vec![continued(most, late)],
            Keys::Growing,
        ),
        (
            "ragged batch",
            vec![
                prompt(most / 2 + 1),
                prompt(0),
                continued(most / 2, 3),
                continued(tile / 2, 0),
                prompt(1),
                continued(most / 2 + 3, most / 4),
                prompt(tile.min(most / 2)),
            ],
            Keys::Even,
        ),
    ]
    .into_iter()
    .map(|(name, sequences, keys)| {
        Sketch::new(name, move |target, stream| {
            case(target, stream, &sequences, keys)
        })
    })
    .collect()
}

/// The attention of a prompt, whole or as much as can be emulated.
pub(super) fn layer(target: &Target, layer: &Layer) -> LayerSketch {
    let pair = (target.width() * target.gqa_ratio()) as f64 / 1024.0;
    let tokens = layer.affordable_pairs(pair);
    let sequences = vec![prompt(tokens); layer.batch as usize];
    LayerSketch {
        tokens,
        sketch: Sketch::of_layer(move |target, stream| {
            case(target, stream, &sequences, Keys::Even)
        }),
    }
}

fn case(target: &Target, stream: &Stream, sequences: &[Sequence], keys: Keys) -> Case {
    let width = target.width();
    let tokens = lengths("tokens", sequences, |sequence| sequence.tokens);
    let new = lengths("new tokens", sequences, |sequence| sequence.new);
    let (cache, packed) = (Rows::new(&tokens.each), Rows::new(&new.each));
    let query_width = width * target.gqa_ratio();
    let (mut all_keys, mut all_values, mut all_queries) = (Vec::new(), Vec::new(), Vec::new());
    let mut regions = Vec::new();
    for (index, sequence) in sequences.iter().enumerate() {
        let stream = stream.fork(&format!("sequence {index}"));
        let drawn = target.drawn(sequence.tokens as usize);
        let mut own_keys = inputs::keys(&stream, drawn, width);
        if keys == Keys::Growing {
            grow(&mut own_keys, width);
        }
        let own_values = inputs::normals(&stream, "values", drawn * width, 1.0);
        let drawn = target.drawn(sequence.new as usize);
        let own_queries = inputs::normals(&stream, "queries", drawn * query_width, 1.5);
        if target.compared() && sequence.new > 0 {
            regions.push(Region {
                argument: "output",
                first: packed.begin[index] * query_width as u64,
                shared: vec![("sequence", index as u64)],
                axes: vec![
                    ("new token", 0, u64::from(sequence.new)),
                    ("kv_head", 0, target.kv_heads() as u64),
                    ("query_head", 0, target.gqa_ratio() as u64),
                    ("element", 0, target.head_dim() as u64),
                ],
                values: expected(target, &own_queries, &own_keys, &own_values),
            });
        }
        let bytes = sequence.tokens as usize * width * 2;
        let row = cache.begin[index] * width as u64;
        all_keys.push(Segment::bf16s(row, &own_keys).repeated(bytes));
        all_values.push(Segment::bf16s(row, &own_values).repeated(bytes));
        let first = packed.begin[index] * query_width as u64;
        let bytes = sequence.new as usize * query_width * 2;
        all_queries.push(Segment::bf16s(first, &own_queries).repeated(bytes));
    }
    let begins = |rows: &Rows| Content::i64s(rows.begin.iter().map(|row| *row as i64));
    Case {
        sizes: Sizes::new()
            .with("batch", sequences.len() as u64)
            .with("cache_rows", cache.total)
            .with("max_queries", new.longest().into())
            .with("query_rows", packed.total)
            .with("total_pairs", sequences.iter().copied().map(pairs).sum())
            .with("total_queries", new.total())
            .with("total_tokens", tokens.total()),
        arguments: BTreeMap::from([
            ("queries", Content::Memory(all_queries)),
            ("keys", Content::Memory(all_keys)),
            ("values", Content::Memory(all_values)),
            ("query_begin", begins(&packed)),
            new.argument("query_count"),
            tokens.argument("token_count"),
            ("row_begin", begins(&cache)),
            ("output", Content::output()),
        ]),
        expected: Expected::Fixed(regions),
    }
}

fn lengths(name: &'static str, sequences: &[Sequence], of: fn(&Sequence) -> u32) -> Lengths {
    let each: Vec<u32> = sequences.iter().map(of).collect();
    Lengths::new(name, &each)
}

/// Pairs of a new token and a token that it attends to.
fn pairs(sequence: Sequence) -> u64 {
    let (tokens, new) = (u64::from(sequence.tokens), u64::from(sequence.new));
    new * (tokens - new) + new * (new + 1) / 2
}

/// Makes the keys longer from token to token.
fn grow(keys: &mut [f64], width: usize) {
    let tokens = keys.len() / width;
    for (token, key) in keys.chunks_exact_mut(width).enumerate() {
        let times = GROWTH * (token + 1) as f64 / tokens as f64;
        for element in key {
            *element = bf16(*element * times);
        }
    }
}

/// One KV head of `rows` `[rows, kv_heads, width]`: `[rows, width]`.
fn of_head(rows: &[f64], kv_heads: usize, kv_head: usize, width: usize) -> Vec<f64> {
    rows.chunks_exact(kv_heads * width)
        .flat_map(|row| &row[kv_head * width..(kv_head + 1) * width])
        .copied()
        .collect()
}

/// Output of a sequence, `[new tokens, kv_heads, gqa_ratio, head_dim]`.
fn expected(target: &Target, queries: &[f64], keys: &[f64], values: &[f64]) -> Values {
    let (kv_heads, head_dim, group) = (target.kv_heads(), target.head_dim(), target.gqa_ratio());
    let mut output = vec![0.0; queries.len()];
    let mut slack = vec![0.0_f32; queries.len()];
    for kv_head in 0..kv_heads {
        let own_queries = of_head(queries, kv_heads, kv_head, group * head_dim);
        let own_keys = of_head(keys, kv_heads, kv_head, head_dim);
        let own_values = of_head(values, kv_heads, kv_head, head_dim);
        let lengths: Vec<f64> = own_keys.chunks_exact(head_dim).map(length).collect();
        let all = prefill_attention(&own_queries, &own_keys, &own_values, group, head_dim);
        for (row, (attended, query)) in all
            .iter()
            .zip(own_queries.chunks_exact(head_dim))
            .enumerate()
        {
            let head = row / group * kv_heads * group + kv_head * group + row % group;
            let place = head * head_dim..(head + 1) * head_dim;
            output[place.clone()].copy_from_slice(&attended.output);
            slack[place].copy_from_slice(&tolerated(attended, query, &lengths, &own_values));
        }
    }
    Values::Real {
        values: output,
        slack,
    }
}

/// What one query's output may be off by, element by element. The output is a weighted mean: a weight that is off by a
/// share e moves it by e times the weight and the distance of its value from the mean.
fn tolerated(attended: &Attended, query: &[f64], lengths: &[f64], values: &[f64]) -> Vec<f32> {
    let Attended { weights, output } = attended;
    let head_dim = query.len();
    let scale = 1.0 / (head_dim as f64).sqrt();
    let heaviest = weights.iter().copied().fold(0.0, f64::max);
    // sum |a b| is at most the product of the lengths; the score's scaling, itself rounded, comes on top.
    let of_query = (tensor_sum(head_dim, length(query)) + 3.0 * ROUND * length(query)) * scale;
    let (mut rounded, mut turned, mut magnitude) = (
        vec![0.0; head_dim],
        vec![0.0; head_dim],
        vec![0.0; head_dim],
    );
    for ((weight, key), value) in weights
        .iter()
        .zip(lengths)
        .zip(values.chunks_exact(head_dim))
    {
        let below = (heaviest / weight.max(f64::MIN_POSITIVE)).ln();
        // The reference of the exponent is up to 2^60 above the heaviest weight: what is subtracted is larger by that.
        let share = if *weight < heaviest * LOST {
            1.0
        } else {
            of_query * key + EXP * (42.0 + below)
        };
        for (element, value) in value.iter().enumerate() {
            let moves = weight * (value - output[element]).abs();
            rounded[element] += moves * moves;
            turned[element] += moves * share;
            magnitude[element] += weight * value.abs();
        }
    }
    let tokens = weights.len();
    (0..head_dim)
        .map(|element| {
            // Both sides of the fraction are sums in tensor cores, scaled now and then; the fraction is rounded twice.
            let sums = magnitude[element] + output[element].abs();
            let sums = tensor_sum(tokens, sums)
                + float_sum(tokens.div_ceil(16), sums)
                + 2.0 * ROUND * sums;
            (independent_errors(BF16_ROUND, rounded[element]) + turned[element] + sums) as f32
        })
        .collect()
}
