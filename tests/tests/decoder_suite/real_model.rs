//! SmolLM2-135M-Instruct, quantised: log-probabilities of a real text beside those of transformers with the same weights.

use shadowkv_runtime::decoder::{Decoder, DecoderWeights, NewIds, Output, Wanted};
use shadowkv_runtime::device::cpu::CpuDevice;
use shadowkv_runtime::kv::{FullCache, KvStore as _};
use shadowkv_runtime::model::{Model, ModelError, ModelOptions};
use shadowkv_runtime::wheel::WheelError;

use crate::golden::Golden;

/// Of a log-probability; and the gap below which neighbours may change places. From the data's README.
const LOGPROB: f64 = 2e-3;
const GAP: f32 = 4e-3;
/// Likeliest tokens to compare, of so many that are known.
const TOP: usize = 5;
const KNOWN: usize = 32;

/// The default model; `None` where it cannot be had.
fn open() -> Option<Model> {
    match Model::open(None, &ModelOptions::from_environment(), &|_| {}) {
        Ok(model) => Some(model),
        Err(ModelError::Wheel(
            error @ (WheelError::Offline { .. }
            | WheelError::NoPython { .. }
            | WheelError::NoPip { .. }
            | WheelError::Network { .. }),
        )) => {
            eprintln!("not tried: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Log-probabilities of all tokens.
fn logprobs(logits: &[f32]) -> Vec<f64> {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let above = |logit: &f32| f64::from(*logit) - f64::from(most);
    let sum: f64 = logits.iter().map(|logit| above(logit).exp()).sum();
    logits.iter().map(|logit| above(logit) - sum.ln()).collect()
}

/// Fails unless the `TOP` likeliest tokens are the known ones, where neighbours are apart.
fn assert_top(row: usize, ours: &[f64], ids: &[i32], theirs: &[f32]) {
    for place in 0..TOP {
        let apart = |one: usize, other: usize| theirs[one] - theirs[other] > GAP;
        let alone = (place == 0 || apart(place - 1, place)) && apart(place, place + 1);
        if alone {
            let own = ours[ids[place] as usize];
            let before = ours.iter().filter(|logprob| **logprob > own).count();
            assert_eq!(before, place, "row {row}: place of token {}", ids[place]);
        }
    }
}

#[test]
fn log_probabilities_are_those_of_transformers() {
    let Some(model) = open() else { return };
    let golden = Golden::open("smollm2/reference.safetensors");
    let of_text = |name: &str| format!("pytut-classes.{name}");
    let ids = golden.integers(&of_text("token_ids"));
    let (_, expected) = golden.floats(&of_text("target_logprob"));
    let top_ids = golden.integers(&of_text("top_ids"));
    let (_, top_logprobs) = golden.floats(&of_text("top_logprobs"));
    assert_eq!((ids.len(), expected.len()), (2048, 256));

    let device = CpuDevice::new(&model.spec).unwrap();
    let weights = DecoderWeights::load(&device, &model.weights, &mut |_| {}).unwrap();
    let mut decoder = Decoder::new(&device, &model.spec, weights, 512).unwrap();
    let layers = decoder.layers();
    let mut store = FullCache::new(&device, &model.spec, layers, ids.len(), 512).unwrap();
    let sequence = store.admit(&device, ids.len(), ids.len()).unwrap();
    let begin = ids.len() - expected.len() - 1;
    let mut worst = 0.0_f64;
    let mut compare = |row: usize, logits: &[f32]| {
        let ours = logprobs(logits);
        let own = ours[ids[begin + row + 1] as usize];
        let off = (own - f64::from(expected[row])).abs();
        assert!(
            off <= LOGPROB,
            "row {row}: {own}, expected {}",
            expected[row]
        );
        worst = worst.max(off);
        let known = row * KNOWN..(row + 1) * KNOWN;
        assert_top(row, &ours, &top_ids[known.clone()], &top_logprobs[known]);
    };
    // The prompt without logits; then half of the rows together, and the others one by one.
    let half = begin + expected.len() / 2;
    let mut forward = |new: &[i32], wanted: Wanted, sink: &mut dyn FnMut(usize, &[f32])| {
        let new = [NewIds { sequence, ids: new }];
        let output = Output::Logits(wanted, sink);
        decoder
            .forward(&device, &mut store, &new, output, &mut |_, _| {})
            .unwrap();
    };
    forward(&ids[..begin], Wanted::Last, &mut |_, _| {});
    forward(&ids[begin..half], Wanted::All, &mut |row, logits| {
        compare(row, logits)
    });
    for (place, id) in ids[half..ids.len() - 1].iter().enumerate() {
        let row = half - begin + place;
        forward(&[*id], Wanted::Last, &mut |_, logits| compare(row, logits));
    }
    println!("largest difference of a log-probability: {worst:.1e}");
}
