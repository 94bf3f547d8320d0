//! A GPU with the generated kernels of one package: the operations of a decoder and of `ShadowKV`, launched.
//!
//! Everything is enqueued on one stream, in the order of the calls; the fetches of values from the host run on a second one,
//! beside the reconstruction of keys. Activations are bf16. Which GPU it is, a real or an emulated one, only the [`Gpu`]
//! beneath knows.
//!
//! | notion | here |
//! | --- | --- |
//! | the package's kernels, their geometry and their own memory | `loaded` |
//! | numbers that change from step to step, sent in one copy | `staging`, `arrays`, `places` |
//! | operations of the method | `sparse`, `fetch` |
//! | steps that come again, as graphs | `replay` |
//! | callers' tensors | `tensors` |

mod arrays;
mod error;
mod fetch;
mod loaded;
mod matrix;
mod memory;
mod places;
mod replay;
mod samplings;
mod sparse;
mod staging;
mod tensors;

use std::fmt;
use std::sync::atomic::AtomicBool;

pub use error::KernelsError;
pub use matrix::KernelMatrix;
pub use memory::{KernelBuffer, KernelHostBuffer};
pub use places::{KernelSequences, KernelTokens};
pub use replay::GraphStatistics;
pub use samplings::KernelSamplings;

use super::sparse::TURNS;
use super::{Activation, CacheRows, Device, DeviceError, Element, Tokens};
use crate::gpu::{Gpu, GpuError, GpuMemory as _, Output, Priority, Product};
use crate::manifest::Sizes;
use crate::package::{Images, Package};
use crate::sampling::Sampling;
use crate::spec::Spec;
use crate::weights::Tensor;
use loaded::{Kernels, Launches, Name, To};
use memory::{Account, decode, element_bytes, encode};
use replay::Replay;
use staging::{Staged, Staging};

/// Bytes up to which the host's numbers go through pinned memory and wait for nothing.
const STAGED_BYTES: usize = 1 << 20;

/// When values are there that are fetched beside other work.
struct Fetched<G: Gpu> {
    event: G::Event,
    /// The main stream does not wait for it yet.
    pending: AtomicBool,
}

impl<G: Gpu> Fetched<G> {
    fn new(event: G::Event) -> Fetched<G> {
        Fetched {
            event,
            pending: AtomicBool::new(false),
        }
    }
}

/// A GPU, opened for one spec with its package's kernels.
pub struct KernelDevice<G: Gpu> {
    // Before the GPU: memory is freed first.
    replay: Replay<G>,
    kernels: Kernels<G>,
    staging: Staging<G>,
    main: G::Stream,
    fetch: G::Stream,
    /// The selection is made: values may be fetched.
    selected: G::Event,
    /// The values of each turn are there.
    fetched: [Fetched<G>; TURNS],
    account: Account,
    host_account: Account,
    spec: Spec,
    sm_count: u64,
    gpu: G,
}

impl<G: Gpu> KernelDevice<G> {
    /// `gpu` with the kernels of `package`, whose images are `images`, for `spec`.
    ///
    /// # Errors
    ///
    /// [`KernelsError`]: a package of another spec, an image that is missing or does not load, a spec with an operation that
    /// no kernel does.
    pub fn new(
        gpu: G,
        spec: &Spec,
        package: &Package,
        images: &Images,
    ) -> Result<KernelDevice<G>, KernelsError> {
        let main = gpu.stream("main", Priority::Normal)?;
        KernelDevice::on_stream(gpu, main, spec, package, images)
    }

    /// The same on a stream of the caller's: everything is enqueued on `main`, in the order of the calls, but for the fetches of
    /// values, which a stream of the device's own runs between two events on `main`.
    ///
    /// # Errors
    ///
    /// As [`KernelDevice::new`].
    pub fn on_stream(
        gpu: G,
        main: G::Stream,
        spec: &Spec,
        package: &Package,
        images: &Images,
    ) -> Result<KernelDevice<G>, KernelsError> {
        let _entered = gpu.enter();
        package.check_spec(spec)?;
        if spec.decoder.as_ref().is_some_and(|decoder| decoder.qk_norm) {
            return Err(KernelsError::Unsupported {
                spec: spec.name.clone(),
                field: "decoder.qk_norm",
                message: "no kernel norms queries and keys per head yet: use the device `cpu`",
            });
        }
        Ok(KernelDevice {
            replay: Replay::new(gpu.properties().graphs),
            kernels: Kernels::load(&gpu, package.manifest(), images)?,
            staging: Staging::new(),
            main,
            fetch: gpu.stream("fetch", Priority::High)?,
            selected: gpu.event("chunks selected")?,
            fetched: [
                Fetched::new(gpu.event("values fetched")?),
                Fetched::new(gpu.event("values fetched, second turn")?),
            ],
            account: Account::default(),
            host_account: Account::default(),
            spec: spec.clone(),
            sm_count: u64::from(gpu.properties().sm_count),
            gpu,
        })
    }

