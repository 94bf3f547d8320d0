//! The method by the oracles, one behind the other, from the prompt's keys to the attention of a step: nothing of the
//! golden numbers goes in but keys, values and queries. Tolerances are those of the golden numbers' README.

use shadowkv_codegen::verify::oracle::attention::attention;
use shadowkv_codegen::verify::oracle::chunk_landmarks::chunk_landmark;
use shadowkv_codegen::verify::oracle::key_project::key_project;
use shadowkv_codegen::verify::oracle::landmark_score::{scores, span_softmax};
use shadowkv_codegen::verify::oracle::reconstruct_keys::reconstruct_chunk;
use shadowkv_codegen::verify::oracle::select_chunks::{Slots, choose, keys, logsumexp, place};
use shadowkv_codegen::verify::oracle::select_outliers::select_outliers;
use shadowkv_codegen::verify::oracle::{dot, length};

use crate::close::Close;
use crate::fixture::Fixture;

/// Of keys after `RoPE`, whose angles are rounded to `f32` here and not there.
pub(crate) const KEYS: f64 = 5e-4;
/// Of landmarks, for the same reason.
pub(crate) const LANDMARKS: f64 = 2e-4;
/// Of keys rebuilt from the factors, whose decomposition is one in `f32` there.
pub(crate) const REBUILT: f64 = 2e-3;
/// The same of all of them together, as a share of their length.
const REBUILT_TOGETHER: f64 = 5e-5;
/// Of attention outputs.
pub(crate) const ATTENTION: f64 = 3e-4;
/// Of what was computed in `f64` and stored in `f32`, as a share.
const STORED: f64 = 1e-6;

/// What the oracles make of a prompt.
struct Prompt {
    /// Keys after `RoPE`, `[tokens, kv_heads, head_dim]`.
    keys: Vec<f64>,
    /// `[tokens, rank]`.
    factors: Vec<f64>,
    /// `[kv_heads][chunks, head_dim]`.
    landmarks: Vec<Vec<f64>>,
    /// `[kv_heads]`, chunks, ascending.
    outliers: Vec<Vec<usize>>,
}

/// The oracles meet the golden numbers of `case`.
pub(crate) fn agrees(case: &Fixture) {
    rotation(case);
    let prompt = prompt(case);
    let mut held = Held::new(case, &prompt);
    for step in 0..case.steps {
        held.step(case, &prompt, step);
    }
}

/// Frequencies, and keys after `RoPE`: of some tokens of the prompt, and of the new ones.
fn rotation(case: &Fixture) {
    let mut frequencies = Close::new(case.name, "frequencies");
    let own: Vec<f64> = case.rotary.frequencies[case.table]
        .iter()
        .map(|own| f64::from(*own))
        .collect();
    for (own, golden) in own.iter().zip(case.input("rope.inv_freq")) {
        // One rounding to `f32`, and some in `f64`.
        frequencies.one(*own, *golden, golden * 6.0e-8, String::new);
    }
    frequencies.done();
    assert_eq!(own.len(), case.input("rope.inv_freq").len());
    let factor = case.input("rope.scale")[0];
    assert!(
        (case.rotary.factor - factor).abs() < 1e-12,
        "{}: factor of cosine and sine",
        case.name
    );
    let mut rotated = Close::new(case.name, "new keys after RoPE");
    for step in 0..case.steps {
        let new = new_key(case, step);
        let golden = case.part(case.input("k_new"), step, case.steps);
        rotated.all(&new, golden, KEYS, &format!("step {step}"));
    }
    rotated.done();
}

/// Key of the token of `step` after `RoPE`, `[kv_heads, head_dim]`.
pub(crate) fn new_key(case: &Fixture, step: usize) -> Vec<f64> {
    let mut key = case
        .part(case.input("k_new_pre"), step, case.steps)
        .to_vec();
    let turns = case.rotary.turns(case.table, case.tokens + step);
    for head in key.chunks_exact_mut(case.head_dim()) {
        case.rotary.rotate(head, &turns);
    }
    key
}

