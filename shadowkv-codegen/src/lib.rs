//! Ahead-of-time generator of `ShadowKV` CUDA kernels and Rust launchers from a YAML model spec.
//!
//! Data flows one way: [`spec`] -> [`plan`] -> [`emit`] -> [`compile`], and [`output`] puts the results on disk.
//! [`report`] is what people and programs are told about them.

pub mod compile;
pub mod emit;
pub mod output;
pub mod plan;
pub mod report;
pub mod spec;
pub mod verify;
