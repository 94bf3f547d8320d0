//! Intervals: stretches of a warp's execution between two points that order it with others, and what orders them.
//!
//! Within a block, everything before a barrier comes before everything after it, and within a warp everything before a
//! `bar.warp.sync` before everything after it. Between blocks only releases and acquires order (PTX ISA, memory
//! consistency model): a [`Clock`] says what of other blocks a block knows to have happened.

use std::collections::{BTreeMap, HashMap};

use super::page::{EVERYBODY, Tag, interval_of, same_thread};

/// Most intervals of one worker in one launch; beyond, tags are forgotten and numbers start again. Larger numbers are those
/// of sets.
const MOST: u32 = 1 << 26;

/// Most sets; beyond, what several blocks have read is not judged any more.
const MOST_SETS: usize = (EVERYBODY - MOST - 2) as usize;

/// Interval of a tag whose readers were too many to remember.
const UNKNOWN: u32 = EVERYBODY - 1;

/// A stretch of execution.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interval {
    /// Number of the block in the grid.
    pub(crate) block: u32,
    /// Barriers of the whole block that it has passed.
    pub(crate) epoch: u32,
    /// Warp, or [`GROUP`].
    pub(crate) warp: u16,
    /// Stands for several lanes.
    pub(crate) several: bool,
    /// Number of the warp's stretch between barriers that only part of the block takes part in.
    pub(crate) stretch: u32,
    /// Warp barriers that the warp has passed.
    pub(crate) warp_syncs: u32,
}

/// Warps of a block at most.
pub(crate) const WARPS: usize = 32;

/// Of each warp of the block, the last stretch that is known to be over; 0 = none.
pub(crate) type Order = [u32; WARPS];

/// Warp of an interval that stands for several warps of a block.
pub(crate) const GROUP: u16 = u16::MAX;

/// What a block knows of others.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Clock {
    known: BTreeMap<u32, Known>,
}

/// What is known of one other block: everything before `epoch`, and of that epoch what one thread did, with what its warp
/// did before its last warp barrier.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Known {
    pub(crate) epoch: u32,
    pub(crate) warp: u16,
    pub(crate) lane: u8,
    pub(crate) warp_syncs: u32,
}

impl Clock {
    pub(crate) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Learns what `other` knows. Where both know a block in the same epoch by different threads, the later word stays: a
    /// release sequence through one counter passes both on only by a barrier, as kernels do.
    pub(crate) fn join(&mut self, other: &Clock) {
        for (block, known) in &other.known {
            self.learn(*block, *known);
        }
    }

    pub(crate) fn learn(&mut self, block: u32, known: Known) {
        let entry = self.known.entry(block).or_insert(known);
        if (known.epoch, known.warp_syncs) >= (entry.epoch, entry.warp_syncs) {
            *entry = known;
        }
    }

    /// Whether the access tagged `lane` of `interval` is known to have happened.
    fn covers(&self, interval: &Interval, lane: u8) -> bool {
        let Some(known) = self.known.get(&interval.block) else {
            return false;
        };
        if interval.epoch != known.epoch {
            return interval.epoch < known.epoch;
        }
        interval.warp == known.warp
            && (interval.warp_syncs < known.warp_syncs
                || (interval.warp_syncs == known.warp_syncs
                    && !interval.several
                    && lane == known.lane))
    }
}

/// Intervals of one worker.
#[derive(Debug)]
pub(crate) struct Intervals {
    all: Vec<Interval>,
    forgotten: bool,
    /// Intervals of several blocks that have read the same, where blocks communicate: number `MOST + i` stands for all of set
    /// i.
    sets: Vec<Box<[u32]>>,
    set_numbers: HashMap<Box<[u32]>, u32>,
    /// Sets that came of an earlier tag and an interval.
    joined: HashMap<(u32, u32), u32>,
    /// Whether blocks communicate at all; if not, several that read what one writes always race.
    communicating: bool,
}

impl Intervals {
    pub(crate) fn new(communicating: bool) -> Intervals {
        let nobody = Interval {
            block: u32::MAX,
            epoch: 0,
            warp: GROUP,
            several: true,
            stretch: 0,
            warp_syncs: 0,
        };
        Intervals {
            all: vec![nobody; 2],
            forgotten: false,
            sets: Vec::new(),
            set_numbers: HashMap::new(),
            joined: HashMap::new(),
            communicating,
        }
    }

