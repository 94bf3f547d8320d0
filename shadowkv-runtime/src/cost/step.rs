//! A decode step of this program: the order of its operations is that of `decoder`, `kv` and `device::kernels`.

use serde::Serialize;

use super::counts::{CountError, kernel_counts};
use super::graph::{Graph, Node, Stream, makespan};
use super::{GpuFacts, Limiter, kernel_time};
use crate::manifest::{Manifest, Sizes};
use crate::spec::{Decoder, Spec};

/// What is attended to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// All tokens.
    Full,
    /// Selected chunks.
    ShadowKv,
}

/// One step: a token more of every sequence.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Step {
    /// What is attended to.
    pub method: Method,
    /// Tokens of each sequence.
    pub context: u64,
    /// Sequences.
    pub batch: u64,
    /// Share of the selected chunks that are resident, 0 to 1.
    pub hit_rate: f64,
}

/// A step's time by the model.
#[derive(Clone, Debug, Serialize)]
pub struct StepTime {
    /// From the first operation's begin to the last one's end.
    pub seconds: f64,
    /// Tokens of all sequences together per second.
    pub tokens_per_second: f64,
    /// Sums over the layers, in the order of the first of each.
    pub breakdown: Vec<Share>,
    /// The operations.
    #[serde(skip)]
    pub graph: Graph,
    /// Of each operation, from the one before to the next that the host can enqueue, seconds.
    #[serde(skip)]
    pub launch_gap: f64,
}

/// What operations of one name take of a step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Share {
    /// The operations' name.
    pub name: &'static str,
    /// Their stream.
    pub stream: Stream,
    /// How many there are.
    pub count: usize,
    /// Their time together.
    pub seconds: f64,
    /// What limits them.
    pub limiter: Option<Limiter>,
}

/// Why there is no prediction.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StepError {
    /// The spec describes attention alone.
    #[error("`{spec}` is a spec of attention alone: it has no `decoder` block")]
    NoDecoder {
        /// Name of the spec.
        spec: String,
    },
    /// A kernel that cannot be counted.
    #[error(transparent)]
    Count(#[from] CountError),
}

/// Sequences whose logits are computed and sampled together.
const LOGIT_ROWS: u64 = 32;

/// Share of the bandwidth of reads at which products of few rows read their weights: of 1, 8, 24 and 64 rows of 4096 elements with
/// 28672 outputs, cuBLAS measured 0.79 to 0.88 on an H200.
const PRODUCTS_ATTAINED: f64 = 0.83;

/// The step of a model of `manifest`'s package on `gpu`. The window of the last tokens is taken to be half full, and no chunk to be folded.
///
/// # Errors
///
/// [`StepError`].
pub fn step_time(
    gpu: &GpuFacts,
    spec: &Spec,
    manifest: &Manifest,
    step: &Step,
) -> Result<StepTime, StepError> {
    let Some(decoder) = &spec.decoder else {
        return Err(StepError::NoDecoder {
            spec: spec.name.clone(),
        });
    };
    let mut builder = Builder {
        gpu,
        manifest,
        sizes: sizes(spec, step),
        graph: Graph::default(),
    };
    builder.kernel("embed", None, Stream::Main, &[])?;
    for layer in 0..decoder.layers {
        builder.layer(spec, decoder, step, layer)?;
    }
    builder.kernel("rms_norm", None, Stream::Main, &[])?;
    for first in (0..step.batch).step_by(LOGIT_ROWS as usize) {
        let rows = LOGIT_ROWS.min(step.batch - first);
        let (hidden, vocab) = (u64::from(decoder.hidden), u64::from(decoder.vocab));
        builder.product("logits", None, rows, (hidden, vocab), 4);
        builder.sizes.set("batch", rows);
        builder.kernel("sample", None, Stream::Main, &[])?;
    }
    Ok(StepTime::new(builder.graph, gpu.launch_gap, step.batch))
}

impl StepTime {
    /// Of a step of `batch` sequences with the operations of `graph`.
    pub(super) fn new(graph: Graph, launch_gap: f64, batch: u64) -> StepTime {
        let seconds = makespan(&graph.schedule(launch_gap));
        let mut breakdown: Vec<Share> = Vec::new();
        for node in &graph.nodes {
            match breakdown.iter_mut().find(|own| own.name == node.name) {
                Some(own) => {
                    own.count += 1;
                    own.seconds += node.seconds;
                }
                None => breakdown.push(Share {
                    name: node.name,
                    stream: node.stream,
                    count: 1,
                    seconds: node.seconds,
                    limiter: node.limiter,
                }),
            }
        }
        StepTime {
            seconds,
            tokens_per_second: batch as f64 / seconds,
            breakdown,
            graph,
            launch_gap,
        }
    }
}

