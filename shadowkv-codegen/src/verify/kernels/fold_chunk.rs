//! Cases of `fold_chunk`.

use std::collections::BTreeMap;

use shadowkv_runtime::manifest::Sizes;

use super::rings::Rings;
use super::{Layer, LayerSketch, Sketch, Target, chunk_landmarks, key_project};
use crate::plan::SCORE_SPAN;
use crate::verify::batch::{Lengths, Store, Stores, affordable, rope_tables};
use crate::verify::case::{Case, Content, Expected, Region, Segment, Values, bytes_of};
use crate::verify::inputs;
use crate::verify::oracle::fold_chunk::{Outliers, places};
use crate::verify::oracle::offload_values::by_head_and_chunk;
use crate::verify::oracle::rope::{Rotary, Turns};
use crate::verify::random::Stream;

/// Multiply-adds of the oracle that a case may take.
const BUDGET: u64 = 150_000_000;
/// Bytes of the stores up to which positions may be late.
const STORE_BYTES: u64 = 256 << 20;
/// Chunks of a sequence in a launch that is measured.
const MOST_CHUNKS: u32 = 4096;
/// Chunks whose bits `landmark_score` reads together.
const SPAN: u32 = SCORE_SPAN;

/// One sequence of a launch.
#[derive(Clone, Copy)]
struct Sequence {
    /// Compressed chunks before the launch.
    chunks: u32,
    /// Chunks to fold.
    folds: u32,
    /// Chunks of its ring.
    ring: u32,
}

/// What the keys of a case are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keys {
    /// Like a model's.
    Usual,
    /// Zeros, under a threshold of 0: as low as the threshold is not below it.
    Zeros,
}

pub(super) fn cases(target: &Target) -> Vec<Sketch> {
    let chunk = target.spec.shadowkv.chunk_size;
    let each = (target.chunk_size() * target.width() * target.rank()) as u64;
    let most = affordable(BUDGET, each, 1, 160 / chunk + 2);
    let of = |chunks: u32, folds: u32, ring: u32| Sequence {
        chunks,
        folds: folds.min(most),
        ring,
    };
    let sketch = |name, keys, sequences: Vec<Sequence>| {
        Sketch::new(name, move |target: &Target, stream: &Stream| {
            case(target, stream, &sequences, keys)
        })
    };
    let last = {
        let width = target.width() * 2;
        let per_chunk = (target.chunk_size() * (width + target.rank() * 2) + width) as u64;
        let room = u32::try_from(STORE_BYTES / per_chunk).unwrap_or(u32::MAX);
        target.most_chunks().min(room)
    };
    let mut sketches = vec![
        sketch("first chunk", Keys::Usual, vec![of(0, 1, 1)]),
        sketch(
            "ragged batch",
            Keys::Usual,
            vec![of(SPAN - 1, 2, 4), of(9, 0, 3), of(3 * SPAN / 2, 1, 4)],
        ),
    ];
    if each <= BUDGET / 4 {
        sketches.extend([
            sketch("nothing to fold", Keys::Usual, vec![of(5, 0, 3)]),
            sketch("keys of zeros", Keys::Zeros, vec![of(SPAN / 2 - 1, 3, 3)]),
            sketch(
                "many chunks",
                Keys::Usual,
                vec![of(SPAN - 3, most, most + 1)],
            ),
            sketch(
                "the model's last positions",
                Keys::Usual,
                vec![of(last.saturating_sub(2), 2, 3)],
            ),
        ]);
    }
    sketches
}

/// A chunk of every sequence of a layer; where it lies does not matter.
pub(super) fn layer(target: &Target, layer: &Layer) -> LayerSketch {
    let ring = target.spec.shadowkv.local_chunks
        + target
            .spec
            .shadowkv
            .generated_window
            .div_ceil(target.spec.shadowkv.chunk_size)
        + 1;
    let chunks = layer.chunks(target).clamp(1, MOST_CHUNKS) - 1;
    let sequence = Sequence {
        chunks,
        folds: 1,
        ring,
    };
    let sequences = vec![sequence; layer.batch as usize];
    LayerSketch {
        tokens: (chunks + 1) * target.spec.shadowkv.chunk_size,
        sketch: Sketch::of_layer(move |target, stream| {
            case(target, stream, &sequences, Keys::Usual)
        }),
    }
}

/// The launch as it grows.
#[derive(Default)]
struct Parts {
    k_pre: Vec<Segment>,
    keys: Vec<Segment>,
    values: Vec<Segment>,
    bases: Vec<Segment>,
    mask: Vec<Segment>,
    outlier_count: Vec<i32>,
    threshold: Vec<f32>,
    regions: Vec<Region>,
}

