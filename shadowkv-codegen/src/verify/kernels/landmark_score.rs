//! Cases of `landmark_score`.

use std::collections::BTreeMap;

use shadowkv_runtime::manifest::Sizes;

use super::{Layer, LayerSketch, Sketch, Target};
use crate::verify::batch::{Lengths, Store, Stores, affordable};
use crate::verify::case::{Case, Content, Expected, Region, Segment, Values, bytes_of};
use crate::verify::inputs;
use crate::verify::oracle::landmark_score::{SPAN, scores, span_softmax};
use crate::verify::oracle::length;
use crate::verify::random::Stream;
use crate::verify::tolerance::{EXP, ROUND, float_sum, tensor_sum};

/// Multiply-adds of the oracle that a case may take.
const BUDGET: u64 = 40_000_000;

/// Which chunks are outliers.
#[derive(Clone, Copy)]
enum Outliers {
    /// One in so many.
    OneIn(u64),
    /// All of the first span, and one in 20 of the others.
    WholeSpan,
}

pub(super) fn cases(target: &Target) -> Vec<Sketch> {
    let each = (target.width() * target.gqa_ratio()) as u64;
    let most = affordable(BUDGET, each, 130, 1500);
    let usual = Outliers::OneIn(20);
    [
        (Lengths::new("no chunk", &[0]), usual),
        (Lengths::new("one chunk", &[1]), usual),
        (Lengths::new("one span", &[64]), usual),
        (Lengths::new("one past a span", &[65]), Outliers::OneIn(3)),
        (
            Lengths::new("a span of outliers", &[most.min(200)]),
            Outliers::WholeSpan,
        ),
        (Lengths::new("one long sequence", &[most]), usual),
        (
            Lengths::new("ragged batch", &[most / 2 + 3, 0, 63, 1, 128, most / 5 + 1]),
            usual,
        ),
    ]
    .into_iter()
    .map(|(lengths, outliers)| {
        Sketch::new(lengths.name, move |target, stream| {
            case(target, stream, &lengths, outliers)
        })
    })
    .collect()
}

/// The scores of a step.
pub(super) fn layer(target: &Target, layer: &Layer) -> LayerSketch {
    let lengths = layer.lengths(layer.chunks(target));
    LayerSketch {
        tokens: layer.context,
        sketch: Sketch::of_layer(move |target, stream| {
            case(target, stream, &lengths, Outliers::OneIn(320))
        }),
    }
}

fn case(target: &Target, stream: &Stream, lengths: &Lengths, outliers: Outliers) -> Case {
    let (kv_heads, head_dim, group) = (target.kv_heads(), target.head_dim(), target.gqa_ratio());
    let batch = lengths.each.len();
    let stores = Stores::new(&lengths.each);
    let [store_begin, store_capacity] = stores.arguments();
    // Room that nobody uses, where there are several sequences.
    let stride = (lengths.longest().max(1) as usize).next_multiple_of(SPAN)
        + if batch > 1 { SPAN } else { 0 };
    let queries = inputs::normals(stream, "queries", batch * kv_heads * group * head_dim, 1.5);
    let (mut landmarks, mut masks, mut regions) = (Vec::new(), Vec::new(), Vec::new());
    for (sequence, count) in lengths.each.iter().enumerate() {
        for kv_head in 0..kv_heads {
            let list = sequence * kv_heads + kv_head;
            let stream = stream.fork(&format!("sequence {sequence}, KV head {kv_head}"));
            // A landmark is a key, only smoother.
            let own = inputs::keys(&stream, target.drawn(*count as usize), head_dim);
            let store = stores.stores[sequence];
            let row = store.row(kv_heads as u32, kv_head as u32, 0);
            let mask = mask(store, outliers, &mut stream.fork("outliers"));
            let query = &queries[list * group * head_dim..(list + 1) * group * head_dim];
            let place = Place {
                sequence,
                list,
                kv_head,
                stride,
                group,
            };
            if target.compared() {
                let mask = &mask[..*count as usize];
                regions.extend(expected(&own, query, mask, head_dim, &place));
            }
            let segment = Segment::bf16s(row * head_dim as u64, &own);
            landmarks.push(segment.repeated(*count as usize * head_dim * 2));
            masks.push(Segment {
                offset: row / 8,
                bytes: words(&mask),
            });
        }
    }
    Case {
        sizes: Sizes::new()
            .with("batch", batch as u64)
            .with("max_chunks", lengths.longest().into())
            .with("score_stride", stride as u64)
            .with("store_chunks", stores.chunks)
            .with("total_chunks", lengths.total()),
        arguments: BTreeMap::from([
            (
                "queries",
                Content::Memory(vec![Segment::bf16s(0, &queries)]),
            ),
            ("landmarks", Content::Memory(landmarks)),
            ("outlier_mask", Content::Memory(masks)),
            lengths.argument("chunk_count"),
            store_begin,
            store_capacity,
            ("scores", Content::output()),
            ("span_softmax", Content::output()),
            ("score_stride", Content::Scalar(stride as i64)),
        ]),
        expected: Expected::Fixed(regions),
    }
}

