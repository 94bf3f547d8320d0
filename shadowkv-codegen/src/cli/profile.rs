//! `profile`: what do the kernels move, at the size of a model?

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use serde::Serialize;
use shadowkv_codegen::compile::CompiledKernel;
use shadowkv_codegen::plan::Plan;
use shadowkv_codegen::profile::{Profile, ProfileOptions, profile};
use shadowkv_codegen::report::{REPORT_SCHEMA, profile_markdown, profile_text};
use shadowkv_codegen::verify::kernels::Layer;
use shadowkv_codegen::verify::{EmulatedGpu, VerifyOptions};
use shadowkv_runtime::nvrtc::Arch;

use super::args::{ProfileArguments, ProfileFormat};
use super::failure::{Code, Failure};
use super::packages::{overrides, plan};
use super::terminal::{self, Terminal};
use super::{again, compiler};

/// The JSON document of this command.
#[derive(Serialize)]
struct Report<'a> {
    schema: u32,
    command: &'static str,
    within_bars: bool,
    spec: PathBuf,
    arch: Arch,
    /// Version of the compiler.
    nvrtc: String,
    #[serde(flatten)]
    profile: &'a Profile,
}

pub(super) fn run(arguments: &ProfileArguments, terminal: &Terminal) -> Result<(), Failure> {
    let overrides = overrides(&arguments.set, terminal)?;
    let plan = plan(&arguments.spec, &overrides, terminal)?;
    // Before anything is compiled.
    VerifyOptions {
        kernels: arguments.kernel.clone(),
        ..VerifyOptions::default()
    }
    .check(&plan)?;
    let most = plan.spec.rope.max_position;
    if arguments.context > most {
        let message =
            format!("the model has {most} positions (rope.max_position), fewer than the context");
        return Err(Failure::new(Code::Usage, message));
    }
    let nvrtc = compiler::open(arguments.offline, terminal).map_err(|error| {
        let message = format!(
            "{error}\nWithout a compiler there is nothing to profile; `shadowkv-codegen doctor` tells more."
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
    let profile = measure(&plan, &compiled, arguments, terminal)?;
    let nvrtc = compiler::version(&nvrtc);
    let head = head(&profile, arguments, &nvrtc);
    match arguments.format {
        ProfileFormat::Json => terminal::json(&Report {
            schema: REPORT_SCHEMA,
            command: "profile",
            within_bars: profile.within_bars(),
            spec: arguments.spec.clone(),
            arch: arguments.arch,
            nvrtc,
            profile: &profile,
        })?,
        ProfileFormat::Text => {
            terminal.result(&profile_text(&profile, &head, arguments.lines))?;
        }
        ProfileFormat::Markdown => {
            let command = command(arguments);
            let page = profile_markdown(&profile, &head, &command, arguments.lines);
            terminal.result(&page)?;
        }
    }
    tell_findings(&profile)
}

fn measure(
    plan: &Plan,
    compiled: &[CompiledKernel],
    arguments: &ProfileArguments,
    terminal: &Terminal,
) -> Result<Profile, Failure> {
    let options = ProfileOptions {
        kernels: arguments.kernel.clone(),
        layer: Layer {
            batch: arguments.batch,
            context: arguments.context,
            misses: arguments.misses,
        },
    };
    let workers = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let gpu = EmulatedGpu::for_arch(arguments.arch).with_workers(workers);
    let bar = terminal.progress("profiling", compiled.len() as u64);
    bar.tick();
    let profile = profile(plan, compiled, &gpu, &options, &|kernel| {
        if !bar.message().is_empty() {
            bar.inc(1);
        }
        bar.set_message(kernel.to_owned());
    });
    bar.finish_and_clear();
    Ok(profile?)
}

/// What was run.
fn head(profile: &Profile, arguments: &ProfileArguments, nvrtc: &str) -> String {
    let Layer {
        batch,
        context,
        misses,
    } = profile.layer;
    format!(
        "{}, one layer of batch {batch} at {context} tokens, {misses} % of the selected chunks missing, on an {} \
         ({} multiprocessors), compiled for {} by NVRTC {nvrtc}",
        profile.package, profile.device, profile.multiprocessors, arguments.arch,
    )
}

fn tell_findings(profile: &Profile) -> Result<(), Failure> {
    for kernel in &profile.kernels {
        for finding in &kernel.findings {
            terminal::report(&format!("{}: {}", kernel.kernel, finding.text));
        }
    }
    match profile.findings() {
        0 => Ok(()),
        1 => Err(Failure::new(Code::Wrong, "there is a finding")),
        count => Err(Failure::new(
            Code::Wrong,
            format!("there are {count} findings"),
        )),
    }
}

/// The command that prints the page again.
fn command(arguments: &ProfileArguments) -> String {
    let mut words: Vec<OsString> = vec!["profile".into(), arguments.spec.clone().into()];
    if !arguments.kernel.is_empty() {
        words.extend(["--kernel".into(), arguments.kernel.join(",").into()]);
    }
    for set in &arguments.set {
        words.extend(["--set".into(), set.into()]);
    }
    let numbers = [
        ("--context", arguments.context),
        ("--batch", arguments.batch),
        ("--misses", arguments.misses),
    ];
    for (flag, number) in numbers {
        words.extend([flag.into(), number.to_string().into()]);
    }
    words.extend(["--arch".into(), arguments.arch.name().into()]);
    if arguments.lines {
        words.push("--lines".into());
    }
    words.extend(["--format", "markdown"].map(OsString::from));
    again::command(words)
}