/// What a sequence folds, and where.
struct Folded<'a> {
    index: usize,
    sequence: Sequence,
    store: Store,
    rings: &'a Rings,
    /// Positions of the folded tokens.
    positions: std::ops::Range<usize>,
    /// Keys before RoPE, `[tokens, kv_heads, head_dim]`.
    k_pre: Vec<f64>,
    /// Bits of the keys after RoPE and of the values, likewise: any.
    keys: Vec<u16>,
    values: Vec<u16>,
}

fn case(target: &Target, stream: &Stream, sequences: &[Sequence], kind: Keys) -> Case {
    let chunk = target.spec.shadowkv.chunk_size;
    let each =
        |count: &dyn Fn(&Sequence) -> u32| -> Vec<u32> { sequences.iter().map(count).collect() };
    let stores = Stores::new(&each(&|sequence| sequence.chunks + sequence.folds));
    let rings = Rings::new(&each(&|sequence| sequence.ring * chunk));
    let tables = rope_tables(target.spec, sequences.len());
    let rotary = Rotary::new(&target.spec.rope);
    let capacity = target.spec.shadowkv.outlier_chunks as usize + 2;
    let mut parts = Parts::default();
    for (index, sequence) in sequences.iter().enumerate() {
        let mut stream = stream.fork(&format!("sequence {index}"));
        let folded = folded(
            target,
            &mut stream,
            (index, *sequence),
            kind,
            (stores.stores[index], &rings),
        );
        factors(target, &folded, &stream, &mut parts);
        let turns: Vec<Turns> = folded
            .positions
            .clone()
            .map(|position| rotary.turns(tables[index] as usize, position))
            .collect();
        for kv_head in 0..target.kv_heads() {
            head(
                target,
                &folded,
                kv_head,
                (&rotary, &turns),
                capacity,
                &mut stream,
                &mut parts,
            );
        }
    }
    let folds = Lengths::new("folds", &each(&|sequence| sequence.folds));
    let lists = sequences.len() * target.kv_heads();
    let mut arguments = BTreeMap::from([
        ("k_pre", Content::Memory(parts.k_pre)),
        ("keys", Content::Memory(parts.keys)),
        ("values", Content::Memory(parts.values)),
        Lengths::new("chunks", &each(&|sequence| sequence.chunks)).argument("chunk_count"),
        folds.argument("fold_count"),
        ("key_basis", Content::Memory(parts.bases)),
        ("rope_table", Content::i32s(tables)),
        (
            "outlier_threshold",
            Content::Memory(vec![Segment::f32s(0, parts.threshold)]),
        ),
        ("factors", Content::output()),
        ("landmarks", Content::output()),
        ("min_cosines", Content::output()),
        ("outlier_mask", Content::Memory(parts.mask)),
        ("host_values", Content::output()),
        ("outlier_chunks", Content::i32s(vec![-1; lists * capacity])),
        ("outlier_count", Content::i32s(parts.outlier_count)),
        ("outlier_keys", Content::output()),
        ("outlier_values", Content::output()),
        ("outlier_capacity", Content::Scalar(capacity as i64)),
    ]);
    arguments.extend(rings.arguments());
    arguments.extend(stores.arguments());
    let folding = folds.each.iter().filter(|folds| **folds > 0).count();
    Case {
        sizes: Sizes::new()
            .with("batch", sequences.len() as u64)
            .with("cache_rows", rings.rows)
            .with("folding_sequences", folding as u64)
            .with("outlier_capacity", capacity as u64)
            .with("store_chunks", stores.chunks)
            .with("total_folds", folds.total()),
        arguments,
        expected: Expected::Fixed(parts.regions),
    }
}

/// Keys and values of what a sequence folds.
fn folded<'a>(
    target: &Target,
    stream: &mut Stream,
    (index, sequence): (usize, Sequence),
    kind: Keys,
    (store, rings): (Store, &'a Rings),
) -> Folded<'a> {
    let (chunk, width) = (target.chunk_size(), target.width());
    let tokens = sequence.folds as usize * chunk;
    let first = sequence.chunks as usize * chunk;
    let mut k_pre = inputs::keys(stream, tokens, width);
    if kind == Keys::Zeros {
        k_pre.fill(0.0);
    }
    let mut bits = || (0..tokens * width).map(|_| stream.bits() as u16).collect();
    Folded {
        index,
        sequence,
        store,
        rings,
        positions: first..first + tokens,
        k_pre,
        keys: bits(),
        values: bits(),
    }
}

