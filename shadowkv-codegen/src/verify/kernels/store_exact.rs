//! Cases of `store_exact`.

use std::collections::BTreeMap;

use shadowkv_runtime::manifest::Sizes;

use super::rings::Rings;
use super::{Layer, LayerSketch, Sketch, Target};
use crate::verify::batch::{Lengths, Rows, affordable};
use crate::verify::case::{Case, Content, Expected, Region, Segment, Values, bytes_of};
use crate::verify::oracle::store_exact::{members, window};
use crate::verify::random::Stream;

/// Bytes that a case may copy.
const BUDGET: u64 = 4 << 20;
/// Bytes of a prompt's buffers in a launch that is measured; most of them is never looked at.
const LAYER_BYTES: u64 = 384 << 20;

/// Outliers of each list.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outliers {
    None,
    /// None, all that there is room for, and anything, by turns.
    Mixed,
    /// As many as the spec keeps.
    Usual,
}

/// One sequence of a launch.
#[derive(Clone, Copy)]
struct Sequence {
    /// Compressed chunks.
    chunks: u32,
    /// Tokens of the exact window.
    window: u32,
    /// Rows of its ring.
    capacity: u32,
}

#[derive(Clone)]
struct Batch {
    sequences: Vec<Sequence>,
    outliers: Outliers,
    /// Most outliers of a list.
    most: u32,
    /// Outliers that each list has room for.
    capacity: u32,
}

pub(super) fn cases(target: &Target) -> Vec<Sketch> {
    let chunk = target.spec.shadowkv.chunk_size;
    let outlier_bytes = (target.chunk_size() * target.width() * 4) as u64;
    let room = target.spec.shadowkv.outlier_chunks + 2;
    let most = |sequences: u64| affordable(BUDGET, outlier_bytes * sequences, 2, room);
    let of = |chunks: u32, window: u32, capacity: u32| Sequence {
        chunks,
        window,
        capacity: capacity.next_multiple_of(chunk),
    };
    let sketch = |name, outliers, most, capacity, sequences: Vec<Sequence>| {
        let batch = Batch {
            sequences,
            outliers,
            most,
            capacity,
        };
        Sketch::new(name, move |target: &Target, stream: &Stream| {
            case(target, stream, &batch)
        })
    };
    let local = target.spec.shadowkv.local_chunks * chunk;
    vec![
        sketch("one token", Outliers::None, 0, room, vec![of(0, 1, chunk)]),
        sketch("no token", Outliers::None, 0, room, vec![of(0, 0, chunk)]),
        sketch(
            "within the exact window",
            Outliers::Mixed,
            0,
            room,
            vec![of(0, 2 * chunk + chunk / 2, 3 * chunk)],
        ),
        sketch(
            "no room for outliers",
            Outliers::None,
            0,
            0,
            vec![of(5, chunk + 1, 3 * chunk)],
        ),
        sketch(
            "all outliers",
            Outliers::Mixed,
            most(1),
            room,
            vec![of(most(1) + 3, chunk + 1, 4 * chunk)],
        ),
        sketch(
            "ragged batch",
            Outliers::Mixed,
            most(4),
            room,
            vec![
                of(40, local + 3, local + 4 * chunk),
                of(0, 0, chunk),
                of(1, 1, 2 * chunk),
                of(7, 2 * chunk, 3 * chunk),
                of(most(4) + 9, 2 * chunk - 1, 2 * chunk),
            ],
        ),
    ]
}

/// What a layer keeps exact, of its context or of as much as fits in memory three times.
pub(super) fn layer(target: &Target, layer: &Layer) -> LayerSketch {
    let chunk = target.spec.shadowkv.chunk_size;
    let each = target.width() as u64 * 6 * u64::from(layer.batch);
    let tokens = affordable(LAYER_BYTES, each, 1, layer.context);
    let compressed = (tokens / chunk).saturating_sub(target.spec.shadowkv.local_chunks);
    let window = tokens - compressed * chunk;
    let outliers = target.spec.shadowkv.outlier_chunks;
    let sequence = Sequence {
        chunks: compressed,
        window,
        capacity: (window + target.spec.shadowkv.generated_window).next_multiple_of(chunk),
    };
    let batch = Batch {
        sequences: vec![sequence; layer.batch as usize],
        outliers: Outliers::Usual,
        most: outliers,
        capacity: outliers,
    };
    LayerSketch {
        tokens,
        sketch: Sketch::of_layer(move |target, stream| case(target, stream, &batch)),
    }
}

/// What a case comes to.
#[derive(Default)]
struct Parts {
    k_pre: Vec<Segment>,
    keys: Vec<Segment>,
    values: Vec<Segment>,
    regions: Vec<Region>,
    outlier_chunks: Vec<i32>,
    outlier_count: Vec<i32>,
}

