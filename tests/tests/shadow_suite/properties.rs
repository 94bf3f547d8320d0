//! What holds for every spec, by driving one layer.

use proptest::prelude::*;
use shadowkv_codegen::spec::Spec;
use shadowkv_runtime::device::Device as _;
use shadowkv_runtime::device::cpu::CpuDevice;
use shadowkv_runtime::device::sparse::SparseDevice as _;
use shadowkv_runtime::kv::shadow::{ShadowRoom, ShadowStore};
use shadowkv_runtime::kv::{Append, FullCache, KvError, KvStore};
use shadowkv_tests::random;

use crate::driver::{Driver, NewRows, shadow};

/// Numbers between -1 and 1 that look like noise, the same for the same `seed`.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 40) as f32 / (1 << 23) as f32) - 1.0
    }

    fn rows(&mut self, spec: &Spec, rows: usize) -> NewRows {
        let width = spec.attention.key_width() as usize;
        let mut floats = |count: usize, scale: f32| -> Vec<f32> {
            (0..count).map(|_| self.next() * scale).collect()
        };
        NewRows {
            queries: floats(rows * width * spec.attention.gqa_ratio as usize, 2.0),
            keys: floats(rows * width, 2.0),
            values: floats(rows * width, 1.0),
        }
    }
}

/// The rows `from..to` of some.
fn part(spec: &Spec, rows: &NewRows, from: usize, to: usize) -> NewRows {
    let width = spec.attention.key_width() as usize;
    let query_width = width * spec.attention.gqa_ratio as usize;
    NewRows {
        queries: rows.queries[from * query_width..to * query_width].to_vec(),
        keys: rows.keys[from * width..to * width].to_vec(),
        values: rows.values[from * width..to * width].to_vec(),
    }
}

fn bits(output: &[f32]) -> Vec<u32> {
    output.iter().map(|element| element.to_bits()).collect()
}

/// A spec small enough for many tokens of many heads; keys of `exact` are not compressed at all.
fn small(mut spec: Spec, tokens: usize, window: u32, exact: bool) -> Spec {
    let dim = spec.attention.head_dim;
    // An even number of heads: a rank may then be the whole width.
    spec.attention.kv_heads = (spec.attention.kv_heads.min(256 / dim).max(2)) / 2 * 2;
    spec.shadowkv.rank = if exact {
        spec.attention.key_width()
    } else {
        spec.shadowkv.rank.min(spec.attention.key_width() / 32 * 16)
    };
    let chunks = (tokens as u32).div_ceil(spec.shadowkv.chunk_size);
    let selected = if exact { chunks } else { chunks.div_ceil(4) };
    spec.shadowkv.sparse_budget = selected * spec.shadowkv.chunk_size;
    spec.shadowkv.resident_chunks = selected + selected / 3;
    spec.shadowkv.local_chunks = 1 + window % 3;
    spec.shadowkv.generated_window = window;
    spec.shadowkv.outlier_chunks = chunks / 8;
    spec
}

fn full(spec: &Spec, tokens: usize, rows: usize) -> Driver<FullCache<CpuDevice>> {
    Driver::new(spec, rows, |device| {
        FullCache::new(device, spec, 1, tokens, rows).unwrap()
    })
}

