//! Profiles: what the kernels of a package do at the size of a model, counted on a GPU that counts.
//!
//! Every kernel runs once, at the shape of one layer, and what it asks memory for is held against two measures: the least
//! any implementation must move ([`KernelPlan::work`]), and what this one's tiles are declared to move
//! ([`KernelPlan::requests`]). [`Bar`] says what is not allowed.

use serde::Serialize;
use shadowkv_runtime::manifest::{EvalError, Sizes};
use shadowkv_runtime::nvrtc::Occupancy;

use crate::compile::CompiledKernel;
use crate::plan::{KernelPlan, Plan, Requests};
use crate::verify::device::{Backend, Counters, Finding, LineCost, Observed};
use crate::verify::kernels::{Layer, Purpose, Subject, Target};
use crate::verify::random::hash;
use crate::verify::{LeastWork, VerifyError, chosen, run};

mod bars;

pub use bars::Bar;

/// What to profile.
#[derive(Clone, Debug)]
pub struct ProfileOptions {
    /// Short names of kernels; all of the plan unless given.
    pub kernels: Vec<String>,
    /// The shape.
    pub layer: Layer,
}

/// Why there is no profile.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// There is nothing to profile.
    #[error(transparent)]
    Subject(#[from] VerifyError),
    /// A number of bytes without a value.
    #[error("the requests of `{kernel}` have no value at this shape: {source}")]
    Requests {
        /// The kernel.
        kernel: &'static str,
        /// Why not.
        source: EvalError,
    },
    /// A kernel that cannot be loaded or launched.
    #[error("`{kernel}`: {message}")]
    Launch {
        /// The kernel.
        kernel: &'static str,
        /// Why not.
        message: String,
    },
}

/// The profiles of a package's kernels.
#[derive(Clone, Debug, Serialize)]
pub struct Profile {
    /// Name of the package.
    pub package: String,
    /// SHA-256 of the resolved spec.
    pub spec_sha256: String,
    /// What they ran on.
    pub device: String,
    /// Its multiprocessors.
    pub multiprocessors: u32,
    /// The shape.
    pub layer: Layer,
    /// The kernels, in the plan's order.
    pub kernels: Vec<KernelProfile>,
}

/// One launch of one kernel.
#[derive(Clone, Debug, Serialize)]
pub struct KernelProfile {
    /// Short name.
    pub kernel: &'static str,
    /// Symbol of the entry point.
    pub entry: String,
    /// Tokens of each sequence: the context, or fewer where it would take too long.
    pub tokens: u32,
    /// The manifest's sizes.
    pub sizes: Sizes,
    /// Blocks in x, y, z; absent where there was nothing to launch.
    pub grid: Option<[u32; 3]>,
    /// What the device saw the kernel do wrong.
    pub findings: Vec<Finding>,
    /// The least work any implementation must do.
    pub least: LeastWork,
    /// What its tiles are declared to ask for.
    pub declared: Declared,
    /// What was counted.
    pub counters: Counters,
    /// What it takes of a multiprocessor.
    pub resources: Resources,
    /// The bars it misses.
    pub missed: Vec<Bar>,
    /// Source lines that cost most beyond the ideal, the worst first.
    pub lines: Vec<LineCost>,
    /// Wall time of the launch, seconds.
    pub seconds: f64,
}

/// Declared requests of one launch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Declared {
    /// Bytes read from device memory.
    pub read_bytes: u64,
    /// Bytes written to device memory.
    pub written_bytes: u64,
    /// What of them is asked for more than once.
    pub reuse: &'static str,
}

impl Declared {
    /// The requests of a launch of the given sizes.
    ///
    /// # Errors
    ///
    /// An expression without a value.
    pub fn new(requests: &Requests, sizes: &Sizes) -> Result<Declared, EvalError> {
        Ok(Declared {
            read_bytes: requests.read_bytes.eval(sizes)?,
            written_bytes: requests.written_bytes.eval(sizes)?,
            reuse: requests.reuse,
        })
    }
}

/// What a kernel takes of a multiprocessor of the architecture it was compiled for: from the plan, from ptxas' log, and
/// what follows from both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Resources {
    /// Threads of a block.
    pub threads: u32,
    /// Registers of a thread.
    pub registers: u32,
    /// Statically declared shared memory of a block, bytes.
    pub static_shared_bytes: u32,
    /// Dynamic shared memory of a block, bytes.
    pub dynamic_shared_bytes: u32,
    /// Warps that a multiprocessor holds at most.
    pub most_warps_per_sm: u32,
    /// Blocks and warps of this kernel that it holds, and what keeps it from more.
    pub occupancy: Occupancy,
}

