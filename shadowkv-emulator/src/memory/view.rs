//! What one worker sees of the address space during a launch.

use super::interval::{Intervals, Now};
use super::page::{Grain, PAGE, Page, Tag, Tags};
use super::space::{Allocation, Lookup};
use super::{MemoryKind, UNIT, unit_bits};

/// What is wrong with one lane's access.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trouble {
    pub(crate) lane: u32,
    pub(crate) kind: TroubleKind,
    pub(crate) address: u64,
    /// The other party of a race; 0 if there is none.
    pub(crate) other: Tag,
}

/// Kinds of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TroubleKind {
    OutOfBounds,
    Freed,
    Misaligned,
    Undefined,
    /// Read of something that another thread writes.
    ReadAfterWrite,
    /// Write of something that another thread reads.
    WriteAfterRead,
    /// Write of something that another thread writes.
    WriteAfterWrite,
    /// Plain access beside an atomic one.
    BesideAtomic,
}

/// Bytes that a row of lanes moved, by where they lay.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moved {
    pub(crate) device: u64,
    pub(crate) host: u64,
}

/// One value of up to 16 bytes per lane.
pub(crate) type Values = [[u32; 4]; 32];

/// How an access takes part in races.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strength {
    /// An ordinary access.
    Plain,
    /// Atomic, volatile, relaxed or stronger: does not race with its like.
    Strong,
}

pub(crate) struct View<'a> {
    pub(super) allocations: Vec<&'a Allocation>,
    pub(super) pages: Vec<Vec<Option<Box<Page>>>>,
    pub(crate) intervals: Intervals,
    pub(crate) troubles: Vec<Trouble>,
    /// The group interval of the block at work in its epoch; 0 if there is none yet.
    pub(crate) group: u32,
    last: usize,
    pub(super) lookup: &'a (dyn Fn(u64) -> Lookup<'a> + Sync),
}

/// Lanes whose addresses lie in `[begin, begin + length - bytes]`.
#[inline(always)]
fn inside(addresses: &[u64; 32], lanes: u32, begin: u64, length: u64, bytes: u32) -> u32 {
    let Some(last) = length.checked_sub(u64::from(bytes)) else {
        return 0;
    };
    let mut within = [0_u8; 32];
    for lane in 0..32 {
        within[lane] = u8::from(addresses[lane].wrapping_sub(begin) <= last);
    }
    lanes & crate::exec::rows::mask_of(&within)
}

/// How many different addresses the lanes ask for, which a request asks for once each.
#[inline(always)]
fn distinct(addresses: &[u64; 32], lanes: u32) -> u32 {
    let mut count = 0;
    let mut ascending = true;
    let mut before = 0;
    let mut left = lanes;
    while left != 0 {
        let address = addresses[left.trailing_zeros() as usize];
        left &= left - 1;
        ascending &= before <= address;
        count += u32::from(before != address);
        before = address;
    }
    if ascending {
        count
    } else {
        distinct_scattered(addresses, lanes)
    }
}

#[cold]
fn distinct_scattered(addresses: &[u64; 32], lanes: u32) -> u32 {
    let mut sorted = *addresses;
    let mut count = 0;
    for lane in 0..32 {
        if lanes >> lane & 1 == 1 {
            sorted[count] = addresses[lane];
            count += 1;
        }
    }
    let sorted = &mut sorted[..count];
    sorted.sort_unstable();
    let changes = sorted.windows(2).filter(|pair| pair[0] != pair[1]).count();
    changes as u32 + u32::from(count > 0)
}

/// Whether lane i's address is lane 0's plus i times `bytes`.
#[inline(always)]
fn contiguous(addresses: &[u64; 32], bytes: u32) -> bool {
    let mut same = true;
    for lane in 0..32 {
        same &= addresses[lane] == addresses[0].wrapping_add(lane as u64 * u64::from(bytes));
    }
    same
}

