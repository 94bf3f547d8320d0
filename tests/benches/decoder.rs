//! The decoder on the CPU beside candle's two llamas, on the default model (SmolLM2-135M in `Q4_1`): tokens per second of prompts
//! and of the steps after them.
//!
//! ```text
//! cargo bench -p shadowkv-tests --features candle --bench decoder -- [--rounds N] [--steps N] [TOKENS ...]
//! ```
//!
//! | column | weights | activations in products |
//! | --- | --- | --- |
//! | ours | as the file stores them | f32 |
//! | candle Q4 (`quantized_llama`) | as the file stores them | rounded to 8 bits |
//! | candle f32 (`llama`) | the same, made f32 beforehand | f32 |
//!
//! Everybody computes the same tokens: those that ours finds most likely. How often the others would have chosen them, and how
//! far their logits are from ours, stands beside the figures; f32 must agree within [`TOLERANCE`]. Candle is given its prompts
//! in pieces of as many tokens as ours takes at a time. Its quantised model ends at 4096
//! tokens. Turns are taken round by round, and medians shown.
//!
//! Candle chooses its instructions when it is compiled: `RUSTFLAGS="-C target-cpu=native"` is needed to see it at its best. Ours
//! chooses when it runs.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a bench prints, and one that cannot begin has nothing to report"
)]

use std::collections::HashMap;
use std::time::Instant;