    /// Two neighbouring numbers, the first even: a warp's interval for single lanes, and for several.
    pub(crate) fn begin(
        &mut self,
        block: u32,
        epoch: u32,
        warp: u16,
        stretch: u32,
        warp_syncs: u32,
    ) -> u32 {
        if self.all.len() as u32 >= MOST {
            self.all.truncate(2);
            self.sets.clear();
            self.set_numbers.clear();
            self.joined.clear();
            self.forgotten = true;
        }
        let number = self.all.len() as u32;
        for several in [false, true] {
            self.all.push(Interval {
                block,
                epoch,
                warp,
                several: several || warp == GROUP,
                stretch,
                warp_syncs,
            });
        }
        number
    }

    /// Whether numbers have started again since the last call, so that tags must be forgotten.
    pub(crate) fn take_forgotten(&mut self) -> bool {
        std::mem::take(&mut self.forgotten)
    }

    pub(crate) fn get(&self, number: u32) -> Option<&Interval> {
        self.all.get(number as usize)
    }

    /// The tag, or a member of the set it stands for, that does not come before what `now` does.
    #[cold]
    pub(crate) fn unordered(&self, old: Tag, now: &Now<'_>) -> Option<Tag> {
        let number = interval_of(old);
        match number {
            EVERYBODY => Some(old),
            UNKNOWN => None,
            MOST.. => {
                let members = self.sets.get((number - MOST) as usize)?;
                let found = members
                    .iter()
                    .find(|&&member| !self.ordered(u64::from(member) << 5, now))?;
                Some(old >> 32 << 32 | u64::from(*found) << 5)
            }
            _ => (!self.ordered(old, now)).then_some(old),
        }
    }

    /// Whether `old`, the tag of one interval, comes before what `now` does.
    fn ordered(&self, old: Tag, now: &Now<'_>) -> bool {
        if same_thread(old, now.tag(0, now.lane)) {
            return true;
        }
        let Some(interval) = self.get(interval_of(old)) else {
            return false;
        };
        if interval.block == now.block {
            return interval.epoch < now.epoch
                || (interval.epoch == now.epoch && Self::ordered_in_epoch(interval, now));
        }
        let lane = (old & 31) as u8;
        now.clocks.iter().any(|clock| clock.covers(interval, lane))
    }

    fn ordered_in_epoch(interval: &Interval, now: &Now<'_>) -> bool {
        if interval.warp == GROUP {
            // Which warps they were is not known: after any barrier of part of the block they count as ordered.
            return now.order.iter().any(|&stretch| stretch > 0);
        }
        if interval.warp == now.warp {
            return (interval.stretch, interval.warp_syncs) < (now.stretch, now.warp_syncs);
        }
        now.order
            .get(usize::from(interval.warp))
            .is_some_and(|&over| over >= interval.stretch)
    }

    /// The tag of a reader beside an earlier one.
    #[cold]
    pub(crate) fn join(&mut self, old: Tag, now: &Now<'_>, mine: Tag, group: &mut u32) -> Tag {
        let number = interval_of(old);
        if number == EVERYBODY || number == UNKNOWN {
            return old;
        }
        if self.unordered(old, now).is_none() {
            return mine;
        }
        let instruction = mine >> 32 << 32;
        let tagged = |number: u32| instruction | u64::from(number) << 5;
        if let Some(&interval) = self.get(number)
            && interval.block == now.block
            && interval.epoch == now.epoch
        {
            if interval.warp == now.warp {
                return tagged(now.interval | 1);
            }
            if *group == 0 {
                *group = self.begin(now.block, now.epoch, GROUP, 0, 0);
            }
            return tagged(*group | 1);
        }
        if !self.communicating {
            return tagged(EVERYBODY);
        }
        let number = self.join_set(number, now);
        tagged(number)
    }

    /// The set of an earlier interval or set and the present interval, without what is ordered before it.
    fn join_set(&mut self, old: u32, now: &Now<'_>) -> u32 {
        let mine = now.interval | 1;
        if let Some(&known) = self.joined.get(&(old, mine)) {
            return known;
        }
        let one = [old | 1];
        let earlier: &[u32] = match self.sets.get(old.wrapping_sub(MOST) as usize) {
            Some(members) => members,
            None => &one,
        };
        let mut members: Vec<u32> = earlier
            .iter()
            .copied()
            .filter(|&member| !self.ordered(u64::from(member) << 5, now))
            .collect();
        members.push(mine);
        members.sort_unstable();
        members.dedup();
        let number = if let [one] = members.as_slice() {
            *one
        } else if let Some(&known) = self.set_numbers.get(members.as_slice()) {
            known
        } else if self.sets.len() >= MOST_SETS {
            UNKNOWN
        } else {
            let number = MOST + self.sets.len() as u32;
            let members: Box<[u32]> = members.into();
            self.sets.push(members.clone());
            self.set_numbers.insert(members, number);
            number
        };
        self.joined.insert((old, mine), number);
        number
    }
}

