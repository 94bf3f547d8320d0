//! The kernels of a step, each given what the class had before the stage, rounded as it is stored.

use std::collections::BTreeMap;

use shadowkv_codegen::verify::case::{Content, Region, Segment, Values, bytes_of};
use shadowkv_codegen::verify::number::{bf16, bf16_bits};
use shadowkv_codegen::verify::oracle::key_project::key_project;
use shadowkv_codegen::verify::oracle::landmark_score::{SPAN, SpanSoftmax, scores, span_softmax};
use shadowkv_codegen::verify::oracle::reconstruct_keys::reconstruct_chunk;
use shadowkv_codegen::verify::oracle::select_chunks::{
    FetchTotals, Lists, Slots, keys, logsumexp, place,
};
use shadowkv_codegen::verify::tolerance::tensor_sum;
use shadowkv_runtime::manifest::{Dtype, Sizes};

use crate::close::Close;
use crate::fixture::Fixture;
use crate::launch::{Arguments, Kernels, Output, Place, one};
use crate::method::{REBUILT, SCALED_AS_IF, chunk_rows, exact_chunks, head_basis};
use crate::prefill::BF16;

/// Roundings are as often up as down: a sum of them is above so many times the root of the sum of their squares once in
/// 10^7 sums (Hoeffding).
pub(crate) const UNLIKELY: f64 = 6.0;
/// Epoch of the one sequence.
const EPOCH: u32 = 1;

/// What the steps leave for the next, per KV head.
struct Held {
    slots: Vec<Slots>,
    totals: Vec<FetchTotals>,
}

/// The kernels of a step meet the golden numbers of `case`.
pub(crate) fn agree(case: &Fixture) {
    let kernels = Kernels::compile(
        case,
        &[
            "landmark_score",
            "select_chunks",
            "gather_values",
            "reconstruct_keys",
        ],
    );
    let mut held = Held {
        slots: vec![
            Slots::empty(case.spec.shadowkv.resident_chunks as usize, EPOCH);
            case.kv_heads()
        ],
        totals: vec![FetchTotals::default(); case.kv_heads()],
    };
    for step in 0..case.steps {
        score(case, &kernels, step);
        let lists = select(case, &kernels, step, &mut held);
        // One step shows what there is to see: the one whose keys are there.
        if case.has(&format!("step{step}.k_selected")) {
            gather(case, &kernels, &lists);
            reconstruct(case, &kernels, step, &lists);
        }
    }
}

/// Landmarks of one KV head, `[chunks, head_dim]`, zeros where a chunk is an outlier, and which chunks those are.
fn landmarks(case: &Fixture, kv_head: usize) -> (Vec<f64>, Vec<bool>) {
    let head_dim = case.head_dim();
    let mut landmarks = vec![0.0; case.chunks * head_dim];
    let mut outlier = vec![true; case.chunks];
    let golden = case.part(case.expected("landmarks"), kv_head, case.kv_heads());
    let remaining = case.chunks_of("landmark_chunks", kv_head);
    for (chunk, golden) in remaining.into_iter().zip(golden.chunks_exact(head_dim)) {
        landmarks[chunk * head_dim..(chunk + 1) * head_dim].copy_from_slice(golden);
        outlier[chunk] = false;
    }
    (landmarks, outlier)
}

/// Elements from one query head's scores to the next one's.
fn stride(case: &Fixture) -> usize {
    case.chunks.next_multiple_of(SPAN)
}

