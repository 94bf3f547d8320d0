//! A compiler, and the compiling of packages with it.

use shadowkv_codegen::compile::{Compilation, CompileOptions, compile};
use shadowkv_codegen::emit::Package;
use shadowkv_runtime::nvrtc::{Nvrtc, NvrtcError, NvrtcOptions};

use super::failure::Failure;
use super::terminal::Terminal;

/// Finds NVRTC or installs it, saying so.
pub(super) fn open(offline: bool, terminal: &Terminal) -> Result<Nvrtc, NvrtcError> {
    let options = NvrtcOptions::from_environment().offline(offline);
    Nvrtc::open(&options, &|step| terminal.note(&step.to_string()))
}

/// Compiles with a progress bar.
pub(super) fn run(
    packages: &[&Package],
    nvrtc: &Nvrtc,
    options: &CompileOptions,
    terminal: &Terminal,
) -> Result<Vec<Compilation>, Failure> {
    let kernels: usize = packages.iter().map(|package| package.kernels.len()).sum();
    let bar = terminal.progress("compiling", (kernels * options.archs.len()) as u64);
    bar.tick();
    let compilations = compile(packages, nvrtc, options, &|kernel, arch| {
        bar.set_message(format!("{kernel} {arch}"));
        bar.inc(1);
    });
    bar.finish_and_clear();
    Ok(compilations?)
}

/// `NVRTC 12.9`.
pub(super) fn version(nvrtc: &Nvrtc) -> String {
    let (major, minor) = nvrtc.version();
    format!("{major}.{minor}")
}
