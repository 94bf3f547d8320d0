//! A block: its warps in turn, until all have exited.

use crate::finding::FindingKind;
use crate::memory::interval::Clock;

use super::bulk::Bulk;
use super::notes::Actor;
use super::shared::Shared;
use super::warp::Warp;
use super::{Block, Context, Stop, Worker};

/// Rounds without any progress after which waiting threads count as waiting for ever.
const PATIENCE: u32 = 10_000;

/// A block with its warps.
pub(super) struct Team {
    pub(super) block: Block,
    pub(super) warps: Vec<Warp>,
}

/// How a turn of a block ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// All its threads have exited.
    Done,
    /// It goes on later.
    Later,
    /// It cannot go on.
    Failed,
}

impl Team {
    pub(super) fn new(context: &Context<'_>) -> Team {
        let warps = (0..context.warps())
            .map(|_| Warp::new(context.program, context.shared_bytes as usize))
            .collect();
        Team {
            block: Block {
                number: 0,
                coordinates: [0; 3],
                epoch: 0,
                shared: Shared::new(context.shared_bytes),
                clock: Clock::default(),
                barriers: Default::default(),
                complete: Vec::new(),
                stretches: Vec::new(),
                spare: Vec::new(),
                bulk: Bulk::default(),
                failed: false,
            },
            warps,
        }
    }

    /// Makes it block `number`.
    pub(super) fn start(&mut self, context: &Context<'_>, number: u32) {
        self.block.number = number;
        self.block.coordinates = context.coordinates(number);
        self.block.epoch = 0;
        self.block.shared.reset();
        self.block.clock = Clock::default();
        self.block.barriers = Default::default();
        self.block.complete.clear();
        self.block.forget_stretches(|_| false);
        self.block.bulk.reset();
        self.block.failed = false;
        for (index, warp) in self.warps.iter_mut().enumerate() {
            warp.start(index as u32, context.block);
        }
    }

    fn finished(&self) -> bool {
        self.warps.iter().all(|warp| warp.alive == 0)
    }
}

impl Worker<'_> {
    /// Runs a block to its end.
    pub(super) fn run_block(&mut self, team: &mut Team) -> Turn {
        let mut idle = 0;
        loop {
            let before = self.progress;
            match self.turn(team, 1 << 16) {
                Turn::Later => {}
                ended => return ended,
            }
            idle = if self.progress == before { idle + 1 } else { 0 };
            if idle > PATIENCE || self.executed > self.context.most_instructions {
                self.give_up(team);
                return Turn::Failed;
            }
        }
    }

    /// One turn for each warp that can run, then the barriers.
    pub(super) fn turn(&mut self, team: &mut Team, instructions: u64) -> Turn {
        self.view.group = 0;
        loop {
            let mut later = false;
            let mut ran = false;
            for warp in &mut team.warps {
                if !warp.can_run() {
                    continue;
                }
                ran = true;
                match self.run_warp(&mut team.block, warp, instructions) {
                    Stop::Blocked => {}
                    Stop::Yield => later = true,
                    Stop::Failed => return Turn::Failed,
                }
            }
            let released = self.release_barriers(&mut team.block, &mut team.warps);
            if team.finished() {
                self.end_block(team);
                return Turn::Done;
            }
            if later {
                return Turn::Later;
            }
            if !ran && !released {
                self.deadlock(&mut team.block, &team.warps);
                return Turn::Failed;
            }
        }
    }

    /// What is left to compare when a block has ended.
    fn end_block(&mut self, team: &mut Team) {
        let unfinished = team.warps.iter().any(|warp| warp.copies.any());
        // Copies nobody waited for land in memory that nobody reads: no finding.
        let _ = unfinished;
        self.end_epoch(&mut team.block, &mut team.warps);
        self.end_bulk(&team.block);
    }

    /// The launch takes too long, or waits for something that does not come.
    pub(super) fn give_up(&mut self, team: &mut Team) {
        team.block.failed = true;
        let warp = team.warps.iter().find(|warp| warp.can_run());
        let actor = Actor {
            block: team.block.number,
            warp: warp.map_or(0, |warp| warp.index),
            lane: warp.map_or(0, |warp| warp.current.lanes.trailing_zeros().min(31)),
            pc: warp.map(|warp| warp.current.pc),
        };
        let (kind, message) = if self.executed > self.context.most_instructions {
            (
                FindingKind::Livelock,
                format!(
                    "the launch has not ended after {} warp instructions",
                    self.context.most_instructions
                ),
            )
        } else {
            (
                FindingKind::Deadlock,
                format!(
                    "all threads wait for memory that nobody changes{}",
                    team.block.bulk.lacks()
                ),
            )
        };
        self.notes.add(kind, actor, None, &message, String::new());
    }
}
