//! The paper's own program and throughput (arXiv 2410.21465, decoding on an A100-80): the model is trusted with another method only as
//! far as it reproduces this one.
//!
//! Its method: scores by a product and a softmax, the group's maximum, `topk`, and the order of hits and misses one after the other;
//! only the chunks of the last step are kept, of which 60 % are hits; keys are rebuilt and rotated beside the fetch of values.

use super::graph::{Graph, Node, Pace, Stream};
use super::step::StepTime;
use super::{GpuFacts, Limiter};

/// What the authors' program reaches: shared by all models, contexts and batches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parameters {
    /// Share of the bandwidth of reads that attention reaches.
    pub attention: f64,
    /// Share of the bandwidth of reads that dense products reach.
    pub products: f64,
    /// Share of the bandwidth of reads that scores and their softmax reach.
    pub scores: f64,
    /// Between two launches, seconds.
    pub launch_gap: f64,
    /// Values fetched from the host, bytes/s.
    pub host_rate: f64,
}

/// Fitted to [`ROWS`], all of them together.
pub const PARAMETERS: Parameters = Parameters {
    attention: 0.98,
    products: 0.65,
    scores: 0.6,
    launch_gap: 6e-6,
    host_rate: 25e9,
};

/// A model's shape, as much as decoding takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Name of the shipped spec.
    pub spec: &'static str,
    /// The paper's name.
    pub name: &'static str,
    layers: u32,
    hidden: u64,
    ffn: u64,
    vocab: u64,
    kv_heads: u64,
    gqa_ratio: u64,
}

const LLAMA: Shape = Shape {
    spec: "llama-3-8b-1m",
    name: "Llama-3-8B-1M",
    layers: 32,
    hidden: 4096,
    ffn: 14336,
    vocab: 128_256,
    kv_heads: 8,
    gqa_ratio: 4,
};
const GLM: Shape = Shape {
    spec: "glm4",
    name: "GLM-4-9B-1M",
    layers: 40,
    hidden: 4096,
    ffn: 13696,
    vocab: 151_552,
    kv_heads: 4,
    gqa_ratio: 8,
};
const YI: Shape = Shape {
    spec: "yi-9b-200k",
    name: "Yi-9B-200K",
    layers: 48,
    hidden: 4096,
    ffn: 11008,
    vocab: 64_000,
    kv_heads: 4,
    gqa_ratio: 8,
};

/// One row of the paper's table: a batch and tokens per second with full attention, and with `ShadowKV`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// The model.
    pub shape: Shape,
    /// Tokens of each sequence.
    pub context: u64,
    /// Tokens that are selected.
    pub budget: u64,
    /// Sequences and tokens per second with full attention.
    pub full: (u64, f64),
    /// Sequences and tokens per second with `ShadowKV`.
    pub shadow: (u64, f64),
}

const fn row(shape: Shape, kibi_tokens: u64, full: (u64, f64), shadow: (u64, f64)) -> Row {
    let budget = match kibi_tokens {
        60 => 1024,
        122 => 2048,
        _ => 4096,
    };
    Row {
        shape,
        context: kibi_tokens * 1024,
        budget,
        full,
        shadow,
    }
}

/// The paper's throughput on an A100-80.
pub const ROWS: [Row; 9] = [
    row(LLAMA, 60, (8, 160.62), (48, 455.14)),
    row(LLAMA, 122, (4, 80.77), (24, 239.51)),
    row(LLAMA, 244, (2, 40.37), (12, 119.01)),
    row(GLM, 60, (12, 241.05), (50, 615.89)),
    row(GLM, 122, (6, 122.67), (25, 293.40)),
    row(GLM, 244, (3, 61.13), (12, 136.51)),
    row(YI, 60, (10, 204.81), (42, 544.36)),
    row(YI, 122, (5, 101.44), (21, 260.03)),
    row(YI, 244, (2, 46.74), (10, 118.55)),
];

