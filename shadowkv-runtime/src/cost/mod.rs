//! What kernels and steps cost, as a model: no measurement, and told apart from one wherever it is shown.
//!
//! | notion | here |
//! | --- | --- |
//! | a GPU's sizes and attainable rates, as data with sources | [`gpu`](mod@gpu) |
//! | one launch: how long, and what limits it | [`kernel`] |

pub mod gpu;
pub mod kernel;

pub use gpu::{GpuFacts, GpuFactsError, gpu, gpu_of, gpus};
pub use kernel::{KernelCounts, KernelTime, Limiter, STATED_ERROR, kernel_time};