use candle_core::quantized::gguf_file;
use candle_core::{DType, Device as CandleDevice, IndexOp, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::{llama, quantized_llama};
use shadowkv_runtime::decoder::{Decoder, DecoderWeights, NewIds, Output, Wanted};
use shadowkv_runtime::device::cpu::CpuDevice;
use shadowkv_runtime::kv::{FullCache, KvStore};
use shadowkv_runtime::model::{Model, ModelOptions};
use shadowkv_runtime::spec::Spec;
use shadowkv_tests::root;

/// How far logits of f32 software may be from ours.
const TOLERANCE: f32 = 5e-3;

/// Tokens of a piece of a prompt.
const PIECE: usize = Decoder::<CpuDevice>::TILE_ROWS;

/// Somebody who computes logits of a sequence.
trait Contender {
    /// Most tokens of a sequence.
    fn most_tokens(&self) -> usize {
        usize::MAX
    }

    /// Begins a new sequence, of up to `tokens` tokens.
    fn begin(&mut self, tokens: usize);

    /// Logits after `ids`, which begin at position `position`.
    fn logits(&mut self, ids: &[i32], position: usize) -> Vec<f32>;
}

struct Ours {
    device: CpuDevice,
    decoder: Decoder<CpuDevice>,
    spec: Spec,
    cache: Option<(FullCache<CpuDevice>, usize)>,
}

impl Ours {
    fn new(model: &Model) -> Ours {
        let device = CpuDevice::new(&model.spec).unwrap();
        let weights = DecoderWeights::load(&device, &model.weights, &mut |_| {}).unwrap();
        let decoder = Decoder::new(&device, &model.spec, weights, PIECE).unwrap();
        Ours {
            device,
            decoder,
            spec: model.spec.clone(),
            cache: None,
        }
    }
}

impl Contender for Ours {
    fn begin(&mut self, tokens: usize) {
        self.cache = None;
        let layers = self.decoder.layers();
        let mut cache = FullCache::new(&self.device, &self.spec, layers, tokens, PIECE).unwrap();
        let sequence = cache.admit(&self.device, tokens, tokens).unwrap();
        self.cache = Some((cache, sequence));
    }

    fn logits(&mut self, ids: &[i32], _position: usize) -> Vec<f32> {
        let (cache, sequence) = self.cache.as_mut().unwrap();
        let sequence = *sequence;
        let mut last = Vec::new();
        let mut sink = |_, logits: &[f32]| last = logits.to_vec();
        let output = Output::Logits(Wanted::Last, &mut sink);
        let new = [NewIds { sequence, ids }];
        self.decoder
            .forward(&self.device, cache, &new, output, &mut |_, _| {})
            .unwrap();
        last
    }
}

/// `ids` as candle takes them, `[1, ids]`.
fn tensor(ids: &[i32]) -> Tensor {
    let ids: Vec<u32> = ids.iter().map(|id| id.cast_unsigned()).collect();
    let count = ids.len();
    Tensor::from_vec(ids, (1, count), &CandleDevice::Cpu).unwrap()
}

/// Gives candle `ids` in pieces; the logits after the last.
fn in_pieces(
    ids: &[i32],
    position: usize,
    mut forward: impl FnMut(&Tensor, usize) -> candle_core::Result<Tensor>,
) -> Vec<f32> {
    let mut last = None;
    for (piece, ids) in ids.chunks(PIECE).enumerate() {
        last = Some(forward(&tensor(ids), position + piece * PIECE).unwrap());
    }
    last.unwrap().i(0).unwrap().to_vec1().unwrap()
}

struct CandleQuantised(quantized_llama::ModelWeights);

impl CandleQuantised {
    fn new(model: &Model) -> CandleQuantised {
        let mut file = std::fs::File::open(&model.path).unwrap();
        let content = gguf_file::Content::read(&mut file).unwrap();
        let device = CandleDevice::Cpu;
        CandleQuantised(
            quantized_llama::ModelWeights::from_gguf(content, &mut file, &device).unwrap(),
        )
    }
}

impl Contender for CandleQuantised {
    fn most_tokens(&self) -> usize {
        quantized_llama::MAX_SEQ_LEN
    }

    fn begin(&mut self, _tokens: usize) {
        self.0.clear_kv_cache();
    }

    fn logits(&mut self, ids: &[i32], position: usize) -> Vec<f32> {
        in_pieces(ids, position, |ids, position| self.0.forward(ids, position))
    }
}

struct CandleF32 {
    model: llama::Llama,
    config: llama::Config,
    cache: Option<llama::Cache>,
}

impl CandleF32 {
    fn new(model: &Model, most_tokens: usize) -> CandleF32 {
        let shape = model.spec.decoder.as_ref().unwrap();
        let attention = &model.spec.attention;
        let config = llama::Config {
            hidden_size: shape.hidden as usize,
            intermediate_size: shape.ffn as usize,
            vocab_size: shape.vocab as usize,
            num_hidden_layers: model.weights.layers.len(),
            num_attention_heads: attention.query_heads() as usize,
            num_key_value_heads: attention.kv_heads as usize,
            use_flash_attn: false,
            rms_norm_eps: shape.norm_eps,
            rope_theta: model.spec.rope.base as f32,
            bos_token_id: None,
            eos_token_id: None,
            rope_scaling: None,
            max_position_embeddings: most_tokens,
            tie_word_embeddings: model.weights.lm_head.is_none(),
        };
        let weights = VarBuilder::from_tensors(weights(model), DType::F32, &CandleDevice::Cpu);
        CandleF32 {
            model: llama::Llama::load(weights, &config).unwrap(),
            config,
            cache: None,
        }
    }
}

/// All weights as f32, under the names of the published checkpoint.
fn weights(model: &Model) -> HashMap<String, Tensor> {
    let mut all = HashMap::new();
    let mut add = |name: &str, tensor: &shadowkv_runtime::weights::Tensor| {
        let values = tensor.to_f32().unwrap();
        let tensor = Tensor::from_vec(values, tensor.shape.as_slice(), &CandleDevice::Cpu);
        all.insert(format!("{name}.weight"), tensor.unwrap());
    };
    let weights = &model.weights;
    add("model.embed_tokens", &weights.embedding);
    add("model.norm", &weights.final_norm);
    if let Some(head) = &weights.lm_head {
        add("lm_head", head);
    }
    for (index, layer) in weights.layers.iter().enumerate() {
        let mut add = |name: &str, tensor: &_| add(&format!("model.layers.{index}.{name}"), tensor);
        add("input_layernorm", &layer.input_norm);
        add("post_attention_layernorm", &layer.post_norm);
        for (name, tensor) in ["q", "k", "v"].iter().zip(&layer.qkv) {
            add(&format!("self_attn.{name}_proj"), tensor);
        }
        add("self_attn.o_proj", &layer.output);
        for (name, tensor) in ["gate", "up"].iter().zip(&layer.gate_up) {
            add(&format!("mlp.{name}_proj"), tensor);
        }
        add("mlp.down_proj", &layer.down);
    }
    all
}

impl Contender for CandleF32 {
    fn most_tokens(&self) -> usize {
        self.config.max_position_embeddings
    }

    fn begin(&mut self, _tokens: usize) {
        let cache = llama::Cache::new(true, DType::F32, &self.config, &CandleDevice::Cpu);
        self.cache = Some(cache.unwrap());
    }

    fn logits(&mut self, ids: &[i32], position: usize) -> Vec<f32> {
        let cache = self.cache.as_mut().unwrap();
        in_pieces(ids, position, |ids, position| {
            self.model.forward(ids, position, cache)
        })
    }
}

/// What a contender did in a round: tokens per second, and logits after the prompt and after each step.
struct Round {
    prompt: f64,
    steps: f64,
    logits: Vec<Vec<f32>>,
}

/// One round: the prompt, then `steps` steps of the tokens that `next` tells, or of the likeliest.
fn round(contender: &mut dyn Contender, prompt: &[i32], steps: usize, next: &[i32]) -> Round {
    contender.begin(prompt.len() + steps);
    let started = Instant::now();
    let mut logits = vec![contender.logits(prompt, 0)];
    let for_prompt = started.elapsed().as_secs_f64();
    let started = Instant::now();
    for step in 0..steps {
        let likeliest = || likeliest(&logits[step]);
        let id = next.get(step).copied().unwrap_or_else(likeliest);
        logits.push(contender.logits(&[id], prompt.len() + step));
    }
    Round {
        prompt: prompt.len() as f64 / for_prompt,
        steps: steps as f64 / started.elapsed().as_secs_f64(),
        logits,
    }
}

fn likeliest(logits: &[f32]) -> i32 {
    let best = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b]));
    i32::try_from(best.unwrap()).unwrap()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 {
        values[middle]
    } else {
        f64::midpoint(values[middle - 1], values[middle])
    }
}

