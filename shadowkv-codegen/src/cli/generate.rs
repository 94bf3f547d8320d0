//! The default command: write packages and prove that they compile.

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;
use shadowkv_codegen::compile::{Compilation, CompileOptions, KernelFailure};
use shadowkv_codegen::emit::Package;
use shadowkv_codegen::output::{
    Extent, FileKind, OutputFile, Written, binary_files, source_files, write_files,
};
use shadowkv_codegen::report::{KernelReport, REPORT_SCHEMA, kernel_table};
use shadowkv_runtime::nvrtc::Nvrtc;

use super::args::{Format, GenerateArguments};
use super::failure::{Code, Failure};
use super::packages::{Prepared, prepare};
use super::terminal::{self, Terminal};
use super::{check, compiler};

/// The JSON document of this command.
#[derive(Serialize)]
struct Report {
    schema: u32,
    command: &'static str,
    /// Version of the compiler; absent when nothing was compiled.
    nvrtc: Option<String>,
    /// Why there is no compiler.
    nvrtc_error: Option<String>,
    packages: Vec<PackageReport>,
}

#[derive(Serialize)]
struct PackageReport {
    package: String,
    spec: PathBuf,
    spec_sha256: String,
    /// Where its files are.
    folder: PathBuf,
    files: Written,
    /// What compiled.
    kernels: Vec<KernelReport>,
    /// What did not.
    failures: Vec<KernelFailure>,
}

pub(super) fn run(arguments: &GenerateArguments, terminal: &Terminal) -> Result<(), Failure> {
    let kinds = arguments.kinds();
    let binaries = kinds
        .iter()
        .any(|kind| matches!(kind, FileKind::Ptx | FileKind::Cubin));
    if binaries && (arguments.check || arguments.no_compile) {
        let flag = if arguments.check {
            "--check"
        } else {
            "--no-compile"
        };
        let message = format!(
            "{flag} compiles nothing, and --emit asks for ptx or cubin: leave out one of them"
        );
        return Err(Failure::new(Code::Usage, message));
    }
    let prepared = prepare(arguments, terminal)?;
    if arguments.check {
        return check::run(&prepared, arguments, terminal);
    }

    let mut report = Report {
        schema: REPORT_SCHEMA,
        command: "generate",
        nvrtc: None,
        nvrtc_error: None,
        packages: write_sources(&prepared, &arguments.out_dir, &kinds)?,
    };
    for package in &report.packages {
        tell_left_alone(package, terminal);
    }
    if arguments.no_compile {
        return print(&report, arguments.format, terminal);
    }
    let nvrtc = match compiler::open(arguments.offline, terminal) {
        Ok(nvrtc) => nvrtc,
        Err(error) => {
            let message = format!(
                "{error}\nThe sources are written; they have not been compiled. Set this right, or leave the compiling out with --no-compile; `shadowkv-codegen doctor` tells more."
            );
            report.nvrtc_error = Some(error.to_string());
            print(&report, arguments.format, terminal)?;
            return Err(Failure::new(Code::NoCompiler, message));
        }
    };
    report.nvrtc = Some(compiler::version(&nvrtc));
    compile(&prepared, &mut report.packages, &nvrtc, arguments, terminal)?;
    print(&report, arguments.format, terminal)?;
    tell_failures(&report.packages, terminal)
}

fn write_sources(
    prepared: &[Prepared],
    out_dir: &Path,
    kinds: &[FileKind],
) -> Result<Vec<PackageReport>, Failure> {
    let write = |Prepared {
                     path,
                     plan,
                     package,
                 }: &Prepared| {
        let folder = out_dir.join(&package.name);
        let files = write_files(&folder, &source_files(package, kinds), &Extent::of(package))?;
        Ok(PackageReport {
            package: package.name.clone(),
            spec: path.clone(),
            spec_sha256: plan.spec.sha256(),
            folder,
            files,
            kernels: Vec::new(),
            failures: Vec::new(),
        })
    };
    prepared.iter().map(write).collect()
}

fn compile(
    prepared: &[Prepared],
    reports: &mut [PackageReport],
    nvrtc: &Nvrtc,
    arguments: &GenerateArguments,
    terminal: &Terminal,
) -> Result<(), Failure> {
    let started = Instant::now();
    let options = CompileOptions {
        jobs: arguments.jobs,
        ..CompileOptions::new(&arguments.archs())
    };
    let packages: Vec<&Package> = prepared.iter().map(|prepared| &prepared.package).collect();
    let compilations = compiler::run(&packages, nvrtc, &options, terminal)?;
    let elapsed = started.elapsed();
    let mut compiled = 0;
    for ((prepared, report), compilation) in prepared.iter().zip(reports).zip(compilations) {
        compiled += compilation.kernels.len();
        let kinds = arguments.kinds();
        let files = if compilation.failures.is_empty() {
            let package = &prepared.package;
            binary_files(package, &compilation.kernels, &kinds, nvrtc.version())?
        } else {
            // A package that does not compile as a whole leaves no binaries to be taken for one that does.
            Vec::new()
        };
        keep(prepared, report, compilation, &files, terminal)?;
    }
    terminal.note(&format!(
        "compiled {compiled} kernels with NVRTC {} in {:.1} s",
        compiler::version(nvrtc),
        elapsed.as_secs_f64()
    ));
    Ok(())
}

