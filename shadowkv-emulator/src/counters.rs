//! What a launch did, counted: the emulated profiler.

use serde::Serialize;

/// Counts of one instruction over a whole launch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Site {
    /// Times a warp executed it, with any lane or none.
    pub warps: u64,
    /// Lanes that executed it.
    pub lanes: u64,
    /// Global-memory requests: times a warp asked for anything.
    pub requests: u64,
    /// 32-byte sectors that the requests touched.
    pub sectors: u64,
    /// Sectors that as many bytes would fill, had they been neighbours.
    pub ideal_sectors: u64,
    /// Sectors fetched from L2: more than touched where an asynchronous copy splits them.
    pub l2_sectors: u64,
    /// Bytes requested from device memory; what several lanes of a request ask for counts once.
    pub device_read_bytes: u64,
    /// Bytes written to device memory.
    pub device_written_bytes: u64,
    /// Bytes requested from mapped host memory (`PCIe`).
    pub host_read_bytes: u64,
    /// Bytes written to mapped host memory (`PCIe`).
    pub host_written_bytes: u64,
    /// Shared-memory wavefronts.
    pub wavefronts: u64,
    /// Wavefronts without bank conflicts.
    pub ideal_wavefronts: u64,
    /// Floating-point (or integer) operations on tensor cores; a multiply-add is two.
    pub tensor_operations: u64,
    /// Atomic operations, one per lane.
    pub atomics: u64,
}

macro_rules! sum_fields {
    ($to:expr, $from:expr, $($field:ident),+) => { $($to.$field += $from.$field;)+ };
}

impl Site {
    /// Adds another's counts.
    pub fn add(&mut self, other: &Site) {
        sum_fields!(
            self,
            other,
            warps,
            lanes,
            requests,
            sectors,
            ideal_sectors,
            l2_sectors,
            device_read_bytes,
            device_written_bytes,
            host_read_bytes,
            host_written_bytes,
            wavefronts,
            ideal_wavefronts,
            tensor_operations,
            atomics
        );
    }
}

/// Executed warp instructions by class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Mix {
    /// Integer and bit arithmetic, moves and selections.
    pub integer: u64,
    /// f32, f64 and half arithmetic.
    pub float: u64,
    /// Approximated functions: `ex2`, `rcp`, `rsqrt`, ...
    pub special_function: u64,
    /// Conversions.
    pub conversion: u64,
    /// Comparisons and predicates.
    pub predicate: u64,
    /// Tensor-core products.
    pub tensor: u64,
    /// Loads and stores of global memory, asynchronous copies included.
    pub global: u64,
    /// Loads and stores of shared memory.
    pub shared: u64,
    /// Local memory, parameters and constants.
    pub local: u64,
    /// Atomics and reductions.
    pub atomic: u64,
    /// Shuffles, votes, matches.
    pub exchange: u64,
    /// Branches and exits.
    pub control: u64,
    /// Barriers and fences.
    pub barrier: u64,
}

/// Bytes of one launch that were touched at least once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Unique {
    /// Bytes of device memory read.
    pub device_read_bytes: u64,
    /// Bytes of device memory written.
    pub device_written_bytes: u64,
    /// Bytes of mapped host memory read.
    pub host_read_bytes: u64,
    /// Bytes of mapped host memory written.
    pub host_written_bytes: u64,
}

/// Everything counted in a launch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Sums over all instructions.
    pub total: Site,
    /// Executed warp instructions by class.
    pub mix: Mix,
    /// Executed warp instructions in which some lanes of the warp took no part.
    pub divergent: u64,
    /// What was touched at least once.
    pub unique: Unique,
    /// Blocks.
    pub blocks: u64,
    /// Warps.
    pub warps: u64,
}
