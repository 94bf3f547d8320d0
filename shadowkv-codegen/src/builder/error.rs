//! Why a build script has no package.

use std::fmt;

use shadowkv_runtime::nvrtc::{KernelFailure, NvrtcError, UnknownArch};

use crate::compile::CompileError;
use crate::emit::EmitError;
use crate::output::OutputError;
use crate::plan::PlanError;
use crate::spec::SpecError;

/// Why a build script has no package.
///
/// Its `Debug` is its message, since that is what a `main` that returns an error prints, and what cargo then shows.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// There is nothing to generate.
    #[error("no spec: name one with `Builder::spec` or `Builder::spec_text`")]
    NoSpec,
    /// Two specs would have the same module.
    #[error(
        "two specs are called `{name}` and would overwrite each other: change the `name` of one"
    )]
    SameName {
        /// The name.
        name: String,
    },
    /// A spec, or a value set in it, that cannot be used.
    #[error("{}", .0.render(false))]
    Spec(#[from] SpecError),
    /// A spec whose kernels cannot be planned.
    #[error("spec `{name}`: {source}")]
    Plan {
        /// Name of the spec.
        name: String,
        /// Why not.
        source: PlanError,
    },
    /// A kernel that the package has not.
    #[error("spec `{name}` has no kernel `{kernel}`; it has: {}", known.join(", "))]
    UnknownKernel {
        /// Name of the spec.
        name: String,
        /// The kernel asked for.
        kernel: String,
        /// The kernels there are.
        known: Vec<&'static str>,
    },
    /// An architecture of no meaning.
    #[error(transparent)]
    UnknownArch(#[from] UnknownArch),
    /// Binaries of no architecture.
    #[error(
        "binaries are asked for, and no architecture: name those of your GPUs with `Builder::arch`, such as \"sm_80\" or \"sm_90\""
    )]
    NoArch,
    /// Architectures, and nothing to compile for them.
    #[error(
        "architectures are named, and no binaries asked for: add `.emit_cubin(true)` or `.emit_ptx(true)`, or leave `.arch(..)` out"
    )]
    NoBinaries,
    /// No folder to write to.
    #[error("OUT_DIR is not set: outside a build script, name a folder with `Builder::out_dir`")]
    NoOutDir,
    /// The templates and the emitter do not agree.
    #[error(transparent)]
    Emit(#[from] EmitError),
    /// There is no compiler for the binaries asked for.
    #[error(
        "{source}\nNVRTC is only needed for `emit_cubin` and `emit_ptx`: without them the sources are embedded, and compiled where the program runs"
    )]
    NoCompiler {
        /// Why not.
        source: Box<NvrtcError>,
    },
    /// The compiler cannot compile for what was asked.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// Kernels that do not compile.
    #[error("{}", failures.iter().map(|failure| failure.render(false)).collect::<Vec<_>>().join("\n"))]
    Kernels {
        /// What became of each.
        failures: Vec<KernelFailure>,
    },
    /// The output cannot be written.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// What cargo is to be told cannot be written to standard output.
    #[error("cannot tell cargo what to watch: {source}")]
    Cargo {
        /// What the system says.
        source: std::io::Error,
    },
}

impl fmt::Debug for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
