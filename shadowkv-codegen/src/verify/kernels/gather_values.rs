//! Cases of `gather_values`.

use std::collections::BTreeMap;

use shadowkv_runtime::manifest::Sizes;

use super::slots::{CopyLists, Missing};
use super::{Layer, LayerSketch, Sketch, Target};
use crate::verify::batch::{Stores, affordable};
use crate::verify::case::{Case, Content, Expected, Region, Segment, Values, bytes_of};
use crate::verify::oracle::gather_values::copies;
use crate::verify::random::Stream;

/// Bytes that a case may copy.
const BUDGET: u64 = 6 << 20;
/// Bytes of the slots up to which a launch may have more lists than a block looks at together.
const SLOT_BYTES: u64 = 128 << 20;

pub(super) fn cases(target: &Target) -> Vec<Sketch> {
    let row = (target.chunk_size() * target.head_dim() * 2) as u64;
    let kv_heads = target.kv_heads() as u64;
    let selected = target.spec.shadowkv.selected_chunks();
    let most = |sequences: u64| affordable(BUDGET, row * kv_heads * sequences, 3, selected);
    let chunks = selected + selected / 2 + 1;
    let mut sketches = vec![
        sketch("nothing missing", vec![chunks], Missing::None, 0),
        sketch("everything missing", vec![chunks], Missing::All, most(1)),
        sketch("one chunk", vec![1], Missing::All, 1),
        sketch(
            "ragged batch",
            vec![chunks, 0, 1, chunks / 2 + 1, chunks],
            Missing::Mixed,
            most(3),
        ),
    ];
    // Blocks look at as many lists together as they have threads.
    let threads = u64::from(target.constant("THREADS"));
    let sequences = threads / kv_heads + 1;
    let slots = u64::from(target.spec.shadowkv.resident_chunks) * row * kv_heads * sequences;
    if slots <= SLOT_BYTES {
        let lengths = vec![chunks.min(100); sequences as usize];
        sketches.push(sketch(
            "more lists than threads",
            lengths,
            Missing::Mixed,
            most(sequences),
        ));
    }
    sketches
}

/// The copies of a step.
pub(super) fn layer(target: &Target, layer: &Layer) -> LayerSketch {
    let missing = layer.missing(target);
    let chunks = layer.lengths(layer.chunks(target)).each;
    LayerSketch {
        tokens: layer.context,
        sketch: Sketch::of_layer(move |target, stream| {
            case(target, stream, &chunks, Missing::Exactly(missing), missing)
        }),
    }
}

fn sketch(name: &'static str, chunks: Vec<u32>, missing: Missing, most: u32) -> Sketch {
    Sketch::new(name, move |target, stream| {
        case(target, stream, &chunks, missing, most)
    })
}

fn case(target: &Target, stream: &Stream, chunks: &[u32], missing: Missing, most: u32) -> Case {
    let (kv_heads, batch) = (target.kv_heads(), chunks.len());
    let row = (target.chunk_size() * target.head_dim()) as u64;
    let stores = Stores::new(chunks);
    let ranges: Vec<(u32, u32)> = chunks.iter().map(|count| (0, *count)).collect();
    let lists = CopyLists::new(target, &ranges, missing, most, &mut stream.fork("lists"));
    let mut numbers = stream.fork("values");
    let (mut host, mut regions) = (Vec::new(), Vec::new());
    for (list, (chunks, slots)) in lists.chunks.iter().zip(&lists.slots).enumerate() {
        let (sequence, kv_head) = (list / kv_heads, list % kv_heads);
        let signed =
            |list: &[u32]| -> Vec<i32> { list.iter().map(|entry| *entry as i32).collect() };
        for (slot, chunk) in copies(&signed(chunks), &signed(slots), chunks.len()) {
            // Any bits: a copy knows nothing of numbers.
            let bytes = bytes_of((0..row / 4).map(|_| numbers.bits().to_le_bytes()));
            let store = stores.stores[sequence];
            host.push(Segment {
                offset: store.row(kv_heads as u32, kv_head as u32, chunk as u32) * row * 2,
                bytes: bytes.clone(),
            });
            let resident = target.spec.shadowkv.resident_chunks as usize;
            regions.push(Region {
                argument: "value_slots",
                first: (list * resident + slot) as u64 * row,
                shared: vec![
                    ("sequence", sequence as u64),
                    ("kv_head", kv_head as u64),
                    ("slot", slot as u64),
                ],
                axes: vec![
                    ("token", 0, target.chunk_size() as u64),
                    ("element", 0, target.head_dim() as u64),
                ],
                values: Values::Exact(bytes),
            });
        }
    }
    let mut arguments = BTreeMap::from([
        ("host_values", Content::Memory(host)),
        ("value_slots", Content::output()),
        ("batch", Content::Scalar(batch as i64)),
    ]);
    arguments.extend(lists.arguments());
    arguments.extend(stores.arguments());
    Case {
        sizes: Sizes::new()
            .with("batch", batch as u64)
            .with("store_chunks", stores.chunks)
            .with("total_missing", lists.total()),
        arguments,
        expected: Expected::Fixed(regions),
    }
}
