//! Tuning: better tiles than the default ones, for one spec, architecture and problem size.
//!
//! | notion | here |
//! | --- | --- |
//! | the tiles worth trying, as data | [`space`](mod@space) |
//! | what a tile costs: [`Modelled`] on any machine, [`Measured`] on a GPU | [`judge`] |
//! | from many candidates to one | `search` |
//! | what was found, beside the package's kernels, and the plans made from it | [`file`](mod@file) |
//! | a page about it | [`report`](mod@report) |
//!
//! A tile replaces the default only if it gains more than its judge's stated error and still does what the kernel's oracle says
//! on the emulated GPU. Everything is deterministic but a clock's figures, and what a `budget` cuts short.

#![cfg_attr(
    test,
    allow(
        clippy::float_cmp,
        clippy::unwrap_used,
        clippy::panic,
        reason = "tests compare exact numbers, and one that cannot go on has failed"
    )
)]

use std::path::Path;
use std::time::{Duration, Instant};

use rayon::prelude::*;
use shadowkv_runtime::nvrtc::{Arch, Nvrtc, STACK_BYTES};

mod conformance;
pub mod correlation;
pub mod file;
mod journal;
pub mod judge;
pub mod report;
mod search;
pub mod space;

pub use file::{DEFAULT_SIZE, Entry, TUNING_FILE, Tried, TunedKernel, Tuning, TuningError};
pub use judge::{Judge, JudgeError, JudgeKind, Measured, Modelled};

use crate::emit::{EmitError, generator};
use crate::output::OutputError;
use crate::plan::{KERNELS, Limits, PlanError};
use crate::spec::Spec;
use crate::verify::VerifyError;
use crate::verify::kernels::Layer;
use journal::Journal;
use search::{Found, Search};
use space::SPACES;

/// What to tune.
#[derive(Clone, Debug)]
pub struct TuneOptions {
    /// Short names of kernels; all of the spec's unless given.
    pub kernels: Vec<String>,
    /// Architecture.
    pub arch: Arch,
    /// The problem.
    pub size: Layer,
    /// Time after which no further candidate is looked at; as long as it takes unless given.
    pub deadline: Option<Instant>,
    /// Compilations, and candidates, at a time; as many as there are processors unless given.
    pub jobs: Option<std::num::NonZeroUsize>,
}

