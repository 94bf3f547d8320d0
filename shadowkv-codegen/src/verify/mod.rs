//! Verification: proves the kernels of a package on a GPU, emulated or real, against independent oracles.
//!
//! For every kernel, [`kernels`] has cases: awkward batches, with inputs from seeded random numbers. Each runs on a device
//! of its own, and what comes out is compared element by element with what the [`oracle`] says, within a [`tolerance`] that
//! follows from formats and lengths of sums. What must be written must have been written, and nothing else; what the device
//! sees the kernel do wrong counts as much as a wrong result.
//!
//! | to | see |
//! | --- | --- |
//! | verify a package | [`verify`] |
//! | without a GPU | [`EmulatedGpu`] |
//! | on a real one | [`Hardware`], with the feature `cuda` |
//! | put another GPU behind it | [`device`] |
//! | add a kernel | [`kernels`], [`oracle`] |

#![cfg_attr(
    test,
    allow(
        clippy::float_cmp,
        clippy::unwrap_used,
        clippy::panic,
        reason = "tests compare exact numbers, and one that cannot go on has failed"
    )
)]

pub mod batch;
pub mod case;
pub mod compare;
pub mod device;
mod emulated;
#[cfg(test)]
mod fake;
#[cfg(feature = "cuda")]
mod hardware;
pub mod inputs;
pub mod kernels;
mod memory;
pub mod number;
pub mod oracle;
mod parts;
pub mod random;
mod report;
pub mod run;
pub mod tolerance;

use std::num::NonZeroUsize;

use rayon::prelude::*;
use shadowkv_runtime::manifest::EvalError;

use crate::compile::CompiledKernel;
use crate::plan::{KernelPlan, Plan};
use device::Backend;
pub use emulated::EmulatedGpu;
#[cfg(feature = "cuda")]
pub use hardware::{Hardware, HardwareDevice};
use kernels::{Purpose, Sketch, Subject, Target, subject};
use random::hash;
pub use report::{CaseReport, KernelVerification, LeastWork, Verification};

/// What to verify.
#[derive(Clone, Debug, Default)]
pub struct VerifyOptions {
    /// Short names of kernels; all of the plan unless given.
    pub kernels: Vec<String>,
    /// Part of the names of the cases to run; all unless given.
    pub case: Option<String>,
    /// Changes every random number.
    pub seed: u64,
    /// Cases at a time; as many as there are processors unless given.
    pub jobs: Option<NonZeroUsize>,
}

impl VerifyOptions {
    /// Whether the kernels asked for exist in `plan`.
    ///
    /// # Errors
    ///
    /// [`VerifyError::UnknownKernel`], with those there are.
    pub fn check(&self, plan: &Plan) -> Result<(), VerifyError> {
        check_names(plan, &self.kernels)
    }
}

fn check_names(plan: &Plan, names: &[String]) -> Result<(), VerifyError> {
    let unknown = names.iter().find(|name| plan.kernel(name).is_none());
    unknown.map_or(Ok(()), |name| {
        let known = plan.kernels.iter().map(|kernel| kernel.name.to_owned());
        Err(VerifyError::UnknownKernel {
            name: name.clone(),
            known: known.collect(),
        })
    })
}

/// Why nothing can be verified.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// No kernel of that name.
    #[error("there is no kernel `{name}`; there are: {}", known.join(", "))]
    UnknownKernel {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// No case whose name contains the text.
    #[error("no case of {} contains `{text}`; there are: {}", kernels.join(", "), known.join(", "))]
    UnknownCase {
        /// The text asked for.
        text: String,
        /// The kernels that were looked at.
        kernels: Vec<String>,
        /// The names there are.
        known: Vec<String>,
    },
    /// A kernel that nobody has written cases for.
    #[error("`{kernel}` has no cases (a defect of shadowkv-codegen)")]
    NoCases {
        /// The kernel.
        kernel: &'static str,
    },
    /// A kernel that is planned but was not compiled.
    #[error("`{kernel}` was not compiled")]
    NotCompiled {
        /// The kernel.
        kernel: &'static str,
    },
    /// The system gives no threads.
    #[error("cannot start {jobs} threads: {source}; lower --jobs")]
    Threads {
        /// How many were wanted.
        jobs: usize,
        /// What the system says.
        source: rayon::ThreadPoolBuildError,
    },
    /// An amount of work without a value.
    #[error("the least work of `{kernel}` has no value in the case `{case}`: {source}")]
    Work {
        /// The kernel.
        kernel: &'static str,
        /// The case.
        case: String,
        /// Why not.
        source: EvalError,
    },
}

/// One kernel and what it is verified with.
struct Task<'a, K> {
    target: Target<'a>,
    plan: &'a KernelPlan,
    /// The kernel on the backend, or why it cannot be loaded.
    kernel: Result<K, String>,
    sketches: Vec<Sketch>,
}