fn prompt(case: &Fixture) -> Prompt {
    let factors = factors(case);
    let keys = case.keys();
    let mut rotated = Close::new(case.name, "keys after RoPE");
    let positions = case.expected("recon.positions");
    for kv_head in 0..case.kv_heads() {
        let golden = case.part(case.expected("k_post"), kv_head, case.kv_heads());
        for (position, golden) in positions.iter().zip(golden.chunks_exact(case.head_dim())) {
            let found = case.row(&keys, *position as usize, kv_head);
            rotated.all(found, golden, KEYS, &format!("position {position}"));
        }
    }
    rotated.done();
    let (landmarks, outliers) = landmarks(case, &keys);
    Prompt {
        keys,
        factors,
        landmarks,
        outliers,
    }
}

/// The factors `[tokens, rank]`, and with them the eigenvectors: singular values, what the rank leaves out, and keys.
fn factors(case: &Fixture) -> Vec<f64> {
    let (width, rank) = (case.width(), case.rank());
    let basis = case.basis();
    let mut singular = Close::new(case.name, "singular values");
    for (value, golden) in basis.values.iter().zip(case.expected("singular_values")) {
        singular.one(value.sqrt(), *golden, golden * STORED, String::new);
    }
    singular.done();
    // The squared length of all keys, less what the basis holds of it.
    let whole: f64 = (0..width).map(|row| case.gram()[row * width + row]).sum();
    let left = whole - basis.values.iter().sum::<f64>();
    let mut error = Close::new(case.name, "what the rank leaves out");
    let golden = case.expected("rank_error")[0];
    error.one((left / whole).sqrt(), golden, golden * STORED, String::new);
    error.done();
    let factors = key_project(&case.k_pre, &basis.vectors, width, rank);
    let mut rebuilt = Close::new(case.name, "rebuilt keys before RoPE");
    let (mut off, mut all) = (0.0, 0.0);
    let positions = case.expected("recon.positions");
    for kv_head in 0..case.kv_heads() {
        let golden = case.part(case.expected("recon.k_pre"), kv_head, case.kv_heads());
        for (position, golden) in positions.iter().zip(golden.chunks_exact(case.head_dim())) {
            let position = *position as usize;
            let factors = &factors[position * rank..(position + 1) * rank];
            let found: Vec<f64> = head_basis(case, kv_head)
                .chunks_exact(rank)
                .map(|vector| dot(vector, factors))
                .collect();
            rebuilt.all(&found, golden, REBUILT, &format!("position {position}"));
            let difference: Vec<f64> = found.iter().zip(golden).map(|(x, y)| x - y).collect();
            off += dot(&difference, &difference);
            all += dot(golden, golden);
        }
    }
    rebuilt.done();
    let mut together = Close::new(
        case.name,
        "rebuilt keys together, as a share of their length",
    );
    together.one((off / all).sqrt(), 0.0, REBUILT_TOGETHER, String::new);
    together.done();
    factors
}

/// The rows of the basis of one KV head, `[head_dim, rank]`.
pub(crate) fn head_basis(case: &Fixture, kv_head: usize) -> &[f64] {
    case.part(&case.basis().vectors, kv_head, case.kv_heads())
}

