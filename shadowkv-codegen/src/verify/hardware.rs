//! A GPU of the runtime as a device to verify and to measure on.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use shadowkv_runtime::gpu::{
    Gpu, GpuError, GpuMemory as _, HostMemory as _, Image, ImageKinds, Priority,
};
use shadowkv_runtime::manifest::{LaunchDims, MemoryKind};

use super::device::{Backend, Device, DeviceError, Observed, Stopwatch};
use crate::compile::CompiledKernel;

/// A GPU: every device of this backend is the same one, with memory of its own.
#[derive(Debug)]
pub struct Hardware<G> {
    gpu: Arc<G>,
    cache_bytes: u64,
}

impl<G: Gpu> Hardware<G> {
    /// The GPU `gpu`, whose cache holds `cache_bytes` bytes.
    pub fn new(gpu: G, cache_bytes: u64) -> Hardware<G> {
        Hardware {
            gpu: Arc::new(gpu),
            cache_bytes,
        }
    }
}

fn failed(operation: &str) -> impl Fn(GpuError) -> DeviceError + '_ {
    move |error| DeviceError::new(operation, &error)
}

impl<G: Gpu> Backend for Hardware<G> {
    type Kernel = G::Kernel;
    type Device = HardwareDevice<G>;

    fn name(&self) -> String {
        self.gpu.properties().name.clone()
    }

    fn multiprocessors(&self) -> u32 {
        self.gpu.properties().sm_count
    }

    fn load(&self, kernel: &CompiledKernel) -> Result<G::Kernel, DeviceError> {
        let properties = self.gpu.properties();
        let image = match properties.images {
            ImageKinds::CubinOrPtx => Image::Cubin(&kernel.cubin),
            ImageKinds::Ptx => Image::Ptx(&kernel.ptx),
        };
        let operation = format!("load `{}`", kernel.kernel);
        let module = self
            .gpu
            .load(&kernel.kernel, image)
            .map_err(failed(&operation))?;
        // As much as any launch of it may ask for; what one does ask for, its geometry says.
        let taken = &kernel.resources;
        let most = properties
            .shared_bytes_per_block
            .saturating_sub(taken.static_shared_bytes);
        let loaded = self.gpu.kernel(&module, &taken.entry, most);
        loaded.map_err(failed(&operation))
    }

    fn device(&self) -> Result<HardwareDevice<G>, DeviceError> {
        let stream = self.gpu.stream("kernels", Priority::Normal);
        Ok(HardwareDevice {
            stream: stream.map_err(failed("make a stream"))?,
            gpu: Arc::clone(&self.gpu),
            cache_bytes: self.cache_bytes,
            memory: BTreeMap::new(),
        })
    }
}

/// A GPU, with the memory of one case.
pub struct HardwareDevice<G: Gpu> {
    // Freed before the GPU is let go.
    memory: BTreeMap<u64, Held<G>>,
    stream: G::Stream,
    gpu: Arc<G>,
    cache_bytes: u64,
}

enum Held<G: Gpu> {
    Device(G::Memory),
    Host(G::HostMemory),
}

impl<G: Gpu> fmt::Debug for HardwareDevice<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HardwareDevice")
            .field("gpu", &self.gpu)
            .finish_non_exhaustive()
    }
}

impl<G: Gpu> HardwareDevice<G> {
    /// The allocation that `address` lies in, and the offset there.
    fn held(&self, operation: &str, address: u64) -> Result<(&Held<G>, u64), DeviceError> {
        let found = self.memory.range(..=address).next_back();
        let (base, held) =
            found.ok_or_else(|| DeviceError::new(operation, &"nothing is allocated there"))?;
        Ok((held, address - base))
    }

