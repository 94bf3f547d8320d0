//! Compilation: emitted sources to PTX and binaries with NVRTC, in parallel.
//!
//! Every kernel of every package is compiled for every architecture, whatever fails on the way; what comes back is in
//! the order of the packages, their kernels and the architectures, however many threads were at it.

use std::num::NonZeroUsize;

use rayon::prelude::*;
use shadowkv_runtime::nvrtc::{
    Arch, CompiledSource, KernelResources, KernelSource, Nvrtc, STACK_BYTES,
};
pub use shadowkv_runtime::nvrtc::{KernelFailure, LocatedDiagnostic, SourceLine};

use shadowkv_runtime::package::image_key;

use crate::emit::{Package, SourceFile, template_lines};

/// How to compile.
#[derive(Clone, Debug)]
pub struct CompileOptions {
    /// What to compile for, in the order of the results.
    pub archs: Vec<Arch>,
    /// Compilations at a time; as many as there are processors unless given.
    pub jobs: Option<NonZeroUsize>,
    /// Whether binaries map their instructions to source lines.
    pub line_info: bool,
}

impl CompileOptions {
    /// For `archs`, on every processor, without line information.
    pub fn new(archs: &[Arch]) -> CompileOptions {
        CompileOptions {
            archs: archs.to_vec(),
            jobs: None,
            line_info: false,
        }
    }
}

/// One kernel, compiled for one architecture.
#[derive(Clone, Debug)]
pub struct CompiledKernel {
    /// Short name of the kernel.
    pub kernel: String,
    /// What it was compiled for.
    pub arch: Arch,
    /// PTX, for devices the binary does not fit.
    pub ptx: String,
    /// Binary for exactly `arch`.
    pub cubin: Vec<u8>,
    /// The compiler's log.
    pub log: String,
    /// The compiler's warnings, with the lines they speak of.
    pub warnings: Vec<LocatedDiagnostic>,
    /// What ptxas says the kernel takes.
    pub resources: KernelResources,
    /// Wall time of the compilation, milliseconds.
    pub milliseconds: f64,
}

/// What became of one package.
#[derive(Clone, Debug, Default)]
pub struct Compilation {
    /// What compiled, in the order of the package's kernels, then of the architectures.
    pub kernels: Vec<CompiledKernel>,
    /// What did not, in the same order.
    pub failures: Vec<KernelFailure>,
}

/// Why nothing was compiled at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// This NVRTC is too old, or too new, for an architecture asked for.
    #[error(
        "NVRTC {major}.{minor} (`{path}`) does not compile for {arch}; it does for {supported}: leave {arch} out, or set SHADOWKV_NVRTC to another version (12.8 to 12.9 know all)"
    )]
    Arch {
        /// The architecture.
        arch: Arch,
        /// Major version of the library.
        major: i32,
        /// Minor version of the library.
        minor: i32,
        /// The library.
        path: String,
        /// What it compiles for.
        supported: String,
    },
    /// The system gives no threads.
    #[error("cannot start {jobs} compiler threads: {source}; lower --jobs")]
    Threads {
        /// How many were wanted.
        jobs: usize,
        /// What the system says.
        source: rayon::ThreadPoolBuildError,
    },
}

