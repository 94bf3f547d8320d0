//! Runtime of `ShadowKV`: kernel packages, NVRTC, devices and a minimal long-context decoder.
//!
//! The runtime never depends on the code generator; it reads what the generator wrote.

pub mod cache;
pub(crate) mod command;
pub mod digest;
pub mod doctor;
pub mod env;
pub mod launch;
pub mod manifest;
pub mod nvdisasm;
pub mod nvrtc;
pub mod sampling;
pub mod wheel;
