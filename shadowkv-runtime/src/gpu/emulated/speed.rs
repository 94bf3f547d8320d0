//! How long operations would take on the real GPU, going by what they move and compute: good for seeing what overlaps, and no
//! measurement. Every operation is taken to have the GPU for itself.

use shadowkv_emulator::{Counters, GpuModel};

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
    /// Attainable, not peak: about 90 % of device memory and of `PCIe`, half of the tensor cores.
    pub(super) fn of(model: &GpuModel) -> Speed {
        let (device_gb, host_gb, tensor_tera) = match model.name {
            "A100-40" => (1400.0, 24.0, 150.0),
            "H100" => (3000.0, 51.0, 450.0),
            "H200" => (4260.0, 51.0, 450.0),
            _ => (1880.0, 24.0, 150.0),
        };
        Speed {
            device_bytes: device_gb * 1e3,
            host_bytes: host_gb * 1e3,
            tensor_operations: tensor_tera * 1e6,
            // Four schedulers each, 1.4 GHz.
            warp_instructions: f64::from(model.multiprocessors) * 4.0 * 1400.0,
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