/// `landmark_score`: the largest softmax weights over a group's query heads are the class' scores.
fn score(case: &Fixture, kernels: &Kernels, step: usize) {
    let (kv_heads, group, head_dim) = (case.kv_heads(), case.group(), case.head_dim());
    let (place, stride) = (Place::of(case.chunks), stride(case));
    let (mut stored, mut masks) = (Vec::new(), Vec::new());
    for kv_head in 0..kv_heads {
        let (own, mut outlier) = landmarks(case, kv_head);
        // The mask is as long as the stores; bits beyond the last chunk mean nothing.
        outlier.resize(place.capacity, true);
        let row = (kv_head * place.capacity) as u64;
        stored.push(Segment::bf16s(row * head_dim as u64, &own));
        masks.push(Segment {
            offset: row / 8,
            bytes: bits(&outlier),
        });
    }
    let queries = case.part(case.input("q"), step, case.steps);
    let mut arguments: Arguments = BTreeMap::from([
        ("queries", Content::Memory(vec![Segment::bf16s(0, queries)])),
        ("landmarks", Content::Memory(stored)),
        ("outlier_mask", Content::Memory(masks)),
        one("chunk_count", case.chunks),
        ("scores", Content::output()),
        ("span_softmax", Content::output()),
        ("score_stride", Content::Scalar(stride as i64)),
    ]);
    arguments.extend(place.arguments());
    let heads = kv_heads * group;
    let outputs = [
        ("scores", heads * stride),
        ("span_softmax", heads * stride / SPAN * 2),
    ];
    let outputs = outputs.map(|(argument, elements)| Output {
        argument,
        dtype: Dtype::F32,
        first: 0,
        elements,
    });
    let sizes = sizes(case, kernels, &place);
    let left = kernels.outputs("landmark_score", sizes, arguments, &outputs, Vec::new());
    let (found, partials) = (&left[0], &left[1]);
    let mut close = Close::new(case.name, "landmark_score: weights");
    for kv_head in 0..kv_heads {
        let rows = case.part(found, kv_head, kv_heads).chunks_exact(stride);
        let rows: Vec<Vec<f64>> = rows.map(|row| row[..case.chunks].to_vec()).collect();
        let partials = case.part(partials, kv_head, kv_heads);
        weights(case, step, kv_head, (&rows, partials), &mut close);
    }
    close.done();
}

/// Compares one KV head's scores, `[query heads][chunks]`, and partial sums with the class' scores.
fn weights(
    case: &Fixture,
    step: usize,
    kv_head: usize,
    (rows, partials): (&[Vec<f64>], &[f64]),
    close: &mut Close,
) {
    let (group, head_dim) = (case.group(), case.head_dim());
    // The class' scale is that of 128 elements, whatever there are.
    let scale = (head_dim as f64 / SCALED_AS_IF as f64).sqrt();
    let scaled: Vec<Vec<f64>> = rows
        .iter()
        .map(|row| row.iter().map(|score| score * scale).collect())
        .collect();
    let sums: Vec<f64> = if head_dim == SCALED_AS_IF {
        let of_head = |own: &[f64]| {
            let spans = own.chunks_exact(2).map(|pair| SpanSoftmax {
                largest: pair[0],
                sum: pair[1],
            });
            logsumexp(&spans.collect::<Vec<_>>())
        };
        (0..group)
            .map(|head| of_head(case.part(partials, head, group)))
            .collect()
    } else {
        scaled
            .iter()
            .map(|row| logsumexp(&span_softmax(row)))
            .collect()
    };
    let found = keys(&scaled, &sums);
    let (own, _) = landmarks(case, kv_head);
    let off = largest_error(case.queries(step, kv_head), &own, head_dim);
    let golden = case.expected(&format!("step{step}.scores"));
    let golden = case.part(golden, kv_head, case.kv_heads());
    let remaining = case.chunks_of("landmark_chunks", kv_head);
    for (chunk, golden) in remaining.into_iter().zip(golden) {
        // The score is off, and so is the sum it is divided by.
        let tolerance = golden * ((2.0 * off * scale).exp() - 1.0);
        close.one(found[chunk].exp(), *golden, tolerance, || {
            format!("step {step}, KV head {kv_head}, chunk {chunk}")
        });
    }
}

/// What scores of `queries` against `landmarks` may be off by because those are stored as bfloat16.
fn largest_error(queries: &[f64], landmarks: &[f64], head_dim: usize) -> f64 {
    let scale = 1.0 / (head_dim as f64).sqrt();
    let pair = |query: &[f64], landmark: &[f64]| {
        let squares = query.iter().zip(landmark).map(|(q, l)| (q * l).powi(2));
        squares.sum::<f64>().sqrt()
    };
    let largest = queries
        .chunks_exact(head_dim)
        .flat_map(|query| {
            let all = landmarks.chunks_exact(head_dim);
            all.map(move |landmark| pair(query, landmark))
        })
        .fold(0.0, f64::max);
    (UNLIKELY * BF16 + tensor_sum(head_dim, 1.0)) * largest * scale
}

