//! How long operations would take on the real GPU, going by what they move and compute: good for seeing what overlaps, and no
//! measurement. Every operation is taken to have the GPU for itself.

use shadowkv_emulator::{Counters, GpuModel};

use crate::cost;

/// Bandwidths and rates, in bytes or operations per microsecond, and latencies in microseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Speed {
    device_bytes: f64,
    host_bytes: f64,
    tensor_operations: f64,
    warp_instructions: f64,
}

/// A kernel that does nothing.
const KERNEL_US: f64 = 2.0;
/// A kernel that reads host memory, or a copy across `PCIe` (measured on an H200: 2.3).
const HOST_US: f64 = 2.3;
/// Enqueuing one operation (measured on an H200: 3.3 to 4.1).
pub(super) const ENQUEUE_US: f64 = 3.5;
/// Launching a graph (measured on an H200: 2 to 6).
pub(super) const GRAPH_US: f64 = 4.0;

impl Speed {
    /// What the cost model knows of the GPU: attainable, not peak. Half of the tensor cores. For a model of a GPU that it does not know,
    /// an A100's figures.
    pub(super) fn of(model: &GpuModel) -> Speed {
        let known = cost::gpu(model.name).ok();
        let (device, host, tensor, clock) = known.map_or((1.8e12, 24e9, 260e12, 1.4e9), |gpu| {
            let (device, host) = (gpu.copy_bandwidth, gpu.host_read_bandwidth);
            (device, host, gpu.tensor_rate, gpu.clock)
        });
        Speed {
            device_bytes: device * 1e-6,
            host_bytes: host * 1e-6,
            tensor_operations: tensor * 0.5e-6,
            // Four schedulers each.
            warp_instructions: f64::from(model.multiprocessors) * 4.0 * clock * 1e-6,
        }
    }

    pub(super) fn launch_us(&self, counters: &Counters) -> f64 {
        let unique = &counters.unique;
        let device = unique.device_read_bytes + unique.device_written_bytes;
        let host = unique.host_read_bytes + unique.host_written_bytes;
        let latency = if host > 0 { HOST_US } else { KERNEL_US };
        let busy = [
            device as f64 / self.device_bytes,
            host as f64 / self.host_bytes,
            counters.total.tensor_operations as f64 / self.tensor_operations,
            counters.total.warps as f64 / self.warp_instructions,
        ];
        latency + busy.into_iter().fold(0.0, f64::max)
    }

    pub(super) fn copy_us(&self, bytes: u64, across: bool) -> f64 {
        if across {
            HOST_US + bytes as f64 / self.host_bytes
        } else {
            KERNEL_US + 2.0 * bytes as f64 / self.device_bytes
        }
    }

    pub(super) fn fill_us(&self, bytes: u64) -> f64 {
        KERNEL_US + bytes as f64 / self.device_bytes
    }

    pub(super) fn product_us(&self, rows: u64, inputs: u64, outputs: u64) -> f64 {
        let bytes = 2 * (rows * inputs + inputs * outputs + rows * outputs);
        let operations = 2.0 * rows as f64 * inputs as f64 * outputs as f64;
        KERNEL_US + (bytes as f64 / self.device_bytes).max(operations / self.tensor_operations)
    }

    /// A small eigenproblem is bound by its latency: 10 ms at 1024 rows on an H200, and about as the square of them.
    #[allow(clippy::unused_self, reason = "one of a family")]
    pub(super) fn eigen_us(&self, width: u64) -> f64 {
        let share = width as f64 / 1024.0;
        100.0 + 10_000.0 * share * share
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

    use super::*;

    #[test]
    fn models_and_the_cost_model_agree() {
        for gpu in cost::gpus().unwrap() {
            let model = GpuModel::named(&gpu.name).unwrap();
            assert_eq!(model.memory_bytes, gpu.memory_bytes, "{}", gpu.name);
            assert_eq!(model.multiprocessors, gpu.sm_count, "{}", gpu.name);
            let capability = gpu.arch.compute_capability();
            assert_eq!(model.compute_capability, capability, "{}", gpu.name);
            let limits = gpu.arch.limits();
            let shared = model.shared_bytes_per_multiprocessor;
            assert_eq!(shared, limits.shared_bytes_per_sm, "{}", gpu.name);
            assert_eq!(model.threads_per_multiprocessor, limits.threads_per_sm);
        }
    }
}
