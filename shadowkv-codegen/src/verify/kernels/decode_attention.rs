//! Cases of `decode_attention`.

use std::collections::BTreeMap;

use shadowkv_runtime::manifest::Sizes;

use super::attention::{Queries, Spread};
use super::{Layer, LayerSketch, Sketch, Target};
use crate::verify::batch::{Lengths, Rows, affordable};
use crate::verify::case::{Case, Content, Expected, Segment};
use crate::verify::inputs;
use crate::verify::random::Stream;

/// Multiply-adds of the oracle that a case may take.
const BUDGET: u64 = 15_000_000;

pub(super) fn cases(target: &Target) -> Vec<Sketch> {
    let span = target.constant("SPAN_TOKENS");
    let each = (target.width() * (6 * target.gqa_ratio() + 20)) as u64;
    // Beyond the most spans of a list, where that is affordable.
    let beyond = target.constant("MAX_SPANS") * span + 1;
    let most = affordable(BUDGET, each, span + 150, beyond);
    let step = target.constant("WARPS") * 16;
    let lengths = [
        Lengths::new("no token", &[0]),
        Lengths::new("one token", &[1]),
        Lengths::new("one past a step of all warps", &[step + 1]),
        Lengths::new("one span", &[span]),
        Lengths::new("one past a span", &[span + 1]),
        Lengths::new("one long sequence", &[most]),
        Lengths::new(
            "ragged batch",
            &[most / 2 + 3, 0, step - 1, 1, span + 17, 16, most / 5 + 1],
        ),
    ];
    let mut cases: Vec<Sketch> = lengths
        .into_iter()
        .map(|lengths| sketch(lengths.name, lengths, Spread::Usual))
        .collect();
    let wide = Lengths::new("", &[span + 40, 30]);
    cases.push(sketch("logits far apart", wide, Spread::Wide));
    cases
}

/// A step of full attention.
pub(super) fn layer(target: &Target, layer: &Layer) -> LayerSketch {
    let products = target.kv_heads() * target.head_dim().div_ceil(16) * 2;
    let heads = target.gqa_ratio().div_ceil(8);
    let tokens = layer.affordable((products * heads) as f64 / 16.0);
    let lengths = layer.lengths(tokens);
    LayerSketch {
        tokens,
        sketch: Sketch::of_layer(move |target, stream| {
            case(target, stream, &lengths, Spread::Usual)
        }),
    }
}

fn sketch(name: &'static str, lengths: Lengths, spread: Spread) -> Sketch {
    Sketch::new(name, move |target, stream| {
        case(target, stream, &lengths, spread)
    })
}

fn case(target: &Target, stream: &Stream, lengths: &Lengths, spread: Spread) -> Case {
    let (kv_heads, head_dim, width) = (target.kv_heads(), target.head_dim(), target.width());
    let batch = lengths.each.len();
    let rows = Rows::new(&lengths.each);
    let queries = Queries::new(target, stream, batch, spread);
    let (mut keys, mut values, mut regions) = (Vec::new(), Vec::new(), Vec::new());
    for (sequence, count) in lengths.each.iter().enumerate() {
        let stream = stream.fork(&format!("sequence {sequence}"));
        let count = *count as usize;
        let drawn = target.drawn(count);
        let own_keys = inputs::keys(&stream, drawn, width);
        let own_values = inputs::normals(&stream, "values", drawn * width, 1.0);
        if target.compared() {
            for kv_head in 0..kv_heads {
                let list = sequence * kv_heads + kv_head;
                let [keys, values] = [&own_keys, &own_values]
                    .map(|rows| of_head(rows, width, kv_head * head_dim..(kv_head + 1) * head_dim));
                regions.extend(queries.expected(list, kv_heads, &keys, &values));
            }
        }
        let first = rows.begin[sequence] * width as u64;
        keys.push(Segment::bf16s(first, &own_keys).repeated(count * width * 2));
        values.push(Segment::bf16s(first, &own_values).repeated(count * width * 2));
    }
    let begins = rows.begin.iter().map(|row| *row as i64);
    Case {
        sizes: Sizes::new()
            .with("batch", batch as u64)
            .with("cache_rows", rows.total)
            .with("max_tokens", lengths.longest().into())
            .with("total_tokens", lengths.total()),
        arguments: BTreeMap::from([
            ("queries", queries.content()),
            ("keys", Content::Memory(keys)),
            ("values", Content::Memory(values)),
            lengths.argument("token_count"),
            ("row_begin", Content::i64s(begins)),
            ("output", Content::output()),
            ("workspace", Content::Scratch),
            ("arrivals", Content::u32s(vec![0; batch * kv_heads])),
        ]),
        expected: Expected::Fixed(regions),
    }
}

/// One head's columns of `rows` `[tokens, width]`.
fn of_head(rows: &[f64], width: usize, columns: std::ops::Range<usize>) -> Vec<f64> {
    rows.chunks_exact(width)
        .flat_map(|row| row[columns.clone()].iter().copied())
        .collect()
}
