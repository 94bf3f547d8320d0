//! Cases of `offload_values`.

use std::collections::BTreeMap;

use shadowkv_runtime::manifest::Sizes;

use super::{Layer, LayerSketch, Sketch, Target};
use crate::verify::batch::{Lengths, Rows, Stores, affordable, first_chunks, prompts};
use crate::verify::case::{Case, Content, Expected, Region, Segment, Values, bytes_of};
use crate::verify::oracle::offload_values::by_head_and_chunk;
use crate::verify::random::Stream;

/// Bytes of the values of a case.
const BUDGET: u64 = 3 << 20;
/// Bytes of the values of a launch that is measured.
const LAYER_BYTES: u64 = 192 << 20;

pub(super) fn cases(target: &Target) -> Vec<Sketch> {
    let most = affordable(BUDGET, target.width() as u64 * 2, 40, 2000);
    prompts(target.spec, most)
        .into_iter()
        .map(|lengths| {
            Sketch::new(lengths.name, move |target, stream| {
                case(target, stream, &lengths)
            })
        })
        .collect()
}

/// The values of a layer, or as many as fit in memory twice.
pub(super) fn layer(target: &Target, layer: &Layer) -> LayerSketch {
    let each = target.width() as u64 * 2 * u64::from(layer.batch);
    let tokens = affordable(LAYER_BYTES, each, 1, layer.context);
    let lengths = layer.lengths(tokens);
    LayerSketch {
        tokens,
        sketch: Sketch::of_layer(move |target, stream| case(target, stream, &lengths)),
    }
}

fn case(target: &Target, stream: &Stream, lengths: &Lengths) -> Case {
    let (kv_heads, head_dim, chunk) = (target.kv_heads(), target.head_dim(), target.chunk_size());
    let width = target.width();
    let batch = lengths.each.len();
    let rows = Rows::new(&lengths.each);
    let first = first_chunks(batch, &mut stream.fork("first chunks"));
    let counts: Vec<u32> = lengths
        .each
        .iter()
        .map(|tokens| tokens / chunk as u32)
        .collect();
    let needed: Vec<u32> = counts
        .iter()
        .zip(&first)
        .map(|(count, first)| count + first)
        .collect();
    let stores = Stores::new(&needed);
    let (mut values, mut regions) = (Vec::new(), Vec::new());
    for (sequence, count) in counts.iter().enumerate() {
        // Any bits: a copy knows nothing of numbers. What is no whole chunk is not to be read.
        let tokens = *count as usize * chunk;
        let mut numbers = stream.fork(&format!("sequence {sequence}"));
        let own: Vec<u16> = (0..target.drawn(tokens) * width)
            .map(|_| numbers.bits() as u16)
            .collect();
        let bytes = |numbers: &[u16]| bytes_of(numbers.iter().map(|number| number.to_le_bytes()));
        let segment = Segment {
            offset: rows.begin[sequence] * width as u64 * 2,
            bytes: bytes(&own),
        };
        values.push(segment.repeated(tokens * width * 2));
        if !target.compared() || tokens == 0 {
            continue;
        }
        let by_head = by_head_and_chunk(&own, kv_heads, head_dim, chunk);
        for (kv_head, of_head) in by_head.chunks_exact(tokens * head_dim).enumerate() {
            let row = stores.stores[sequence].row(kv_heads as u32, kv_head as u32, first[sequence]);
            regions.push(Region {
                argument: "host_values",
                first: row * (chunk * head_dim) as u64,
                shared: vec![("sequence", sequence as u64), ("kv_head", kv_head as u64)],
                axes: vec![
                    ("chunk", first[sequence].into(), u64::from(*count)),
                    ("token", 0, chunk as u64),
                    ("element", 0, head_dim as u64),
                ],
                values: Values::Exact(bytes(of_head)),
            });
        }
    }
    let mut arguments = BTreeMap::from([
        ("values", Content::Memory(values)),
        rows.argument(),
        (
            "first_chunk",
            Content::i32s(first.iter().map(|chunk| *chunk as i32)),
        ),
        (
            "chunk_count",
            Content::i32s(counts.iter().map(|count| *count as i32)),
        ),
        ("host_values", Content::output()),
        ("batch", Content::Scalar(batch as i64)),
    ]);
    arguments.extend(stores.arguments());
    Case {
        sizes: Sizes::new()
            .with("batch", batch as u64)
            .with("token_rows", rows.total)
            .with("store_chunks", stores.chunks)
            .with(
                "total_chunks",
                counts.iter().map(|count| u64::from(*count)).sum(),
            ),
        arguments,
        expected: Expected::Fixed(regions),
    }
}
