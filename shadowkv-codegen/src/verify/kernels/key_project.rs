//! Cases of `key_project`.

use std::collections::BTreeMap;

use shadowkv_runtime::manifest::Sizes;

use super::{Layer, LayerSketch, Sketch, Target};
use crate::verify::batch::{Lengths, Rows, Stores, affordable, first_chunks, prompts};
use crate::verify::case::{Case, Content, Expected, Region, Segment, Values};
use crate::verify::inputs;
use crate::verify::oracle::key_project::key_project;
use crate::verify::oracle::{length, transposed};
use crate::verify::random::Stream;
use crate::verify::tolerance::tensor_sum;

/// Multiply-adds of the oracle that a case may take.
const BUDGET: u64 = 400_000_000;

pub(super) fn cases(target: &Target) -> Vec<Sketch> {
    let each = (target.width() * target.rank()) as u64;
    let most = affordable(BUDGET, each, 8, 300);
    let mut batches = prompts(target.spec, most);
    if each > BUDGET / 100 {
        // A launch multiplies whole tiles, and those of wide keys cost as much for one token as for many.
        batches.retain(|lengths| matches!(lengths.name, "one token" | "ragged batch"));
        for lengths in &mut batches {
            lengths.each.truncate(3);
        }
    }
    batches
        .into_iter()
        .map(|lengths| {
            Sketch::new(lengths.name, move |target, stream| {
                case(target, stream, &lengths)
            })
        })
        .collect()
}

/// The factor of a layer's keys.
pub(super) fn layer(target: &Target, layer: &Layer) -> LayerSketch {
    let tokens = layer.affordable((target.width() * target.rank()) as f64 / 2048.0);
    let lengths = layer.lengths(tokens);
    LayerSketch {
        tokens,
        sketch: Sketch::of_layer(move |target, stream| case(target, stream, &lengths)),
    }
}

fn case(target: &Target, stream: &Stream, lengths: &Lengths) -> Case {
    let (width, rank) = (target.width(), target.rank());
    let chunk = target.spec.shadowkv.chunk_size;
    let batch = lengths.each.len();
    let rows = Rows::new(&lengths.each);
    let first_chunks = first_chunks(batch, &mut stream.fork("first chunks"));
    let needed: Vec<u32> = lengths
        .each
        .iter()
        .zip(&first_chunks)
        .map(|(tokens, first)| first + tokens.div_ceil(chunk))
        .collect();
    let stores = Stores::new(&needed);
    let [store_begin, store_capacity] = stores.arguments();
    let (mut keys, mut bases, mut regions) = (Vec::new(), Vec::new(), Vec::new());
    for (sequence, tokens) in lengths.each.iter().enumerate() {
        let stream = stream.fork(&format!("sequence {sequence}"));
        let own = inputs::keys(&stream, target.drawn(*tokens as usize), width);
        let basis = inputs::basis(&stream, "basis", width, rank);
        let first_token = u64::from(first_chunks[sequence] * chunk);
        if target.compared() {
            let store = stores.stores[sequence];
            regions.push(Region {
                argument: "factors",
                first: (store.begin * u64::from(chunk) + first_token) * rank as u64,
                shared: vec![("sequence", sequence as u64)],
                axes: vec![
                    ("position", first_token, u64::from(*tokens)),
                    ("rank", 0, rank as u64),
                ],
                values: expected(&own, &basis, width, rank),
            });
        }
        let segment = Segment::bf16s(rows.begin[sequence] * width as u64, &own);
        keys.push(segment.repeated(*tokens as usize * width * 2));
        bases.push(Segment::bf16s((sequence * width * rank) as u64, &basis));
    }
    Case {
        sizes: Sizes::new()
            .with("batch", batch as u64)
            .with("max_tokens", lengths.longest().into())
            .with("token_rows", rows.total)
            .with("store_chunks", stores.chunks)
            .with("total_tokens", lengths.total()),
        arguments: BTreeMap::from([
            ("k_pre", Content::Memory(keys)),
            rows.argument(),
            lengths.argument("token_count"),
            (
                "first_chunk",
                Content::i32s(first_chunks.iter().map(|chunk| *chunk as i32)),
            ),
            ("key_basis", Content::Memory(bases)),
            store_begin,
            store_capacity,
            ("factors", Content::output()),
        ]),
        expected: Expected::Fixed(regions),
    }
}

/// Factor rows of `keys` `[tokens, width]`.
pub(super) fn expected(keys: &[f64], basis: &[f64], width: usize, rank: usize) -> Values {
    // sum |a b| is at most the product of the lengths.
    let vectors: Vec<f64> = transposed(basis, rank)
        .chunks_exact(width)
        .map(length)
        .collect();
    let slack = keys.chunks_exact(width).flat_map(|key| {
        let of_token = tensor_sum(width, length(key));
        vectors.iter().map(move |vector| (of_token * vector) as f32)
    });
    Values::Real {
        slack: slack.collect(),
        values: key_project(keys, basis, width, rank),
    }
}