/// `tokens` tokens of this project's own words.
fn prompt(model: &Model, tokens: usize) -> Vec<i32> {
    let read = |name: &str| std::fs::read_to_string(root().join(name)).unwrap();
    let text: String = ["README.md", "ARCHITECTURE.md", "KERNELS.md"]
        .map(read)
        .concat();
    let ids = model.tokenizer().unwrap().encode(&text, true).unwrap();
    let ids = ids.into_iter().map(|id| i32::try_from(id).unwrap());
    ids.collect::<Vec<_>>()
        .into_iter()
        .cycle()
        .take(tokens)
        .collect()
}

/// What the command line asks for.
struct Arguments {
    rounds: usize,
    steps: usize,
    tokens: Vec<usize>,
}

impl Arguments {
    fn read() -> Arguments {
        let mut arguments = Arguments {
            rounds: 3,
            steps: 32,
            tokens: Vec::new(),
        };
        let mut words = std::env::args().skip(1);
        let number = |word: Option<String>| -> usize {
            let word = word.unwrap_or_default();
            word.parse()
                .unwrap_or_else(|_| panic!("`{word}` is no number"))
        };
        while let Some(word) = words.next() {
            match word.as_str() {
                // What cargo says to every bench.
                "--bench" => {}
                "--rounds" => arguments.rounds = number(words.next()),
                "--steps" => arguments.steps = number(words.next()),
                _ => arguments.tokens.push(number(Some(word))),
            }
        }
        if arguments.tokens.is_empty() {
            arguments.tokens = vec![512, 2048, 8192];
        }
        arguments
    }
}

fn main() {
    let arguments = Arguments::read();
    let options = ModelOptions::from_environment();
    let model = Model::open(None, &options, &|step| println!("{step}")).unwrap();
    let most = arguments.tokens.iter().max().unwrap() + arguments.steps;
    let mut contenders: Vec<(&str, Box<dyn Contender>)> = vec![
        ("ours", Box::new(Ours::new(&model))),
        ("candle f32", Box::new(CandleF32::new(&model, most))),
        ("candle Q4", Box::new(CandleQuantised::new(&model))),
    ];
    println!(
        "{} threads, tokens per second",
        rayon::current_num_threads()
    );
    println!(
        "| tokens | who | prompt | ours / it | steps | ours / it | same choices | largest difference of logits |"
    );
    println!("| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |");
    for tokens in &arguments.tokens {
        compare(&mut contenders, &prompt(&model, *tokens), &arguments);
    }
}

/// All rounds of one prompt.
fn compare(contenders: &mut [(&str, Box<dyn Contender>)], prompt: &[i32], arguments: &Arguments) {
    let steps = arguments.steps;
    let mut rounds: Vec<Vec<Round>> = contenders.iter().map(|_| Vec::new()).collect();
    let mut next: Vec<i32> = Vec::new();
    for _ in 0..arguments.rounds {
        for ((_, contender), rounds) in contenders.iter_mut().zip(&mut rounds) {
            if prompt.len() + steps > contender.most_tokens() {
                continue;
            }
            let done = round(contender.as_mut(), prompt, steps, &next);
            if next.is_empty() {
                next = done.logits.iter().map(|logits| likeliest(logits)).collect();
            }
            rounds.push(done);
        }
    }
    let medians = |rounds: &[Round]| {
        let prompt = median(rounds.iter().map(|round| round.prompt).collect());
        let steps = median(rounds.iter().map(|round| round.steps).collect());
        (prompt, steps)
    };
    let ours = medians(&rounds[0]);
    for ((who, _), each) in contenders.iter().zip(&rounds) {
        let Some(first) = each.first() else {
            println!("| {} | {who} | – | – | – | – | – | – |", prompt.len());
            continue;
        };
        let (of_prompt, of_steps) = medians(each);
        let same = first.logits.iter().zip(&next);
        let same = same
            .filter(|(logits, id)| likeliest(logits) == **id)
            .count();
        let furthest = furthest(&first.logits, &rounds[0][0].logits);
        println!(
            "| {} | {who} | {of_prompt:.1} | {:.2} | {of_steps:.1} | {:.2} | {same} of {} | {furthest:.1e} |",
            prompt.len(),
            ours.0 / of_prompt,
            ours.1 / of_steps,
            next.len(),
        );
        assert!(
            *who != "candle f32" || furthest <= TOLERANCE,
            "logits of f32 software are {furthest} from ours"
        );
    }
}

fn furthest(found: &[Vec<f32>], ours: &[Vec<f32>]) -> f32 {
    let pairs = found.iter().flatten().zip(ours.iter().flatten());
    pairs
        .map(|(found, ours)| (found - ours).abs())
        .fold(0.0, f32::max)
}
