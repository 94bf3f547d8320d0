//! The kernels of attention, given what the class attended to, rounded as it is stored.

use std::collections::BTreeMap;
use std::ops::Range;

use shadowkv_codegen::verify::case::{Content, Region, Segment, Values};
use shadowkv_codegen::verify::number::bf16;
use shadowkv_codegen::verify::oracle::attention::{weighted_sum, weights};
use shadowkv_codegen::verify::oracle::key_project::key_project;
use shadowkv_codegen::verify::oracle::length;
use shadowkv_codegen::verify::tolerance::tensor_sum;
use shadowkv_runtime::manifest::Sizes;

use crate::decode::{UNLIKELY, keys_of};
use crate::fixture::Fixture;
use crate::launch::{Arguments, Kernels, one};
use crate::method::{ATTENTION, chunk_rows};
use crate::prefill::BF16;

/// The kernels of attention meet the golden numbers of `case`.
pub(crate) fn agree(case: &Fixture) {
    let kernels = Kernels::compile(case, &["decode_attention", "sparse_attention"]);
    let steps: Vec<usize> = (0..case.steps)
        .filter(|step| case.has(&format!("step{step}.k_selected")))
        .collect();
    assert!(!steps.is_empty(), "{}: no step to look at", case.name);
    for step in steps {
        sparse(case, &kernels, step);
        if case.has(&format!("step{step}.full_attn_out")) {
            full(case, &kernels, step);
        }
    }
}

/// Keys and values of some tokens, `[tokens, head_dim]`.
#[derive(Clone, Debug, Default)]
struct Rows {
    keys: Vec<f64>,
    values: Vec<f64>,
}

impl Rows {
    fn extend(&mut self, other: &Rows) {
        self.keys.extend(&other.keys);
        self.values.extend(&other.values);
    }
}

/// Tokens of one KV head, from the prompt and from the steps up to `step`.
fn tokens(case: &Fixture, keys: &[f64], step: usize, kv_head: usize, range: Range<usize>) -> Rows {
    let mut rows = Rows::default();
    for token in range {
        if token < case.tokens {
            rows.keys.extend(case.row(keys, token, kv_head));
            rows.values.extend(case.row(&case.values, token, kv_head));
        } else {
            assert!(token - case.tokens <= step);
            for (name, own) in [("k_new", &mut rows.keys), ("v_new", &mut rows.values)] {
                let new = case.part(case.input(name), token - case.tokens, case.steps);
                own.extend(case.part(new, kv_head, case.kv_heads()));
            }
        }
    }
    rows
}

/// Rows of all KV heads, one token after the other, the first of them at position `first`, in a ring of `capacity` rows.
fn ring(case: &Fixture, heads: &[&[f64]], first: usize, capacity: usize) -> Content {
    let (head_dim, width) = (case.head_dim(), case.width());
    let tokens = heads.first().map_or(0, |own| own.len() / head_dim);
    let row = |token: usize| {
        let key: Vec<f64> = heads
            .iter()
            .flat_map(|own| own[token * head_dim..(token + 1) * head_dim].iter())
            .map(|own| bf16(*own))
            .collect();
        Segment::bf16s(((first + token) % capacity * width) as u64, &key)
    };
    Content::Memory((0..tokens).map(row).collect())
}

/// `decode_attention`: the newest token over all tokens.
fn full(case: &Fixture, kernels: &Kernels, step: usize) {
    let count = case.tokens + step + 1;
    let exact = case.keys();
    let heads: Vec<Rows> = (0..case.kv_heads())
        .map(|kv_head| tokens(case, &exact, step, kv_head, 0..count))
        .collect();
    let golden = case.expected(&format!("step{step}.full_attn_out"));
    let regions = heads
        .iter()
        .enumerate()
        .flat_map(|(kv_head, rows)| outputs(case, step, kv_head, rows, golden))
        .collect();
    let (keys, values) = caches(case, &heads, 0, count);
    let arguments: Arguments = BTreeMap::from([
        ("queries", queries(case, step)),
        ("keys", keys),
        ("values", values),
        one("token_count", count),
        ("row_begin", Content::i64s([0])),
        ("output", Content::output()),
        ("workspace", Content::Scratch),
        ("arrivals", Content::u32s(heads.iter().map(|_| 0))),
    ]);
    let sizes = Sizes::new()
        .with("batch", 1)
        .with("cache_rows", count as u64)
        .with("max_tokens", count as u64)
        .with("total_tokens", count as u64);
    kernels.meets("decode_attention", sizes, arguments, regions);
}

