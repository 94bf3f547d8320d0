//! Ahead-of-time generator of `ShadowKV` CUDA kernels and Rust launchers from a YAML model spec.
//!
//! Data flows one way: [`spec`] -> [`plan`] -> [`emit`] -> [`compile`], and [`output`] puts the results on disk.
//! [`verify`] proves the kernels without a GPU, [`profile`] counts what they do, and [`sass`] what their machine code holds.
//! [`tune`] looks for better tiles. [`report`] is what people and programs are told about them.

pub use shadowkv_runtime::spec;

pub mod compile;
pub mod emit;
pub mod output;
pub mod plan;
#[cfg(feature = "verify")]
pub mod profile;
#[cfg(feature = "cli")]
pub mod report;
pub mod sass;
#[cfg(feature = "cli")]
pub mod tune;
#[cfg(feature = "verify")]
pub mod verify;
