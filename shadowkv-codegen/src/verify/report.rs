//! What a verification came to.

use std::collections::BTreeMap;

use serde::Serialize;
use shadowkv_runtime::manifest::{EvalError, Sizes, Work};

use super::compare::Mismatch;
use super::device::{Counters, Finding};
use super::run::Run;

/// All verified kernels of a package.
#[derive(Clone, Debug, Serialize)]
pub struct Verification {
    /// Name of the package.
    pub package: String,
    /// SHA-256 of the resolved spec.
    pub spec_sha256: String,
    /// What they ran on.
    pub device: String,
    /// Its multiprocessors.
    pub multiprocessors: u32,
    /// Seed of all random numbers.
    pub seed: u64,
    /// The kernels, in the plan's order.
    pub kernels: Vec<KernelVerification>,
}

/// One kernel.
#[derive(Clone, Debug, Serialize)]
pub struct KernelVerification {
    /// Short name.
    pub kernel: &'static str,
    /// Symbol of the entry point.
    pub entry: String,
    /// Why none of its cases could run; absent if they could.
    pub error: Option<String>,
    /// Its cases.
    pub cases: Vec<CaseReport>,
}

/// One case.
#[derive(Clone, Debug, Serialize)]
pub struct CaseReport {
    /// What it tries.
    pub case: String,
    /// Seed of its own random numbers.
    pub seed: u64,
    /// The manifest's sizes.
    pub sizes: Sizes,
    /// Blocks in x, y, z; absent where there was nothing to launch.
    pub grid: Option<[u32; 3]>,
    /// Why it could not be compared; absent if it could.
    pub error: Option<String>,
    /// What differs from the oracle.
    pub mismatches: Vec<Mismatch>,
    /// What the device saw the kernel do wrong.
    pub findings: Vec<Finding>,
    /// Largest error as a share of its tolerance, by argument, of those that have tolerances. What is rounded to bfloat16
    /// comes near 1 by that alone.
    pub shares: BTreeMap<String, f64>,
    /// The least work any implementation must do.
    pub least: LeastWork,
    /// What the launch cost; absent where the device does not count.
    pub counters: Option<Counters>,
    /// Wall time of the launch, seconds.
    pub seconds: f64,
}

/// The least bytes and operations of a launch, from the manifest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LeastWork {
    /// Bytes that must be read from device memory.
    pub read_bytes: u64,
    /// Bytes that must be written to device memory.
    pub written_bytes: u64,
    /// Bytes that must be read from mapped host memory.
    pub host_read_bytes: u64,
    /// Bytes that must be written to mapped host memory.
    pub host_written_bytes: u64,
    /// Floating-point operations of the products.
    pub flops: u64,
}

impl LeastWork {
    /// The work of a launch of the given sizes.
    ///
    /// # Errors
    ///
    /// An expression without a value.
    pub fn new(work: &Work, sizes: &Sizes) -> Result<LeastWork, EvalError> {
        Ok(LeastWork {
            read_bytes: work.read_bytes.eval(sizes)?,
            written_bytes: work.written_bytes.eval(sizes)?,
            host_read_bytes: work.host_read_bytes.eval(sizes)?,
            host_written_bytes: work.host_written_bytes.eval(sizes)?,
            flops: work.flops.eval(sizes)?,
        })
    }

    /// All bytes.
    pub fn bytes(&self) -> u64 {
        self.read_bytes + self.written_bytes + self.host_bytes()
    }

    /// Bytes over `PCIe`.
    pub fn host_bytes(&self) -> u64 {
        self.host_read_bytes + self.host_written_bytes
    }
}

impl CaseReport {
    pub(super) fn new(
        case: String,
        seed: u64,
        sizes: Sizes,
        least: LeastWork,
        outcome: Result<Run, String>,
    ) -> CaseReport {
        let (run, error) = match outcome {
            Ok(run) => (Some(run), None),
            Err(error) => (None, Some(error)),
        };
        let grid = run.as_ref().and_then(|run| run.dims).map(|dims| dims.grid);
        let counters = run.as_ref().and_then(|run| run.counters);
        let seconds = run.as_ref().map_or(0.0, |run| run.seconds);
        let (mismatches, findings, shares) = run
            .map(|run| (run.mismatches, run.findings, run.shares))
            .unwrap_or_default();
        CaseReport {
            case,
            seed,
            sizes,
            grid,
            error,
            mismatches,
            findings,
            shares,
            least,
            counters,
            seconds,
        }
    }

    /// Whether the kernel did all it must and nothing else.
    pub fn passed(&self) -> bool {
        self.error.is_none() && self.mismatches.is_empty() && self.findings.is_empty()
    }
}

impl KernelVerification {
    /// Whether all cases passed, and there were any.
    pub fn passed(&self) -> bool {
        self.error.is_none() && !self.cases.is_empty() && self.cases.iter().all(CaseReport::passed)
    }

    /// Largest error of any element of any case as a share of its tolerance; absent where nothing is tolerated.
    pub fn worst_share(&self) -> Option<f64> {
        let shares = self.cases.iter().flat_map(|case| case.shares.values());
        shares.copied().max_by(f64::total_cmp)
    }

    /// Findings of all cases.
    pub fn findings(&self) -> usize {
        self.cases.iter().map(|case| case.findings.len()).sum()
    }

    /// Mismatches of all cases, and cases that could not be compared.
    pub fn mismatches(&self) -> usize {
        let of_case = |case: &CaseReport| case.mismatches.len() + usize::from(case.error.is_some());
        self.cases.iter().map(of_case).sum()
    }

    /// What all launches cost together; absent where the device does not count.
    pub fn counters(&self) -> Option<Counters> {
        let mut all = self
            .cases
            .iter()
            .filter_map(|case| case.counters)
            .peekable();
        all.peek()?;
        let mut total = Counters::default();
        for counters in all {
            total.add(&counters);
        }
        Some(total)
    }

    /// The least bytes of all launches.
    pub fn least_bytes(&self) -> u64 {
        self.cases.iter().map(|case| case.least.bytes()).sum()
    }

    /// Wall time of all launches, seconds.
    pub fn seconds(&self) -> f64 {
        self.cases.iter().map(|case| case.seconds).sum()
    }
}

impl Verification {
    /// Whether all kernels passed.
    pub fn passed(&self) -> bool {
        self.kernels.iter().all(KernelVerification::passed)
    }
}
