//! Compiled kernels on disk.
//!
//! An entry is the folder `kernels/<key>/nvrtc-<major>.<minor>` of the cache: the key says what was compiled and how, the name
//! inside by which compiler. So an entry is found without a compiler, by listing the folder, and the newest that the driver
//! loads is taken. What is read must have the hashes that its `entry.json` gives; anything else is as good as absent, and is
//! replaced when the kernel is compiled again.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::ImageRequest;
use super::image::{Image, ImageSource};
use crate::cache::{ABANDONED, Cache, CacheError, Published};
use crate::digest;
use crate::manifest::Kernel;
use crate::nvrtc::{Arch, CompileRequest, KernelResources, KernelSource};

/// Folder of the cache.
const FOLDER: &str = "kernels";
/// Version of an entry's format; part of the key.
const SCHEMA: u32 = 1;
const ENTRY_FILE: &str = "entry.json";
const CUBIN_FILE: &str = "image.cubin";
const PTX_FILE: &str = "image.ptx";
const COMPILER: &str = "nvrtc-";

/// Lower-case hex SHA-256 of everything that an image depends on but the compiler: source, headers, architecture, flags.
pub fn image_key(request: &CompileRequest<'_>) -> String {
    let mut hash = Sha256::new();
    let mut add = |text: &str| {
        // Lengths first, so that no two lists of texts run together into the same bytes.
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    };
    add(&format!("shadowkv kernel image {SCHEMA}"));
    let arguments = request.arguments();
    add(&arguments.len().to_string());
    for argument in &arguments {
        add(argument);
    }
    add(&request.headers.len().to_string());
    for (name, text) in request.headers {
        add(name);
        add(text);
    }
    add(request.name);
    add(request.source);
    digest::hex(&hash.finalize())
}

/// `entry.json`.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    schema: u32,
    key: String,
    kernel: String,
    /// Symbol of its entry point.
    symbol: String,
    arch: Arch,
    compiler: (i32, i32),
    arguments: Vec<String>,
    cubin_sha256: String,
    ptx_sha256: String,
    resources: KernelResources,
}

/// The part of the cache that holds compiled kernels.
pub(super) struct JitCache<'a> {
    cache: &'a Cache,
}

