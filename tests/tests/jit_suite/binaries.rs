//! Binaries beside a package's sources.

use std::path::Path;

use shadowkv_codegen::compile::{CompileOptions, CompiledKernel, compile};
use shadowkv_codegen::output::{FileKind, binary_files};
use shadowkv_runtime::nvrtc::{Arch, Nvrtc, NvrtcOptions};
use shadowkv_runtime::package::{Form, Image, ImageSource, ImagesError, Package, PackageError};

use crate::support::{Files, KERNELS, emitted, files, images, in_form, without_compiler};

const ARCH: Arch = Arch::Sm80;

/// The small package with binaries of those kinds.
fn with_binaries(kinds: &[FileKind]) -> Files {
    let nvrtc = Nvrtc::open(&NvrtcOptions::from_environment(), &|_| {}).unwrap();
    let package = emitted();
    let options = CompileOptions::new(&[ARCH]);
    let compiled = compile(&[&package], &nvrtc, &options, &|_, _| {}).unwrap();
    let kernels: &[CompiledKernel] = &compiled[0].kernels;
    assert_eq!(kernels.len(), KERNELS.len());
    let mut all = files(&package);
    for file in binary_files(&package, kernels, kinds, nvrtc.version()).unwrap() {
        all.insert(file.path, file.bytes);
    }
    all
}

fn nowhere() -> &'static Path {
    Path::new("/no/such/cache")
}

#[test]
fn with_binaries_neither_compiler_nor_cache_is_needed() {
    let files = with_binaries(&[FileKind::Cubin, FileKind::Ptx]);
    let package = Package::from_files(files.clone()).unwrap();
    for form in [Form::Cubin, Form::Ptx] {
        let images = images(&package, &in_form(without_compiler(nowhere(), ARCH), form)).unwrap();
        assert_eq!(images.count(ImageSource::Package), KERNELS.len());
        assert!(images.warnings.is_empty(), "{:?}", images.warnings);
        for image in &images.images {
            let file = format!("sm_80/{}.cubin", image.kernel);
            assert!(image.cubin.as_ref() == Some(&files[&file]));
            assert!(image.resources.as_ref().unwrap().registers > 0);
        }
    }
    // Machine code is of no use to another architecture, PTX is.
    let newer = images(&package, &without_compiler(nowhere(), Arch::Sm90)).unwrap();
    let ptx_alone = |image: &Image| image.cubin.is_none() && image.ptx.is_some();
    assert!(newer.images.iter().all(ptx_alone), "{newer:?}");
    let package = Package::from_files(with_binaries(&[FileKind::Cubin])).unwrap();
    let error = images(&package, &without_compiler(nowhere(), Arch::Sm90)).unwrap_err();
    assert!(matches!(error, ImagesError::NoCompiler { .. }), "{error}");
}

#[test]
fn ptx_serves_where_there_is_no_compiler() {
    let package = Package::from_files(with_binaries(&[FileKind::Ptx])).unwrap();
    let images = images(&package, &without_compiler(nowhere(), ARCH)).unwrap();
    assert!(
        images
            .images
            .iter()
            .all(|image| image.ptx.is_some() && image.cubin.is_none())
    );
    assert_eq!(images.warnings.len(), 1, "{:?}", images.warnings);
    assert!(images.warnings[0].contains("loaded as PTX"));
    // Newer GPUs take it too, older ones do not.
    let newer = crate::support::images(&package, &without_compiler(nowhere(), Arch::Sm120));
    assert_eq!(newer.unwrap().images[0].arch, ARCH);
    let mut files = with_binaries(&[FileKind::Ptx]);
    for (path, bytes) in std::mem::take(&mut files) {
        files.insert(path.replace("sm_80/", "sm_90/"), bytes);
    }
    let package = Package::from_files(files).unwrap();
    let error = crate::support::images(&package, &without_compiler(nowhere(), ARCH)).unwrap_err();
    assert!(matches!(error, ImagesError::NoCompiler { .. }), "{error}");
}

#[test]
fn a_spoilt_binary_is_named_with_both_hashes() {
    let mut files = with_binaries(&[FileKind::Cubin]);
    files.get_mut("sm_80/embed.cubin").unwrap()[100] ^= 1;
    let package = Package::from_files(files.clone()).unwrap();
    let error = images(&package, &without_compiler(nowhere(), ARCH)).unwrap_err();
    assert!(
        matches!(&error, ImagesError::Package(PackageError::Hash { file, .. }) if file == "sm_80/embed.cubin"),
        "{error}"
    );
    assert!(
        error.to_string().contains("sm_80/binaries.json says "),
        "{error}"
    );
    files.remove("sm_80/embed.cubin");
    let package = Package::from_files(files.clone()).unwrap();
    let error = images(&package, &without_compiler(nowhere(), ARCH)).unwrap_err();
    assert!(
        matches!(error, ImagesError::Package(PackageError::Read { .. })),
        "{error}"
    );
    files.insert("sm_80/binaries.json".to_owned(), b"{".to_vec());
    let package = Package::from_files(files).unwrap();
    let error = images(&package, &without_compiler(nowhere(), ARCH)).unwrap_err();
    assert!(
        matches!(error, ImagesError::Package(PackageError::Binaries { .. })),
        "{error}"
    );
}

#[test]
fn binaries_that_nobody_vouches_for_are_not_used() {
    let mut files = with_binaries(&[FileKind::Cubin]);
    let list = files.remove("sm_80/binaries.json").unwrap();
    let cache = tempfile::tempdir().unwrap();
    let package = Package::from_files(files.clone()).unwrap();
    let compiled = images(&package, &crate::support::request(cache.path(), ARCH)).unwrap();
    assert_eq!(compiled.count(ImageSource::Compiled), KERNELS.len());
    assert_eq!(
        compiled.warnings.len(),
        KERNELS.len(),
        "{:?}",
        compiled.warnings
    );
    // Of another source: the key in the list is not that of what lies beside.
    let text = String::from_utf8(list).unwrap();
    let mut list: serde_json::Value = serde_json::from_str(&text).unwrap();
    list["kernels"]["embed"]["key"] = "0".repeat(64).into();
    files.insert(
        "sm_80/binaries.json".to_owned(),
        list.to_string().into_bytes(),
    );
    let package = Package::from_files(files).unwrap();
    let mixed = images(&package, &without_compiler(cache.path(), ARCH)).unwrap();
    assert_eq!(mixed.get("embed").unwrap().source, ImageSource::Cache);
    assert_eq!(mixed.get("silu_mul").unwrap().source, ImageSource::Package);
    assert!(mixed.warnings[0].contains("`embed` in sm_80 are of another source"));
}
