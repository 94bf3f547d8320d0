//! Packages: opened, checked, found.

#![cfg(feature = "decoder")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::fs;
use std::path::{Path, PathBuf};

use shadowkv_runtime::digest;
use shadowkv_runtime::env::{Environment, PACKAGES};
use shadowkv_runtime::package::{Lookup, Origin, Package, PackageError, find};
use shadowkv_runtime::spec::Spec;
use tempfile::TempDir;

const NAMES: [&str; 7] = [
    "glm4",
    "llama-3-8b-1m",
    "llama-3.1-8b",
    "phi3-mini-128k",
    "qwen2-7b-128k",
    "smollm2-135m",
    "yi-9b-200k",
];

fn checked_in(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("kernels-generated")
        .join(name)
}

/// A copy of a package that may be spoilt.
fn copy(name: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let package = folder.path().join(name);
    fs::create_dir(&package).unwrap();
    for entry in fs::read_dir(checked_in(name)).unwrap() {
        let from = entry.unwrap().path();
        if from.is_file() {
            fs::copy(&from, package.join(from.file_name().unwrap())).unwrap();
        }
    }
    (folder, package)
}

fn edit(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "`{from}` in {}", path.display());
    fs::write(path, text.replacen(from, to, 1)).unwrap();
}

fn lookup(folders: &[&Path]) -> Lookup {
    Lookup {
        package: None,
        folders: folders.iter().map(|folder| (*folder).to_owned()).collect(),
        shipped: true,
    }
}

fn shipped_spec(name: &str, overrides: &[&str]) -> Spec {
    let package = Package::shipped(name).unwrap();
    let overrides: Vec<_> = overrides.iter().map(|text| text.parse().unwrap()).collect();
    package.manifest().spec("manifest", &overrides).unwrap()
}

#[test]
fn the_program_carries_what_is_checked_in() {
    assert_eq!(Package::shipped_names().unwrap(), NAMES);
    for name in NAMES {
        let shipped = Package::shipped(name).unwrap();
        let folder = Package::open(checked_in(name)).unwrap();
        assert_eq!((shipped.name(), shipped.origin()), (name, &Origin::Shipped));
        assert_eq!(shipped.manifest(), folder.manifest());
        assert_eq!(shipped.headers(), folder.headers());
        let headers = shipped.headers();
        assert_eq!(
            shipped.sources(&headers).count(),
            shipped.manifest().kernels.len()
        );
        assert!(
            shipped
                .sources(&headers)
                .all(|source| !source.text.is_empty())
        );
    }
    let error = Package::shipped("glm5").unwrap_err().to_string();
    assert!(
        error.contains("`glm5`") && error.contains("glm4, llama-3-8b-1m"),
        "{error}"
    );
}

#[test]
fn a_spoilt_file_is_named_with_both_hashes() {
    for file in ["prelude.cuh", "sparse_attention.cu"] {
        let (_folder, package) = copy("smollm2-135m");
        let path = package.join(file);
        let expected = digest::sha256(&fs::read(&path).unwrap());
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let error = Package::open(&package).unwrap_err();
        assert!(matches!(&error, PackageError::Hash { file: named, .. } if named == file));
        let text = error.to_string();
        for part in [&expected, &digest::sha256(&bytes), file] {
            assert!(text.contains(part), "{text}");
        }
        fs::remove_file(&path).unwrap();
        let error = Package::open(&package).unwrap_err();
        assert!(matches!(&error, PackageError::Read { file: named, .. } if named == file));
    }
}