proptest! {
    #![proptest_config(random::config(24))]

    /// With the whole rank and everything selected, the method is full attention.
    #[test]
    fn nothing_left_out_is_full_attention(
        case in random::spec(1..=64),
        prompt in 1_usize..300,
        generated in 1_usize..60,
        window in 0_u32..40,
        call_rows in 1_usize..200,
        seed: u64,
    ) {
        let tokens = prompt + generated;
        let spec = small(case.spec, tokens, window, true);
        let rows = Noise(seed).rows(&spec, tokens);
        let mut ours = shadow(&spec, &[tokens], call_rows);
        let mut exact = full(&spec, tokens, call_rows);
        let one = ours.store.admit(&ours.device, prompt, tokens).unwrap();
        let other = exact.store.admit(&exact.device, prompt, tokens).unwrap();
        let mut worst = 0.0_f32;
        let mut begin = 0;
        let mut count = prompt;
        while begin < tokens {
            let new = part(&spec, &rows, begin, begin + count);
            let found = ours.step(&[(one, new.clone())]);
            let expected = exact.step(&[(other, new)]);
            for (found, expected) in found[0].iter().zip(&expected[0]) {
                worst = worst.max((found - expected).abs());
                prop_assert!((found - expected).abs() < 1e-3, "token {begin}: {found} {expected}");
            }
            begin += count;
            // One at a time, and now and then some at once.
            count = (1 + begin % 4).min(tokens - begin);
        }
        println!("{prompt} + {generated} tokens: within {worst:.1e}");
        let statistics = ours.store.statistics(&ours.device, one).unwrap();
        prop_assert_eq!(statistics.selected, statistics.hits + statistics.missing);
    }

    /// What a step brings at once, several bring one by one, to the bit; and what a store takes is known before.
    #[test]
    fn at_once_is_one_by_one(
        case in random::spec(1..=64),
        prompt in 1_usize..200,
        pieces in proptest::collection::vec(1_usize..20, 1..6),
        window in 0_u32..40,
        call_rows in 1_usize..64,
        seed: u64,
    ) {
        let later: usize = pieces.iter().sum();
        let tokens = prompt + later;
        let spec = small(case.spec, tokens, window, false);
        let rows = Noise(seed).rows(&spec, tokens);
        let run = |pieces: &[usize]| {
            let mut driver = shadow(&spec, &[tokens], call_rows);
            let sequence = driver.store.admit(&driver.device, prompt, tokens).unwrap();
            let mut outputs = driver.step(&[(sequence, part(&spec, &rows, 0, prompt))]).remove(0);
            let mut begin = prompt;
            for count in pieces {
                let new = part(&spec, &rows, begin, begin + count);
                outputs.extend(driver.step(&[(sequence, new)]).remove(0));
                begin += count;
            }
            let contents = driver.store.read_layer(&driver.device, 0, sequence).unwrap();
            (bits(&outputs), contents)
        };
        let at_once = run(&pieces);
        let one_by_one = run(&vec![1; later]);
        prop_assert!(at_once.0 == one_by_one.0, "outputs");
        prop_assert!(at_once.1 == one_by_one.1, "contents");
    }

    /// Bytes are known before anything is allocated.
    #[test]
    fn bytes_are_those_allocated(
        case in random::spec(1..=64),
        capacities in proptest::collection::vec(0_usize..2000, 1..4),
        prompt_rows in 0_usize..300,
        call_rows in 1_usize..64,
        layers in 1_usize..3,
    ) {
        let spec = small(case.spec, 500, 20, false);
        let room = ShadowRoom { capacities, prompt_rows, call_rows };
        let device = CpuDevice::new(&spec).unwrap();
        let wanted = room.bytes(&spec, layers, device.activation_bytes());
        let store = ShadowStore::new(&device, &spec, layers, &room).unwrap();
        prop_assert_eq!(device.allocated_bytes(), wanted.device);
        prop_assert_eq!(device.allocated_host_bytes(), wanted.host);
        prop_assert_eq!((store.bytes(), store.host_bytes()), (wanted.device, wanted.host));
    }
}

/// A spec with folds, misses and outliers.
fn folding() -> Spec {
    let text = "name: folding\nattention: { head_dim: 32, kv_heads: 2, gqa_ratio: 3 }\nrope: { base: 10000.0 }\n\
                shadowkv: { rank: 32, chunk_size: 4, sparse_budget: 24, outlier_chunks: 3, local_chunks: 2, generated_window: 13, resident_chunks: 9 }\n";
    Spec::parse("folding.yaml", text, &[]).unwrap()
}

