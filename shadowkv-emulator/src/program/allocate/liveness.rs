//! When registers are alive: backward data flow over basic blocks.

use std::collections::VecDeque;

use super::{Successors, Usage};

/// Instructions from `start` to before `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) start: u32,
    pub(super) end: u32,
}

/// Whether `register` is to have rows.
fn has_rows(widths: &[u8], register: u32) -> bool {
    widths
        .get(register as usize)
        .is_some_and(|&width| width > 0)
}

/// For each register that has a width, the instructions at which it is alive, read or written: disjoint ranges in
/// order.
pub(super) fn ranges(widths: &[u8], usages: &[Usage]) -> Vec<Vec<Range>> {
    let blocks = blocks(usages);
    let flow = Flow::solve(widths, usages, &blocks);
    let wanted = |register: &&u32| has_rows(widths, **register);
    let mut alive = Alive {
        until: vec![0; widths.len()],
        ranges: vec![Vec::new(); widths.len()],
    };
    // Registers alive at the end of the block at hand, which is where the next one begins.
    let mut following = vec![0; flow.live_in.words];
    for (block, range) in blocks.iter().enumerate().rev() {
        let live_out = flow.live_out(block);
        // Most stay alive from block to block: touching only the others keeps long kernels cheap.
        for register in flow.registers(
            following
                .iter()
                .zip(&live_out)
                .map(|(next, out)| next & !out),
        ) {
            alive.begin(register, range.end);
        }
        for register in flow.registers(
            live_out
                .iter()
                .zip(&following)
                .map(|(out, next)| out & !next),
        ) {
            alive.read(register, range.end - 1);
        }
        for index in (range.start..range.end).rev() {
            let usage = &usages[index as usize];
            for &register in usage.writes.iter().filter(wanted) {
                alive.write(register, index, usage.guarded);
            }
            for &register in usage.reads.iter().filter(wanted) {
                alive.read(register, index);
            }
        }
        following.copy_from_slice(flow.live_in.of(block));
    }
    for register in flow.registers(following.into_iter()) {
        alive.begin(register, 0);
    }
    for ranges in &mut alive.ranges {
        ranges.reverse();
    }
    alive.ranges
}

/// Ranges as they are found, from the last instruction to the first.
struct Alive {
    /// For a register that is alive, the end of that range; 0 for others.
    until: Vec<u32>,
    /// Latest first.
    ranges: Vec<Vec<Range>>,
}

impl Alive {
    fn read(&mut self, register: u32, at: u32) {
        let until = &mut self.until[register as usize];
        if *until == 0 {
            *until = at + 1;
        }
    }

    fn write(&mut self, register: u32, at: u32, guarded: bool) {
        let alive = self.until[register as usize] != 0;
        if !alive {
            // Never read, but it has to go somewhere.
            self.read(register, at);
        }
        // A guarded write leaves some lanes the value from before, which only matters if it is read.
        if !(alive && guarded) {
            self.begin(register, at);
        }
    }

    /// Ends, backward, the range in which `register` is alive.
    fn begin(&mut self, register: u32, start: u32) {
        let end = std::mem::take(&mut self.until[register as usize]);
        let ranges = &mut self.ranges[register as usize];
        match ranges.last_mut() {
            Some(later) if later.start <= end => later.start = start,
            _ => ranges.push(Range { start, end }),
        }
    }
}

/// Where control may go after the instruction `index`: the next instruction or not, and another.
fn successors(usage: &Usage) -> (bool, Option<u32>) {
    match usage.successors {
        Successors::Next => (true, None),
        Successors::Jump(target) => (usage.guarded, Some(target)),
        Successors::Branch(target) => (true, Some(target)),
        Successors::Exit => (usage.guarded, None),
    }
}

/// Basic blocks in order.
fn blocks(usages: &[Usage]) -> Vec<Range> {
    let mut ends = vec![false; usages.len()];
    for (index, usage) in usages.iter().enumerate() {
        ends[index] |= usage.successors != Successors::Next || index + 1 == usages.len();
        if let (_, Some(target)) = successors(usage)
            && let Some(before) = target.checked_sub(1)
            && let Some(ends) = ends.get_mut(before as usize)
        {
            *ends = true;
        }
    }
    let mut blocks = Vec::new();
    let mut start = 0;
    for (end, _) in (1..).zip(ends).filter(|&(_, ends)| ends) {
        blocks.push(Range { start, end });
        start = end;
    }
    blocks
}

/// A set of small numbers for each block.
struct Sets {
    words: usize,
    bits: Vec<u64>,
}

impl Sets {
    fn new(blocks: usize, numbers: usize) -> Sets {
        let words = numbers.div_ceil(64);
        Sets {
            words,
            bits: vec![0; words * blocks],
        }
    }

    fn of(&self, block: usize) -> &[u64] {
        &self.bits[block * self.words..][..self.words]
    }

    fn insert(&mut self, block: usize, number: usize) {
        self.bits[block * self.words + number / 64] |= 1 << (number % 64);
    }

