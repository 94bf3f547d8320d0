//! What can be wrong with a package, and why there are no images of it.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::{Difference, Origin};
use crate::env::PACKAGES;
use crate::manifest::ManifestError;
use crate::nvrtc::{Arch, KernelFailure, NvrtcError};
use crate::spec::SpecError;

/// Why a package cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackageError {
    /// A file of it is missing or cannot be read.
    #[error("package {origin}: cannot read `{file}`: {source}; generate the package again")]
    Read {
        /// Where the package is.
        origin: Origin,
        /// The file, relative to the package.
        file: String,
        /// What the system says.
        source: io::Error,
    },
    /// The folder holds no package.
    #[error(
        "`{}` is no kernel package: it has no manifest.json; make one with `shadowkv-codegen SPEC --out-dir FOLDER`",
        path.display()
    )]
    NoPackage {
        /// The folder.
        path: PathBuf,
    },
    /// Its manifest cannot be used.
    #[error("package {origin}: {source}")]
    Manifest {
        /// Where the package is.
        origin: Origin,
        /// What is wrong with it.
        source: ManifestError,
    },
    /// The spec in its manifest cannot be used.
    #[error("package {origin}: the manifest's spec: {source}")]
    Spec {
        /// Where the package is.
        origin: Origin,
        /// What is wrong with it.
        source: Box<SpecError>,
    },
    /// A file name that leads out of the package.
    #[error("package {origin}: `{file}` in the manifest is not the name of a file beside it")]
    FileName {
        /// Where the package is.
        origin: Origin,
        /// The name.
        file: String,
    },
    /// A file that is not what it was when the package was made.
    #[error(
        "package {origin}: `{file}` has SHA-256 {found}, {listed_in} says {expected}; generate the package again"
    )]
    Hash {
        /// Where the package is.
        origin: Origin,
        /// The file, relative to the package.
        file: String,
        /// The file that lists it.
        listed_in: Box<str>,
        /// The hash listed.
        expected: String,
        /// The hash of the file.
        found: String,
    },
    /// A file that is no text.
    #[error("package {origin}: `{file}` is not UTF-8; generate the package again")]
    NotText {
        /// Where the package is.
        origin: Origin,
        /// The file, relative to the package.
        file: String,
    },
    /// The list of a package's binaries cannot be used.
    #[error("package {origin}: `{file}`: {reason}; compile the package again")]
    Binaries {
        /// Where the package is.
        origin: Origin,
        /// The list.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The kernels of another model.
    #[error("package `{package}` ({origin}) is not for `{spec}`: {difference}")]
    OtherSpec {
        /// Name of the package.
        package: String,
        /// Where it is.
        origin: Origin,
        /// Name of the model's spec.
        spec: String,
        /// The first field that differs.
        difference: Box<Difference>,
    },
    /// No package for the model.
    #[error(
        "no kernel package for `{spec}`; looked at:{}\nwrite its spec to a file and make one with `shadowkv-codegen FILE --out-dir FOLDER`, then give FOLDER/{spec} with --package, or set {PACKAGES} to FOLDER",
        List(looked)
    )]
    NotFound {
        /// Name of the model's spec.
        spec: String,
        /// Every package that was looked at.
        looked: Vec<Looked>,
    },
    /// No shipped package of that name.
    #[error("no package called `{name}` is shipped with this program; there are: {}", known.join(", "))]
    NotShipped {
        /// The name.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// What this program carries cannot be unpacked.
    #[error("the packages within this program are damaged: {reason}; install it again")]
    Shipped {
        /// What is wrong with them.
        reason: String,
    },
}

/// A place that was looked at in search of a package, and why it was passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Looked {
    /// What was looked at.
    pub place: String,
    /// Why it was passed over.
    pub reason: String,
}

impl fmt::Display for Looked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.reason)
    }
}

struct List<'a>(&'a [Looked]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for looked in self.0 {
            write!(f, "\n  {looked}")?;
        }
        Ok(())
    }
}

/// Why there are no images of a package.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImagesError {
    /// The package itself.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// Kernels that are nowhere compiled, and no compiler.
    #[error(
        "{} of package `{package}` must be compiled for {arch}, and there is no compiler: {source}",
        count(kernels)
    )]
    NoCompiler {
        /// Name of the package.
        package: String,
        /// The kernels concerned.
        kernels: Vec<String>,
        /// What they were to be compiled for.
        arch: Arch,
        /// Why there is no compiler.
        source: Box<NvrtcError>,
    },
    /// A compiler that does not know the architecture.
    #[error(
        "NVRTC {}.{} (`{}`) does not compile for {arch}; it does for {supported}: set SHADOWKV_NVRTC to another version (12.8 to 12.9 know all)",
        version.0, version.1, path.display()
    )]
    Arch {
        /// The architecture.
        arch: Arch,
        /// The compiler's version.
        version: (i32, i32),
        /// The library.
        path: PathBuf,
        /// What it compiles for.
        supported: String,
    },
    /// Kernels that do not compile.
    #[error("{}", .failures.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Compile {
        /// What became of each, in the package's order.
        failures: Vec<KernelFailure>,
    },
    /// The system gives no threads.
    #[error("cannot start a compiler thread: {source}")]
    Threads {
        /// What the system says.
        source: io::Error,
    },
}

fn count(kernels: &[String]) -> String {
    match kernels {
        [kernel] => format!("kernel `{kernel}`"),
        kernels => format!("{} kernels", kernels.len()),
    }
}