/// What is read by all heads together, and the factor rows that come of it.
fn factors(target: &Target, folded: &Folded, stream: &Stream, parts: &mut Parts) {
    let (width, rank) = (target.width(), target.rank());
    for (token, position) in folded.positions.clone().enumerate() {
        let first = folded.rings.row(folded.index, position) * width as u64;
        let own = token * width..(token + 1) * width;
        parts
            .k_pre
            .push(Segment::bf16s(first, &folded.k_pre[own.clone()]));
        parts.values.push(raw(first, &folded.values[own]));
    }
    if folded.sequence.folds == 0 {
        return;
    }
    let basis = inputs::basis(stream, "basis", width, rank);
    parts
        .bases
        .push(Segment::bf16s((folded.index * width * rank) as u64, &basis));
    let chunk = target.chunk_size() as u64;
    let first = folded.positions.start as u64;
    parts.regions.push(Region {
        argument: "factors",
        first: (folded.store.begin * chunk + first) * rank as u64,
        shared: vec![("sequence", folded.index as u64)],
        axes: vec![
            ("position", first, folded.positions.len() as u64),
            ("rank", 0, rank as u64),
        ],
        values: key_project::expected(&folded.k_pre, &basis, width, rank),
    });
}

/// One KV head: its landmarks, cosines, values, and what it keeps exact.
fn head(
    target: &Target,
    folded: &Folded,
    kv_head: usize,
    (rotary, turns): (&Rotary, &[Turns]),
    capacity: usize,
    stream: &mut Stream,
    parts: &mut Parts,
) {
    let (head_dim, chunk) = (target.head_dim(), target.chunk_size());
    let of_head: Vec<f64> = by_head(target, &folded.k_pre, kv_head);
    let (landmarks, cosines) = chunk_landmarks::expected(&of_head, turns, rotary, chunk, head_dim);
    let Values::Real { values, slack } = &cosines else {
        return;
    };
    let threshold = threshold(values, slack, kv_head);
    // Some lists are full, or become so.
    let count = match kv_head % 4 {
        0 => capacity - 1,
        2 => capacity,
        _ => stream.below(capacity as u64 - 1) as usize,
    };
    let outliers = Outliers {
        threshold: f64::from(threshold),
        count,
        capacity,
    };
    let places = places(values, outliers);
    parts.threshold.push(threshold);
    parts.outlier_count.push(count as i32);
    if places.is_empty() {
        return;
    }
    let chunks = folded.sequence.chunks;
    let row = folded
        .store
        .row(target.spec.attention.kv_heads, kv_head as u32, chunks);
    let axis = ("chunk", u64::from(chunks), places.len() as u64);
    let shared = vec![
        ("sequence", folded.index as u64),
        ("kv_head", kv_head as u64),
    ];
    let elements = (chunk * head_dim) as u64;
    let own = by_head(target, &folded.values, kv_head);
    for (argument, first, axes, values) in [
        (
            "landmarks",
            row * head_dim as u64,
            vec![axis, ("element", 0, head_dim as u64)],
            landmarks,
        ),
        ("min_cosines", row, vec![axis], cosines),
        (
            "host_values",
            row * elements,
            vec![axis, ("element of the chunk", 0, elements)],
            Values::Exact(raw(0, &own).bytes),
        ),
    ] {
        parts.regions.push(Region {
            argument,
            first,
            shared: shared.clone(),
            axes,
            values,
        });
    }
    mask(row, chunks, &places, stream, &shared, parts);
    stay(
        target,
        folded,
        kv_head,
        &places,
        (capacity, count),
        &shared,
        parts,
    );
}

/// A threshold that no cosine is near: between two of them, below or above all, or none at all.
fn threshold(cosines: &[f64], slack: &[f32], kv_head: usize) -> f32 {
    let mut sorted = cosines.to_vec();
    sorted.sort_by(f64::total_cmp);
    let margin = 16.0 * f64::from(slack.iter().copied().fold(1e-6, f32::max));
    let zeros = cosines.iter().all(|cosine| *cosine == 0.0);
    let (Some(lowest), Some(highest)) = (sorted.first(), sorted.last()) else {
        return 0.5;
    };
    if zeros {
        return 0.0;
    }
    let threshold = match kv_head % 3 {
        0 => highest + margin,
        1 => sorted
            .windows(2)
            .find(|pair| pair[1] - pair[0] > margin)
            .map_or(lowest - margin, |pair| f64::midpoint(pair[0], pair[1])),
        _ => f64::NEG_INFINITY,
    };
    threshold as f32
}

