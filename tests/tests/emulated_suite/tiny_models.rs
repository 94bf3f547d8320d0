//! The tiny models beside transformers, which computes in f32.
//!
//! **The bound.** Rounding to bf16 moves a number by up to `2^-9` of it. In a layer a row is rounded twelve times on its way:
//! normed, projected to q, k and v, rotated, attended (weights and sums), projected, added to the residual; normed, projected to
//! gate and up, gated, projected down, added. Weights are bf16 numbers already. To first order these move the logits by no
//! more than `12 layers + 1` times `2^-9` of the largest, if all point the same way, and in the mean by about the square
//! root of their number. Keys and values of layer `l` have `12 l + 3` of them behind them.

use shadowkv_runtime::decoder::{NewIds, Output, Wanted};
use shadowkv_runtime::device::kernels::KernelsError;
use shadowkv_runtime::device::sparse::SparseDevice;
use shadowkv_runtime::gpu::emulated::Order;
use shadowkv_runtime::kv::shadow::{ShadowRoom, ShadowStore};
use shadowkv_runtime::kv::{FullCache, KvStore};

use crate::golden::Golden;
use crate::setup::{Compiled, gpu, tiny};

const ROUNDING: f32 = 1.0 / 512.0;
const PER_LAYER: usize = 12;

macro_rules! models {
    ($($name:ident: $folder:literal, $golden:literal;)*) => {
        $(
            #[test]
            fn $name() {
                near_transformers($folder, $golden);
            }
        )*
    };
}

models! {
    llama_3_1: "llama-3.1", "golden";
    llama_3_1_all_bands: "llama-3.1-orig64", "golden";
    llama_3_8b_1m: "llama-3-8b-1m", "golden";
    glm_4_9b_1m: "glm-4-9b-1m", "golden";
    yi_9b_200k: "yi-9b-200k", "golden";
    phi_3_mini_128k: "phi-3-mini-128k", "golden";
    phi_3_mini_128k_long: "phi-3-mini-128k", "golden_long";
    qwen2_7b_128k: "qwen2-7b-128k", "golden";
    qwen2_7b_128k_all_bands: "qwen2-7b-128k-orig64", "golden";
    smollm2_135m: "smollm2-135m", "golden";
    mistral_7b: "mistral-7b", "golden";
}

fn near_transformers(name: &str, golden: &str) {
    let expected = Golden::open(&format!("models/{name}/{golden}.safetensors"));
    let compiled = tiny(name, &[]);
    let gpu = gpu(Order::Random(1));
    let device = compiled.device(gpu.clone());
    let ids = expected.integers("input_ids");
    let store = compiled.full(&device, ids.len() + 64);
    let (full, store) = logits(&compiled, &device, store, &ids, &expected);
    keys_and_values(&compiled, &device, &store, &expected);
    drop(store);
    let room = ShadowRoom {
        capacities: vec![ids.len() + 64],
        prompt_rows: ids.len(),
        call_rows: 512,
    };
    let layers = compiled.model.weights.layers.len();
    let store = ShadowStore::new(&device, &compiled.model.spec, layers, &room).unwrap();
    let (shadow, store) = logits(&compiled, &device, store, &ids, &expected);
    // Attention to a prompt is full, whatever the store; and what follows fits the exact window.
    assert_eq!(full, shadow, "{name}: the stores' logits");
    drop((store, device));
    let findings = gpu.finish();
    assert!(findings.is_empty(), "{name}: {findings:?}");
}