/// Bits of 32 chunks a word, the first chunk lowest.
pub(crate) fn bits(chunks: &[bool]) -> Vec<u8> {
    bytes_of(chunks.chunks(32).map(|own| {
        let word = |word: u32, (bit, set): (usize, &bool)| word | u32::from(*set) << bit;
        own.iter().enumerate().fold(0, word).to_le_bytes()
    }))
}

/// The host's sizes of a step.
fn sizes(case: &Fixture, kernels: &Kernels, place: &Place) -> Sizes {
    Sizes::new()
        .with("batch", 1)
        .with("max_chunks", case.chunks as u64)
        .with("score_stride", stride(case) as u64)
        .with("sm_count", kernels.multiprocessors())
        .with("store_chunks", place.capacity as u64)
        .with("total_chunks", case.chunks as u64)
}

/// `select_chunks`: the class' chunks, and the slots they get after those of the steps before.
fn select(case: &Fixture, kernels: &Kernels, step: usize, held: &mut Held) -> Vec<Lists> {
    let (kv_heads, selected) = (case.kv_heads(), case.selected());
    let (mut rows, mut partials, mut lists) = (Vec::new(), Vec::new(), Vec::new());
    let Held { slots, totals } = held;
    let before = slots.clone();
    let totals_before = Content::i64s(totals.iter().flat_map(|own| own.pair()));
    for (kv_head, slots) in slots.iter_mut().enumerate() {
        let (own, outlier) = landmarks(case, kv_head);
        let queries = case.queries(step, kv_head);
        for mut row in scores(queries, &own, &outlier, case.head_dim()) {
            row.resize(stride(case), f64::NEG_INFINITY);
            let spans = span_softmax(&row);
            let pairs = spans.iter().flat_map(|span| [span.largest, span.sum]);
            partials.extend(pairs.map(|value| value as f32));
            rows.extend(row.into_iter().map(|score| score as f32));
        }
        let chosen = case.chunks_of(&case.of_step(step, "selected_chunks"), kv_head);
        let mut chosen: Vec<u32> = chosen.into_iter().map(|chunk| chunk as u32).collect();
        chosen.sort_unstable();
        let own = place(slots, &chosen, selected, step as u32 + 1, EPOCH);
        totals[kv_head] = totals[kv_head].after(&own);
        lists.push(own);
    }
    let integers = |of: fn(&Slots) -> &Vec<i32>| {
        Content::i32s(before.iter().flat_map(|slots| of(slots).iter().copied()))
    };
    let arguments: Arguments = BTreeMap::from([
        ("scores", Content::Memory(vec![Segment::f32s(0, rows)])),
        (
            "span_softmax",
            Content::Memory(vec![Segment::f32s(0, partials)]),
        ),
        one("chunk_count", case.chunks),
        ("step", Content::u32s([step as u32 + 1])),
        ("sequence_epoch", Content::u32s([EPOCH])),
        ("workspace", Content::Scratch),
        ("score_stride", Content::Scalar(stride(case) as i64)),
        (
            "slot_epoch",
            Content::u32s(before.iter().map(|slots| slots.epoch)),
        ),
        ("slot_chunk", integers(|slots| &slots.chunk)),
        (
            "slot_stamp",
            Content::u32s(before.iter().flat_map(|slots| slots.stamp.iter().copied())),
        ),
        ("arrivals", Content::u32s(before.iter().map(|_| 0))),
        ("selected_chunks", Content::output()),
        ("selected_slots", Content::output()),
        ("missing_chunks", Content::output()),
        ("missing_slots", Content::output()),
        ("missing_count", Content::output()),
        ("fetch_totals", totals_before),
    ]);
    let whole = |argument, values: Vec<u8>| Region {
        argument,
        first: 0,
        shared: Vec::new(),
        axes: vec![
            ("kv_head", 0, kv_heads as u64),
            ("entry", 0, (values.len() / 4 / kv_heads) as u64),
        ],
        values: Values::Exact(values),
    };
    let totals = totals.iter().flat_map(|own| own.pair());
    let list = |argument, of: fn(&Lists) -> &Vec<i32>| {
        let entries = lists.iter().flat_map(|own| of(own).iter());
        whole(argument, bytes_of(entries.map(|own| own.to_le_bytes())))
    };
    let counts = lists.iter().map(|own| own.missing_count.to_le_bytes());
    let chunks = slots.iter().flat_map(|own| own.chunk.iter());
    let stamps = slots.iter().flat_map(|own| own.stamp.iter());
    let regions = vec![
        list("selected_chunks", |own| &own.selected_chunks),
        list("selected_slots", |own| &own.selected_slots),
        list("missing_chunks", |own| &own.missing_chunks),
        list("missing_slots", |own| &own.missing_slots),
        whole("missing_count", bytes_of(counts)),
        Region {
            axes: vec![("kv_head", 0, kv_heads as u64), ("count", 0, 2)],
            ..whole("fetch_totals", bytes_of(totals.map(i64::to_le_bytes)))
        },
        whole("slot_chunk", bytes_of(chunks.map(|own| own.to_le_bytes()))),
        whole("slot_stamp", bytes_of(stamps.map(|own| own.to_le_bytes()))),
        whole(
            "slot_epoch",
            bytes_of(slots.iter().map(|own| own.epoch.to_le_bytes())),
        ),
        whole("arrivals", vec![0; 4 * kv_heads]),
    ];
    let sizes = sizes(case, kernels, &Place::of(case.chunks));
    kernels.meets("select_chunks", sizes, arguments, regions);
    lists
}

