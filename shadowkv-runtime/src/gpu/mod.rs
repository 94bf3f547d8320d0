//! A GPU as the devices above see it: memory, streams and events, launches of loaded kernels, and the two library operations
//! that ShadowKV needs.
//!
//! [`Gpu`] is small enough to be implemented over CUDA's driver API and over the emulator alike; which one it is, nobody above
//! can tell. Dispatch is static.
//!
//! | notion | here |
//! | --- | --- |
//! | memory of the GPU | [`Gpu::Memory`] |
//! | pinned host memory, mapped into the GPU's address space | [`Gpu::HostMemory`] |
//! | a part of either, checked to be within it | [`Part`] |
//! | work in order | [`Gpu::Stream`] |
//! | order between streams | [`Gpu::Event`]: record it on one, let the other wait |
//! | a step of the decoder in one call | [`Gpu::Graph`] |
//! | a package's kernels, for its generated launchers | [`Kernels`] |
//!
//! **Order.** Whatever takes a stream is enqueued and runs after what that stream was given before. Nothing else is ordered, but
//! by events and by the host's waiting ([`Gpu::synchronise`], [`Gpu::synchronise_event`]). The host may touch what a
//! copy or a kernel touches only after waiting for it. An operation that fails when it runs tells so at the next wait.
//!
//! **Life.** Memory is freed when it is dropped, never while something that was enqueued before still uses it: dropping waits
//! for the GPU, or puts it off. A program that cares waits first, or hands the memory to [`Gpu::free`], which frees in the
//! order of a stream.

use std::fmt::Debug;

use crate::manifest::LaunchDims;

#[cfg(feature = "cuda")]
pub mod cuda;
#[cfg(feature = "emulator")]
pub mod emulated;
mod error;
mod kernels;
mod part;
mod product;
#[cfg(any(feature = "cuda", feature = "emulator"))]
pub mod self_test;

pub use error::GpuError;
pub use kernels::{Kernels, LaunchError, Launcher};
pub use part::{CopiedRows, GpuMemory, HostPart, Part, Slice};
pub use product::{EigenBasis, Output, Product};

/// What a GPU is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Properties {
    /// What it calls itself: `NVIDIA H100 80GB HBM3`, `emulated A100-80`.
    pub name: String,
    /// Compute capability, major and minor.
    pub compute_capability: (u32, u32),
    /// Streaming multiprocessors (the manifest's `sm_count`).
    pub sm_count: u32,
    /// Memory, bytes.
    pub memory_bytes: u64,
    /// Most bytes of shared memory of a block, declared and dynamic, once a kernel has opted in.
    pub shared_bytes_per_block: u32,
    /// Which images it loads.
    pub images: ImageKinds,
    /// Whether it can capture graphs.
    pub graphs: bool,
}

/// Images that a GPU loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageKinds {
    /// Cubins of its architecture, and PTX as far as its driver knows it.
    CubinOrPtx,
    /// PTX alone.
    Ptx,
}

/// Compiled kernels.
#[derive(Clone, Copy, Debug)]
pub enum Image<'a> {
    /// PTX, as NVRTC writes it (without the NUL).
    Ptx(&'a str),
    /// Machine code for one architecture.
    Cubin(&'a [u8]),
}

/// How a stream's work is preferred to that of others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Priority {
    /// As everything else.
    #[default]
    Normal,
    /// Its blocks are dispatched first: small kernels that others wait for, such as the fetches from the host.
    High,
}

