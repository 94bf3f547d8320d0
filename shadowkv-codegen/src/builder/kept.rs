//! Binaries that an earlier run of a build script left, and that are still those of the sources.

use std::fs;
use std::path::Path;

use shadowkv_runtime::digest;
use shadowkv_runtime::nvrtc::Arch;
use shadowkv_runtime::package::{BINARIES_FILE, BINARIES_SCHEMA, Binaries};

use crate::compile::{kernel_name, source_key};
use crate::emit::{Package, generator};
use crate::output::{FileKind, OutputFile};

/// The binaries in `folder` of every kernel of `package`, in just the forms of `kinds`, and their list; `None` unless all
/// are there and whole.
pub(super) fn binaries(
    folder: &Path,
    package: &Package,
    arch: Arch,
    kinds: &[FileKind],
) -> Option<Vec<OutputFile>> {
    let read = |path: &str| fs::read(folder.join(path)).ok();
    let list_path = format!("{arch}/{BINARIES_FILE}");
    let list_bytes = read(&list_path)?;
    let list: Binaries = serde_json::from_slice(&list_bytes).ok()?;
    if list.schema != BINARIES_SCHEMA
        || list.generator != generator()
        || list.kernels.len() != package.kernels.len()
    {
        return None;
    }
    let mut files = Vec::new();
    for source in &package.kernels {
        let kernel = kernel_name(source);
        let binary = list.kernels.get(kernel)?;
        if source_key(package, kernel, arch).as_ref() != Some(&binary.key) {
            return None;
        }
        for (kind, extension, sha256) in [
            (FileKind::Cubin, "cubin", &binary.cubin_sha256),
            (FileKind::Ptx, "ptx", &binary.ptx_sha256),
        ] {
            if kinds.contains(&kind) != sha256.is_some() {
                return None;
            }
            let Some(sha256) = sha256 else {
                continue;
            };
            let path = format!("{arch}/{kernel}.{extension}");
            let bytes = read(&path)?;
            if digest::sha256(&bytes) != *sha256 {
                return None;
            }
            files.push(OutputFile { path, kind, bytes });
        }
    }
    files.push(OutputFile {
        path: list_path,
        kind: FileKind::Binaries,
        bytes: list_bytes,
    });
    Some(files)
}
