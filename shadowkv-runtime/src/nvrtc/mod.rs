//! NVRTC, NVIDIA's run-time compiler: finding it, installing it when there is none, compiling with it.
//!
//! | to | use |
//! | --- | --- |
//! | get a compiler, however it has to be obtained | [`Nvrtc::open`] |
//! | compile a source to a cubin and PTX | [`Nvrtc::compile`] |
//! | compile a package's kernel, its errors with the lines they speak of | [`KernelSource`] |
//! | know what was looked at and why it was passed over | [`discover`], [`Discovery`] |
//! | know what a kernel takes and how many blocks fit | [`KernelResources`], [`Arch::occupancy`] |
//!
//! No toolkit and no GPU is needed to compile.
//!
//! ```no_run
//! use shadowkv_runtime::nvrtc::{Arch, CompileRequest, Nvrtc, NvrtcOptions};
//!
//! let options = NvrtcOptions::from_environment();
//! let nvrtc = Nvrtc::open(&options, &|step| eprintln!("{step}"))?;
//! let source = r#"extern "C" __global__ void twice(float* x) { x[threadIdx.x] *= 2.0f; }"#;
//! let compiled = nvrtc.compile(&CompileRequest::new("twice.cu", source, Arch::Sm80))?;
//! assert_eq!(compiled.resources[0].entry, "twice");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod arch;
mod compile;
mod diagnostics;
pub mod discover;
mod kernel;
mod library;
mod occupancy;
mod open;
mod resources;
pub mod wheel;

pub use arch::{Arch, Limits, UnknownArch};
pub use compile::{CompileFailure, CompileRequest, Compiled};
pub use diagnostics::{Diagnostic, Origin, Severity, parse_diagnostics};
pub use discover::{Candidate, Discovery};
pub use kernel::{
    CompiledSource, KernelFailure, KernelSource, LocatedDiagnostic, STACK_BYTES, SourceLine,
    TemplateOf,
};
pub use library::{CallError, code_name};
pub use occupancy::{Limiter, Occupancy};
pub use open::{Nvrtc, NvrtcError, NvrtcOptions};
pub use resources::{KernelResources, parse_resources};
