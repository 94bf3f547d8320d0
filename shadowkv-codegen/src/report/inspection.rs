//! What a plan comes to: launches, least work and, where a compiler is at hand, occupancy.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use shadowkv_runtime::manifest::{EvalError, Expr, GeometryError, Sizes};
use shadowkv_runtime::nvrtc::Arch;

use super::{KernelReport, grouped, scaled, table};
use crate::compile::CompiledKernel;
use crate::plan::{KernelPlan, Plan, SCORE_SPAN};
use crate::spec::Spec;

/// A GPU that plans are looked at on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Device {
    /// Its name.
    pub name: &'static str,
    /// What kernels are compiled for.
    pub arch: Arch,
    /// Multiprocessors.
    pub multiprocessors: u32,
}

/// The GPUs that plans are looked at on.
pub const DEVICES: [Device; 3] = [
    Device {
        name: "A100",
        arch: Arch::Sm80,
        multiprocessors: 108,
    },
    Device {
        name: "H100",
        arch: Arch::Sm90,
        multiprocessors: 132,
    },
    Device {
        name: "H200",
        arch: Arch::Sm90,
        multiprocessors: 132,
    },
];

/// The launch a plan is evaluated for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Case {
    /// Sequences.
    pub batch: u64,
    /// Tokens of each sequence.
    pub context: u64,
    /// Of the selected chunks, how many per hundred are not resident.
    pub miss_percent: u64,
}

impl Case {
    /// The manifest's sizes of such a launch on a GPU of `multiprocessors`: all sequences equally long, no room to
    /// spare.
    pub fn sizes(&self, spec: &Spec, multiprocessors: u32) -> Sizes {
        let chunks = self.context / u64::from(spec.shadowkv.chunk_size);
        let selected = u64::from(spec.shadowkv.selected_chunks()).min(chunks);
        let missing = (selected * self.miss_percent).div_ceil(100);
        // A prompt's tokens, all of them new, and each with those before it.
        let pairs = self.context.saturating_mul(self.context.saturating_add(1)) / 2;
        let sequences = |each: u64| each.saturating_mul(self.batch);
        // All prompt: what stays exact are the local chunks and what fills no chunk.
        let heads = u64::from(spec.attention.kv_heads);
        let chunk_size = u64::from(spec.shadowkv.chunk_size);
        let compressed = chunks.saturating_sub(spec.shadowkv.local_chunks.into());
        let window = self.context - compressed * chunk_size;
        let outliers = u64::from(spec.shadowkv.outlier_chunks);
        let exact = outliers.min(compressed);
        let attended_chunks =
            exact + (compressed - exact).min(spec.shadowkv.selected_chunks().into());
        let attended = attended_chunks * chunk_size + window;
        Sizes::new()
            .with("batch", self.batch)
            .with("cache_rows", sequences(self.context))
            .with("folding_sequences", self.batch)
            .with("max_chunks", chunks)
            .with("max_queries", self.context)
            .with("max_tokens", self.context)
            .with("max_window", window)
            .with("outlier_capacity", outliers)
            .with("query_rows", sequences(self.context))
            .with("score_stride", chunks.next_multiple_of(SCORE_SPAN.into()))
            .with("sm_count", multiprocessors.into())
            .with("store_chunks", sequences(chunks))
            .with("token_rows", sequences(self.context))
            .with("total_attended", sequences(attended * heads))
            .with("total_chunks", sequences(chunks))
            .with("total_folds", self.batch)
            .with("total_missing", sequences(missing.saturating_mul(heads)))
            .with("total_outliers", sequences(exact.saturating_mul(heads)))
            .with("total_pairs", sequences(pairs))
            .with("total_queries", sequences(self.context))
            .with("total_tokens", sequences(self.context))
            .with("total_window", sequences(window))
    }
}

/// Why a plan cannot be evaluated for a launch.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InspectionError {
    /// A grid that CUDA refuses.
    #[error("`{kernel}` cannot be launched for this batch and context: {source}")]
    Launch {
        /// The kernel.
        kernel: &'static str,
        /// Why not.
        source: GeometryError,
    },
    /// An amount of work without a value.
    #[error("the work of `{kernel}` cannot be told for this batch and context: `{expr}`: {source}")]
    Work {
        /// The kernel.
        kernel: &'static str,
        /// The expression.
        expr: String,
        /// Why not.
        source: EvalError,
    },
}

