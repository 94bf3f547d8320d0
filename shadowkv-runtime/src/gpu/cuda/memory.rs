//! Memory of the GPU, and pinned memory of the host.

use std::ffi::c_uint;
use std::fmt;
use std::sync::Arc;

use super::context::{Context, Freed, lock};
use super::driver::code;
use super::host;
use super::stream::CudaStream;
use super::table::Handle;
use crate::gpu::{GpuError, GpuMemory, HostMemory};

/// Pinned for every context, and mapped into the GPU's address space.
pub(super) const PORTABLE_AND_MAPPED: c_uint = 1 | 2;

/// Memory of a GPU.
pub struct CudaMemory {
    context: Arc<Context>,
    name: String,
    address: u64,
    bytes: u64,
    /// Given to the order of a stream, or never ours: there is nothing left to free.
    given_up: bool,
}

impl fmt::Debug for CudaMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "CudaMemory(`{}`, {} bytes at {:#x})",
            self.name, self.bytes, self.address
        )
    }
}

impl CudaMemory {
    pub(super) fn new(
        context: &Arc<Context>,
        name: &str,
        bytes: u64,
    ) -> Result<CudaMemory, GpuError> {
        context.bind()?;
        // No bytes are an allocation too; more than the address space has are none.
        let wanted = usize::try_from(bytes.max(1)).ok();
        let mut address = wanted.map_or(Ok(None), |bytes| context.allocate(bytes))?;
        if let (None, Some(bytes)) = (address, wanted)
            && lock(&context.captures).open == 0
        {
            // What streams were told to free may be free by now.
            // SAFETY: waits for the context that is current.
            context.check("cuCtxSynchronize", unsafe {
                (context.driver.context_synchronise)()
            })?;
            address = context.allocate(bytes)?;
        }
        let Some(address) = address else {
            let (free, total) = context.memory_info()?;
            return Err(GpuError::OutOfMemory {
                name: name.to_owned(),
                bytes,
                free,
                total,
            });
        };
        Ok(CudaMemory {
            context: Arc::clone(context),
            name: name.to_owned(),
            address,
            bytes,
            given_up: false,
        })
    }

    /// Memory that somebody else frees.
    pub(super) fn borrowed(
        context: &Arc<Context>,
        name: &str,
        address: u64,
        bytes: u64,
    ) -> CudaMemory {
        CudaMemory {
            context: Arc::clone(context),
            name: name.to_owned(),
            address,
            bytes,
            given_up: true,
        }
    }

    /// Frees it in the order of `stream`.
    pub(super) fn free_on(mut self, stream: &CudaStream) -> Result<(), GpuError> {
        if self.given_up {
            return Ok(());
        }
        let context = Arc::clone(&self.context);
        context.bind()?;
        let free = context.driver.pool_free.filter(|_| context.pools);
        // A capture would take the free into its graph.
        let Some(free) = free.filter(|_| !context.is_capturing(stream.handle())) else {
            return Ok(());
        };
        self.given_up = true;
        // SAFETY: memory of the pool, freed here and nowhere else, in the order that the caller vouches for.
        context.check("cuMemFreeAsync", unsafe {
            free(self.address, stream.handle())
        })
    }
}

impl Drop for CudaMemory {
    fn drop(&mut self) {
        if !self.given_up {
            self.context.release(Freed::Device(self.address));
        }
    }
}

impl GpuMemory for CudaMemory {
    fn name(&self) -> &str {
        &self.name
    }

    fn address(&self) -> u64 {
        self.address
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// Pinned host memory that a GPU reaches.
pub struct CudaHostMemory {
    context: Arc<Context>,
    name: String,
    pointer: Handle,
    address: u64,
    bytes: u64,
    /// Bytes that we mapped ourselves and had pinned; 0 where the driver allocated them.
    registered: usize,
}

impl fmt::Debug for CudaHostMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CudaHostMemory(`{}`, {} bytes)", self.name, self.bytes)
    }
}

impl CudaHostMemory {
    pub(super) fn new(
        context: &Arc<Context>,
        name: &str,
        bytes: u64,
    ) -> Result<CudaHostMemory, GpuError> {
        context.bind()?;
        let refused = |free| GpuError::OutOfHostMemory {
            name: name.to_owned(),
            bytes,
            free,
        };
        // The system would rather end a process than refuse it pages that it lets it have first.
        let available = host::available_bytes();
        if available.is_some_and(|available| bytes > available) {
            return Err(refused(available));
        }
        let length = usize::try_from(bytes.max(1)).map_err(|_| refused(available))?;
        let mut memory = CudaHostMemory {
            context: Arc::clone(context),
            name: name.to_owned(),
            pointer: Handle::NULL,
            address: 0,
            bytes,
            registered: 0,
        };
        if let Some((pointer, mapped)) = host::map_huge(length) {
            // SAFETY: pages that we have just mapped.
            let code =
                unsafe { (context.driver.host_register)(pointer, mapped, PORTABLE_AND_MAPPED) };
            if code == 0 {
                (memory.pointer, memory.registered) = (Handle(pointer), mapped);
            } else {
                // A limit on locked memory, for one; the driver's own allocation may not be subject to it.
                host::unmap(pointer, mapped);
            }
        }
        if memory.registered == 0 {
            let mut pointer = std::ptr::null_mut();
            // SAFETY: a pointer to a live pointer.
            let code = unsafe {
                (context.driver.host_allocate)(&raw mut pointer, length, PORTABLE_AND_MAPPED)
            };
            if code == code::OUT_OF_MEMORY {
                return Err(refused(None));
            }
            context.check("cuMemHostAlloc", code)?;
            memory.pointer = Handle(pointer);
            // SAFETY: as many bytes as were just allocated, and nobody else knows of them.
            unsafe { std::ptr::write_bytes(pointer.cast::<u8>(), 0, length) };
        }
        memory.address = context.host_address(memory.pointer.0)?;
        Ok(memory)
    }

    /// The host's own pointer to a byte of it.
    pub(super) fn pointer_at(&self, offset: u64) -> *mut u8 {
        // Offsets of parts are within the memory, and so is a pointer behind its end.
        self.pointer.0.cast::<u8>().wrapping_add(offset as usize)
    }

    fn check(&self, offset: u64, bytes: usize) -> Result<(), GpuError> {
        self.part(offset, bytes as u64).map(drop)
    }
}

impl Drop for CudaHostMemory {
    fn drop(&mut self) {
        if self.pointer == Handle::NULL {
            return;
        }
        self.context.release(match self.registered {
            0 => Freed::Host(self.pointer),
            bytes => Freed::Registered(self.pointer, bytes),
        });
    }
}

impl GpuMemory for CudaHostMemory {
    fn name(&self) -> &str {
        &self.name
    }

    fn address(&self) -> u64 {
        self.address
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl HostMemory for CudaHostMemory {
    fn get(&self, offset: u64, bytes: &mut [u8]) -> Result<(), GpuError> {
        self.check(offset, bytes.len())?;
        // SAFETY: within the allocation, which no reference points into; the caller has waited for whatever writes there.
        unsafe {
            std::ptr::copy_nonoverlapping(self.pointer_at(offset), bytes.as_mut_ptr(), bytes.len());
        }
        Ok(())
    }

    fn set(&self, offset: u64, bytes: &[u8]) -> Result<(), GpuError> {
        self.check(offset, bytes.len())?;
        // SAFETY: as above, for whatever reads or writes there.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.pointer_at(offset), bytes.len());
        }
        Ok(())
    }
}
