//! What each compiled kernel takes.

use serde::Serialize;
use shadowkv_runtime::nvrtc::{Arch, Occupancy};

use super::{grouped, table};
use crate::compile::CompiledKernel;
use crate::plan::KernelPlan;

/// One compiled kernel's figures: from the plan, from ptxas' log, and what follows from both.
#[derive(Clone, Debug, Serialize)]
pub struct KernelReport {
    /// Short name of the kernel.
    pub kernel: String,
    /// Symbol of the entry point.
    pub entry: String,
    /// What it was compiled for.
    pub arch: Arch,
    /// Threads of a block.
    pub threads: u32,
    /// Registers of a thread.
    pub registers: u32,
    /// Statically declared shared memory of a block, bytes.
    pub static_shared_bytes: u32,
    /// Dynamic shared memory of a block, bytes.
    pub dynamic_shared_bytes: u32,
    /// Stack frame of a thread, bytes.
    pub stack_bytes: u32,
    /// Stores of a thread for want of registers, bytes.
    pub spill_store_bytes: u32,
    /// Loads of a thread for want of registers, bytes.
    pub spill_load_bytes: u32,
    /// Constant memory, parameters included, bytes.
    pub constant_bytes: u32,
    /// Named barriers.
    pub barriers: u32,
    /// Blocks a multiprocessor holds at once, and what keeps it from one more.
    pub occupancy: Occupancy,
    /// Wall time of the compilation, milliseconds.
    pub compile_ms: f64,
}

impl KernelReport {
    /// Of a kernel that was planned and compiled.
    pub fn new(plan: &KernelPlan, compiled: &CompiledKernel) -> KernelReport {
        let resources = &compiled.resources;
        let geometry = &plan.geometry;
        let shared = resources
            .static_shared_bytes
            .saturating_add(geometry.shared_bytes);
        KernelReport {
            kernel: compiled.kernel.clone(),
            entry: resources.entry.clone(),
            arch: compiled.arch,
            threads: geometry.threads,
            registers: resources.registers,
            static_shared_bytes: resources.static_shared_bytes,
            dynamic_shared_bytes: geometry.shared_bytes,
            stack_bytes: resources.stack_bytes,
            spill_store_bytes: resources.spill_store_bytes,
            spill_load_bytes: resources.spill_load_bytes,
            constant_bytes: resources.constant_bytes,
            barriers: resources.barriers,
            occupancy: compiled
                .arch
                .occupancy(resources.registers, geometry.threads, shared),
            compile_ms: (compiled.milliseconds * 10.0).round() / 10.0,
        }
    }

    /// Whether registers ran out: memory traffic that no plan accounts for.
    pub fn spills(&self) -> bool {
        self.spill_store_bytes > 0 || self.spill_load_bytes > 0
    }
}

/// The figures as a table, one line per kernel and architecture.
pub fn kernel_table(kernels: &[KernelReport]) -> String {
    let header = [
        "kernel",
        "arch",
        "threads",
        "registers",
        "shared B (static + dynamic)",
        "spills B",
        "stack B",
        "blocks/SM",
        "compile ms",
    ];
    let rows = kernels.iter().map(|kernel| {
        let (fixed, dynamic) = (kernel.static_shared_bytes, kernel.dynamic_shared_bytes);
        let spills = u64::from(kernel.spill_store_bytes) + u64::from(kernel.spill_load_bytes);
        vec![
            kernel.kernel.clone(),
            kernel.arch.to_string(),
            kernel.threads.to_string(),
            kernel.registers.to_string(),
            format!("{} + {}", grouped(fixed.into()), grouped(dynamic.into())),
            grouped(spills),
            grouped(kernel.stack_bytes.into()),
            kernel.occupancy.blocks_per_sm.to_string(),
            format!("{:.0}", kernel.compile_ms),
        ]
    });
    table(&[0, 1], &header, rows)
}
