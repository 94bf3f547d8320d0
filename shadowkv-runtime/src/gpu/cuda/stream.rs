//! Streams, events, captured graphs.

use std::any::Any;
use std::ffi::{c_int, c_uint};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use super::context::{Context, lock};
use super::driver::{CopyRows, Side};
use super::memory::CudaMemory;
use super::table::Handle;
use crate::gpu::{CopiedRows, GpuError, Priority};

/// A stream that does not wait for the default stream, which we never use.
pub(super) const NON_BLOCKING: c_uint = 1;
/// A capture that forbids nothing to other threads.
const RELAXED: c_int = 2;

/// Work in order.
pub struct CudaStream {
    context: Arc<Context>,
    name: String,
    handle: Handle,
    /// Whether it is destroyed with this.
    owned: bool,
    /// Whatever keeps a stream alive that is not ours.
    _owner: Option<Arc<dyn Any + Send + Sync>>,
    /// What products on this stream may use; made when the first needs it.
    pub(super) workspace: OnceLock<CudaMemory>,
}

impl fmt::Debug for CudaStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CudaStream(`{}`)", self.name)
    }
}

impl CudaStream {
    pub(super) fn new(
        context: &Arc<Context>,
        name: &str,
        priority: Priority,
    ) -> Result<CudaStream, GpuError> {
        context.bind()?;
        let (least, greatest) = context.priorities;
        let priority = match priority {
            Priority::Normal => least,
            Priority::High => greatest,
        };
        let mut handle = Handle::NULL;
        // SAFETY: a pointer to a live handle; the context is current.
        context.check("cuStreamCreateWithPriority", unsafe {
            (context.driver.stream_create)(&raw mut handle, NON_BLOCKING, priority)
        })?;
        Ok(CudaStream {
            context: Arc::clone(context),
            name: name.to_owned(),
            handle,
            owned: true,
            _owner: None,
            workspace: OnceLock::new(),
        })
    }

    /// A stream of the caller's, which stays the caller's to destroy.
    pub(super) fn adopted(
        context: &Arc<Context>,
        handle: Handle,
        owner: Option<Arc<dyn Any + Send + Sync>>,
    ) -> CudaStream {
        CudaStream {
            context: Arc::clone(context),
            name: "caller's".to_owned(),
            handle,
            owned: false,
            _owner: owner,
            workspace: OnceLock::new(),
        }
    }

    pub(super) fn handle(&self) -> Handle {
        self.handle
    }

    pub(super) fn synchronise(&self) -> Result<(), GpuError> {
        self.context.bind()?;
        // SAFETY: a live stream.
        self.context.check("cuStreamSynchronize", unsafe {
            (self.context.driver.stream_synchronise)(self.handle)
        })
    }

    /// `from` must be readable for that many bytes until it has run.
    pub(super) fn copy_from_host(
        &self,
        from: *mut u8,
        to: u64,
        bytes: u64,
    ) -> Result<(), GpuError> {
        self.context.bind()?;
        if bytes == 0 {
            return Ok(());
        }
        // SAFETY: parts that were checked to be within their memories, which callers keep until it has run.
        self.context.check("cuMemcpyHtoDAsync", unsafe {
            (self.context.driver.copy_from_host)(to, from.cast(), bytes as usize, self.handle)
        })
    }

    /// `to` must be writable for that many bytes until it has run.
    pub(super) fn copy_to_host(&self, from: u64, to: *mut u8, bytes: u64) -> Result<(), GpuError> {
        self.context.bind()?;
        if bytes == 0 {
            return Ok(());
        }
        // SAFETY: as above.
        self.context.check("cuMemcpyDtoHAsync", unsafe {
            (self.context.driver.copy_to_host)(to.cast(), from, bytes as usize, self.handle)
        })
    }

    pub(super) fn copy_within(&self, from: u64, to: u64, bytes: u64) -> Result<(), GpuError> {
        self.context.bind()?;
        if bytes == 0 {
            return Ok(());
        }
        // SAFETY: as above.
        self.context.check("cuMemcpyDtoDAsync", unsafe {
            (self.context.driver.copy_within)(to, from, bytes as usize, self.handle)
        })
    }

