//! Compilation: emitted sources to PTX and binaries with NVRTC, in parallel.
//!
//! Every kernel of every package is compiled for every architecture, whatever fails on the way; what comes back is in
//! the order of the packages, their kernels and the architectures, however many threads were at it.

use std::num::NonZeroUsize;

use rayon::prelude::*;
use shadowkv_runtime::nvrtc::{
    Arch, CompileFailure, CompileRequest, Compiled, Diagnostic, KernelResources, Nvrtc, Origin,
};

use crate::emit::{Package, SourceFile};

mod failure;
mod locate;

pub use failure::{KernelFailure, LocatedDiagnostic, SourceLine};

/// Stack of a compiling thread, bytes: NVRTC runs on it and recurses where the source does.
const STACK_BYTES: usize = 16 << 20;

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
    let headers: Vec<_> = package
        .headers
        .iter()
        .map(|file| (file.name.as_str(), file.text.as_str()))
        .collect();
    let request = CompileRequest {
        headers: &headers,
        line_info,
        ..CompileRequest::new(&source.name, &source.text, arch)
    };
    let failed = |failure: &CompileFailure| {
        Box::new(KernelFailure {
            package: package.name.clone(),
            kernel: kernel_name(source).to_owned(),
            arch,
            log: failure.log.clone(),
            diagnostics: locate::locate(
                package,
                source,
                failure.ptx.as_deref(),
                &failure.diagnostics,
            ),
        })
    };
    let compiled = nvrtc.compile(&request).map_err(|failure| {
        let by_ptxas = failure.errors().any(|error| error.origin == Origin::Ptx);
        if !by_ptxas || line_info {
            return failed(&failure);
        }
        // ptxas speaks of lines of PTX; compiled once more with line information, the PTX tells the source's.
        let request = CompileRequest {
            line_info: true,
            ..request
        };
        failed(nvrtc.compile(&request).err().as_deref().unwrap_or(&failure))
    })?;
    finish(package, source, arch, compiled)
}

fn finish(
    package: &Package,
    source: &SourceFile,
    arch: Arch,
    compiled: Compiled,
) -> Result<CompiledKernel, Box<KernelFailure>> {
    let kernel = kernel_name(source).to_owned();
    let warnings = locate::locate(package, source, Some(&compiled.ptx), &compiled.diagnostics);
    let mut resources = compiled.resources.into_iter();
    let (Some(resources), None) = (resources.next(), resources.next()) else {
        let message = format!(
            "`{}` must hold one kernel, going by ptxas' log it does not",
            source.name
        );
        let diagnostic = Diagnostic {
            file: None,
            line: None,
            column: None,
            severity: shadowkv_runtime::nvrtc::Severity::Error,
            message,
            origin: Origin::Nvrtc,
            text: None,
        };
        return Err(Box::new(KernelFailure {
            package: package.name.clone(),
            kernel,
            arch,
            log: compiled.log,
            diagnostics: locate::locate(package, source, None, &[diagnostic]),
        }));
    };
    Ok(CompiledKernel {
        kernel,
        arch,
        ptx: compiled.ptx,
        cubin: compiled.cubin,
        log: compiled.log,
        warnings,
        resources,
        milliseconds: compiled.elapsed.as_secs_f64() * 1e3,
    })
}
