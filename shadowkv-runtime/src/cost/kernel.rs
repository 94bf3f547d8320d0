//! The time of one launch: a roofline over what it moves and executes, and the latency of its blocks where too few of them run
//! side by side to hide it.

use serde::{Deserialize, Serialize};

use super::GpuFacts;

/// What one launch moves and executes, however it was counted. Counts are of the whole launch unless they say otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelCounts {
    /// Blocks that have work.
    pub blocks: u64,
    /// Threads of a block.
    pub threads: u32,
    /// Blocks that a multiprocessor holds at once (occupancy).
    pub blocks_per_sm: u32,
    /// Bytes of device memory read, each once.
    pub device_read_bytes: u64,
    /// Bytes of device memory written, each once.
    pub device_written_bytes: u64,
    /// 32-byte sectors asked of L2, re-reads included.
    pub l2_sectors: u64,
    /// Bytes of mapped host memory read.
    pub host_read_bytes: u64,
    /// Bytes of mapped host memory written.
    pub host_written_bytes: u64,
    /// Wavefronts of shared memory.
    pub shared_wavefronts: u64,
    /// Operations of tensor cores; a multiply-add is two.
    pub tensor_flops: u64,
    /// Executed instructions of warps, all kinds.
    pub warp_instructions: u64,
    /// Executed barriers, one per warp that waits.
    pub barriers: u64,
    /// Trips to device memory of one block of which each waits for the one before; 0: not known, then two.
    pub memory_trips: u32,
    /// Bytes of device memory that one block keeps on their way; 0: not known, then 32 of each thread.
    pub bytes_in_flight: u32,
}

/// What limits a launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limiter {
    /// Bytes of device memory.
    DeviceMemory,
    /// Sectors of L2.
    L2,
    /// Wavefronts of shared memory.
    Shared,
    /// Tensor cores.
    Tensor,
    /// Instructions issued.
    Issue,
    /// Chains of dependent instructions and memory trips, too few of them side by side.
    Latency,
    /// Bytes over `PCIe`.
    Host,
    /// The launch itself.
    Launch,
}

impl Limiter {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Limiter::DeviceMemory => "device memory",
            Limiter::L2 => "L2",
            Limiter::Shared => "shared memory",
            Limiter::Tensor => "tensor cores",
            Limiter::Issue => "instructions",
            Limiter::Latency => "latency",
            Limiter::Host => "PCIe",
            Limiter::Launch => "launch",
        }
    }
}

/// The time of a launch by the model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KernelTime {
    /// Seconds from its first block's begin to its last one's end.
    pub seconds: f64,
    /// The longest of `parts`.
    pub limiter: Limiter,
    /// What each resource alone would take, seconds, the longest first.
    pub parts: Vec<(Limiter, f64)>,
}

/// Share of a launch's time by which the model may be wrong: the largest error over the measured launches of the tests. Of two
/// launches closer than this it does not know the faster.
pub const STATED_ERROR: f64 = 0.35;

/// Threads of a warp.
const WARP: u32 = 32;
/// Issue slots of a multiprocessor.
const SCHEDULERS: f64 = 4.0;
/// Clocks from one instruction of a warp to its next, on average over those that wait and those that do not.
const CLOCKS_PER_INSTRUCTION: f64 = 3.5;
/// Clocks of a barrier beyond the instructions before it.
const CLOCKS_PER_BARRIER: f64 = 40.0;
/// Share of the bandwidth of reads that kernels with other work reach.
const ATTAINED: f64 = 0.9;
/// How sharply the longest part wins: parts overlap, but not perfectly.
const SHARPNESS: f64 = 3.0;

