//! The kernels of a prompt, each given what the class had before the stage, rounded as it is stored.

use std::collections::BTreeMap;

use shadowkv_codegen::verify::case::{Content, Region, Segment, Values};
use shadowkv_codegen::verify::number::bf16;
use shadowkv_codegen::verify::oracle::chunk_landmarks::chunk_landmark;
use shadowkv_codegen::verify::oracle::key_basis::key_basis;
use shadowkv_codegen::verify::oracle::{dot, length, transposed};
use shadowkv_codegen::verify::tolerance::{INVERSE_ROOT, TURNED, float_sum, tensor_sum};
use shadowkv_runtime::manifest::{Dtype, Sizes};

use crate::close::Close;
use crate::fixture::Fixture;
use crate::launch::{Arguments, Kernels, Output, Place, one};
use crate::method::{LANDMARKS, REBUILT, chunk_rows, cosine};

/// Relative spacing of bfloat16 numbers, halved: what storing may be off by.
pub(crate) const BF16: f64 = 1.0 / 256.0;
/// Tokens after which a kernel must have emptied its tensor cores' sums.
const TOKENS_OF_ACCUMULATOR: usize = 1024;
/// How much more of the keys than the best basis one from an `f32` matrix may leave, as a share. Errors of the matrix turn
/// its eigenvectors by their share of the gap behind the last of them; some 1e-3 here, and what is left grows with the
/// square of that.
const MORE_LEFT: f64 = 1e-5;

/// The kernels of a prompt meet the golden numbers of `case`.
pub(crate) fn agree(case: &Fixture) {
    let kernels = Kernels::compile(case, &["key_gram", "key_project", "chunk_landmarks"]);
    gram(case, &kernels);
    project(case, &kernels);
    landmarks(case, &kernels);
}

fn keys(case: &Fixture) -> Content {
    Content::Memory(vec![Segment::bf16s(0, &case.k_pre)])
}

/// `key_gram`: the matrix, and that the basis in it leaves of the keys no more than the class' decomposition does.
fn gram(case: &Fixture, kernels: &Kernels) {
    let (width, tokens) = (case.width(), case.tokens);
    let tile = kernels.constant("key_gram", "TILES");
    let tiles = (tile * (tile + 1) / 2) as usize;
    let zeros = || Content::u32s((0..tiles).map(|_| 0));
    let arguments: Arguments = BTreeMap::from([
        ("k_pre", keys(case)),
        ("token_begin", Content::i64s([0])),
        one("token_count", tokens),
        ("gram", Content::output()),
        ("workspace", Content::Scratch),
        ("arrivals", zeros()),
    ]);
    let sizes = Sizes::new()
        .with("batch", 1)
        .with("max_tokens", tokens as u64)
        .with("sm_count", kernels.multiprocessors())
        .with("token_rows", tokens as u64)
        .with("total_tokens", tokens as u64);
    let arrivals = Region {
        argument: "arrivals",
        first: 0,
        shared: Vec::new(),
        axes: vec![("tile", 0, tiles as u64)],
        values: Values::Exact(vec![0; 4 * tiles]),
    };
    let output = Output {
        argument: "gram",
        dtype: Dtype::F32,
        first: 0,
        elements: width * width,
    };
    let found = kernels
        .outputs("key_gram", sizes, arguments, &[output], vec![arrivals])
        .remove(0);
    let mut close = Close::new(case.name, "key_gram: matrix");
    let columns = transposed(&case.k_pre, width);
    let lengths: Vec<f64> = columns.chunks_exact(tokens).map(length).collect();
    let share =
        tensor_sum(tokens.min(TOKENS_OF_ACCUMULATOR), 1.0) + float_sum(tokens.div_ceil(16), 1.0);
    for (index, (found, exact)) in found.iter().zip(case.gram()).enumerate() {
        let (row, column) = (index / width, index % width);
        let tolerance = share * lengths[row] * lengths[column];
        close.one(*found, *exact, tolerance, || format!("[{row}, {column}]"));
    }
    close.done();
    let basis = key_basis(&found, width, case.rank()).unwrap();
    // What the basis holds of the squared length of all keys: the trace of V^T M V, M exact.
    let held: f64 = transposed(&basis.vectors, case.rank())
        .chunks_exact(width)
        .map(|vector| {
            let image: Vec<f64> = case
                .gram()
                .chunks_exact(width)
                .map(|row| dot(row, vector))
                .collect();
            dot(vector, &image)
        })
        .sum();
    let whole: f64 = (0..width).map(|row| case.gram()[row * width + row]).sum();
    let left = ((whole - held) / whole).sqrt();
    let golden = case.expected("rank_error")[0];
    let mut close = Close::new(case.name, "key_gram: what its basis leaves out");
    close.one(left, golden, golden * MORE_LEFT, String::new);
    close.done();
}