    /// Enqueues a launch.
    fn enqueue(
        &self,
        kernel: &G::Kernel,
        dims: LaunchDims,
        parameters: &[u8],
    ) -> Result<(), DeviceError> {
        // SAFETY: the parameters were laid out from the kernel's own plan, over memory that this device holds, and whoever enqueues
        // waits for the stream before it lets go of any of it.
        let launched = unsafe { self.gpu.launch(&self.stream, kernel, dims, parameters) };
        launched.map_err(failed("launch"))
    }

    fn wait(&self) -> Result<(), DeviceError> {
        self.gpu.synchronise(&self.stream).map_err(failed("run"))
    }
}

impl<G: Gpu> Device for HardwareDevice<G> {
    type Kernel = G::Kernel;

    fn allocate(&mut self, name: &str, bytes: u64, kind: MemoryKind) -> Result<u64, DeviceError> {
        let operation = format!("allocate {bytes} bytes for `{name}`");
        let (address, held) = match kind {
            MemoryKind::Device => {
                let memory = self.gpu.allocate(name, bytes).map_err(failed(&operation))?;
                (memory.address(), Held::Device(memory))
            }
            MemoryKind::MappedHost => {
                let memory = self
                    .gpu
                    .allocate_host(name, bytes)
                    .map_err(failed(&operation))?;
                (memory.address(), Held::Host(memory))
            }
        };
        self.memory.insert(address, held);
        Ok(address)
    }

    fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        let operation = "write to the device";
        let written = match self.held(operation, address)? {
            (Held::Device(memory), offset) => memory
                .part(offset, bytes.len() as u64)
                .and_then(|part| self.gpu.write(&self.stream, bytes, part)),
            (Held::Host(memory), offset) => memory.set(offset, bytes),
        };
        written.map_err(failed(operation))
    }

    fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), DeviceError> {
        let operation = "read from the device";
        let read = match self.held(operation, address)? {
            (Held::Device(memory), offset) => memory
                .part(offset, bytes.len() as u64)
                .and_then(|part| self.gpu.read(&self.stream, part, bytes)),
            (Held::Host(memory), offset) => memory.get(offset, bytes),
        };
        read.map_err(failed(operation))
    }

    fn written(&self, _: u64, _: u64) -> Result<Option<Vec<bool>>, DeviceError> {
        // No GPU tells.
        Ok(None)
    }

    fn launch(
        &mut self,
        kernel: &G::Kernel,
        dims: LaunchDims,
        parameters: &[u8],
    ) -> Result<Observed, DeviceError> {
        self.enqueue(kernel, dims, parameters)?;
        self.wait()?;
        Ok(Observed::default())
    }
}

impl<G: Gpu> Stopwatch for HardwareDevice<G> {
    fn cache_bytes(&self) -> u64 {
        self.cache_bytes
    }

    fn time(
        &mut self,
        kernel: &G::Kernel,
        dims: LaunchDims,
        parameters: &[Vec<u8>],
        warm_up: u32,
        launches: u32,
    ) -> Result<Vec<f64>, DeviceError> {
        let mut turns = parameters.iter().cycle();
        let mut next = || turns.next().map_or(&[][..], Vec::as_slice);
        for _ in 0..warm_up {
            self.enqueue(kernel, dims, next())?;
        }
        let event = |name| self.gpu.event(name).map_err(failed("make an event"));
        let record = |event: &G::Event| {
            let recorded = self.gpu.record(&self.stream, event);
            recorded.map_err(failed("record an event"))
        };
        let mut pairs = Vec::new();
        for _ in 0..launches {
            let (begin, end) = (event("begin")?, event("end")?);
            record(&begin)?;
            self.enqueue(kernel, dims, next())?;
            record(&end)?;
            pairs.push((begin, end));
        }
        self.wait()?;
        let seconds = |(begin, end): &(G::Event, G::Event)| {
            let elapsed = self.gpu.elapsed_ms(begin, end);
            let elapsed = elapsed.map_err(failed("tell the time of a launch"))?;
            Ok(f64::from(elapsed) / 1e3)
        };
        pairs.iter().map(seconds).collect()
    }
}
