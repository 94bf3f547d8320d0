//! Buffers in a GPU's memory and in pinned host memory, and their elements on the way there and back.

use std::any::TypeId;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use half::bf16;
use half::slice::HalfFloatSliceExt as _;

use crate::device::{Activation, DeviceError, Element};
use crate::gpu::{Gpu, GpuMemory as _, Part};

/// Bytes alive.
#[derive(Clone, Debug, Default)]
pub(super) struct Account(Arc<AtomicU64>);

/// Bytes counted in an [`Account`] for as long as it lives.
#[derive(Debug)]
pub(super) struct Entry {
    account: Account,
    bytes: u64,
}

impl Account {
    pub(super) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn enter(&self, bytes: u64) -> Entry {
        self.0.fetch_add(bytes, Ordering::Relaxed);
        Entry {
            account: self.clone(),
            bytes,
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.account.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Bytes of an element on the GPU: activations are bf16 there.
pub(super) fn element_bytes<T: Element>() -> u64 {
    if is_activation::<T>() {
        size_of::<bf16>() as u64
    } else {
        size_of::<T::Host>() as u64
    }
}

fn is_activation<T: Element>() -> bool {
    TypeId::of::<T>() == TypeId::of::<Activation>()
}

/// `values` as the GPU has them.
pub(super) fn encode<T: Element>(values: &[T::Host]) -> Vec<u8> {
    if !is_activation::<T>() {
        return bytemuck::cast_slice(values).to_vec();
    }
    let values: &[f32] = bytemuck::cast_slice(values);
    let mut bytes = vec![0; values.len() * size_of::<bf16>()];
    round(values, &mut bytes);
    bytes
}

/// `values` rounded to bf16, the lower byte first.
pub(super) fn round(values: &[f32], bytes: &mut [u8]) {
    let (chunks, _) = bytes.as_chunks_mut::<2>();
    for (bytes, value) in chunks.iter_mut().zip(values) {
        *bytes = bf16::from_f32(*value).to_le_bytes();
    }
}

/// What the GPU has in `bytes` as `values`.
pub(super) fn decode<T: Element>(bytes: &[u8], values: &mut [T::Host]) {
    if is_activation::<T>() {
        let halves: Vec<bf16> = bytes
            .as_chunks::<2>()
            .0
            .iter()
            .map(|bytes| bf16::from_le_bytes(*bytes))
            .collect();
        halves.convert_to_f32_slice(bytemuck::cast_slice_mut(values));
    } else {
        bytemuck::cast_slice_mut(values).copy_from_slice(bytes);
    }
}

/// Elements in a GPU's memory.
pub struct KernelBuffer<T: Element, G: Gpu> {
    pub(super) memory: G::Memory,
    /// None of memory that is not ours.
    _entry: Option<Entry>,
    element: PhantomData<T>,
}

impl<T: Element, G: Gpu> KernelBuffer<T, G> {
    pub(super) fn new(memory: G::Memory, account: &Account) -> KernelBuffer<T, G> {
        KernelBuffer {
            _entry: Some(account.enter(memory.bytes())),
            memory,
            element: PhantomData,
        }
    }

    /// A caller's memory.
    pub(super) fn lent(memory: G::Memory) -> KernelBuffer<T, G> {
        KernelBuffer {
            _entry: None,
            memory,
            element: PhantomData,
        }
    }

    /// The address of element `at`.
    pub(super) fn address(&self, at: u64) -> u64 {
        self.memory.address() + at * element_bytes::<T>()
    }

    /// `elements` elements from `at` on.
    pub(super) fn part(&self, at: u64, elements: u64) -> Result<Part<'_, G>, DeviceError> {
        let bytes = element_bytes::<T>();
        Ok(self.memory.part(at * bytes, elements * bytes)?)
    }
}

impl<T: Element, G: Gpu> fmt::Debug for KernelBuffer<T, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KernelBuffer(`{}`)", self.memory.name())
    }
}

/// Elements in pinned host memory that the GPU reaches.
pub struct KernelHostBuffer<T: Element, G: Gpu> {
    pub(super) memory: G::HostMemory,
    _entry: Entry,
    element: PhantomData<T>,
}

impl<T: Element, G: Gpu> KernelHostBuffer<T, G> {
    pub(super) fn new(memory: G::HostMemory, account: &Account) -> KernelHostBuffer<T, G> {
        KernelHostBuffer {
            _entry: account.enter(memory.bytes()),
            memory,
            element: PhantomData,
        }
    }
}

impl<T: Element, G: Gpu> fmt::Debug for KernelHostBuffer<T, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KernelHostBuffer(`{}`)", self.memory.name())
    }
}
