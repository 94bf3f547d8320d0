//! The views of all workers back into one: contents, what was touched, and races between blocks of different workers.

use std::ops::Range;

use crate::counters::Unique;
use crate::exec::Context;
use crate::exec::notes::{Actor, Notes};
use crate::finding::FindingKind;

use super::interval::{GROUP, Intervals};
use super::page::{Grain, PAGE, PAGE_UNITS, Page, Tag, Tags, interval_of};
use super::view::View;
use super::{MemoryKind, UNIT};

/// What a launch left: per allocation (by its first address), written pages.
pub(crate) struct Merged {
    pub(crate) pages: Vec<WrittenPage>,
    pub(crate) unique: Unique,
    pub(crate) touched: Vec<Touched>,
}

/// What a launch touched of one allocation, exact to the byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Touched {
    /// Name of the allocation, or of a variable of the module.
    pub name: String,
    /// Its first address.
    pub address: u64,
    /// What was read: ascending offsets in it, no two ranges adjacent.
    pub read: Vec<Range<u64>>,
    /// What was written, likewise. What an atomic touched is in both.
    pub written: Vec<Range<u64>>,
}

/// Appends what a page's mask marks; `offset` is that of the page.
fn append(ranges: &mut Vec<Range<u64>>, offset: u64, mask: &[u16; PAGE_UNITS]) {
    let mut push = |begin: u64, end: u64| match ranges.last_mut() {
        Some(last) if last.end == begin => last.end = end,
        _ => ranges.push(begin..end),
    };
    for (unit, &bits) in mask.iter().enumerate() {
        let begin = offset + unit as u64 * UNIT;
        if bits == u16::MAX {
            push(begin, begin + UNIT);
            continue;
        }
        let mut left = bits;
        while left != 0 {
            let first = left.trailing_zeros();
            let length = (left >> first).trailing_ones();
            push(begin + u64::from(first), begin + u64::from(first + length));
            left &= !(((1_u32 << length) - 1) << first) as u16;
        }
    }
}

/// A page that was written.
pub(crate) struct WrittenPage {
    /// First address of the allocation.
    pub(crate) base: u64,
    /// Offset of the page in it.
    pub(crate) offset: u64,
    /// Contents, valid where `written` says so.
    pub(crate) data: Box<[u8]>,
    pub(crate) written: Box<[u16; PAGE_UNITS]>,
}

/// Joins the views, in their order; where two wrote the same byte, which is a finding, the later one's value stays.
pub(crate) fn merge(context: &Context<'_>, views: Vec<View<'_>>, notes: &mut Notes<'_>) -> Merged {
    let allocations: Vec<_> = views
        .first()
        .map(|view| view.allocations().to_vec())
        .unwrap_or_default();
    let describe = |index: usize, offset: u64| {
        let allocation = allocations[index];
        format!(
            "{:#x}: `{}` + {offset} (1 byte of {})",
            allocation.base + offset,
            allocation.name,
            allocation.bytes
        )
    };
    let mut parts: Vec<_> = views.into_iter().map(View::into_pages).collect();
    let mut unique = Unique::default();
    let mut written_pages = Vec::new();
    let mut touched = Vec::new();
    let _ = context;
    for (index, allocation) in allocations.iter().enumerate() {
        let count = allocation.bytes.div_ceil(PAGE) as usize;
        if parts.iter().all(|(pages, _)| pages[index].is_empty()) {
            continue;
        }
        let mut own = Touched {
            name: allocation.name.clone(),
            address: allocation.base,
            read: Vec::new(),
            written: Vec::new(),
        };
        for number in 0..count {
            let offset = number as u64 * PAGE;
            let mut pages: Vec<(usize, Box<Page>)> = Vec::new();
            for (worker, (all, _)) in parts.iter_mut().enumerate() {
                if let Some(page) = all[index].get_mut(number).and_then(Option::take) {
                    pages.push((worker, page));
                }
            }
            let Some((_, first)) = pages.first() else {
                continue;
            };
            let mut read = first.read.clone();
            let mut written = first.written.clone();
            if pages.len() > 1 {
                for at in 1..pages.len() {
                    let (earlier, later) = pages.split_at(at);
                    let (worker, page) = &later[0];
                    for unit in 0..PAGE_UNITS {
                        let conflict = page.written[unit] & (read[unit] | written[unit])
                            | page.read[unit] & written[unit];
                        if conflict != 0 {
                            let byte = unit as u64 * UNIT + u64::from(conflict.trailing_zeros());
                            report(notes, &parts, earlier, (*worker, page), byte, || {
                                describe(index, offset + byte)
                            });
                        }
                    }
                    for unit in 0..PAGE_UNITS {
                        read[unit] |= page.read[unit];
                        written[unit] |= page.written[unit];
                    }
                }
            }
            append(&mut own.read, offset, &read);
            append(&mut own.written, offset, &written);
            let bits = |mask: &[u16; PAGE_UNITS]| -> u64 {
                mask.iter().map(|bits| u64::from(bits.count_ones())).sum()
            };
            let (reads, writes) = (bits(&read), bits(&written));
            match allocation.kind {
                MemoryKind::Device => {
                    unique.device_read_bytes += reads;
                    unique.device_written_bytes += writes;
                }
                MemoryKind::MappedHost => {
                    unique.host_read_bytes += reads;
                    unique.host_written_bytes += writes;
                }
            }
            if writes == 0 {
                continue;
            }
            if let Some(data) = joined(pages) {
                written_pages.push(WrittenPage {
                    base: allocation.base,
                    offset,
                    data,
                    written,
                });
            }
        }
        touched.push(own);
    }
    Merged {
        pages: written_pages,
        unique,
        touched,
    }
}