/// Share of the selected chunks that the last step selected, too.
const HIT_RATE: f64 = 0.6;
const HEAD_DIM: u64 = 128;
const CHUNK: u64 = 8;
const RANK: u64 = 160;
/// Tokens that are exact: 48 outlier chunks and 4 local ones.
const EXACT_TOKENS: u64 = 52 * CHUNK;
/// Bytes of an element.
const ELEMENT: u64 = 2;

/// A block of the paper's measurement of a layer: its name, what the paper measured (seconds) at 24 sequences of 128K tokens, and the
/// operations of the model that stand for it.
pub const PHASES: [(&str, f64, &[&str]); 8] = [
    ("scores and softmax", 0.58e-3, &["scores"]),
    ("group maximum", 0.07e-3, &["maximum"]),
    ("top-k", 0.15e-3, &["top_k"]),
    (
        "keys rebuilt (beside the fetch)",
        1.36e-3,
        &["reconstruct", "rope"],
    ),
    ("values fetched", 1.66e-3, &["fetch"]),
    ("attention", 0.21e-3, &["attention"]),
    ("FFN", 0.29e-3, &["gate_up", "activation", "down"]),
    ("QKV", 0.05e-3, &["qkv"]),
];

/// The phases' shape: 24 sequences of 128K tokens, 2048 of them selected.
pub const PHASE_ROW: Row = row(LLAMA, 122, (4, 80.77), (24, 239.51));

/// A step of the paper's program with full attention.
pub fn full(gpu: &GpuFacts, parameters: &Parameters, row: &Row) -> StepTime {
    let mut builder = Builder::new(gpu, parameters, row.shape, row.full.0);
    for layer in 0..row.shape.layers {
        builder.layer = Some(layer);
        builder.before_attention();
        let bytes = builder.batch * row.context * row.shape.kv_heads * HEAD_DIM * 2 * ELEMENT;
        let seconds = builder.memory(bytes, parameters.attention);
        builder.add("attention", Stream::Main, 2, seconds, &[]);
        builder.after_attention();
    }
    builder.end()
}

/// A step of the paper's program with `ShadowKV`.
pub fn shadow(gpu: &GpuFacts, parameters: &Parameters, row: &Row) -> StepTime {
    let mut builder = Builder::new(gpu, parameters, row.shape, row.shadow.0);
    for layer in 0..row.shape.layers {
        builder.layer = Some(layer);
        builder.before_attention();
        builder.select_and_fetch(row);
        builder.after_attention();
    }
    builder.end()
}

struct Builder<'a> {
    gpu: &'a GpuFacts,
    parameters: &'a Parameters,
    shape: Shape,
    batch: u64,
    layer: Option<u32>,
    graph: Graph,
}

