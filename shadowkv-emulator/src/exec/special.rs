//! Special registers (PTX ISA, special registers).

use crate::arith::Lanes32;
use crate::program::Special;

use super::warp::Warp;
use super::{Block, Worker};

impl Worker<'_> {
    /// Value of a special register for every lane; 64-bit ones fit 32 bits but for the clocks.
    pub(super) fn special(&self, special: Special, block: &Block, warp: &Warp) -> [u64; 32] {
        let context = self.context;
        let same = |value: u32| [u64::from(value); 32];
        let per_lane = |f: &dyn Fn(u32) -> u32| {
            let mut lanes = [0; 32];
            for lane in 0..32 {
                lanes[lane as usize] = u64::from(f(lane));
            }
            lanes
        };
        let axis = |axis: u8| usize::from(axis.min(2));
        match special {
            Special::Tid(number) => wide(&warp.tid[axis(number)]),
            Special::Ntid(number) => same(context.block[axis(number)]),
            Special::Ctaid(number) => same(block.coordinates[axis(number)]),
            Special::Nctaid(number) => same(context.grid[axis(number)]),
            Special::LaneId => per_lane(&|lane| lane),
            Special::WarpId => same(warp.index),
            Special::NwarpId => same(context.warps()),
            Special::SmId => same(block.number % context.multiprocessors.max(1)),
            Special::NsmId => same(context.multiprocessors),
            Special::GridId | Special::Zero => same(0),
            Special::One => same(1),
            Special::LanemaskEq => per_lane(&|lane| 1 << lane),
            Special::LanemaskLt => per_lane(&|lane| (1 << lane) - 1),
            Special::LanemaskLe => per_lane(&|lane| u32::MAX >> (31 - lane)),
            Special::LanemaskGt => per_lane(&|lane| !(u32::MAX >> (31 - lane))),
            Special::LanemaskGe => per_lane(&|lane| !((1 << lane) - 1)),
            // Time passes with the instructions: deterministic, and never backwards.
            Special::Clock => same(self.executed as u32),
            Special::Clock64 | Special::GlobalTimer => [self.executed; 32],
            Special::DynamicSharedBytes => same(context.dynamic_shared_bytes),
            Special::TotalSharedBytes => same(context.shared_bytes),
        }
    }
}

fn wide(lanes: &Lanes32) -> [u64; 32] {
    lanes.map(u64::from)
}
