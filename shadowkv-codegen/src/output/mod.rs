//! Output: a package's files on disk, written whole or not at all, and compared with what would be written.
//!
//! | to | use |
//! | --- | --- |
//! | list what a package consists of | [`source_files`], [`binary_files`] |
//! | write it, touching nothing that is already right | [`write_files`] |
//! | know whether what lies there is current | [`check_files`] |
//!
//! A folder may hold files of others. Ours are told by the first line of a source, by the generator's name in
//! `manifest.json`, and for binaries by their place, `sm_XX/<kernel>.cubin`, with a kernel of the package or of the manifest
//! that lies beside. Only ours are ever removed, and only when the package no longer has them.

use std::path::PathBuf;

use serde::Serialize;
use shadowkv_runtime::nvrtc::Arch;

use crate::compile::{CompiledKernel, kernel_name};
use crate::emit::{Package, SourceFile};

mod check;
mod error;
mod owned;
mod write;

pub use check::{Difference, check_files};
pub use error::OutputError;
pub use write::{Written, write_file, write_files};

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

/// The compiled files that are of the `kinds` asked for.
pub fn binary_files(kernels: &[CompiledKernel], kinds: &[FileKind]) -> Vec<OutputFile> {
    let mut files = Vec::new();
    for compiled in kernels {
        let CompiledKernel { kernel, arch, .. } = compiled;
        if kinds.contains(&FileKind::Cubin) {
            let (path, bytes) = (format!("{arch}/{kernel}.cubin"), compiled.cubin.clone());
            files.push(OutputFile {
                path,
                kind: FileKind::Cubin,
                bytes,
            });
        }
        if kinds.contains(&FileKind::Ptx) {
            let (path, bytes) = (
                format!("{arch}/{kernel}.ptx"),
                compiled.ptx.clone().into_bytes(),
            );
            files.push(OutputFile {
                path,
                kind: FileKind::Ptx,
                bytes,
            });
        }
    }
    files
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
