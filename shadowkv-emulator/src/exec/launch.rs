//! A launch: blocks over worker threads where they do not communicate, interleaved where they do.

use rayon::prelude::*;

use crate::counters::{Counters, Site};
use crate::finding::Finding;
use crate::memory::merge::{Merged, merge};
use crate::memory::space::{Allocation, Lookup};
use crate::memory::view::View;

use super::block::{Team, Turn};
use super::notes::Notes;
use super::{Context, Worker};

/// What came of a launch.
pub(crate) struct Outcome {
    pub(crate) findings: Vec<Finding>,
    pub(crate) counters: Counters,
    /// Counts per instruction.
    pub(crate) sites: Vec<Site>,
    /// New contents of what was written, to be put into the address space.
    pub(crate) merged: Merged,
}

/// Turns of a block that communicates with others: long enough to be fast, short enough that nobody waits long.
const TURN: u64 = 4096;

/// Rounds over all blocks without progress after which they count as waiting for ever.
const PATIENCE: u32 = 1000;

/// Runs a launch on up to `workers` threads. Blocks are dealt out in a fixed order, and results joined in it.
pub(crate) fn run<'a>(
    context: &'a Context<'a>,
    allocations: &[&'a Allocation],
    lookup: &'a (dyn Fn(u64) -> Lookup<'a> + Sync),
    workers: usize,
) -> Outcome {
    let blocks = context.sample.count(context.blocks());
    let workers = if context.program.communicates {
        1
    } else {
        workers.clamp(1, blocks.max(1) as usize)
    };
    let new = || Worker {
        context,
        view: View::new(allocations.to_vec(), lookup, context.program.communicates),
        sites: vec![Site::default(); context.program.code.len()],
        divergent: 0,
        notes: Notes::new(context),
        released: std::collections::BTreeMap::new(),
        progress: 0,
        executed: 0,
        troubles: Vec::new(),
    };
    let done: Vec<Worker<'a>> = if context.program.communicates {
        let mut worker = new();
        worker.interleaved(blocks);
        vec![worker]
    } else if workers == 1 {
        let mut worker = new();
        worker.share(0, 1, blocks);
        vec![worker]
    } else {
        (0..workers)
            .into_par_iter()
            .with_max_len(1)
            .map(|index| {
                let mut worker = new();
                worker.share(index as u32, workers as u32, blocks);
                worker
            })
            .collect()
    };

    let mut notes = Notes::new(context);
    let mut sites = vec![Site::default(); context.program.code.len()];
    let mut divergent = 0;
    let mut views = Vec::new();
    for worker in done {
        notes.absorb(worker.notes);
        for (sum, site) in sites.iter_mut().zip(&worker.sites) {
            sum.add(site);
        }
        divergent += worker.divergent;
        views.push(worker.view);
    }
    let merged = merge(context, views, &mut notes);
    let mut total = Site::default();
    for site in &sites {
        total.add(site);
    }
    let counters = Counters {
        total,
        mix: crate::report::mix(context.program, &sites),
        divergent,
        unique: merged.unique,
        blocks: u64::from(blocks),
        warps: u64::from(blocks) * u64::from(context.warps()),
    };
    Outcome {
        findings: notes.into_findings(),
        counters,
        sites,
        merged,
    }
}

impl Worker<'_> {
    /// Every `step`-th of the `blocks` blocks that run, from `first` on, one after the other.
    fn share(&mut self, first: u32, step: u32, blocks: u32) {
        let mut team = Team::new(self.context);
        let mut number = first;
        while number < blocks {
            team.start(self.context, self.context.block_number(number));
            if self.run_block(&mut team) == Turn::Failed {
                return;
            }
            match number.checked_add(step) {
                Some(next) => number = next,
                None => return,
            }
        }
    }

    /// All blocks in turns, as many at a time as the GPU would have.
    fn interleaved(&mut self, blocks: u32) {
        let at_once = self.context.resident_blocks.clamp(1, blocks.max(1));
        let mut teams: Vec<Team> = Vec::new();
        let mut next = 0;
        let mut idle = 0;
        let mut spare: Vec<Team> = Vec::new();
        loop {
            while teams.len() < at_once as usize && next < blocks {
                let mut team = spare.pop().unwrap_or_else(|| Team::new(self.context));
                team.start(self.context, self.context.block_number(next));
                teams.push(team);
                next += 1;
            }
            if teams.is_empty() {
                return;
            }
            let before = self.progress;
            let mut running = Vec::with_capacity(teams.len());
            for mut team in teams {
                match self.turn(&mut team, TURN) {
                    Turn::Done => spare.push(team),
                    Turn::Later => running.push(team),
                    Turn::Failed => return,
                }
                if self.executed > self.context.most_instructions
                    && let Some(team) = running.last_mut()
                {
                    self.give_up(team);
                    return;
                }
            }
            teams = running;
            idle = if self.progress == before { idle + 1 } else { 0 };
            if idle > PATIENCE
                && let Some(team) = teams.first_mut()
            {
                self.give_up(team);
                return;
            }
        }
    }
}