impl<'a> JitCache<'a> {
    pub(super) fn new(cache: &'a Cache) -> JitCache<'a> {
        JitCache { cache }
    }

    /// What was compiled from `source` before, by the newest compiler whose output the driver loads.
    pub(super) fn load(
        &self,
        kernel: &Kernel,
        source: &KernelSource<'_>,
        request: &ImageRequest,
    ) -> Option<Image> {
        let target = request.target;
        let compilation = source.request(target.arch, false);
        let key = image_key(&compilation);
        let folder = self.folder(&key);
        let mut compilers: Vec<(i32, i32)> = fs::read_dir(&folder)
            .ok()?
            .flatten()
            .filter_map(|entry| compiler_of(entry.file_name().to_str()?))
            .filter(|compiler| target.form.is_loadable(*compiler, request.driver))
            .collect();
        compilers.sort_unstable();
        compilers.into_iter().rev().find_map(|compiler| {
            let (entry, cubin, ptx) = read(&folder.join(name_of(compiler)))?;
            let right = entry.key == key
                && entry.compiler == compiler
                && (&entry.kernel, &entry.symbol) == (&kernel.name, &kernel.entry);
            right.then(|| Image {
                cubin: Some(cubin),
                ptx: Some(ptx),
                source: ImageSource::Cache,
                compiler: Some(compiler),
                resources: Some(entry.resources),
                ..Image::empty(kernel, target.arch)
            })
        })
    }

    /// Keeps a compiled image, its source beside it. A good entry that is there already stays.
    pub(super) fn store(
        &self,
        image: &Image,
        source: &KernelSource<'_>,
    ) -> Result<Published, CacheError> {
        let request = source.request(image.arch, false);
        let key = image_key(&request);
        let compiler = image.compiler.unwrap_or_default();
        let target = self.folder(&key).join(name_of(compiler));
        let cubin = image.cubin.as_deref().unwrap_or_default();
        let ptx = image.ptx.as_deref().unwrap_or_default();
        let entry = Entry {
            schema: SCHEMA,
            key,
            kernel: image.kernel.clone(),
            symbol: image.entry.clone(),
            arch: image.arch,
            compiler,
            arguments: request.arguments(),
            cubin_sha256: digest::sha256(cubin),
            ptx_sha256: digest::sha256(ptx.as_bytes()),
            resources: image.resources.clone().unwrap_or_default(),
        };
        let json = serde_json::to_vec_pretty(&entry)
            .map_err(|error| CacheError::io("describe", &target, error.into()))?;
        let parent = self.folder(&entry.key);
        Cache::sweep(&parent, ABANDONED);
        let staged = Cache::stage(&target)?;
        let write = |name: &str, bytes: &[u8]| {
            let path = staged.path().join(name);
            fs::write(&path, bytes).map_err(|error| CacheError::io("write", &path, error))
        };
        for (name, text) in source.headers {
            write(name, text.as_bytes())?;
        }
        write(source.file, source.text.as_bytes())?;
        write(CUBIN_FILE, cubin)?;
        write(PTX_FILE, ptx.as_bytes())?;
        write(ENTRY_FILE, &json)?;
        Cache::publish(staged, &target, |found| {
            read(found).is_some_and(|(found, _, _)| found == entry)
        })
    }

    fn folder(&self, key: &str) -> PathBuf {
        self.cache.root().join(FOLDER).join(key)
    }
}

fn name_of((major, minor): (i32, i32)) -> String {
    format!("{COMPILER}{major}.{minor}")
}

fn compiler_of(name: &str) -> Option<(i32, i32)> {
    let (major, minor) = name.strip_prefix(COMPILER)?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// A whole entry: what it says, machine code and PTX.
fn read(folder: &Path) -> Option<(Entry, Vec<u8>, String)> {
    let entry: Entry = serde_json::from_slice(&fs::read(folder.join(ENTRY_FILE)).ok()?).ok()?;
    let cubin = fs::read(folder.join(CUBIN_FILE)).ok()?;
    let ptx = fs::read(folder.join(PTX_FILE)).ok()?;
    let whole = entry.schema == SCHEMA
        && digest::sha256(&cubin) == entry.cubin_sha256
        && digest::sha256(&ptx) == entry.ptx_sha256;
    let ptx = String::from_utf8(ptx).ok()?;
    whole.then_some((entry, cubin, ptx))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_in_the_key() {
        let headers = [("a.cuh", "1"), ("b.cuh", "2")];
        let request = CompileRequest {
            headers: &headers,
            ..CompileRequest::new("k.cu", "text", Arch::Sm80)
        };
        let options = ["-DX".to_owned()];
        let other_headers = [("a.cuh", "1b"), (".cuh", "2")];
        let keys: std::collections::BTreeSet<String> = [
            request.clone(),
            CompileRequest {
                source: "texts",
                ..request.clone()
            },
            CompileRequest {
                arch: Arch::Sm90,
                ..request.clone()
            },
            CompileRequest {
                options: &options,
                ..request.clone()
            },
            CompileRequest {
                headers: &other_headers,
                ..request.clone()
            },
            CompileRequest {
                headers: &[],
                ..request.clone()
            },
            CompileRequest {
                line_info: true,
                ..request.clone()
            },
        ]
        .iter()
        .map(image_key)
        .collect();
        assert_eq!(keys.len(), 7);
        assert_eq!(image_key(&request), image_key(&request.clone()));
    }

    #[test]
    fn compilers_by_name() {
        assert_eq!(compiler_of(&name_of((12, 9))), Some((12, 9)));
        for name in ["nvrtc-12", "12.9", ".staging-x", "nvrtc-12.x"] {
            assert_eq!(compiler_of(name), None, "{name}");
        }
    }
}
