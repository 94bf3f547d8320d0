//! A real model: what the method costs it in accuracy, over long continuations and in batches.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde::Deserialize;
use shadowkv_codegen::spec::Spec;
use shadowkv_runtime::decoder::{Decoder, DecoderWeights, NewIds, Output, Wanted};
use shadowkv_runtime::device::cpu::CpuDevice;
use shadowkv_runtime::kv::shadow::{ShadowRoom, ShadowStore, Statistics};
use shadowkv_runtime::kv::{FullCache, KvStore};
use shadowkv_runtime::model::{Model, ModelError, ModelOptions};
use shadowkv_runtime::wheel::WheelError;
use shadowkv_tests::root;

use crate::golden::Golden;

/// Tokens of the text, and how many of its predictions are looked at.
pub(crate) const TOKENS: usize = 2048;
const LAST: usize = 256;
/// Tokens before the first prediction but one: the prompt.
const PROMPT: usize = TOKENS - LAST - 1;
pub(crate) const TILE_ROWS: usize = 512;

/// The default model; `None` where it cannot be had.
pub(crate) fn model() -> Option<&'static Model> {
    static MODEL: OnceLock<Option<Model>> = OnceLock::new();
    let open = || match Model::open(None, &ModelOptions::from_environment(), &|_| {}) {
        Ok(model) => Some(model),
        Err(ModelError::Wheel(
            error @ (WheelError::Offline { .. }
            | WheelError::Platform { .. }
            | WheelError::NoPython { .. }
            | WheelError::NoPip { .. }
            | WheelError::Network { .. }),
        )) => {
            eprintln!("not tried: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    };
    MODEL.get_or_init(open).as_ref()
}

/// A decoder of `spec`, a variant of the model's own.
pub(crate) fn decoder(spec: &Spec, model: &Model) -> (CpuDevice, Decoder<CpuDevice>) {
    let device = CpuDevice::new(spec).unwrap();
    let weights = DecoderWeights::load(&device, &model.weights, &mut |_| {}).unwrap();
    let decoder = Decoder::new(&device, spec, weights, TILE_ROWS).unwrap();
    (device, decoder)
}

/// Log-probabilities of all tokens, from logits.
pub(crate) fn log_softmax(logits: &[f32]) -> Vec<f32> {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|own| f64::from(own - most).exp()).sum();
    let sum = most + sum.ln() as f32;
    logits.iter().map(|own| own - sum).collect()
}

/// Log-probabilities after each of `ids`, which come in steps of `piece`.
pub(crate) fn forward<K: KvStore<CpuDevice>>(
    (device, decoder): (&CpuDevice, &mut Decoder<CpuDevice>),
    store: &mut K,
    sequence: usize,
    ids: &[i32],
    piece: usize,
) -> Vec<Vec<f32>> {
    let mut rows = Vec::with_capacity(ids.len());
    for ids in ids.chunks(piece) {
        let new = [NewIds { sequence, ids }];
        let mut sink = |_: usize, logits: &[f32]| rows.push(log_softmax(logits));
        let output = Output::Logits(Wanted::All, &mut sink);
        decoder
            .forward(device, store, &new, output, &mut |_, _| {})
            .unwrap();
    }
    rows
}

/// Takes in a prompt; nobody asks for its predictions but the last.
fn read_prompt<K: KvStore<CpuDevice>>(
    (device, decoder): (&CpuDevice, &mut Decoder<CpuDevice>),
    store: &mut K,
    sequence: usize,
    ids: &[i32],
) {
    let new = [NewIds { sequence, ids }];
    let output = Output::Logits(Wanted::Last, &mut |_, _| {});
    decoder
        .forward(device, store, &new, output, &mut |_, _| {})
        .unwrap();
}

pub(crate) fn best(row: &[f32]) -> usize {
    let best = (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b]));
    best.unwrap()
}

/// How far predictions are from those of full attention.
pub(crate) struct Distance {
    /// Mean of KL(full || found), nats.
    pub(crate) kl: f64,
    /// Share of predictions whose likeliest token is the same.
    pub(crate) top1: f64,
}

pub(crate) fn distance(full: &[Vec<f32>], found: &[Vec<f32>]) -> Distance {
    assert_eq!(full.len(), found.len());
    let kl = |(full, found): (&Vec<f32>, &Vec<f32>)| -> f64 {
        let term = |(p, q): (&f32, &f32)| f64::from(*p).exp() * f64::from(p - q);
        full.iter().zip(found).map(term).sum()
    };
    let same = |(full, found): &(&Vec<f32>, &Vec<f32>)| best(full) == best(found);
    let pairs = || full.iter().zip(found);
    Distance {
        kl: pairs().map(kl).sum::<f64>() / full.len() as f64,
        top1: pairs().filter(same).count() as f64 / full.len() as f64,
    }
}

/// The text's tokens, and the log-probabilities that full attention gives after each of the last.
pub(crate) fn text() -> Vec<i32> {
    Golden::open("smollm2/reference.safetensors").integers("pytut-classes.token_ids")
}