/// Eight sequences of different lengths side by side, coming and going, are eight sequences alone, to the bit.
#[test]
fn a_batch_is_its_sequences_alone() {
    let spec = folding();
    // Prompts shorter than the window, as long, longer; how many tokens follow; when they come.
    let plans = [
        (1, 90, 0),
        (21, 70, 0),
        (22, 40, 0),
        (200, 60, 0),
        (64, 5, 0),
        (333, 80, 9),
        (20, 60, 14),
        (129, 50, 30),
    ];
    let rows: Vec<NewRows> = plans
        .iter()
        .zip(0..)
        .map(|((prompt, later, _), seed)| Noise(seed).rows(&spec, prompt + later))
        .collect();
    let alone: Vec<Vec<u32>> = plans
        .iter()
        .zip(&rows)
        .map(|((prompt, later, _), rows)| {
            let tokens = prompt + later;
            let mut driver = shadow(&spec, &[tokens], 50);
            let sequence = driver.store.admit(&driver.device, *prompt, tokens).unwrap();
            let mut outputs = driver.step(&[(sequence, part(&spec, rows, 0, *prompt))])[0].clone();
            for token in *prompt..tokens {
                let new = part(&spec, rows, token, token + 1);
                outputs.extend(driver.step(&[(sequence, new)]).remove(0));
            }
            bits(&outputs)
        })
        .collect();
    // Room for six at a time: the last two take the places of those that have gone.
    let capacities = [500, 500, 300, 300, 200, 100];
    let mut driver = shadow(&spec, &capacities, 50);
    let before = (driver.store.bytes(), driver.store.host_bytes());
    let mut together: Vec<Vec<f32>> = vec![Vec::new(); plans.len()];
    let mut running: Vec<(usize, usize, usize)> = Vec::new();
    let mut waiting: Vec<usize> = (0..plans.len()).collect();
    let mut entries = Vec::new();
    for round in 0.. {
        waiting.retain(|plan| {
            let (prompt, later, from) = plans[*plan];
            if from > round || running.len() == capacities.len() {
                return true;
            }
            match driver.store.admit(&driver.device, prompt, prompt + later) {
                Ok(sequence) => {
                    entries.push(sequence);
                    running.push((sequence, *plan, 0));
                    false
                }
                Err(error) => {
                    assert!(matches!(error, KvError::Full { .. }), "{error}");
                    true
                }
            }
        });
        if running.is_empty() && waiting.is_empty() {
            break;
        }
        let new: Vec<(usize, NewRows)> = running
            .iter()
            .map(|(sequence, plan, seen)| {
                let count = if *seen == 0 { plans[*plan].0 } else { 1 };
                (*sequence, part(&spec, &rows[*plan], *seen, seen + count))
            })
            .collect();
        let outputs = driver.step(&new);
        for ((_, plan, seen), output) in running.iter_mut().zip(outputs) {
            *seen += if *seen == 0 { plans[*plan].0 } else { 1 };
            together[*plan].extend(output);
        }
        running.retain(|(sequence, plan, seen)| {
            let goes_on = *seen < plans[*plan].0 + plans[*plan].1;
            if !goes_on {
                driver.store.release(*sequence);
            }
            goes_on
        });
    }
    for (plan, (alone, together)) in alone.iter().zip(&together).enumerate() {
        assert_eq!(alone, &bits(together), "sequence {plan}");
    }
    entries.sort_unstable();
    assert!(
        entries.windows(2).any(|pair| pair[0] == pair[1]),
        "no place was taken twice"
    );
    assert_eq!(before, (driver.store.bytes(), driver.store.host_bytes()));
}

#[test]
fn a_store_says_what_it_has_no_room_for() {
    let spec = folding();
    let device = CpuDevice::new(&spec).unwrap();
    let room = ShadowRoom {
        capacities: vec![300, 300],
        prompt_rows: 100,
        call_rows: 100,
    };
    let mut store = ShadowStore::new(&device, &spec, 1, &room).unwrap();
    let error = store.admit(&device, 10, 2000).unwrap_err();
    assert!(
        matches!(error, KvError::Full { wanted: 2000, .. }),
        "{error}"
    );
    let sequence = store.admit(&device, 101, 300).unwrap();
    let other = store.admit(&device, 10, 300).unwrap();
    assert!(matches!(
        store.admit(&device, 10, 10),
        Err(KvError::Full { free: 0, .. })
    ));
    let append = |sequence, count| Append {
        sequence,
        count,
        offset: 0,
    };
    let error = store.prepare(&device, &[&[append(sequence, 101)]]);
    assert_eq!(
        error.unwrap_err(),
        KvError::Prompt {
            tokens: 101,
            room: 100
        }
    );
    // A step that does not come to its end: whoever was in it has layers that differ.
    store.prepare(&device, &[&[append(other, 10)]]).unwrap();
    let error = store.prepare(&device, &[&[append(other, 10)]]);
    assert_eq!(error.unwrap_err(), KvError::Broken { sequence: other });
    store.release(other);
    assert_eq!(store.admit(&device, 10, 300), Ok(other));
    store.prepare(&device, &[&[append(other, 10)]]).unwrap();
}