    /// The GPU beneath.
    pub fn gpu(&self) -> &G {
        &self.gpu
    }

    /// Whether steps that come again become graphs: where the GPU has them, unless told otherwise.
    pub fn use_graphs(&self, wanted: bool) {
        self.replay.want(wanted && self.gpu.properties().graphs);
    }

    /// What graphs did so far.
    pub fn graph_statistics(&self) -> GraphStatistics {
        self.replay.statistics()
    }

    /// The stream on which everything is enqueued.
    pub fn stream(&self) -> &G::Stream {
        &self.main
    }

    /// Waits until everything enqueued has run.
    ///
    /// # Errors
    ///
    /// Something enqueued failed.
    pub fn synchronise(&self) -> Result<(), DeviceError> {
        // What the other stream does is joined to this one.
        self.gpu.synchronise(&self.main)?;
        self.staging.waited();
        Ok(())
    }

    fn chunk_size(&self) -> usize {
        self.spec.shadowkv.chunk_size as usize
    }

    /// The sizes that are always the same.
    fn sizes(&self) -> Sizes {
        Sizes::new().with("sm_count", self.sm_count)
    }

    fn send(&self, bytes: &[u8]) -> Result<Staged<G>, DeviceError> {
        // Whatever a step is told is sent before the step: a graph would send the same again and again.
        self.replay.breaks();
        self.staging.send(&self.gpu, &self.main, bytes)
    }

    /// Elements of a token's keys over all KV heads.
    fn key_width(&self) -> u64 {
        u64::from(self.spec.attention.key_width())
    }

    /// Launches a kernel whose grid depends on the rows alone.
    fn by_rows(
        &self,
        name: Name,
        rows: usize,
        arguments: &[(&str, u64)],
    ) -> Result<(), DeviceError> {
        let sizes = || {
            let rows = rows as u64;
            self.sizes().with("query_rows", rows).with("batch", rows)
        };
        let launches = Launches::default();
        let (gpu, stream, replay) = (&self.gpu, &self.main, &self.replay);
        // SAFETY: the callers' buffers have the shapes that `Device` documents, which are the manifest's.
        unsafe {
            let to = To {
                gpu,
                stream,
                replay,
            };
            self.kernels.launch(&to, name, &launches, &sizes, arguments)
        }
    }

    /// Launches a kernel for tokens.
    fn by_tokens(
        &self,
        name: Name,
        tokens: &KernelTokens<G>,
        arguments: &[(&str, u64)],
    ) -> Result<(), DeviceError> {
        let sizes = || tokens.sizes(self.sizes());
        let (gpu, stream, replay) = (&self.gpu, &self.main, &self.replay);
        // SAFETY: as above; the arrays are as long as the batch, and live until later work of the stream takes their place.
        unsafe {
            let to = To {
                gpu,
                stream,
                replay,
            };
            self.kernels
                .launch(&to, name, &tokens.launches, &sizes, arguments)
        }
    }

    fn product(
        &self,
        (input, first, rows): (&KernelBuffer<Activation, G>, usize, usize),
        matrix: &KernelMatrix<G>,
        bias: Option<&KernelBuffer<Activation, G>>,
        output: (crate::gpu::Part<'_, G>, Output),
    ) -> Result<(), DeviceError> {
        let KernelMatrix {
            outputs, inputs, ..
        } = *matrix;
        let rows = rows as u64;
        let product = Product {
            input: input.part(first as u64 * inputs, rows * inputs)?,
            weights: matrix.memory.whole(),
            bias: bias.map(|bias| bias.part(0, outputs)).transpose()?,
            output: output.0,
            output_type: output.1,
            rows,
            inputs,
            outputs,
        };
        let noted = self.replay.notes(|words| {
            let bias = product.bias.map_or(0, |bias| bias.address());
            let parts = [product.input, product.weights, product.output];
            words.extend(parts.map(|part| part.address()));
            let is_f32 = u64::from(output.1 == Output::F32);
            words.extend([bias, is_f32, rows, inputs, outputs]);
        });
        if !noted {
            self.gpu.product(&self.main, &product)?;
        }
        Ok(())
    }
}

impl<G: Gpu> Device for KernelDevice<G> {
    type Buffer<T: Element> = KernelBuffer<T, G>;
    type Matrix = KernelMatrix<G>;
    type Tokens = KernelTokens<G>;
    type Samplings = KernelSamplings<G>;

