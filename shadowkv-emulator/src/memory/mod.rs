//! The address space of an emulated GPU, and what a launch sees of it.
//!
//! [`AddressSpace`] belongs to the device and changes only between launches. During one, every worker thread has a
//! [`view::View`] of its own: pages it writes are private copies, and who touched which byte is noted beside them.
//! Afterwards the views are merged in a fixed order, so that even a racy kernel gives the same result every time.

#![allow(
    clippy::inline_always,
    reason = "a row vectorises with the features of the caller it is inlined into"
)]
#![allow(
    clippy::needless_range_loop,
    reason = "a lane's number indexes several rows at once"
)]
#![allow(
    clippy::too_many_arguments,
    reason = "an access is described once: who, where, which lanes, how many bytes"
)]

use std::ops::Range;

mod atomic_view;
pub(crate) mod interval;
mod judge;
pub(crate) mod merge;
pub(crate) mod page;
pub(crate) mod space;
pub(crate) mod view;

pub use merge::Touched;
pub use space::MemoryKind;

/// Where shared memory appears among generic addresses.
pub(crate) const SHARED_WINDOW: u64 = 0x7e00_0000_0000;
/// Where local memory appears among generic addresses.
pub(crate) const LOCAL_WINDOW: u64 = 0x7e10_0000_0000;
/// Where kernel parameters appear among generic addresses.
pub(crate) const PARAM_WINDOW: u64 = 0x7e20_0000_0000;
/// Bytes of each window.
pub(crate) const WINDOW_BYTES: u64 = 0x10_0000_0000;
/// Where the first allocation lies.
pub(crate) const FIRST_ADDRESS: u64 = 0x7000_0000_0000;
/// Where mapped host memory lies.
pub(crate) const FIRST_HOST_ADDRESS: u64 = 0x7400_0000_0000;
/// Where variables of modules lie.
pub(crate) const MODULE_ADDRESS: u64 = 0x7800_0000_0000;

/// Bytes that one entry of a byte mask covers: one bit a byte.
pub(crate) const UNIT: u64 = 16;

/// Bits of a unit's mask for `bytes` bytes from byte `offset` of the unit.
#[inline(always)]
pub(crate) fn unit_bits(offset: u64, bytes: u32) -> u16 {
    (((1_u32 << bytes) - 1) << (offset % UNIT)) as u16
}

/// The first of the bytes from `begin` to `end` whose bit is not set.
pub(crate) fn first_clear(mask: &[u16], begin: u64, end: u64) -> Option<u64> {
    let mut at = begin;
    while at < end {
        let until = ((at / UNIT + 1) * UNIT).min(end);
        let bits = unit_bits(at, (until - at) as u32);
        let missing = bits & !mask.get((at / UNIT) as usize).copied().unwrap_or(0);
        if missing != 0 {
            return Some(at / UNIT * UNIT + u64::from(missing.trailing_zeros()));
        }
        at = until;
    }
    None
}

/// The runs of bytes from `begin` to `end` whose bits are not set.
pub(crate) fn clear_runs(mask: &[u16], begin: u64, end: u64) -> Vec<Range<u64>> {
    let set = |byte: &u64| mask[(*byte / UNIT) as usize] & unit_bits(*byte, 1) != 0;
    let mut runs = Vec::new();
    let mut at = begin;
    while let Some(first) = first_clear(mask, at, end) {
        at = (first..end).find(set).unwrap_or(end);
        runs.push(first..at);
    }
    runs
}

/// Sets the bits of `bytes` bytes from `offset` in a mask of units.
pub(crate) fn set_bits(mask: &mut [u16], offset: u64, bytes: u64) {
    let mut at = offset;
    let end = offset + bytes;
    while at < end {
        let unit = at / UNIT;
        let until = ((unit + 1) * UNIT).min(end);
        if let Some(bits) = mask.get_mut(unit as usize) {
            *bits |= unit_bits(at, (until - at) as u32);
        }
        at = until;
    }
}