/// What the manifest calls sizes.
fn sizes(spec: &Spec, step: &Step) -> Sizes {
    let method = &spec.shadowkv;
    let chunk = u64::from(method.chunk_size);
    let (batch, heads) = (step.batch, u64::from(spec.attention.kv_heads));
    let local = u64::from(method.local_chunks) * chunk;
    let window = local + u64::from(method.generated_window) / 2;
    let window = window.min(step.context);
    let chunks = (step.context - window) / chunk;
    let outliers = u64::from(method.outlier_chunks).min(chunks);
    let selected = u64::from(method.selected_chunks()).min(chunks - outliers);
    let missing = (selected as f64 * (1.0 - step.hit_rate)).round() as u64;
    let stride = (step.context / chunk).max(1).next_multiple_of(64);
    Sizes::new()
        .with("batch", batch)
        .with("query_rows", batch)
        .with("max_queries", 1)
        .with("max_tokens", step.context)
        .with("max_chunks", chunks)
        .with("max_window", window)
        .with("outlier_capacity", 2 * u64::from(method.outlier_chunks))
        .with("score_stride", stride)
        .with("store_chunks", batch * stride)
        .with("total_queries", batch)
        .with("total_tokens", batch * step.context)
        .with("total_chunks", batch * chunks)
        .with("total_missing", batch * heads * missing)
        .with(
            "total_attended",
            batch * heads * ((outliers + selected) * chunk + window),
        )
}

struct Builder<'a> {
    gpu: &'a GpuFacts,
    manifest: &'a Manifest,
    sizes: Sizes,
    graph: Graph,
}

impl Builder<'_> {
    fn layer(
        &mut self,
        spec: &Spec,
        decoder: &Decoder,
        step: &Step,
        layer: u32,
    ) -> Result<(), CountError> {
        let at = Some(layer);
        let hidden = u64::from(decoder.hidden);
        let ffn = u64::from(decoder.ffn);
        let queries = u64::from(spec.attention.query_heads() * spec.attention.head_dim);
        let qkv = queries + 2 * u64::from(spec.attention.key_width());
        let rows = step.batch;
        self.kernel("rms_norm", at, Stream::Main, &[])?;
        self.product("qkv", at, rows, (hidden, qkv), 2);
        self.kernel("rope_append", at, Stream::Main, &[])?;
        match step.method {
            Method::Full => {
                self.kernel("decode_attention", at, Stream::Main, &[])?;
            }
            Method::ShadowKv => {
                self.kernel("landmark_score", at, Stream::Main, &[])?;
                let selected = self.kernel("select_chunks", at, Stream::Main, &[])?;
                let fetched = self.kernel("gather_values", at, Stream::Fetch, &selected)?;
                self.kernel("reconstruct_keys", at, Stream::Main, &[])?;
                self.kernel("sparse_attention", at, Stream::Main, &fetched)?;
            }
        }
        self.product("output", at, rows, (queries, hidden), 2);
        self.kernel("rms_norm", at, Stream::Main, &[])?;
        self.product("gate_up", at, rows, (hidden, 2 * ffn), 2);
        self.kernel("silu_mul", at, Stream::Main, &[])?;
        self.product("down", at, rows, (ffn, hidden), 2);
        Ok(())
    }

    /// Adds a launch; its place, unless there is nothing to launch.
    fn kernel(
        &mut self,
        name: &'static str,
        layer: Option<u32>,
        stream: Stream,
        after: &[usize],
    ) -> Result<Vec<usize>, CountError> {
        let counts = kernel_counts(self.gpu, self.manifest, name, &self.sizes)?;
        let Some(counts) = counts else {
            return Ok(Vec::new());
        };
        let time = kernel_time(self.gpu, &counts);
        let place = self.graph.push(Node {
            name,
            layer,
            stream,
            after: after.to_vec(),
            seconds: time.seconds,
            limiter: Some(time.limiter),
        });
        Ok(vec![place])
    }

    /// Adds a dense product of `rows` rows with elements of `output_bytes` bytes.
    fn product(
        &mut self,
        name: &'static str,
        layer: Option<u32>,
        rows: u64,
        (inputs, outputs): (u64, u64),
        output_bytes: u64,
    ) {
        let bytes = 2 * inputs * (outputs + rows) + output_bytes * rows * outputs;
        let memory = bytes as f64 / (PRODUCTS_ATTAINED * self.gpu.read_bandwidth);
        let flops = 2.0 * (rows * inputs) as f64 * outputs as f64;
        let tensor = flops / self.gpu.tensor_rate;
        let limiter = if memory >= tensor {
            Limiter::DeviceMemory
        } else {
            Limiter::Tensor
        };
        self.graph.push(Node {
            name,
            layer,
            stream: Stream::Main,
            after: Vec::new(),
            seconds: self.gpu.kernel_floor + memory.max(tensor),
            limiter: Some(limiter),
        });
    }
}