    pub(super) fn copy_rows(&self, from: u64, to: u64, rows: CopiedRows) -> Result<(), GpuError> {
        self.context.bind()?;
        if rows.count == 0 || rows.bytes == 0 {
            return Ok(());
        }
        // The driver wants pitches of whole rows, also where there is one.
        let pitch = |pitch: u64| pitch.max(rows.bytes) as usize;
        let copied = CopyRows {
            from: Side::device(from, pitch(rows.from_pitch)),
            to: Side::device(to, pitch(rows.to_pitch)),
            bytes: rows.bytes as usize,
            count: rows.count as usize,
        };
        // SAFETY: as above; the struct is read at once.
        self.context.check("cuMemcpy2DAsync", unsafe {
            (self.context.driver.copy_rows)(&raw const copied, self.handle)
        })
    }

    pub(super) fn fill(&self, to: u64, bytes: u64, byte: u8) -> Result<(), GpuError> {
        self.context.bind()?;
        if bytes == 0 {
            return Ok(());
        }
        // SAFETY: as above.
        self.context.check("cuMemsetD8Async", unsafe {
            (self.context.driver.fill)(to, byte, bytes as usize, self.handle)
        })
    }

    pub(super) fn begin_capture(&self) -> Result<(), GpuError> {
        self.context.bind()?;
        if self.context.is_capturing(self.handle) {
            return Err(GpuError::Capture {
                message: format!("stream `{}` is captured already", self.name),
            });
        }
        // Counted first: from the moment it begins nobody may wait for the GPU.
        lock(&self.context.captures).open += 1;
        // SAFETY: a live stream.
        let code = unsafe { (self.context.driver.capture_begin)(self.handle, RELAXED) };
        let begun = self.context.check("cuStreamBeginCapture", code);
        if begun.is_err() {
            self.capture_is_over();
        }
        begun
    }

    pub(super) fn end_capture(&self) -> Result<CudaGraph, GpuError> {
        self.context.bind()?;
        if !self.context.is_capturing(self.handle) {
            return Err(GpuError::Capture {
                message: format!("stream `{}` is not captured", self.name),
            });
        }
        let driver = &self.context.driver;
        let mut graph = Handle::NULL;
        // SAFETY: a live stream and a pointer to a live handle.
        let code = unsafe { (driver.capture_end)(self.handle, &raw mut graph) };
        let executable = self.instantiate(code, graph);
        if graph != Handle::NULL {
            // SAFETY: the graph just captured; what was made of it stands by itself.
            let _ = unsafe { (driver.graph_destroy)(graph) };
        }
        self.capture_is_over();
        Ok(CudaGraph {
            context: Arc::clone(&self.context),
            handle: executable?,
        })
    }

    fn instantiate(&self, code: c_int, graph: Handle) -> Result<Handle, GpuError> {
        let driver = &self.context.driver;
        let refused = |call: &'static str, code: c_int| match self.context.check(call, code) {
            Err(GpuError::Driver { message, .. }) => Err(GpuError::Capture {
                message: format!("stream `{}`: {call} returned {code}: {message}", self.name),
            }),
            other => other,
        };
        refused("cuStreamEndCapture", code)?;
        let mut executable = Handle::NULL;
        // SAFETY: a graph that was just captured, and a pointer to a live handle.
        refused("cuGraphInstantiate", unsafe {
            (driver.executable_create)(&raw mut executable, graph, 0)
        })?;
        Ok(executable)
    }

    /// Frees what had to wait for the last capture.
    fn capture_is_over(&self) {
        let waiting = {
            let mut captures = lock(&self.context.captures);
            captures.open = captures.open.saturating_sub(1);
            if captures.open > 0 {
                return;
            }
            std::mem::take(&mut captures.waiting)
        };
        if !waiting.is_empty() {
            self.context.free_now(waiting);
        }
    }
}

impl Drop for CudaStream {
    fn drop(&mut self) {
        if self.owned && self.context.bind().is_ok() {
            // SAFETY: destroyed here and nowhere else; the driver lets its work end first.
            let _ = unsafe { (self.context.driver.stream_destroy)(self.handle) };
        }
    }
}

