//! `tune`: are there better tiles than the default ones?

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Instant;

use indicatif::ProgressBar;
use serde::Serialize;
use shadowkv_codegen::output::write_file;
use shadowkv_codegen::plan::KERNELS;
use shadowkv_codegen::report::{REPORT_SCHEMA, tuning_table};
use shadowkv_codegen::spec::Spec;
use shadowkv_codegen::tune::correlation::{agreement, counterpart};
use shadowkv_codegen::tune::{
    Entry, JudgeKind, Modelled, Progress, TUNING_FILE, TuneError, TuneOptions, Tuning, report, tune,
};
#[cfg(feature = "cuda")]
use shadowkv_codegen::tune::{Measured, judge::gpu_for};
#[cfg(feature = "cuda")]
use shadowkv_codegen::verify::Hardware;
use shadowkv_codegen::verify::kernels::Layer;
use shadowkv_runtime::files::TEMPORARY;
#[cfg(feature = "cuda")]
use shadowkv_runtime::gpu::{Gpu as _, cuda::CudaGpu};
use shadowkv_runtime::nvrtc::{Arch, Nvrtc};

use super::args::{Format, JudgeChoice, TuneArguments};
use super::compiler;
use super::failure::{Code, Failure};
use super::packages::{overrides, spec};
use super::terminal::{self, Terminal};

/// The JSON document of this command.
#[derive(Serialize)]
struct Report {
    schema: u32,
    command: &'static str,
    /// Version of the compiler.
    nvrtc: String,
    tunings: Vec<Tuned>,
}

/// One spec, one architecture.
#[derive(Serialize)]
struct Tuned {
    package: String,
    spec: PathBuf,
    file: PathBuf,
    seconds: f64,
    #[serde(flatten)]
    entry: Entry,
    agreement: Vec<Agreement>,
}

/// How well two judges agree on a kernel.
#[derive(Serialize)]
struct Agreement {
    kernel: String,
    tiles: usize,
    /// Spearman's rank correlation; absent where there are too few.
    correlation: Option<f64>,
}

/// A bar that everything of one spec and architecture goes into.
struct Bar<'a> {
    bar: ProgressBar,
    terminal: &'a Terminal,
}

impl Progress for Bar<'_> {
    fn resumed(&self, figures: usize) {
        if figures > 0 {
            self.terminal.note(&format!(
                "{figures} figures of a run that was not finished are taken over"
            ));
        }
    }

    fn step(&self, kernel: &str) {
        self.bar.set_message(kernel.to_owned());
        self.bar.tick();
    }

    fn kernel(&self, _: &str) {
        self.bar.inc(1);
    }
}

pub(super) fn run(arguments: &TuneArguments, terminal: &Terminal) -> Result<(), Failure> {
    let overrides = overrides(&arguments.set, terminal)?;
    let specs = arguments
        .specs
        .iter()
        .map(|path| Ok((path, spec(path, &overrides, terminal)?)))
        .collect::<Result<Vec<_>, Failure>>()?;
    let nvrtc = compiler::open(arguments.offline, terminal).map_err(|error| {
        let message = format!(
            "{error}\nWithout a compiler there is nothing to tune; `shadowkv-codegen doctor` tells more."
        );
        Failure::new(Code::NoCompiler, message)
    })?;
    let clock = clock(arguments, terminal)?;
    let deadline = arguments.budget.map(|budget| Instant::now() + budget);
    let mut report = Report {
        schema: REPORT_SCHEMA,
        command: "tune",
        nvrtc: compiler::version(&nvrtc),
        tunings: Vec::new(),
    };
    let mut pages = Vec::new();
    for (path, spec) in &specs {
        if arguments.context > spec.rope.max_position {
            terminal.note(&format!(
                "{} has {} positions, fewer than the context: it is tuned for as many",
                spec.name, spec.rope.max_position
            ));
        }
        let file = arguments.out_dir.join(&spec.name).join(TUNING_FILE);
        let mut tuning = match Tuning::read(&file, spec) {
            Ok(tuning) => tuning.unwrap_or_else(|| Tuning::new(spec)),
            Err(refused) => {
                terminal.warning(&format!("{refused}; it is replaced"));
                Tuning::new(spec)
            }
        };
        for arch in archs(arguments, clock.as_ref())? {
            let started = Instant::now();
            let entry = one(
                spec,
                arch,
                arguments,
                clock.as_ref(),
                &nvrtc,
                deadline,
                terminal,
            )?;
            tuning.put(entry.clone());
            write_file(&file, tuning.to_json().as_bytes())?;
            let tuned = Tuned {
                package: spec.name.clone(),
                spec: (*path).clone(),
                file: file.clone(),
                seconds: started.elapsed().as_secs_f64(),
                agreement: agreements(&tuning, &entry),
                entry,
            };
            if arguments.format == Format::Text {
                terminal.result(&text(&tuned))?;
            }
            report.tunings.push(tuned);
        }
        pages.push(tuning);
    }
    if let Some(page) = &arguments.report {
        write_file(page, report::html(&pages).as_bytes())?;
    }
    match arguments.format {
        Format::Json => terminal::json(&report),
        Format::Text => Ok(()),
    }
}

/// A GPU that judges, and the architecture it is.
#[cfg(feature = "cuda")]
struct Clock {
    judge: Measured<Hardware<CudaGpu>>,
    arch: Arch,
}

/// Without the feature `cuda` there is none.
#[cfg(not(feature = "cuda"))]
struct Clock {
    judge: Modelled,
    arch: Arch,
}

