//! A warp: its registers, and which of its lanes are where.

use crate::arith::Lanes32;
use crate::memory::interval::{Clock, Order, WARPS};
use crate::program::Program;

use super::copies::Copies;
use super::local::Local;
use super::rows::Registers;
use super::shared::Touched;

/// Lanes that stand at one instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) pc: u32,
    pub(crate) lanes: u32,
}

/// Lanes that wait at a barrier, to go on at `pc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) group: Group,
    pub(crate) barrier: u8,
    /// How often the barrier had been completed when they arrived.
    pub(crate) generation: u32,
}

/// A warp of a block at work.
pub(crate) struct Warp {
    /// Number within the block.
    pub(crate) index: u32,
    pub(crate) registers: Registers,
    pub(crate) predicates: Box<[u32]>,
    /// Lanes that have not exited.
    pub(crate) alive: u32,
    /// Lanes that run, and where.
    pub(crate) current: Group,
    /// Lanes that run later: the executor always takes the lowest instruction, so that diverged lanes meet again.
    pub(crate) others: Vec<Group>,
    /// Lanes that wait for others to come to the same instruction.
    pub(crate) parked: Vec<Group>,
    /// Lanes that stand at a wait of an mbarrier, to try again when the others cannot run.
    pub(crate) spinning: Vec<Group>,
    pub(crate) waiting: Vec<Waiting>,
    pub(crate) touched: Touched,
    pub(crate) local: Local,
    pub(crate) copies: Copies,
    /// Number of the interval for tags in global memory; 0 until it first touches any.
    pub(crate) interval: u32,
    /// Warp barriers passed.
    pub(crate) syncs: u32,
    /// Number of its stretch between barriers of part of the block, from 1.
    pub(crate) stretch: u32,
    /// Which stretches of the other warps are over before its own.
    pub(crate) order: Order,
    /// What it has learnt of other blocks since the last barrier.
    pub(crate) clock: Clock,
    /// What relaxed reads have seen, to be learnt at the next fence.
    pub(crate) seen: Clock,
    /// Whether a fence came before, so that a relaxed write releases.
    pub(crate) fenced: bool,
    pub(crate) tid: [Lanes32; 3],
}

impl Warp {
    pub(crate) fn new(program: &Program, shared_bytes: usize) -> Warp {
        Warp {
            index: 0,
            registers: Registers::new(program),
            predicates: vec![0; program.predicates].into_boxed_slice(),
            alive: 0,
            current: Group { pc: 0, lanes: 0 },
            others: Vec::new(),
            parked: Vec::new(),
            spinning: Vec::new(),
            waiting: Vec::new(),
            touched: Touched::new(shared_bytes),
            local: Local::new(program.local_bytes),
            copies: Copies::default(),
            interval: 0,
            syncs: 0,
            stretch: 1,
            order: [0; WARPS],
            clock: Clock::default(),
            seen: Clock::default(),
            fenced: false,
            tid: [[0; 32]; 3],
        }
    }

    /// Makes it warp `index` of a block of the given dimensions, at the first instruction.
    pub(crate) fn start(&mut self, index: u32, block: [u32; 3]) {
        let threads = block[0] * block[1] * block[2];
        let first = index * 32;
        let count = threads.saturating_sub(first).min(32);
        self.index = index;
        self.alive = if count == 32 {
            u32::MAX
        } else {
            (1 << count) - 1
        };
        self.current = Group {
            pc: 0,
            lanes: self.alive,
        };
        self.others.clear();
        self.parked.clear();
        self.spinning.clear();
        self.waiting.clear();
        self.touched.clear();
        self.local.reset();
        self.copies.clear();
        self.interval = 0;
        self.syncs = 0;
        self.stretch = 1;
        self.order = [0; WARPS];
        self.clock = Clock::default();
        self.seen = Clock::default();
        self.fenced = false;
        self.predicates.fill(0);
        if let Some(always) = self.predicates.first_mut() {
            *always = u32::MAX;
        }
        for lane in 0..32 {
            let thread = first + lane;
            self.tid[0][lane as usize] = thread % block[0];
            self.tid[1][lane as usize] = thread / block[0] % block[1];
            self.tid[2][lane as usize] = thread / (block[0] * block[1]);
        }
    }

    /// Puts the current group back and takes the one at the lowest instruction, joined with all that stand there too.
    /// `false` if no lane can run.
    pub(crate) fn regroup(&mut self) -> bool {
        if self.current.lanes != 0 {
            self.others.push(self.current);
        }
        if self.others.is_empty() {
            self.others.append(&mut self.spinning);
        }
        if self.others.is_empty() {
            // Nobody is left to come: those that wait for company go on without.
            self.others.append(&mut self.parked);
        }
        let Some(pc) = self.others.iter().map(|group| group.pc).min() else {
            self.current.lanes = 0;
            return false;
        };
        let mut lanes = 0;
        let mut take = |group: &Group| {
            if group.pc == pc {
                lanes |= group.lanes;
            }
            group.pc != pc
        };
        self.others.retain(&mut take);
        self.parked.retain(&mut take);
        self.spinning.retain(&mut take);
        self.current = Group { pc, lanes };
        true
    }

    /// Whether any lane could execute its next instruction.
    pub(crate) fn can_run(&self) -> bool {
        self.current.lanes != 0
            || !self.others.is_empty()
            || !self.parked.is_empty()
            || !self.spinning.is_empty()
    }

    /// The instruction at which another group may be met.
    pub(crate) fn next_meeting(&self) -> u32 {
        if !self.parked.is_empty() || !self.spinning.is_empty() {
            return 0; // look after every instruction
        }
        self.others
            .iter()
            .map(|group| group.pc)
            .min()
            .unwrap_or(u32::MAX)
    }
}