/// Compiles every kernel of `packages` for every architecture of `options`; one [`Compilation`] per package, in order.
///
/// `finished` is called after each compilation with the kernel's name and the architecture, from several threads.
///
/// # Errors
///
/// [`CompileError`] if nothing can be compiled. Kernels that do not compile are no error here but
/// [`Compilation::failures`].
pub fn compile(
    packages: &[&Package],
    nvrtc: &Nvrtc,
    options: &CompileOptions,
    finished: &(dyn Fn(&str, Arch) + Sync),
) -> Result<Vec<Compilation>, CompileError> {
    for arch in &options.archs {
        supported(nvrtc, *arch)?;
    }
    let mut tasks = Vec::new();
    for (index, package) in packages.iter().enumerate() {
        for source in &package.kernels {
            for arch in &options.archs {
                tasks.push((index, *package, source, *arch));
            }
        }
    }
    let available = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let jobs = options
        .jobs
        .map_or_else(available, NonZeroUsize::get)
        .clamp(1, tasks.len().max(1));
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(jobs)
        .stack_size(STACK_BYTES)
        .build();
    let pool = pool.map_err(|source| CompileError::Threads { jobs, source })?;
    let outcomes: Vec<_> = pool.install(|| {
        let compile = |&(index, package, source, arch): &(usize, &Package, &SourceFile, Arch)| {
            let outcome = compile_kernel(package, source, arch, nvrtc, options.line_info);
            finished(kernel_name(source), arch);
            (index, outcome)
        };
        // One at a time to whoever is free: compilations differ by a factor of ten.
        tasks.par_iter().with_max_len(1).map(compile).collect()
    });

    let mut compilations = vec![Compilation::default(); packages.len()];
    for (index, outcome) in outcomes {
        match outcome {
            Ok(kernel) => compilations[index].kernels.push(kernel),
            Err(failure) => compilations[index].failures.push(*failure),
        }
    }
    Ok(compilations)
}

fn supported(nvrtc: &Nvrtc, arch: Arch) -> Result<(), CompileError> {
    if nvrtc.supports(arch) {
        return Ok(());
    }
    let (major, minor) = nvrtc.version();
    let names: Vec<_> = nvrtc
        .supported_archs()
        .into_iter()
        .map(Arch::name)
        .collect();
    Err(CompileError::Arch {
        arch,
        major,
        minor,
        path: nvrtc.path().display().to_string(),
        supported: names.join(", "),
    })
}

/// Short name of the kernel in a source.
pub fn kernel_name(source: &SourceFile) -> &str {
    source.name.strip_suffix(".cu").unwrap_or(&source.name)
}

/// Compiles one kernel of `package`.
///
/// # Errors
///
/// Everything the compiler objects to, with the lines of source, template and PTX it speaks of.
pub fn compile_kernel(
    package: &Package,
    source: &SourceFile,
    arch: Arch,
    nvrtc: &Nvrtc,
    line_info: bool,
) -> Result<CompiledKernel, Box<KernelFailure>> {
    let headers = headers(package);
    let kernel = kernel_source(package, source, &headers);
    let template = |name: &str, line: usize| template_line(package, source, name, line);
    let CompiledSource {
        compiled,
        warnings,
        resources,
    } = kernel.compile(nvrtc, arch, line_info, &template)?;
    Ok(CompiledKernel {
        kernel: kernel.kernel.to_owned(),
        arch,
        milliseconds: compiled.elapsed.as_secs_f64() * 1e3,
        ptx: compiled.ptx,
        cubin: compiled.cubin,
        log: compiled.log,
        warnings,
        resources,
    })
}

/// The [`image_key`] of a kernel's source, compiled for `arch` without line information; `None` if `package` has no such kernel.
pub fn source_key(package: &Package, kernel: &str, arch: Arch) -> Option<String> {
    let mut sources = package.kernels.iter();
    let source = sources.find(|source| kernel_name(source) == kernel)?;
    let headers = headers(package);
    let kernel = kernel_source(package, source, &headers);
    Some(image_key(&kernel.request(arch, false)))
}

fn headers(package: &Package) -> Vec<(&str, &str)> {
    let headers = package.headers.iter();
    headers
        .map(|file| (file.name.as_str(), file.text.as_str()))
        .collect()
}

fn kernel_source<'a>(
    package: &'a Package,
    source: &'a SourceFile,
    headers: &'a [(&'a str, &'a str)],
) -> KernelSource<'a> {
    KernelSource {
        package: &package.name,
        kernel: kernel_name(source),
        file: &source.name,
        text: &source.text,
        headers,
    }
}

/// The template's line that printed `line` of the file called `name`.
fn template_line(
    package: &Package,
    kernel: &SourceFile,
    name: &str,
    line: usize,
) -> Option<String> {
    let mut files = [kernel].into_iter().chain(&package.headers);
    let lines = template_lines(files.find(|file| file.name == name)?)?;
    let number = lines.lines.get(line.checked_sub(1)?)?;
    Some(format!("{}:{number}", lines.template))
}