#[test]
fn a_manifest_that_is_not_the_generators() {
    let (_folder, package) = copy("smollm2-135m");
    let manifest = package.join("manifest.json");
    // Everything that is not text but meaning.
    edit(&manifest, "\"kv_heads\": 3", "\"kv_heads\": 2");
    let error = Package::open(&package).unwrap_err().to_string();
    assert!(error.contains("`the spec` has SHA-256"), "{error}");

    let (_folder, package) = copy("smollm2-135m");
    let manifest = package.join("manifest.json");
    for name in ["../embed.cu", "/etc/passwd", "..", ""] {
        let (_folder, package) = copy("smollm2-135m");
        edit(
            &package.join("manifest.json"),
            "\"source\": \"embed.cu\"",
            &format!("\"source\": \"{name}\""),
        );
        let error = Package::open(&package).unwrap_err();
        assert!(
            matches!(error, PackageError::FileName { .. }),
            "{name}: {error}"
        );
    }
    fs::write(&manifest, "{").unwrap();
    let error = Package::open(&package).unwrap_err();
    assert!(matches!(error, PackageError::Manifest { .. }), "{error}");
    fs::write(&manifest, [0xff, 0xfe]).unwrap();
    let error = Package::open(&package).unwrap_err();
    assert!(matches!(error, PackageError::NotText { .. }), "{error}");
    fs::remove_file(&manifest).unwrap();
    let error = Package::open(&package).unwrap_err();
    assert!(matches!(error, PackageError::NoPackage { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains("shadowkv-codegen SPEC --out-dir FOLDER")
    );
}

#[test]
fn any_damage_is_an_error_and_no_panic() {
    let (_folder, package) = copy("smollm2-135m");
    let files = ["manifest.json", "spec.cuh", "embed.cu"];
    for (round, file) in files.iter().cycle().take(60).enumerate() {
        let path = package.join(file);
        let whole = fs::read(&path).unwrap();
        let mut bytes = whole.clone();
        let at = (round * 7919 + 13) % bytes.len();
        if round % 2 == 0 {
            bytes.truncate(at);
        } else {
            bytes[at] = bytes[at].wrapping_add(1 + round as u8);
        }
        fs::write(&path, &bytes).unwrap();
        match Package::open(&package) {
            // A change of the manifest's prose is none of the kernels.
            Ok(_) => assert_eq!(*file, "manifest.json", "byte {at}"),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
        fs::write(&path, &whole).unwrap();
    }
    Package::open(&package).unwrap();
}

#[test]
fn the_package_of_a_spec_is_found_whatever_its_name() {
    for name in NAMES {
        let spec = shipped_spec(name, &["name=something-else"]);
        assert_eq!(find(&spec, &lookup(&[])).unwrap().name(), name);
    }
    // Layers and tokens are the decoder's own affair.
    let spec = shipped_spec("llama-3.1-8b", &["decoder.layers=2"]);
    assert_eq!(find(&spec, &lookup(&[])).unwrap().name(), "llama-3.1-8b");
}

#[test]
fn folders_come_before_what_is_shipped() {
    let (folder, package) = copy("glm4");
    let spec = shipped_spec("glm4", &[]);
    for named in [folder.path(), &package] {
        let found = find(&spec, &lookup(&[named])).unwrap();
        assert_eq!(found.origin(), &Origin::Folder(package.clone()));
    }
    let other = shipped_spec("yi-9b-200k", &[]);
    let found = find(&other, &lookup(&[folder.path()])).unwrap();
    assert_eq!(found.origin(), &Origin::Shipped);
    // What fits and is damaged is said, not passed over.
    fs::write(package.join("embed.cu"), "").unwrap();
    let error = find(&spec, &lookup(&[folder.path()])).unwrap_err();
    assert!(matches!(error, PackageError::Hash { .. }), "{error}");
}

#[test]
fn without_a_package_everything_looked_at_is_told() {
    let spec = shipped_spec("smollm2-135m", &["name=mine", "shadowkv.rank=80"]);
    let empty = tempfile::tempdir().unwrap();
    let absent = empty.path().join("absent");
    let (folder, package) = copy("glm4");
    fs::write(package.join("manifest.json"), "{}").unwrap();
    let error = find(&spec, &lookup(&[empty.path(), &absent, folder.path()])).unwrap_err();
    let PackageError::NotFound { looked, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(looked.len(), 3 + NAMES.len());
    let text = error.to_string();
    for part in [
        "no kernel package for `mine`",
        &format!("`{}`: holds no package", empty.path().display()),
        &format!("`{}`: No such file", absent.display()),
        "missing field `schema`",
        "shipped `smollm2-135m`: shadowkv.rank is 96 in the package and must be 80",
        "shadowkv-codegen FILE --out-dir FOLDER",
        PACKAGES,
    ] {
        assert!(text.contains(part), "`{part}` in:\n{text}");
    }
}

#[test]
fn a_named_package_must_be_the_models() {
    let spec = shipped_spec("smollm2-135m", &[]);
    let environment = Environment::default();
    let named = |name| find(&spec, &Lookup::new(Some(checked_in(name)), &environment));
    assert_eq!(named("smollm2-135m").unwrap().name(), "smollm2-135m");
    let error = named("glm4").unwrap_err().to_string();
    assert!(
        error.ends_with(
            "is not for `smollm2-135m`: attention.head_dim is 128 in the package and must be 64"
        ),
        "{error}"
    );
}
