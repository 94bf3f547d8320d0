//! `sass`: what is in the kernels' machine code?

use std::ffi::OsString;
use std::path::PathBuf;

use rayon::prelude::*;
use serde::Serialize;
use shadowkv_codegen::compile::CompiledKernel;
use shadowkv_codegen::report::{REPORT_SCHEMA, sass_table};
use shadowkv_codegen::sass::{KernelSass, disassembled};
use shadowkv_codegen::verify::VerifyOptions;
use shadowkv_runtime::nvdisasm::{Nvdisasm, NvdisasmError, NvdisasmOptions};
use shadowkv_runtime::nvrtc::Arch;

use super::args::{ProfileFormat, SassArguments};
use super::failure::{Code, Failure};
use super::packages::{overrides, plan};
use super::terminal::{self, Terminal};
use super::{again, compiler};

/// The JSON document of this command.
#[derive(Serialize)]
struct Report<'a> {
    schema: u32,
    command: &'static str,
    package: &'a str,
    spec: PathBuf,
    spec_sha256: String,
    arch: Arch,
    /// Version of the compiler.
    nvrtc: String,
    /// Version of the disassembler.
    nvdisasm: &'a str,
    kernels: &'a [KernelSass],
}

pub(super) fn run(arguments: &SassArguments, terminal: &Terminal) -> Result<(), Failure> {
    let overrides = overrides(&arguments.set, terminal)?;
    let plan = plan(&arguments.spec, &overrides, terminal)?;
    VerifyOptions {
        kernels: arguments.kernel.clone(),
        ..VerifyOptions::default()
    }
    .check(&plan)?;
    // Before anything is compiled.
    let nvdisasm = open(arguments, terminal)?;
    let nvrtc = compiler::open(arguments.offline, terminal).map_err(|error| {
        let message = format!(
            "{error}\nWithout a compiler there is no machine code; `shadowkv-codegen doctor` tells more."
        );
        Failure::new(Code::NoCompiler, message)
    })?;
    let compiled: Vec<CompiledKernel> = compiler::for_emulation(
        &plan,
        &nvrtc,
        &arguments.kernel,
        arguments.arch,
        None,
        terminal,
    )?;
    let kernels = compiled
        .par_iter()
        .map(|kernel| disassembled(&nvdisasm, kernel))
        .collect::<Result<Vec<_>, _>>()?;
    let compiler = compiler::version(&nvrtc);
    let head = format!(
        "{}, machine code for {} by NVRTC {compiler}, read by {nvdisasm}",
        plan.spec.name, arguments.arch
    );
    let table = sass_table(&kernels);
    match arguments.format {
        ProfileFormat::Json => terminal::json(&Report {
            schema: REPORT_SCHEMA,
            command: "sass",
            package: &plan.spec.name,
            spec: arguments.spec.clone(),
            spec_sha256: plan.spec.sha256(),
            arch: arguments.arch,
            nvrtc: compiler,
            nvdisasm: nvdisasm.version(),
            kernels: &kernels,
        })?,
        ProfileFormat::Text => terminal.result(&format!("{head}\n\n{table}\n"))?,
        ProfileFormat::Markdown => terminal.result(&format!(
            "## {}\n\n{head}:\n\n    {}\n\n{table}\n",
            plan.spec.name,
            command(arguments)
        ))?,
    }
    tell_local(&kernels)
}

fn open(arguments: &SassArguments, terminal: &Terminal) -> Result<Nvdisasm, Failure> {
    let options = NvdisasmOptions::from_environment();
    let options = if arguments.install {
        options.installing(arguments.offline)
    } else {
        options
    };
    let opened = Nvdisasm::open(&options, &|step| terminal.note(&step.to_string()));
    opened.map_err(Failure::from)
}

impl From<NvdisasmError> for Failure {
    fn from(error: NvdisasmError) -> Failure {
        Failure::new(Code::NoCompiler, error)
    }
}

/// Local memory is traffic that no plan accounts for.
fn tell_local(kernels: &[KernelSass]) -> Result<(), Failure> {
    let offenders: Vec<String> = kernels
        .iter()
        .filter(|kernel| kernel.facts.local > 0)
        .map(|kernel| format!("{} ({})", kernel.kernel, kernel.facts.local))
        .collect();
    if offenders.is_empty() {
        return Ok(());
    }
    let message = format!(
        "local memory is accessed by instructions of {}",
        offenders.join(", ")
    );
    Err(Failure::new(Code::Wrong, message))
}

/// The command that prints the page again.
fn command(arguments: &SassArguments) -> String {
    let mut words: Vec<OsString> = vec!["sass".into(), arguments.spec.clone().into()];
    if !arguments.kernel.is_empty() {
        words.extend(["--kernel".into(), arguments.kernel.join(",").into()]);
    }
    for set in &arguments.set {
        words.extend(["--set".into(), set.into()]);
    }
    words.extend(["--arch".into(), arguments.arch.name().into()]);
    words.extend(["--format", "markdown"].map(OsString::from));
    again::command(words)
}