/// The time of a launch with `counts` on `gpu`.
///
/// Every part grows with what is counted and never shrinks, so that launches can be ranked. Parts that belong to a multiprocessor go by
/// the one with most blocks; latency by the rounds in which the blocks come to run.
pub fn kernel_time(gpu: &GpuFacts, counts: &KernelCounts) -> KernelTime {
    let sm_count = f64::from(gpu.sm_count);
    let blocks = counts.blocks as f64;
    let resident = f64::from(counts.blocks_per_sm.max(1));
    // What the fullest multiprocessor has to do, over what all have to do on average.
    let per_sm = blocks / sm_count;
    let imbalance = if blocks > 0.0 {
        last_round(per_sm) / per_sm
    } else {
        1.0
    };
    let clocks = |clocks: f64| clocks / gpu.clock;
    let on_sms = |clocks_in_all: f64| clocks(clocks_in_all / sm_count) * imbalance;
    let mma_clocks = counts.tensor_flops as f64 / (gpu.mma_rate / sm_count / gpu.clock);
    let mut parts = vec![
        (Limiter::DeviceMemory, device_seconds(gpu, counts)),
        (
            Limiter::L2,
            counts.l2_sectors as f64 * 32.0 / gpu.l2_bandwidth,
        ),
        (Limiter::Shared, on_sms(counts.shared_wavefronts as f64)),
        (Limiter::Tensor, on_sms(mma_clocks)),
        (
            Limiter::Issue,
            on_sms(counts.warp_instructions as f64 / SCHEDULERS),
        ),
    ];
    let rounds = last_round((blocks / (sm_count * resident)).max(1.0));
    parts.push((Limiter::Latency, rounds * block_seconds(gpu, counts)));
    let host = host_seconds(gpu, counts);
    parts.push((Limiter::Host, host));
    let busy = smooth_max(parts.iter().map(|(_, seconds)| *seconds));
    parts.push((Limiter::Launch, gpu.kernel_floor));
    // A stable sort: of equal parts the first of the list above.
    parts.sort_by(|a, b| b.1.total_cmp(&a.1));
    KernelTime {
        seconds: gpu.kernel_floor + busy,
        limiter: parts[0].0,
        parts,
    }
}

/// Rounds of blocks. The last is seldom full: its blocks have more of a multiprocessor for themselves, so that it counts for something
/// between its share and a whole one.
fn last_round(rounds: f64) -> f64 {
    f64::midpoint(rounds, rounds.ceil())
}

/// The bytes at the bandwidth that those on their way at once sustain (Little's law).
fn device_seconds(gpu: &GpuFacts, counts: &KernelCounts) -> f64 {
    let read = counts.device_read_bytes as f64;
    let written = counts.device_written_bytes as f64;
    if read + written == 0.0 {
        return 0.0;
    }
    let in_flight = match counts.bytes_in_flight {
        0 => f64::from(counts.threads) * 32.0,
        bytes => f64::from(bytes),
    };
    let slots = f64::from(gpu.sm_count) * f64::from(counts.blocks_per_sm.max(1));
    let sustained = (counts.blocks as f64).clamp(1.0, slots) * in_flight / gpu.memory_latency;
    // Only read: the bandwidth of reads; as much written as read: that of copies.
    let mixed = 2.0 * (written / (read + written)).min(0.5);
    let attainable =
        ATTAINED * (gpu.read_bandwidth + mixed * (gpu.copy_bandwidth - gpu.read_bandwidth));
    (read + written) * smooth_max([1.0 / attainable, 1.0 / sustained])
}

/// One block alone: its trips to memory, its instructions, its barriers.
fn block_seconds(gpu: &GpuFacts, counts: &KernelCounts) -> f64 {
    if counts.blocks == 0 {
        return 0.0;
    }
    let warps = f64::from(counts.threads.div_ceil(WARP).max(1));
    let of_warp = |count: u64| count as f64 / (counts.blocks as f64 * warps);
    let trips = match counts.memory_trips {
        0 => 2.0,
        trips => f64::from(trips),
    };
    let clocks = of_warp(counts.warp_instructions) * CLOCKS_PER_INSTRUCTION
        + of_warp(counts.barriers) * CLOCKS_PER_BARRIER;
    trips * gpu.memory_latency + clocks / gpu.clock
}

fn host_seconds(gpu: &GpuFacts, counts: &KernelCounts) -> f64 {
    let bytes = (counts.host_read_bytes + counts.host_written_bytes) as f64;
    if bytes == 0.0 {
        return 0.0;
    }
    // The floor of any launch is added to all.
    (gpu.host_latency - gpu.kernel_floor).max(0.0) + bytes / gpu.host_read_bandwidth
}

