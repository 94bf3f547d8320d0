//! What all handles of one GPU share: its context, whether it still answers, and what is to be freed later.

use std::any::Any;
use std::ffi::{c_int, c_void};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::blas::Blas;
use super::driver::{Driver, code};
use super::solver::Solver;
use super::table::Handle;
use crate::gpu::{GpuError, Properties};

/// Something that waits to be freed.
pub(super) enum Freed {
    Device(u64),
    Host(Handle),
    Registered(Handle, usize),
}

/// Captures that are under way; while there are any, nothing may wait for the GPU.
#[derive(Default)]
pub(super) struct Captures {
    pub(super) open: u32,
    pub(super) waiting: Vec<Freed>,
}

/// A GPU's primary context, or one of the caller's.
pub(super) struct Context {
    pub(super) driver: Driver,
    pub(super) device: c_int,
    pub(super) ordinal: u32,
    pub(super) handle: Handle,
    /// Whether it is the primary context, which we retained and must release.
    pub(super) retained: bool,
    /// Whatever keeps a context alive that is not ours.
    pub(super) owner: Option<Arc<dyn Any + Send + Sync>>,
    pub(super) properties: Properties,
    pub(super) driver_version: (i32, i32),
    /// Whether memory comes from the driver's pool.
    pub(super) pools: bool,
    /// The stream on which memory is allocated.
    pub(super) housekeeping: Handle,
    /// Least and greatest priority of a stream.
    pub(super) priorities: (c_int, c_int),
    /// Why it does not answer any more.
    pub(super) lost: OnceLock<String>,
    /// The kernel that was launched last, for the message when the context is lost.
    pub(super) last_launch: Mutex<Option<Arc<str>>>,
    pub(super) captures: Mutex<Captures>,
    pub(super) blas: OnceLock<Result<Blas, String>>,
    pub(super) solver: OnceLock<Result<Solver, String>>,
}

/// A lock whose data is whole at every moment, whoever panicked.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The calling thread's context until this is dropped.
pub struct EnteredContext {
    driver: Driver,
    previous: Option<Handle>,
}

impl EnteredContext {
    pub(super) fn new(driver: &Driver) -> EnteredContext {
        let mut previous = Handle::NULL;
        // SAFETY: a pointer to a live handle.
        let code = unsafe { (driver.context_current)(&raw mut previous) };
        EnteredContext {
            driver: *driver,
            previous: (code == 0).then_some(previous),
        }
    }
}

impl Drop for EnteredContext {
    fn drop(&mut self) {
        if let Some(previous) = self.previous {
            // SAFETY: what was current, or none. A failure comes up again at the thread's next call.
            let _ = unsafe { (self.driver.context_bind)(previous) };
        }
    }
}

impl Context {
    /// Makes it the calling thread's, unless it is lost.
    pub(super) fn bind(&self) -> Result<(), GpuError> {
        if let Some(message) = self.lost.get() {
            return Err(self.is_lost(message));
        }
        // SAFETY: a context that is retained as long as this lives.
        self.check("cuCtxSetCurrent", unsafe {
            (self.driver.context_bind)(self.handle)
        })
    }

    /// The error for a result code.
    pub(super) fn check(&self, call: &'static str, code: c_int) -> Result<(), GpuError> {
        if code == 0 {
            return Ok(());
        }
        if let Some(message) = self.lost.get() {
            return Err(self.is_lost(message));
        }
        let message = self.driver.describe(code);
        if code::LOST.contains(&code) {
            let last = lock(&self.last_launch).clone();
            let last =
                last.map_or_else(String::new, |kernel| format!(", launched last: `{kernel}`"));
            let message = format!("{call} returned {code}: {message}{last}");
            return Err(self.is_lost(self.lost.get_or_init(|| message)));
        }
        Err(GpuError::Driver {
            call: call.to_owned(),
            code,
            message,
        })
    }

    fn is_lost(&self, message: &str) -> GpuError {
        GpuError::DeviceLost {
            device: format!("cuda:{} ({})", self.ordinal, self.properties.name),
            message: message.to_owned(),
        }
    }

