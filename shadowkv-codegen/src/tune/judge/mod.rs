//! Judges: what a tile's kernel costs, by whatever can tell.
//!
//! | judge | figures from | needs |
//! | --- | --- | --- |
//! | [`Modelled`] | the emulator's counts, ptxas' registers, and the runtime's cost model | nothing |
//! | [`Measured`] | events on a GPU | the GPU |

use std::fmt;

use serde::{Deserialize, Serialize};
use shadowkv_runtime::cost::{GpuFacts, GpuFactsError, Limiter, gpu};
use shadowkv_runtime::manifest::EvalError;
use shadowkv_runtime::nvrtc::Arch;

use crate::compile::CompiledKernel;
use crate::plan::{KernelPlan, Plan};
use crate::verify::kernels::{Layer, LayerSketch, Purpose, Subject, Target, subject};

mod measured;
mod modelled;

pub use measured::{MEASURED_ERROR, Measured};
pub use modelled::Modelled;
pub(super) use modelled::planned;

/// Who judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JudgeKind {
    /// A model, from counts.
    Modelled,
    /// A clock, on a GPU.
    Measured,
}

impl fmt::Display for JudgeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            JudgeKind::Modelled => "modelled",
            JudgeKind::Measured => "measured",
        })
    }
}

/// What a launch costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure {
    /// Seconds.
    pub seconds: f64,
    /// What limits it; absent where the judge cannot tell.
    pub limiter: Option<Limiter>,
    /// Bytes it asks device and host memory for; absent where the judge does not count.
    pub bytes: Option<u64>,
}

/// A kernel that may be judged.
#[derive(Clone, Copy)]
pub struct Compiled<'a> {
    /// The plan of this kernel alone.
    pub plan: &'a Plan,
    /// The kernel in it.
    pub kernel: &'a KernelPlan,
    /// Compiled.
    pub binary: &'a CompiledKernel,
}

impl Figure {
    /// To four digits: more are noise, or none of the model's.
    #[must_use]
    pub fn rounded(self) -> Figure {
        let seconds = format!("{:.3e}", self.seconds).parse();
        Figure {
            seconds: seconds.unwrap_or(self.seconds),
            ..self
        }
    }
}

/// Why there is no figure.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JudgeError {
    /// No description of a GPU of the architecture.
    #[error(transparent)]
    Gpu(#[from] GpuFactsError),
    /// The model knows no GPU of the architecture.
    #[error(
        "the model knows no GPU of {arch}; it knows A100 (sm_80) and H100 (sm_90): tune for one of these, or measure"
    )]
    Arch {
        /// The architecture.
        arch: Arch,
    },
    /// A kernel without cases.
    #[error("`{kernel}` has no launch to judge (a defect of shadowkv-codegen)")]
    NoCases {
        /// The kernel.
        kernel: &'static str,
    },
    /// A number of bytes, or a grid, without a value.
    #[error("an expression of `{kernel}` has no value at this size: {source}")]
    Size {
        /// The kernel.
        kernel: &'static str,
        /// Why not.
        source: EvalError,
    },
    /// The kernel cannot be loaded or launched, or it fails.
    #[error("`{kernel}`: {message}")]
    Launch {
        /// The kernel.
        kernel: &'static str,
        /// Why not.
        message: String,
    },
}

/// Tells what kernels cost.
pub trait Judge: Sync {
    /// Which kind of judge.
    fn kind(&self) -> JudgeKind;

    /// On what: `modelled A100-80`, `NVIDIA H100 80GB HBM3`.
    fn device(&self) -> String;

    /// Share of a figure by which it may be off: of two kernels closer than this the judge does not know the faster.
    fn stated_error(&self) -> f64;

    /// Whether only one kernel may be judged at a time.
    fn exclusive(&self) -> bool;

    /// Multiprocessors of the device.
    fn multiprocessors(&self) -> u32;

    /// The layer that the kernel called `kernel` is judged at, for a problem of `size`.
    fn layer(&self, kernel: &str, size: &Layer) -> Layer;

    /// The cost of one launch at the size of a layer.
    ///
    /// # Errors
    ///
    /// [`JudgeError`] where the kernel cannot be launched; such a candidate is refused.
    fn judge(&self, compiled: &Compiled, size: &Layer) -> Result<Figure, JudgeError>;

    /// Whether the kernel computes what it must on the judge's own device, beyond what the emulator says; what is wrong, if
    /// not. A judge without a device has nothing to add.
    fn objection(&self, compiled: &Compiled) -> Option<String>;
}

/// The GPU that stands for an architecture.
///
/// # Errors
///
/// [`JudgeError::Arch`] where none does.
pub fn gpu_for(arch: Arch) -> Result<&'static GpuFacts, JudgeError> {
    let name = match arch {
        Arch::Sm80 => "a100-80",
        Arch::Sm90 => "h100",
        _ => return Err(JudgeError::Arch { arch }),
    };
    Ok(gpu(name)?)
}

/// Kernels that a prompt goes through, one sequence at a time.
const OF_PROMPTS: [&str; 7] = [
    "prefill_attention",
    "key_gram",
    "key_project",
    "chunk_landmarks",
    "select_outliers",
    "store_exact",
    "offload_values",
];

/// The layer that a kernel meets in a problem: prompts come one by one, whatever the batch.
fn met(kernel: &str, size: &Layer) -> Layer {
    let batch = if OF_PROMPTS.contains(&kernel) {
        1
    } else {
        size.batch
    };
    Layer { batch, ..*size }
}

/// The launch of a layer, and what it is made for.
pub(super) fn launch<'a>(
    plan: &'a Plan,
    kernel: &'a KernelPlan,
    multiprocessors: u32,
    layer: &Layer,
) -> Result<(Target<'a>, LayerSketch), JudgeError> {
    let subject: &Subject = subject(kernel.name).ok_or(JudgeError::NoCases {
        kernel: kernel.name,
    })?;
    let target = Target {
        spec: &plan.spec,
        kernel,
        multiprocessors,
        purpose: Purpose::Measure,
    };
    let sketch = (subject.layer)(&target, layer);
    Ok((target, sketch))
}
