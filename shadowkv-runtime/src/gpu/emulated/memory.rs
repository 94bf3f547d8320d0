//! Memory of an emulated GPU, and pinned memory of its host.

use std::fmt;
use std::sync::Arc;

use crate::gpu::{GpuError, GpuMemory, HostMemory};

use super::Shared;
use super::history::Touch;

/// Memory of an emulated GPU.
pub struct EmulatedMemory {
    shared: Arc<Shared>,
    name: Arc<str>,
    address: u64,
    bytes: u64,
    /// Whether dropping it frees it: not if a stream does.
    owned: bool,
}

/// Pinned, mapped memory of an emulated GPU's host.
pub struct EmulatedHostMemory(EmulatedMemory);

impl EmulatedMemory {
    pub(super) fn new(shared: Arc<Shared>, name: Arc<str>, address: u64, bytes: u64) -> Self {
        EmulatedMemory {
            shared,
            name,
            address,
            bytes,
            owned: true,
        }
    }

    /// Part of an allocation that somebody else frees.
    pub(super) fn borrowed(shared: Arc<Shared>, name: Arc<str>, address: u64, bytes: u64) -> Self {
        let mut memory = EmulatedMemory::new(shared, name, address, bytes);
        memory.owned = false;
        memory
    }

    /// The first address; whoever asks for it frees it.
    pub(super) fn into_address(mut self) -> u64 {
        self.owned = false;
        self.address
    }

    pub(super) fn belongs_to(&self, shared: &Arc<Shared>) -> bool {
        Arc::ptr_eq(&self.shared, shared)
    }
}

impl EmulatedHostMemory {
    pub(super) fn new(memory: EmulatedMemory) -> EmulatedHostMemory {
        EmulatedHostMemory(memory)
    }

    pub(super) fn belongs_to(&self, shared: &Arc<Shared>) -> bool {
        self.0.belongs_to(shared)
    }
}

impl Drop for EmulatedMemory {
    fn drop(&mut self) {
        if self.owned {
            let mut state = self.shared.lock();
            let actor = state.host_acts(&format!("drop {}", self.name));
            state.release(&actor, self.address);
        }
    }
}

impl fmt::Debug for EmulatedMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ({} bytes at {:#x})",
            self.name, self.bytes, self.address
        )
    }
}

impl fmt::Debug for EmulatedHostMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl GpuMemory for EmulatedMemory {
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

impl GpuMemory for EmulatedHostMemory {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn address(&self) -> u64 {
        self.0.address
    }

    fn bytes(&self) -> u64 {
        self.0.bytes
    }
}

impl HostMemory for EmulatedHostMemory {
    fn get(&self, offset: u64, bytes: &mut [u8]) -> Result<(), GpuError> {
        let part = self.part(offset, bytes.len() as u64)?;
        let (address, length) = (part.address(), part.bytes());
        let mut state = self.0.shared.lock();
        let actor = state.host_acts(&format!("get {}", self.0.name));
        state.touch_part(&actor, Touch::Read, address, length);
        state.must_be_defined(&actor, address, length);
        // It is within live memory.
        let _ = state.device.read(address, bytes);
        Ok(())
    }

    fn set(&self, offset: u64, bytes: &[u8]) -> Result<(), GpuError> {
        let part = self.part(offset, bytes.len() as u64)?;
        let (address, length) = (part.address(), part.bytes());
        let mut state = self.0.shared.lock();
        let actor = state.host_acts(&format!("set {}", self.0.name));
        state.touch_part(&actor, Touch::Write, address, length);
        // As above.
        let _ = state.device.write(address, bytes);
        Ok(())
    }
}