/// Landmarks `[kv_heads][chunks, head_dim]` and outliers of every KV head.
fn landmarks(case: &Fixture, keys: &[f64]) -> (Vec<Vec<f64>>, Vec<Vec<usize>>) {
    let (head_dim, chunk_size, chunks) = (case.head_dim(), case.chunk_size(), case.chunks);
    let mut means = Close::new(case.name, "landmarks");
    let mut coherence = Close::new(case.name, "lowest cosines");
    let (mut landmarks, mut outliers) = (Vec::new(), Vec::new());
    for kv_head in 0..case.kv_heads() {
        let found: Vec<_> = (0..chunks)
            .map(|chunk| {
                let tokens = chunk * chunk_size..(chunk + 1) * chunk_size;
                let members: Vec<f64> = tokens
                    .flat_map(|token| case.row(keys, token, kv_head).iter().copied())
                    .collect();
                chunk_landmark(&members, head_dim)
            })
            .collect();
        let golden = case.part(case.expected("worst_cosine"), kv_head, case.kv_heads());
        for (chunk, (found, golden)) in found.iter().zip(golden).enumerate() {
            coherence.one(found.min_cosine, *golden, cosine(*golden, case), || {
                format!("KV head {kv_head}, chunk {chunk}")
            });
        }
        let cosines: Vec<f64> = found.iter().map(|own| own.min_cosine).collect();
        let own = select_outliers(&cosines, case.spec.shadowkv.outlier_chunks as usize);
        let mut golden = case.chunks_of("outlier_chunks", kv_head);
        golden.sort_unstable();
        assert_eq!(own, golden, "{}: outliers of KV head {kv_head}", case.name);
        let remaining = case.chunks_of("landmark_chunks", kv_head);
        let golden = case.part(case.expected("landmarks"), kv_head, case.kv_heads());
        assert_eq!(remaining.len() + own.len(), chunks, "{}", case.name);
        for (chunk, golden) in remaining.iter().zip(golden.chunks_exact(head_dim)) {
            assert!(own.binary_search(chunk).is_err(), "{}", case.name);
            let place = format!("KV head {kv_head}, chunk {chunk}");
            means.all(&found[*chunk].mean, golden, LANDMARKS, &place);
        }
        landmarks.push(found.into_iter().flat_map(|own| own.mean).collect());
        outliers.push(own);
    }
    means.done();
    coherence.done();
    (landmarks, outliers)
}

/// Tolerance of a lowest cosine: angles that are rounded to `f32` turn the key, and the mean, by no more than half the
/// spacing of numbers at the last position, and the angle between the two changes by no more than both.
pub(crate) fn cosine(golden: f64, case: &Fixture) -> f64 {
    let last = (case.tokens as f64).log2().ceil();
    let turned = 2.0 * (last - 24.0).exp2();
    let sine = (1.0 - golden * golden).max(0.0).sqrt();
    turned * sine + turned * turned + STORED
}

/// What the steps hold: the slots, where the class compares with what was selected before.
struct Held {
    slots: Vec<Slots>,
}

/// Epoch of the one sequence.
const EPOCH: u32 = 1;

impl Held {
    fn new(case: &Fixture, prompt: &Prompt) -> Held {
        let resident = case.spec.shadowkv.resident_chunks as usize;
        let mut slots = vec![Slots::empty(resident, EPOCH); case.kv_heads()];
        // The last query of the prompt fills the slots of the class for throughput.
        if case.has("first.selected_chunks") {
            let mut weights = Close::new(case.name, "scores of the first selection");
            for (kv_head, slots) in slots.iter_mut().enumerate() {
                let queries = case.part(case.input("q_last"), kv_head, case.kv_heads());
                let keys = chunk_keys(case, prompt, kv_head, queries);
                compare_scores(case, "first", kv_head, &keys, &mut weights);
                let chosen = choose(&keys, case.selected());
                assert_eq!(
                    chosen,
                    golden_selection(case, "first.selected_chunks", kv_head)
                );
                place(slots, &chosen, case.selected(), 1, EPOCH);
            }
            weights.done();
        }
        Held { slots }
    }

    /// One step: scores, selection, slots, keys, attention.
    fn step(&mut self, case: &Fixture, prompt: &Prompt, step: usize) {
        let mut weights = Close::new(case.name, "scores");
        let mut outputs = Close::new(case.name, "attention output");
        for kv_head in 0..case.kv_heads() {
            let queries = case.queries(step, kv_head);
            let keys = chunk_keys(case, prompt, kv_head, queries);
            if case.head_dim() == SCALED_AS_IF {
                compare_scores(case, &format!("step{step}"), kv_head, &keys, &mut weights);
            }
            let chosen = choose(&keys, case.selected());
            let name = case.of_step(step, "selected_chunks");
            assert_eq!(
                chosen,
                golden_selection(case, &name, kv_head),
                "{}: {name} of KV head {kv_head}",
                case.name
            );
            let slots = &mut self.slots[kv_head];
            let lists = place(slots, &chosen, case.selected(), step as u32 + 2, EPOCH);
            let kept = format!("step{step}.kept");
            if case.has(&kept) {
                let golden = case.expected(&kept)[kv_head] as i32;
                assert_eq!(chosen.len() as i32 - lists.missing_count, golden, "{kept}");
            }
            let attended = Attended::new(case, prompt, step, kv_head, &chosen);
            let golden = case.expected(&case.of_step(step, "attn_out"));
            let golden = case.part(golden, kv_head, case.kv_heads());
            attended.compare(case, queries, golden, ATTENTION, &mut outputs);
        }
        if case.head_dim() == SCALED_AS_IF {
            weights.done();
        }
        outputs.done();
        selected_keys(case, prompt, step);
        if case.has(&format!("step{step}.full_attn_out")) {
            full(case, prompt, step);
        }
    }
}

