//! Buffers of the CPU device, and the account of their bytes.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytemuck::allocation::try_zeroed_vec;
use sysinfo::{MemoryRefreshKind, RefreshKind, System};

use crate::device::{DeviceError, Element};

/// Bytes of everything alive on a device, and how many it may take.
#[derive(Clone, Debug)]
pub(super) struct Account(Arc<Books>);

#[derive(Debug)]
struct Books {
    /// Weights that lie in mapped files among them.
    bytes: AtomicU64,
    /// Without those: the system takes their memory back as it likes.
    owned: AtomicU64,
    /// Most owned bytes.
    limit: u64,
}

impl Account {
    /// An account of at most `limit` bytes of memory.
    pub(super) fn new(limit: u64) -> Account {
        Account(Arc::new(Books {
            bytes: AtomicU64::new(0),
            owned: AtomicU64::new(0),
            limit,
        }))
    }

    pub(super) fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// Takes `bytes` of memory for `name`, for as long as the entry lives.
    pub(super) fn take(&self, name: &str, bytes: u64) -> Result<Entry, DeviceError> {
        let Books { owned, limit, .. } = &*self.0;
        let more = |owned: u64| owned.checked_add(bytes).filter(|sum| sum <= limit);
        owned
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .map_err(|owned| DeviceError::OutOfMemory {
                name: name.to_owned(),
                bytes,
                free: Some(limit.saturating_sub(owned)),
            })?;
        Ok(self.enter(bytes, bytes))
    }

    /// Counts `bytes` of a mapped file.
    pub(super) fn refer(&self, bytes: u64) -> Entry {
        self.enter(bytes, 0)
    }

    fn enter(&self, bytes: u64, owned: u64) -> Entry {
        self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
        Entry {
            account: self.clone(),
            bytes,
            owned,
        }
    }
}

/// Bytes counted in an [`Account`].
#[derive(Debug)]
pub(super) struct Entry {
    account: Account,
    bytes: u64,
    owned: u64,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let Books { bytes, owned, .. } = &*self.account.0;
        bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        owned.fetch_sub(self.owned, Ordering::Relaxed);
    }
}

/// Bytes of memory that this process may still take: of the machine, and of its container where that has less. All there are
/// where the system does not tell.
pub(super) fn available_bytes() -> u64 {
    let memory = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
    let system = System::new_with_specifics(memory);
    if system.total_memory() == 0 {
        return u64::MAX;
    }
    // Not what the container calls free: cached pages of files, weights among them, can be taken back.
    let of_container = system
        .cgroup_limits()
        .map(|limits| limits.total_memory.saturating_sub(limits.rss));
    system
        .available_memory()
        .min(of_container.unwrap_or(u64::MAX))
}

/// Memory of one element type.
pub struct CpuBuffer<T: Element> {
    pub(super) values: Vec<T::Host>,
    _entry: Entry,
}

impl<T: Element> CpuBuffer<T> {
    pub(super) fn zeroed(
        account: &Account,
        name: &str,
        elements: usize,
    ) -> Result<CpuBuffer<T>, DeviceError> {
        let (values, entry) = zeroed(account, name, elements)?;
        Ok(CpuBuffer {
            values,
            _entry: entry,
        })
    }
}

impl<T: Element> fmt::Debug for CpuBuffer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CpuBuffer({} elements)", self.values.len())
    }
}

/// `elements` zeros, or the error that says for what they were wanted.
pub(super) fn zeroed<T: bytemuck::Zeroable>(
    account: &Account,
    name: &str,
    elements: usize,
) -> Result<(Vec<T>, Entry), DeviceError> {
    let bytes = (elements as u64).saturating_mul(size_of::<T>() as u64);
    let entry = account.take(name, bytes)?;
    let values = try_zeroed_vec(elements).map_err(|()| DeviceError::OutOfMemory {
        name: name.to_owned(),
        bytes,
        free: None,
    })?;
    Ok((values, entry))
}