    /// Bytes that are free, and all bytes.
    pub(super) fn memory_info(&self) -> Result<(u64, u64), GpuError> {
        let (mut free, mut total) = (0usize, 0usize);
        // SAFETY: pointers to live integers.
        self.check("cuMemGetInfo", unsafe {
            (self.driver.memory_info)(&raw mut free, &raw mut total)
        })?;
        Ok((free as u64, total as u64))
    }

    /// Frees something that work under way may still use: after that work, or where a capture forbids waiting, after the capture.
    pub(super) fn release(&self, freed: Freed) {
        {
            let mut captures = lock(&self.captures);
            if captures.open > 0 {
                captures.waiting.push(freed);
                return;
            }
        }
        self.free_now(vec![freed]);
    }

    pub(super) fn free_now(&self, freed: Vec<Freed>) {
        // A lost context takes its memory with it; only the host's is still ours.
        let answers = self.bind().is_ok();
        if answers {
            // SAFETY: waits for the context that is current. A failure comes up again at the caller's next call.
            let _ = unsafe { (self.driver.context_synchronise)() };
        }
        for freed in freed {
            match freed {
                Freed::Device(address) => {
                    // SAFETY: an address that the driver gave us and that is freed here and nowhere else.
                    let _ = unsafe { (self.driver.memory_free)(address) };
                }
                Freed::Host(pointer) => {
                    // SAFETY: as above.
                    let _ = unsafe { (self.driver.host_free)(pointer.0) };
                }
                Freed::Registered(pointer, bytes) => {
                    // SAFETY: as above; mapped by us, and nothing refers to it any more.
                    let _ = unsafe { (self.driver.host_unregister)(pointer.0) };
                    super::host::unmap(pointer.0, bytes);
                }
            }
        }
    }

    /// Whether a capture is under way on `stream`.
    pub(super) fn is_capturing(&self, stream: Handle) -> bool {
        let mut status = 0;
        // SAFETY: a live stream and a pointer to a live integer.
        let code = unsafe { (self.driver.capture_status)(stream, &raw mut status) };
        code == 0 && status != 0
    }

    /// Room on the GPU; `None` when it is full.
    pub(super) fn allocate(&self, bytes: usize) -> Result<Option<u64>, GpuError> {
        let mut address = 0;
        let code = match self.driver.pool_allocate {
            // SAFETY: a pointer to a live integer, and our own stream.
            Some(allocate) if self.pools => unsafe {
                allocate(&raw mut address, bytes, self.housekeeping)
            },
            // SAFETY: as above.
            _ => unsafe { (self.driver.memory_allocate)(&raw mut address, bytes) },
        };
        if code == code::OUT_OF_MEMORY {
            return Ok(None);
        }
        self.check("cuMemAlloc", code)?;
        if self.pools {
            // From here on any stream may use it.
            // SAFETY: our own stream.
            self.check("cuStreamSynchronize", unsafe {
                (self.driver.stream_synchronise)(self.housekeeping)
            })?;
        }
        Ok(Some(address))
    }

    /// The address at which the GPU reaches pinned host memory.
    pub(super) fn host_address(&self, pointer: *mut c_void) -> Result<u64, GpuError> {
        let mut address = 0;
        // SAFETY: pinned memory, a pointer to a live integer; the flags must be 0.
        self.check("cuMemHostGetDevicePointer", unsafe {
            (self.driver.host_address)(&raw mut address, pointer, 0)
        })?;
        Ok(address)
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // The libraries' handles belong to the context and go first.
        let _ = self.bind();
        self.blas.take();
        self.solver.take();
        let waiting = std::mem::take(&mut lock(&self.captures).waiting);
        if !waiting.is_empty() {
            self.free_now(waiting);
        }
        if self.bind().is_ok() && self.housekeeping != Handle::NULL {
            // SAFETY: our own stream, destroyed here and nowhere else.
            let _ = unsafe { (self.driver.stream_destroy)(self.housekeeping) };
        }
        if self.retained {
            // SAFETY: retained once when it was opened.
            let _ = unsafe { (self.driver.context_release)(self.device) };
        }
    }
}
