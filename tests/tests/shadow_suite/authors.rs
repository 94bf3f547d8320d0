//! The authors' numbers, through the store: landmarks, outliers, selections, rebuilt keys, attention.
//!
//! Tolerances are those of the golden numbers' README.

use shadowkv_codegen::verify::oracle::attention::attention;
use shadowkv_codegen::verify::oracle::dot;
use shadowkv_runtime::device::cpu::CpuDevice;
use shadowkv_runtime::kv::KvStore as _;
use shadowkv_runtime::kv::shadow::{LayerContents, SelectionContents, ShadowStore};

use crate::close::Close;
use crate::driver::{Driver, NewRows, shadow};
use crate::fixture::Fixture;

/// Of keys after `RoPE` and of landmarks, whose angles are rounded to `f32` here and not there.
const KEYS: f64 = 5e-4;
const LANDMARKS: f64 = 2e-4;
/// Of keys rebuilt from the factors, whose decomposition is one in `f32` there, too.
const REBUILT: f64 = 2e-3;
/// The same of all of them together, as a share of their length.
const REBUILT_TOGETHER: f64 = 5e-5;
/// Of attention outputs.
const ATTENTION: f64 = 3e-4;

/// Rows of a call: prompts come in several tiles.
const CALL_ROWS: usize = 500;

/// The store meets the golden numbers of `case`.
pub(crate) fn agrees(case: &Fixture) {
    let mut spec = case.spec.clone();
    // The class for throughput rounds chunks down to a multiple of 8: its tail is longer than four chunks.
    spec.shadowkv.local_chunks = (case.tokens / case.chunk_size() - case.chunks) as u32;
    let capacity = case.tokens + case.steps;
    let mut driver = shadow(&spec, &[16, capacity], CALL_ROWS);
    // Not the first entry, and not the first place of the stores.
    driver.store.admit(&driver.device, 1, 16).unwrap();
    let sequence = driver
        .store
        .admit(&driver.device, case.tokens, capacity)
        .unwrap();
    driver.step(&[(sequence, prompt(case))]);
    assert_eq!(
        driver.store.chunk_count(sequence),
        case.chunks,
        "{}",
        case.name
    );
    let contents = contents(&driver, sequence);
    landmarks(case, &contents);
    outliers(case, &contents);
    rebuilt(case, &contents);
    for step in 0..case.steps {
        let outputs = driver.step(&[(sequence, new_token(case, step))]);
        let selection = driver
            .store
            .read_selection(&driver.device, sequence)
            .unwrap();
        selected(case, step, &selection);
        let contents = self::contents(&driver, sequence);
        selected_keys(case, step, &selection, &contents);
        attended(case, step, &selection, &contents, &outputs[0]);
    }
}

fn contents(driver: &Driver<ShadowStore<CpuDevice>>, sequence: usize) -> LayerContents {
    driver
        .store
        .read_layer(&driver.device, 0, sequence)
        .unwrap()
}

fn floats(numbers: &[f64]) -> Vec<f32> {
    numbers.iter().map(|number| *number as f32).collect()
}

fn doubles(numbers: &[f32]) -> Vec<f64> {
    numbers.iter().map(|number| f64::from(*number)).collect()
}

/// Nobody looks at what the prompt attends to.
fn prompt(case: &Fixture) -> NewRows {
    NewRows {
        queries: vec![0.0; case.tokens * case.width() * case.group()],
        keys: floats(&case.k_pre),
        values: floats(&case.values),
    }
}

/// The token of a step. The golden queries are rotated: turned back, the store makes them what they are.
fn new_token(case: &Fixture, step: usize) -> NewRows {
    let mut queries = case.part(case.input("q"), step, case.steps).to_vec();
    let turns = case.rotary.turns(case.table, case.tokens + step);
    let back = turns.into_iter().map(|(cosine, sine)| (cosine, -sine));
    let back = back.collect();
    let factor = case.rotary.factor;
    for head in queries.chunks_exact_mut(case.head_dim()) {
        case.rotary.rotate(head, &back);
        for element in head {
            *element /= factor * factor;
        }
    }
    NewRows {
        queries: floats(&queries),
        keys: floats(case.part(case.input("k_new_pre"), step, case.steps)),
        values: floats(case.part(case.input("v_new"), step, case.steps)),
    }
}

fn landmarks(case: &Fixture, contents: &LayerContents) {
    let mut close = Close::new(case.name, "landmarks");
    let dim = case.head_dim();
    for kv_head in 0..case.kv_heads() {
        let golden = case.part(case.expected("landmarks"), kv_head, case.kv_heads());
        let remaining = case.chunks_of("landmark_chunks", kv_head);
        for (chunk, golden) in remaining.iter().zip(golden.chunks_exact(dim)) {
            let found = doubles(&contents.landmarks[kv_head][chunk * dim..][..dim]);
            let place = format!("KV head {kv_head}, chunk {chunk}");
            close.all(&found, golden, LANDMARKS, &place);
        }
    }
    close.done();
}

