//! The generator in a build script: what it writes, what it keeps, and how it refuses.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::Path;

use shadowkv_codegen::{BuildError, Builder};
use shadowkv_runtime::nvrtc::Arch;
use shadowkv_runtime::package::{ImageRequest, ImageSource, Package};
use tempfile::TempDir;

const SPEC: &str = "\
name: small-model
attention: { head_dim: 64, kv_heads: 2, gqa_ratio: 2 }
rope: { base: 10000.0 }
shadowkv: { rank: 32, chunk_size: 8, sparse_budget: 64 }
";

fn builder(folder: &Path) -> Builder {
    Builder::new().out_dir(folder).cargo_directives(false)
}

fn message(builder: &Builder) -> String {
    // What a `main` that returns the error prints.
    format!("{:?}", builder.generate().unwrap_err())
}

#[test]
fn sources_are_the_same_bytes_in_every_folder() {
    let (one, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let generate = |folder: &Path| builder(folder).spec_text(SPEC).generate().unwrap();
    let (first, second) = (generate(one.path()), generate(other.path()));
    assert_eq!(first.len(), 1);
    let (first, second) = (&first[0], &second[0]);
    assert_eq!(first.name, "small-model");
    assert_eq!(first.files, second.files);
    assert!(first.files.iter().any(|file| file == "manifest.json"));
    let module = fs::read_to_string(&first.module).unwrap();
    assert_eq!(module, fs::read_to_string(&second.module).unwrap());
    for file in &first.files {
        let embedded = format!("include_bytes!(\"small-model/{file}\")");
        assert!(module.contains(&embedded), "{file}");
        let read = |folder: &Path| fs::read(folder.join(file)).unwrap();
        assert_eq!(read(&first.folder), read(&second.folder), "{file}");
    }
    // No compiler was asked for, and none was needed.
    assert!(first.files.iter().all(|file| !file.contains("sm_")));
}

#[test]
fn binaries_of_an_earlier_run_serve_until_something_changes() {
    let folder = TempDir::new().unwrap();
    let small = builder(folder.path())
        .spec_text(SPEC)
        .kernels(["gather_values"])
        .arch("sm_80")
        .emit_cubin(true);
    let generated = small.generate().unwrap();
    let files = &generated[0].files;
    let cubin = "sm_80/gather_values.cubin";
    assert!(files.iter().any(|file| file == cubin), "{files:?}");
    assert!(!files.iter().any(|file| file.contains(".ptx")), "{files:?}");
    let package = Package::open(&generated[0].folder).unwrap();
    let images = package
        .images(&ImageRequest::from_environment(Arch::Sm80), &|_| {})
        .unwrap();
    assert_eq!(images.count(ImageSource::Package), 1);

    let path = generated[0].folder.join(cubin);
    let (whole, time) = (fs::read(&path).unwrap(), fs::metadata(&path).unwrap());
    assert_eq!(small.generate().unwrap(), generated);
    let again = fs::metadata(&path).unwrap();
    assert_eq!(again.modified().unwrap(), time.modified().unwrap());

    fs::write(&path, b"damaged").unwrap();
    small.generate().unwrap();
    assert_eq!(fs::read(&path).unwrap(), whole);
    // Other sources, other binaries.
    small
        .clone()
        .set("shadowkv.chunk_size=4")
        .generate()
        .unwrap();
    assert_ne!(fs::read(&path).unwrap(), whole);
}

#[test]
fn refusals_name_what_to_write() {
    let folder = TempDir::new().unwrap();
    let empty = builder(folder.path());
    let small = empty.clone().spec_text(SPEC);
    for (builder, expected) in [
        (empty.clone(), "name one with `Builder::spec`"),
        (small.clone().emit_cubin(true), "`Builder::arch`"),
        (small.clone().arch("sm_80"), "`.emit_cubin(true)`"),
        (small.clone().arch("sm_8").emit_ptx(true), "sm_8"),
        (
            small.clone().kernels(["key_gramm"]),
            "no kernel `key_gramm`; it has: rope_append",
        ),
        (
            small.clone().spec_text(SPEC),
            "two specs are called `small-model`",
        ),
        (small.clone().set("shadowkv.rank=17"), "multiple of 16"),
        (
            empty.clone().spec("nowhere.yaml"),
            "cannot read `nowhere.yaml`",
        ),
    ] {
        let message = message(&builder);
        assert!(message.contains(expected), "{message}");
    }
    assert!(matches!(
        Builder::new()
            .cargo_directives(false)
            .spec_text(SPEC)
            .generate(),
        Err(BuildError::NoOutDir)
    ));
    // The place, the line and the mark, not a dump of a struct.
    let message = message(&empty.spec_text(SPEC.replace("rank: 32", "rnak: 32")));
    assert!(message.contains("spec:4:13"), "{message}");
    assert!(message.contains("^^^^"), "{message}");
}
