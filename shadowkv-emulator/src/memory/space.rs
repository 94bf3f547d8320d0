//! Allocations of a device.

use bytemuck::allocation::try_zeroed_vec;

use super::{FIRST_ADDRESS, FIRST_HOST_ADDRESS, UNIT, set_bits};

/// Where an allocation lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemoryKind {
    /// Memory of the GPU.
    Device,
    /// Pinned host memory in the GPU's address space: what a kernel moves here crosses `PCIe`.
    MappedHost,
}

/// Distance between allocations: an overrun meets nothing.
const GUARD_BYTES: u64 = 1 << 16;
/// Alignment of allocations, that of `cuMemAlloc`.
const ALIGNMENT: u64 = 256;

/// One allocation.
#[derive(Debug)]
pub(crate) struct Allocation {
    /// Name for reports.
    pub(crate) name: String,
    /// Where it lies.
    pub(crate) kind: MemoryKind,
    /// First address.
    pub(crate) base: u64,
    /// Contents; empty when freed.
    pub(crate) data: Vec<u8>,
    /// One bit per byte that somebody wrote, 16 a unit.
    pub(crate) defined: Vec<u16>,
    /// Size in bytes, also when freed.
    pub(crate) bytes: u64,
    /// Whether it has been freed.
    pub(crate) freed: bool,
}

impl Allocation {
    /// Nothing if the host lacks the memory.
    pub(crate) fn new(name: &str, kind: MemoryKind, base: u64, bytes: u64) -> Option<Allocation> {
        let length = usize::try_from(bytes).ok()?;
        Some(Allocation {
            name: name.to_owned(),
            kind,
            base,
            data: try_zeroed_vec(length).ok()?,
            defined: try_zeroed_vec(length.div_ceil(UNIT as usize)).ok()?,
            bytes,
            freed: false,
        })
    }

    pub(crate) fn define(&mut self, offset: u64, bytes: u64) {
        set_bits(&mut self.defined, offset, bytes);
    }
}

/// All allocations, in the order of their addresses.
#[derive(Debug, Default)]
pub(crate) struct AddressSpace {
    allocations: Vec<Allocation>,
    device_bytes: u64,
}

/// What lies at an address.
pub(crate) enum Lookup<'a> {
    /// A live allocation: its index, and the offset.
    Live(usize, u64),
    /// A freed one.
    Freed(&'a Allocation, u64),
    /// Nothing; the nearest allocation below, if any.
    Nothing(Option<&'a Allocation>),
}

impl AddressSpace {
    pub(crate) fn allocations(&self) -> &[Allocation] {
        &self.allocations
    }

    pub(crate) fn allocation_mut(&mut self, index: usize) -> Option<&mut Allocation> {
        self.allocations.get_mut(index)
    }

    /// Bytes of live allocations in device memory.
    pub(crate) fn device_bytes(&self) -> u64 {
        self.device_bytes
    }

    /// Adds an allocation; addresses are never used twice. Nothing if the host lacks the memory.
    pub(crate) fn allocate(&mut self, name: &str, kind: MemoryKind, bytes: u64) -> Option<u64> {
        let first = match kind {
            MemoryKind::Device => FIRST_ADDRESS,
            MemoryKind::MappedHost => FIRST_HOST_ADDRESS,
        };
        let after = self
            .allocations
            .iter()
            .rev()
            .find(|allocation| allocation.kind == kind && allocation.base < super::MODULE_ADDRESS)
            .map_or(first, |last| {
                (last.base + last.bytes + GUARD_BYTES).next_multiple_of(ALIGNMENT)
            });
        self.insert(Allocation::new(name, kind, after, bytes)?);
        Some(after)
    }

    /// Adds an allocation at an address of its own.
    pub(crate) fn insert(&mut self, allocation: Allocation) -> usize {
        if allocation.kind == MemoryKind::Device {
            self.device_bytes += allocation.bytes;
        }
        let place = self
            .allocations
            .partition_point(|other| other.base < allocation.base);
        self.allocations.insert(place, allocation);
        place
    }

    pub(crate) fn find(&self, address: u64) -> Lookup<'_> {
        let place = self
            .allocations
            .partition_point(|allocation| allocation.base <= address);
        let Some(index) = place.checked_sub(1) else {
            return Lookup::Nothing(None);
        };
        let allocation = &self.allocations[index];
        let offset = address - allocation.base;
        if offset >= allocation.bytes {
            return Lookup::Nothing(Some(allocation));
        }
        if allocation.freed {
            return Lookup::Freed(allocation, offset);
        }
        Lookup::Live(index, offset)
    }

    /// Frees the allocation that begins at `address`; `false` if there is none.
    pub(crate) fn free(&mut self, address: u64) -> bool {
        let place = self
            .allocations
            .partition_point(|allocation| allocation.base < address);
        match self.allocations.get_mut(place) {
            Some(allocation) if allocation.base == address && !allocation.freed => {
                allocation.freed = true;
                allocation.data = Vec::new();
                allocation.defined = Vec::new();
                if allocation.kind == MemoryKind::Device {
                    self.device_bytes -= allocation.bytes;
                }
                true
            }
            _ => false,
        }
    }
}
