//! `compile` and `doctor --device` as a user runs them.

#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn run(cache: &Path, compiler: bool, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shadowkv-runtime"));
    command.args(arguments);
    // The compiler may be in the machine's own cache.
    if compiler {
        let chosen = shadowkv_runtime::nvrtc::Nvrtc::open(
            &shadowkv_runtime::nvrtc::NvrtcOptions::from_environment(),
            &|_| {},
        );
        command.env("SHADOWKV_NVRTC", chosen.unwrap().path());
    } else {
        command.env("SHADOWKV_NVRTC", "/no/such/libnvrtc.so.12");
    }
    let command = command.env("SHADOWKV_CACHE_DIR", cache);
    command.env("SHADOWKV_OFFLINE", "1").output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A package with one small kernel.
fn small(folder: &Path) -> PathBuf {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels-generated/smollm2-135m");
    let package = folder.join("package");
    fs::create_dir(&package).unwrap();
    let text = fs::read_to_string(from.join("manifest.json")).unwrap();
    let mut manifest: Value = serde_json::from_str(&text).unwrap();
    let kernels = manifest["kernels"].as_array_mut().unwrap();
    kernels.retain(|kernel| kernel["name"] == "embed");
    fs::write(package.join("manifest.json"), manifest.to_string()).unwrap();
    let headers = manifest["headers"].as_array().unwrap().iter();
    for file in headers
        .map(|header| header["file"].as_str().unwrap())
        .chain(["embed.cu"])
    {
        fs::copy(from.join(file), package.join(file)).unwrap();
    }
    package
}

#[test]
fn a_compiled_package_needs_no_compiler_again() {
    let folder = tempfile::tempdir().unwrap();
    let package = small(folder.path());
    let cache = folder.path().join("cache");
    let compile = |compiler, archs: &str| {
        let package = package.to_str().unwrap();
        let arguments = [
            "compile",
            "--package",
            package,
            "--arch",
            archs,
            "--format",
            "json",
        ];
        run(&cache, compiler, &arguments)
    };
    for (compiler, source) in [(true, "compiled"), (false, "cache")] {
        let output = compile(compiler, "sm_80,sm_90");
        assert!(output.status.success(), "{}", text(&output.stderr));
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        let rows = document["kernels"].as_array().unwrap();
        let archs: Vec<_> = rows
            .iter()
            .map(|row| row["arch"].as_str().unwrap())
            .collect();
        assert_eq!(archs, ["sm_80", "sm_90"]);
        for row in rows {
            assert_eq!(row["source"], source, "{document}");
            assert_eq!(
                (&row["kernel"], &row["form"]),
                (&"embed".into(), &"cubin".into())
            );
            assert!(row["bytes"].as_u64().unwrap() > 1000);
        }
    }
    let output = compile(false, "sm_86");
    assert_eq!(output.status.code(), Some(4));
    let said = text(&output.stderr);
    assert!(
        said.contains("kernel `embed` of package `smollm2-135m` must be compiled for sm_86"),
        "{said}"
    );
}

#[test]
fn what_cannot_be_compiled_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let nothing = folder.path().to_str().unwrap();
    let output = run(
        nothing.as_ref(),
        false,
        &["compile", "--package", nothing, "--arch", "sm_80"],
    );
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("is no kernel package"));
    let output = run(nothing.as_ref(), false, &["compile", "--arch", "sm_75"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("known are: sm_80"));
    let package = small(folder.path());
    fs::write(package.join("embed.cu"), "// mine\n").unwrap();
    let package = package.to_str().unwrap();
    let output = run(
        nothing.as_ref(),
        false,
        &["compile", "--package", package, "--arch", "sm_80"],
    );
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("`embed.cu` has SHA-256 "));
}

#[test]
fn a_device_that_is_not_there_is_an_error_with_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), false, &["doctor", "--device", "cuda:4000"]);
    assert_eq!(output.status.code(), Some(6));
    let said = text(&output.stderr);
    assert!(
        said.contains("no CUDA driver: the loader finds none of libcuda.so")
            || said.contains("there is no cuda:4000"),
        "{said}"
    );
    let output = run(folder.path(), false, &["doctor", "--device", "gpu"]);
    assert_eq!(output.status.code(), Some(2));
}
