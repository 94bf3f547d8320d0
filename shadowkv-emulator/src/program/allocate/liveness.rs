//! When registers are alive: backward data flow over basic blocks.

use super::{Successors, Usage};

/// Instructions from `start` to before `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) start: u32,
    pub(super) end: u32,
}

/// For each of `registers` registers that is `wanted`, the instructions at which it is alive, read or written: disjoint
/// ranges in order.
pub(super) fn ranges(
    registers: usize,
    usages: &[Usage],
    wanted: impl Fn(u32) -> bool,
) -> Vec<Vec<Range>> {
    let blocks = blocks(usages);
    let flow = Flow::solve(registers, usages, &blocks);
    let mut alive = Alive {
        until: vec![0; registers],
        ranges: vec![Vec::new(); registers],
    };
    let wanted = |register: &&u32| (**register as usize) < registers && wanted(**register);
    for (block, range) in blocks.iter().enumerate().rev() {
        for register in flow.live_out(block).iter().filter(wanted) {
            alive.read(*register, range.end - 1);
        }
        for index in (range.start..range.end).rev() {
            let usage = &usages[index as usize];
            for register in usage.writes.iter().filter(wanted) {
                alive.write(*register, index, usage.guarded);
            }
            for register in usage.reads.iter().filter(wanted) {
                alive.read(*register, index);
            }
        }
        for register in flow.live_in(block).iter().filter(wanted) {
            alive.begin(*register, range.start);
        }
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
    fn solve(registers: usize, usages: &[Usage], blocks: &[Range]) -> Flow {
        let shared = shared(registers, usages, blocks);
        let mut number = vec![None; registers];
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
        let mut waiting: Vec<usize> = (0..predecessors.len()).collect();
        let mut is_waiting = vec![true; predecessors.len()];
        while let Some(block) = waiting.pop() {
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
                        waiting.push(predecessor);
                    }
                }
            }
        }
    }

    fn live_in(&self, block: usize) -> Vec<u32> {
        self.registers(self.live_in.of(block).iter().copied())
    }

    fn live_out(&self, block: usize) -> Vec<u32> {
        let mut words = vec![0; self.live_in.words];
        for successor in self.successors[block].into_iter().flatten() {
            for (word, more) in words.iter_mut().zip(self.live_in.of(successor)) {
                *word |= more;
            }
        }
        self.registers(words.into_iter())
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
fn shared(registers: usize, usages: &[Usage], blocks: &[Range]) -> Vec<u32> {
    // The block that last wrote a register, counted from 1.
    let mut written = vec![0; registers];
    let mut is_shared = vec![false; registers];
    for (block, range) in blocks.iter().enumerate() {
        for usage in &usages[range.start as usize..range.end as usize] {
            for &register in usage
                .reads
                .iter()
                .filter(|&&register| (register as usize) < registers)
            {
                is_shared[register as usize] |= written[register as usize] != block + 1;
            }
            if !usage.guarded {
                for &register in &usage.writes {
                    if let Some(written) = written.get_mut(register as usize) {
                        *written = block + 1;
                    }
                }
            }
        }
    }
    (0..registers as u32)
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
