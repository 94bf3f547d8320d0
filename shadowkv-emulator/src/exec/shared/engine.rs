//! What the copy engine and mbarriers do to shared memory: 16-byte units at a time, for a thread but by none of its lanes.

use crate::memory::unit_bits;

use super::{Entry, Shared, SharedTrouble, Touch, Touched};

/// Bytes that one entry of the log stands for where the copy engine reads.
const LOGGED: u32 = 128;

impl Shared {
    /// Whether a copy is on its way to any of `bytes` bytes, still reads them, or an mbarrier is there; all of one unit.
    pub(crate) fn is_busy(&self, address: u32, bytes: u32) -> bool {
        let bits = unit_bits(u64::from(address), bytes);
        self.flight[(address >> 4) as usize] & bits != 0
    }

    /// Marks bytes that may be read but not written until they come back; all of one unit.
    pub(crate) fn lend(&mut self, address: u32, bytes: u32) {
        self.flight[(address >> 4) as usize] |= unit_bits(u64::from(address), bytes);
    }

    /// They come back.
    pub(crate) fn take_back(&mut self, address: u32, bytes: u32) {
        self.flight[(address >> 4) as usize] &= !unit_bits(u64::from(address), bytes);
    }

    /// Checks and notes that the copy engine reads the bytes `bits` of the unit at `address` for `lane` of a warp.
    pub(crate) fn read_unit(
        &self,
        touched: &mut Touched,
        lane: u32,
        address: u32,
        bits: u16,
        troubles: &mut Vec<(u32, SharedTrouble)>,
    ) {
        let unit = (address >> 4) as usize;
        let missing = bits & !self.readable[unit];
        if missing & self.flight[unit] != 0 {
            troubles.push((lane, SharedTrouble::InFlight));
        } else if missing != 0 {
            troubles.push((lane, SharedTrouble::Undefined));
        }
        let (_, writes) = touched.since_warp_sync(unit);
        if writes & bits != 0 {
            Self::other_lanes(touched, Touch::Read, lane, address, troubles);
        }
        touched.read(unit, bits);
    }

    /// Checks that no other lane of the warp touched the unit at `address`, which the copy engine is to write for `lane`,
    /// since the last `bar.warp.sync`.
    pub(crate) fn write_unit(
        touched: &Touched,
        lane: u32,
        address: u32,
        troubles: &mut Vec<(u32, SharedTrouble)>,
    ) {
        let (reads, writes) = touched.since_warp_sync((address >> 4) as usize);
        if reads | writes != 0 {
            Self::other_lanes(touched, Touch::Write, lane, address, troubles);
        }
    }

    #[cold]
    fn other_lanes(
        touched: &Touched,
        touch: Touch,
        lane: u32,
        address: u32,
        troubles: &mut Vec<(u32, SharedTrouble)>,
    ) {
        let mut addresses = [0; 32];
        addresses[lane as usize & 31] = address;
        Self::recent(touched, touch, &addresses, 1 << lane, 16, troubles);
    }
}

impl Touched {
    /// Bytes of a unit that were read and written since the last `bar.warp.sync`.
    fn since_warp_sync(&self, unit: usize) -> (u16, u16) {
        let stamp = u64::from(self.warp_syncs & 0xffff);
        let seen = self.recent[unit];
        (
            if seen >> 16 & 0xffff == stamp {
                seen as u16
            } else {
                0
            },
            if seen >> 48 == stamp {
                (seen >> 32) as u16
            } else {
                0
            },
        )
    }

    fn read(&mut self, unit: usize, bits: u16) {
        let (reads, _) = self.since_warp_sync(unit);
        let stamp = u64::from(self.warp_syncs & 0xffff);
        self.dirty[unit >> 10] |= 1 << (unit >> 4 & 63);
        self.reads[unit] |= bits;
        self.recent[unit] =
            self.recent[unit] & 0xffff_ffff_0000_0000 | stamp << 16 | u64::from(reads | bits);
    }

    /// Notes once more that the copy engine has read the unit at `address`.
    pub(crate) fn read_again(&mut self, address: u32) {
        self.read((address >> 4) as usize, u16::MAX);
    }

    /// Puts into the log that the copy engine reads `[begin, end)` for `lane` at instruction `pc`.
    pub(crate) fn log_read(&mut self, pc: u32, lane: u32, begin: u32, end: u32) {
        let mut address = begin;
        while address < end {
            let bytes = (end - address).min(LOGGED);
            let mut addresses = [0; 32];
            addresses[lane as usize & 31] = address;
            self.note(Entry {
                pc,
                touch: Touch::Read,
                bytes: bytes as u8,
                lanes: 1 << lane,
                warp_syncs: self.warp_syncs,
                addresses,
            });
            address += bytes;
        }
    }

    /// Units that the warp wrote since it was last compared with others, with the bytes.
    pub(crate) fn written(&self) -> impl Iterator<Item = (usize, u16)> {
        let regions = self.dirty.iter().enumerate().flat_map(|(word, bits)| {
            (0..64)
                .filter(move |bit| bits >> bit & 1 == 1)
                .map(move |bit| word * 64 + bit)
        });
        regions
            .flat_map(|region| region * 16..(region * 16 + 16).min(self.writes.len()))
            .map(|unit| (unit, self.writes[unit]))
            .filter(|(_, bits)| *bits != 0)
    }

    /// Whether the warp touched nothing since it was last compared.
    pub(crate) fn is_empty(&self) -> bool {
        self.dirty.iter().all(|bits| *bits == 0)
    }

    /// Whether the warp touched the unit at `address` since it was last compared with others.
    pub(crate) fn touches(&self, address: u32) -> bool {
        let unit = (address >> 4) as usize;
        self.reads[unit] | self.writes[unit] | self.atomics[unit] != 0
    }

    /// Instruction, lane and kind of the latest access to the unit at `address` that the log still has.
    pub(crate) fn latest(&self, address: u32) -> Option<(u32, u32, Touch)> {
        self.newest_first().find_map(|entry| {
            super::overlapping(entry, address, 16)
                .next()
                .map(|lane| (entry.pc, lane, entry.touch))
        })
    }
}