impl<'a> Builder<'a> {
    fn new(gpu: &'a GpuFacts, parameters: &'a Parameters, shape: Shape, batch: u64) -> Builder<'a> {
        Builder {
            gpu,
            parameters,
            shape,
            batch,
            layer: None,
            graph: Graph::default(),
        }
    }

    fn memory(&self, bytes: u64, share: f64) -> f64 {
        bytes as f64 / (share * self.gpu.read_bandwidth)
    }

    /// Adds operations of `launches` launches that take `seconds` together, the gaps between them not counted; the place.
    fn add(
        &mut self,
        name: &'static str,
        stream: Stream,
        launches: u32,
        seconds: f64,
        after: &[usize],
    ) -> usize {
        self.graph.push(Node {
            name,
            layer: self.layer,
            stream,
            after: after.to_vec(),
            seconds: seconds + f64::from(launches) * self.parameters.launch_gap,
            limiter: Some(if stream == Stream::Fetch {
                Limiter::Host
            } else {
                Limiter::DeviceMemory
            }),
        })
    }

    fn product(&mut self, name: &'static str, inputs: u64, outputs: u64) {
        let bytes = ELEMENT * (inputs * outputs + self.batch * (inputs + outputs));
        let seconds = self.memory(bytes, self.parameters.products);
        self.add(name, Stream::Main, 1, seconds, &[]);
    }

    fn before_attention(&mut self) {
        let shape = self.shape;
        let queries = shape.kv_heads * shape.gqa_ratio * HEAD_DIM;
        self.add("norm", Stream::Main, 2, 0.0, &[]);
        self.product("qkv", shape.hidden, queries + 2 * shape.kv_heads * HEAD_DIM);
        self.add("rope_append", Stream::Main, 3, 0.0, &[]);
    }

    fn after_attention(&mut self) {
        let shape = self.shape;
        let queries = shape.kv_heads * shape.gqa_ratio * HEAD_DIM;
        self.product("output", queries, shape.hidden);
        self.add("norm", Stream::Main, 2, 0.0, &[]);
        self.product("gate_up", shape.hidden, 2 * shape.ffn);
        self.add("activation", Stream::Main, 1, 0.0, &[]);
        self.product("down", shape.ffn, shape.hidden);
    }

    fn select_and_fetch(&mut self, row: &Row) {
        let (shape, parameters) = (self.shape, self.parameters);
        let chunks = row.context / CHUNK;
        let lists = self.batch * shape.kv_heads;
        let landmarks = lists * chunks * HEAD_DIM * ELEMENT;
        let scores = lists * shape.gqa_ratio * chunks * ELEMENT;
        // Written, and by the softmax read and written.
        let seconds = self.memory(landmarks + 3 * scores, parameters.scores);
        self.add("scores", Stream::Main, 2, seconds, &[]);
        let seconds = self.memory(scores + scores / shape.gqa_ratio, parameters.scores);
        self.add("maximum", Stream::Main, 1, seconds, &[]);
        // A block per list looks for two bits of a key of 32 at a time and then gathers: 18 passes, in each of which a thread has one
        // element on its way. Two blocks share a multiprocessor.
        let passes = 18 * chunks.div_ceil(1024) * lists.div_ceil(2 * u64::from(self.gpu.sm_count));
        let seconds = passes as f64 * self.gpu.memory_latency;
        self.add("top_k", Stream::Main, 3, seconds, &[]);
        let ordered = self.add("hits_and_misses", Stream::Main, 2, 0.0, &[]);
        let missing = (lists * row.budget) as f64 * (1.0 - HIT_RATE);
        let values = missing * (HEAD_DIM * ELEMENT) as f64;
        let seconds = values / parameters.host_rate;
        let fetched = self.add("fetch", Stream::Fetch, 1, seconds, &[ordered]);
        let bytes = (missing * ((RANK + HEAD_DIM) * ELEMENT) as f64) as u64;
        let flops = missing * (2 * RANK * HEAD_DIM) as f64;
        let tensor = flops / (parameters.products * self.gpu.tensor_rate);
        let seconds = self.memory(bytes, parameters.products).max(tensor);
        self.add("reconstruct", Stream::Main, 1, seconds, &[]);
        let seconds = self.memory(2 * values as u64, parameters.products);
        self.add("rope", Stream::Main, 1, seconds, &[]);
        let attended = lists * (row.budget + EXACT_TOKENS);
        let seconds = self.memory(attended * HEAD_DIM * 2 * ELEMENT, parameters.attention);
        self.add("attention", Stream::Main, 2, seconds, &[fetched]);
    }

    fn end(mut self) -> StepTime {
        self.layer = None;
        self.add("norm", Stream::Main, 2, 0.0, &[]);
        self.product("logits", self.shape.hidden, self.shape.vocab);
        self.add("sample", Stream::Main, 2, 0.0, &[]);
        // The gaps are in the operations, and what is beside a fetch in its rate.
        let pace = Pace {
            launch_gap: 0.0,
            fetch_beside: 1.0,
        };
        StepTime::new(self.graph, &pace, self.batch)
    }
}