/// Outliers among the chunks that a store can hold, whether or not it holds them: bits beyond the last chunk mean nothing.
fn mask(store: Store, outliers: Outliers, stream: &mut Stream) -> Vec<bool> {
    let is_outlier = |chunk: u32| match outliers {
        Outliers::WholeSpan if (chunk as usize) < SPAN => true,
        Outliers::WholeSpan => stream.chance(20),
        Outliers::OneIn(count) => stream.chance(count),
    };
    (0..store.capacity).map(is_outlier).collect()
}

/// The mask as words of 32 bits, the first chunk lowest.
fn words(mask: &[bool]) -> Vec<u8> {
    bytes_of(mask.chunks(32).map(|bits| {
        let word = |word: u32, (bit, set): (usize, &bool)| word | u32::from(*set) << bit;
        bits.iter().enumerate().fold(0, word).to_le_bytes()
    }))
}

/// Where one KV head's scores lie.
struct Place {
    sequence: usize,
    list: usize,
    kv_head: usize,
    stride: usize,
    group: usize,
}

fn expected(
    landmarks: &[f64],
    queries: &[f64],
    outliers: &[bool],
    head_dim: usize,
    place: &Place,
) -> Vec<Region> {
    let chunks = outliers.len();
    let spans = chunks.div_ceil(SPAN);
    let scale = 1.0 / (head_dim as f64).sqrt();
    let lengths: Vec<f64> = landmarks.chunks_exact(head_dim).map(length).collect();
    let shared = vec![
        ("sequence", place.sequence as u64),
        ("kv_head", place.kv_head as u64),
    ];
    let mut regions = Vec::new();
    for (head, (query, of_head)) in queries
        .chunks_exact(head_dim)
        .zip(scores(queries, landmarks, outliers, head_dim))
        .enumerate()
    {
        // sum |a b| is at most the product of the lengths; the product with the scale, itself rounded, comes on top.
        let of_query = tensor_sum(head_dim, length(query)) + 2.0 * ROUND * length(query);
        let slack: Vec<f64> = lengths
            .iter()
            .map(|landmark| of_query * landmark * scale)
            .collect();
        // [spans, largest and sum]
        let mut partials = vec![0.0; spans * 2];
        let mut partial_slacks = vec![0.0_f32; partials.len()];
        for (span, softmax) in span_softmax(&of_head).into_iter().enumerate() {
            let own = span * SPAN..((span + 1) * SPAN).min(chunks);
            let worst = slack[own.clone()].iter().copied().fold(0.0, f64::max);
            let index = span * 2;
            (partials[index], partial_slacks[index]) = (softmax.largest, worst as f32);
            let term = |score: &f64| {
                if *score == f64::NEG_INFINITY {
                    return 0.0;
                }
                let below = softmax.largest - score;
                // Both scores are off, the exponential is, and it is taken in up to three pieces.
                below.min(700.0).exp().recip() * (2.0 * worst + 3.0 * EXP * (1.0 + below))
            };
            let terms: f64 = of_head[own].iter().map(term).sum();
            partials[index + 1] = softmax.sum;
            partial_slacks[index + 1] = (terms + float_sum(SPAN, softmax.sum)) as f32;
        }
        // The whole of the last span is written: minus infinity beyond the last chunk.
        let padding = spans * SPAN - chunks;
        let pad = |values: Vec<f64>, value: f64| -> Vec<f64> {
            values
                .into_iter()
                .chain(std::iter::repeat_n(value, padding))
                .collect()
        };
        let mut shared = shared.clone();
        shared.push(("query_head", head as u64));
        regions.push(Region {
            argument: "span_softmax",
            first: ((place.list * place.group + head) * (place.stride / SPAN) * 2) as u64,
            shared: shared.clone(),
            axes: vec![("span", 0, spans as u64), ("largest_or_sum", 0, 2)],
            values: Values::Real {
                values: partials,
                slack: partial_slacks,
            },
        });
        regions.push(Region {
            argument: "scores",
            first: ((place.list * place.group + head) * place.stride) as u64,
            shared,
            axes: vec![("chunk", 0, (spans * SPAN) as u64)],
            values: Values::Real {
                values: pad(of_head, f64::NEG_INFINITY),
                slack: pad(slack, 0.0)
                    .into_iter()
                    .map(|slack| slack as f32)
                    .collect(),
            },
        });
    }
    regions
}