/// A whole plan, evaluated for one launch.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// Name of the package.
    pub package: String,
    /// SHA-256 of the resolved spec.
    pub spec_sha256: String,
    /// The launch.
    pub case: Case,
    /// The manifest's sizes it means, but for `sm_count`, which is the device's.
    pub sizes: Sizes,
    /// The kernels, in the plan's order.
    pub kernels: Vec<KernelInspection>,
}

/// One kernel of a plan.
#[derive(Clone, Debug, Serialize)]
pub struct KernelInspection {
    /// Short name of the kernel.
    pub kernel: &'static str,
    /// Symbol of the entry point.
    pub entry: String,
    /// One line on what it does.
    pub summary: &'static str,
    /// Tiles and what follows from them.
    pub constants: BTreeMap<&'static str, i64>,
    /// Blocks in x, y, z, as the manifest has them.
    pub grid: [String; 3],
    /// Threads of a block.
    pub threads: u32,
    /// Dynamic shared memory of a block, bytes.
    pub dynamic_shared_bytes: u32,
    /// Least bytes read from device memory.
    pub read_bytes: u64,
    /// Least bytes written to device memory.
    pub written_bytes: u64,
    /// Least bytes read over `PCIe`.
    pub host_read_bytes: u64,
    /// Least bytes written over `PCIe`.
    pub host_written_bytes: u64,
    /// Floating-point operations; absent where there are 2^64 or more, as attention of the largest batches takes.
    pub flops: Option<u64>,
    /// The launch on each device.
    pub devices: Vec<DeviceInspection>,
}

/// One kernel on one device.
#[derive(Clone, Debug, Serialize)]
pub struct DeviceInspection {
    /// The device.
    #[serde(flatten)]
    pub device: Device,
    /// Blocks in x, y, z; zeros when there is nothing to launch.
    pub blocks: [u32; 3],
    /// Registers, shared memory and occupancy; absent where nothing was compiled.
    pub compiled: Option<KernelReport>,
}

impl Inspection {
    /// Evaluates `plan` for `case`, with what was compiled of it, if anything.
    ///
    /// # Errors
    ///
    /// [`InspectionError`] if the launch is too large.
    pub fn new(
        plan: &Plan,
        case: Case,
        compiled: &[CompiledKernel],
    ) -> Result<Inspection, InspectionError> {
        let sizes = case.sizes(&plan.spec, DEVICES[0].multiprocessors);
        let kernels = plan
            .kernels
            .iter()
            .map(|kernel| inspect(&plan.spec, kernel, case, &sizes, compiled));
        Ok(Inspection {
            package: plan.spec.name.clone(),
            spec_sha256: plan.spec.sha256(),
            case,
            kernels: kernels.collect::<Result<_, _>>()?,
            sizes: sizes
                .iter()
                .filter(|(name, _)| *name != "sm_count")
                .collect(),
        })
    }

    /// The inspection as text for people.
    pub fn render(&self) -> String {
        let Case {
            batch,
            context,
            miss_percent,
        } = self.case;
        let (batch, context) = (grouped(batch), grouped(context));
        let mut text = format!(
            "{}: batch {batch}, context {context} tokens, {miss_percent} % of the selected chunks missing\n\n{}\n",
            self.package,
            self.work_table()
        );
        let _ = writeln!(
            text,
            "\nblocks of a launch, and how many a multiprocessor holds\n\n{}",
            self.device_table()
        );
        let _ = writeln!(text, "\ntiles and what follows from them");
        for kernel in &self.kernels {
            let constants: Vec<_> = kernel
                .constants
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            let _ = writeln!(
                text,
                "  {}: {}\n    grid: {}",
                kernel.kernel,
                constants.join(" "),
                kernel.grid.join(" x ")
            );
        }
        text
    }

