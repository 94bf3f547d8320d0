//! Emission: prints a [`Plan`] as CUDA C++, Rust launchers and a manifest. It decides nothing.

use shadowkv_runtime::digest;

use crate::plan::Plan;

mod cuda;
mod launchers;
mod manifest;

pub use cuda::{TemplateLines, template_lines};

/// Name of the emitted launchers.
pub const LAUNCHERS_FILE: &str = "launchers.rs";

/// What emitted files call their generator: name and version of this program.
pub fn generator() -> String {
    format!("{} {}", env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))
}

/// Name of the emitted manifest.
pub const MANIFEST_FILE: &str = "manifest.json";

/// The files of one package, as they are to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// Name of the package: the folder they belong into.
    pub name: String,
    /// The headers that the kernels include, in the order of inclusion.
    pub headers: Vec<SourceFile>,
    /// One CUDA source per kernel, in the plan's order.
    pub kernels: Vec<SourceFile>,
    /// The Rust launchers.
    pub launchers: SourceFile,
    /// The manifest.
    pub manifest: SourceFile,
}

impl Package {
    /// Every file, in a fixed order.
    pub fn files(&self) -> impl Iterator<Item = &SourceFile> {
        self.headers
            .iter()
            .chain(&self.kernels)
            .chain([&self.launchers, &self.manifest])
    }
}

/// One emitted file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// File name, without folders.
    pub name: String,
    /// Its text; lines end with `\n`.
    pub text: String,
}

impl SourceFile {
    /// SHA-256 of the text, lower-case hex.
    pub fn sha256(&self) -> String {
        digest::sha256(self.text.as_bytes())
    }
}

/// Why a plan could not be printed: always a defect of the templates or the emitter, never of the spec.
#[derive(Debug, thiserror::Error)]
pub enum EmitError {
    /// A template is malformed or names a value that does not exist.
    #[error("the template of `{file}` cannot be rendered: {message}")]
    Template {
        /// The emitted file.
        file: String,
        /// What the template engine says, with the template's line.
        message: String,
    },
    /// The generated Rust does not parse.
    #[error("the generated launchers are not valid Rust: {0}")]
    Launchers(#[from] syn::Error),
    /// The manifest cannot be serialised.
    #[error("the manifest cannot be written: {0}")]
    Manifest(String),
}

/// Prints `plan`. The same plan gives the same bytes, always and everywhere.
///
/// # Errors
///
/// [`EmitError`], which is a defect of this program.
pub fn emit(plan: &Plan) -> Result<Package, EmitError> {
    let (headers, kernels) = cuda::sources(plan)?;
    let launchers = launchers::source(plan)?;
    let manifest = manifest::source(plan, &headers, &kernels)?;
    Ok(Package {
        name: plan.spec.name.clone(),
        headers,
        kernels,
        launchers,
        manifest,
    })
}
