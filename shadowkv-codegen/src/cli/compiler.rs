//! A compiler, and the compiling of packages with it.

use std::num::NonZeroUsize;

use shadowkv_codegen::compile::{
    Compilation, CompileOptions, CompiledKernel, compile, kernel_name,
};
use shadowkv_codegen::emit::{Package, emit};
use shadowkv_codegen::plan::Plan;
use shadowkv_runtime::nvrtc::{Arch, Nvrtc, NvrtcError, NvrtcOptions};

use super::failure::{Code, Failure};
use super::terminal::{self, Terminal};

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

/// Compiles the kernels called `names` (all if there are none), with what an emulated GPU needs to name source lines.
/// Says what does not compile.
pub(super) fn for_emulation(
    plan: &Plan,
    nvrtc: &Nvrtc,
    names: &[String],
    arch: Arch,
    jobs: Option<NonZeroUsize>,
    terminal: &Terminal,
) -> Result<Vec<CompiledKernel>, Failure> {
    let mut package = emit(plan)?;
    if !names.is_empty() {
        package.kernels.retain(|source| {
            let name = kernel_name(source);
            names.iter().any(|kernel| kernel == name)
        });
    }
    let options = CompileOptions {
        jobs,
        line_info: true,
        ..CompileOptions::new(&[arch])
    };
    let compilations = run(&[&package], nvrtc, &options, terminal)?;
    let compilation = compilations.into_iter().next().unwrap_or_default();
    for failure in &compilation.failures {
        terminal::report(&failure.render(terminal.colour_messages()));
    }
    if compilation.failures.is_empty() {
        Ok(compilation.kernels)
    } else {
        Err(Failure::said(Code::Compile))
    }
}

/// `NVRTC 12.9`.
pub(super) fn version(nvrtc: &Nvrtc) -> String {
    let (major, minor) = nvrtc.version();
    format!("{major}.{minor}")
}