/// Writes the files of a compilation, and notes the rest down.
fn keep(
    prepared: &Prepared,
    report: &mut PackageReport,
    compilation: Compilation,
    files: &[OutputFile],
    terminal: &Terminal,
) -> Result<(), Failure> {
    if !files.is_empty() {
        report.files.merge(write_files(
            &report.folder,
            files,
            &Extent::of(&prepared.package),
        )?);
    }
    for kernel in &compilation.kernels {
        for warning in &kernel.warnings {
            terminal.note(&warning.render(terminal.colour_messages()));
        }
        let Some(plan) = prepared.plan.kernel(&kernel.kernel) else {
            continue;
        };
        let figures = KernelReport::new(plan, kernel);
        if figures.spills() {
            terminal.warning(&format!(
                "{}: {} spills registers on {}",
                report.package, figures.kernel, figures.arch
            ));
        }
        if figures.occupancy.blocks_per_sm == 0 {
            terminal.warning(&format!(
                "{}: {} cannot be launched on {}",
                report.package, figures.kernel, figures.arch
            ));
        }
        report.kernels.push(figures);
    }
    report.failures = compilation.failures;
    Ok(())
}

fn print(report: &Report, format: Format, terminal: &Terminal) -> Result<(), Failure> {
    if format == Format::Json {
        return terminal::json(report);
    }
    let mut blocks = Vec::new();
    for package in &report.packages {
        let Written {
            created,
            updated,
            unchanged,
            removed,
            ..
        } = &package.files;
        let mut block = format!(
            "{}: {} files in {} ({} written, {} unchanged, {} removed)\n",
            package.package,
            package.files.files(),
            package.folder.display(),
            created.len() + updated.len(),
            unchanged.len(),
            removed.len()
        );
        if !package.kernels.is_empty() {
            block = format!("{block}\n{}\n", kernel_table(&package.kernels));
        }
        blocks.push(block);
    }
    terminal.result(&blocks.join("\n"))
}

fn tell_left_alone(package: &PackageReport, terminal: &Terminal) {
    for file in &package.files.removed {
        terminal.note(&format!(
            "removed {}, which the package no longer has",
            package.folder.join(file).display()
        ));
    }
    for file in &package.files.foreign {
        let path = package.folder.join(file);
        terminal.note(&format!(
            "left {} alone: it is not a file of this program",
            path.display()
        ));
    }
}

fn tell_failures(packages: &[PackageReport], terminal: &Terminal) -> Result<(), Failure> {
    let failures: Vec<_> = packages
        .iter()
        .flat_map(|package| &package.failures)
        .collect();
    for failure in &failures {
        terminal::report(&failure.render(terminal.colour_messages()));
    }
    match failures.len() {
        0 => Ok(()),
        1 => Err(Failure::new(Code::Compile, "1 kernel does not compile")),
        count => Err(Failure::new(
            Code::Compile,
            format!("{count} kernels do not compile"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::args::Colour;
    use super::*;

    fn package(failures: usize) -> PackageReport {
        let failure = KernelFailure {
            package: "small".to_owned(),
            kernel: "key_gram".to_owned(),
            arch: shadowkv_runtime::nvrtc::Arch::Sm80,
            diagnostics: Vec::new(),
            log: "the compiler's words".to_owned(),
        };
        PackageReport {
            package: "small".to_owned(),
            spec: PathBuf::new(),
            spec_sha256: String::new(),
            folder: PathBuf::new(),
            files: Written::default(),
            kernels: Vec::new(),
            failures: vec![failure; failures],
        }
    }

    #[test]
    fn kernels_that_do_not_compile_have_an_exit_code() {
        let terminal = Terminal::new(Colour::Never, false);
        assert!(tell_failures(&[package(0)], &terminal).is_ok());
        let ended = |packages: &[PackageReport]| {
            let failure = tell_failures(packages, &terminal).err();
            failure.map(|failure| (failure.code, failure.message.unwrap_or_default()))
        };
        assert_eq!(
            ended(&[package(1)]),
            Some((Code::Compile, "1 kernel does not compile".to_owned()))
        );
        assert_eq!(
            ended(&[package(1), package(2)]),
            Some((Code::Compile, "3 kernels do not compile".to_owned()))
        );
    }
}
