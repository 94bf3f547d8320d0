//! Copies from global to shared memory that an mbarrier counts.

use crate::program::Inst;

use super::super::notes::Actor;
use super::super::shared::Touch;
use super::super::step::Flow;
use super::super::warp::Warp;
use super::super::{Block, Worker};
use super::moves::Direction;
use super::tile::{Tile, UNIT_BYTES};
use super::{lanes_of, order};

/// A copy to shared memory: on its way, or landed in this epoch.
#[derive(Clone, Debug)]
pub(super) struct Load {
    /// Address of its mbarrier.
    pub(super) barrier: u32,
    pub(super) tile: Tile,
    /// Who began it.
    pub(super) actor: Actor,
    pub(super) landed: bool,
    /// Warps, one bit each, that are ordered with it: see [`order`].
    pub(super) seen: u32,
}

impl Worker<'_> {
    /// A load of tiles of a tensor of `dimensions` dimensions, or of neighbouring bytes.
    pub(super) fn bulk_load(
        &mut self,
        block: &mut Block,
        warp: &mut Warp,
        inst: &Inst,
        dimensions: Option<u8>,
        lanes: u32,
    ) -> Flow {
        for lane in lanes_of(lanes) {
            // The mbarrier follows the coordinates.
            let operand = inst.list as usize + usize::from(dimensions.unwrap_or(0));
            let row = self.context.program.lists[operand];
            let barrier = warp.registers.get32(row)[lane];
            let direction = Direction::Load;
            let request = match dimensions {
                Some(count) => self.tensor_request(block, warp, inst, lane, direction, count),
                None => self.plain_request(block, warp, inst, lane, direction),
            };
            let Some(request) = request else {
                return Flow::Fail;
            };
            if !self.is_live(block, warp, lane, barrier) {
                return Flow::Fail;
            }
            self.check_target(block, warp, lane, &request.tile);
            // What lies beyond the tensor is zero.
            let mut bytes = std::mem::take(&mut block.bulk.buffer);
            bytes.clear();
            bytes.resize(request.tile.bytes() as usize, 0);
            self.move_spans(block, warp, lane as u32, direction, &request.spans, &mut bytes);
            for (unit, from) in request.tile.units().zip(bytes.chunks_exact(UNIT_BYTES as usize)) {
                let at = unit as usize;
                block.shared.data[at..at + UNIT_BYTES as usize].copy_from_slice(from);
                block.shared.depart(unit, UNIT_BYTES);
                block.bulk.proxy.overwrite(unit);
            }
            block.bulk.buffer = bytes;
            let (begin, end) = (request.tile.at(), request.tile.end());
            // What landed in the same place before is known by this copy from now on: records do not pile up.
            block.bulk.loads.retain(|load| !load.landed || !load.tile.meets(begin, end));
            block.bulk.loads.push(Load {
                barrier,
                tile: request.tile,
                actor: Self::actor(block, warp, lane as u32),
                landed: false,
                seen: order::bit(warp.index),
            });
        }
        self.progress += 1;
        Flow::Next
    }

    /// The target must be nobody's: no copy's, no mbarrier's, no other lane's since the last `bar.warp.sync`.
    fn check_target(&mut self, block: &Block, warp: &Warp, lane: usize, tile: &Tile) {
        for unit in tile.units() {
            if block.shared.is_busy(unit, UNIT_BYTES) {
                let (kind, what, other) = block.bulk.explain(unit, UNIT_BYTES);
                let actor = Self::actor(block, warp, lane as u32);
                let place = self.shared_place(unit, UNIT_BYTES);
                self.notes
                    .add(kind, actor, other, &format!("copy to {what}"), place);
            }
            block
                .shared
                .write_unit(&warp.touched, lane as u32, unit, &mut self.troubles);
            if !self.troubles.is_empty() {
                let mut addresses = [0; 32];
                addresses[lane] = unit;
                self.report_shared(block, warp, Touch::Write, &addresses, UNIT_BYTES);
            }
        }
    }

    /// Lets the copies land that are bound for the mbarrier at `address`, for which `lane` waits; `false` if that goes wrong.
    pub(super) fn land(
        &mut self,
        block: &mut Block,
        warp: &Warp,
        lane: usize,
        address: u32,
    ) -> bool {
        let Block { bulk, shared, .. } = block;
        let Some(barrier) = bulk.barriers.get_mut(&address) else {
            return false;
        };
        let bound = |load: &&mut Load| load.barrier == address && !load.landed;
        let mut surplus = None;
        for load in bulk.loads.iter_mut().filter(bound) {
            load.landed = true;
            for unit in load.tile.units() {
                shared.arrive(unit, UNIT_BYTES);
            }
            self.progress += 1;
            if let Err(misuse) = barrier.complete(load.tile.bytes()) {
                surplus = Some((load.actor, misuse));
            }
        }
        let Some((copier, misuse)) = surplus else {
            return true;
        };
        let _ = (warp, lane);
        self.misused(copier, misuse, address);
        false
    }
}
