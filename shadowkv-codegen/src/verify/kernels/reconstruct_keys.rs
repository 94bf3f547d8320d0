//! Cases of `reconstruct_keys`.

use std::collections::BTreeMap;
use std::f64::consts::SQRT_2;

use shadowkv_runtime::manifest::Sizes;

use super::slots::{CopyLists, Missing};
use super::{Layer, LayerSketch, Sketch, Target};
use crate::verify::batch::{Stores, affordable, rope_tables};
use crate::verify::case::{Case, Content, Expected, Region, Segment, Values};
use crate::verify::inputs;
use crate::verify::oracle::length;
use crate::verify::oracle::reconstruct_keys::reconstruct_chunk;
use crate::verify::oracle::rope::Rotary;
use crate::verify::random::Stream;
use crate::verify::tolerance::{rotation, tensor_sum};

/// Multiply-adds of the oracle that a case may take.
const BUDGET: u64 = 250_000_000;
/// Bytes of the factors up to which positions may be late.
const FACTOR_BYTES: u64 = 512 << 20;

pub(super) fn cases(target: &Target) -> Vec<Sketch> {
    let each = (target.chunk_size() * target.rank() * target.head_dim()) as u64;
    let kv_heads = target.kv_heads() as u64;
    let selected = target.spec.shadowkv.selected_chunks();
    let most = |lists: u64| affordable(BUDGET, each * lists, 1, selected);
    let chunks = selected + selected / 2 + 1;
    let last = {
        let per_chunk = (target.chunk_size() * target.rank() * 2) as u64;
        let room = u32::try_from(FACTOR_BYTES / per_chunk).unwrap_or(u32::MAX);
        target.most_chunks().min(room)
    };
    let few = most(2 * kv_heads).min(5);
    vec![
        sketch("nothing missing", vec![(0, chunks)], Missing::None, 0),
        sketch("one chunk", vec![(0, 1)], Missing::All, 1),
        sketch(
            "much missing",
            vec![(0, chunks)],
            Missing::All,
            most(kv_heads),
        ),
        sketch(
            "ragged batch",
            vec![
                (0, chunks),
                (0, 0),
                (0, 1),
                (7, chunks / 2 + 8),
                (0, chunks),
            ],
            Missing::Mixed,
            most(3 * kv_heads),
        ),
        sketch(
            "the model's last positions",
            vec![(last.saturating_sub(few + 2), last)],
            Missing::All,
            few,
        ),
    ]
}

/// The keys of a step.
pub(super) fn layer(target: &Target, layer: &Layer) -> LayerSketch {
    let missing = layer.missing(target);
    let ranges = vec![(0, layer.chunks(target)); layer.batch as usize];
    LayerSketch {
        tokens: layer.context,
        sketch: Sketch::of_layer(move |target, stream| {
            case(target, stream, &ranges, Missing::Exactly(missing), missing)
        }),
    }
}

fn sketch(name: &'static str, ranges: Vec<(u32, u32)>, missing: Missing, most: u32) -> Sketch {
    Sketch::new(name, move |target, stream| {
        case(target, stream, &ranges, missing, most)
    })
}

