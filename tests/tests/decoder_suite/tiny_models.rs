//! The tiny models, all at once and step by step.

use shadowkv_runtime::decoder::{Decoder, DecoderWeights, NewIds, Output, Wanted};
use shadowkv_runtime::device::cpu::CpuDevice;
use shadowkv_runtime::generate::{Listener, Request, generate};
use shadowkv_runtime::kv::{FullCache, KvStore as _};
use shadowkv_runtime::model::{Model, ModelOptions};
use shadowkv_runtime::sampling::Sampling;

use crate::golden::{Golden, assert_close, folder};

/// Of logits, and of keys and values: what the files' README allows a float32 implementation.
const LOGITS: f32 = 6e-4;
const KEYS_AND_VALUES: f32 = 3e-4;

/// Tiles smaller than the prompts, and larger.
const TILES: [usize; 2] = [48, 512];

macro_rules! models {
    ($($name:ident: $folder:literal, $($golden:literal),+;)*) => {
        $(
            #[test]
            fn $name() {
                for golden in [$($golden),+] {
                    matches_transformers($folder, golden);
                }
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
    phi_3_mini_128k: "phi-3-mini-128k", "golden", "golden_long";
    qwen2_7b_128k: "qwen2-7b-128k", "golden";
    qwen2_7b_128k_all_bands: "qwen2-7b-128k-orig64", "golden";
    smollm2_135m: "smollm2-135m", "golden";
    mistral_7b: "mistral-7b", "golden";
    qwen3_8b: "qwen3-8b", "golden";
}

struct Opened {
    device: CpuDevice,
    model: Model,
}

impl Opened {
    fn new(name: &str) -> Opened {
        let path = folder().join("models").join(name);
        let model = Model::open(path.to_str(), &ModelOptions::default(), &|_| {});
        let model = model.unwrap_or_else(|error| panic!("{name}: {error}"));
        let device = CpuDevice::new(&model.spec).unwrap();
        Opened { device, model }
    }

    fn decoder(&self, tile_rows: usize) -> Decoder<CpuDevice> {
        let weights = DecoderWeights::load(&self.device, &self.model.weights, &mut |_| {}).unwrap();
        Decoder::new(&self.device, &self.model.spec, weights, tile_rows).unwrap()
    }

    fn cache(&self, tokens: usize, rows: usize) -> FullCache<CpuDevice> {
        let layers = self.model.weights.layers.len();
        FullCache::new(&self.device, &self.model.spec, layers, tokens, rows).unwrap()
    }
}

fn matches_transformers(name: &str, golden: &str) {
    let expected = Golden::open(&format!("models/{name}/{golden}.safetensors"));
    let opened = Opened::new(name);
    let ids = expected.integers("input_ids");
    for tile in TILES {
        all_at_once(&opened, &expected, &ids, ids.len(), tile);
    }
    // One token at a time, and in pieces that no tile divides.
    all_at_once(&opened, &expected, &ids, 1, 1);
    all_at_once(&opened, &expected, &ids, 37, 16);
    continues(&opened, &expected, &ids);
}

/// Logits, keys and values of the prompt, fed in pieces of `piece` tokens.
fn all_at_once(opened: &Opened, expected: &Golden, ids: &[i32], piece: usize, tile: usize) {
    let mut decoder = opened.decoder(tile);
    let device = &opened.device;
    // Not alone, and not at the beginning.
    let mut store = opened.cache(ids.len() + 7, tile);
    store.admit(device, 7, 7).unwrap();
    let sequence = store.admit(device, ids.len(), ids.len()).unwrap();
    let mut logits = Vec::new();
    for ids in ids.chunks(piece) {
        let new = [NewIds { sequence, ids }];
        let mut sink = |_: usize, values: &[f32]| logits.extend_from_slice(values);
        let output = Output::Logits(Wanted::All, &mut sink);
        decoder
            .forward(device, &mut store, &new, output, &mut |_, _| {})
            .unwrap();
    }
    let what = format!("pieces of {piece}, tiles of {tile}");
    assert_close(
        &format!("{what}: logits"),
        &logits,
        &expected.floats("logits").1,
        LOGITS,
    );
    for layer in 0..decoder.layers() {
        let (keys, values) = store.read(device, layer, sequence).unwrap();
        for (kind, found) in [("k_post", keys), ("v", values)] {
            let name = format!("layers.{layer}.{kind}");
            let (shape, of_head) = expected.floats(&name);
            let by_token = token_major(&of_head, &shape);
            assert_close(
                &format!("{what}: {name}"),
                &found,
                &by_token,
                KEYS_AND_VALUES,
            );
        }
    }
}

/// `[heads, tokens, head_dim]` as `[tokens, heads, head_dim]`.
fn token_major(values: &[f32], shape: &[usize]) -> Vec<f32> {
    let [heads, tokens, head_dim] = shape else {
        panic!("{shape:?}");
    };
    let of = |token: usize, head: usize| {
        let begin = (head * tokens + token) * head_dim;
        &values[begin..begin + head_dim]
    };
    let pairs = (0..*tokens).flat_map(|token| (0..*heads).map(move |head| (token, head)));
    pairs
        .flat_map(|(token, head)| of(token, head).iter().copied())
        .collect()
}

struct Silent;

impl Listener for Silent {
    fn token(&mut self, _sequence: usize, _id: i32) -> bool {
        true
    }
}

/// The greedy continuation, alone and among sequences of other lengths.
fn continues(opened: &Opened, expected: &Golden, ids: &[i32]) {
    let greedy = expected.integers("greedy.tokens");
    let request = |prompt: &[i32], most_tokens: usize| Request {
        prompt: prompt.to_vec(),
        most_tokens,
        sampling: Sampling {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            seed: 0,
            step: 0,
        },
        stops: Vec::new(),
    };
    let whole = request(ids, greedy.len());
    let batch = [
        request(&ids[..5], 3),
        whole.clone(),
        request(&ids[..90], greedy.len() + 9),
    ];
    let mut decoder = opened.decoder(64);
    let device = &opened.device;
    let mut store = opened.cache(3 * (ids.len() + 64), 64);
    let (alone, _) = generate(device, &mut decoder, &mut store, &[whole], &mut Silent).unwrap();
    assert_eq!(alone[0].ids, greedy, "the continuation");
    let (among, _) = generate(device, &mut decoder, &mut store, &batch, &mut Silent).unwrap();
    assert_eq!(among[1].ids, greedy, "the continuation among others");
    assert_eq!(
        (among[0].ids.len(), among[2].ids.len()),
        (3, greedy.len() + 9)
    );
}
