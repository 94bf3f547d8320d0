//! Cases of `rope_append`.

use std::collections::BTreeMap;

use shadowkv_runtime::manifest::Sizes;

use super::rings::Rings;
use super::{Layer, LayerSketch, Sketch, Target};
use crate::verify::batch::{Lengths, Rows, affordable, rope_tables};
use crate::verify::case::{Case, Content, Expected, Region, Segment, Values};
use crate::verify::inputs;
use crate::verify::oracle::rope::{Rotary, Turns};
use crate::verify::oracle::rope_append::{parts, positions, rows};
use crate::verify::random::Stream;
use crate::verify::tolerance::rotation;

/// Elements of the projections of a case.
const BUDGET: u64 = 600_000;
/// Bytes of the projections of a launch that is measured.
const LAYER_BYTES: u64 = 48 << 20;

/// One sequence of a launch.
#[derive(Clone, Copy)]
struct Sequence {
    /// New tokens.
    new: u32,
    /// Tokens before them.
    before: u32,
    /// Rows of its ring.
    capacity: u32,
}

/// A launch.
#[derive(Clone)]
struct Batch {
    sequences: Vec<Sequence>,
    /// Whether keys before `RoPE` are kept.
    keep: bool,
}

pub(super) fn cases(target: &Target) -> Vec<Sketch> {
    let chunk = target.spec.shadowkv.chunk_size;
    let each = (target.gqa_ratio() as u64 + 2) * target.width() as u64;
    let most = affordable(BUDGET, each, 8, 300);
    let tile = target.constant("TILE_TOKENS");
    let last = target.spec.rope.max_position;
    let of = |new: u32, before: u32, capacity: u32| Sequence {
        new,
        before,
        capacity: capacity.next_multiple_of(chunk),
    };
    // A cache that holds all tokens.
    let whole = |new: u32, before: u32| of(new, before, new + before);
    let sketch = |name: &'static str, keep: bool, sequences: Vec<Sequence>| {
        let batch = Batch { sequences, keep };
        Sketch::new(name, move |target, stream| case(target, stream, &batch))
    };
    vec![
        sketch("first token", true, vec![whole(1, 0)]),
        sketch(
            "one token each",
            true,
            vec![
                of(1, 100, 2 * chunk),
                of(0, 7, chunk),
                of(1, 4 * chunk, 4 * chunk),
                of(1, 4 * chunk - 1, 4 * chunk),
                of(1, 0, chunk),
            ],
        ),
        sketch("a prompt", false, vec![whole(most, 0)]),
        sketch("no token", true, vec![of(0, 3, chunk)]),
        sketch(
            "more tokens than the ring holds",
            true,
            vec![of(3 * chunk + 1, 5, chunk), of(2 * chunk, chunk + 2, chunk)],
        ),
        sketch(
            "ragged batch",
            true,
            vec![
                whole(tile + 1, 3),
                of(0, 0, chunk),
                of(tile, 1000, 2 * tile),
                of(2 * tile - 1, 2 * chunk - 1, 2 * tile + chunk),
                whole(1, 2),
            ],
        ),
        sketch(
            "full attention",
            false,
            vec![whole(tile - tile / 2, 9), whole(1, 30), whole(2, 0)],
        ),
        sketch(
            "the model's last positions",
            true,
            vec![of(3, last - 3, 4 * chunk), of(1, last - 1, chunk)],
        ),
    ]
}

/// The prompt of a layer, or as much of it as can be emulated in some seconds.
pub(super) fn layer(target: &Target, layer: &Layer) -> LayerSketch {
    let each = (target.gqa_ratio() as u64 + 2) * target.width() as u64 * 2 * u64::from(layer.batch);
    let tokens = affordable(LAYER_BYTES, each, 1, layer.context);
    let sequence = Sequence {
        new: tokens,
        before: 0,
        capacity: tokens.next_multiple_of(target.spec.shadowkv.chunk_size),
    };
    let batch = Batch {
        sequences: vec![sequence; layer.batch as usize],
        keep: true,
    };
    LayerSketch {
        tokens,
        sketch: Sketch::of_layer(move |target, stream| case(target, stream, &batch)),
    }
}