fn queries(case: &Fixture, step: usize) -> Content {
    let queries = case.part(case.input("q"), step, case.steps);
    Content::Memory(vec![Segment::bf16s(0, queries)])
}

/// Exact keys and values of all KV heads from position `first` on.
fn caches(case: &Fixture, heads: &[Rows], first: usize, capacity: usize) -> (Content, Content) {
    let keys: Vec<&[f64]> = heads.iter().map(|own| own.keys.as_slice()).collect();
    let values: Vec<&[f64]> = heads.iter().map(|own| own.values.as_slice()).collect();
    (
        ring(case, &keys, first, capacity),
        ring(case, &values, first, capacity),
    )
}

/// Chunks of one KV head at their places, `[places, chunk_size, head_dim]`.
struct Chunks {
    rows: Rows,
    count: usize,
}

/// The outliers of one KV head, exact.
fn outliers(case: &Fixture, exact: &[f64], kv_head: usize) -> Chunks {
    let chunks = case.chunks_of("outlier_chunks", kv_head);
    let rows = |of: &[f64]| -> Vec<f64> {
        let each = chunks.iter().map(|own| chunk_rows(case, of, kv_head, *own));
        each.flatten().collect()
    };
    Chunks {
        rows: Rows {
            keys: rows(exact),
            values: rows(&case.values),
        },
        count: chunks.len(),
    }
}

/// The selected chunks of one KV head, with the keys that the class attended to.
fn selected(case: &Fixture, factors: &[f64], step: usize, kv_head: usize) -> Chunks {
    let chunks = case.chunks_of(&case.of_step(step, "selected_chunks"), kv_head);
    let listed = case.chunks_of(&format!("step{step}.selected_chunks"), kv_head);
    let golden = case.expected(&format!("step{step}.k_selected"));
    let golden = case.part(golden, kv_head, case.kv_heads());
    let mut rows = Rows::default();
    for chunk in &chunks {
        let place = listed.iter().position(|own| own == chunk);
        let keys = if let Some(place) = place {
            case.part(golden, place, listed.len()).to_vec()
        } else {
            let of_chunk = case.chunk_size() * case.rank();
            let own = &factors[chunk * of_chunk..(chunk + 1) * of_chunk];
            keys_of(case, step, kv_head, *chunk, own)
        };
        rows.extend(&Rows {
            keys,
            values: chunk_rows(case, &case.values, kv_head, *chunk),
        });
    }
    Chunks {
        rows,
        count: chunks.len(),
    }
}

/// Chunks of every KV head in stores of `places` chunks each.
fn stored(case: &Fixture, chunks: &[&[f64]], places: usize) -> Content {
    let elements = places * case.chunk_size() * case.head_dim();
    let segment = |(kv_head, own): (usize, &&[f64])| {
        let rounded: Vec<f64> = own.iter().map(|own| bf16(*own)).collect();
        Segment::bf16s((kv_head * elements) as u64, &rounded)
    };
    Content::Memory(chunks.iter().enumerate().map(segment).collect())
}

/// `sparse_attention`: the newest token over outliers, selected chunks and the exact window.
fn sparse(case: &Fixture, kernels: &Kernels, step: usize) {
    let (chunk_size, kv_heads) = (case.chunk_size(), case.kv_heads());
    let (first, count) = (case.chunks * chunk_size, case.tokens + step + 1);
    // No more room than must be, so that the ring has turned.
    let capacity = (count - first).next_multiple_of(chunk_size);
    let exact = case.keys();
    let factors = key_project(
        &case.k_pre,
        &case.basis().vectors,
        case.width(),
        case.rank(),
    );
    let golden = case.expected(&case.of_step(step, "attn_out"));
    let (mut window, mut apart, mut chosen, mut regions) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for kv_head in 0..kv_heads {
        let own = tokens(case, &exact, step, kv_head, first..count);
        let outliers = outliers(case, &exact, kv_head);
        let selected = selected(case, &factors, step, kv_head);
        let mut all = own.clone();
        all.extend(&outliers.rows);
        all.extend(&selected.rows);
        regions.extend(outputs(case, step, kv_head, &all, golden));
        window.push(own);
        apart.push(outliers);
        chosen.push(selected);
    }
    let (keys, values) = caches(case, &window, first, capacity);
    let resident = case.spec.shadowkv.resident_chunks as usize;
    let places = case.spec.shadowkv.outlier_chunks as usize + 1;
    let of = |chunks: &[Chunks], room: usize| {
        let keys: Vec<&[f64]> = chunks.iter().map(|own| own.rows.keys.as_slice()).collect();
        let values: Vec<&[f64]> = chunks
            .iter()
            .map(|own| own.rows.values.as_slice())
            .collect();
        (stored(case, &keys, room), stored(case, &values, room))
    };
    let (outlier_keys, outlier_values) = of(&apart, places);
    let (key_slots, value_slots) = of(&chosen, resident);
    let slots = chosen.iter().flat_map(|own| 0..own.count as i32);
    let arguments: Arguments = BTreeMap::from([
        ("queries", queries(case, step)),
        ("outlier_keys", outlier_keys),
        ("outlier_values", outlier_values),
        (
            "outlier_count",
            Content::i32s(apart.iter().map(|own| own.count as i32)),
        ),
        ("key_slots", key_slots),
        ("value_slots", value_slots),
        ("selected_slots", Content::i32s(slots)),
        ("keys", keys),
        ("values", values),
        ("row_begin", Content::i64s([0])),
        one("row_capacity", capacity),
        one("chunk_count", case.chunks),
        one("token_count", count),
        ("output", Content::output()),
        ("workspace", Content::Scratch),
        ("arrivals", Content::u32s(window.iter().map(|_| 0))),
        ("outlier_capacity", Content::Scalar(places as i64)),
    ]);
    let attended =
        window
            .iter()
            .zip(apart.iter().zip(&chosen))
            .map(|(own, (outliers, selected))| {
                own.keys.len() / case.head_dim() + (outliers.count + selected.count) * chunk_size
            });
    let sizes = Sizes::new()
        .with("batch", 1)
        .with("cache_rows", capacity as u64)
        .with("max_window", (count - first) as u64)
        .with("outlier_capacity", places as u64)
        .with("total_attended", attended.sum::<usize>() as u64);
    kernels.meets("sparse_attention", sizes, arguments, regions);
}