/// A point in a stream's work.
pub struct CudaEvent {
    context: Arc<Context>,
    name: String,
    handle: Handle,
    recorded: AtomicBool,
}

impl fmt::Debug for CudaEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CudaEvent(`{}`)", self.name)
    }
}

impl CudaEvent {
    pub(super) fn new(context: &Arc<Context>, name: &str) -> Result<CudaEvent, GpuError> {
        context.bind()?;
        let mut handle = Handle::NULL;
        // With times: whoever asks for them must not have had to say so before.
        // SAFETY: a pointer to a live handle; the context is current.
        context.check("cuEventCreate", unsafe {
            (context.driver.event_create)(&raw mut handle, 0)
        })?;
        Ok(CudaEvent {
            context: Arc::clone(context),
            name: name.to_owned(),
            handle,
            recorded: AtomicBool::new(false),
        })
    }

    pub(super) fn record(&self, stream: &CudaStream) -> Result<(), GpuError> {
        self.context.bind()?;
        // SAFETY: a live event and a live stream.
        self.context.check("cuEventRecord", unsafe {
            (self.context.driver.event_record)(self.handle, stream.handle)
        })?;
        self.recorded.store(true, Ordering::Relaxed);
        Ok(())
    }

    pub(super) fn wait(&self, stream: &CudaStream) -> Result<(), GpuError> {
        self.context.bind()?;
        // SAFETY: as above; the flags must be 0.
        self.context.check("cuStreamWaitEvent", unsafe {
            (self.context.driver.stream_wait)(stream.handle, self.handle, 0)
        })
    }

    pub(super) fn synchronise(&self) -> Result<(), GpuError> {
        self.context.bind()?;
        // SAFETY: a live event.
        self.context.check("cuEventSynchronize", unsafe {
            (self.context.driver.event_synchronise)(self.handle)
        })
    }

    pub(super) fn milliseconds_since(&self, begin: &CudaEvent) -> Result<f32, GpuError> {
        for event in [begin, self] {
            if !event.recorded.load(Ordering::Relaxed) {
                return Err(GpuError::Invalid {
                    operation: "elapsed_ms".to_owned(),
                    message: format!("event `{}` was not recorded", event.name),
                });
            }
            event.synchronise()?;
        }
        let mut milliseconds = 0.0;
        // SAFETY: live events, recorded, and a pointer to a live number.
        self.context.check("cuEventElapsedTime", unsafe {
            (self.context.driver.event_elapsed)(&raw mut milliseconds, begin.handle, self.handle)
        })?;
        Ok(milliseconds)
    }
}

impl Drop for CudaEvent {
    fn drop(&mut self) {
        if self.context.bind().is_ok() {
            // SAFETY: destroyed here and nowhere else; what waits for it goes on waiting.
            let _ = unsafe { (self.context.driver.event_destroy)(self.handle) };
        }
    }
}

/// Captured work.
pub struct CudaGraph {
    context: Arc<Context>,
    handle: Handle,
}

impl fmt::Debug for CudaGraph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CudaGraph")
    }
}

impl CudaGraph {
    /// # Safety
    ///
    /// As `Gpu::launch_graph`.
    pub(super) unsafe fn launch(&self, stream: &CudaStream) -> Result<(), GpuError> {
        self.context.bind()?;
        // SAFETY: a live graph and a live stream; what it touches is the caller's to vouch for.
        let code = unsafe { (self.context.driver.graph_launch)(self.handle, stream.handle) };
        match self.context.check("cuGraphLaunch", code) {
            Err(GpuError::Driver { message, .. }) => Err(GpuError::Launch {
                kernel: "captured graph".to_owned(),
                message: format!("cuGraphLaunch returned {code}: {message}"),
            }),
            other => other,
        }
    }
}

impl Drop for CudaGraph {
    fn drop(&mut self) {
        if self.context.bind().is_ok() {
            // SAFETY: destroyed here and nowhere else; the driver lets a run end first.
            let _ = unsafe { (self.context.driver.executable_destroy)(self.handle) };
        }
    }
}
