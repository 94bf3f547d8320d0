//! The generator in a build script.

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use shadowkv_runtime::env::{CACHE_DIR, Environment, NVRTC, OFFLINE};
use shadowkv_runtime::nvrtc::{Arch, Nvrtc, NvrtcOptions};

use crate::compile::{CompileOptions, compile};
use crate::emit::{Package, emit};
use crate::output::{Extent, FileKind, OutputFile, binary_files, source_files, write_files};
use crate::plan::Plan;
use crate::spec::{Override, Spec, SpecError};

mod error;
mod kept;
mod module;

pub use error::BuildError;

/// Variables that decide which compiler is found, and whether one may be fetched.
const COMPILER_VARIABLES: [&str; 5] = [NVRTC, CACHE_DIR, OFFLINE, "CUDA_HOME", "CUDA_PATH"];

/// Generates packages in a build script, for [`include_package!`](shadowkv_runtime::include_package).
///
/// Without [`emit_cubin`](Builder::emit_cubin) and [`emit_ptx`](Builder::emit_ptx) no compiler is looked for: sources are
/// embedded, and the program compiles them where it runs, into its cache. With machine code for the GPUs it meets, the program
/// needs no compiler. The same specs and the same compiler give the same bytes.
///
/// It writes to `OUT_DIR` alone, but for an NVRTC that is fetched into the cache where there is none (see
/// [`offline`](Builder::offline)), and tells cargo what to watch.
///
/// ```no_run
/// // build.rs
/// fn main() -> Result<(), shadowkv_codegen::BuildError> {
///     shadowkv_codegen::Builder::new()
///         .spec("my-model.yaml")
///         .arch("sm_80")
///         .arch("sm_90")
///         .emit_cubin(true)
///         .generate()?;
///     Ok(())
/// }
/// ```
///
/// `shadowkv_runtime::include_package!("my-model")`, with the `name` of the spec, brings the result into the program.
#[derive(Clone, Debug)]
#[must_use = "nothing happens before `generate`"]
pub struct Builder {
    specs: Vec<SpecSource>,
    overrides: Vec<String>,
    kernels: Option<BTreeSet<String>>,
    archs: Vec<String>,
    /// The forms of binaries that are embedded.
    binaries: BTreeSet<FileKind>,
    offline: bool,
    jobs: Option<NonZeroUsize>,
    out_dir: Option<PathBuf>,
    directives: bool,
}

#[derive(Clone, Debug)]
enum SpecSource {
    File(PathBuf),
    Text(String),
}

/// What [`Builder::generate`] made of one spec.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Generated {
    /// Name of the package: what `include_package!` takes.
    pub name: String,
    /// The module that it includes.
    pub module: PathBuf,
    /// The package's folder, which `Package::open` reads too.
    pub folder: PathBuf,
    /// Its embedded files, by their path in the folder, sorted.
    pub files: Vec<String>,
}

/// One spec, emitted.
struct Prepared {
    package: Package,
    folder: PathBuf,
    module: PathBuf,
    /// Its files so far.
    files: Vec<OutputFile>,
}

impl Default for Builder {
    fn default() -> Builder {
        Builder::new()
    }
}

impl Builder {
    /// Nothing to generate yet.
    pub fn new() -> Builder {
        Builder {
            specs: Vec::new(),
            overrides: Vec::new(),
            kernels: None,
            archs: Vec::new(),
            binaries: BTreeSet::new(),
            offline: false,
            jobs: None,
            out_dir: None,
            directives: true,
        }
    }

    /// Adds a package: that of the spec at `path`, relative to the crate's folder as everything in a build script.
    pub fn spec(mut self, path: impl Into<PathBuf>) -> Builder {
        self.specs.push(SpecSource::File(path.into()));
        self
    }

    /// Adds a package: that of a spec given as YAML.
    pub fn spec_text(mut self, yaml: impl Into<String>) -> Builder {
        self.specs.push(SpecSource::Text(yaml.into()));
        self
    }

    /// Sets a field in every spec, as `--set` does: `shadowkv.rank=128`.
    pub fn set(mut self, field: impl Into<String>) -> Builder {
        self.overrides.push(field.into());
        self
    }

