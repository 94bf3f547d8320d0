//! GPUs that can be emulated: their limits, not their speed.

use crate::arith::tensor::TensorModel;

/// What a launch depends on of a GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpuModel {
    /// Name.
    pub name: &'static str,
    /// Compute capability, major and minor.
    pub compute_capability: (u32, u32),
    /// Streaming multiprocessors.
    pub multiprocessors: u32,
    /// Bytes of device memory.
    pub memory_bytes: u64,
    /// Most bytes of shared memory of a block, declared and dynamic (what a kernel may opt in to).
    pub shared_bytes_per_block: u32,
    /// Bytes of shared memory of a multiprocessor.
    pub shared_bytes_per_multiprocessor: u32,
    /// Most threads of a multiprocessor.
    pub threads_per_multiprocessor: u32,
    /// Most blocks of a multiprocessor.
    pub blocks_per_multiprocessor: u32,
}

impl GpuModel {
    /// NVIDIA A100, 80 GB (CUDA programming guide, technical specifications per compute capability 8.0).
    pub fn a100_80gb() -> GpuModel {
        GpuModel {
            name: "A100-80",
            compute_capability: (8, 0),
            multiprocessors: 108,
            memory_bytes: 80 << 30,
            shared_bytes_per_block: 163 << 10,
            shared_bytes_per_multiprocessor: 164 << 10,
            threads_per_multiprocessor: 2048,
            blocks_per_multiprocessor: 32,
        }
    }

    /// NVIDIA A100, 40 GB (as above).
    pub fn a100_40gb() -> GpuModel {
        GpuModel {
            name: "A100-40",
            memory_bytes: 40 << 30,
            ..GpuModel::a100_80gb()
        }
    }

    /// NVIDIA H100 SXM, 80 GB (as above, 9.0).
    pub fn h100() -> GpuModel {
        GpuModel {
            name: "H100",
            compute_capability: (9, 0),
            multiprocessors: 132,
            shared_bytes_per_block: 227 << 10,
            shared_bytes_per_multiprocessor: 228 << 10,
            ..GpuModel::a100_80gb()
        }
    }

    /// NVIDIA H200, 141 GB (as above, 9.0).
    pub fn h200() -> GpuModel {
        GpuModel {
            name: "H200",
            memory_bytes: 141_000_000_000,
            ..GpuModel::h100()
        }
    }

    /// The model called `a100-40`, `a100-80`, `h100` or `h200`, in any case.
    pub fn named(name: &str) -> Option<GpuModel> {
        let models = [
            GpuModel::a100_40gb(),
            GpuModel::a100_80gb(),
            GpuModel::h100(),
            GpuModel::h200(),
        ];
        models
            .into_iter()
            .find(|model| model.name.eq_ignore_ascii_case(name))
    }

    /// The model that runs code for `sm_XY`: the smallest of its family that this crate knows.
    pub fn for_target(target: &str) -> GpuModel {
        let number: u32 = target
            .trim_start_matches("sm_")
            .trim_end_matches(|letter: char| letter.is_ascii_alphabetic())
            .parse()
            .unwrap_or(80);
        match number {
            90.. => GpuModel::h100(),
            // Consumer parts of these families have 99 KiB a block.
            86 | 89 => GpuModel {
                name: "8.6/8.9",
                compute_capability: (number / 10, number % 10),
                shared_bytes_per_block: 99 << 10,
                shared_bytes_per_multiprocessor: 100 << 10,
                threads_per_multiprocessor: 1536,
                blocks_per_multiprocessor: 16,
                ..GpuModel::a100_80gb()
            },
            _ => GpuModel::a100_80gb(),
        }
    }

    /// How its tensor cores sum.
    pub(crate) fn tensor(&self) -> TensorModel {
        if self.compute_capability.0 >= 9 {
            TensorModel::Hopper
        } else {
            TensorModel::Ampere
        }
    }

    /// Blocks that fit the GPU at a time, going by threads and shared memory.
    pub(crate) fn resident_blocks(&self, threads: u32, shared_bytes: u32) -> u32 {
        // Each block takes 1 KiB of shared memory for the system.
        let by_shared = self.shared_bytes_per_multiprocessor / (shared_bytes + 1024);
        let by_threads = self.threads_per_multiprocessor / threads.next_multiple_of(32).max(1);
        let per_multiprocessor = by_shared
            .min(by_threads)
            .min(self.blocks_per_multiprocessor)
            .max(1);
        per_multiprocessor * self.multiprocessors
    }
}
