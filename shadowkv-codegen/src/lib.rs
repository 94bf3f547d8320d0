//! Ahead-of-time generator of `ShadowKV` CUDA kernels and Rust launchers from a YAML model spec.
//!
//! Data flows one way: [`spec`] -> [`plan`] -> [`emit`] -> compile.

pub mod emit;
pub mod plan;
pub mod spec;