    /// Only these kernels, by their names in the manifest; all unless given.
    pub fn kernels<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Builder {
        let names = names.into_iter().map(Into::into);
        self.kernels.get_or_insert_default().extend(names);
        self
    }

    /// Adds an architecture to compile for: `sm_80`, `sm_90`.
    pub fn arch(mut self, name: impl Into<String>) -> Builder {
        self.archs.push(name.into());
        self
    }

    /// Whether machine code is embedded: what loads at once on GPUs of exactly these architectures.
    pub fn emit_cubin(self, emit: bool) -> Builder {
        self.binary(FileKind::Cubin, emit)
    }

    /// Whether PTX is embedded: what the emulated GPU runs, and what the driver of a newer GPU translates.
    pub fn emit_ptx(self, emit: bool) -> Builder {
        self.binary(FileKind::Ptx, emit)
    }

    fn binary(mut self, kind: FileKind, emit: bool) -> Builder {
        if emit {
            self.binaries.insert(kind);
        } else {
            self.binaries.remove(&kind);
        }
        self
    }

    /// Whether downloads are forbidden, as `SHADOWKV_OFFLINE=1` forbids them. Without it, a pinned NVRTC (90 MB) is fetched
    /// with pip where there is none and binaries are asked for.
    pub fn offline(mut self, offline: bool) -> Builder {
        self.offline = offline;
        self
    }

    /// Compilations at a time; as many as there are processors unless given.
    pub fn jobs(mut self, jobs: NonZeroUsize) -> Builder {
        self.jobs = Some(jobs);
        self
    }

    /// Where to write; `OUT_DIR` unless given. `include_package!` reads from `OUT_DIR`.
    pub fn out_dir(mut self, folder: impl Into<PathBuf>) -> Builder {
        self.out_dir = Some(folder.into());
        self
    }

    /// Whether cargo is told what to watch, on standard output; it is unless this is `false`.
    pub fn cargo_directives(mut self, tell: bool) -> Builder {
        self.directives = tell;
        self
    }

    /// Generates every package, in the order of the specs.
    ///
    /// # Errors
    ///
    /// [`BuildError`]: a spec that cannot be used, binaries asked for and no compiler, a folder that cannot be written to.
    pub fn generate(&self) -> Result<Vec<Generated>, BuildError> {
        self.tell_cargo()?;
        let archs = self.archs()?;
        let out_dir = match &self.out_dir {
            Some(folder) => folder.clone(),
            None => std::env::var_os("OUT_DIR")
                .ok_or(BuildError::NoOutDir)?
                .into(),
        };
        let mut prepared = self.prepare(&out_dir)?;
        for package in &prepared {
            let extent = Extent::of(&package.package);
            write_files(&package.folder, &package.files, &extent)?;
        }
        if !archs.is_empty() {
            self.add_binaries(&mut prepared, &archs)?;
        }
        prepared.into_iter().map(module::write).collect()
    }

    /// What cargo is to watch. Without any line it would watch every file of the crate.
    fn tell_cargo(&self) -> Result<(), BuildError> {
        if !self.directives {
            return Ok(());
        }
        let mut lines = vec!["cargo::rerun-if-changed=build.rs".to_owned()];
        for spec in &self.specs {
            if let SpecSource::File(path) = spec {
                lines.push(format!("cargo::rerun-if-changed={}", path.display()));
            }
        }
        if !self.binaries.is_empty() {
            let variables = COMPILER_VARIABLES.iter();
            lines.extend(variables.map(|name| format!("cargo::rerun-if-env-changed={name}")));
        }
        let text = lines.join("\n") + "\n";
        let told = io::stdout().lock().write_all(text.as_bytes());
        told.map_err(|source| BuildError::Cargo { source })
    }

    /// What to compile for, each once, in order; nothing where only sources are asked for.
    fn archs(&self) -> Result<Vec<Arch>, BuildError> {
        let parsed = self.archs.iter().map(|name| name.parse::<Arch>());
        let archs: BTreeSet<Arch> = parsed.collect::<Result<_, _>>()?;
        match (self.binaries.is_empty(), archs.is_empty()) {
            (false, true) => Err(BuildError::NoArch),
            (true, false) => Err(BuildError::NoBinaries),
            _ => Ok(archs.into_iter().collect()),
        }
    }

