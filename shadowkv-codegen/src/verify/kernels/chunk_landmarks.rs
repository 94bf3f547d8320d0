//! Cases of `chunk_landmarks`.

use std::collections::BTreeMap;

use shadowkv_runtime::manifest::Sizes;

use super::{Layer, LayerSketch, Sketch, Target};
use crate::verify::batch::{Lengths, Rows, Stores, affordable, first_chunks, prompts, rope_tables};
use crate::verify::case::{Case, Content, Expected, Region, Segment, Values};
use crate::verify::inputs;
use crate::verify::oracle::chunk_landmarks::{Landmark, chunk_landmark};
use crate::verify::oracle::length;
use crate::verify::oracle::rope::{Rotary, Turns};
use crate::verify::random::Stream;
use crate::verify::tolerance::{INVERSE_ROOT, TURNED, float_sum, rotation};

/// Elements of all keys of a case.
const BUDGET: u64 = 1_000_000;
/// Bytes of the landmarks' store up to which positions may begin late.
const STORE_BYTES: u64 = 400 << 20;

/// What the keys of a case are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keys {
    /// Like a model's.
    Usual,
    /// Whole chunks, and single keys, of zeros.
    Zeros,
}

pub(super) fn cases(target: &Target) -> Vec<Sketch> {
    let most = affordable(BUDGET, target.width() as u64, 40, 600);
    let chunk = target.spec.shadowkv.chunk_size;
    let mut sketches: Vec<Sketch> = prompts(target.spec, most)
        .into_iter()
        .map(|lengths| {
            Sketch::new(lengths.name, move |target, stream| {
                let mut stream_of_chunks = stream.fork("first chunks");
                let first = first_chunks(lengths.each.len(), &mut stream_of_chunks);
                case(target, stream, &lengths, &first, Keys::Usual)
            })
        })
        .collect();
    let zeros = Lengths::new("keys of zeros", &[5 * chunk]);
    sketches.push(Sketch::new(zeros.name, move |target, stream| {
        case(target, stream, &zeros, &[0], Keys::Zeros)
    }));
    let last = Lengths::new("the model's last positions", &[2 * chunk + 1]);
    sketches.push(Sketch::new(last.name, move |target, stream| {
        let per_chunk = target.width() as u64 * 2;
        let room = u32::try_from(STORE_BYTES / per_chunk).unwrap_or(u32::MAX);
        let end = target.most_chunks().min(room);
        case(target, stream, &last, &[end.saturating_sub(2)], Keys::Usual)
    }));
    sketches
}

/// The landmarks of a layer.
pub(super) fn layer(_target: &Target, layer: &Layer) -> LayerSketch {
    let lengths = layer.lengths(layer.context);
    LayerSketch {
        tokens: layer.context,
        sketch: Sketch::of_layer(move |target, stream| {
            let first = vec![0; lengths.each.len()];
            case(target, stream, &lengths, &first, Keys::Usual)
        }),
    }
}

fn case(target: &Target, stream: &Stream, lengths: &Lengths, first: &[u32], kind: Keys) -> Case {
    let (kv_heads, head_dim) = (target.spec.attention.kv_heads, target.head_dim());
    let (chunk, width) = (target.chunk_size(), target.width());
    let batch = lengths.each.len();
    let rows = Rows::new(&lengths.each);
    let counts: Vec<u32> = lengths
        .each
        .iter()
        .map(|tokens| tokens / chunk as u32)
        .collect();
    let needed: Vec<u32> = counts
        .iter()
        .zip(first)
        .map(|(count, first)| count + first)
        .collect();
    let stores = Stores::new(&needed);
    let [store_begin, store_capacity] = stores.arguments();
    let tables = rope_tables(target.spec, batch);
    let rotary = Rotary::new(&target.spec.rope);
    let (mut keys, mut regions) = (Vec::new(), Vec::new());
    for (sequence, tokens) in lengths.each.iter().enumerate() {
        let stream = stream.fork(&format!("sequence {sequence}"));
        let mut own = inputs::keys(&stream, target.drawn(*tokens as usize), width);
        if kind == Keys::Zeros {
            own[..chunk * width].fill(0.0);
            own[2 * chunk * width..(2 * chunk + 1) * width].fill(0.0);
        }
        let segment = Segment::bf16s(rows.begin[sequence] * width as u64, &own);
        keys.push(segment.repeated(*tokens as usize * width * 2));
        if !target.compared() {
            continue;
        }
        let begin = first[sequence] as usize * chunk;
        let turns: Vec<Turns> = (0..counts[sequence] as usize * chunk)
            .map(|token| rotary.turns(tables[sequence] as usize, begin + token))
            .collect();
        for kv_head in 0..kv_heads {
            let head = kv_head as usize * head_dim..(kv_head as usize + 1) * head_dim;
            let of_head: Vec<f64> = own
                .chunks_exact(width)
                .flat_map(|token| token[head.clone()].iter().copied())
                .collect();
            let (landmarks, cosines) = expected(&of_head, &turns, &rotary, chunk, head_dim);
            let row = stores.stores[sequence].row(kv_heads, kv_head, first[sequence]);
            let shared = vec![
                ("sequence", sequence as u64),
                ("kv_head", u64::from(kv_head)),
            ];
            let axis = (
                "chunk",
                u64::from(first[sequence]),
                u64::from(counts[sequence]),
            );
            regions.push(Region {
                argument: "landmarks",
                first: row * head_dim as u64,
                shared: shared.clone(),
                axes: vec![axis, ("element", 0, head_dim as u64)],
                values: landmarks,
            });
            regions.push(Region {
                argument: "min_cosines",
                first: row,
                shared,
                axes: vec![axis],
                values: cosines,
            });
        }
    }
    Case {
        sizes: Sizes::new()
            .with("batch", batch as u64)
            .with(
                "max_chunks",
                counts.iter().copied().max().unwrap_or(0).into(),
            )
            .with("token_rows", rows.total)
            .with("store_chunks", stores.chunks)
            .with(
                "total_chunks",
                counts.iter().map(|count| u64::from(*count)).sum(),
            ),
        arguments: BTreeMap::from([
            ("k_pre", Content::Memory(keys)),
            rows.argument(),
            (
                "first_chunk",
                Content::i32s(first.iter().map(|chunk| *chunk as i32)),
            ),
            (
                "chunk_count",
                Content::i32s(counts.iter().map(|count| *count as i32)),
            ),
            store_begin,
            store_capacity,
            ("rope_table", Content::i32s(tables)),
            ("landmarks", Content::output()),
            ("min_cosines", Content::output()),
        ]),
        expected: Expected::Fixed(regions),
    }
}

