//! Cases of `sparse_attention`.

use std::collections::BTreeMap;

use shadowkv_runtime::manifest::Sizes;

use super::attention::{Queries, Spread};
use super::{Layer, LayerSketch, Sketch, Target};
use crate::verify::batch::affordable;
use crate::verify::case::{Case, Content, Expected, Segment};
use crate::verify::inputs;
use crate::verify::random::Stream;

/// Multiply-adds of the oracle that a case may take.
const BUDGET: u64 = 15_000_000;

/// What one sequence attends to.
#[derive(Clone, Copy)]
struct Parts {
    /// Compressed chunks.
    chunks: u32,
    /// Most outliers of a KV head: the first has as many, the second none, the others anything.
    outliers: u32,
    /// Most selected chunks: fewer than there must be only where more would take too long.
    selected: u32,
    /// Tokens of the exact window.
    window: u32,
}

impl Parts {
    /// A sequence that is all window.
    fn exact(tokens: u32) -> Parts {
        Parts {
            chunks: 0,
            outliers: 0,
            selected: 0,
            window: tokens,
        }
    }
}

pub(super) fn cases(target: &Target) -> Vec<Sketch> {
    let chunk = target.spec.shadowkv.chunk_size;
    let selected = target.spec.shadowkv.selected_chunks();
    let span = target.constant("SPAN_TOKENS");
    let each = (target.width() * (6 * target.gqa_ratio() + 20)) as u64;
    let most = affordable(
        BUDGET,
        each * u64::from(chunk),
        (span + 100) / chunk,
        selected,
    );
    let last = target.most_chunks();
    let few = Parts {
        chunks: 7,
        outliers: 3,
        selected: 7,
        window: chunk + 1,
    };
    let no_outliers = Parts {
        chunks: most / 2 + 1,
        outliers: 0,
        selected,
        window: 3 * chunk,
    };
    let late = Parts {
        chunks: last - 2,
        outliers: 5,
        selected: most / 2,
        window: 2 * chunk,
    };
    let nothing_selected = Parts {
        chunks: 4,
        outliers: 4,
        selected: 0,
        window: 1,
    };
    let full = Parts {
        chunks: most + 9,
        outliers: 9,
        selected: most,
        window: 4 * chunk + 77,
    };
    let half = Parts {
        chunks: most / 2 + 40,
        outliers: 4,
        selected: most / 2,
        window: 2 * chunk - 1,
    };
    let mut cases: Vec<Sketch> = [
        ("no token", vec![Parts::exact(0)]),
        ("one token", vec![Parts::exact(1)]),
        ("all window", vec![Parts::exact(span + 11)]),
        ("fewer chunks than are selected", vec![few]),
        ("no outliers", vec![no_outliers]),
        ("the model's last positions", vec![late]),
        ("nothing but outliers", vec![nothing_selected]),
        ("a full step", vec![full]),
        (
            "ragged batch",
            vec![
                half,
                Parts::exact(0),
                few,
                Parts::exact(1),
                nothing_selected,
                Parts::exact(span),
            ],
        ),
    ]
    .into_iter()
    .map(|(name, parts)| sketch(name, parts, Spread::Usual))
    .collect();
    cases.push(sketch(
        "logits far apart",
        vec![few, Parts::exact(span + 1)],
        Spread::Wide,
    ));
    cases
}

/// A step after half of the tokens that stay exact have been generated.
pub(super) fn layer(target: &Target, layer: &Layer) -> LayerSketch {
    let shadowkv = &target.spec.shadowkv;
    let local = shadowkv.local_chunks * shadowkv.chunk_size;
    let chunks = layer.context.saturating_sub(local) / shadowkv.chunk_size;
    let outliers = shadowkv.outlier_chunks.min(chunks);
    let parts = Parts {
        chunks,
        outliers,
        selected: shadowkv.selected_chunks().min(chunks - outliers),
        window: layer.context - chunks * shadowkv.chunk_size + shadowkv.generated_window / 2,
    };
    let parts = vec![parts; layer.batch as usize];
    LayerSketch {
        tokens: layer.context,
        sketch: Sketch::of_layer(move |target, stream| case(target, stream, &parts, Spread::Usual)),
    }
}