    fn prepare(&self, out_dir: &Path) -> Result<Vec<Prepared>, BuildError> {
        if self.specs.is_empty() {
            return Err(BuildError::NoSpec);
        }
        let overrides = self.overrides.iter().map(|text| text.parse::<Override>());
        let overrides: Vec<Override> = overrides
            .collect::<Result<_, _>>()
            .map_err(|error| BuildError::Spec(error.into()))?;
        let mut prepared: Vec<Prepared> = Vec::new();
        for source in &self.specs {
            let package = self.package(&source.read(&overrides)?)?;
            if prepared
                .iter()
                .any(|other| other.package.name == package.name)
            {
                return Err(BuildError::SameName { name: package.name });
            }
            let kinds = [FileKind::Cu, FileKind::Rust, FileKind::Manifest];
            prepared.push(Prepared {
                folder: out_dir.join(&package.name),
                module: out_dir.join(format!("{}.rs", package.name)),
                files: source_files(&package, &kinds),
                package,
            });
        }
        Ok(prepared)
    }

    fn package(&self, spec: &Spec) -> Result<Package, BuildError> {
        let plan = Plan::heuristic(spec).map_err(|source| BuildError::Plan {
            name: spec.name.clone(),
            source,
        });
        let mut plan = plan?;
        if let Some(wanted) = &self.kernels {
            let known: Vec<_> = plan.kernels.iter().map(|kernel| kernel.name).collect();
            if let Some(kernel) = wanted.iter().find(|name| !known.contains(&name.as_str())) {
                return Err(BuildError::UnknownKernel {
                    name: spec.name.clone(),
                    kernel: kernel.clone(),
                    known,
                });
            }
            plan.kernels.retain(|kernel| wanted.contains(kernel.name));
        }
        Ok(emit(&plan)?)
    }

    /// Binaries of every package for every architecture: those of an earlier run where they are of the same sources.
    fn add_binaries(&self, prepared: &mut [Prepared], archs: &[Arch]) -> Result<(), BuildError> {
        let kinds: Vec<FileKind> = self.binaries.iter().copied().collect();
        let environment = Environment::read();
        let mut compiler: Option<Nvrtc> = None;
        for Prepared {
            package,
            folder,
            files,
            ..
        } in prepared
        {
            for arch in archs {
                // Who names a compiler wants binaries of that one.
                let kept = match environment.nvrtc {
                    Some(_) => None,
                    None => kept::binaries(folder, package, *arch, &kinds),
                };
                if let Some(kept) = kept {
                    files.extend(kept);
                    continue;
                }
                let nvrtc = match &mut compiler {
                    Some(nvrtc) => nvrtc,
                    none => none.insert(self.open(&environment)?),
                };
                let options = CompileOptions {
                    jobs: self.jobs,
                    ..CompileOptions::new(&[*arch])
                };
                let compilations = compile(&[package], nvrtc, &options, &|_, _| {})?;
                let (mut kernels, mut failures) = (Vec::new(), Vec::new());
                for compilation in compilations {
                    kernels.extend(compilation.kernels);
                    failures.extend(compilation.failures);
                }
                if !failures.is_empty() {
                    return Err(BuildError::Kernels { failures });
                }
                let binaries = binary_files(package, &kernels, &kinds, nvrtc.version())?;
                write_files(folder, &binaries, &Extent::of(package))?;
                files.extend(binaries);
            }
        }
        Ok(())
    }

    fn open(&self, environment: &Environment) -> Result<Nvrtc, BuildError> {
        let options = NvrtcOptions::new(environment).offline(self.offline);
        let tell = |step: &_| {
            // A download should be seen, and cargo shows nothing else of a build script that goes well.
            if self.directives {
                let _ = writeln!(io::stdout(), "cargo::warning={step}");
            }
        };
        Nvrtc::open(&options, &tell).map_err(|source| BuildError::NoCompiler {
            source: Box::new(source),
        })
    }
}

impl SpecSource {
    fn read(&self, overrides: &[Override]) -> Result<Spec, SpecError> {
        match self {
            SpecSource::File(path) => Spec::load(path, overrides),
            SpecSource::Text(yaml) => Spec::parse("spec", yaml, overrides),
        }
    }
}