/// The GPU to measure on, if that is asked for or left open; none where it is left open and there is none.
#[cfg(feature = "cuda")]
fn clock(arguments: &TuneArguments, terminal: &Terminal) -> Result<Option<Clock>, Failure> {
    let wanted = match arguments.judge {
        JudgeChoice::Modelled => return Ok(None),
        JudgeChoice::Measured => true,
        JudgeChoice::Auto => false,
    };
    let opened = CudaGpu::open(arguments.gpu).map_err(|error| error.to_string());
    let found = opened.and_then(|gpu| {
        let (major, minor) = gpu.properties().compute_capability;
        let arch = Arch::for_device(major, minor);
        let arch = arch
            .ok_or_else(|| format!("nothing is compiled for compute capability {major}.{minor}"))?;
        let facts = gpu_for(arch).map_err(|error| error.to_string())?;
        let judge = Measured::new(Hardware::new(gpu, facts.l2_bytes));
        Ok(Clock { judge, arch })
    });
    match found {
        Ok(clock) => Ok(Some(clock)),
        Err(error) if wanted => Err(Failure::new(
            Code::Usage,
            format!(
                "there is no GPU to measure on: {error}\nLet the model judge: --judge modelled"
            ),
        )),
        Err(_) => {
            terminal.note("there is no GPU to measure on: the model judges");
            Ok(None)
        }
    }
}

#[cfg(not(feature = "cuda"))]
fn clock(arguments: &TuneArguments, _: &Terminal) -> Result<Option<Clock>, Failure> {
    if arguments.judge == JudgeChoice::Measured {
        let message = "this program was built without the feature `cuda` and cannot measure: --judge modelled";
        return Err(Failure::new(Code::Usage, message));
    }
    Ok(None)
}

/// The architectures to tune for, each once, from old to new: a clock's own alone.
fn archs(arguments: &TuneArguments, clock: Option<&Clock>) -> Result<Vec<Arch>, Failure> {
    let mut archs = arguments.arch.clone();
    archs.sort_unstable();
    archs.dedup();
    match clock {
        None if archs.is_empty() => Ok(vec![Arch::Sm80, Arch::Sm90]),
        None => Ok(archs),
        Some(clock) if archs.is_empty() || archs == [clock.arch] => Ok(vec![clock.arch]),
        Some(clock) => {
            let message = format!(
                "the GPU is {}, and measures for no other architecture: leave --arch out, or let the model judge (--judge modelled)",
                clock.arch
            );
            Err(Failure::new(Code::Usage, message))
        }
    }
}

fn one(
    spec: &Spec,
    arch: Arch,
    arguments: &TuneArguments,
    clock: Option<&Clock>,
    nvrtc: &Nvrtc,
    deadline: Option<Instant>,
    terminal: &Terminal,
) -> Result<Entry, Failure> {
    let options = TuneOptions {
        kernels: arguments.kernel.clone(),
        arch,
        size: Layer {
            batch: arguments.batch,
            context: arguments.context.min(spec.rope.max_position),
            misses: arguments.misses,
        },
        deadline,
        jobs: arguments.jobs,
    };
    let kind = if clock.is_some() {
        JudgeKind::Measured
    } else {
        JudgeKind::Modelled
    };
    let folder = arguments.out_dir.join(&spec.name);
    let journal = folder.join(format!("{TEMPORARY}tuning-{arch}-{kind}.jsonl"));
    let count = if arguments.kernel.is_empty() {
        KERNELS
            .iter()
            .filter(|kernel| spec.decoder.is_some() || !kernel.of_decoder)
            .count()
    } else {
        arguments.kernel.len()
    };
    let bar = Bar {
        bar: terminal.long_progress(&format!("tuning {} for {arch}", spec.name), count as u64),
        terminal,
    };
    bar.bar
        .enable_steady_tick(std::time::Duration::from_secs(1));
    let entry = match clock {
        Some(clock) => tune(spec, &clock.judge, nvrtc, &options, &journal, &bar),
        None => Modelled::new(arch)
            .map_err(TuneError::from)
            .and_then(|judge| tune(spec, &judge, nvrtc, &options, &journal, &bar)),
    };
    bar.bar.finish_and_clear();
    let entry = entry?;
    if !entry.complete {
        terminal.warning(&format!(
            "{} for {arch}: the budget ran out before every candidate was looked at; run again to go on",
            spec.name
        ));
    }
    Ok(entry)
}

fn agreements(tuning: &Tuning, entry: &Entry) -> Vec<Agreement> {
    let Some(other) = counterpart(&tuning.entries, entry) else {
        return Vec::new();
    };
    let kernels = entry.kernels.iter().filter_map(|kernel| {
        let counterpart = other
            .kernels
            .iter()
            .find(|own| own.kernel == kernel.kernel)?;
        let (tiles, correlation) = agreement(kernel, counterpart);
        Some(Agreement {
            kernel: kernel.kernel.clone(),
            tiles,
            correlation,
        })
    });
    kernels.collect()
}

fn text(tuned: &Tuned) -> String {
    let Entry {
        arch,
        size,
        judge,
        device,
        compiler,
        stated_error,
        ..
    } = &tuned.entry;
    let mut text = format!(
        "{} for {arch}, batch {} at {} tokens, {} % of the selected chunks missing: {judge} ({device}), NVRTC {}.{}, {:.0} s\n\
         A tile replaces the default if it is more than {:.0} % faster, the judge's stated error.\n\n{}\n",
        tuned.package,
        size.batch,
        size.context,
        size.misses,
        compiler.0,
        compiler.1,
        tuned.seconds,
        stated_error * 100.0,
        tuning_table(&tuned.entry),
    );
    for Agreement {
        kernel,
        tiles,
        correlation,
    } in &tuned.agreement
    {
        let correlation = correlation.map_or("-".to_owned(), |value| format!("{value:.2}"));
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "{kernel}: rank correlation of the two judges {correlation} over {tiles} tiles"
        );
    }
    text
}
