//! NVIDIA GPUs, through the driver API and two of NVIDIA's libraries.
//!
//! Nothing of it need be there: the driver is loaded when a GPU is opened, cuBLASLt at the first product, cuSOLVER at the first
//! eigenproblem (on the host where it is absent). Functions are looked up one by one and their results stay integers, since
//! bindings that load by themselves panic on what an older driver lacks, and an enum cannot hold what a newer one returns.
//!
//! A GPU is opened on its primary context, which other libraries of the process share, or on a context that the caller has
//! made: then no context is created or retained. Memory comes from the driver's pool, so
//! that [`Gpu::free`] is in the order of a stream.

mod blas;
mod context;
mod driver;
mod eigen;
mod host;
mod libraries;
mod memory;
mod module;
mod open;
mod solver;
mod stream;
mod table;

use std::any::Any;
use std::ffi::c_void;
use std::fmt;
use std::sync::Arc;

pub use libraries::LibraryReport;
pub use memory::{CudaHostMemory, CudaMemory};
pub use module::{CudaKernel, CudaModule};
pub use open::OpenError;
pub use stream::{CudaEvent, CudaGraph, CudaStream};

pub use self::context::EnteredContext;

use self::context::Context;
use self::table::Handle;
use super::{
    CopiedRows, EigenBasis, Gpu, GpuError, GpuMemory as _, HostPart, Image, Part, Priority,
    Product, Properties,
};
use crate::manifest::LaunchDims;

/// A GPU of NVIDIA's. Cheap to clone; every clone is the same GPU.
#[derive(Clone)]
pub struct CudaGpu {
    context: Arc<Context>,
}

impl fmt::Debug for CudaGpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Context {
            ordinal,
            properties,
            ..
        } = &*self.context;
        write!(f, "CudaGpu(cuda:{ordinal}, {})", properties.name)
    }
}

impl CudaGpu {
    /// The GPU with that number, from 0 in the driver's order.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; each kind says what to do.
    pub fn open(ordinal: u32) -> Result<CudaGpu, OpenError> {
        let context = Arc::new(Context::open(ordinal)?);
        Ok(CudaGpu { context })
    }

    /// The GPU of a context (`CUcontext`) of the caller's. No context is created; calls make this one the calling thread's current
    /// one, unless [`Gpu::enter`] is asked to give back what it had.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    ///
    /// # Safety
    ///
    /// `context` is a live context, and stays alive as long as any clone of the result and what was made with it.
    pub unsafe fn from_context(context: *mut c_void) -> Result<CudaGpu, OpenError> {
        // SAFETY: the caller's contract is the same.
        let context = unsafe { Context::adopt(Handle(context))? };
        Ok(CudaGpu {
            context: Arc::new(context),
        })
    }

    /// The same of a context of `cudarc`'s, which is kept alive.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub fn from_cudarc(context: &Arc<cudarc::driver::CudaContext>) -> Result<CudaGpu, OpenError> {
        // SAFETY: alive as long as the owner is.
        let mut adopted = unsafe { Context::adopt(Handle(context.cu_ctx().cast()))? };
        adopted.owner = Some(Arc::clone(context) as Arc<dyn Any + Send + Sync>);
        Ok(CudaGpu {
            context: Arc::new(adopted),
        })
    }

    /// A stream (`CUstream`, null for the legacy default stream) of the caller's, who destroys it.
    ///
    /// # Safety
    ///
    /// A live stream of this GPU's context, which stays alive as long as the result.
    pub unsafe fn adopt_stream(&self, stream: *mut c_void) -> CudaStream {
        CudaStream::adopted(&self.context, Handle(stream), None)
    }

    /// The same of a stream of `cudarc`'s, which is kept alive.
    ///
    /// # Errors
    ///
    /// [`GpuError::Invalid`] where it is another context's.
    pub fn stream_of_cudarc(
        &self,
        stream: &Arc<cudarc::driver::CudaStream>,
    ) -> Result<CudaStream, GpuError> {
        if stream.context().cu_ctx().cast() != self.context.handle.0 {
            return Err(GpuError::Invalid {
                operation: "adopt a stream".to_owned(),
                message: "it belongs to another context".to_owned(),
            });
        }
        let handle = Handle(stream.cu_stream().cast());
        let owner = Arc::clone(stream) as Arc<dyn Any + Send + Sync>;
        Ok(CudaStream::adopted(&self.context, handle, Some(owner)))
    }

    /// Its number.
    pub fn ordinal(&self) -> u32 {
        self.context.ordinal
    }

    /// Major and minor version of the newest CUDA that the driver supports.
    pub fn driver_version(&self) -> (i32, i32) {
        self.context.driver_version
    }

    /// The libraries that products and eigenproblems use, loaded now if they were not.
    pub fn libraries(&self) -> Vec<LibraryReport> {
        vec![blas::report(&self.context), solver::report(&self.context)]
    }
}

