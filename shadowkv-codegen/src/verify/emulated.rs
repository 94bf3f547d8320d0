//! The emulated GPU as a device to verify on.

use shadowkv_emulator as emulator;
use shadowkv_emulator::{GpuModel, LaunchConfig, Module};
use shadowkv_runtime::manifest::{LaunchDims, MemoryKind};
use shadowkv_runtime::nvrtc::Arch;

use super::device::{Backend, Counters, Device, DeviceError, Finding, LineCost, Observed};
use crate::compile::CompiledKernel;

/// Instructions (of whole warps) after which a launch is given up: a hundred times the longest case's.
const MOST_INSTRUCTIONS: u64 = 2_000_000_000;

/// GPUs emulated on the CPU, from the PTX that a real one would be given.
#[derive(Clone, Debug)]
pub struct EmulatedGpu {
    model: GpuModel,
    workers: usize,
    most_blocks: Option<u32>,
}

impl EmulatedGpu {
    /// GPUs of a model, each of which runs on one thread: cases run side by side.
    pub fn new(model: GpuModel) -> EmulatedGpu {
        EmulatedGpu {
            model,
            workers: 1,
            most_blocks: None,
        }
    }

    /// Runs every launch on `workers` threads. What comes out does not depend on it.
    #[must_use]
    pub fn with_workers(mut self, workers: usize) -> EmulatedGpu {
        self.workers = workers;
        self
    }

    /// Runs of every launch `blocks` blocks at most, spread evenly: enough to tell what it costs, not what it computes.
    #[must_use]
    pub fn with_most_blocks(mut self, blocks: u32) -> EmulatedGpu {
        self.most_blocks = Some(blocks);
        self
    }

    /// GPUs that run what is compiled for `arch`.
    pub fn for_arch(arch: Arch) -> EmulatedGpu {
        EmulatedGpu::new(GpuModel::for_target(arch.name()))
    }
}

impl Backend for EmulatedGpu {
    type Kernel = emulator::Kernel;
    type Device = EmulatedDevice;

    fn name(&self) -> String {
        format!("emulated {}", self.model.name)
    }

    fn multiprocessors(&self) -> u32 {
        self.model.multiprocessors
    }

    fn load(&self, kernel: &CompiledKernel) -> Result<emulator::Kernel, DeviceError> {
        let loaded =
            Module::load(&kernel.ptx).and_then(|module| module.kernel(&kernel.resources.entry));
        loaded.map_err(|error| DeviceError::new(format!("load `{}`", kernel.kernel), &error))
    }

    fn device(&self) -> Result<EmulatedDevice, DeviceError> {
        let device = emulator::Device::new(self.model.clone())
            .with_workers(self.workers)
            .with_most_instructions(MOST_INSTRUCTIONS);
        let device = match self.most_blocks {
            Some(blocks) => device.with_most_blocks(blocks),
            None => device,
        };
        Ok(EmulatedDevice { device })
    }
}

/// One emulated GPU.
#[derive(Debug)]
pub struct EmulatedDevice {
    device: emulator::Device,
}

impl Device for EmulatedDevice {
    type Kernel = emulator::Kernel;

    fn allocate(&mut self, name: &str, bytes: u64, kind: MemoryKind) -> Result<u64, DeviceError> {
        let address = match kind {
            MemoryKind::Device => self.device.allocate(name, bytes),
            MemoryKind::MappedHost => self.device.allocate_mapped(name, bytes),
        };
        address.map_err(|error| {
            DeviceError::new(format!("allocate {bytes} bytes for `{name}`"), &error)
        })
    }

    fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        let written = self.device.write(address, bytes);
        written.map_err(|error| DeviceError::new("write to the device", &error))
    }

    fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), DeviceError> {
        let read = self.device.read(address, bytes);
        read.map_err(|error| DeviceError::new("read from the device", &error))
    }

    fn written(&self, address: u64, bytes: u64) -> Result<Option<Vec<bool>>, DeviceError> {
        let defined = self.device.defined(address, bytes);
        defined
            .map(Some)
            .map_err(|error| DeviceError::new("tell what was written", &error))
    }

    fn launch(
        &mut self,
        kernel: &emulator::Kernel,
        dims: LaunchDims,
        parameters: &[u8],
    ) -> Result<Observed, DeviceError> {
        let config = LaunchConfig {
            shared_bytes: dims.shared_bytes,
            ..LaunchConfig::new(dims.grid, dims.threads)
        };
        let launched = self.device.launch(kernel, &config, parameters);
        let report = launched.map_err(|error| DeviceError::new("launch", &error))?;
        let finding = |finding: &emulator::Finding| Finding {
            kind: finding.kind.to_string(),
            text: finding.to_string(),
        };
        Ok(Observed {
            findings: report.findings.iter().map(finding).collect(),
            counters: Some(counters(&report.counters)),
            lines: report.lines().into_iter().filter_map(line_cost).collect(),
        })
    }
}

fn line_cost(line: emulator::LineCounters) -> Option<LineCost> {
    let counts = line.counts;
    (counts.sectors + counts.wavefronts > 0).then_some(LineCost {
        line: line.line,
        sectors: counts.sectors,
        ideal_sectors: counts.ideal_sectors,
        wavefronts: counts.wavefronts,
        ideal_wavefronts: counts.ideal_wavefronts,
    })
}

fn counters(counted: &emulator::Counters) -> Counters {
    let emulator::Counters {
        total, unique, mix, ..
    } = counted;
    Counters {
        blocks: counted.blocks,
        read_bytes: total.device_read_bytes,
        written_bytes: total.device_written_bytes,
        unique_read_bytes: unique.device_read_bytes,
        unique_written_bytes: unique.device_written_bytes,
        host_read_bytes: total.host_read_bytes,
        host_written_bytes: total.host_written_bytes,
        sectors: total.sectors,
        ideal_sectors: total.ideal_sectors,
        l2_sectors: total.l2_sectors,
        wavefronts: total.wavefronts,
        ideal_wavefronts: total.ideal_wavefronts,
        warp_instructions: total.warps,
        tensor_instructions: mix.tensor,
        tensor_flops: total.tensor_operations,
    }
}
