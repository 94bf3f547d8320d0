//! The C example, built with the system's C compiler and run, beside the Rust one; the header; errors.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

#[path = "../examples/attention.rs"]
#[allow(clippy::allow_attributes, reason = "an example's own")]
mod attention;

mod calls;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use shadowkv_codegen::emit::emit;
use shadowkv_codegen::plan::Plan;
use shadowkv_codegen::spec::Spec;

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn spec() -> PathBuf {
    here().join("tests/small.yaml")
}

/// The folder of the libraries that these tests were built with.
fn libraries() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    own.parent().unwrap().to_owned()
}

/// The kernels of the small spec, in a folder.
fn package(folder: &Path) -> PathBuf {
    let spec = Spec::load(spec(), &[]).unwrap();
    let emitted = emit(&Plan::heuristic(&spec).unwrap()).unwrap();
    let folder = folder.join("small");
    for file in emitted.files() {
        let path = folder.join(&file.name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, &file.text).unwrap();
    }
    folder
}

fn succeeded(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// Builds attention.c in `folder` against the shared library.
fn built(folder: &Path) -> PathBuf {
    let program = folder.join("attention");
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    succeeded(
        Command::new(compiler)
            .args([
                "-std=c11",
                "-Wall",
                "-Wextra",
                "-Wpedantic",
                "-Werror",
                "-O1",
            ])
            .arg("-I")
            .arg(here().join("include"))
            .arg(here().join("examples/attention.c"))
            .arg("-o")
            .arg(&program)
            .arg("-L")
            .arg(libraries())
            .arg("-lshadowkv"),
    );
    program
}

/// What the C program prints is what the Rust one does, bit for bit.
fn prints_the_same(device: &str) {
    let folder = tempfile::tempdir().unwrap();
    let package = package(folder.path());
    let file = folder.path().join("sequence.safetensors");
    let program = built(folder.path());
    let output = succeeded(
        Command::new(program)
            .arg(spec())
            .arg(device)
            .arg(if device == "cpu" {
                Path::new("-")
            } else {
                &package
            })
            .arg(&file)
            .env("LD_LIBRARY_PATH", libraries()),
    );
    let of_c = std::fs::read(&file).unwrap();
    let mut expected = Vec::new();
    attention::print(&spec(), device, &package, &file, &mut expected).unwrap();
    let found = String::from_utf8(output.stdout).unwrap();
    let expected = String::from_utf8(expected).unwrap();
    assert!(
        expected.lines().count() > 10_000,
        "hardly anything is printed"
    );
    for (found, expected) in found.lines().zip(expected.lines()) {
        assert_eq!(found, expected, "{device}");
    }
    assert_eq!(found.len(), expected.len(), "{device}");
    assert!(
        of_c == std::fs::read(&file).unwrap(),
        "{device}: other files"
    );
}

#[test]
fn c_prints_what_rust_prints_on_the_cpu() {
    prints_the_same("cpu");
}

#[test]
fn c_prints_what_rust_prints_on_an_emulated_gpu() {
    prints_the_same("emulated");
}

#[test]
fn the_example_says_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let program = built(folder.path());
    let output = Command::new(program)
        .args(["no-such-spec.yaml", "cpu", "-", "file"])
        .env("LD_LIBRARY_PATH", libraries())
        .output()
        .unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("no-such-spec.yaml"), "{message}");
}

/// The checked-in header is what cbindgen makes of the functions; with `SHADOWKV_WRITE_HEADER=1` it is written.
#[test]
fn the_header_is_current() {
    let config = cbindgen::Config::from_file(here().join("cbindgen.toml")).unwrap();
    let mut sources = cbindgen::Builder::new().with_config(config);
    for file in ["failure", "tensor", "open", "calls"] {
        sources = sources.with_src(here().join(format!("src/{file}.rs")));
    }
    let mut header = Vec::new();
    sources.generate().unwrap().write(&mut header);
    let path = here().join("include/shadowkv.h");
    if std::env::var_os("SHADOWKV_WRITE_HEADER").is_some() {
        std::fs::write(&path, &header).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == String::from_utf8(header).unwrap(),
        "include/shadowkv.h is stale: SHADOWKV_WRITE_HEADER=1 cargo test -p shadowkv-c the_header_is_current"
    );
}
