//! What verification needs of a GPU, emulated or real.

use serde::Serialize;
use shadowkv_runtime::manifest::{LaunchDims, MemoryKind};

use crate::compile::CompiledKernel;

/// A kind of GPU to verify on: every case runs on a [`Device`] of its own, so that cases may run side by side and none
/// sees what another left.
pub trait Backend: Sync {
    /// A kernel that its devices can launch.
    type Kernel: Sync;
    /// One GPU.
    type Device: Device<Kernel = Self::Kernel>;

    /// What it is, for reports: `emulated A100`.
    fn name(&self) -> String;

    /// Multiprocessors of each device (the manifest's `sm_count`).
    fn multiprocessors(&self) -> u32;

    /// Makes a compiled kernel ready to be launched.
    ///
    /// # Errors
    ///
    /// A binary or PTX that this kind of GPU does not take.
    fn load(&self, kernel: &CompiledKernel) -> Result<Self::Kernel, DeviceError>;

    /// A device with nothing in its memory.
    ///
    /// # Errors
    ///
    /// No such device can be had.
    fn device(&self) -> Result<Self::Device, DeviceError>;
}

/// One GPU. Addresses are those that kernels see.
pub trait Device {
    /// A kernel that was made ready for it.
    type Kernel;

    /// `bytes` bytes, aligned to 256, whose contents are undefined. `name` is for reports.
    ///
    /// # Errors
    ///
    /// No such memory is left.
    fn allocate(&mut self, name: &str, bytes: u64, kind: MemoryKind) -> Result<u64, DeviceError>;

    /// Copies `bytes` to `address`.
    ///
    /// # Errors
    ///
    /// The range is not within one allocation.
    fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), DeviceError>;

    /// Copies from `address`, whatever it holds.
    ///
    /// # Errors
    ///
    /// The range is not within one allocation.
    fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), DeviceError>;

    /// For each of `bytes` bytes from `address`, whether it has been written since it was allocated; `None` where the
    /// device cannot tell.
    ///
    /// # Errors
    ///
    /// The range is not within one allocation.
    fn written(&self, address: u64, bytes: u64) -> Result<Option<Vec<bool>>, DeviceError>;

    /// Runs the kernel to its end. `parameters` is its one parameter, the argument struct.
    ///
    /// # Errors
    ///
    /// The launch was refused or did not end. What a kernel does wrong while it runs is no error but a [`Finding`], where
    /// the device can tell.
    fn launch(
        &mut self,
        kernel: &Self::Kernel,
        dims: LaunchDims,
        parameters: &[u8],
    ) -> Result<Observed, DeviceError>;
}

/// A device with a clock.
pub trait Stopwatch: Device {
    /// Bytes of its cache.
    fn cache_bytes(&self) -> u64;

    /// Launches the kernel once for each of `parameters` in turn, `warm_up` times and then `launches` times, and tells the
    /// seconds that each of the latter took on the device.
    ///
    /// # Errors
    ///
    /// A launch that is refused or fails.
    fn time(
        &mut self,
        kernel: &Self::Kernel,
        dims: LaunchDims,
        parameters: &[Vec<u8>],
        warm_up: u32,
        launches: u32,
    ) -> Result<Vec<f64>, DeviceError>;
}

/// What a device saw of one launch.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// What the kernel did wrong.
    pub findings: Vec<Finding>,
    /// What it cost; absent where the device does not count.
    pub counters: Option<Counters>,
    /// What its source lines cost, those that touch memory; empty where the device cannot tell.
    pub lines: Vec<LineCost>,
}

/// What one source line costs beyond what it must.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LineCost {
    /// `file:line`.
    pub line: String,
    /// 32-byte sectors of global memory that its accesses touched.
    pub sectors: u64,
    /// Sectors that the same bytes would touch if they lay side by side.
    pub ideal_sectors: u64,
    /// Passes of shared memory.
    pub wavefronts: u64,
    /// Passes that the same accesses would take without a bank conflict.
    pub ideal_wavefronts: u64,
}

impl LineCost {
    /// Sectors and passes beyond the ideal.
    pub fn excess(&self) -> u64 {
        self.sectors.saturating_sub(self.ideal_sectors)
            + self.wavefronts.saturating_sub(self.ideal_wavefronts)
    }
}

/// Something that a kernel must not do, whatever comes out: a race, an access out of bounds, a read of what nobody wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The kind, in the device's words.
    pub kind: String,
    /// What happened where, in as many lines as it takes.
    pub text: String,
}

/// What launches cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Blocks that ran.
    pub blocks: u64,
    /// Bytes of device memory that loads asked for.
    pub read_bytes: u64,
    /// Bytes of device memory that stores wrote.
    pub written_bytes: u64,
    /// Different bytes of device memory that loads asked for.
    pub unique_read_bytes: u64,
    /// Different bytes of device memory that stores wrote.
    pub unique_written_bytes: u64,
    /// Bytes of mapped host memory that loads asked for.
    pub host_read_bytes: u64,
    /// Bytes of mapped host memory that stores wrote.
    pub host_written_bytes: u64,
    /// 32-byte sectors of global memory that the accesses touched.
    pub sectors: u64,
    /// Sectors that the same bytes would touch if they lay side by side.
    pub ideal_sectors: u64,
    /// Sectors fetched from L2: more than touched where an asynchronous copy splits them.
    pub l2_sectors: u64,
    /// Passes of shared memory.
    pub wavefronts: u64,
    /// Passes that the same accesses would take without a bank conflict.
    pub ideal_wavefronts: u64,
    /// Instructions, one for a whole warp.
    pub warp_instructions: u64,
    /// Of them, those of the tensor cores.
    pub tensor_instructions: u64,
    /// Floating-point operations of the tensor cores.
    pub tensor_flops: u64,
}

impl Counters {
    /// Bytes over `PCIe`.
    pub fn host_bytes(&self) -> u64 {
        self.host_read_bytes + self.host_written_bytes
    }

    /// Adds another launch.
    pub fn add(&mut self, other: &Counters) {
        let Counters {
            blocks,
            read_bytes,
            written_bytes,
            unique_read_bytes,
            unique_written_bytes,
            host_read_bytes,
            host_written_bytes,
            sectors,
            ideal_sectors,
            l2_sectors,
            wavefronts,
            ideal_wavefronts,
            warp_instructions,
            tensor_instructions,
            tensor_flops,
        } = other;
        self.blocks += blocks;
        self.read_bytes += read_bytes;
        self.written_bytes += written_bytes;
        self.unique_read_bytes += unique_read_bytes;
        self.unique_written_bytes += unique_written_bytes;
        self.host_read_bytes += host_read_bytes;
        self.host_written_bytes += host_written_bytes;
        self.sectors += sectors;
        self.ideal_sectors += ideal_sectors;
        self.l2_sectors += l2_sectors;
        self.wavefronts += wavefronts;
        self.ideal_wavefronts += ideal_wavefronts;
        self.warp_instructions += warp_instructions;
        self.tensor_instructions += tensor_instructions;
        self.tensor_flops += tensor_flops;
    }
}

/// Why a device did not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot {operation}: {message}")]
pub struct DeviceError {
    /// What was asked for: `allocate 4096 bytes for k_pre`.
    pub operation: String,
    /// What the device says.
    pub message: String,
}

impl DeviceError {
    /// An error of `operation` (a verb and its object), with the device's own words.
    pub fn new(operation: impl Into<String>, message: &impl ToString) -> DeviceError {
        DeviceError {
            operation: operation.into(),
            message: message.to_string(),
        }
    }
}