/// Landmarks and lowest cosines of one KV head, whose keys before `RoPE` are `keys` `[tokens, head_dim]`.
pub(super) fn expected(
    keys: &[f64],
    turns: &[Turns],
    rotary: &Rotary,
    chunk: usize,
    head_dim: usize,
) -> (Values, Values) {
    let (mut means, mut mean_slacks) = (Vec::new(), Vec::new());
    let (mut cosines, mut cosine_slacks) = (Vec::new(), Vec::new());
    for (members, turns) in keys
        .chunks_exact(chunk * head_dim)
        .zip(turns.chunks_exact(chunk))
    {
        let mut rotated = members.to_vec();
        for (key, turns) in rotated.chunks_exact_mut(head_dim).zip(turns) {
            rotary.rotate(key, turns);
        }
        let landmark = chunk_landmark(&rotated, head_dim);
        let slack = mean_slack(members, rotary, turns[0].len(), chunk, head_dim);
        cosine_slacks.push(cosine_slack(&landmark, &slack, head_dim) as f32);
        cosines.push(landmark.min_cosine);
        means.extend(landmark.mean);
        mean_slacks.extend(slack.into_iter().map(|slack| slack as f32));
    }
    let real = |values, slack| Values::Real { values, slack };
    (real(means, mean_slacks), real(cosines, cosine_slacks))
}

/// What each element of the mean may be off by: the rotations' errors, and the sum's.
fn mean_slack(
    members: &[f64],
    rotary: &Rotary,
    pairs: usize,
    chunk: usize,
    head_dim: usize,
) -> Vec<f64> {
    let mut slack = vec![0.0; head_dim];
    let mut magnitude = vec![0.0; head_dim];
    for key in members.chunks_exact(head_dim) {
        for (sum, element) in magnitude.iter_mut().zip(key) {
            *sum += element.abs() / chunk as f64;
        }
        for pair in 0..pairs {
            let (first, second) = rotary.pair(pair);
            let turned = rotation(key[first], key[second], rotary.factor, 0.0) / chunk as f64;
            slack[first] += turned;
            slack[second] += turned;
        }
    }
    for pair in 0..pairs {
        let (first, second) = rotary.pair(pair);
        let turned = (magnitude[first] + magnitude[second]) * rotary.factor.abs();
        magnitude[first] = turned;
        magnitude[second] = turned;
    }
    for (slack, magnitude) in slack.iter_mut().zip(magnitude) {
        *slack += float_sum(chunk, magnitude);
    }
    slack
}

/// What the lowest cosine may be off by: a vector that is off by a share of its length turns by no more than that.
fn cosine_slack(landmark: &Landmark, mean_slack: &[f64], head_dim: usize) -> f64 {
    let mean_length = length(&landmark.mean);
    if mean_length == 0.0 {
        return 0.0;
    }
    let mean_turned = length(mean_slack) / mean_length;
    // The product's sum, and half of each squared length's, which stand under a root.
    let sums = 2.0 * float_sum(head_dim, 1.0);
    mean_turned + TURNED + sums + 2.0 * INVERSE_ROOT
}
