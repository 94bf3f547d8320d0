//! Cases of `select_outliers`.

use std::collections::BTreeMap;

use shadowkv_runtime::manifest::Sizes;

use super::{Layer, LayerSketch, Sketch, Target};
use crate::verify::batch::{Lengths, Stores};
use crate::verify::case::{Case, Content, Expected, Region, Segment, Values, bytes_of};
use crate::verify::oracle::select_outliers::select_outliers;
use crate::verify::random::Stream;

/// Chunks of a span of the mask, whole words of which are written.
const SPAN: usize = 64;

/// What the lowest cosines of the chunks are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cosines {
    /// Like a model's: most near 1, some far below.
    Usual,
    /// A few values, and both zeros.
    Ties,
    /// All the same.
    Equal,
    /// Every number there is from -1 to 1, and ever lower.
    Falling,
}

#[derive(Clone, Debug)]
struct Trial {
    chunks: Lengths,
    cosines: Cosines,
    /// Places for outliers beyond the spec's.
    spare: u32,
}

pub(super) fn cases(target: &Target) -> Vec<Sketch> {
    let outliers = target.spec.shadowkv.outlier_chunks;
    let beyond_shared = target.constant("KEYS_SHARED") + 4 * outliers + 1;
    let ragged = [3 * outliers + 7, 0, 1, outliers, 65, 2 * outliers + 1];
    let trial = |name, chunks: &[u32], cosines, spare| Trial {
        chunks: Lengths::new(name, chunks),
        cosines,
        spare,
    };
    [
        trial("no chunk", &[0], Cosines::Usual, 0),
        trial("one chunk", &[1], Cosines::Usual, 3),
        trial("as many chunks as outliers", &[outliers], Cosines::Usual, 0),
        trial(
            "one chunk more than outliers",
            &[outliers + 1],
            Cosines::Usual,
            1,
        ),
        trial("ragged batch", &ragged, Cosines::Usual, 5),
        trial("exact ties", &[3 * outliers + 70, 129], Cosines::Ties, 0),
        trial("all equal", &[2 * outliers + 66], Cosines::Equal, 0),
        trial("ever lower", &[700], Cosines::Falling, 2),
        trial(
            "more chunks than shared memory holds",
            &[beyond_shared],
            Cosines::Usual,
            0,
        ),
        trial(
            "ties beyond shared memory",
            &[beyond_shared],
            Cosines::Equal,
            0,
        ),
    ]
    .map(|trial| {
        Sketch::new(trial.chunks.name, move |target, stream| {
            case(target, stream, &trial)
        })
    })
    .into()
}

/// The outliers of a layer's prompt.
pub(super) fn layer(target: &Target, layer: &Layer) -> LayerSketch {
    let trial = Trial {
        chunks: layer.lengths(layer.chunks(target)),
        cosines: Cosines::Usual,
        spare: 0,
    };
    LayerSketch {
        tokens: layer.context,
        sketch: Sketch::of_layer(move |target, stream| case(target, stream, &trial)),
    }
}

/// The lowest cosines of one list.
fn cosines(kind: Cosines, chunks: usize, stream: &mut Stream) -> Vec<f32> {
    let values = (0..chunks).map(|chunk| match kind {
        Cosines::Usual => {
            let low = if stream.chance(30) { 2.0 } else { 0.1 };
            1.0 - low * stream.below(1 << 24) as f32 / (1 << 24) as f32
        }
        Cosines::Ties => [0.5, 0.75, 0.0, -0.0, -0.5][stream.below(5) as usize],
        Cosines::Equal => 0.875,
        Cosines::Falling => 1.0 - 2.0 * chunk as f32 / chunks as f32,
    });
    values.collect()
}

fn case(target: &Target, stream: &Stream, trial: &Trial) -> Case {
    let (kv_heads, batch) = (target.kv_heads(), trial.chunks.each.len());
    let outliers = target.spec.shadowkv.outlier_chunks;
    let capacity = (outliers + trial.spare) as usize;
    let stores = Stores::new(&trial.chunks.each);
    let (mut inputs, mut lists, mut counts, mut thresholds) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut masks = Vec::new();
    for (sequence, chunks) in trial.chunks.each.iter().enumerate() {
        for kv_head in 0..kv_heads {
            let mut numbers = stream.fork(&format!("sequence {sequence}, KV head {kv_head}"));
            let own = cosines(trial.cosines, *chunks as usize, &mut numbers);
            let row = stores.stores[sequence].row(kv_heads as u32, kv_head as u32, 0);
            let exact: Vec<f64> = own.iter().map(|cosine| f64::from(*cosine)).collect();
            let chosen = select_outliers(&exact, outliers as usize);
            let mut words = vec![0_u32; own.len().div_ceil(SPAN) * (SPAN / 32)];
            for chunk in &chosen {
                words[chunk / 32] |= 1 << (chunk % 32);
            }
            let threshold = chosen.iter().map(|chunk| own[*chunk]);
            thresholds.push(
                threshold
                    .max_by(f32::total_cmp)
                    .unwrap_or(f32::NEG_INFINITY),
            );
            counts.push(chosen.len() as i32);
            lists.extend(
                chosen
                    .iter()
                    .map(|chunk| *chunk as i32)
                    .chain(std::iter::repeat(-1))
                    .take(capacity),
            );
            inputs.push(Segment::f32s(row, own));
            masks.push(Region {
                argument: "outlier_mask",
                first: row / 32,
                shared: vec![("sequence", sequence as u64), ("kv_head", kv_head as u64)],
                axes: vec![("word", 0, words.len() as u64)],
                values: Values::Exact(bytes_of(words.into_iter().map(u32::to_le_bytes))),
            });
        }
    }
    let region = |argument, places: &[(&'static str, u64, u64)], bytes| Region {
        argument,
        first: 0,
        shared: Vec::new(),
        axes: [
            &[
                ("sequence", 0, batch as u64),
                ("kv_head", 0, kv_heads as u64),
            ],
            places,
        ]
        .concat(),
        values: Values::Exact(bytes),
    };
    let signed = |numbers: Vec<i32>| bytes_of(numbers.into_iter().map(i32::to_le_bytes));
    let mut regions = vec![
        region(
            "outlier_chunks",
            &[("place", 0, capacity as u64)],
            signed(lists),
        ),
        region("outlier_count", &[], signed(counts)),
        region(
            "outlier_threshold",
            &[],
            bytes_of(thresholds.into_iter().map(f32::to_le_bytes)),
        ),
    ];
    regions.append(&mut masks);
    let [store_begin, store_capacity] = stores.arguments();
    Case {
        sizes: Sizes::new()
            .with("batch", batch as u64)
            .with("max_chunks", trial.chunks.longest().into())
            .with("outlier_capacity", capacity as u64)
            .with("store_chunks", stores.chunks)
            .with("total_chunks", trial.chunks.total()),
        arguments: BTreeMap::from([
            ("min_cosines", Content::Memory(inputs)),
            trial.chunks.argument("chunk_count"),
            store_begin,
            store_capacity,
            ("outlier_chunks", Content::output()),
            ("outlier_count", Content::output()),
            ("outlier_threshold", Content::output()),
            ("outlier_mask", Content::output()),
            ("outlier_capacity", Content::Scalar(capacity as i64)),
        ]),
        expected: Expected::Fixed(regions),
    }
}