/// The words of the mask that hold the folded chunks' bits, the first of them bit `row` of all; those of a span that has
/// begun before are there already, with anything in the bits of chunks to come.
fn mask(
    row: u64,
    chunks: u32,
    places: &[Option<usize>],
    stream: &mut Stream,
    shared: &[(&'static str, u64)],
    parts: &mut Parts,
) {
    let begin = row - u64::from(chunks % SPAN);
    let mut bits = Vec::new();
    if !chunks.is_multiple_of(SPAN) {
        let words: Vec<u32> = (0..SPAN / 32).map(|_| stream.bits() as u32).collect();
        bits.extend(
            words
                .iter()
                .flat_map(|word| (0..32).map(move |bit| word >> bit & 1 == 1)),
        );
        parts.mask.push(Segment {
            offset: begin / 8,
            bytes: bytes_of(words.into_iter().map(u32::to_le_bytes)),
        });
    }
    for (index, place) in places.iter().enumerate() {
        let bit = chunks % SPAN + index as u32;
        // A new span has no bit but those of its chunks.
        if bit.is_multiple_of(SPAN) {
            bits.extend([false; SPAN as usize]);
        }
        bits[bit as usize] = place.is_some();
    }
    let words = bits.chunks_exact(32).map(|bits| {
        let set = bits.iter().enumerate().filter(|(_, bit)| **bit);
        set.fold(0_u32, |word, (bit, _)| word | 1 << bit)
    });
    let values = Values::Exact(bytes_of(words.map(u32::to_le_bytes)));
    parts.regions.push(Region {
        argument: "outlier_mask",
        first: begin / 32,
        shared: shared.to_vec(),
        axes: vec![("word", 0, bits.len() as u64 / 32)],
        values,
    });
}

/// What of a KV head stays exact.
fn stay(
    target: &Target,
    folded: &Folded,
    kv_head: usize,
    places: &[Option<usize>],
    (capacity, count): (usize, usize),
    shared: &[(&'static str, u64)],
    parts: &mut Parts,
) {
    let (kv_heads, head_dim, chunk) = (target.kv_heads(), target.head_dim(), target.chunk_size());
    let list = folded.index * kv_heads + kv_head;
    let elements = chunk * head_dim;
    let [keys, values] = [&folded.keys, &folded.values].map(|all| by_head(target, all, kv_head));
    let mut region = |argument, first: usize, bytes: Vec<u8>| {
        parts.regions.push(Region {
            argument,
            first: first as u64,
            shared: shared.to_vec(),
            axes: vec![("element", 0, bytes.len() as u64 / 2)],
            values: Values::Exact(bytes),
        });
    };
    for (fold, place) in places.iter().enumerate() {
        let Some(place) = place else { continue };
        let place = list * capacity + place;
        let chunk_number = folded.sequence.chunks as i32 + fold as i32;
        let own = fold * elements..(fold + 1) * elements;
        region("outlier_chunks", place, chunk_number.to_le_bytes().to_vec());
        region(
            "outlier_keys",
            place * elements,
            raw(0, &keys[own.clone()]).bytes,
        );
        region(
            "outlier_values",
            place * elements,
            raw(0, &values[own]).bytes,
        );
    }
    let stayed: Vec<usize> = (0..places.len())
        .filter(|fold| places[*fold].is_some())
        .collect();
    if !stayed.is_empty() {
        let after = (count + stayed.len()) as i32;
        region("outlier_count", list, after.to_le_bytes().to_vec());
    }
    // Keys after RoPE are there for what stays exact only: nobody may read the others.
    for fold in stayed {
        for token in fold * chunk..(fold + 1) * chunk {
            let row = folded
                .rings
                .row(folded.index, folded.positions.start + token);
            let first = (row as usize * kv_heads + kv_head) * head_dim;
            parts.keys.push(raw(
                first as u64,
                &keys[token * head_dim..(token + 1) * head_dim],
            ));
        }
    }
}

/// One head of rows `[tokens, kv_heads, head_dim]`.
fn by_head<T: Copy>(target: &Target, rows: &[T], kv_head: usize) -> Vec<T> {
    let head_dim = target.head_dim();
    let all = by_head_and_chunk(rows, target.kv_heads(), head_dim, target.chunk_size());
    let each = rows.len() / target.kv_heads();
    all[kv_head * each..(kv_head + 1) * each].to_vec()
}

/// bfloat16 numbers from element `first`, by their bits.
fn raw(first: u64, numbers: &[u16]) -> Segment {
    Segment {
        offset: first * 2,
        bytes: bytes_of(numbers.iter().map(|number| number.to_le_bytes())),
    }
}