fn outliers(case: &Fixture, contents: &LayerContents) {
    let keys = case.keys();
    let mut close = Close::new(case.name, "keys of outliers");
    for kv_head in 0..case.kv_heads() {
        let mut golden = case.chunks_of("outlier_chunks", kv_head);
        golden.sort_unstable();
        let found = contents.outlier_chunks[kv_head].iter();
        let found: Vec<usize> = found.map(|chunk| *chunk as usize).collect();
        assert_eq!(
            found, golden,
            "{}: outliers of KV head {kv_head}",
            case.name
        );
        let exact: Vec<f64> = found
            .iter()
            .flat_map(|chunk| chunk_rows(case, &keys, kv_head, *chunk))
            .collect();
        let stored = doubles(&contents.outlier_keys[kv_head]);
        close.all(&stored, &exact, KEYS, &format!("KV head {kv_head}"));
    }
    close.done();
}

/// Rows of one chunk and KV head of `[tokens, kv_heads, head_dim]`.
fn chunk_rows(case: &Fixture, rows: &[f64], kv_head: usize, chunk: usize) -> Vec<f64> {
    let tokens = chunk * case.chunk_size()..(chunk + 1) * case.chunk_size();
    tokens
        .flat_map(|token| case.row(rows, token, kv_head).iter().copied())
        .collect()
}

/// Keys before `RoPE` from factors and basis, at the positions that the golden numbers have and the store compressed.
fn rebuilt(case: &Fixture, contents: &LayerContents) {
    let (rank, dim) = (case.rank(), case.head_dim());
    let factors = doubles(&contents.factors);
    let basis = doubles(&contents.key_basis);
    let mut close = Close::new(case.name, "rebuilt keys before RoPE");
    let (mut off, mut all) = (0.0, 0.0);
    for kv_head in 0..case.kv_heads() {
        let golden = case.part(case.expected("recon.k_pre"), kv_head, case.kv_heads());
        let positions = case.expected("recon.positions").iter();
        for (position, golden) in positions.zip(golden.chunks_exact(dim)) {
            let position = *position as usize;
            if position >= case.chunks * case.chunk_size() {
                continue;
            }
            let row = &factors[position * rank..][..rank];
            let of_head = &basis[kv_head * dim * rank..][..dim * rank];
            let vectors = of_head.chunks_exact(rank);
            let found: Vec<f64> = vectors.map(|vector| dot(vector, row)).collect();
            close.all(&found, golden, REBUILT, &format!("position {position}"));
            let difference: Vec<f64> = found.iter().zip(golden).map(|(x, y)| x - y).collect();
            off += dot(&difference, &difference);
            all += dot(golden, golden);
        }
    }
    close.done();
    let mut together = Close::new(
        case.name,
        "rebuilt keys together, as a share of their length",
    );
    together.one((off / all).sqrt(), 0.0, REBUILT_TOGETHER, String::new);
    together.done();
}

fn selected(case: &Fixture, step: usize, selection: &SelectionContents) {
    let name = case.of_step(step, "selected_chunks");
    for kv_head in 0..case.kv_heads() {
        let mut golden = case.chunks_of(&name, kv_head);
        golden.sort_unstable();
        let found = selection.chunks[kv_head].iter();
        let found: Vec<usize> = found.map(|chunk| *chunk as usize).collect();
        assert_eq!(found, golden, "{}: {name} of KV head {kv_head}", case.name);
        // The class for throughput holds what it selected last, and before the first step what the prompt's last query does.
        let kept = format!("step{step}.kept");
        if step > 0 && case.has(&kept) {
            let hits = found.len() - selection.missing[kv_head].len();
            assert_eq!(
                hits,
                case.expected(&kept)[kv_head] as usize,
                "{}: {kept}",
                case.name
            );
        }
    }
}

/// The chunk that slot `slot` holds of `slots` `[r, C, d]`.
fn slot(case: &Fixture, slots: &[f32], slot: i32) -> Vec<f64> {
    let elements = case.chunk_size() * case.head_dim();
    doubles(&slots[slot as usize * elements..][..elements])
}