/// Who is at work, for judging what came before.
#[derive(Clone, Copy)]
pub(crate) struct Now<'a> {
    pub(crate) block: u32,
    pub(crate) epoch: u32,
    pub(crate) warp: u16,
    pub(crate) stretch: u32,
    pub(crate) warp_syncs: u32,
    /// What the warp knows of the others of its block.
    pub(crate) order: &'a Order,
    /// Number of the warp's interval.
    pub(crate) interval: u32,
    pub(crate) lane: u32,
    /// What the block and the warp know of other blocks.
    pub(crate) clocks: [&'a Clock; 2],
}

impl Now<'_> {
    /// Tag of `lane` at instruction `pc`.
    #[inline(always)]
    pub(crate) fn tag(&self, pc: u32, lane: u32) -> Tag {
        u64::from(pc) << 32 | u64::from(self.interval << 5 | lane)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now(clocks: [&Clock; 2], block: u32, epoch: u32, warp: u16, interval: u32) -> Now<'_> {
        Now {
            stretch: 1,
            order: &[0; WARPS],
            block,
            epoch,
            warp,
            warp_syncs: 0,
            interval,
            lane: 3,
            clocks,
        }
    }

    #[test]
    fn barriers_order_a_block() {
        let none = Clock::default();
        let mut intervals = Intervals::new(true);
        let first = intervals.begin(7, 0, 0, 1, 0);
        let second = intervals.begin(7, 1, 1, 1, 0);
        let same_epoch = intervals.begin(7, 0, 1, 1, 0);
        let old = u64::from(first << 5);
        assert!(intervals.ordered(old, &now([&none, &none], 7, 1, 1, second)));
        assert!(!intervals.ordered(old, &now([&none, &none], 7, 0, 1, same_epoch)));
        assert!(!intervals.ordered(old, &now([&none, &none], 8, 5, 1, second)));
    }

    #[test]
    fn a_thread_is_ordered_with_itself_alone() {
        let none = Clock::default();
        let mut intervals = Intervals::new(true);
        let number = intervals.begin(0, 0, 0, 1, 0);
        let now = now([&none, &none], 0, 0, 0, number);
        assert!(intervals.ordered(now.tag(9, 3), &now));
        assert!(!intervals.ordered(now.tag(9, 4), &now));
    }

    #[test]
    fn several_readers_are_remembered_one_by_one() {
        let none = Clock::default();
        let mut intervals = Intervals::new(true);
        let readers: Vec<u32> = (0..3)
            .map(|block| intervals.begin(block, 0, 0, 1, 0))
            .collect();
        let writer = intervals.begin(3, 0, 0, 1, 0);
        let mut tag = u64::from(readers[0] << 5);
        let mut group = 0;
        for (block, &reader) in readers.iter().enumerate().skip(1) {
            let now = now([&none, &none], block as u32, 0, 0, reader);
            tag = intervals.join(tag, &now, now.tag(0, 3), &mut group);
        }
        let mut clock = Clock::default();
        for block in 0..3 {
            let now = now([&clock, &none], 3, 0, 0, writer);
            let found = intervals.unordered(tag, &now).map(interval_of);
            assert_eq!(
                found.map(|number| number & !1),
                Some(readers[block as usize])
            );
            let passed = Known {
                epoch: 1,
                warp: 0,
                lane: 0,
                warp_syncs: 0,
            };
            clock.learn(block, passed);
        }
        assert_eq!(
            intervals.unordered(tag, &now([&clock, &none], 3, 0, 0, writer)),
            None
        );
    }

    #[test]
    fn clocks_order_blocks() {
        let mut clock = Clock::default();
        let mut intervals = Intervals::new(true);
        let other = intervals.begin(1, 4, 2, 1, 0);
        let mine = intervals.begin(0, 0, 0, 1, 0);
        let old = u64::from(other << 5 | 6);
        let known = |epoch, warp, lane| Known {
            epoch,
            warp,
            lane,
            warp_syncs: 0,
        };
        for (known, expected) in [
            (known(4, 0, 0), false), // a barrier of the other block is missing
            (known(4, 2, 6), true),  // the very thread
            (known(5, 0, 0), true),  // after a barrier
        ] {
            clock.learn(1, known);
            let none = Clock::default();
            assert_eq!(
                intervals.ordered(old, &now([&clock, &none], 0, 0, 0, mine)),
                expected
            );
        }
    }
}