    fn contains(&self, block: usize, number: usize) -> bool {
        self.of(block)[number / 64] >> (number % 64) & 1 == 1
    }
}

/// Registers alive where blocks begin.
struct Flow {
    /// Registers that some block reads before writing them: no others are alive between blocks, and most registers
    /// are not among them. Sets hold indices into this.
    shared: Vec<u32>,
    live_in: Sets,
    /// Successors of each block.
    successors: Vec<[Option<usize>; 2]>,
}

impl Flow {
    fn solve(widths: &[u8], usages: &[Usage], blocks: &[Range]) -> Flow {
        let shared = shared(widths, usages, blocks);
        let mut number = vec![None; widths.len()];
        for (index, register) in shared.iter().enumerate() {
            number[*register as usize] = Some(index);
        }
        let number = |register: u32| number.get(register as usize).copied().flatten();
        let mut live_in = Sets::new(blocks.len(), shared.len());
        let mut killed = Sets::new(blocks.len(), shared.len());
        for (block, range) in blocks.iter().enumerate() {
            for usage in &usages[range.start as usize..range.end as usize] {
                for register in usage.reads.iter().filter_map(|&register| number(register)) {
                    if !killed.contains(block, register) {
                        live_in.insert(block, register);
                    }
                }
                if !usage.guarded {
                    for register in usage.writes.iter().filter_map(|&register| number(register)) {
                        killed.insert(block, register);
                    }
                }
            }
        }
        let (successors, predecessors) = edges(usages, blocks);
        let mut flow = Flow {
            shared,
            live_in,
            successors,
        };
        flow.propagate(&killed, &predecessors);
        flow
    }

    /// Adds what successors need and blocks do not write, until nothing changes.
    fn propagate(&mut self, killed: &Sets, predecessors: &[Vec<usize>]) {
        // A queue: a stack would go over the same blocks again and again where jumps are many.
        let mut waiting: VecDeque<usize> = (0..predecessors.len()).rev().collect();
        let mut is_waiting = vec![true; predecessors.len()];
        while let Some(block) = waiting.pop_front() {
            is_waiting[block] = false;
            let mut changed = false;
            for successor in self.successors[block].into_iter().flatten() {
                for word in 0..killed.words {
                    let needed = self.live_in.of(successor)[word] & !killed.of(block)[word];
                    let found = &mut self.live_in.bits[block * killed.words + word];
                    changed |= needed & !*found != 0;
                    *found |= needed;
                }
            }
            if changed {
                for &predecessor in &predecessors[block] {
                    if !std::mem::replace(&mut is_waiting[predecessor], true) {
                        waiting.push_back(predecessor);
                    }
                }
            }
        }
    }

    /// Registers alive where `block` ends, as a set.
    fn live_out(&self, block: usize) -> Vec<u64> {
        let mut words = vec![0; self.live_in.words];
        for successor in self.successors[block].into_iter().flatten() {
            for (word, more) in words.iter_mut().zip(self.live_in.of(successor)) {
                *word |= more;
            }
        }
        words
    }

    /// Registers of a set.
    fn registers(&self, words: impl Iterator<Item = u64>) -> Vec<u32> {
        let mut registers = Vec::new();
        for (index, mut word) in words.enumerate() {
            while word != 0 {
                registers.push(self.shared[index * 64 + word.trailing_zeros() as usize]);
                word &= word - 1;
            }
        }
        registers
    }
}

/// Registers that some block may read before it writes them.
fn shared(widths: &[u8], usages: &[Usage], blocks: &[Range]) -> Vec<u32> {
    // The block that last wrote a register, counted from 1.
    let mut written = vec![0; widths.len()];
    let mut is_shared = vec![false; widths.len()];
    let wanted = |register: &&u32| has_rows(widths, **register);
    for (block, range) in blocks.iter().enumerate() {
        for usage in &usages[range.start as usize..range.end as usize] {
            for &register in usage.reads.iter().filter(wanted) {
                is_shared[register as usize] |= written[register as usize] != block + 1;
            }
            for &register in usage
                .writes
                .iter()
                .filter(|_| !usage.guarded)
                .filter(wanted)
            {
                written[register as usize] = block + 1;
            }
        }
    }
    (0..widths.len() as u32)
        .filter(|&register| is_shared[register as usize])
        .collect()
}

/// Successors and predecessors of blocks.
fn edges(usages: &[Usage], blocks: &[Range]) -> (Vec<[Option<usize>; 2]>, Vec<Vec<usize>>) {
    let starting = |at: u32| blocks.binary_search_by_key(&at, |range| range.start).ok();
    let mut predecessors = vec![Vec::new(); blocks.len()];
    let successors = blocks
        .iter()
        .enumerate()
        .map(|(block, range)| {
            let (next, target) = successors(&usages[range.end as usize - 1]);
            let next = if next { starting(range.end) } else { None };
            let target = target.and_then(starting);
            for successor in [next, target].into_iter().flatten() {
                predecessors[successor].push(block);
            }
            [next, target]
        })
        .collect();
    (successors, predecessors)
}
