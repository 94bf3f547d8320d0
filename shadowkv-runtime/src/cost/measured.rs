//! Steps that were measured, for the model to be held against.

use super::step::Method;

/// A step that `bench` measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MeasuredStep {
    /// Name of the shipped spec.
    pub spec: &'static str,
    /// What was attended to.
    pub method: Method,
    /// Tokens of each sequence.
    pub context: u64,
    /// Sequences.
    pub batch: u64,
    /// Of all sequences together.
    pub tokens_per_second: f64,
}

const fn step(
    spec: &'static str,
    method: Method,
    context: u64,
    batch: u64,
    tokens_per_second: f64,
) -> MeasuredStep {
    MeasuredStep {
        spec,
        method,
        context,
        batch,
        tokens_per_second,
    }
}

/// On an H100 of 80 GB: weights made up, selections of which 60 % repeat, medians of 16 steps.
pub const STEPS: [MeasuredStep; 12] = [
    step("llama-3.1-8b", Method::Full, 61_440, 8, 284.0),
    step("llama-3.1-8b", Method::ShadowKv, 61_440, 8, 398.0),
    step("llama-3.1-8b", Method::ShadowKv, 61_440, 24, 529.0),
    step("llama-3.1-8b", Method::Full, 124_928, 1, 82.0),
    step("llama-3.1-8b", Method::Full, 124_928, 4, 142.0),
    step("llama-3.1-8b", Method::ShadowKv, 124_928, 1, 107.0),
    step("llama-3.1-8b", Method::ShadowKv, 124_928, 8, 371.0),
    step("llama-3.1-8b", Method::ShadowKv, 124_928, 12, 413.0),
    step("glm4", Method::Full, 124_928, 6, 206.0),
    step("glm4", Method::ShadowKv, 124_928, 6, 365.0),
    step("glm4", Method::ShadowKv, 124_928, 12, 517.0),
    step("glm4", Method::ShadowKv, 124_928, 24, 646.0),
];