/// What the workers wrote of one page, the later over the earlier.
fn joined(pages: Vec<(usize, Box<Page>)>) -> Option<Box<[u8]>> {
    let mut data: Option<Box<[u8]>> = None;
    for (_, page) in pages {
        let Some(contents) = page.data else {
            continue;
        };
        match &mut data {
            None => data = Some(contents),
            Some(data) => copy_written(data, &contents, &page.written),
        }
    }
    data
}

/// Copies the bytes that `written` marks.
pub(crate) fn copy_written(to: &mut [u8], from: &[u8], written: &[u16; PAGE_UNITS]) {
    for (unit, &bits) in written.iter().enumerate() {
        let begin = unit * UNIT as usize;
        if bits == u16::MAX && begin + UNIT as usize <= to.len() {
            let end = begin + UNIT as usize;
            to[begin..end].copy_from_slice(&from[begin..end]);
            continue;
        }
        for byte in (0..UNIT as usize).filter(|byte| bits >> byte & 1 == 1) {
            if let (Some(to), Some(from)) = (to.get_mut(begin + byte), from.get(begin + byte)) {
                *to = *from;
            }
        }
    }
}

type Parts = Vec<(Vec<Vec<Option<Box<Page>>>>, Intervals)>;

#[cold]
fn report(
    notes: &mut Notes<'_>,
    parts: &Parts,
    earlier: &[(usize, Box<Page>)],
    later: (usize, &Page),
    byte: u64,
    place: impl Fn() -> String,
) {
    let writer = |page: &Page| newest(&page.writers, byte);
    let reader = |page: &Page| newest(&page.readers, byte);
    let actor = |worker: usize, tag: Tag| {
        let interval = parts
            .get(worker)
            .and_then(|(_, intervals)| intervals.get(interval_of(tag)));
        Actor {
            block: interval.map_or(0, |interval| interval.block),
            warp: interval.map_or(0, |interval| {
                if interval.warp == GROUP {
                    0
                } else {
                    u32::from(interval.warp)
                }
            }),
            lane: (tag & 31) as u32,
            pc: Some((tag >> 32) as u32),
        }
    };
    for (worker, page) in earlier {
        let pair = match (writer(page), reader(page), writer(later.1), reader(later.1)) {
            (Some(a), _, Some(b), _) => Some((
                a,
                b,
                "writes of global memory by blocks that nothing orders",
            )),
            (Some(a), _, None, Some(b)) => Some((
                a,
                b,
                "write and read of global memory by blocks that nothing orders",
            )),
            (None, Some(a), Some(b), _) => Some((
                a,
                b,
                "read and write of global memory by blocks that nothing orders",
            )),
            _ => None,
        };
        if let Some((a, b, message)) = pair {
            let (mut first, mut second) = (actor(*worker, a), actor(later.0, b));
            // The same words whichever worker had which block.
            if (second.pc, second.block) < (first.pc, first.block) {
                std::mem::swap(&mut first, &mut second);
            }
            notes.add(FindingKind::Race, first, Some(second), message, place());
            return;
        }
    }
}

/// The tag of `byte`, whatever grain it was noted at.
fn newest(tags: &Tags, byte: u64) -> Option<Tag> {
    Grain::ALL
        .into_iter()
        .filter_map(|grain| {
            tags.get(grain)?
                .get((byte >> grain.shift()) as usize)
                .copied()
        })
        .find(|&tag| tag != 0)
}