impl Parts {
    /// A new part of the prompt's keys or values, any bits, and the same bits where they are expected.
    fn copied(
        &mut self,
        numbers: &mut Stream,
        elements: usize,
        from: (&'static str, u64),
        expected: Region,
    ) {
        let bytes = bytes_of((0..elements).map(|_| (numbers.bits() as u16).to_le_bytes()));
        let segments = match from.0 {
            "k_pre" => &mut self.k_pre,
            "keys" => &mut self.keys,
            _ => &mut self.values,
        };
        segments.push(Segment {
            offset: from.1 * 2,
            bytes: bytes.clone(),
        });
        self.regions.push(Region {
            values: Values::Exact(bytes),
            ..expected
        });
    }
}

fn case(target: &Target, stream: &Stream, batch: &Batch) -> Case {
    let chunk = target.spec.shadowkv.chunk_size;
    let sequences = &batch.sequences;
    let each =
        |count: &dyn Fn(&Sequence) -> u32| -> Vec<u32> { sequences.iter().map(count).collect() };
    let tokens = each(&|sequence| sequence.chunks * chunk + sequence.window);
    let rows = Rows::new(&tokens);
    let rings = Rings::new(&each(&|sequence| sequence.capacity));
    let mut parts = Parts::default();
    let mut numbers = stream.fork("numbers");
    for (index, sequence) in sequences.iter().enumerate() {
        store_window(
            target,
            index,
            sequence,
            (rows.begin[index], &rings),
            &mut numbers,
            &mut parts,
        );
        for kv_head in 0..target.kv_heads() {
            let most = batch.most.min(sequence.chunks);
            let count = match (batch.outliers, kv_head % 3) {
                (Outliers::None, _) | (Outliers::Mixed, 1) => 0,
                (Outliers::Usual, _) | (Outliers::Mixed, 0) => most,
                (Outliers::Mixed, _) => numbers.below(u64::from(most) + 1) as u32,
            };
            let chunks = numbers.sample(count as usize, sequence.chunks as usize);
            let place = (index, kv_head, rows.begin[index]);
            store_outliers(
                target,
                place,
                &chunks,
                batch.capacity,
                &mut numbers,
                &mut parts,
            );
        }
    }
    let outliers: i64 = parts.outlier_count.iter().copied().map(i64::from).sum();
    let mut arguments = BTreeMap::from([
        ("k_pre", Content::Memory(parts.k_pre)),
        ("keys", Content::Memory(parts.keys)),
        ("values", Content::Memory(parts.values)),
        rows.argument(),
        Lengths::new("tokens", &tokens).argument("token_count"),
        Lengths::new("chunks", &each(&|sequence| sequence.chunks)).argument("chunk_count"),
        ("outlier_chunks", Content::i32s(parts.outlier_chunks)),
        ("outlier_count", Content::i32s(parts.outlier_count)),
        ("outlier_keys", Content::output()),
        ("outlier_values", Content::output()),
        ("window_keys", Content::output()),
        ("window_values", Content::output()),
        ("window_k_pre", Content::output()),
        ("outlier_capacity", Content::Scalar(batch.capacity.into())),
    ]);
    arguments.extend(rings.arguments());
    let windows = sequences.iter().map(|sequence| u64::from(sequence.window));
    Case {
        sizes: Sizes::new()
            .with("batch", sequences.len() as u64)
            .with("cache_rows", rings.rows)
            .with("outlier_capacity", batch.capacity.into())
            .with("token_rows", rows.total)
            .with("total_outliers", outliers.unsigned_abs())
            .with("total_window", windows.sum()),
        arguments,
        expected: Expected::Fixed(parts.regions),
    }
}

/// The exact window of a sequence whose prompt begins at row `begin`.
fn store_window(
    target: &Target,
    index: usize,
    sequence: &Sequence,
    (begin, rings): (u64, &Rings),
    numbers: &mut Stream,
    parts: &mut Parts,
) {
    let (chunk, width) = (target.chunk_size(), target.width());
    let tokens = sequence.chunks as usize * chunk + sequence.window as usize;
    for position in window(sequence.chunks as usize, chunk, tokens) {
        let from = (begin + position as u64) * width as u64;
        for (argument, to) in [
            ("k_pre", "window_k_pre"),
            ("keys", "window_keys"),
            ("values", "window_values"),
        ] {
            let expected = Region {
                argument: to,
                first: rings.row(index, position) * width as u64,
                shared: vec![("sequence", index as u64), ("position", position as u64)],
                axes: vec![("element", 0, width as u64)],
                values: Values::Exact(Vec::new()),
            };
            parts.copied(numbers, width, (argument, from), expected);
        }
    }
}

/// The outlier `chunks` of one list: sequence, KV head, and the row at which the prompt begins.
fn store_outliers(
    target: &Target,
    (sequence, kv_head, begin): (usize, usize, u64),
    chunks: &[usize],
    capacity: u32,
    numbers: &mut Stream,
    parts: &mut Parts,
) {
    let (kv_heads, head_dim, chunk) = (target.kv_heads(), target.head_dim(), target.chunk_size());
    let list = (sequence * kv_heads + kv_head) as u64;
    for (place, outlier) in chunks.iter().enumerate() {
        for (token, position) in members(*outlier, chunk).enumerate() {
            let from =
                ((begin + position as u64) * kv_heads as u64 + kv_head as u64) * head_dim as u64;
            let row = (list * u64::from(capacity) + place as u64) * chunk as u64 + token as u64;
            for (argument, to) in [("keys", "outlier_keys"), ("values", "outlier_values")] {
                let expected = Region {
                    argument: to,
                    first: row * head_dim as u64,
                    shared: vec![
                        ("sequence", sequence as u64),
                        ("kv_head", kv_head as u64),
                        ("place", place as u64),
                        ("token", token as u64),
                    ],
                    axes: vec![("element", 0, head_dim as u64)],
                    values: Values::Exact(Vec::new()),
                };
                parts.copied(numbers, head_dim, (argument, from), expected);
            }
        }
    }
    let padded = chunks.iter().map(|chunk| *chunk as i32);
    let padding = std::iter::repeat_n(-1, capacity as usize - chunks.len());
    parts.outlier_chunks.extend(padded.chain(padding));
    parts.outlier_count.push(chunks.len() as i32);
}
