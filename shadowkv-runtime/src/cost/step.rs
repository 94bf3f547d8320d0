//! A decode step of this program: the order of its operations is that of `decoder`, `kv` and `device::kernels`.

use serde::Serialize;

use super::counts::{CountError, kernel_counts};
use super::graph::{Graph, Node, Pace, Span, Stream, makespan};
use super::turns::{HOST_BYTE_COST, gains_by_turns};
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
    /// Whether the step is one CUDA graph, or the host launches one operation after the other.
    pub graphs: bool,
    /// Whether the halves of the batch take turns; `None`: where [`gains_by_turns`] says so.
    pub turns: Option<bool>,
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
    /// Whether the halves of the batch take turns.
    pub turns: bool,
    /// The operations.
    #[serde(skip)]
    pub graph: Graph,
    /// When each of them runs.
    #[serde(skip)]
    pub spans: Vec<Span>,
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

/// Bytes of an element of weights, keys and values.
const ELEMENT_BYTES: u64 = 2;

/// Sequences whose logits are computed and sampled together.
const LOGIT_ROWS: u64 = 32;

/// Share of the bandwidth of reads at which products of few rows read their weights: of 1, 8, 24 and 64 rows of 4096 elements with
/// 28672 outputs, cuBLAS measured 0.79 to 0.88 on an H200.
const PRODUCTS_ATTAINED: f64 = 0.83;

/// How many times as long a fetch takes while the main stream runs something as alone. On an H200 fetches took 1.02 to 1.4 times as
/// long beside kernels that read device memory; within that, this fits whole steps on an H100.
const FETCH_BESIDE: f64 = 1.3;

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
        spec,
        decoder,
        step,
        sizes: sizes(spec, step),
        graph: Graph::default(),
    };
    let halves = halves(spec, decoder, step);
    builder.each(&halves, "embed")?;
    match halves.as_slice() {
        [a, b] => builder.in_turn([*a, *b])?,
        all => builder.in_order(all)?,
    }
    builder.each(&halves, "rms_norm")?;
    builder.logits()?;
    let pace = Pace {
        launch_gap: if step.graphs { 0.0 } else { gpu.launch_gap },
        fetch_beside: FETCH_BESIDE,
    };
    Ok(StepTime {
        turns: halves.len() > 1,
        ..StepTime::new(builder.graph, &pace, step.batch)
    })
}

/// Sequences of each part of the batch: of all, or of two halves that take turns.
fn halves(spec: &Spec, decoder: &Decoder, step: &Step) -> Vec<u64> {
    let weight_bytes = decoder.layer_weights(&spec.attention) * ELEMENT_BYTES;
    let costs = (ELEMENT_BYTES, HOST_BYTE_COST);
    let wanted = |wanted: Option<bool>| {
        wanted.unwrap_or_else(|| gains_by_turns(spec, step.batch, costs, weight_bytes))
    };
    if step.method == Method::ShadowKv && step.batch > 1 && wanted(step.turns) {
        let first = step.batch.div_ceil(2);
        vec![first, step.batch - first]
    } else {
        vec![step.batch]
    }
}

impl StepTime {
    /// Of a step of `batch` sequences with the operations of `graph`.
    pub(super) fn new(graph: Graph, pace: &Pace, batch: u64) -> StepTime {
        let spans = graph.schedule(pace);
        let seconds = makespan(&spans);
        let mut breakdown: Vec<Share> = Vec::new();
        for (node, span) in graph.nodes.iter().zip(&spans) {
            let seconds = span.end - span.begin;
            match breakdown.iter_mut().find(|own| own.name == node.name) {
                Some(own) => {
                    own.count += 1;
                    own.seconds += seconds;
                }
                None => breakdown.push(Share {
                    name: node.name,
                    stream: node.stream,
                    count: 1,
                    seconds,
                    limiter: node.limiter,
                }),
            }
        }
        StepTime {
            seconds,
            tokens_per_second: batch as f64 / seconds,
            breakdown,
            turns: false,
            graph,
            spans,
        }
    }
}

/// What the manifest calls sizes.
pub(super) fn sizes(spec: &Spec, step: &Step) -> Sizes {
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
    spec: &'a Spec,
    decoder: &'a Decoder,
    step: &'a Step,
    sizes: Sizes,
    graph: Graph,
}