fn full_attention(model: &Model) -> &'static [Vec<f32>] {
    static ROWS: OnceLock<Vec<Vec<f32>>> = OnceLock::new();
    ROWS.get_or_init(|| {
        let ids = text();
        let (device, mut decoder) = decoder(&model.spec, model);
        let layers = model.weights.layers.len();
        let mut store = FullCache::new(&device, &model.spec, layers, TOKENS, TILE_ROWS).unwrap();
        let sequence = store.admit(&device, PROMPT, TOKENS).unwrap();
        read_prompt(
            (&device, &mut decoder),
            &mut store,
            sequence,
            &ids[..PROMPT],
        );
        forward(
            (&device, &mut decoder),
            &mut store,
            sequence,
            &ids[PROMPT..TOKENS - 1],
            LAST,
        )
    })
}

#[test]
fn full_attention_is_what_others_compute() {
    let Some(model) = model() else { return };
    let golden = Golden::open("smollm2/reference.safetensors");
    let expected = golden.floats("pytut-classes.target_logprob").1;
    let top = golden.integers("pytut-classes.top_ids");
    let top_values = golden.floats("pytut-classes.top_logprobs").1;
    let ids = text();
    let rows = full_attention(model);
    assert_eq!(
        (ids.len(), rows.len(), expected.len()),
        (TOKENS, LAST, LAST)
    );
    let mut worst = 0.0_f32;
    for (index, row) in rows.iter().enumerate() {
        let found = row[ids[PROMPT + 1 + index] as usize];
        worst = worst.max((found - expected[index]).abs());
        assert!(
            (found - expected[index]).abs() < 2e-3,
            "prediction {index}: {found}, expected {}",
            expected[index]
        );
        let mut order: Vec<usize> = (0..row.len()).collect();
        order.sort_by(|a, b| row[*b].total_cmp(&row[*a]));
        let (top, values) = (&top[index * 32..], &top_values[index * 32..]);
        for place in 0..5 {
            // Neighbours that are as good as equal may change places.
            let apart = |other: usize| (values[place] - values[other]).abs() > 4e-3;
            if apart(place + 1) && (place == 0 || apart(place - 1)) {
                assert_eq!(order[place], top[place] as usize, "prediction {index}");
            }
        }
    }
    println!("full attention: log-probabilities within {worst:.1e}");
}

#[derive(Deserialize)]
struct Meta {
    texts: BTreeMap<String, Text>,
}

#[derive(Deserialize)]
struct Text {
    shadowkv: BTreeMap<String, Expected>,
}

#[derive(Deserialize)]
struct Expected {
    config: Config,
    prefix_tokens: usize,
    ppl: f64,
    kl: f64,
    top1: f64,
}

#[derive(Deserialize)]
struct Config {
    rank: u32,
    chunk: u32,
    budget: u32,
    outl: u32,
    local: u32,
}

impl Config {
    /// The model's spec under this configuration; no token is folded.
    fn spec(&self, model: &Model) -> Spec {
        let mut spec = model.spec.clone();
        let method = &mut spec.shadowkv;
        method.rank = self.rank;
        method.chunk_size = self.chunk;
        method.sparse_budget = self.budget;
        method.outlier_chunks = self.outl;
        method.local_chunks = self.local;
        method.generated_window = LAST as u32 + 32;
        method.resident_chunks = 2 * method.selected_chunks();
        spec
    }
}

fn sparse_configuration(name: &str) {
    let Some(model) = model() else { return };
    let path = root().join("tests/golden/smollm2/meta.json");
    let meta: Meta = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let expected = &meta.texts["pytut-classes"].shadowkv[name];
    assert_eq!(expected.prefix_tokens, PROMPT);
    let spec = expected.config.spec(model);
    let full = full_attention(model);
    let ids = text();
    let (device, mut decoder) = decoder(&spec, model);
    let room = ShadowRoom {
        capacities: vec![TOKENS],
        prompt_rows: PROMPT,
        call_rows: TILE_ROWS,
    };
    let layers = model.weights.layers.len();
    let mut store = ShadowStore::new(&device, &spec, layers, &room).unwrap();
    let sequence = store.admit(&device, PROMPT, TOKENS).unwrap();
    read_prompt(
        (&device, &mut decoder),
        &mut store,
        sequence,
        &ids[..PROMPT],
    );
    let rows = forward(
        (&device, &mut decoder),
        &mut store,
        sequence,
        &ids[PROMPT..TOKENS - 1],
        1,
    );
    let target = |(row, id): (&Vec<f32>, &i32)| -f64::from(row[*id as usize]);
    let sum: f64 = rows.iter().zip(&ids[PROMPT + 1..]).map(target).sum();
    let ppl = (sum / LAST as f64).exp();
    let Distance { kl, top1 } = distance(full, &rows);
    let Statistics { selected, hits, .. } = store.statistics(&device, sequence).unwrap();
    println!(
        "{name}: perplexity {ppl:.3} (others {:.3}), KL {kl:.4} ({:.4}), agreement {top1:.4} ({:.4}); {:.1} % of chunks in their slots",
        expected.ppl,
        expected.kl,
        expected.top1,
        100.0 * hits as f64 / selected as f64
    );
    assert!(kl <= 1.1 * expected.kl, "{name}: KL {kl}");
    assert!(top1 >= expected.top1 - 0.02, "{name}: agreement {top1}");
    assert!(
        (ppl / expected.ppl - 1.0).abs() < 0.03,
        "{name}: perplexity {ppl}"
    );
}

mod sparse {
    #[test]
    fn a() {
        super::sparse_configuration("a");
    }

    #[test]
    fn b() {
        super::sparse_configuration("b");
    }

    #[test]
    fn c() {
        super::sparse_configuration("c");
    }

    #[test]
    fn d() {
        super::sparse_configuration("d");
    }
}