fn case(
    target: &Target,
    stream: &Stream,
    ranges: &[(u32, u32)],
    missing: Missing,
    most: u32,
) -> Case {
    let (kv_heads, head_dim, rank) = (target.kv_heads(), target.head_dim(), target.rank());
    let (chunk_size, batch) = (target.chunk_size(), ranges.len());
    let ends: Vec<u32> = ranges.iter().map(|(_, end)| *end).collect();
    let stores = Stores::new(&ends);
    let tables = rope_tables(target.spec, batch);
    let rotary = Rotary::new(&target.spec.rope);
    let lists = CopyLists::new(target, ranges, missing, most, &mut stream.fork("lists"));
    let (mut factors, mut bases, mut regions) = (Vec::new(), Vec::new(), Vec::new());
    for (sequence, table) in tables.iter().enumerate() {
        let stream = stream.fork(&format!("sequence {sequence}"));
        let basis = inputs::basis(&stream, "basis", target.width(), rank);
        // The rows of A that some KV head needs; the others nobody has written.
        let mut rows: BTreeMap<u32, Vec<f64>> = BTreeMap::new();
        for kv_head in 0..kv_heads {
            let list = sequence * kv_heads + kv_head;
            let of_head = &basis[kv_head * head_dim * rank..(kv_head + 1) * head_dim * rank];
            let chunks = lists.chunks[list].iter().zip(&lists.slots[list]);
            for (chunk, slot) in chunks {
                let own = rows.entry(*chunk).or_insert_with(|| {
                    let purpose = format!("factors of chunk {chunk}");
                    // Energy falls with the rank, as that of the leading directions does.
                    let mut own = inputs::normals(&stream, &purpose, chunk_size * rank, 4.0);
                    for row in own.chunks_exact_mut(rank) {
                        for (index, factor) in row.iter_mut().enumerate() {
                            *factor *= 0.5_f64.powi((index / 32).min(8) as i32);
                        }
                    }
                    own
                });
                let resident = target.spec.shadowkv.resident_chunks as usize;
                let table = *table as usize;
                let row = chunk_size * head_dim;
                if !target.compared() {
                    continue;
                }
                let values = expected(own, of_head, *chunk, &rotary, table, target);
                regions.push(Region {
                    argument: "key_slots",
                    first: ((list * resident + *slot as usize) * row) as u64,
                    shared: vec![
                        ("sequence", sequence as u64),
                        ("kv_head", kv_head as u64),
                        ("chunk", u64::from(*chunk)),
                        ("slot", u64::from(*slot)),
                    ],
                    axes: vec![
                        ("token", 0, chunk_size as u64),
                        ("element", 0, head_dim as u64),
                    ],
                    values,
                });
            }
        }
        let first = stores.stores[sequence].begin * chunk_size as u64;
        factors.extend(rows.iter().map(|(chunk, rows)| {
            let position = u64::from(*chunk) * chunk_size as u64;
            Segment::bf16s((first + position) * rank as u64, rows)
        }));
        bases.push(Segment::bf16s(
            (sequence * target.width() * rank) as u64,
            &basis,
        ));
    }
    let mut arguments = BTreeMap::from([
        ("factors", Content::Memory(factors)),
        ("key_basis", Content::Memory(bases)),
        ("rope_table", Content::i32s(tables)),
        ("key_slots", Content::output()),
    ]);
    arguments.extend(lists.arguments());
    arguments.extend(stores.arguments());
    Case {
        sizes: Sizes::new()
            .with("batch", batch as u64)
            .with("sm_count", target.multiprocessors.into())
            .with("store_chunks", stores.chunks)
            .with("total_missing", lists.total()),
        arguments,
        expected: Expected::Fixed(regions),
    }
}

/// Keys `[chunk_size, head_dim]` of one chunk and KV head.
fn expected(
    factors: &[f64],
    basis: &[f64],
    chunk: u32,
    rotary: &Rotary,
    table: usize,
    target: &Target,
) -> Values {
    let (rank, head_dim) = (target.rank(), target.head_dim());
    let values = reconstruct_chunk(factors, basis, rank, chunk as usize, rotary, table);
    // sum |a b| is at most the product of the lengths.
    let vectors: Vec<f64> = basis.chunks_exact(rank).map(length).collect();
    let pairs = rotary.frequencies[table].len();
    let mut slack = Vec::with_capacity(values.len());
    for (row, key) in factors
        .chunks_exact(rank)
        .zip(values.chunks_exact(head_dim))
    {
        let of_token = tensor_sum(rank, length(row));
        let mut own: Vec<f64> = vectors.iter().map(|vector| of_token * vector).collect();
        for pair in 0..pairs {
            let (first, second) = rotary.pair(pair);
            let product = own[first].max(own[second]);
            // A rotation keeps the length, so that |x| + |y| was at most the root of two of it.
            let size = key[first].hypot(key[second]) / rotary.factor.abs();
            let turned = rotation(size * SQRT_2, 0.0, rotary.factor, product);
            own[first] = turned;
            own[second] = turned;
        }
        slack.extend(own.into_iter().map(|slack| slack as f32));
    }
    Values::Real { values, slack }
}