/// Verifies the kernels of `plan`, compiled as `compiled`, on devices of `backend`. Cases run in parallel; the results are
/// in the order of the plan's kernels and of their cases.
///
/// `finished` is called after each case with the kernel's and the case's name, from several threads; `started`, once, with
/// the number of cases.
///
/// # Errors
///
/// [`VerifyError`] if there is nothing to verify. What is wrong with a kernel is no error but in the [`Verification`].
pub fn verify<B: Backend>(
    plan: &Plan,
    compiled: &[CompiledKernel],
    backend: &B,
    options: &VerifyOptions,
    started: &dyn Fn(usize),
    finished: &(dyn Fn(&str, &str) + Sync),
) -> Result<Verification, VerifyError>
where
    B::Kernel: Send,
{
    let tasks = chosen(plan, &options.kernels)?
        .into_iter()
        .map(|(kernel, subject)| task(plan, kernel, subject, compiled, backend, options))
        .collect::<Result<Vec<_>, _>>()?;
    let all: Vec<(usize, usize)> = tasks
        .iter()
        .enumerate()
        .flat_map(
            |(
                task,
                Task {
                    kernel, sketches, ..
                },
            )| {
                // A kernel that cannot be loaded has no cases to run.
                let count = if kernel.is_ok() { sketches.len() } else { 0 };
                (0..count).map(move |sketch| (task, sketch))
            },
        )
        .collect();
    if let Some(text) = &options.case
        && tasks.iter().all(|task| task.sketches.is_empty())
    {
        return Err(unknown_case(plan, options, backend.multiprocessors(), text));
    }
    started(all.len());
    let jobs = options.jobs.map_or_else(available, NonZeroUsize::get);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(jobs).build();
    let pool = pool.map_err(|source| VerifyError::Threads { jobs, source })?;
    // One at a time to whoever is free: cases differ by a factor of a thousand.
    let cases = all.par_iter().with_max_len(1).map(|(task, sketch)| {
        let task = &tasks[*task];
        let report = run_case(task, &task.sketches[*sketch], backend, options.seed);
        finished(task.plan.name, &task.sketches[*sketch].name);
        report
    });
    let mut cases = pool
        .install(|| cases.collect::<Result<Vec<_>, _>>())?
        .into_iter();
    let kernels = tasks
        .iter()
        .map(|task| KernelVerification {
            kernel: task.plan.name,
            entry: task.plan.entry.clone(),
            error: task.kernel.as_ref().err().cloned(),
            cases: match task.kernel {
                Ok(_) => cases.by_ref().take(task.sketches.len()).collect(),
                Err(_) => Vec::new(),
            },
        })
        .collect();
    Ok(Verification {
        package: plan.spec.name.clone(),
        spec_sha256: plan.spec.sha256(),
        device: backend.name(),
        multiprocessors: backend.multiprocessors(),
        seed: options.seed,
        kernels,
    })
}

fn available() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// The kernels called `names`, all if there are none, in the plan's order and with their cases.
pub(crate) fn chosen<'a>(
    plan: &'a Plan,
    names: &[String],
) -> Result<Vec<(&'a KernelPlan, &'static Subject)>, VerifyError> {
    check_names(plan, names)?;
    let wanted =
        |kernel: &&KernelPlan| names.is_empty() || names.iter().any(|name| name == kernel.name);
    plan.kernels
        .iter()
        .filter(wanted)
        .map(|kernel| {
            let found = subject(kernel.name).ok_or(VerifyError::NoCases {
                kernel: kernel.name,
            });
            Ok((kernel, found?))
        })
        .collect()
}

fn task<'a, B: Backend>(
    plan: &'a Plan,
    kernel: &'a KernelPlan,
    subject: &Subject,
    compiled: &[CompiledKernel],
    backend: &B,
    options: &VerifyOptions,
) -> Result<Task<'a, B::Kernel>, VerifyError> {
    let found = compiled
        .iter()
        .find(|compiled| compiled.kernel == kernel.name);
    let compiled = found.ok_or(VerifyError::NotCompiled {
        kernel: kernel.name,
    })?;
    let target = Target {
        spec: &plan.spec,
        kernel,
        multiprocessors: backend.multiprocessors(),
        purpose: Purpose::Compare,
    };
    let mut sketches = (subject.cases)(&target);
    if let Some(text) = &options.case {
        sketches.retain(|sketch| sketch.name.contains(text.as_str()));
    }
    Ok(Task {
        target,
        plan: kernel,
        kernel: backend.load(compiled).map_err(|error| error.to_string()),
        sketches,
    })
}

fn unknown_case(
    plan: &Plan,
    options: &VerifyOptions,
    multiprocessors: u32,
    text: &str,
) -> VerifyError {
    let chosen = chosen(plan, &options.kernels).unwrap_or_default();
    let mut known: Vec<String> = Vec::new();
    for (kernel, subject) in &chosen {
        let target = Target {
            spec: &plan.spec,
            kernel,
            multiprocessors,
            purpose: Purpose::Compare,
        };
        for sketch in (subject.cases)(&target) {
            if !known.contains(&sketch.name) {
                known.push(sketch.name);
            }
        }
    }
    VerifyError::UnknownCase {
        text: text.to_owned(),
        kernels: chosen
            .iter()
            .map(|(kernel, _)| kernel.name.to_owned())
            .collect(),
        known,
    }
}

fn run_case<B: Backend>(
    task: &Task<'_, B::Kernel>,
    sketch: &Sketch,
    backend: &B,
    seed: u64,
) -> Result<CaseReport, VerifyError> {
    let plan = task.plan;
    // The same numbers whatever else is verified, and others for every case; 53 bits, which JSON holds exactly.
    let own_seed = hash(&[
        &task.target.spec.name,
        plan.name,
        &sketch.name,
        &seed.to_string(),
    ]) >> 11;
    let case = sketch.build(&task.target, own_seed);
    let least = LeastWork::new(&plan.work, &case.sizes).map_err(|source| VerifyError::Work {
        kernel: plan.name,
        case: sketch.name.clone(),
        source,
    })?;
    let outcome = match (&task.kernel, backend.device()) {
        (Ok(kernel), Ok(mut device)) => {
            run::run(&mut device, plan, kernel, &case).map_err(|error| error.to_string())
        }
        (_, Err(error)) => Err(error.to_string()),
        (Err(error), _) => Err(error.clone()),
    };
    Ok(CaseReport::new(
        sketch.name.clone(),
        own_seed,
        case.sizes,
        least,
        outcome,
    ))
}