/// A GPU.
///
/// Addresses are those of its address space, as kernels see them; allocations are aligned to 256 bytes at least.
pub trait Gpu: Debug + Send + Sync + 'static {
    /// Memory of the GPU; freed when dropped (see the module's head).
    type Memory: GpuMemory;
    /// Pinned host memory that the GPU reaches at [`GpuMemory::address`]; freed when dropped.
    type HostMemory: HostMemory;
    /// Work in order.
    type Stream: Debug + Send + Sync;
    /// A point in a stream's work.
    type Event: Debug + Send + Sync;
    /// Loaded kernels and their variables.
    type Module: Debug + Send + Sync;
    /// One of them. It keeps its module.
    type Kernel: Debug + Clone + Send + Sync;
    /// Captured work.
    type Graph: Debug + Send + Sync;
    /// What gives the calling thread back what it had when it is dropped.
    type Entered;

    /// What it is.
    fn properties(&self) -> &Properties;

    /// Remembers what the calling thread has made current (a CUDA context), which calls may change, until the result is dropped.
    fn enter(&self) -> Self::Entered;

    /// Bytes of memory that are free now, whoever uses the rest.
    ///
    /// # Errors
    ///
    /// [`GpuError::DeviceLost`], or what the driver says.
    fn free_bytes(&self) -> Result<u64, GpuError>;

    /// `bytes` bytes of memory, of no defined contents. `name` is for messages. No bytes are an allocation too: it has an
    /// address.
    ///
    /// # Errors
    ///
    /// [`GpuError::OutOfMemory`].
    fn allocate(&self, name: &str, bytes: u64) -> Result<Self::Memory, GpuError>;

    /// Memory that somebody else allocated and frees: `bytes` bytes from `address` on. `name` is for messages.
    ///
    /// # Errors
    ///
    /// [`GpuError::Invalid`] where the GPU can tell that it has no such memory.
    ///
    /// # Safety
    ///
    /// The memory is this GPU's, and stays allocated until everything enqueued with it has run.
    unsafe fn borrow(&self, name: &str, address: u64, bytes: u64)
    -> Result<Self::Memory, GpuError>;

    /// `bytes` bytes of pinned, mapped host memory, all zero.
    ///
    /// # Errors
    ///
    /// [`GpuError::OutOfHostMemory`].
    fn allocate_host(&self, name: &str, bytes: u64) -> Result<Self::HostMemory, GpuError>;

    /// Frees memory as soon as what `stream` was given so far has run. Other streams that use it must be ordered before.
    ///
    /// # Errors
    ///
    /// [`GpuError::DeviceLost`], or what the driver says; the memory is given up in any case.
    fn free(&self, stream: &Self::Stream, memory: Self::Memory) -> Result<(), GpuError>;

    /// A stream. `name` is for messages and timelines.
    ///
    /// # Errors
    ///
    /// [`GpuError::DeviceLost`], or what the driver says.
    fn stream(&self, name: &str, priority: Priority) -> Result<Self::Stream, GpuError>;

    /// An event, not recorded yet. `name` is for messages.
    ///
    /// # Errors
    ///
    /// [`GpuError::DeviceLost`], or what the driver says.
    fn event(&self, name: &str) -> Result<Self::Event, GpuError>;

    /// Lets `event` stand for everything that `stream` was given so far. Recording it again moves it; waits that were enqueued
    /// before keep the old point.
    ///
    /// # Errors
    ///
    /// [`GpuError::DeviceLost`], or what the driver says.
    fn record(&self, stream: &Self::Stream, event: &Self::Event) -> Result<(), GpuError>;

    /// Lets what `stream` is given from now on wait for `event` as it is recorded now. An event that was never recorded orders
    /// nothing: a defect of the caller.
    ///
    /// # Errors
    ///
    /// [`GpuError::DeviceLost`], or what the driver says.
    fn wait(&self, stream: &Self::Stream, event: &Self::Event) -> Result<(), GpuError>;

    /// Waits on the host until `stream` has nothing left to do.
    ///
    /// # Errors
    ///
    /// [`GpuError::Failed`] where something enqueued did not run, [`GpuError::DeviceLost`].
    fn synchronise(&self, stream: &Self::Stream) -> Result<(), GpuError>;

    /// Waits on the host until what `event` stands for has run.
    ///
    /// # Errors
    ///
    /// As [`Gpu::synchronise`].
    fn synchronise_event(&self, event: &Self::Event) -> Result<(), GpuError>;

    /// Milliseconds on the GPU from `begin` to `end`, both recorded, after waiting for them.
    ///
    /// # Errors
    ///
    /// As [`Gpu::synchronise`]; [`GpuError::Invalid`] where one was not recorded.
    fn elapsed_ms(&self, begin: &Self::Event, end: &Self::Event) -> Result<f32, GpuError>;

    /// Copies pinned host memory to the GPU. The host must not write `from` until it has run.
    ///
    /// # Errors
    ///
    /// [`GpuError::Invalid`] where the parts differ in length, [`GpuError::DeviceLost`].
    fn copy_to_device(
        &self,
        stream: &Self::Stream,
        from: HostPart<'_, Self>,
        to: Part<'_, Self>,
    ) -> Result<(), GpuError>;

    /// Copies to pinned host memory. The host must not touch `to` until it has run.
    ///
    /// # Errors
    ///
    /// As [`Gpu::copy_to_device`].
    fn copy_to_host(
        &self,
        stream: &Self::Stream,
        from: Part<'_, Self>,
        to: HostPart<'_, Self>,
    ) -> Result<(), GpuError>;

    /// Copies within the GPU's memory; the parts do not overlap.
    ///
    /// # Errors
    ///
    /// As [`Gpu::copy_to_device`], also where the parts overlap.
    fn copy(
        &self,
        stream: &Self::Stream,
        from: Part<'_, Self>,
        to: Part<'_, Self>,
    ) -> Result<(), GpuError>;

    /// Copies `rows.count` rows of `rows.bytes` bytes within the GPU's memory; the parts do not overlap. `from` and `to` begin with
    /// their first row and end with their last.
    ///
    /// # Errors
    ///
    /// As [`Gpu::copy`]; [`GpuError::OutOfRange`] where a row is beyond its part.
    fn copy_rows(
        &self,
        stream: &Self::Stream,
        from: Part<'_, Self>,
        to: Part<'_, Self>,
        rows: CopiedRows,
    ) -> Result<(), GpuError> {
        rows.check(from, to)?;
        for row in 0..rows.count {
            let at = |part: Part<'_, Self>, pitch| part.offset() + row * pitch;
            let from_row = from.memory().part(at(from, rows.from_pitch), rows.bytes)?;
            let to_row = to.memory().part(at(to, rows.to_pitch), rows.bytes)?;
            self.copy(stream, from_row, to_row)?;
        }
        Ok(())
    }

    /// Sets every byte of `to`.
    ///
    /// # Errors
    ///
    /// [`GpuError::DeviceLost`], or what the driver says.
    fn fill(&self, stream: &Self::Stream, to: Part<'_, Self>, byte: u8) -> Result<(), GpuError>;

    /// Copies ordinary host memory to the GPU in the order of `stream`; `from` may be used again at once. For weights and set-up:
    /// it may wait, and no graph captures it.
    ///
    /// # Errors
    ///
    /// As [`Gpu::copy_to_device`].
    fn write(&self, stream: &Self::Stream, from: &[u8], to: Part<'_, Self>)
    -> Result<(), GpuError>;

    /// Copies to ordinary host memory in the order of `stream`, and waits for it. No graph captures it.
    ///
    /// # Errors
    ///
    /// As [`Gpu::copy_to_device`] and [`Gpu::synchronise`].
    fn read(
        &self,
        stream: &Self::Stream,
        from: Part<'_, Self>,
        to: &mut [u8],
    ) -> Result<(), GpuError>;

    /// Loads compiled kernels. `name` is for messages.
    ///
    /// # Errors
    ///
    /// [`GpuError::Load`]: another architecture, PTX too new for the driver, a kind of image that it does not load.
    fn load(&self, name: &str, image: Image<'_>) -> Result<Self::Module, GpuError>;

    /// The kernel whose symbol is `entry`, allowed to use `shared_bytes` bytes of dynamic shared memory.
    ///
    /// # Errors
    ///
    /// [`GpuError::UnknownKernel`]; [`GpuError::Launch`] where no block of this GPU has that much.
    fn kernel(
        &self,
        module: &Self::Module,
        entry: &str,
        shared_bytes: u32,
    ) -> Result<Self::Kernel, GpuError>;

    /// Launches `kernel`. `parameters` is its one parameter, a struct passed by value, and is copied at once.
    ///
    /// # Errors
    ///
    /// [`GpuError::Launch`] where it is refused, [`GpuError::DeviceLost`].
    ///
    /// # Safety
    ///
    /// `parameters` are what the kernel takes, and its addresses stay valid, for what the kernel does there, until it has run.
    unsafe fn launch(
        &self,
        stream: &Self::Stream,
        kernel: &Self::Kernel,
        dims: LaunchDims,
        parameters: &[u8],
    ) -> Result<(), GpuError>;

    /// A dense product: see [`Product`].
    ///
    /// # Errors
    ///
    /// [`GpuError::Invalid`] where parts do not have the sizes of their shapes, [`GpuError::DeviceLost`], or what the library
    /// says.
    fn product(&self, stream: &Self::Stream, product: &Product<'_, Self>) -> Result<(), GpuError>;

    /// The leading eigenvectors of a symmetric matrix: see [`EigenBasis`]. It may wait for the stream, and no graph captures it.
    ///
    /// # Errors
    ///
    /// As [`Gpu::product`]; [`GpuError::Failed`], at once or at the next wait, where there are none because the matrix holds
    /// something else than numbers.
    fn eigen_basis(
        &self,
        stream: &Self::Stream,
        problem: &EigenBasis<'_, Self>,
    ) -> Result<(), GpuError>;

    /// Captures what `stream` is given from now on instead of running it, and what other streams are given that wait for an event
    /// recorded in the capture. Until the end nothing of the capture may be waited for by the host.
    ///
    /// # Errors
    ///
    /// [`GpuError::Unsupported`] where there are no graphs, [`GpuError::Capture`] where it is captured already.
    fn begin_capture(&self, stream: &Self::Stream) -> Result<(), GpuError>;

    /// Ends the capture that began on `stream`. Every other stream of it must have been joined again: `stream` waits for an event
    /// recorded behind its last operation.
    ///
    /// # Errors
    ///
    /// [`GpuError::Capture`] where none is under way or a stream was not joined; the capture is given up.
    fn end_capture(&self, stream: &Self::Stream) -> Result<Self::Graph, GpuError>;

    /// Runs captured work in the order of `stream`.
    ///
    /// # Errors
    ///
    /// [`GpuError::Launch`] where it is refused, [`GpuError::DeviceLost`].
    ///
    /// # Safety
    ///
    /// As [`Gpu::launch`], for everything captured: memory that was allocated at the capture and is used in it is still
    /// allocated, and stays so until the graph has run.
    unsafe fn launch_graph(
        &self,
        stream: &Self::Stream,
        graph: &Self::Graph,
    ) -> Result<(), GpuError>;
}

/// Pinned host memory.
///
/// Contents cross by copies, never by references: the GPU may be writing them. Neither method waits; the caller has waited for
/// whatever touches the same bytes on the GPU. A device that can tell says so where that is not the case.
pub trait HostMemory: GpuMemory {
    /// Copies `bytes.len()` bytes from `offset` on.
    ///
    /// # Errors
    ///
    /// [`GpuError::OutOfRange`].
    fn get(&self, offset: u64, bytes: &mut [u8]) -> Result<(), GpuError>;

    /// Overwrites from `offset` on.
    ///
    /// # Errors
    ///
    /// [`GpuError::OutOfRange`].
    fn set(&self, offset: u64, bytes: &[u8]) -> Result<(), GpuError>;
}