/// Logits of the prompt, and of the known continuation one by one, held against transformers'.
fn logits<D: SparseDevice, K: KvStore<D>>(
    compiled: &Compiled,
    device: &D,
    mut store: K,
    ids: &[i32],
    expected: &Golden,
) -> (Vec<f32>, K) {
    let mut decoder = compiled.decoder(device, 64);
    let sequence = store.admit(device, ids.len(), ids.len() + 64).unwrap();
    let mut logits = Vec::new();
    let mut forward = |ids: &[i32]| {
        let mut own = Vec::new();
        let mut sink = |_: usize, values: &[f32]| own.extend_from_slice(values);
        let output = Output::Logits(Wanted::All, &mut sink);
        let new = [NewIds { sequence, ids }];
        decoder
            .forward(device, &mut store, &new, output, &mut |_, _| {})
            .unwrap();
        own
    };
    let prompt = forward(ids);
    let roundings = PER_LAYER * compiled.model.weights.layers.len() + 1;
    near("prompt", &prompt, &expected.floats("logits").1, roundings);
    logits.extend_from_slice(&prompt);

    let greedy = expected.integers("greedy.tokens");
    let (shape, theirs) = expected.floats("greedy.logits");
    let vocab = shape[1];
    // The logits of the first token are the prompt's last.
    let mut own = prompt[prompt.len() - vocab..].to_vec();
    for id in &greedy[..greedy.len() - 1] {
        own.extend(forward(&[*id]));
    }
    let bound = near("continuation", &own, &theirs, roundings);
    let mut decided = 0;
    for (step, (own, theirs)) in own.chunks(vocab).zip(theirs.chunks(vocab)).enumerate() {
        let mut sorted = theirs.to_vec();
        sorted.sort_by(f32::total_cmp);
        if sorted[vocab - 1] - sorted[vocab - 2] > 2.0 * bound {
            assert_eq!(best(own) as i32, greedy[step], "token {step}");
            decided += 1;
        }
    }
    assert!(decided > 0, "no gap is beyond the bound {bound}");
    logits.extend(own);
    (logits, store)
}

/// The prompt's keys after RoPE and values in the cache, held against transformers'.
fn keys_and_values<D: SparseDevice>(
    compiled: &Compiled,
    device: &D,
    store: &FullCache<D>,
    expected: &Golden,
) {
    for layer in 0..compiled.model.weights.layers.len() {
        // The first sequence that came.
        let (keys, values) = store.read(device, layer, 0).unwrap();
        for (kind, found) in [("k_post", keys), ("v", values)] {
            let name = format!("layers.{layer}.{kind}");
            let (shape, theirs) = expected.floats(&name);
            let [heads, tokens, dim] = shape[..] else {
                panic!("{name}: {shape:?}")
            };
            // `[heads, tokens, dim]` there, `[tokens, heads, dim]` here; here the continuation follows.
            let place = |head: usize, token: usize| (token * heads + head) * dim;
            let pairs = (0..heads).flat_map(|head| (0..tokens).map(move |token| (head, token)));
            let ours: Vec<f32> = pairs
                .flat_map(|(head, token)| found[place(head, token)..][..dim].iter().copied())
                .collect();
            near(&name, &ours, &theirs, PER_LAYER * layer + 3);
        }
    }
}

/// Fails if a number is further than the bound, which is returned, or all are further in the mean than chance has it.
fn near(what: &str, ours: &[f32], theirs: &[f32], roundings: usize) -> f32 {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    let largest = theirs.iter().fold(0.0_f32, |most, own| most.max(own.abs()));
    let bound = roundings as f32 * ROUNDING * largest;
    let off = |(ours, theirs): (&f32, &f32)| (ours - theirs).abs();
    let all: Vec<f32> = ours.iter().zip(theirs).map(off).collect();
    let most = all.iter().copied().fold(0.0, f32::max);
    let mean = all.iter().sum::<f32>() / all.len() as f32;
    assert!(
        most.is_finite() && most <= bound,
        "{what}: off by {most}, and {bound} is the bound"
    );
    let usual = (roundings as f32).sqrt() * ROUNDING * largest;
    assert!(
        mean <= usual,
        "{what}: off by {mean} in the mean, not {usual}"
    );
    bound
}

fn best(logits: &[f32]) -> usize {
    let places = logits.iter().enumerate();
    places
        .max_by(|one, other| one.1.total_cmp(other.1))
        .unwrap()
        .0
}

#[test]
fn heads_that_are_normed_are_refused() {
    let compiled = tiny("qwen3-8b", &[]);
    let opened = compiled.opened(gpu(Order::Eager));
    let error = opened.err().unwrap();
    assert!(matches!(
        error,
        KernelsError::Unsupported {
            field: "decoder.qk_norm",
            ..
        }
    ));
    assert!(
        error.to_string().contains("use the device `cpu`"),
        "{error}"
    );
}
