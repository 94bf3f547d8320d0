//! Execution: launches, blocks, warps, and 32 lanes an instruction.

#![allow(
    clippy::inline_always,
    reason = "a row vectorises with the features of the caller it is inlined into"
)]
#![allow(
    clippy::needless_range_loop,
    reason = "a lane's number indexes several rows at once"
)]
#![allow(
    clippy::too_many_arguments,
    reason = "an access is described once: who, where, which lanes, how many bytes"
)]

use crate::arith::tensor::TensorModel;
use crate::counters::Site;
use crate::memory::interval::{Clock, Now};
use crate::memory::view::View;
use crate::program::Program;

mod alu;
mod atomics;
mod banks;
mod barrier;
mod block;
mod bulk;
mod copies;
mod execute;
mod lanes;
mod launch;
mod local;
mod memory;
pub(crate) mod notes;
pub(crate) mod rows;
mod sectors;
mod shared;
mod special;
mod step;
mod warp;

pub(crate) use launch::run;

use barrier::{Barrier, Stretch};
use bulk::Bulk;
use notes::Notes;
use shared::{Shared, SharedTrouble, Touched};
use warp::Warp;

/// What is the same for all of a launch.
pub(crate) struct Context<'a> {
    pub(crate) program: &'a Program,
    pub(crate) grid: [u32; 3],
    pub(crate) block: [u32; 3],
    /// Bytes of shared memory of a block, declared and dynamic.
    pub(crate) shared_bytes: u32,
    pub(crate) dynamic_shared_bytes: u32,
    pub(crate) parameters: &'a [u8],
    pub(crate) multiprocessors: u32,
    pub(crate) tensor: TensorModel,
    /// Warp instructions after which the launch is given up.
    pub(crate) most_instructions: u64,
    /// Blocks that are at work at a time where they communicate.
    pub(crate) resident_blocks: u32,
    pub(crate) sample: Sample,
}

/// Which blocks of a grid run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Sample {
    /// All.
    #[default]
    All,
    /// So many at most, spread evenly over their numbers.
    AtMost(u32),
}

impl Sample {
    /// How many of `blocks` blocks run.
    fn count(self, blocks: u64) -> u32 {
        match self {
            Sample::All => blocks as u32,
            Sample::AtMost(most) => blocks.min(most.max(1).into()) as u32,
        }
    }

    /// Number of the `index`-th block that runs, of `blocks` blocks.
    fn number(self, index: u32, blocks: u64) -> u32 {
        let count = u64::from(self.count(blocks));
        // The middle of each of `count` equal stretches; with all of them, the block itself.
        ((2 * u64::from(index) + 1) * blocks / (2 * count)) as u32
    }
}

impl Context<'_> {
    pub(crate) fn threads(&self) -> u32 {
        self.block[0] * self.block[1] * self.block[2]
    }

    pub(crate) fn warps(&self) -> u32 {
        self.threads().div_ceil(32)
    }

    pub(crate) fn blocks(&self) -> u64 {
        self.grid.iter().map(|&blocks| u64::from(blocks)).product()
    }

    /// Number of the `index`-th block that runs.
    pub(crate) fn block_number(&self, index: u32) -> u32 {
        self.sample.number(index, self.blocks())
    }

    /// Coordinates of block `number`.
    pub(crate) fn coordinates(&self, number: u32) -> [u32; 3] {
        let [x, y, _] = self.grid;
        [number % x, number / x % y, number / x / y]
    }

    /// Coordinates of `lane` of `warp` within its block.
    pub(crate) fn thread(&self, warp: u32, lane: u32) -> [u32; 3] {
        let thread = warp * 32 + lane;
        let [x, y, _] = self.block;
        [thread % x, thread / x % y, thread / (x * y)]
    }
}

/// What one thread of the host works with.
pub(crate) struct Worker<'a> {
    pub(crate) context: &'a Context<'a>,
    pub(crate) view: View<'a>,
    pub(crate) sites: Vec<Site>,
    pub(crate) divergent: u64,
    pub(crate) notes: Notes<'a>,
    /// What was released at addresses of global memory.
    pub(crate) released: std::collections::BTreeMap<u64, Clock>,
    /// Grows with everything that another warp may be waiting for.
    pub(crate) progress: u64,
    pub(crate) executed: u64,
    troubles: Vec<(u32, SharedTrouble)>,
}

/// A block at work, its warps apart.
pub(crate) struct Block {
    pub(crate) number: u32,
    pub(crate) coordinates: [u32; 3],
    /// Barriers of the whole block that it has passed.
    pub(crate) epoch: u32,
    pub(crate) shared: Shared,
    /// What the block knows of others.
    pub(crate) clock: Clock,
    barriers: [Barrier; 17],
    /// Barriers that are complete, and whose threads have not been let go yet.
    complete: Vec<(u8, Barrier)>,
    /// Stretches of warps that ended at barriers of part of the block, and that some warp is not ordered after yet.
    stretches: Vec<Stretch>,
    /// Emptied records of what was touched, for stretches to come.
    spare: Vec<Touched>,
    bulk: Bulk,
    /// A finding after which nothing that follows would mean anything.
    pub(crate) failed: bool,
}

/// Why a warp stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Its lanes wait at barriers, or have exited.
    Blocked,
    /// It has used up its turn, or waits for memory to change.
    Yield,
    /// The block has failed.
    Failed,
}

impl Worker<'_> {
    /// The warp's interval in global memory, begun if it is not there.
    #[inline(always)]
    fn interval(&mut self, block: &Block, warp: &mut Warp) -> u32 {
        if warp.interval == 0 {
            warp.interval = self.view.begin_interval(
                block.number,
                block.epoch,
                warp.index as u16,
                warp.stretch,
                warp.syncs,
            );
        }
        warp.interval
    }
}

/// Who is at work.
#[inline(always)]
fn now<'n>(block: &'n Block, warp: &'n Warp) -> Now<'n> {
    Now {
        block: block.number,
        epoch: block.epoch,
        warp: warp.index as u16,
        stretch: warp.stretch,
        warp_syncs: warp.syncs,
        order: &warp.order,
        interval: warp.interval,
        lane: 0,
        clocks: [&block.clock, &warp.clock],
    }
}

#[cfg(test)]
mod tests {
    use super::Sample;

    #[test]
    fn a_sample_is_spread_evenly_and_all_are_all() {
        let numbers = |sample: Sample, blocks: u64| -> Vec<u32> {
            (0..sample.count(blocks))
                .map(|index| sample.number(index, blocks))
                .collect()
        };
        assert_eq!(numbers(Sample::All, 5), [0, 1, 2, 3, 4]);
        assert_eq!(numbers(Sample::AtMost(9), 5), [0, 1, 2, 3, 4]);
        assert_eq!(numbers(Sample::AtMost(4), 100), [12, 37, 62, 87]);
        assert_eq!(numbers(Sample::AtMost(0), 3), [1]);
    }
}
