//! The crate in `tests/embedding`, which embeds kernels as a stranger's would: built by a cargo of its own, and run with and
//! without a compiler.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod refusals;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

use shadowkv_runtime::nvrtc::{Nvrtc, NvrtcOptions};
use tempfile::TempDir;

/// The program, built once.
static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("embedding");
    // The workspace's own versions, all of which are here already.
    fs::copy(workspace.join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("embedding");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["build", "--offline", "--manifest-path"])
        .arg(folder.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("RUSTC_WORKSPACE_WRAPPER");
    let output = cargo.output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{cargo:?}\n{told}");
    // Generated code is nobody's to mend.
    assert!(!told.contains("warning: unused"), "{told}");
    target.join("debug/embedding")
});

/// Runs the program with an empty cache of its own, and `nvrtc` as its compiler.
fn run(mode: &str, cache: &TempDir, nvrtc: &Path) -> Output {
    Command::new(&*PROGRAM)
        .arg(mode)
        .current_dir(cache.path())
        .env("SHADOWKV_CACHE_DIR", cache.path().join("cache"))
        .env("SHADOWKV_NVRTC", nvrtc)
        .env("SHADOWKV_OFFLINE", "1")
        .output()
        .unwrap()
}

fn succeeded(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
    out
}

#[test]
fn binaries_need_no_compiler_and_no_files() {
    let cache = TempDir::new().unwrap();
    let nowhere = Path::new("/nonexistent");
    // The step's own comparison with f64 fails the program.
    let told = succeeded(&run("emulated", &cache, nowhere));
    assert_eq!(told.matches("for sm_80, embedded").count(), 3, "{told}");
    assert!(told.contains("256 outputs"), "{told}");
    // Up to the point where a GPU is needed.
    let told = succeeded(&run("cubin", &cache, nowhere));
    for arch in ["sm_80", "sm_90"] {
        let embedded = format!("for {arch}, embedded");
        assert!(told.matches(&embedded).count() >= 3, "{told}");
    }
    let left = fs::read_dir(cache.path()).unwrap().count();
    assert_eq!(left, 0, "nothing is written");
}

#[test]
fn sources_are_compiled_once_where_the_program_runs() {
    let cache = TempDir::new().unwrap();
    let failed = run("sources", &cache, Path::new("/nonexistent"));
    let told = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(!failed.status.success());
    assert!(told.contains("3 kernels of package `small-model-sources` must be compiled for sm_80, and there is no compiler"), "{told}");
    assert!(told.contains("SHADOWKV_NVRTC = `/nonexistent`"), "{told}");

    let nvrtc = Nvrtc::open(&NvrtcOptions::from_environment(), &|_| {}).unwrap();
    let told = succeeded(&run("sources", &cache, nvrtc.path()));
    assert_eq!(told.matches("for sm_80, compiled").count(), 3, "{told}");
    let told = succeeded(&run("sources", &cache, nvrtc.path()));
    assert_eq!(told.matches("for sm_80, cache").count(), 3, "{told}");
}