/// The head size that the class' scale of scores is meant for, whatever the model's: its scores of other head sizes are
/// scores of another scale.
pub(crate) const SCALED_AS_IF: usize = 128;

/// What the chunks of one KV head are ordered by: the logarithm of the class' scores.
fn chunk_keys(case: &Fixture, prompt: &Prompt, kv_head: usize, queries: &[f64]) -> Vec<f64> {
    let mut outlier = vec![false; case.chunks];
    for chunk in &prompt.outliers[kv_head] {
        outlier[*chunk] = true;
    }
    let rows = scores(
        queries,
        &prompt.landmarks[kv_head],
        &outlier,
        case.head_dim(),
    );
    let sums: Vec<f64> = rows
        .iter()
        .map(|row| logsumexp(&span_softmax(row)))
        .collect();
    keys(&rows, &sums)
}

/// Scores are as far off as the logits: by what the landmarks may be off, times what the queries add up to.
fn compare_scores(case: &Fixture, name: &str, kv_head: usize, keys: &[f64], close: &mut Close) {
    let golden = case.part(
        case.expected(&format!("{name}.scores")),
        kv_head,
        case.kv_heads(),
    );
    let remaining = case.chunks_of("landmark_chunks", kv_head);
    let query = case.part(case.input("q"), 0, 1);
    let largest = query
        .chunks_exact(case.head_dim())
        .map(length)
        .fold(0.0, f64::max);
    // |q . e| is at most |q| |e|, and |e| at most `LANDMARKS` times the root of head_dim, which the scale takes away again.
    let logit = largest * LANDMARKS;
    for (chunk, golden) in remaining.iter().zip(golden) {
        close.one(keys[*chunk].exp(), *golden, golden * 2.0 * logit, || {
            format!("{name}, KV head {kv_head}, chunk {chunk}")
        });
    }
}

fn golden_selection(case: &Fixture, name: &str, kv_head: usize) -> Vec<u32> {
    let mut chunks: Vec<u32> = case
        .chunks_of(name, kv_head)
        .into_iter()
        .map(|chunk| chunk as u32)
        .collect();
    chunks.sort_unstable();
    chunks
}

/// Keys of a chunk from its factors, `[chunk_size, head_dim]`.
fn rebuilt(case: &Fixture, prompt: &Prompt, kv_head: usize, chunk: usize) -> Vec<f64> {
    let rows = case.chunk_size() * case.rank();
    let factors = &prompt.factors[chunk * rows..(chunk + 1) * rows];
    let basis = head_basis(case, kv_head);
    reconstruct_chunk(factors, basis, case.rank(), chunk, &case.rotary, case.table)
}

/// Keys of the selected chunks, in the order of the class' buffer.
fn selected_keys(case: &Fixture, prompt: &Prompt, step: usize) {
    let name = format!("step{step}.k_selected");
    if !case.has(&name) {
        return;
    }
    let mut close = Close::new(case.name, "keys of the selected chunks");
    for kv_head in 0..case.kv_heads() {
        let golden = case.part(case.expected(&name), kv_head, case.kv_heads());
        let chunks = case.chunks_of(&format!("step{step}.selected_chunks"), kv_head);
        let exact = exact_chunks(case, step, kv_head);
        let elements = case.chunk_size() * case.head_dim();
        for (chunk, golden) in chunks.iter().zip(golden.chunks_exact(elements)) {
            let place = format!("KV head {kv_head}, chunk {chunk}");
            if exact.contains(chunk) {
                let keys = chunk_rows(case, &prompt.keys, kv_head, *chunk);
                close.all(&keys, golden, KEYS, &place);
            } else {
                let keys = rebuilt(case, prompt, kv_head, *chunk);
                close.all(&keys, golden, REBUILT, &place);
            }
        }
    }
    close.done();
}