fn sketch(name: &'static str, parts: Vec<Parts>, spread: Spread) -> Sketch {
    Sketch::new(name, move |target, stream| {
        case(target, stream, &parts, spread)
    })
}

/// The exact keys or values of one class of tokens, as segments.
#[derive(Default)]
struct Memory {
    keys: Vec<Segment>,
    values: Vec<Segment>,
}

/// Everything that a launch reads, as it grows sequence by sequence.
#[derive(Default)]
struct Launch {
    outliers: Memory,
    slots: Memory,
    window: Memory,
    outlier_count: Vec<i32>,
    selected_slots: Vec<i32>,
    row_begin: Vec<i64>,
    row_capacity: Vec<i32>,
    rows: u64,
    attended: u64,
}

/// Keys and values `[tokens, width]`.
struct Drawn {
    keys: Vec<f64>,
    values: Vec<f64>,
}

impl Drawn {
    fn new(stream: &Stream, purpose: &str, tokens: usize, width: usize) -> Drawn {
        let stream = stream.fork(purpose);
        Drawn {
            keys: inputs::keys(&stream, tokens, width),
            values: inputs::normals(&stream, "values", tokens * width, 1.0),
        }
    }

    /// `tokens` tokens from token `first`, to element `element` of a memory of the same width.
    fn put(&self, memory: &mut Memory, first: usize, tokens: usize, width: usize, element: u64) {
        let range = first * width..(first + tokens) * width;
        memory
            .keys
            .push(Segment::bf16s(element, &self.keys[range.clone()]));
        memory
            .values
            .push(Segment::bf16s(element, &self.values[range]));
    }
}

fn case(target: &Target, stream: &Stream, parts: &[Parts], spread: Spread) -> Case {
    let (kv_heads, head_dim, chunk) = (target.kv_heads(), target.head_dim(), target.chunk_size());
    let batch = parts.len();
    let queries = Queries::new(target, stream, batch, spread);
    // One place that nobody has.
    let outlier_capacity = parts.iter().map(|own| own.outliers).max().unwrap_or(0) as usize + 1;
    let mut launch = Launch::default();
    let mut regions = Vec::new();
    for (sequence, own) in parts.iter().enumerate() {
        let stream = stream.fork(&format!("sequence {sequence}"));
        let window = launch.window(target, &stream, *own);
        for kv_head in 0..kv_heads {
            let list = sequence * kv_heads + kv_head;
            let stream = stream.fork(&format!("KV head {kv_head}"));
            let compressed = launch.list(target, &stream, *own, list, outlier_capacity);
            if target.compared() {
                let of_window = |rows: &[f64]| -> Vec<f64> {
                    rows.chunks_exact(kv_heads * head_dim)
                        .flat_map(|row| row[kv_head * head_dim..][..head_dim].to_vec())
                        .collect()
                };
                let mut keys = compressed.keys;
                keys.extend(of_window(&window.keys));
                let mut values = compressed.values;
                values.extend(of_window(&window.values));
                regions.extend(queries.expected(list, kv_heads, &keys, &values));
            }
        }
    }
    let tokens = |own: &Parts| (own.chunks as usize * chunk + own.window as usize) as i32;
    let widest = parts.iter().map(|own| own.window).max().unwrap_or(0);
    Case {
        sizes: Sizes::new()
            .with("batch", batch as u64)
            .with("cache_rows", launch.rows)
            .with("max_window", widest.into())
            .with("outlier_capacity", outlier_capacity as u64)
            .with("total_attended", launch.attended),
        arguments: BTreeMap::from([
            ("queries", queries.content()),
            ("outlier_keys", Content::Memory(launch.outliers.keys)),
            ("outlier_values", Content::Memory(launch.outliers.values)),
            ("outlier_count", Content::i32s(launch.outlier_count)),
            ("key_slots", Content::Memory(launch.slots.keys)),
            ("value_slots", Content::Memory(launch.slots.values)),
            ("selected_slots", Content::i32s(launch.selected_slots)),
            ("keys", Content::Memory(launch.window.keys)),
            ("values", Content::Memory(launch.window.values)),
            ("row_begin", Content::i64s(launch.row_begin)),
            ("row_capacity", Content::i32s(launch.row_capacity)),
            (
                "chunk_count",
                Content::i32s(parts.iter().map(|own| own.chunks as i32)),
            ),
            ("token_count", Content::i32s(parts.iter().map(tokens))),
            ("output", Content::output()),
            ("workspace", Content::Scratch),
            ("arrivals", Content::u32s(vec![0; batch * kv_heads])),
            ("outlier_capacity", Content::Scalar(outlier_capacity as i64)),
        ]),
        expected: Expected::Fixed(regions),
    }
}