impl Builder<'_> {
    /// What comes is of `batch` sequences.
    fn turn_to(&mut self, batch: u64) {
        let step = Step {
            batch,
            ..*self.step
        };
        self.sizes = sizes(self.spec, &step);
    }

    fn each(&mut self, halves: &[u64], name: &'static str) -> Result<(), CountError> {
        for half in halves {
            self.turn_to(*half);
            self.kernel(name, None, Stream::Main, &[])?;
        }
        Ok(())
    }

    fn in_order(&mut self, halves: &[u64]) -> Result<(), CountError> {
        for layer in 0..self.decoder.layers {
            for half in halves {
                let fetched = self.before(layer, *half)?;
                self.after(layer, *half, &fetched)?;
            }
        }
        Ok(())
    }

    /// As the decoder has it: a half's attention is ended once the other's has begun.
    fn in_turn(&mut self, [a, b]: [u64; 2]) -> Result<(), CountError> {
        let mut waiting: Option<(u32, Vec<usize>)> = None;
        for layer in 0..self.decoder.layers {
            let fetched_a = self.before(layer, a)?;
            if let Some((layer, fetched_b)) = waiting {
                self.after(layer, b, &fetched_b)?;
            }
            waiting = Some((layer, self.before(layer, b)?));
            self.after(layer, a, &fetched_a)?;
        }
        match waiting {
            Some((layer, fetched)) => self.after(layer, b, &fetched),
            None => Ok(()),
        }
    }

    fn widths(&self) -> (u64, u64) {
        let queries = self.spec.attention.query_heads() * self.spec.attention.head_dim;
        (u64::from(self.decoder.hidden), u64::from(queries))
    }

    /// A layer of `batch` sequences as far as it gets without waiting for values; the fetch of these.
    fn before(&mut self, layer: u32, batch: u64) -> Result<Vec<usize>, CountError> {
        let at = Some(layer);
        let (hidden, queries) = self.widths();
        let qkv = queries + 2 * u64::from(self.spec.attention.key_width());
        self.turn_to(batch);
        self.kernel("rms_norm", at, Stream::Main, &[])?;
        self.product("qkv", at, batch, (hidden, qkv), 2);
        self.kernel("rope_append", at, Stream::Main, &[])?;
        if self.step.method == Method::Full {
            return Ok(Vec::new());
        }
        self.kernel("landmark_score", at, Stream::Main, &[])?;
        let selected = self.kernel("select_chunks", at, Stream::Main, &[])?;
        let fetched = self.kernel("gather_values", at, Stream::Fetch, &selected)?;
        self.kernel("reconstruct_keys", at, Stream::Main, &[])?;
        Ok(fetched)
    }

    /// The rest of it.
    fn after(&mut self, layer: u32, batch: u64, fetched: &[usize]) -> Result<(), CountError> {
        let at = Some(layer);
        let (hidden, queries) = self.widths();
        let ffn = u64::from(self.decoder.ffn);
        self.turn_to(batch);
        let attention = match self.step.method {
            Method::Full => "decode_attention",
            Method::ShadowKv => "sparse_attention",
        };
        self.kernel(attention, at, Stream::Main, fetched)?;
        self.product("output", at, batch, (queries, hidden), 2);
        self.kernel("rms_norm", at, Stream::Main, &[])?;
        self.product("gate_up", at, batch, (hidden, 2 * ffn), 2);
        self.kernel("silu_mul", at, Stream::Main, &[])?;
        self.product("down", at, batch, (ffn, hidden), 2);
        Ok(())
    }

    /// Of all sequences together, as many rows at a time as the decoder takes.
    fn logits(&mut self) -> Result<(), CountError> {
        let (hidden, vocab) = (
            u64::from(self.decoder.hidden),
            u64::from(self.decoder.vocab),
        );
        for first in (0..self.step.batch).step_by(LOGIT_ROWS as usize) {
            let rows = LOGIT_ROWS.min(self.step.batch - first);
            self.product("logits", None, rows, (hidden, vocab), 4);
            self.turn_to(rows);
            self.kernel("sample", None, Stream::Main, &[])?;
        }
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
