//! What the tests of this suite share: packages of a kernel or two, and requests with and without a compiler.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use shadowkv_codegen::emit::{self, emit};
use shadowkv_codegen::plan::Plan;
use shadowkv_codegen::spec::Spec;
use shadowkv_runtime::cache::Cache;
use shadowkv_runtime::digest;
use shadowkv_runtime::manifest::Manifest;
use shadowkv_runtime::nvrtc::{Arch, NvrtcOptions};
use shadowkv_runtime::package::{Form, ImageRequest, Images, ImagesError, Package, Target};

/// Two small kernels: they compile in a moment.
pub(crate) const KERNELS: [&str; 2] = ["embed", "silu_mul"];

const SPEC: &str = "
name: small
attention: { head_dim: 64, kv_heads: 2, gqa_ratio: 4 }
rope: { base: 10000 }
shadowkv: { rank: 32, chunk_size: 8 }
decoder: { family: llama, layers: 2, hidden: 512, ffn: 1024, vocab: 1000, norm_eps: 1e-5, eos_tokens: [] }
";

/// What the generator emits, cut down to [`KERNELS`].
pub(crate) fn emitted() -> emit::Package {
    let spec = Spec::parse("small.yaml", SPEC, &[]).unwrap();
    let mut package = emit(&Plan::heuristic(&spec).unwrap()).unwrap();
    let mut manifest = Manifest::from_json(&package.manifest.text).unwrap();
    manifest
        .kernels
        .retain(|kernel| KERNELS.contains(&kernel.name.as_str()));
    package.manifest.text = manifest.to_json().unwrap();
    let sources: Vec<String> = manifest
        .kernels
        .into_iter()
        .map(|kernel| kernel.source)
        .collect();
    package
        .kernels
        .retain(|source| sources.contains(&source.name));
    package
}

/// The files of a package by their path.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

pub(crate) fn files(package: &emit::Package) -> Files {
    let files = package.files();
    files
        .map(|file| (file.name.clone(), file.text.clone().into_bytes()))
        .collect()
}

/// The small package.
pub(crate) fn package() -> Package {
    Package::from_files(files(&emitted())).unwrap()
}

/// The small package with one file changed and the manifest's hash with it: another version of it.
pub(crate) fn changed(file: &str, change: impl Fn(&str) -> String) -> Package {
    let mut files = files(&emitted());
    let before = String::from_utf8(files[file].clone()).unwrap();
    let after = change(&before);
    assert_ne!(before, after);
    let manifest = String::from_utf8(files["manifest.json"].clone()).unwrap();
    let (old, new) = (
        digest::sha256(before.as_bytes()),
        digest::sha256(after.as_bytes()),
    );
    assert!(manifest.contains(&old));
    files.insert(
        "manifest.json".to_owned(),
        manifest.replace(&old, &new).into(),
    );
    files.insert(file.to_owned(), after.into_bytes());
    Package::from_files(files).unwrap()
}

pub(crate) fn request(cache: &Path, arch: Arch) -> ImageRequest {
    ImageRequest {
        cache: Some(Cache::at(cache)),
        ..ImageRequest::from_environment(arch)
    }
}

/// The same on a machine that has no compiler and gets none.
pub(crate) fn without_compiler(cache: &Path, arch: Arch) -> ImageRequest {
    let mut options = NvrtcOptions::default().offline(true);
    options.search.explicit = Some(PathBuf::from("/no/such/libnvrtc.so.12"));
    ImageRequest {
        nvrtc: options,
        ..request(cache, arch)
    }
}

pub(crate) fn in_form(request: ImageRequest, form: Form) -> ImageRequest {
    let arch = request.target.arch;
    ImageRequest {
        target: Target { arch, form },
        ..request
    }
}

pub(crate) fn images(package: &Package, request: &ImageRequest) -> Result<Images, ImagesError> {
    package.images(request, &|_| {})
}

/// The entries of a cache: folders that hold an image.
pub(crate) fn entries(cache: &Path) -> Vec<PathBuf> {
    let mut entries = Vec::new();
    for key in folders(&cache.join("kernels")) {
        entries.extend(folders(&key));
    }
    entries
}

fn folders(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}
