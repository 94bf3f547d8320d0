//! The measured judge: medians of launches on a GPU, over inputs that its cache cannot keep.

use shadowkv_runtime::cost::Limiter;

use super::{Compiled, Figure, Judge, JudgeError, JudgeKind, launch, met};
use crate::plan::KernelPlan;
use crate::verify::case::Case;
use crate::verify::device::{Backend, Stopwatch};
use crate::verify::kernels::Layer;
use crate::verify::random::hash;
use crate::verify::{VerifyOptions, run, verify};

/// Share of a median by which it may be off: what repeated measurements of one kernel differ by on a GPU whose clocks are not
/// fixed.
pub const MEASURED_ERROR: f64 = 0.03;

/// Launches before the clock starts.
const WARM_UP: u32 = 3;

/// Launches of which the median counts.
const LAUNCHES: u32 = 21;

/// Most copies of the inputs.
const MOST_COPIES: u64 = 16;

/// Memory that all copies may take, bytes.
const MOST_BYTES: u64 = 24 << 30;

/// Times kernels on devices of a backend.
#[derive(Clone, Debug)]
pub struct Measured<B> {
    backend: B,
}

impl<B: Backend> Measured<B>
where
    B::Device: Stopwatch,
    B::Kernel: Send,
{
    /// On devices of `backend`.
    pub fn new(backend: B) -> Measured<B> {
        Measured { backend }
    }

    fn time(
        &self,
        kernel: &KernelPlan,
        loaded: &B::Kernel,
        case: &Case,
    ) -> Result<Option<f64>, run::RunError> {
        let Some(dims) = kernel.geometry.evaluate(&case.sizes)? else {
            return Ok(None);
        };
        let mut device = self.backend.device()?;
        let bytes = run::bytes(kernel, case)?.max(1);
        // Twice the cache between one use of a copy and the next.
        let copies = (2 * device.cache_bytes()).div_ceil(bytes) + 1;
        let copies = copies.min(MOST_COPIES).min((MOST_BYTES / bytes).max(1));
        let parameters = (0..copies)
            .map(|_| run::parameters(&mut device, kernel, case))
            .collect::<Result<Vec<_>, _>>()?;
        let mut seconds = device.time(loaded, dims, &parameters, WARM_UP, LAUNCHES)?;
        seconds.sort_by(f64::total_cmp);
        Ok(seconds.get(seconds.len() / 2).copied())
    }
}

impl<B: Backend> Judge for Measured<B>
where
    B::Device: Stopwatch,
    B::Kernel: Send,
{
    fn kind(&self) -> JudgeKind {
        JudgeKind::Measured
    }

    fn device(&self) -> String {
        self.backend.name()
    }

    fn stated_error(&self) -> f64 {
        MEASURED_ERROR
    }

    fn exclusive(&self) -> bool {
        true
    }

    fn multiprocessors(&self) -> u32 {
        self.backend.multiprocessors()
    }

    fn layer(&self, kernel: &str, size: &Layer) -> Layer {
        met(kernel, size)
    }

    fn judge(&self, compiled: &Compiled, size: &Layer) -> Result<Figure, JudgeError> {
        let Compiled {
            plan,
            kernel,
            binary,
        } = *compiled;
        let name = kernel.name;
        let refused = |message: String| JudgeError::Launch {
            kernel: name,
            message,
        };
        let multiprocessors = self.backend.multiprocessors();
        let layer = self.layer(name, size);
        let (target, launch) = launch(plan, kernel, multiprocessors, &layer)?;
        let case = launch
            .sketch
            .build(&target, hash(&[&plan.spec.name, name]) >> 11);
        let loaded = self.backend.load(binary);
        let loaded = loaded.map_err(|error| refused(error.to_string()))?;
        let seconds = self.time(kernel, &loaded, &case);
        let seconds = seconds.map_err(|error| refused(error.to_string()))?;
        let seconds =
            seconds.ok_or_else(|| refused("there is nothing to launch at this size".into()))?;
        Ok(Figure {
            seconds,
            limiter: None::<Limiter>,
            bytes: None,
        })
    }

    fn objection(&self, compiled: &Compiled) -> Option<String> {
        let options = VerifyOptions {
            jobs: std::num::NonZeroUsize::new(1),
            ..VerifyOptions::default()
        };
        let binaries = std::slice::from_ref(compiled.binary);
        super::super::conformance::objection(verify(
            compiled.plan,
            binaries,
            &self.backend,
            &options,
            &|_| {},
            &|_, _| {},
        ))
    }
}