/// Chunks whose keys in the buffer of the class for throughput are still the exact ones: it fills the buffer with those
/// after the prompt. Ours are empty then.
pub(crate) fn exact_chunks(case: &Fixture, step: usize, kv_head: usize) -> Vec<usize> {
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

/// Rows of one chunk and KV head of `[tokens, kv_heads, head_dim]`.
pub(crate) fn chunk_rows(case: &Fixture, rows: &[f64], kv_head: usize, chunk: usize) -> Vec<f64> {
    let tokens = chunk * case.chunk_size()..(chunk + 1) * case.chunk_size();
    tokens
        .flat_map(|token| case.row(rows, token, kv_head).iter().copied())
        .collect()
}

/// Keys and values that a KV head attends to.
struct Attended {
    keys: Vec<f64>,
    values: Vec<f64>,
}

impl Attended {
    /// The outliers, the selected chunks and the exact window with the tokens generated so far.
    fn new(
        case: &Fixture,
        prompt: &Prompt,
        step: usize,
        kv_head: usize,
        selected: &[u32],
    ) -> Attended {
        let window = case.chunks * case.chunk_size()..case.tokens;
        let mut attended = Attended::window(case, prompt, step, kv_head, window);
        for chunk in &prompt.outliers[kv_head] {
            let keys = chunk_rows(case, &prompt.keys, kv_head, *chunk);
            attended.add(case, kv_head, *chunk, keys);
        }
        let exact = exact_chunks(case, step, kv_head);
        for chunk in selected.iter().map(|chunk| *chunk as usize) {
            let keys = if exact.contains(&chunk) {
                chunk_rows(case, &prompt.keys, kv_head, chunk)
            } else {
                rebuilt(case, prompt, kv_head, chunk)
            };
            attended.add(case, kv_head, chunk, keys);
        }
        attended
    }

    /// Tokens of the prompt, and those generated so far.
    fn window(
        case: &Fixture,
        prompt: &Prompt,
        step: usize,
        kv_head: usize,
        tokens: std::ops::Range<usize>,
    ) -> Attended {
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        for token in tokens {
            keys.extend(case.row(&prompt.keys, token, kv_head));
            values.extend(case.row(&case.values, token, kv_head));
        }
        for step in 0..=step {
            keys.extend(case.part(&new_key(case, step), kv_head, case.kv_heads()));
            let new = case.part(case.input("v_new"), step, case.steps);
            values.extend(case.part(new, kv_head, case.kv_heads()));
        }
        Attended { keys, values }
    }

    fn add(&mut self, case: &Fixture, kv_head: usize, chunk: usize, keys: Vec<f64>) {
        self.keys.extend(keys);
        self.values
            .extend(chunk_rows(case, &case.values, kv_head, chunk));
    }

    fn compare(
        &self,
        case: &Fixture,
        queries: &[f64],
        golden: &[f64],
        tolerance: f64,
        close: &mut Close,
    ) {
        let head_dim = case.head_dim();
        for (head, (query, golden)) in queries
            .chunks_exact(head_dim)
            .zip(golden.chunks_exact(head_dim))
            .enumerate()
        {
            let found = attention(query, &self.keys, &self.values);
            close.all(&found, golden, tolerance, &format!("query head {head}"));
        }
    }
}

/// Attention to everything, exact.
fn full(case: &Fixture, prompt: &Prompt, step: usize) {
    let mut close = Close::new(case.name, "full attention output");
    let name = format!("step{step}.full_attn_out");
    for kv_head in 0..case.kv_heads() {
        let all = Attended::window(case, prompt, step, kv_head, 0..case.tokens);
        let golden = case.part(case.expected(&name), kv_head, case.kv_heads());
        let queries = case.queries(step, kv_head);
        all.compare(case, queries, golden, ATTENTION, &mut close);
    }
    close.done();
}
