//! Buffers of the CPU device, and the account of their bytes.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytemuck::allocation::try_zeroed_vec;

use crate::device::{DeviceError, Element};

/// Bytes of everything alive on a device.
#[derive(Clone, Debug, Default)]
pub(super) struct Account(Arc<AtomicU64>);

impl Account {
    pub(super) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts `bytes` for as long as the entry lives.
    pub(super) fn enter(&self, bytes: u64) -> Entry {
        self.0.fetch_add(bytes, Ordering::Relaxed);
        Entry {
            account: self.clone(),
            bytes,
        }
    }
}

/// Bytes counted in an [`Account`].
#[derive(Debug)]
pub(super) struct Entry {
    account: Account,
    bytes: u64,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.account.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
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
        let values: Vec<T::Host> = zeroed(name, elements)?;
        let entry = account.enter(size_of_val(values.as_slice()) as u64);
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
    name: &str,
    elements: usize,
) -> Result<Vec<T>, DeviceError> {
    let out_of_memory = |()| DeviceError::OutOfMemory {
        name: name.to_owned(),
        bytes: (elements as u64).saturating_mul(size_of::<T>() as u64),
        free: None,
    };
    if elements
        .checked_mul(size_of::<T>())
        .is_none_or(|bytes| isize::try_from(bytes).is_err())
    {
        return Err(out_of_memory(()));
    }
    try_zeroed_vec(elements).map_err(out_of_memory)
}
