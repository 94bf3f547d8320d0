//! Shared memory of a block, and the sets of bytes that its warps touch between barriers.
//!
//! A race is two warps touching a byte between two barriers, one of them writing; or two lanes of a warp doing so without
//! a `bar.warp.sync` between. Each warp keeps one bit per byte and kind of access; at a barrier the sets are intersected. A log
//! of the accesses since the barrier then names both parties.

use crate::arith::Lanes32;
use crate::memory::unit_bits;

use super::banks;
use super::rows::mask_of;

mod engine;

/// Kinds of access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Touch {
    Read,
    Write,
    Atomic,
}

/// An access since the last barrier.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) pc: u32,
    pub(crate) touch: Touch,
    pub(crate) bytes: u8,
    pub(crate) lanes: u32,
    pub(crate) warp_syncs: u32,
    pub(crate) addresses: Lanes32,
}

/// Longest log; what happened before is not named any more, though still found.
const LOG: usize = 4096;

/// What a warp touched since the last barrier.
pub(crate) struct Touched {
    pub(crate) reads: Vec<u16>,
    pub(crate) writes: Vec<u16>,
    pub(crate) atomics: Vec<u16>,
    /// Per unit: reads and writes since the last `bar.warp.sync`, each with the low bits of its number.
    recent: Vec<u64>,
    /// One bit per 16 units that were touched.
    dirty: Vec<u64>,
    pub(crate) log: Vec<Entry>,
    pub(crate) next: usize,
    pub(crate) warp_syncs: u32,
    any_atomics: bool,
    /// Whether the last access met bytes that the warp touched since its last `bar.warp.sync`, or that another of its own
    /// lanes touched.
    pub(crate) met: bool,
}

impl Touched {
    pub(crate) fn new(shared_bytes: usize) -> Touched {
        let units = shared_bytes.div_ceil(16);
        Touched {
            reads: vec![0; units],
            writes: vec![0; units],
            atomics: vec![0; units],
            recent: vec![0; units],
            dirty: vec![0; units.div_ceil(16 * 64)],
            log: Vec::new(),
            next: 0,
            warp_syncs: 1,
            any_atomics: false,
            met: false,
        }
    }

    /// Forgets everything: a barrier of the whole block, or a new block.
    pub(crate) fn clear(&mut self) {
        for (word, bits) in self.dirty.iter_mut().enumerate() {
            let mut left = std::mem::take(bits);
            while left != 0 {
                let region = word * 64 + left.trailing_zeros() as usize;
                left &= left - 1;
                let end = (region * 16 + 16).min(self.reads.len());
                self.reads[region * 16..end].fill(0);
                self.writes[region * 16..end].fill(0);
                if self.any_atomics {
                    self.atomics[region * 16..end].fill(0);
                }
            }
        }
        self.any_atomics = false;
        self.log.clear();
        self.next = 0;
        self.pass_warp_sync();
    }

    /// A `bar.warp.sync`, or more.
    pub(crate) fn pass_warp_sync(&mut self) {
        self.warp_syncs += 1;
        if self.warp_syncs.trailing_zeros() >= 16 {
            self.recent.fill(0);
            self.warp_syncs += 1;
        }
    }

    /// An asynchronous copy has landed: a write that nothing yet orders before the reads of others.
    pub(crate) fn land(&mut self, pc: u32, addresses: &Lanes32, lanes: u32, bytes: u32) {
        let stamp = u64::from(self.warp_syncs & 0xffff);
        let mut left = lanes;
        while left != 0 {
            let lane = left.trailing_zeros() as usize;
            left &= left - 1;
            let address = addresses[lane];
            let unit = (address >> 4) as usize;
            let bits = unit_bits(u64::from(address), bytes);
            self.dirty[unit >> 10] |= 1 << (unit >> 4 & 63);
            self.writes[unit] |= bits;
            let seen = self.recent[unit];
            let writes = if seen >> 48 == stamp {
                (seen >> 32) as u16
            } else {
                0
            };
            self.recent[unit] = seen & 0xffff_ffff | stamp << 48 | u64::from(writes | bits) << 32;
        }
        self.note(Entry {
            pc,
            touch: Touch::Write,
            bytes: bytes as u8,
            lanes,
            warp_syncs: self.warp_syncs,
            addresses: *addresses,
        });
    }

    fn note(&mut self, entry: Entry) {
        if self.log.len() < LOG {
            self.log.push(entry);
        } else {
            self.log[self.next] = entry;
            self.next = (self.next + 1) % LOG;
        }
    }

    /// Entries from the newest to the oldest.
    pub(crate) fn newest_first(&self) -> impl Iterator<Item = &Entry> {
        let (newer, older) = self.log.split_at(self.next);
        newer.iter().rev().chain(older.iter().rev())
    }
}

