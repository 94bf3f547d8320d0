//! One case on one device.

use std::collections::BTreeMap;
use std::time::Instant;

use shadowkv_runtime::manifest::{EvalError, GeometryError, LaunchDims};

use super::case::{Case, Expected};
use super::compare::Mismatch;
use super::device::{Counters, Device, DeviceError, Finding, Observed};
use super::memory::{self, Memory};
use crate::plan::KernelPlan;

/// What became of one case.
#[derive(Clone, Debug)]
pub struct Run {
    /// The launch; absent where there was nothing to launch.
    pub dims: Option<LaunchDims>,
    /// What differs from the oracle.
    pub mismatches: Vec<Mismatch>,
    /// What the device saw the kernel do wrong.
    pub findings: Vec<Finding>,
    /// Largest error as a share of its tolerance, by argument, of those that have tolerances.
    pub shares: BTreeMap<String, f64>,
    /// What the launch cost, if the device counts.
    pub counters: Option<Counters>,
    /// Wall time of the launch alone, seconds.
    pub seconds: f64,
}

/// Why a case could not be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The case does not fit the kernel's manifest entry: one of the two is wrong.
    #[error("the case does not fit the kernel: {0}")]
    Case(String),
    /// An extent of an argument has no value.
    #[error("the extent `{expr}` of an argument has no value: {source}")]
    Size {
        /// The expression.
        expr: String,
        /// Why not.
        source: EvalError,
    },
    /// The sizes give no launch.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    /// The device failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
}

/// Runs `case` of the kernel `plan` (ready as `kernel`) on `device` and compares nothing: what was seen and the wall time,
/// seconds; `None` where there is nothing to launch.
///
/// # Errors
///
/// [`RunError`] if it cannot be launched.
pub fn measure<D: Device>(
    device: &mut D,
    plan: &KernelPlan,
    kernel: &D::Kernel,
    case: &Case,
) -> Result<Option<(LaunchDims, Observed, f64)>, RunError> {
    let Some(dims) = plan.geometry.evaluate(&case.sizes)? else {
        return Ok(None);
    };
    let memory = Memory::new(device, plan, case)?;
    let started = Instant::now();
    let observed = device.launch(kernel, dims, &memory.parameters)?;
    Ok(Some((dims, observed, started.elapsed().as_secs_f64())))
}

/// Allocates and fills the arguments of `case` on `device`, and gives the kernel's one parameter, the argument struct.
///
/// # Errors
///
/// [`RunError`] if the case does not fit the kernel, or the device its memory.
pub fn parameters<D: Device>(
    device: &mut D,
    plan: &KernelPlan,
    case: &Case,
) -> Result<Vec<u8>, RunError> {
    Ok(Memory::new(device, plan, case)?.parameters)
}

/// Bytes of memory that the arguments of `case` take.
///
/// # Errors
///
/// [`RunError::Size`] if an extent has no value.
pub fn bytes(plan: &KernelPlan, case: &Case) -> Result<u64, RunError> {
    let memory = plan
        .arguments
        .iter()
        .filter(|argument| argument.memory.is_some());
    memory
        .map(|argument| memory::bytes_of(argument, &case.sizes))
        .sum()
}

/// Runs `case` of the kernel `plan` (ready as `kernel`) on `device`, and compares what comes out.
///
/// # Errors
///
/// [`RunError`] if there is nothing to compare. A kernel that computes the wrong thing is no error but
/// [`Run::mismatches`].
pub fn run<D: Device>(
    device: &mut D,
    plan: &KernelPlan,
    kernel: &D::Kernel,
    case: &Case,
) -> Result<Run, RunError> {
    let dims = plan.geometry.evaluate(&case.sizes)?;
    let memory = Memory::new(device, plan, case)?;
    let mut run = Run {
        dims,
        mismatches: Vec::new(),
        findings: Vec::new(),
        shares: BTreeMap::new(),
        counters: None,
        seconds: 0.0,
    };
    if let Some(dims) = dims {
        let started = Instant::now();
        let observed = device.launch(kernel, dims, &memory.parameters)?;
        run.seconds = started.elapsed().as_secs_f64();
        run.findings = observed.findings;
        run.counters = observed.counters;
    }
    let compared = match &case.expected {
        Expected::Fixed(regions) => memory.compare(device, regions)?,
        Expected::Chosen { judge, .. } => {
            let judged = judge(&memory.outcome(device));
            match judged {
                Ok(regions) => memory.compare(device, &regions)?,
                Err(misjudged) => (vec![misjudged.into()], BTreeMap::new()),
            }
        }
    };
    (run.mismatches, run.shares) = compared;
    Ok(run)
}