/// Chunks whose keys the class for throughput still has as they were: it fills its buffer with those after the prompt.
fn exact_chunks(case: &Fixture, step: usize, kv_head: usize) -> Vec<usize> {
    let name = format!("step{step}.exact");
    if !case.has(&name) {
        return Vec::new();
    }
    let flags = case.part(case.expected(&name), kv_head, case.kv_heads());
    let chunks = case.chunks_of(&format!("step{step}.selected_chunks"), kv_head);
    let exact = chunks
        .into_iter()
        .zip(flags)
        .filter(|(_, flag)| **flag > 0.5);
    exact.map(|(chunk, _)| chunk).collect()
}

fn selected_keys(
    case: &Fixture,
    step: usize,
    selection: &SelectionContents,
    contents: &LayerContents,
) {
    let name = format!("step{step}.k_selected");
    if !case.has(&name) {
        return;
    }
    let elements = case.chunk_size() * case.head_dim();
    let mut close = Close::new(case.name, "keys of the selected chunks");
    for kv_head in 0..case.kv_heads() {
        let golden = case.part(case.expected(&name), kv_head, case.kv_heads());
        let chunks = case.chunks_of(&format!("step{step}.selected_chunks"), kv_head);
        let exact = exact_chunks(case, step, kv_head);
        for (chunk, golden) in chunks.iter().zip(golden.chunks_exact(elements)) {
            let ours = selection.chunks[kv_head].iter();
            let place = ours.clone().position(|own| *own as usize == *chunk);
            // Another scale of the scores selects a few others.
            let Some(place) = place.filter(|_| !exact.contains(chunk)) else {
                continue;
            };
            let found = slot(
                case,
                &contents.key_slots[kv_head],
                selection.slots[kv_head][place],
            );
            close.all(
                &found,
                golden,
                REBUILT,
                &format!("KV head {kv_head}, chunk {chunk}"),
            );
        }
    }
    close.done();
}

/// Attention: the class' own, and where that has exact keys of chunks that ours are rebuilt of, f64 attention over what the
/// store holds.
fn attended(
    case: &Fixture,
    step: usize,
    selection: &SelectionContents,
    contents: &LayerContents,
    output: &[f32],
) {
    let mut close = Close::new(case.name, "attention output");
    let (dim, group) = (case.head_dim(), case.group());
    let golden = case.expected(&case.of_step(step, "attn_out"));
    let keys = case.keys();
    for kv_head in 0..case.kv_heads() {
        let found = doubles(case_part(output, kv_head, case.kv_heads()));
        let golden = case.part(golden, kv_head, case.kv_heads());
        let expected = if exact_chunks(case, step, kv_head).is_empty() {
            golden.to_vec()
        } else {
            let (mut all, mut values) = window(case, step, kv_head, &keys);
            let outliers = case.chunks_of("outlier_chunks", kv_head);
            for chunk in outliers {
                all.extend(chunk_rows(case, &keys, kv_head, chunk));
                values.extend(chunk_rows(case, &case.values, kv_head, chunk));
            }
            for (chunk, place) in selection.chunks[kv_head]
                .iter()
                .zip(&selection.slots[kv_head])
            {
                all.extend(slot(case, &contents.key_slots[kv_head], *place));
                values.extend(chunk_rows(case, &case.values, kv_head, *chunk as usize));
            }
            let queries = case.queries(step, kv_head).chunks_exact(dim);
            queries
                .flat_map(|query| attention(query, &all, &values))
                .collect()
        };
        for (head, (found, expected)) in found
            .chunks_exact(dim)
            .zip(expected.chunks_exact(dim))
            .enumerate()
        {
            let place = format!("step {step}, query head {}", kv_head * group + head);
            close.all(found, expected, ATTENTION, &place);
        }
    }
    close.done();
}

fn case_part(floats: &[f32], index: usize, parts: usize) -> &[f32] {
    let length = floats.len() / parts;
    &floats[index * length..][..length]
}

/// Keys and values of the exact window, those of the tokens generated so far included.
fn window(case: &Fixture, step: usize, kv_head: usize, keys: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let (mut all, mut values) = (Vec::new(), Vec::new());
    for token in case.chunks * case.chunk_size()..case.tokens {
        all.extend(case.row(keys, token, kv_head));
        values.extend(case.row(&case.values, token, kv_head));
    }
    for step in 0..=step {
        let mut key = case
            .part(case.input("k_new_pre"), step, case.steps)
            .to_vec();
        let turns = case.rotary.turns(case.table, case.tokens + step);
        for head in key.chunks_exact_mut(case.head_dim()) {
            case.rotary.rotate(head, &turns);
        }
        all.extend(case.part(&key, kv_head, case.kv_heads()));
        let new = case.part(case.input("v_new"), step, case.steps);
        values.extend(case.part(new, kv_head, case.kv_heads()));
    }
    (all, values)
}
