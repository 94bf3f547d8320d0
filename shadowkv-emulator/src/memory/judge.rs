//! Comparing an access with the ones before it.

use super::UNIT;
use super::interval::Now;
use super::page::{Grain, PAGE, PAGE_UNITS, Tags, same_thread};
use super::unit_bits;
use super::view::{Strength, Trouble, TroubleKind, View, page_mut};

impl View<'_> {
    #[cold]
    pub(super) fn undefined(
        &mut self,
        index: usize,
        number: u64,
        addresses: &[u64; 32],
        here: u32,
        bytes: u32,
    ) {
        let allocation = self.allocations[index];
        for lane in (0..32).filter(|lane| here >> lane & 1 == 1) {
            let address = addresses[lane as usize];
            let offset = address - allocation.base;
            let unit = (offset / UNIT) as usize;
            let written = self.pages[index]
                .get(number as usize)
                .and_then(Option::as_ref)
                .map_or(0, |page| page.written[unit % PAGE_UNITS]);
            if unit_bits(offset, bytes) & !(allocation.defined[unit] | written) != 0 {
                self.trouble(lane, TroubleKind::Undefined, address, 0);
            }
        }
    }

    /// Notes readers where others have read before.
    #[cold]
    pub(super) fn join_readers(
        &mut self,
        now: &Now<'_>,
        pc: u32,
        index: usize,
        number: u64,
        addresses: &[u64; 32],
        here: u32,
        bytes: u32,
    ) {
        let allocation = self.allocations[index];
        let grain = Grain::of(bytes);
        let base = allocation.base + number * PAGE;
        let page = page_mut(&mut self.pages[index], number, allocation);
        let tags = page.readers.at(grain);
        for lane in (0..32).filter(|lane| here >> lane & 1 == 1) {
            let mine = now.tag(pc, lane);
            let offset = addresses[lane as usize] - base;
            let at = (offset >> grain.shift()) as usize;
            let many = (bytes >> grain.shift()).max(1) as usize;
            for slot in &mut tags[at..at + many] {
                let before = *slot;
                *slot = if before == 0 || same_thread(before, mine) {
                    mine
                } else {
                    let now = Now { lane, ..*now };
                    self.intervals.join(before, &now, mine, &mut self.group)
                };
            }
        }
    }

    /// Compares an access with the ones before it, and notes it if it writes or is strong.
    #[allow(clippy::too_many_arguments, reason = "one access, described once")]
    pub(super) fn judge(
        &mut self,
        now: &Now<'_>,
        pc: u32,
        index: usize,
        number: u64,
        addresses: &[u64; 32],
        here: u32,
        bytes: u32,
        writes: bool,
        strength: Strength,
    ) {
        let allocation = self.allocations[index];
        let grain = Grain::of(bytes);
        let base = allocation.base + number * PAGE;
        let page = page_mut(&mut self.pages[index], number, allocation);
        for lane in (0..32).filter(|lane| here >> lane & 1 == 1) {
            let address = addresses[lane as usize];
            let offset = address - base;
            let mine = now.tag(pc, lane);
            let now = Now { lane, ..*now };
            let mut found = None;
            let mut compare = |tags: &Tags, kind: TroubleKind| {
                for other in Grain::ALL {
                    let Some(tags) = tags.get(other) else {
                        continue;
                    };
                    let first = (offset >> other.shift()) as usize;
                    let last = ((offset + u64::from(bytes) - 1) >> other.shift()) as usize;
                    for &before in &tags[first..=last] {
                        // Lanes of one store are compared by what they write, elsewhere.
                        let same_store =
                            kind == TroubleKind::WriteAfterWrite && before >> 5 == mine >> 5;
                        if before != 0
                            && !same_thread(before, mine)
                            && !same_store
                            && !self.intervals.ordered(before, &now)
                        {
                            found = Some((kind, before));
                        }
                    }
                }
            };
            compare(
                &page.writers,
                if writes {
                    TroubleKind::WriteAfterWrite
                } else {
                    TroubleKind::ReadAfterWrite
                },
            );
            if writes {
                compare(&page.readers, TroubleKind::WriteAfterRead);
            }
            if strength == Strength::Plain
                && let Some(atomics) = &page.atomics
            {
                compare(atomics, TroubleKind::BesideAtomic);
            }
            if writes || strength == Strength::Strong {
                let tags = match strength {
                    Strength::Plain => page.writers.at(grain),
                    Strength::Strong => page.atomics.get_or_insert_default().at(grain),
                };
                let first = (offset >> grain.shift()) as usize;
                let many = (bytes >> grain.shift()).max(1) as usize;
                for slot in &mut tags[first..first + many] {
                    *slot = mine;
                }
            }
            if let Some((kind, other)) = found {
                self.troubles.push(Trouble {
                    lane,
                    kind,
                    address,
                    other,
                });
            }
        }
    }
}