/// Shared memory of a block.
pub(crate) struct Shared {
    pub(crate) data: Vec<u8>,
    /// Bytes that may be read: written, and no copy in flight to them.
    readable: Vec<u16>,
    /// Bytes that an asynchronous copy is on its way to.
    flight: Vec<u16>,
    pub(crate) bytes: u32,
}

/// What is wrong with one lane's access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SharedTrouble {
    OutOfBounds,
    Misaligned,
    Undefined,
    InFlight,
    /// Another lane of the warp, at instruction `pc`.
    Race {
        pc: u32,
        lane: u32,
        touch: Touch,
    },
}

/// Wavefronts of one access: needed by its banks, and had there been no conflict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wavefronts {
    pub(crate) actual: u32,
    pub(crate) ideal: u32,
}

impl Shared {
    pub(crate) fn new(bytes: u32) -> Shared {
        let units = (bytes as usize).div_ceil(16);
        Shared {
            data: vec![0; units * 16],
            readable: vec![0; units],
            flight: vec![0; units],
            bytes,
        }
    }

    pub(crate) fn reset(&mut self) {
        self.readable.fill(0);
        self.flight.fill(0);
    }

    /// Checks and notes an access of `bytes` bytes per lane; lanes that may proceed. Findings go to `troubles` with their
    /// lanes.
    #[inline(always)]
    pub(crate) fn touch(
        &mut self,
        touched: &mut Touched,
        pc: u32,
        touch: Touch,
        addresses: &Lanes32,
        lanes: u32,
        bytes: u32,
        troubles: &mut Vec<(u32, SharedTrouble)>,
    ) -> u32 {
        let Some(limit) = self.bytes.checked_sub(bytes) else {
            return self.refuse(addresses, lanes, bytes, troubles);
        };
        let mut bad = [0_u8; 32];
        for lane in 0..32 {
            bad[lane] =
                u8::from(addresses[lane] > limit) | u8::from(addresses[lane] & (bytes - 1) != 0);
        }
        let bad = mask_of(&bad) & lanes;
        let good = lanes & !bad;
        if bad != 0 {
            self.refuse(addresses, bad, bytes, troubles);
        }
        let stamp = u64::from(touched.warp_syncs & 0xffff);
        let mut unreadable = 0_u16;
        let mut recent = 0_u16;
        let mut left = good;
        while left != 0 {
            let lane = left.trailing_zeros() as usize;
            left &= left - 1;
            let address = addresses[lane];
            let unit = (address >> 4) as usize;
            let bits = unit_bits(u64::from(address), bytes);
            touched.dirty[unit >> 10] |= 1 << (unit >> 4 & 63);
            // [write stamp, written, read stamp, read], 16 bits each.
            let seen = touched.recent[unit];
            let writes = if seen >> 48 == stamp {
                (seen >> 32) as u16
            } else {
                0
            };
            let reads = if seen >> 16 & 0xffff == stamp {
                seen as u16
            } else {
                0
            };
            match touch {
                Touch::Read => {
                    unreadable |= bits & !self.readable[unit];
                    recent |= bits & writes;
                    touched.reads[unit] |= bits;
                    touched.recent[unit] =
                        seen & 0xffff_ffff_0000_0000 | stamp << 16 | u64::from(reads | bits);
                }
                Touch::Write => {
                    unreadable |= bits & self.flight[unit];
                    recent |= bits & (writes | reads);
                    touched.writes[unit] |= bits;
                    self.readable[unit] |= bits & !self.flight[unit];
                    touched.recent[unit] =
                        seen & 0xffff_ffff | stamp << 48 | u64::from(writes | bits) << 32;
                }
                Touch::Atomic => {
                    unreadable |= bits & !self.readable[unit];
                    recent |= bits & (writes | reads);
                    touched.atomics[unit] |= bits;
                    touched.any_atomics = true;
                }
            }
        }
        if unreadable != 0 {
            self.unreadable(touch, addresses, good, bytes, troubles);
        }
        touched.met = recent != 0;
        if recent != 0 {
            Self::recent(touched, touch, addresses, good, bytes, troubles);
        }
        touched.note(Entry {
            pc,
            touch,
            bytes: bytes as u8,
            lanes: good,
            warp_syncs: touched.warp_syncs,
            addresses: *addresses,
        });
        good
    }

    #[cold]
    fn refuse(
        &self,
        addresses: &Lanes32,
        lanes: u32,
        bytes: u32,
        troubles: &mut Vec<(u32, SharedTrouble)>,
    ) -> u32 {
        for lane in (0..32).filter(|lane| lanes >> lane & 1 == 1) {
            let address = addresses[lane as usize];
            let outside = address
                .checked_add(bytes)
                .is_none_or(|end| end > self.bytes);
            troubles.push((
                lane,
                if outside {
                    SharedTrouble::OutOfBounds
                } else {
                    SharedTrouble::Misaligned
                },
            ));
        }
        0
    }