/// A little more than the largest, the more the closer others come.
fn smooth_max(values: impl IntoIterator<Item = f64> + Clone) -> f64 {
    let most = values.clone().into_iter().fold(0.0, f64::max);
    if most <= 0.0 {
        return 0.0;
    }
    let sum: f64 = values
        .into_iter()
        .map(|value| (value / most).powf(SHARPNESS))
        .sum();
    most * sum.powf(1.0 / SHARPNESS)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

    use super::super::gpu;
    use super::*;

    fn counts() -> KernelCounts {
        KernelCounts {
            blocks: 264,
            threads: 256,
            blocks_per_sm: 2,
            device_read_bytes: 1 << 28,
            l2_sectors: 1 << 23,
            warp_instructions: 1 << 21,
            ..KernelCounts::default()
        }
    }

    #[test]
    fn a_launch_that_does_nothing_is_a_launch() {
        let gpu = gpu("h200").unwrap();
        let time = kernel_time(gpu, &KernelCounts::default());
        assert_eq!(time.limiter, Limiter::Launch);
        assert!((time.seconds - gpu.kernel_floor).abs() < 1e-12);
    }

    #[test]
    fn more_of_anything_takes_no_less() {
        let gpu = gpu("a100-80").unwrap();
        let base = counts();
        let before = kernel_time(gpu, &base).seconds;
        let more: [fn(&mut KernelCounts); 10] = [
            |own| own.device_read_bytes *= 3,
            |own| own.device_written_bytes += 1 << 26,
            |own| own.l2_sectors *= 9,
            |own| own.host_read_bytes += 1 << 25,
            |own| own.host_written_bytes += 1 << 25,
            |own| own.shared_wavefronts += 1 << 24,
            |own| own.tensor_flops += 1 << 38,
            |own| own.warp_instructions *= 100,
            |own| own.barriers += 1 << 16,
            |own| own.memory_trips = 99,
        ];
        for (place, more) in more.iter().enumerate() {
            let mut own = base;
            more(&mut own);
            assert!(kernel_time(gpu, &own).seconds > before, "{place}");
        }
        let mut fewer = base;
        fewer.blocks_per_sm = 1;
        assert!(kernel_time(gpu, &fewer).seconds > before);
    }

    #[test]
    fn the_limiter_is_what_there_is_most_of() {
        let gpu = gpu("h100").unwrap();
        let limiter = |change: fn(&mut KernelCounts)| {
            let mut own = counts();
            change(&mut own);
            kernel_time(gpu, &own).limiter
        };
        assert_eq!(limiter(|_| ()), Limiter::DeviceMemory);
        assert_eq!(limiter(|own| own.host_read_bytes = 1 << 25), Limiter::Host);
        assert_eq!(limiter(|own| own.tensor_flops = 1 << 40), Limiter::Tensor);
        assert_eq!(limiter(|own| own.l2_sectors = 1 << 30), Limiter::L2);
        assert_eq!(
            limiter(|own| own.shared_wavefronts = 1 << 30),
            Limiter::Shared
        );
        assert_eq!(
            limiter(
                |own| (own.blocks, own.blocks_per_sm, own.warp_instructions) = (1056, 8, 1 << 30)
            ),
            Limiter::Issue
        );
        assert_eq!(
            limiter(
                |own| (own.blocks, own.device_read_bytes, own.warp_instructions) =
                    (1, 1 << 20, 1 << 24)
            ),
            Limiter::Latency
        );
    }

    #[test]
    fn few_bytes_in_flight_starve_the_memory() {
        let gpu = gpu("h200").unwrap();
        let rate = |blocks| {
            let own = KernelCounts {
                blocks,
                threads: 512,
                blocks_per_sm: 2,
                device_read_bytes: 1 << 30,
                bytes_in_flight: 512 * 64,
                ..KernelCounts::default()
            };
            own.device_read_bytes as f64 / kernel_time(gpu, &own).seconds / 1e9
        };
        // Blocks of 512 threads with four loads of 16 bytes on the way, as measured.
        for (blocks, measured) in [(264, 4639.0), (64, 3371.0), (32, 1974.0), (16, 1065.0)] {
            let error = rate(blocks) / measured - 1.0;
            assert!(error.abs() < 0.25, "{blocks} blocks: {:.0}", rate(blocks));
        }
    }
}
