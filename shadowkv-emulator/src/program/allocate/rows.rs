//! Slots that hold registers at different times.

use super::liveness::Range;

/// Slots of equal size, each with the ranges in which it is taken.
#[derive(Default)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    /// For each slot, an instruction up to which it is known to be taken.
    taken_until: Vec<u32>,
}

#[derive(Clone, Default)]
struct Slot {
    /// Disjoint, in order.
    ranges: Vec<Range>,
    /// The first range that ends after the start of the register placed last.
    current: usize,
}

impl Slots {
    /// How many there are.
    pub(super) fn len(&self) -> u32 {
        self.slots.len() as u32
    }

    /// Begins a new series of registers in order of their start.
    pub(super) fn rewind(&mut self) {
        self.taken_until.fill(0);
        for slot in &mut self.slots {
            slot.current = 0;
        }
    }

    /// Makes two of each.
    pub(super) fn halve(&mut self) {
        self.slots = self
            .slots
            .iter()
            .flat_map(|slot| [slot.clone(), slot.clone()])
            .collect();
        self.taken_until = vec![0; self.slots.len()];
    }

    /// Puts a register that is alive in `ranges` into the first slot that is free in all of them, and says which. It
    /// must not start before the one placed last.
    pub(super) fn place(&mut self, ranges: &[Range]) -> u32 {
        let start = ranges.first().map_or(0, |range| range.start);
        for (index, taken_until) in self.taken_until.iter_mut().enumerate() {
            if *taken_until > start {
                continue;
            }
            let slot = &mut self.slots[index];
            slot.pass(start);
            match slot.ranges.get(slot.current) {
                Some(range) if range.start <= start => *taken_until = range.end,
                _ if slot.fits(ranges) => {
                    *taken_until = ranges.first().map_or(0, |range| range.end);
                    slot.insert(ranges);
                    return index as u32;
                }
                _ => {}
            }
        }
        self.taken_until
            .push(ranges.first().map_or(0, |range| range.end));
        self.slots.push(Slot {
            ranges: ranges.to_vec(),
            current: 0,
        });
        self.len() - 1
    }
}

impl Slot {
    /// Leaves behind the ranges that end by `start`.
    fn pass(&mut self, start: u32) {
        while self
            .ranges
            .get(self.current)
            .is_some_and(|range| range.end <= start)
        {
            self.current += 1;
        }
    }

    /// Whether it is free in all of `ranges`, which begin no earlier than the current one ends.
    fn fits(&self, ranges: &[Range]) -> bool {
        let taken = &self.ranges[self.current..];
        ranges.iter().all(|range| {
            let after = taken.partition_point(|taken| taken.end <= range.start);
            taken
                .get(after)
                .is_none_or(|taken| taken.start >= range.end)
        })
    }

    fn insert(&mut self, ranges: &[Range]) {
        for range in ranges {
            let at = self.current
                + self.ranges[self.current..].partition_point(|taken| taken.end <= range.start);
            self.ranges.insert(at, *range);
        }
    }
}