    fn work_table(&self) -> String {
        let header = [
            "kernel",
            "threads",
            "shared B",
            "read B",
            "written B",
            "PCIe B",
            "flops",
        ];
        let rows = self.kernels.iter().map(|kernel| {
            let work = [
                kernel.read_bytes,
                kernel.written_bytes,
                kernel.host_read_bytes + kernel.host_written_bytes,
            ];
            let mut row = vec![
                kernel.kernel.to_owned(),
                kernel.threads.to_string(),
                grouped(kernel.dynamic_shared_bytes.into()),
            ];
            row.extend(work.map(scaled));
            row.push(kernel.flops.map_or_else(|| ">= 2^64".to_owned(), scaled));
            row
        });
        table(&[0], &header, rows)
    }

    fn device_table(&self) -> String {
        let header = [
            "kernel",
            "device",
            "arch",
            "grid",
            "blocks",
            "registers",
            "spills B",
            "blocks/SM",
            "warps/SM",
            "limited by",
        ];
        let rows = self.kernels.iter().flat_map(|kernel| {
            kernel.devices.iter().map(|found| {
                let [x, y, z] = found.blocks;
                let blocks = found.blocks.iter().map(|count| u64::from(*count)).product();
                let mut row = vec![
                    kernel.kernel.to_owned(),
                    found.device.name.to_owned(),
                    found.device.arch.to_string(),
                    format!("{x} x {y} x {z}"),
                    grouped(blocks),
                ];
                row.extend(found.compiled.as_ref().map_or_else(
                    || vec!["-".to_owned(); 5],
                    |report| {
                        vec![
                            report.registers.to_string(),
                            grouped(
                                u64::from(report.spill_store_bytes)
                                    + u64::from(report.spill_load_bytes),
                            ),
                            report.occupancy.blocks_per_sm.to_string(),
                            report.occupancy.warps_per_sm.to_string(),
                            limiter(report).to_owned(),
                        ]
                    },
                ));
                row
            })
        });
        table(&[0, 1, 2, 9], &header, rows)
    }
}

fn limiter(report: &KernelReport) -> &'static str {
    use shadowkv_runtime::nvrtc::Limiter;
    match report.occupancy.limiter {
        Limiter::Threads => "threads",
        Limiter::Blocks => "blocks",
        Limiter::Registers => "registers",
        Limiter::SharedMemory => "shared memory",
    }
}

fn inspect(
    spec: &Spec,
    kernel: &KernelPlan,
    case: Case,
    sizes: &Sizes,
    compiled: &[CompiledKernel],
) -> Result<KernelInspection, InspectionError> {
    let amount = |expr: &Expr| {
        expr.eval(sizes).map_err(|source| InspectionError::Work {
            kernel: kernel.name,
            expr: expr.to_string(),
            source,
        })
    };
    let flops = match kernel.work.flops.eval(sizes) {
        Err(EvalError::Overflow { .. }) => None,
        _ => Some(amount(&kernel.work.flops)?),
    };
    let devices = DEVICES.iter().map(|device| {
        let sizes = case.sizes(spec, device.multiprocessors);
        let dims = kernel.geometry.evaluate(&sizes);
        let dims = dims.map_err(|source| InspectionError::Launch {
            kernel: kernel.name,
            source,
        })?;
        let found = compiled
            .iter()
            .find(|found| found.kernel == kernel.name && found.arch == device.arch);
        Ok(DeviceInspection {
            device: *device,
            blocks: dims.map_or([0; 3], |dims| dims.grid),
            compiled: found.map(|found| KernelReport::new(kernel, found)),
        })
    });
    Ok(KernelInspection {
        kernel: kernel.name,
        entry: kernel.entry.clone(),
        summary: kernel.summary,
        constants: kernel
            .constants
            .iter()
            .map(|constant| (constant.name, constant.value))
            .collect(),
        grid: kernel.geometry.grid.each_ref().map(ToString::to_string),
        threads: kernel.geometry.threads,
        dynamic_shared_bytes: kernel.geometry.shared_bytes,
        read_bytes: amount(&kernel.work.read_bytes)?,
        written_bytes: amount(&kernel.work.written_bytes)?,
        host_read_bytes: amount(&kernel.work.host_read_bytes)?,
        host_written_bytes: amount(&kernel.work.host_written_bytes)?,
        flops,
        devices: devices.collect::<Result<_, _>>()?,
    })
}