/// The golden outputs of one KV head's query heads over `rows`, each with what the kernel's may be off by.
fn outputs<'a>(
    case: &'a Fixture,
    step: usize,
    kv_head: usize,
    rows: &'a Rows,
    golden: &'a [f64],
) -> impl Iterator<Item = Region> + 'a {
    let head_dim = case.head_dim();
    let golden = case.part(golden, kv_head, case.kv_heads());
    let queries = case.queries(step, kv_head);
    let each = queries
        .chunks_exact(head_dim)
        .zip(golden.chunks_exact(head_dim));
    each.enumerate().map(move |(head, (query, golden))| Region {
        argument: "output",
        first: ((kv_head * case.group() + head) * head_dim) as u64,
        shared: vec![("kv_head", kv_head as u64), ("query_head", head as u64)],
        axes: vec![("element", 0, head_dim as u64)],
        values: Values::Real {
            values: golden.to_vec(),
            slack: slack(query, rows),
        },
    })
}

/// What an output may be off by because keys, and the weights that multiply the values, are bfloat16: roundings that are as
/// often up as down, each times what the output changes with it; and what the class' own may be off by.
fn slack(query: &[f64], rows: &Rows) -> Vec<f32> {
    let head_dim = query.len();
    let scale = 1.0 / (head_dim as f64).sqrt();
    let weights = weights(query, &rows.keys);
    let output = weighted_sum(&weights, &rows.values, head_dim);
    // Roundings of one key: the root of the sum of the squares of what each may add to the logit.
    let logits: Vec<f64> = rows
        .keys
        .chunks_exact(head_dim)
        .map(|key| {
            let products = query.iter().zip(key).map(|(q, k)| q * k);
            length(&products.collect::<Vec<_>>()) * BF16 * scale
        })
        .collect();
    let lengths = rows.keys.chunks_exact(head_dim).map(length);
    let longest = lengths.fold(0.0, f64::max) * length(query) * scale;
    // Beyond the first order, and what tensor cores lose of the logits.
    let off = UNLIKELY * logits.iter().copied().fold(0.0, f64::max);
    let beyond = (2.0 * off).exp() - 1.0 - 2.0 * off + 2.0 * tensor_sum(head_dim, longest);
    let element = |element: usize| {
        let (mut squares, mut apart, mut magnitude) = (0.0, 0.0, 0.0);
        for ((weight, logit), value) in weights
            .iter()
            .zip(&logits)
            .zip(rows.values.chunks_exact(head_dim))
        {
            let difference = value[element] - output[element];
            squares += (weight * logit * difference).powi(2);
            squares += (weight * BF16 * value[element]).powi(2);
            apart += weight * difference.abs();
            magnitude += weight * value[element].abs();
        }
        let arithmetic = tensor_sum(weights.len(), magnitude);
        (UNLIKELY * squares.sqrt() + beyond * apart + arithmetic + ATTENTION) as f32
    };
    (0..head_dim).map(element).collect()
}
