//! Runtime of `ShadowKV`: kernel packages, NVRTC, devices and a minimal long-context decoder.
//!
//! The runtime never depends on the code generator; it reads what the generator wrote.

pub mod cache;
pub(crate) mod command;
pub mod cost;
#[cfg(feature = "decoder")]
pub mod decoder;
#[cfg(feature = "gpu")]
pub mod device;
pub mod digest;
pub mod doctor;
pub mod env;
pub mod files;
#[cfg(feature = "decoder")]
pub mod generate;
#[cfg(feature = "gpu")]
pub mod gpu;
#[cfg(feature = "hub")]
pub mod hub;
#[cfg(feature = "gpu")]
pub mod kv;
pub mod launch;
pub mod manifest;
#[cfg(feature = "decoder")]
pub mod model;
pub mod nvdisasm;
pub mod nvrtc;
pub mod package;
pub mod sampling;
pub mod spec;
#[cfg(feature = "decoder")]
pub mod tokenizer;
#[cfg(feature = "gpu")]
pub mod weights;
pub mod wheel;
