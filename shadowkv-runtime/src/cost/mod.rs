//! What kernels and steps cost, as a model: no measurement, and told apart from one wherever it is shown.
//!
//! | notion | here |
//! | --- | --- |
//! | a GPU's sizes and attainable rates, as data with sources | [`gpu`](mod@gpu) |
//! | one launch: how long, and what limits it | [`kernel`] |
//! | what a launch moves and executes, from its manifest | [`counts`] |
//! | operations on two streams, and when each runs | [`graph`] |
//! | a decode step of this program | [`step`] |
//! | whether halves of a batch take turns | [`turns`] |
//! | steps that were measured | [`measured`] |
//! | a decode step of the paper's program, which the model must reproduce | [`paper`] |

pub mod counts;
pub mod gpu;
pub mod graph;
pub mod kernel;
pub mod measured;
pub mod paper;
pub mod step;
pub mod turns;

#[cfg(test)]
mod tests;

pub use gpu::{GpuFacts, GpuFactsError, gpu, gpu_of, gpus};
pub use kernel::{KernelCounts, KernelTime, Limiter, STATED_ERROR, kernel_time};