impl Gpu for CudaGpu {
    type Memory = CudaMemory;
    type HostMemory = CudaHostMemory;
    type Stream = CudaStream;
    type Event = CudaEvent;
    type Module = CudaModule;
    type Kernel = CudaKernel;
    type Graph = CudaGraph;
    type Entered = EnteredContext;

    fn properties(&self) -> &Properties {
        &self.context.properties
    }

    fn enter(&self) -> EnteredContext {
        EnteredContext::new(&self.context.driver)
    }

    fn free_bytes(&self) -> Result<u64, GpuError> {
        self.context.bind()?;
        Ok(self.context.memory_info()?.0)
    }

    fn allocate(&self, name: &str, bytes: u64) -> Result<CudaMemory, GpuError> {
        CudaMemory::new(&self.context, name, bytes)
    }

    unsafe fn borrow(&self, name: &str, address: u64, bytes: u64) -> Result<CudaMemory, GpuError> {
        Ok(CudaMemory::borrowed(&self.context, name, address, bytes))
    }

    fn allocate_host(&self, name: &str, bytes: u64) -> Result<CudaHostMemory, GpuError> {
        CudaHostMemory::new(&self.context, name, bytes)
    }

    fn free(&self, stream: &CudaStream, memory: CudaMemory) -> Result<(), GpuError> {
        memory.free_on(stream)
    }

    fn stream(&self, name: &str, priority: Priority) -> Result<CudaStream, GpuError> {
        CudaStream::new(&self.context, name, priority)
    }

    fn event(&self, name: &str) -> Result<CudaEvent, GpuError> {
        CudaEvent::new(&self.context, name)
    }

    fn record(&self, stream: &CudaStream, event: &CudaEvent) -> Result<(), GpuError> {
        event.record(stream)
    }

    fn wait(&self, stream: &CudaStream, event: &CudaEvent) -> Result<(), GpuError> {
        event.wait(stream)
    }

    fn synchronise(&self, stream: &CudaStream) -> Result<(), GpuError> {
        stream.synchronise()
    }

    fn synchronise_event(&self, event: &CudaEvent) -> Result<(), GpuError> {
        event.synchronise()
    }

    fn elapsed_ms(&self, begin: &CudaEvent, end: &CudaEvent) -> Result<f32, GpuError> {
        end.milliseconds_since(begin)
    }

    fn copy_to_device(
        &self,
        stream: &CudaStream,
        from: HostPart<'_, Self>,
        to: Part<'_, Self>,
    ) -> Result<(), GpuError> {
        let bytes = from.bytes_to_copy(to)?;
        stream.copy_from_host(from.memory().pointer_at(from.offset()), to.address(), bytes)
    }

    fn copy_to_host(
        &self,
        stream: &CudaStream,
        from: Part<'_, Self>,
        to: HostPart<'_, Self>,
    ) -> Result<(), GpuError> {
        let bytes = from.bytes_to_copy(to)?;
        stream.copy_to_host(from.address(), to.memory().pointer_at(to.offset()), bytes)
    }