impl<'a> View<'a> {
    /// A view of `allocations`, ascending by address; `lookup` explains addresses outside of them.
    pub(crate) fn new(
        allocations: Vec<&'a Allocation>,
        lookup: &'a (dyn Fn(u64) -> Lookup<'a> + Sync),
        communicating: bool,
    ) -> View<'a> {
        View {
            pages: allocations.iter().map(|_| Vec::new()).collect(),
            allocations,
            intervals: Intervals::new(communicating),
            troubles: Vec::new(),
            group: 0,
            last: 0,
            lookup,
        }
    }

    pub(crate) fn allocations(&self) -> &[&'a Allocation] {
        &self.allocations
    }

    pub(crate) fn into_pages(self) -> (Vec<Vec<Option<Box<Page>>>>, Intervals) {
        (self.pages, self.intervals)
    }

    /// The live allocation that holds all of `bytes` bytes at `address`.
    #[inline(always)]
    pub(super) fn locate(&mut self, address: u64, bytes: u32) -> Option<usize> {
        let fits = |allocation: &Allocation| {
            let offset = address.wrapping_sub(allocation.base);
            offset < allocation.bytes && allocation.bytes - offset >= u64::from(bytes)
        };
        if let Some(&allocation) = self.allocations.get(self.last)
            && fits(allocation)
        {
            return Some(self.last);
        }
        let place = self
            .allocations
            .partition_point(|allocation| allocation.base <= address);
        let index = place.checked_sub(1)?;
        if fits(self.allocations[index]) {
            self.last = index;
            return Some(index);
        }
        None
    }

    #[cold]
    pub(super) fn lost(&mut self, lane: u32, address: u64) {
        let kind = match (self.lookup)(address) {
            Lookup::Freed(..) => TroubleKind::Freed,
            _ => TroubleKind::OutOfBounds,
        };
        self.trouble(lane, kind, address, 0);
    }

    #[cold]
    pub(super) fn trouble(&mut self, lane: u32, kind: TroubleKind, address: u64, other: Tag) {
        self.troubles.push(Trouble {
            lane,
            kind,
            address,
            other,
        });
    }

    /// Lanes whose addresses are aligned; the others are reported.
    #[inline(always)]
    fn aligned(&mut self, addresses: &[u64; 32], lanes: u32, bytes: u32) -> u32 {
        let mut bits = 0;
        for lane in 0..32 {
            bits |= if lanes >> lane & 1 == 1 {
                addresses[lane]
            } else {
                0
            };
        }
        if bits & u64::from(bytes - 1) == 0 {
            return lanes;
        }
        self.misaligned(addresses, lanes, bytes)
    }

    #[cold]
    fn misaligned(&mut self, addresses: &[u64; 32], lanes: u32, bytes: u32) -> u32 {
        let mut good = lanes;
        for lane in 0..32 {
            let address = addresses[lane as usize];
            if lanes >> lane & 1 == 1 && address & u64::from(bytes - 1) != 0 {
                good &= !(1 << lane);
                self.trouble(lane, TroubleKind::Misaligned, address, 0);
            }
        }
        good
    }

    /// Forgets who accessed what, where interval numbers have started again.
    #[cold]
    fn forget(&mut self) {
        for page in self.pages.iter_mut().flatten().flatten() {
            page.readers = Tags::default();
            page.writers = Tags::default();
            page.atomics = None;
        }
    }

    /// A new interval for a warp.
    pub(crate) fn begin_interval(
        &mut self,
        block: u32,
        epoch: u32,
        warp: u16,
        stretch: u32,
        warp_syncs: u32,
    ) -> u32 {
        let number = self
            .intervals
            .begin(block, epoch, warp, stretch, warp_syncs);
        if self.intervals.take_forgotten() {
            self.forget();
        }
        number
    }

    /// Reads `bytes` (1, 2, 4, 8 or 16) bytes per lane; the lanes that could, and what moved.
    #[inline(always)]
    #[expect(
        clippy::too_many_lines,
        reason = "one pass over the lanes: what it checks and notes, it does at once"
    )]
    pub(crate) fn read(
        &mut self,
        now: &Now<'_>,
        pc: u32,
        addresses: &[u64; 32],
        lanes: u32,
        bytes: u32,
        strength: Strength,
        values: &mut Values,
    ) -> (u32, Moved) {
        let lanes = self.aligned(addresses, lanes, bytes);
        let mut left = lanes;
        let mut done = 0;
        let mut moved = Moved::default();
        let grain = Grain::of(bytes);
        while left != 0 {
            let first = left.trailing_zeros();
            let address = addresses[first as usize];
            let Some(index) = self.locate(address, bytes) else {
                self.lost(first, address);
                left &= left - 1;
                continue;
            };
            let allocation = self.allocations[index];
            let number = (address - allocation.base) / PAGE;
            let begin = number * PAGE;
            let length = (allocation.bytes - begin).min(PAGE);
            let here = inside(addresses, left, allocation.base + begin, length, bytes);
            left &= !here;
            done |= here;
            let count = u64::from(distinct(addresses, here) * bytes);
            match allocation.kind {
                MemoryKind::Device => moved.device += count,
                MemoryKind::MappedHost => moved.host += count,
            }
            let page = page_mut(&mut self.pages[index], number, allocation);
            let source: &[u8] = match &page.data {
                Some(data) => data,
                None => &allocation.data[begin as usize..(begin + length) as usize],
            };
            let defined = &allocation.defined
                [(begin / UNIT) as usize..(begin + length).div_ceil(UNIT) as usize];
            let base = allocation.base + begin;
            let mut undefined = 0_u16;
            let mut shared_with = 0_u64;
            let quiet =
                page.writers.is_empty() && page.atomics.is_none() && strength == Strength::Plain;
            let tags = page.readers.at(grain);
            if here == u32::MAX
                && bytes >= 4
                && contiguous(addresses, bytes)
                && addresses[0].is_multiple_of(UNIT)
            {
                // The common case: the warp reads whole units side by side.
                let offset = (addresses[0] - base) as usize;
                let total = 32 * bytes as usize;
                let unit = offset / UNIT as usize;
                let units = total / UNIT as usize;
                for i in unit..unit + units {
                    undefined |= !(defined[i] | page.written[i]);
                }
                for mask in &mut page.read[unit..unit + units] {
                    *mask = u16::MAX;
                }
                copy_out(&source[offset..offset + total], bytes, values);
                let at = offset >> grain.shift();
                let per_lane = (bytes >> grain.shift()).max(1) as usize;
                let mine = now.tag(pc, 0);
                let old = &mut tags[at..at + 32 * per_lane];
                if per_lane == 1 {
                    for (lane, slot) in old.iter_mut().enumerate() {
                        let tag = mine + lane as u64;
                        let before = *slot;
                        shared_with |= if before == 0 {
                            0
                        } else {
                            (before ^ tag) & 0xffff_ffff
                        };
                    }
                    if shared_with == 0 && strength == Strength::Plain {
                        for (lane, slot) in old.iter_mut().enumerate() {
                            *slot = mine + lane as u64;
                        }
                    }
                } else {
                    for (i, slot) in old.iter().enumerate() {
                        let tag = mine + (i / per_lane) as u64;
                        shared_with |= if *slot == 0 {
                            0
                        } else {
                            (*slot ^ tag) & 0xffff_ffff
                        };
                    }
                    if shared_with == 0 && strength == Strength::Plain {
                        for (i, slot) in old.iter_mut().enumerate() {
                            *slot = mine + (i / per_lane) as u64;
                        }
                    }
                }
            } else {
                let mut rest = here;
                while rest != 0 {
                    let lane = rest.trailing_zeros();
                    rest &= rest - 1;
                    let offset = addresses[lane as usize] - base;
                    let unit = (offset / UNIT) as usize;
                    let bits = unit_bits(offset, bytes);
                    undefined |= bits & !(defined[unit] | page.written[unit]);
                    page.read[unit] |= bits;
                    let from = &source[offset as usize..(offset + u64::from(bytes)) as usize];
                    values[lane as usize] = widen(from, bytes);
                    let tag = now.tag(pc, lane);
                    let at = (offset >> grain.shift()) as usize;
                    let many = (bytes >> grain.shift()).max(1) as usize;
                    for slot in &mut tags[at..at + many] {
                        let before = *slot;
                        let other = if before == 0 {
                            0
                        } else {
                            (before ^ tag) & 0xffff_ffff
                        };
                        shared_with |= other;
                        if other == 0 && strength == Strength::Plain {
                            *slot = tag;
                        }
                    }
                }
            }
            if undefined != 0 {
                self.undefined(index, number, addresses, here, bytes);
            }
            if shared_with != 0 && strength == Strength::Plain {
                self.join_readers(now, pc, index, number, addresses, here, bytes);
            }
            if !quiet {
                self.judge(
                    now, pc, index, number, addresses, here, bytes, false, strength,
                );
            }
        }
        (done, moved)
    }

    /// Writes `bytes` bytes per lane; the lanes that could, and what moved. Where lanes meet, the highest wins.
    #[inline(always)]
    pub(crate) fn write(
        &mut self,
        now: &Now<'_>,
        pc: u32,
        addresses: &[u64; 32],
        lanes: u32,
        bytes: u32,
        strength: Strength,
        values: &Values,
    ) -> (u32, Moved) {
        let lanes = self.aligned(addresses, lanes, bytes);
        let mut left = lanes;
        let mut done = 0;
        let mut moved = Moved::default();
        while left != 0 {
            let first = left.trailing_zeros();
            let address = addresses[first as usize];
            let Some(index) = self.locate(address, bytes) else {
                self.lost(first, address);
                left &= left - 1;
                continue;
            };
            let allocation = self.allocations[index];
            let number = (address - allocation.base) / PAGE;
            let begin = number * PAGE;
            let length = (allocation.bytes - begin).min(PAGE);
            let here = inside(addresses, left, allocation.base + begin, length, bytes);
            left &= !here;
            done |= here;
            let count = u64::from(here.count_ones() * bytes);
            match allocation.kind {
                MemoryKind::Device => moved.device += count,
                MemoryKind::MappedHost => moved.host += count,
            }
            self.judge(
                now, pc, index, number, addresses, here, bytes, true, strength,
            );
            let page = page_mut(&mut self.pages[index], number, allocation);
            let base = allocation.base + begin;
            let Page { data, written, .. } = page;
            let data = private(data, allocation, begin, length);
            let mut rest = here;
            while rest != 0 {
                let lane = rest.trailing_zeros();
                rest &= rest - 1;
                let offset = addresses[lane as usize] - base;
                narrow(
                    &values[lane as usize],
                    &mut data[offset as usize..(offset + u64::from(bytes)) as usize],
                );
                written[(offset / UNIT) as usize] |= unit_bits(offset, bytes);
            }
        }
        (done, moved)
    }
}