    fn name(&self) -> String {
        self.gpu.properties().name.clone()
    }

    fn activation_bytes(&self) -> u64 {
        element_bytes::<Activation>()
    }

    fn allocated_bytes(&self) -> u64 {
        self.account.bytes()
    }

    fn allocate<T: Element>(
        &self,
        name: &str,
        elements: usize,
    ) -> Result<KernelBuffer<T, G>, DeviceError> {
        let bytes = (elements as u64).saturating_mul(element_bytes::<T>());
        // In a step it would be memory of a graph.
        self.replay.breaks();
        let memory = self.gpu.allocate(name, bytes)?;
        self.gpu.fill(&self.main, memory.whole(), 0)?;
        Ok(KernelBuffer::new(memory, &self.account))
    }

    fn write<T: Element>(
        &self,
        buffer: &mut KernelBuffer<T, G>,
        at: usize,
        values: &[T::Host],
    ) -> Result<(), DeviceError> {
        if self.replay.breaks() {
            return Ok(());
        }
        let bytes = encode::<T>(values);
        let offset = at as u64 * element_bytes::<T>();
        if bytes.len() <= STAGED_BYTES {
            let (gpu, memory) = (&self.gpu, &buffer.memory);
            return self
                .staging
                .send_to(gpu, &self.main, &bytes, memory, offset);
        }
        let to = buffer.memory.part(offset, bytes.len() as u64)?;
        Ok(self.gpu.write(&self.main, &bytes, to)?)
    }

    fn read<T: Element>(
        &self,
        buffer: &KernelBuffer<T, G>,
        at: usize,
        values: &mut [T::Host],
    ) -> Result<(), DeviceError> {
        if self.replay.breaks() {
            return Ok(());
        }
        let from = buffer.part(at as u64, values.len() as u64)?;
        let mut bytes = vec![0; from.bytes() as usize];
        self.gpu.read(&self.main, from, &mut bytes)?;
        self.staging.waited();
        decode::<T>(&bytes, values);
        Ok(())
    }

    fn matrix(&self, name: &str, parts: &[Tensor]) -> Result<KernelMatrix<G>, DeviceError> {
        KernelMatrix::new(self, name, parts)
    }

    fn tokens(&self, tokens: &Tokens) -> Result<KernelTokens<G>, DeviceError> {
        KernelTokens::new(self, tokens)
    }

    fn embed(
        &self,
        ids: &KernelBuffer<i32, G>,
        rows: usize,
        table: &KernelMatrix<G>,
        output: &mut KernelBuffer<Activation, G>,
    ) -> Result<(), DeviceError> {
        self.by_rows(
            Name::Embed,
            rows,
            &[
                ("token_ids", ids.address(0)),
                ("table", table.memory.address()),
                ("output", output.address(0)),
            ],
        )
    }

    fn rms_norm(
        &self,
        addend: Option<&KernelBuffer<Activation, G>>,
        residual: &mut KernelBuffer<Activation, G>,
        rows: usize,
        weight: &KernelBuffer<Activation, G>,
        (output, at): (&mut KernelBuffer<Activation, G>, usize),
    ) -> Result<(), DeviceError> {
        let first = at as u64 * (weight.memory.bytes() / element_bytes::<Activation>());
        let x = addend.map_or_else(|| residual.address(0), |addend| addend.address(0));
        self.by_rows(
            Name::RmsNorm,
            rows,
            &[
                ("x", x),
                ("residual", residual.address(0)),
                ("weight", weight.address(0)),
                ("output", output.address(first)),
                ("add_x", u64::from(addend.is_some())),
            ],
        )
    }

    fn linear(
        &self,
        input: &KernelBuffer<Activation, G>,
        rows: usize,
        matrix: &KernelMatrix<G>,
        bias: Option<&KernelBuffer<Activation, G>>,
        output: &mut KernelBuffer<Activation, G>,
    ) -> Result<(), DeviceError> {
        let part = output.part(0, rows as u64 * matrix.outputs)?;
        self.product((input, 0, rows), matrix, bias, (part, Output::Bf16))
    }

    fn logits(
        &self,
        input: &KernelBuffer<Activation, G>,
        first: usize,
        rows: usize,
        matrix: &KernelMatrix<G>,
        output: &mut KernelBuffer<f32, G>,
    ) -> Result<(), DeviceError> {
        let part = output.part(0, rows as u64 * matrix.outputs)?;
        self.product((input, first, rows), matrix, None, (part, Output::F32))
    }

