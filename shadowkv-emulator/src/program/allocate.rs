//! Rows for registers. PTX has a register for almost every value; few of them are alive at a time, and a warp's
//! register file ought to stay in the nearest cache.
//!
//! Lanes diverge, but a row is written for active lanes only, so what holds for one thread on its own path holds for
//! every lane: two registers may share rows unless some path has both alive.

mod liveness;
mod rows;
#[cfg(test)]
mod tests;

use liveness::Range;
use rows::Slots;

/// What an instruction does to registers and where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Registers read, its guard among them.
    pub(crate) reads: Vec<u32>,
    /// Registers written.
    pub(crate) writes: Vec<u32>,
    /// Has a guard: what it writes may keep the old value, and control may go to the next instruction whatever
    /// [`Usage::successors`] says.
    pub(crate) guarded: bool,
    /// Where control goes.
    pub(crate) successors: Successors,
}

/// Instructions that may execute after one. A number past the last instruction is an exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Successors {
    /// The next one.
    Next,
    /// That one.
    Jump(u32),
    /// That one or the next.
    Branch(u32),
    /// None.
    Exit,
}

/// Where registers live.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Allocation {
    /// The first row of each register; 0 for those of no width and those never used.
    pub(crate) row: Vec<u32>,
    /// Rows in all.
    pub(crate) rows: u32,
}

/// Gives registers rows such that no two that are alive at once share one.
///
/// `widths[r]` is how many rows register `r` takes: 1 for 32 bits, 2 for 64, 4 for 128, 0 for one that lives elsewhere.
/// Rows of a register are consecutive and the first is a multiple of their number, so that a row pair of 32 lanes is
/// aligned to 256 bytes.
///
/// A register written by an instruction shares no row with one the same instruction reads or writes: rows may be
/// written while sources are read. A register that may be read before it is written has its rows to itself from the
/// first instruction to the last such read.
pub(crate) fn allocate(widths: &[u8], usages: &[Usage]) -> Allocation {
    let ranges = liveness::ranges(widths, usages);
    let mut row = vec![0; widths.len()];
    let mut slots = Slots::default();
    // Wide registers first: narrow ones then fill what is left, and never part two rows that a wide one needs.
    for rows in [256u32, 128, 64, 32, 16, 8, 4, 2, 1] {
        let mut registers: Vec<(&[Range], usize)> = ranges
            .iter()
            .enumerate()
            .filter(|(register, ranges)| {
                !ranges.is_empty() && u32::from(widths[*register]).next_power_of_two() == rows
            })
            .map(|(register, ranges)| (&ranges[..], register))
            .collect();
        registers.sort_by_key(|(ranges, register)| (ranges[0].start, *register));
        slots.rewind();
        for (ranges, register) in registers {
            row[register] = slots.place(ranges) * rows;
        }
        if rows > 1 {
            slots.halve();
        }
    }
    Allocation {
        row,
        rows: slots.len(),
    }
}