/// `key_project`: the factors, multiplied with the basis they were made with, are the class' rebuilt keys.
fn project(case: &Fixture, kernels: &Kernels) {
    let (width, rank, tokens) = (case.width(), case.rank(), case.tokens);
    let place = Place::of(tokens.div_ceil(case.chunk_size()));
    let basis = &case.basis().vectors;
    let mut arguments: Arguments = BTreeMap::from([
        ("k_pre", keys(case)),
        ("token_begin", Content::i64s([0])),
        one("token_count", tokens),
        one("first_chunk", 0),
        ("key_basis", Content::Memory(vec![Segment::bf16s(0, basis)])),
        ("factors", Content::output()),
    ]);
    arguments.extend(place.arguments());
    let sizes = Sizes::new()
        .with("batch", 1)
        .with("max_tokens", tokens as u64)
        .with("token_rows", tokens as u64)
        .with("store_chunks", place.capacity as u64)
        .with("total_tokens", tokens as u64);
    let output = Output {
        argument: "factors",
        dtype: Dtype::Bf16,
        first: 0,
        elements: tokens * rank,
    };
    let factors = kernels
        .outputs("key_project", sizes, arguments, &[output], Vec::new())
        .remove(0);
    let rounded: Vec<f64> = basis.iter().map(|own| bf16(*own)).collect();
    let turned = largest_factor(basis, &rounded, rank);
    let mut close = Close::new(case.name, "key_project: rebuilt keys, as lengths");
    let golden = case.expected("recon.k_pre");
    let positions = case.expected("recon.positions");
    for (index, position) in positions.iter().enumerate() {
        let position = *position as usize;
        let own = &factors[position * rank..(position + 1) * rank];
        let rebuilt = rounded.chunks_exact(rank).map(|vector| dot(vector, own));
        let golden = (0..case.kv_heads()).flat_map(|kv_head| {
            let of_head = case.part(golden, kv_head, case.kv_heads());
            of_head[index * case.head_dim()..(index + 1) * case.head_dim()].iter()
        });
        let off: Vec<f64> = rebuilt.zip(golden).map(|(x, y)| x - y).collect();
        let key = length(&case.k_pre[position * width..(position + 1) * width]);
        // Keys go through the rounded basis twice; factors are sums in tensor cores, and are rounded.
        let arithmetic = BF16 + tensor_sum(width, 1.0) * (rank as f64).sqrt();
        let tolerance = key * (2.0 * turned + turned * turned)
            + key * (1.0 + turned) * arithmetic
            + REBUILT * (width as f64).sqrt();
        close.one(length(&off), 0.0, tolerance, || {
            format!("position {position}")
        });
    }
    close.done();
}

/// What the difference of two matrices `[rows, columns]` can make of a vector's length at most: the root of the largest
/// eigenvalue of its Gram matrix.
fn largest_factor(left: &[f64], right: &[f64], columns: usize) -> f64 {
    let difference: Vec<f64> = left.iter().zip(right).map(|(x, y)| x - y).collect();
    let gram = shadowkv_codegen::verify::oracle::key_gram::key_gram(&difference, columns);
    key_basis(&gram, columns, 1).unwrap().values[0].sqrt()
}

/// `chunk_landmarks`: landmarks of the chunks that keep one, and the lowest cosines of all.
fn landmarks(case: &Fixture, kernels: &Kernels) {
    let (head_dim, chunks) = (case.head_dim(), case.chunks);
    let place = Place::of(chunks);
    let exact = case.keys();
    let mut regions = Vec::new();
    for kv_head in 0..case.kv_heads() {
        let row = kv_head * place.capacity;
        // The class drops the landmarks of outliers; ours are there, and masked.
        let mut means: Vec<f64> = (0..chunks)
            .flat_map(|chunk| {
                chunk_landmark(&chunk_rows(case, &exact, kv_head, chunk), head_dim).mean
            })
            .collect();
        let golden = case.part(case.expected("landmarks"), kv_head, case.kv_heads());
        let remaining = case.chunks_of("landmark_chunks", kv_head);
        for (chunk, golden) in remaining.into_iter().zip(golden.chunks_exact(head_dim)) {
            means[chunk * head_dim..(chunk + 1) * head_dim].copy_from_slice(golden);
        }
        let shared = vec![("kv_head", kv_head as u64)];
        let axis = ("chunk", 0, chunks as u64);
        regions.push(Region {
            argument: "landmarks",
            first: (row * head_dim) as u64,
            shared: shared.clone(),
            axes: vec![axis, ("element", 0, head_dim as u64)],
            values: Values::Real {
                slack: vec![LANDMARKS as f32; means.len()],
                values: means,
            },
        });
        let golden = case.part(case.expected("worst_cosine"), kv_head, case.kv_heads());
        // Key and mean are turned in `f32`; two lengths and a product are summed, and two roots inverted.
        let arithmetic = 2.0 * TURNED + 2.0 * float_sum(head_dim, 1.0) + 2.0 * INVERSE_ROOT;
        let slack = golden
            .iter()
            .map(|golden| (cosine(*golden, case) + arithmetic) as f32);
        regions.push(Region {
            argument: "min_cosines",
            first: row as u64,
            shared,
            axes: vec![axis],
            values: Values::Real {
                slack: slack.collect(),
                values: golden.to_vec(),
            },
        });
    }
    let mut arguments: Arguments = BTreeMap::from([
        ("k_pre", keys(case)),
        ("token_begin", Content::i64s([0])),
        one("first_chunk", 0),
        one("chunk_count", chunks),
        one("rope_table", case.table),
        ("landmarks", Content::output()),
        ("min_cosines", Content::output()),
    ]);
    arguments.extend(place.arguments());
    let sizes = Sizes::new()
        .with("batch", 1)
        .with("max_chunks", chunks as u64)
        .with("token_rows", case.tokens as u64)
        .with("store_chunks", place.capacity as u64)
        .with("total_chunks", chunks as u64);
    kernels.meets("chunk_landmarks", sizes, arguments, regions);
}
