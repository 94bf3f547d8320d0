//! One lane at a time: what atomics and the copy engine need of a view, and places in words.

use super::UNIT;
use super::interval::Now;
use super::page::{PAGE, PAGE_UNITS};
use super::space::{Allocation, Lookup};
use super::unit_bits;
use super::view::{Strength, TroubleKind, View, narrow, page_mut, private, widen};

impl View<'_> {
    /// Values at `address` as this worker sees them, for atomics: checked like a read.
    pub(crate) fn peek(&mut self, index: usize, offset: u64, bytes: u32) -> [u32; 4] {
        let allocation = self.allocations[index];
        let number = offset / PAGE;
        let begin = number * PAGE;
        let length = (allocation.bytes - begin).min(PAGE);
        let page = page_mut(&mut self.pages[index], number, allocation);
        let source: &[u8] = match &page.data {
            Some(data) => data,
            None => &allocation.data[begin as usize..(begin + length) as usize],
        };
        let at = (offset - begin) as usize;
        widen(&source[at..at + bytes as usize], bytes)
    }

    /// Where an atomic's address lies, after the checks of an access; `None` where it may not be touched.
    pub(crate) fn atomic_place(
        &mut self,
        now: &Now<'_>,
        pc: u32,
        lane: u32,
        address: u64,
        bytes: u32,
    ) -> Option<(usize, u64)> {
        if !address.is_multiple_of(u64::from(bytes)) {
            self.trouble(lane, TroubleKind::Misaligned, address, 0);
            return None;
        }
        let Some(index) = self.locate(address, bytes) else {
            self.lost(lane, address);
            return None;
        };
        let allocation = self.allocations[index];
        let offset = address - allocation.base;
        let number = offset / PAGE;
        let mut addresses = [0; 32];
        addresses[lane as usize] = address;
        let page = page_mut(&mut self.pages[index], number, allocation);
        let unit = (offset / UNIT) as usize;
        let bits = unit_bits(offset, bytes);
        let within = unit % PAGE_UNITS;
        page.read[within] |= bits;
        if bits & !(allocation.defined[unit] | page.written[within]) != 0 {
            self.trouble(lane, TroubleKind::Undefined, address, 0);
        }
        self.judge(
            now,
            pc,
            index,
            number,
            &addresses,
            1 << lane,
            bytes,
            true,
            Strength::Strong,
        );
        Some((index, offset))
    }

    /// Stores the result of an atomic at a place that [`View::atomic_place`] gave.
    pub(crate) fn poke(&mut self, index: usize, offset: u64, bytes: u32, value: &[u32; 4]) {
        let allocation = self.allocations[index];
        let number = offset / PAGE;
        let begin = number * PAGE;
        let length = (allocation.bytes - begin).min(PAGE);
        let page = page_mut(&mut self.pages[index], number, allocation);
        page.written[((offset - begin) / UNIT) as usize] |= unit_bits(offset, bytes);
        let data = private(&mut page.data, allocation, begin, length);
        let at = (offset - begin) as usize;
        narrow(value, &mut data[at..at + bytes as usize]);
    }

    /// A place in words: allocation and offset, or what is nearest.
    pub(crate) fn describe(&self, address: u64, bytes: u32) -> String {
        let of = |allocation: &Allocation, offset: u64| {
            format!(
                "{address:#x}: `{}` + {offset} ({bytes} bytes of {})",
                allocation.name, allocation.bytes
            )
        };
        match (self.lookup)(address) {
            Lookup::Live(_, _) => self
                .allocations
                .iter()
                .rev()
                .find(|allocation| allocation.base <= address)
                .map_or_else(String::new, |allocation| {
                    of(allocation, address - allocation.base)
                }),
            Lookup::Freed(allocation, offset) => {
                format!("{}, which has been freed", of(allocation, offset))
            }
            Lookup::Nothing(Some(below)) => format!(
                "{address:#x}: {} bytes beyond the end of `{}` ({} bytes)",
                address - below.base - below.bytes,
                below.name,
                below.bytes
            ),
            Lookup::Nothing(None) => format!("{address:#x}: below all allocations"),
        }
    }
}