/// The page, made if it is not there.
#[inline(always)]
pub(super) fn page_mut<'p>(
    pages: &'p mut Vec<Option<Box<Page>>>,
    number: u64,
    allocation: &Allocation,
) -> &'p mut Page {
    if pages.is_empty() {
        pages.resize_with(allocation.bytes.div_ceil(PAGE) as usize, || None);
    }
    pages[number as usize].get_or_insert_with(|| Box::new(Page::new()))
}

/// The page's private contents, copied from the allocation if they are not there.
#[inline(always)]
pub(super) fn private<'p>(
    data: &'p mut Option<Box<[u8]>>,
    allocation: &Allocation,
    begin: u64,
    length: u64,
) -> &'p mut [u8] {
    data.get_or_insert_with(|| allocation.data[begin as usize..(begin + length) as usize].into())
}

/// Little-endian bytes as words, zero-extended.
#[inline(always)]
pub(super) fn widen(from: &[u8], bytes: u32) -> [u32; 4] {
    let mut value = [0_u32; 4];
    match bytes {
        16 => {
            for (word, part) in value.iter_mut().zip(from.chunks_exact(4)) {
                *word = u32::from_le_bytes([part[0], part[1], part[2], part[3]]);
            }
        }
        8 => {
            value[0] = u32::from_le_bytes([from[0], from[1], from[2], from[3]]);
            value[1] = u32::from_le_bytes([from[4], from[5], from[6], from[7]]);
        }
        4 => value[0] = u32::from_le_bytes([from[0], from[1], from[2], from[3]]),
        2 => value[0] = u32::from(u16::from_le_bytes([from[0], from[1]])),
        _ => value[0] = u32::from(from[0]),
    }
    value
}

/// Words as little-endian bytes.
#[inline(always)]
pub(super) fn narrow(value: &[u32; 4], to: &mut [u8]) {
    let bytes: &[u8; 16] = bytemuck::cast_ref(value);
    to.copy_from_slice(&bytes[..to.len()]);
}

#[inline(always)]
fn copy_out(source: &[u8], bytes: u32, values: &mut Values) {
    match bytes {
        16 => {
            bytemuck::cast_slice_mut::<[u32; 4], u8>(values.as_mut_slice()).copy_from_slice(source);
        }
        8 => {
            for (value, part) in values.iter_mut().zip(source.chunks_exact(8)) {
                value[0] = u32::from_le_bytes([part[0], part[1], part[2], part[3]]);
                value[1] = u32::from_le_bytes([part[4], part[5], part[6], part[7]]);
            }
        }
        _ => {
            for (value, part) in values.iter_mut().zip(source.chunks_exact(4)) {
                value[0] = u32::from_le_bytes([part[0], part[1], part[2], part[3]]);
            }
        }
    }
}