impl Launch {
    /// The exact window of a sequence, in a ring with room for a chunk more, and rows that nobody has before it. What of the
    /// ring is not the window has not been written.
    fn window(&mut self, target: &Target, stream: &Stream, parts: Parts) -> Drawn {
        let (width, chunk) = (target.width(), target.spec.shadowkv.chunk_size);
        let tokens = parts.window as usize;
        let drawn = Drawn::new(stream, "window", tokens, width);
        let capacity = parts.window.next_multiple_of(chunk) + chunk;
        self.rows += 3;
        for token in 0..tokens {
            let position = parts.chunks * chunk + token as u32;
            let row = self.rows + u64::from(position % capacity);
            drawn.put(&mut self.window, token, 1, width, row * width as u64);
        }
        self.row_begin.push(self.rows as i64);
        self.row_capacity.push(capacity as i32);
        self.rows += u64::from(capacity);
        self.attended += (tokens * target.kv_heads()) as u64;
        drawn
    }

    /// Outliers and selected chunks of one KV head, in the order in which attention takes them.
    fn list(
        &mut self,
        target: &Target,
        stream: &Stream,
        parts: Parts,
        list: usize,
        outlier_capacity: usize,
    ) -> Drawn {
        let (head_dim, chunk) = (target.head_dim(), target.chunk_size());
        let resident = target.spec.shadowkv.resident_chunks as usize;
        let most = target.spec.shadowkv.selected_chunks() as usize;
        let outliers = match list % target.kv_heads() {
            _ if !target.compared() => u64::from(parts.outliers),
            0 => u64::from(parts.outliers),
            1 => 0,
            _ => stream.fork("outliers").below(u64::from(parts.outliers) + 1),
        } as usize;
        let candidates = parts.chunks as usize - outliers;
        let selected = candidates.min(most).min(parts.selected as usize);
        let mut slots = stream.fork("slots").sample(selected, resident);
        stream.fork("order of the slots").shuffle(&mut slots);
        let drawn = Drawn::new(stream, "chunks", (outliers + selected) * chunk, head_dim);
        let row = (chunk * head_dim) as u64;
        let first = (list * outlier_capacity) as u64 * row;
        drawn.put(&mut self.outliers, 0, outliers * chunk, head_dim, first);
        for (place, slot) in slots.iter().enumerate() {
            let element = (list * resident + slot) as u64 * row;
            let first = (outliers + place) * chunk;
            drawn.put(&mut self.slots, first, chunk, head_dim, element);
        }
        self.outlier_count.push(outliers as i32);
        let padding = std::iter::repeat_n(-1, most - selected);
        self.selected_slots
            .extend(slots.into_iter().map(|slot| slot as i32).chain(padding));
        self.attended += ((outliers + selected) * chunk) as u64;
        drawn
    }
}
