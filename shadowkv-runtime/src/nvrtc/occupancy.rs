//! How many blocks of a kernel one multiprocessor holds at once.

use serde::Serialize;

use super::Arch;

const WARP: u32 = 32;

/// What fits on one multiprocessor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Occupancy {
    /// Blocks resident at once; 0 when the kernel cannot be launched at all.
    pub blocks_per_sm: u32,
    /// Their warps.
    pub warps_per_sm: u32,
    /// What keeps it from holding one block more.
    pub limiter: Limiter,
}

/// What limits the number of blocks; of several equally strict ones the first of this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Limiter {
    /// Resident threads.
    Threads,
    /// Resident blocks.
    Blocks,
    /// Registers.
    Registers,
    /// Shared memory.
    SharedMemory,
}

impl Arch {
    /// Occupancy of a kernel of `registers` per thread, `threads` per block and `shared_bytes` per
    /// block (static and dynamic together), with the largest carve-out for shared memory.
    pub fn occupancy(self, registers: u32, threads: u32, shared_bytes: u32) -> Occupancy {
        let limits = self.limits();
        let warps = threads.div_ceil(WARP).max(1);
        let by_threads = if threads > limits.threads_per_block {
            0
        } else {
            limits.threads_per_sm / WARP / warps
        };
        let by_registers = if registers > limits.registers_per_thread {
            0
        } else {
            // A warp lives in one sub-partition and takes all its registers from there.
            let per_warp = (registers.max(1) * WARP).next_multiple_of(limits.register_unit);
            let per_partition = limits.registers_per_sm / limits.sub_partitions / per_warp;
            per_partition * limits.sub_partitions / warps
        };
        let by_shared = if shared_bytes > limits.shared_bytes_per_block {
            0
        } else {
            let per_block = (shared_bytes + limits.reserved_shared_bytes)
                .next_multiple_of(limits.shared_unit_bytes);
            limits.shared_bytes_per_sm / per_block
        };
        let mut occupancy = Occupancy {
            blocks_per_sm: by_threads,
            warps_per_sm: 0,
            limiter: Limiter::Threads,
        };
        for (blocks, limiter) in [
            (limits.blocks_per_sm, Limiter::Blocks),
            (by_registers, Limiter::Registers),
            (by_shared, Limiter::SharedMemory),
        ] {
            if blocks < occupancy.blocks_per_sm {
                occupancy.blocks_per_sm = blocks;
                occupancy.limiter = limiter;
            }
        }
        occupancy.warps_per_sm = occupancy.blocks_per_sm * warps;
        occupancy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_cases() {
        use Limiter::{Blocks, Registers, SharedMemory, Threads};
        for (arch, registers, threads, shared, blocks, warps, limiter) in [
            (Arch::Sm80, 32, 256, 0, 8, 64, Threads),
            (Arch::Sm80, 33, 256, 0, 6, 48, Registers),
            (Arch::Sm80, 64, 256, 0, 4, 32, Registers),
            (Arch::Sm80, 128, 256, 0, 2, 16, Registers),
            (Arch::Sm80, 168, 128, 0, 3, 12, Registers),
            (Arch::Sm80, 255, 128, 0, 2, 8, Registers),
            (Arch::Sm80, 255, 256, 0, 1, 8, Registers),
            (Arch::Sm80, 16, 32, 0, 32, 32, Blocks),
            (Arch::Sm80, 32, 128, 81 * 1024, 2, 8, SharedMemory),
            (Arch::Sm80, 32, 128, 163 * 1024, 1, 4, SharedMemory),
            (Arch::Sm80, 32, 128, 163 * 1024 + 1, 0, 0, SharedMemory),
            (Arch::Sm86, 16, 64, 0, 16, 32, Blocks),
            (Arch::Sm86, 40, 256, 0, 6, 48, Threads),
            (Arch::Sm86, 16, 1024, 0, 1, 32, Threads),
            (Arch::Sm89, 16, 64, 0, 24, 48, Threads),
            (Arch::Sm89, 64, 256, 48 * 1024, 2, 16, SharedMemory),
            (Arch::Sm90, 32, 1024, 0, 2, 64, Threads),
            (Arch::Sm90, 64, 384, 113 * 1024, 2, 24, Registers),
            (Arch::Sm90, 40, 384, 113 * 1024, 2, 24, SharedMemory),
            (Arch::Sm100, 64, 128, 0, 8, 32, Registers),
            (Arch::Sm120, 32, 96, 0, 16, 48, Threads),
            (Arch::Sm120, 256, 32, 0, 0, 0, Registers),
            (Arch::Sm120, 32, 1025, 0, 0, 0, Threads),
        ] {
            let expected = Occupancy {
                blocks_per_sm: blocks,
                warps_per_sm: warps,
                limiter,
            };
            let case = format!("{arch}: {registers} registers, {threads} threads, {shared} bytes");
            assert_eq!(
                arch.occupancy(registers, threads, shared),
                expected,
                "{case}"
            );
        }
    }

    #[test]
    fn nothing_overflows() {
        for arch in Arch::ALL {
            for value in [0, 1, u32::MAX] {
                let _ = arch.occupancy(value, value, value);
            }
        }
    }
}