    fn copy(
        &self,
        stream: &CudaStream,
        from: Part<'_, Self>,
        to: Part<'_, Self>,
    ) -> Result<(), GpuError> {
        let bytes = from.bytes_to_copy(to)?;
        if from.address() < to.address() + bytes && to.address() < from.address() + bytes {
            return Err(GpuError::Invalid {
                operation: format!(
                    "copy `{}` to `{}`",
                    from.memory().name(),
                    to.memory().name()
                ),
                message: "the parts overlap".to_owned(),
            });
        }
        stream.copy_within(from.address(), to.address(), bytes)
    }

    fn copy_rows(
        &self,
        stream: &CudaStream,
        from: Part<'_, Self>,
        to: Part<'_, Self>,
        rows: CopiedRows,
    ) -> Result<(), GpuError> {
        rows.check(from, to)?;
        stream.copy_rows(from.address(), to.address(), rows)
    }

    fn fill(&self, stream: &CudaStream, to: Part<'_, Self>, byte: u8) -> Result<(), GpuError> {
        stream.fill(to.address(), to.bytes(), byte)
    }

    fn write(&self, stream: &CudaStream, from: &[u8], to: Part<'_, Self>) -> Result<(), GpuError> {
        same_bytes("write", from.len(), to.bytes())?;
        stream.copy_from_host(from.as_ptr().cast_mut(), to.address(), to.bytes())?;
        // Whether the driver has read all of it when the call returns depends on the size and the machine.
        stream.synchronise()
    }

    fn read(
        &self,
        stream: &CudaStream,
        from: Part<'_, Self>,
        to: &mut [u8],
    ) -> Result<(), GpuError> {
        same_bytes("read", to.len(), from.bytes())?;
        stream.copy_to_host(from.address(), to.as_mut_ptr(), from.bytes())?;
        stream.synchronise()
    }

    fn load(&self, name: &str, image: Image<'_>) -> Result<CudaModule, GpuError> {
        CudaModule::load(&self.context, name, image)
    }

    fn kernel(
        &self,
        module: &CudaModule,
        entry: &str,
        shared_bytes: u32,
    ) -> Result<CudaKernel, GpuError> {
        module.kernel(entry, shared_bytes)
    }

    unsafe fn launch(
        &self,
        stream: &CudaStream,
        kernel: &CudaKernel,
        dims: LaunchDims,
        parameters: &[u8],
    ) -> Result<(), GpuError> {
        // SAFETY: the caller's contract is the same.
        unsafe { kernel.launch(stream, dims, parameters) }
    }

    fn product(&self, stream: &CudaStream, product: &Product<'_, Self>) -> Result<(), GpuError> {
        product.check()?;
        blas::product(&self.context, stream, product)
    }

    fn eigen_basis(
        &self,
        stream: &CudaStream,
        problem: &EigenBasis<'_, Self>,
    ) -> Result<(), GpuError> {
        problem.check()?;
        solver::eigen_basis(self, stream, problem)
    }

    fn begin_capture(&self, stream: &CudaStream) -> Result<(), GpuError> {
        stream.begin_capture()
    }

    fn end_capture(&self, stream: &CudaStream) -> Result<CudaGraph, GpuError> {
        stream.end_capture()
    }

    unsafe fn launch_graph(&self, stream: &CudaStream, graph: &CudaGraph) -> Result<(), GpuError> {
        // SAFETY: the caller's contract is the same.
        unsafe { graph.launch(stream) }
    }
}

fn same_bytes(operation: &str, host: usize, device: u64) -> Result<(), GpuError> {
    if host as u64 == device {
        return Ok(());
    }
    Err(GpuError::Invalid {
        operation: operation.to_owned(),
        message: format!("{host} bytes of the host and {device} of the GPU"),
    })
}