    fn head_norm(
        &self,
        _qkv: &mut KernelBuffer<Activation, G>,
        _rows: usize,
        _query_weight: &KernelBuffer<Activation, G>,
        _key_weight: &KernelBuffer<Activation, G>,
    ) -> Result<(), DeviceError> {
        // Refused when the device was opened.
        Err(GpuError::Unsupported {
            device: self.name(),
            operation: "norm queries and keys per head".to_owned(),
        }
        .into())
    }

    fn silu_mul(
        &self,
        gate_up: &KernelBuffer<Activation, G>,
        rows: usize,
        output: &mut KernelBuffer<Activation, G>,
    ) -> Result<(), DeviceError> {
        self.by_rows(
            Name::SiluMul,
            rows,
            &[
                ("gate_up", gate_up.address(0)),
                ("output", output.address(0)),
            ],
        )
    }

    fn rope_append(
        &self,
        tokens: &KernelTokens<G>,
        qkv: &KernelBuffer<Activation, G>,
        queries: &mut KernelBuffer<Activation, G>,
        cache: CacheRows<'_, Self>,
    ) -> Result<(), DeviceError> {
        let k_pre = cache.k_pre.as_ref().map(|k_pre| k_pre.address(0));
        self.by_tokens(
            Name::RopeAppend,
            tokens,
            &[
                ("qkv", qkv.address(0)),
                ("query_begin", tokens.query_begin()),
                ("query_count", tokens.query_count()),
                ("token_count", tokens.token_count()),
                ("row_begin", tokens.row_begin()),
                ("row_capacity", tokens.row_capacity()),
                ("rope_table", tokens.rope_table()),
                ("queries", queries.address(0)),
                ("keys", cache.keys.address(0)),
                ("values", cache.values.address(0)),
                ("k_pre", k_pre.unwrap_or_else(|| cache.keys.address(0))),
                ("keep_k_pre", u64::from(k_pre.is_some())),
            ],
        )
    }

    fn attention(
        &self,
        tokens: &KernelTokens<G>,
        queries: &KernelBuffer<Activation, G>,
        keys: &KernelBuffer<Activation, G>,
        values: &KernelBuffer<Activation, G>,
        output: &mut KernelBuffer<Activation, G>,
    ) -> Result<(), DeviceError> {
        let of_rows = [
            ("queries", queries.address(0)),
            ("keys", keys.address(0)),
            ("values", values.address(0)),
        ];
        if tokens.is_step {
            let [queries, keys, values] = of_rows;
            return self.by_tokens(
                Name::DecodeAttention,
                tokens,
                &[
                    queries,
                    keys,
                    values,
                    ("token_count", tokens.token_count()),
                    ("row_begin", tokens.row_begin()),
                    ("output", output.address(0)),
                ],
            );
        }
        let [queries, keys, values] = of_rows;
        self.by_tokens(
            Name::PrefillAttention,
            tokens,
            &[
                queries,
                keys,
                values,
                ("query_begin", tokens.query_begin()),
                ("query_count", tokens.query_count()),
                ("token_count", tokens.token_count()),
                ("row_begin", tokens.row_begin()),
                ("output", output.address(0)),
            ],
        )
    }

    fn samplings(&self, samplings: &[Sampling]) -> Result<KernelSamplings<G>, DeviceError> {
        KernelSamplings::new(self, samplings)
    }

    fn sample(
        &self,
        logits: &KernelBuffer<f32, G>,
        samplings: &KernelSamplings<G>,
        ids: &mut KernelBuffer<i32, G>,
        at: usize,
    ) -> Result<(), DeviceError> {
        self.by_rows(
            Name::Sample,
            samplings.count(),
            &[
                ("logits", logits.address(0)),
                ("temperature", samplings.temperature()),
                ("top_k", samplings.top_k()),
                ("top_p", samplings.top_p()),
                ("seed", samplings.seed()),
                ("step", samplings.step()),
                ("token_ids", ids.address(at as u64)),
                ("logprob", samplings.logprob()),
            ],
        )
    }

    fn remembers_steps(&self) -> bool {
        self.replay.is_wanted()
    }

    fn repeated(
        &self,
        step: &mut dyn FnMut() -> Result<(), DeviceError>,
    ) -> Result<(), DeviceError> {
        self.replay.run(&self.gpu, &self.main, step)
    }
}

impl<G: Gpu> fmt::Debug for KernelDevice<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KernelDevice")
            .field("gpu", &self.gpu)
            .field("spec", &self.spec.name)
            .finish_non_exhaustive()
    }
}