/// Why nothing was tuned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TuneError {
    /// The default tiles are impossible.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A kernel cannot be printed.
    #[error(transparent)]
    Emit(#[from] EmitError),
    /// A kernel that does not exist.
    #[error(transparent)]
    Subject(#[from] VerifyError),
    /// The judge cannot be asked.
    #[error(transparent)]
    Judge(#[from] JudgeError),
    /// What has been found so far cannot be kept.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The kernel as it is cannot be judged, and nothing can be better than that.
    #[error("`{kernel}` with its default tile cannot be judged: {message}")]
    Heuristic {
        /// The kernel.
        kernel: String,
        /// Why not.
        message: String,
    },
    /// A plan without the kernel it was made for.
    #[error("a plan lacks its kernel (a defect of shadowkv-codegen)")]
    NoKernel,
    /// The system gives no threads.
    #[error("cannot start {jobs} threads: {source}; lower --jobs")]
    Threads {
        /// How many were wanted.
        jobs: usize,
        /// What the system says.
        source: rayon::ThreadPoolBuildError,
    },
}

/// What a tuning is told of while it goes on, from several threads.
pub trait Progress: Sync {
    /// Candidates that an earlier run, which was killed, has judged already.
    fn resumed(&self, figures: usize);
    /// A candidate of `kernel` has been compiled or judged.
    fn step(&self, kernel: &str);
    /// A kernel is done.
    fn kernel(&self, kernel: &str);
}

/// Tunes the kernels of `spec` with `judge`, and keeps what is found so far in the file `journal` until it is done.
///
/// # Errors
///
/// [`TuneError`] if there is nothing to tune, or a kernel cannot be judged as it is.
pub fn tune<J: Judge>(
    spec: &Spec,
    judge: &J,
    nvrtc: &Nvrtc,
    options: &TuneOptions,
    journal: &Path,
    progress: &impl Progress,
) -> Result<Entry, TuneError> {
    let names = kernels(spec, &options.kernels)?;
    let limits = Limits::portable();
    let jobs = options.jobs.map_or_else(available, std::num::NonZero::get);
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(jobs)
        .stack_size(STACK_BYTES)
        .build();
    let pool = pool.map_err(|source| TuneError::Threads { jobs, source })?;
    let header = serde_json::json!({
        "generator": generator(),
        "arch": options.arch,
        "size": options.size,
        "judge": judge.kind(),
        "device": judge.device(),
        "compiler": nvrtc.version(),
    });
    let journal = Journal::open(journal, &header.to_string())?;
    progress.resumed(journal.len());
    let search = Search {
        judge,
        nvrtc,
        arch: options.arch,
        size: options.size,
        journal: &journal,
        deadline: options.deadline,
        step: &|kernel| progress.step(kernel),
    };
    let one = |name: &&'static str| -> Result<Option<Found>, TuneError> {
        let space = space::space(name).ok_or(TuneError::NoKernel)?;
        let late = options
            .deadline
            .is_some_and(|deadline| Instant::now() >= deadline);
        let found = match space::candidates(spec, space, &limits)? {
            Some(candidates) if !late => Some(search.run(&candidates)?),
            _ => None,
        };
        progress.kernel(name);
        Ok(found)
    };
    let found: Vec<Option<Found>> = pool.install(|| {
        if judge.exclusive() {
            names.iter().map(one).collect::<Result<_, _>>()
        } else {
            names.par_iter().with_max_len(1).map(one).collect()
        }
    })?;
    let complete = found
        .iter()
        .all(|found| found.as_ref().is_some_and(|found| found.complete));
    let entry = Entry {
        arch: options.arch,
        size: options.size,
        judge: judge.kind(),
        device: judge.device(),
        compiler: nvrtc.version(),
        stated_error: judge.stated_error(),
        complete,
        kernels: found
            .into_iter()
            .flatten()
            .map(|found| found.kernel)
            .collect(),
    };
    if complete {
        journal.remove();
    }
    Ok(entry)
}

/// The kernels called `names`, all of the spec's if there are none, in the order of the plan.
fn kernels(spec: &Spec, names: &[String]) -> Result<Vec<&'static str>, TuneError> {
    let known: Vec<&'static str> = KERNELS
        .iter()
        .filter(|kernel| spec.decoder.is_some() || !kernel.of_decoder)
        .map(|kernel| kernel.name)
        .collect();
    if let Some(name) = names.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(VerifyError::UnknownKernel {
            name: name.clone(),
            known: known.iter().map(|name| (*name).to_owned()).collect(),
        }
        .into());
    }
    let wanted = |name: &&str| names.is_empty() || names.iter().any(|wanted| wanted == name);
    let mut chosen: Vec<_> = known.into_iter().filter(|name| wanted(name)).collect();
    chosen.retain(|name| SPACES.iter().any(|space| space.kernel == *name));
    Ok(chosen)
}

fn available() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Reads `10m`, `90s`, `1h30m`, or a number of seconds.
///
/// # Errors
///
/// What is expected, where the text is something else.
pub fn parse_budget(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no time: say 90s, 10m or 1h30m");
    let mut seconds = 0_u64;
    let mut number = String::new();
    let mut parts = 0;
    for character in text.chars() {
        if character.is_ascii_digit() {
            number.push(character);
            continue;
        }
        let unit = match character {
            'h' => 3600,
            'm' => 60,
            's' => 1,
            _ => return Err(wrong()),
        };
        let count: u64 = number.parse().map_err(|_| wrong())?;
        let part = count.checked_mul(unit).ok_or_else(wrong)?;
        seconds = seconds.checked_add(part).ok_or_else(wrong)?;
        number.clear();
        parts += 1;
    }
    if !number.is_empty() {
        if parts > 0 {
            return Err(wrong());
        }
        seconds = number.parse().map_err(|_| wrong())?;
    }
    if seconds == 0 {
        return Err(wrong());
    }
    Ok(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_are_read_and_refused() {
        let seconds = |text| parse_budget(text).map(|budget| budget.as_secs());
        assert_eq!(seconds("10m"), Ok(600));
        assert_eq!(seconds("1h30m"), Ok(5400));
        assert_eq!(seconds("90s"), Ok(90));
        assert_eq!(seconds("45"), Ok(45));
        for wrong in ["", "m", "10x", "0", "10m5", "-3s", "99999999999999999999h"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