fn case(target: &Target, stream: &Stream, batch: &Batch) -> Case {
    let Batch { sequences, keep } = batch;
    let (width, gqa_ratio) = (target.width(), target.gqa_ratio());
    let row = (gqa_ratio + 2) * width;
    let each = |count: fn(&Sequence) -> u32| -> Vec<u32> { sequences.iter().map(count).collect() };
    let new = Lengths::new("new tokens", &each(|sequence| sequence.new));
    let tokens = Lengths::new("tokens", &each(|sequence| sequence.before + sequence.new));
    let packed = Rows::new(&new.each);
    let rings = Rings::new(&each(|sequence| sequence.capacity));
    let tables = rope_tables(target.spec, sequences.len());
    let rotary = Rotary::new(&target.spec.rope);
    let (mut qkv, mut regions) = (Vec::new(), Vec::new());
    for (index, sequence) in sequences.iter().enumerate() {
        let stream = stream.fork(&format!("sequence {index}"));
        let count = sequence.new as usize;
        let own = inputs::keys(&stream, target.drawn(count), row);
        let segment = Segment::bf16s(packed.begin[index] * row as u64, &own);
        qkv.push(segment.repeated(count * row * 2));
        if target.compared() {
            let place = Place {
                sequence: index,
                first_row: packed.begin[index],
                table: tables[index] as usize,
                keep: *keep,
            };
            expected(
                target,
                &own,
                sequence,
                &place,
                &rotary,
                &rings,
                &mut regions,
            );
        }
    }
    let mut arguments = BTreeMap::from([
        ("qkv", Content::Memory(qkv)),
        (
            "query_begin",
            Content::i64s(packed.begin.iter().map(|row| *row as i64)),
        ),
        new.argument("query_count"),
        tokens.argument("token_count"),
        ("rope_table", Content::i32s(tables)),
        ("queries", Content::output()),
        ("keys", Content::output()),
        ("values", Content::output()),
        ("k_pre", Content::output()),
        ("keep_k_pre", Content::Scalar(i64::from(*keep))),
    ]);
    arguments.extend(rings.arguments());
    Case {
        sizes: Sizes::new()
            .with("batch", sequences.len() as u64)
            .with("cache_rows", rings.rows)
            .with("max_queries", new.longest().into())
            .with("query_rows", packed.total)
            .with("total_queries", new.total()),
        arguments,
        expected: Expected::Fixed(regions),
    }
}

/// Where a sequence's tokens are, and how they turn.
struct Place {
    sequence: usize,
    first_row: u64,
    table: usize,
    keep: bool,
}

/// What must come of a sequence whose projections are `qkv`.
fn expected(
    target: &Target,
    qkv: &[f64],
    sequence: &Sequence,
    place: &Place,
    rotary: &Rotary,
    rings: &Rings,
    regions: &mut Vec<Region>,
) {
    let (width, head_dim, gqa_ratio) = (target.width(), target.head_dim(), target.gqa_ratio());
    let [queries, keys, values] = parts(gqa_ratio, target.kv_heads(), head_dim);
    let tokens = (sequence.before + sequence.new) as usize;
    let positions = positions(tokens, sequence.new as usize);
    let kept = rows(positions.clone(), sequence.capacity as usize);
    let projections = qkv.chunks_exact((gqa_ratio + 2) * width);
    for (token, (projection, (position, kept))) in projections.zip(positions.zip(kept)).enumerate()
    {
        let turns = rotary.turns(place.table, position);
        let shared = vec![
            ("sequence", place.sequence as u64),
            ("position", position as u64),
        ];
        let region = |argument, row: u64, heads: usize, values: Values| Region {
            argument,
            first: row * (heads * head_dim) as u64,
            shared: shared.clone(),
            axes: vec![("head", 0, heads as u64), ("element", 0, head_dim as u64)],
            values,
        };
        let (kv_heads, query_heads) = (target.kv_heads(), target.kv_heads() * gqa_ratio);
        regions.push(region(
            "queries",
            place.first_row + token as u64,
            query_heads,
            turned(&projection[queries.clone()], &turns, rotary, head_dim),
        ));
        let Some(row) = kept else {
            continue;
        };
        let row = rings.begin(place.sequence) + row as u64;
        let own = &projection[keys.clone()];
        regions.push(region(
            "keys",
            row,
            kv_heads,
            turned(own, &turns, rotary, head_dim),
        ));
        regions.push(region(
            "values",
            row,
            kv_heads,
            bits(&projection[values.clone()]),
        ));
        if place.keep {
            regions.push(region("k_pre", row, kv_heads, bits(own)));
        }
    }
}

/// Heads turned by `turns`.
fn turned(heads: &[f64], turns: &Turns, rotary: &Rotary, head_dim: usize) -> Values {
    let mut values = heads.to_vec();
    let mut slack = vec![0.0_f32; heads.len()];
    for (head, slack) in values
        .chunks_exact_mut(head_dim)
        .zip(slack.chunks_exact_mut(head_dim))
    {
        for pair in 0..turns.len() {
            let (first, second) = rotary.pair(pair);
            let error = rotation(head[first], head[second], rotary.factor, 0.0) as f32;
            slack[first] = error;
            slack[second] = error;
        }
        rotary.rotate(head, turns);
    }
    Values::Real { values, slack }
}

/// bfloat16 numbers as they are.
fn bits(values: &[f64]) -> Values {
    Values::Exact(Segment::bf16s(0, values).bytes)
}