/// The copy lists as arguments, and how many copies there are.
fn copies(lists: &[Lists]) -> ([(&'static str, Content); 3], u64) {
    let entries = |of: fn(&Lists) -> &Vec<i32>| {
        Content::i32s(lists.iter().flat_map(|own| of(own).iter().copied()))
    };
    let counts = || lists.iter().map(|own| own.missing_count);
    let arguments = [
        ("missing_chunks", entries(|own| &own.missing_chunks)),
        ("missing_slots", entries(|own| &own.missing_slots)),
        ("missing_count", Content::i32s(counts())),
    ];
    (arguments, counts().map(|own| own as u64).sum())
}

/// Chunk and first element in the slots of every copy of one KV head.
fn copied(case: &Fixture, lists: &[Lists], kv_head: usize) -> Vec<(usize, u64)> {
    let own = &lists[kv_head];
    let resident = case.spec.shadowkv.resident_chunks as usize;
    let elements = case.chunk_size() * case.head_dim();
    own.missing_chunks
        .iter()
        .zip(&own.missing_slots)
        .take(own.missing_count as usize)
        .map(|(chunk, slot)| {
            let slot = kv_head * resident + *slot as usize;
            (*chunk as usize, (slot * elements) as u64)
        })
        .collect()
}

/// What a slot must hold of a chunk.
fn slot(case: &Fixture, argument: &'static str, at: (usize, usize, u64), values: Values) -> Region {
    let (kv_head, chunk, first) = at;
    Region {
        argument,
        first,
        shared: vec![("kv_head", kv_head as u64), ("chunk", chunk as u64)],
        axes: vec![
            ("token", 0, case.chunk_size() as u64),
            ("element", 0, case.head_dim() as u64),
        ],
        values,
    }
}

/// `gather_values`: the values of the chunks that are missing, bit for bit.
fn gather(case: &Fixture, kernels: &Kernels, lists: &[Lists]) {
    let place = Place::of(case.chunks);
    let (mut host, mut regions) = (Vec::new(), Vec::new());
    for kv_head in 0..case.kv_heads() {
        for chunk in 0..case.chunks {
            let row = kv_head * place.capacity + chunk;
            let values = chunk_rows(case, &case.values, kv_head, chunk);
            host.push(Segment::bf16s((row * values.len()) as u64, &values));
        }
        for (chunk, first) in copied(case, lists, kv_head) {
            let values = chunk_rows(case, &case.values, kv_head, chunk);
            let bytes = bytes_of(values.iter().map(|own| bf16_bits(*own).to_le_bytes()));
            let at = (kv_head, chunk, first);
            regions.push(slot(case, "value_slots", at, Values::Exact(bytes)));
        }
    }
    let (copies, total) = copies(lists);
    let mut arguments: Arguments = BTreeMap::from([
        ("host_values", Content::Memory(host)),
        ("value_slots", Content::output()),
        ("batch", Content::Scalar(1)),
    ]);
    arguments.extend(copies);
    arguments.extend(place.arguments());
    let sizes = sizes(case, kernels, &place).with("total_missing", total);
    kernels.meets("gather_values", sizes, arguments, regions);
}

/// `reconstruct_keys`: the class' keys of the chunks that are missing.
fn reconstruct(case: &Fixture, kernels: &Kernels, step: usize, lists: &[Lists]) {
    let (rank, width) = (case.rank(), case.width());
    let place = Place::of(case.tokens.div_ceil(case.chunk_size()));
    let basis = &case.basis().vectors;
    let factors = key_project(&case.k_pre, basis, width, rank);
    let mut regions = Vec::new();
    for kv_head in 0..case.kv_heads() {
        for (chunk, first) in copied(case, lists, kv_head) {
            let rows = case.chunk_size() * rank;
            let own = &factors[chunk * rows..(chunk + 1) * rows];
            let values = keys_of(case, step, kv_head, chunk, own);
            let slack = keys_slack(case, own, head_basis(case, kv_head));
            let values = Values::Real { values, slack };
            regions.push(slot(case, "key_slots", (kv_head, chunk, first), values));
        }
    }
    let (copies, total) = copies(lists);
    let stored = |numbers: &[f64]| {
        let rounded: Vec<f64> = numbers.iter().map(|own| bf16(*own)).collect();
        Content::Memory(vec![Segment::bf16s(0, &rounded)])
    };
    let mut arguments: Arguments = BTreeMap::from([
        ("factors", stored(&factors)),
        ("key_basis", stored(basis)),
        one("rope_table", case.table),
        ("key_slots", Content::output()),
    ]);
    arguments.extend(copies);
    arguments.extend(place.arguments());
    let sizes = sizes(case, kernels, &place).with("total_missing", total);
    kernels.meets("reconstruct_keys", sizes, arguments, regions);
}

/// Keys of a chunk `[chunk_size, head_dim]`: the class' where they are there. Not there are those of chunks that only the
/// scores' scale selects, and those that the class for throughput still has the exact keys of.
pub(crate) fn keys_of(
    case: &Fixture,
    step: usize,
    kv_head: usize,
    chunk: usize,
    factors: &[f64],
) -> Vec<f64> {
    let chunks = case.chunks_of(&format!("step{step}.selected_chunks"), kv_head);
    let exact = exact_chunks(case, step, kv_head);
    match chunks.iter().position(|own| *own == chunk) {
        Some(index) if !exact.contains(&chunk) => {
            let golden = case.expected(&format!("step{step}.k_selected"));
            let golden = case.part(golden, kv_head, case.kv_heads());
            case.part(golden, index, chunks.len()).to_vec()
        }
        _ => reconstruct_chunk(
            factors,
            head_basis(case, kv_head),
            case.rank(),
            chunk,
            &case.rotary,
            case.table,
        ),
    }
}

/// What rebuilt keys may be off by because factors `[chunk_size, rank]` and basis `[head_dim, rank]` are stored as
/// bfloat16: two roundings a product, all of one sign at worst.
fn keys_slack(case: &Fixture, factors: &[f64], basis: &[f64]) -> Vec<f32> {
    let (rank, head_dim) = (case.rank(), case.head_dim());
    let mut all = Vec::new();
    for row in factors.chunks_exact(rank) {
        let element = |vector: &[f64]| {
            let products: Vec<f64> = row.iter().zip(vector).map(|(a, v)| (a * v).abs()).collect();
            let sum: f64 = products.iter().sum();
            let squares: f64 = products.iter().map(|own| own * own).sum();
            let rounded = (2.0 * BF16 * sum).min(UNLIKELY * BF16 * (2.0 * squares).sqrt());
            rounded + tensor_sum(rank, sum)
        };
        let mut own: Vec<f64> = basis.chunks_exact(rank).map(element).collect();
        for pair in 0..case.rotary.frequencies[case.table].len() {
            let (first, second) = case.rotary.pair(pair);
            // The class' own error, and both elements' turned into each.
            let turned = own[first].hypot(own[second]) * case.rotary.factor.abs();
            (own[first], own[second]) = (turned, turned);
        }
        assert_eq!(own.len(), head_dim);
        all.extend(own.into_iter().map(|own| (own + REBUILT) as f32));
    }
    all
}