impl Resources {
    /// Of a kernel that was planned and compiled.
    pub fn new(plan: &KernelPlan, compiled: &CompiledKernel) -> Resources {
        let (geometry, taken) = (&plan.geometry, &compiled.resources);
        let shared = taken.static_shared_bytes + geometry.shared_bytes;
        Resources {
            threads: geometry.threads,
            registers: taken.registers,
            static_shared_bytes: taken.static_shared_bytes,
            dynamic_shared_bytes: geometry.shared_bytes,
            most_warps_per_sm: compiled.arch.limits().threads_per_sm / WARP,
            occupancy: compiled
                .arch
                .occupancy(taken.registers, geometry.threads, shared),
        }
    }
}

/// Threads of a warp.
const WARP: u32 = 32;

/// Source lines that are told of each kernel.
const LINES: usize = 10;

impl Profile {
    /// Findings of all kernels.
    pub fn findings(&self) -> usize {
        self.kernels
            .iter()
            .map(|kernel| kernel.findings.len())
            .sum()
    }

    /// Whether every kernel is within all bars.
    pub fn within_bars(&self) -> bool {
        self.kernels.iter().all(|kernel| kernel.missed.is_empty())
    }
}

/// Runs each kernel of `plan`, compiled as `compiled`, once on a device of `backend`. `started` is called before each with
/// its name.
///
/// # Errors
///
/// [`ProfileError`] if a kernel cannot be run. What it does wrong is no error but a finding.
pub fn profile<B: Backend>(
    plan: &Plan,
    compiled: &[CompiledKernel],
    backend: &B,
    options: &ProfileOptions,
    started: &dyn Fn(&str),
) -> Result<Profile, ProfileError> {
    let kernels = chosen(plan, &options.kernels)?
        .into_iter()
        .map(|(kernel, subject)| {
            started(kernel.name);
            one(plan, kernel, subject, compiled, backend, options.layer)
        })
        .collect::<Result<_, _>>()?;
    Ok(Profile {
        package: plan.spec.name.clone(),
        spec_sha256: plan.spec.sha256(),
        device: backend.name(),
        multiprocessors: backend.multiprocessors(),
        layer: options.layer,
        kernels,
    })
}

fn one<B: Backend>(
    plan: &Plan,
    kernel: &KernelPlan,
    subject: &Subject,
    compiled: &[CompiledKernel],
    backend: &B,
    layer: Layer,
) -> Result<KernelProfile, ProfileError> {
    let name = kernel.name;
    let refused = |message: String| ProfileError::Launch {
        kernel: name,
        message,
    };
    let compiled = compiled.iter().find(|compiled| compiled.kernel == name);
    let compiled = compiled.ok_or(VerifyError::NotCompiled { kernel: name })?;
    let loaded = backend.load(compiled);
    let loaded = loaded.map_err(|error| refused(error.to_string()))?;
    let target = Target {
        spec: &plan.spec,
        kernel,
        multiprocessors: backend.multiprocessors(),
        purpose: Purpose::Measure,
    };
    let launch = (subject.layer)(&target, &layer);
    let case = launch
        .sketch
        .build(&target, hash(&[&plan.spec.name, name]) >> 11);
    let least = LeastWork::new(&kernel.work, &case.sizes).map_err(|source| VerifyError::Work {
        kernel: name,
        case: launch.sketch.name.clone(),
        source,
    })?;
    let declared =
        Declared::new(&kernel.requests, &case.sizes).map_err(|source| ProfileError::Requests {
            kernel: name,
            source,
        })?;
    let mut device = backend
        .device()
        .map_err(|error| refused(error.to_string()))?;
    let measured = run::measure(&mut device, kernel, &loaded, &case);
    let measured = measured.map_err(|error| refused(error.to_string()))?;
    let grid = measured.as_ref().map(|(dims, ..)| dims.grid);
    let (observed, seconds) = measured.map_or_else(
        || (Observed::default(), 0.0),
        |(_, observed, seconds)| (observed, seconds),
    );
    let counters = observed.counters.unwrap_or_default();
    let mut lines = observed.lines;
    lines.retain(|line| line.excess() > 0);
    lines.sort_by_key(|line| std::cmp::Reverse(line.excess()));
    lines.truncate(LINES);
    Ok(KernelProfile {
        kernel: name,
        entry: kernel.entry.clone(),
        tokens: launch.tokens,
        grid,
        resources: Resources::new(kernel, compiled),
        missed: bars::missed(&counters, &least, &declared, observed.findings.len()),
        findings: observed.findings,
        sizes: case.sizes,
        least,
        declared,
        counters,
        lines,
        seconds,
    })
}