    #[cold]
    fn unreadable(
        &self,
        touch: Touch,
        addresses: &Lanes32,
        lanes: u32,
        bytes: u32,
        troubles: &mut Vec<(u32, SharedTrouble)>,
    ) {
        for lane in (0..32).filter(|lane| lanes >> lane & 1 == 1) {
            let address = addresses[lane as usize];
            let unit = (address >> 4) as usize;
            let bits = unit_bits(u64::from(address), bytes);
            if bits & self.flight[unit] != 0 {
                troubles.push((lane, SharedTrouble::InFlight));
            } else if touch != Touch::Write && bits & !self.readable[unit] != 0 {
                troubles.push((lane, SharedTrouble::Undefined));
            }
        }
    }

    /// Whether another lane of the warp touched the same bytes since the last `bar.warp.sync`.
    #[cold]
    fn recent(
        touched: &Touched,
        touch: Touch,
        addresses: &Lanes32,
        lanes: u32,
        bytes: u32,
        troubles: &mut Vec<(u32, SharedTrouble)>,
    ) {
        // Mostly each lane meets what it touched itself, at the same addresses: nothing to search for.
        let apart = distinct(addresses, lanes);
        let own = |entry: &Entry| {
            apart
                && u32::from(entry.bytes) == bytes
                && entry.lanes & !lanes == 0
                && entry.addresses == *addresses
        };
        let (low, high) = range(addresses, lanes, bytes);
        let near = |entry: &Entry| {
            let (begin, end) = range(&entry.addresses, entry.lanes, u32::from(entry.bytes));
            begin < high && low < end
        };
        let entries: Vec<&Entry> = touched
            .newest_first()
            .take_while(|entry| entry.warp_syncs == touched.warp_syncs)
            .filter(|entry| conflicts(entry.touch, touch) && near(entry) && !own(entry))
            .collect();
        if entries.is_empty() {
            return;
        }
        for lane in (0..32).filter(|lane| lanes >> lane & 1 == 1) {
            let address = addresses[lane as usize];
            let found = entries.iter().find_map(|entry| {
                overlapping(entry, address, bytes)
                    .find(|other| *other != lane)
                    .map(|other| (entry, other))
            });
            if let Some((entry, other)) = found {
                troubles.push((
                    lane,
                    SharedTrouble::Race {
                        pc: entry.pc,
                        lane: other,
                        touch: entry.touch,
                    },
                ));
            }
        }
    }

    /// Marks bytes as the target of a copy in flight, and as written already by the warp: the copy may land at any time from
    /// now on.
    pub(crate) fn depart(&mut self, address: u32, bytes: u32) {
        let unit = (address >> 4) as usize;
        let bits = unit_bits(u64::from(address), bytes);
        self.flight[unit] |= bits;
        self.readable[unit] &= !bits;
    }

    /// A copy has landed.
    pub(crate) fn arrive(&mut self, address: u32, bytes: u32) {
        let unit = (address >> 4) as usize;
        let bits = unit_bits(u64::from(address), bytes);
        self.flight[unit] &= !bits;
        self.readable[unit] |= bits;
    }

    /// Wavefronts of an access, `bytes` per lane.
    #[inline(always)]
    pub(crate) fn wavefronts(addresses: &Lanes32, lanes: u32, bytes: u32) -> Wavefronts {
        banks::wavefronts(addresses, lanes, bytes)
    }
}

/// First byte and end of all that the lanes touch.
fn range(addresses: &Lanes32, lanes: u32, bytes: u32) -> (u32, u32) {
    let (mut low, mut high) = (u32::MAX, 0);
    for lane in 0..32 {
        let takes_part = lanes >> lane & 1 == 1;
        low = low.min(if takes_part {
            addresses[lane]
        } else {
            u32::MAX
        });
        high = high.max(if takes_part { addresses[lane] } else { 0 });
    }
    (low, high.saturating_add(bytes))
}

/// Whether no two lanes have the same address.
fn distinct(addresses: &Lanes32, lanes: u32) -> bool {
    let mut sorted: Vec<u32> = (0..32)
        .filter(|lane| lanes >> lane & 1 == 1)
        .map(|lane: usize| addresses[lane])
        .collect();
    sorted.sort_unstable();
    sorted.windows(2).all(|pair| pair[0] != pair[1])
}

/// Whether two kinds of access race.
fn conflicts(a: Touch, b: Touch) -> bool {
    !matches!(
        (a, b),
        (Touch::Read, Touch::Read) | (Touch::Atomic, Touch::Atomic)
    )
}

