//! Runtime of `ShadowKV`: kernel packages, NVRTC, devices and a minimal long-context decoder.
//!
//! The runtime never depends on the code generator; it reads what the generator wrote.

pub mod launch;
pub mod manifest;
