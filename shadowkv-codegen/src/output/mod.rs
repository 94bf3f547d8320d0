//! Output: a package's files on disk, written whole or not at all, and compared with what would be written.
//!
//! | to | use |
//! | --- | --- |
//! | list what a package consists of | [`source_files`], [`binary_files`] |
//! | write it, touching nothing that is already right | [`write_files`] |
//! | know whether what lies there is current | [`check_files`] |
//!
//! A folder may hold files of others. Ours are told by the first line of a source, by the generator's name in
//! `manifest.json` and `binaries.json`, and for binaries by their place, `sm_XX/<kernel>.cubin`, with a kernel of the package or
//! of the manifest that lies beside. Only ours are ever removed, and only when the package no longer has them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;
use shadowkv_runtime::digest;
use shadowkv_runtime::nvrtc::Arch;
use shadowkv_runtime::package::{BINARIES_FILE, BINARIES_SCHEMA, Binaries, Binary};

use crate::compile::{CompiledKernel, kernel_name, source_key};
use crate::emit::{EmitError, Package, SourceFile, generator};

mod check;
mod error;
mod owned;
mod write;

pub use check::{Difference, check_files};
pub use error::OutputError;
pub use write::{Written, write_file, write_files};

/// Name of the tuning file in a package's folder: not generated, but what is generated follows from it.
pub const TUNING_FILE: &str = "tuning.json";

/// A kind of file that a package consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    /// CUDA sources and headers: `*.cu`, `*.cuh`.
    Cu,
    /// Rust launchers: `launchers.rs`.
    Rust,
    /// `manifest.json`.
    Manifest,
    /// PTX: `sm_XX/<kernel>.ptx`.
    Ptx,
    /// Binaries: `sm_XX/<kernel>.cubin`.
    Cubin,
    /// What PTX and binaries were made from: `sm_XX/binaries.json`. Comes with either.
    Binaries,
}

/// One file of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputFile {
    /// Path inside the package's folder, parts separated by `/`.
    pub path: String,
    /// What it is.
    pub kind: FileKind,
    /// Its content.
    pub bytes: Vec<u8>,
}

impl OutputFile {
    /// Where it belongs, given the package's folder.
    fn place(&self, folder: &std::path::Path) -> PathBuf {
        folder.join(&self.path)
    }
}

/// The emitted files of `package` that are of the `kinds` asked for, the manifest last.
pub fn source_files(package: &Package, kinds: &[FileKind]) -> Vec<OutputFile> {
    let file = |source: &SourceFile, kind| OutputFile {
        path: source.name.clone(),
        kind,
        bytes: source.text.clone().into_bytes(),
    };
    let sources = package.headers.iter().chain(&package.kernels);
    let mut files: Vec<_> = sources.map(|source| file(source, FileKind::Cu)).collect();
    files.push(file(&package.launchers, FileKind::Rust));
    files.push(file(&package.manifest, FileKind::Manifest));
    files.retain(|file| kinds.contains(&file.kind));
    files
}

/// The compiled files of `package` that are of the `kinds` asked for, and per architecture the list that binds them to the
/// sources they were compiled from. `compiler` is the NVRTC's version.
///
/// # Errors
///
/// [`EmitError`], which is a defect of this program.
pub fn binary_files(
    package: &Package,
    kernels: &[CompiledKernel],
    kinds: &[FileKind],
    compiler: (i32, i32),
) -> Result<Vec<OutputFile>, EmitError> {
    let mut files = Vec::new();
    let mut lists: BTreeMap<Arch, Binaries> = BTreeMap::new();
    for compiled in kernels {
        let CompiledKernel { kernel, arch, .. } = compiled;
        let mut keep = |kind, extension: &str, bytes: &[u8]| {
            let asked = kinds.contains(&kind);
            if asked {
                files.push(OutputFile {
                    path: format!("{arch}/{kernel}.{extension}"),
                    kind,
                    bytes: bytes.to_owned(),
                });
            }
            asked.then(|| digest::sha256(bytes))
        };
        let cubin_sha256 = keep(FileKind::Cubin, "cubin", &compiled.cubin);
        let ptx_sha256 = keep(FileKind::Ptx, "ptx", compiled.ptx.as_bytes());
        let (Some(key), true) = (
            source_key(package, kernel, *arch),
            cubin_sha256.is_some() || ptx_sha256.is_some(),
        ) else {
            continue;
        };
        let list = lists.entry(*arch).or_insert_with(|| Binaries {
            schema: BINARIES_SCHEMA,
            generator: generator(),
            compiler,
            kernels: BTreeMap::new(),
        });
        let binary = Binary {
            key,
            cubin_sha256,
            ptx_sha256,
            resources: compiled.resources.clone(),
        };
        list.kernels.insert(kernel.clone(), binary);
    }
    for (arch, list) in lists {
        let json = list.to_json();
        files.push(OutputFile {
            path: format!("{arch}/{BINARIES_FILE}"),
            kind: FileKind::Binaries,
            bytes: json
                .map_err(|error| EmitError::Manifest(error.to_string()))?
                .into_bytes(),
        });
    }
    Ok(files)
}

/// What a package may consist of, whichever part of it is written: the measure of what is left over.
#[derive(Clone, Debug)]
pub struct Extent {
    sources: Vec<String>,
    kernels: Vec<String>,
}

impl Extent {
    /// Of `package`.
    pub fn of(package: &Package) -> Extent {
        Extent {
            sources: package.files().map(|file| file.name.clone()).collect(),
            kernels: package
                .kernels
                .iter()
                .map(|source| kernel_name(source).to_owned())
                .collect(),
        }
    }

    fn has_source(&self, name: &str) -> bool {
        self.sources.iter().any(|source| source == name)
    }

    fn has_kernel(&self, name: &str) -> bool {
        self.kernels.iter().any(|kernel| kernel == name)
    }
}

/// Whether a folder's name is that of an architecture.
fn is_arch(name: &str) -> bool {
    name.parse::<Arch>().is_ok()
}