/// Lanes of an entry that touched any of `bytes` bytes at `address`.
fn overlapping(entry: &Entry, address: u32, bytes: u32) -> impl Iterator<Item = u32> {
    (0..32).filter(move |&lane| {
        let other = entry.addresses[lane as usize];
        entry.lanes >> lane & 1 == 1
            && other < address.saturating_add(bytes)
            && address < other.saturating_add(u32::from(entry.bytes))
    })
}

/// A race between warps, found at a barrier.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WarpRace {
    pub(crate) address: u32,
    /// Warp, lane, instruction (if the log still has it) and kind of both parties.
    pub(crate) parties: [Party; 2],
}

/// One side of a race.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Party {
    pub(crate) warp: usize,
    pub(crate) lane: u32,
    pub(crate) pc: Option<u32>,
    pub(crate) touch: Touch,
}

/// Races between the warps of a block since the last barrier, at most one per pair of instructions.
pub(crate) fn races(touched: &[&Touched]) -> Vec<WarpRace> {
    let mut found = Vec::new();
    let Some(first) = touched.first() else {
        return found;
    };
    for word in 0..first.dirty.len() {
        // Regions that at least two warps touched.
        let (mut once, mut twice) = (0_u64, 0_u64);
        for warp in touched {
            twice |= once & warp.dirty[word];
            once |= warp.dirty[word];
        }
        while twice != 0 {
            let region = word * 64 + twice.trailing_zeros() as usize;
            twice &= twice - 1;
            let begin = region * 16;
            let end = (begin + 16).min(first.reads.len());
            let conflict = region_conflicts(touched, begin, end);
            if conflict {
                name_races(touched, begin, end, &mut found);
            }
        }
    }
    found
}

/// Whether any byte of the region is touched by two warps in conflict.
#[inline(always)]
fn region_conflicts(touched: &[&Touched], begin: usize, end: usize) -> bool {
    let mut reads = [0_u16; 16];
    let mut writes = [0_u16; 16];
    let mut atomics = [0_u16; 16];
    let mut conflict = 0_u16;
    for warp in touched {
        let (r, w, a) = (
            &warp.reads[begin..end],
            &warp.writes[begin..end],
            &warp.atomics[begin..end],
        );
        for i in 0..r.len() {
            conflict |= w[i] & (reads[i] | writes[i] | atomics[i])
                | r[i] & (writes[i] | atomics[i])
                | a[i] & (reads[i] | writes[i]);
            reads[i] |= r[i];
            writes[i] |= w[i];
            atomics[i] |= a[i];
        }
    }
    conflict != 0
}

/// Who they were.
#[cold]
fn name_races(touched: &[&Touched], begin: usize, end: usize, found: &mut Vec<WarpRace>) {
    for unit in begin..end {
        for one in 0..touched.len() {
            for two in one + 1..touched.len() {
                let (a, b) = (&touched[one], &touched[two]);
                for (mine, theirs, bits) in [
                    (Touch::Write, Touch::Write, a.writes[unit] & b.writes[unit]),
                    (Touch::Write, Touch::Read, a.writes[unit] & b.reads[unit]),
                    (Touch::Read, Touch::Write, a.reads[unit] & b.writes[unit]),
                    (
                        Touch::Write,
                        Touch::Atomic,
                        a.writes[unit] & b.atomics[unit],
                    ),
                    (
                        Touch::Atomic,
                        Touch::Write,
                        a.atomics[unit] & b.writes[unit],
                    ),
                    (Touch::Read, Touch::Atomic, a.reads[unit] & b.atomics[unit]),
                    (Touch::Atomic, Touch::Read, a.atomics[unit] & b.reads[unit]),
                ] {
                    if bits == 0 {
                        continue;
                    }
                    let address = unit as u32 * 16 + bits.trailing_zeros();
                    let race = WarpRace {
                        address,
                        parties: [party(a, one, mine, address), party(b, two, theirs, address)],
                    };
                    let key = |race: &WarpRace| race.parties.map(|party| party.pc);
                    if !found.iter().any(|other| key(other) == key(&race)) {
                        found.push(race);
                    }
                }
            }
        }
    }
}

fn party(touched: &Touched, warp: usize, touch: Touch, address: u32) -> Party {
    let entry = touched
        .newest_first()
        .filter(|entry| entry.touch == touch)
        .find_map(|entry| {
            overlapping(entry, address, 1)
                .next()
                .map(|lane| (entry.pc, lane))
        });
    Party {
        warp,
        lane: entry.map_or(0, |(_, lane)| lane),
        pc: entry.map(|(pc, _)| pc),
        touch,
    }
}
