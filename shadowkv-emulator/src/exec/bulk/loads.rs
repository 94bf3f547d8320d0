//! Copies from global to shared memory that an mbarrier counts.

use std::collections::BTreeSet;

use crate::program::Inst;

use super::super::notes::Actor;
use super::super::shared::{Shared, Touch};
use super::super::step::Flow;
use super::super::warp::Warp;
use super::super::{Block, Worker};
use super::lanes_of;
use super::moves::Direction;
use super::tile::{Tile, UNIT_BYTES};

/// A copy to shared memory: on its way, or landed in this epoch.
#[derive(Clone, Debug)]
pub(super) struct Load {
    /// Address of its mbarrier.
    pub(super) barrier: u32,
    pub(super) tile: Tile,
    /// Who began it.
    pub(super) actor: Actor,
    /// The phase that counted it.
    pub(super) landed: Option<u32>,
    /// Epoch and stretch of its warp in which it began.
    began: (u32, u32),
    /// Warps, one bit each, that know that it has landed.
    pub(super) seen: u32,
    /// mbarriers at which such warps have arrived since.
    pub(super) carriers: BTreeSet<u32>,
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
            let actor = Self::actor(block, warp, lane as u32);
            self.check_target(block, warp, lane, &request.tile);
            self.check_stretches(block, warp, actor, &request.tile);
            // What lies beyond the tensor is zero.
            let mut bytes = std::mem::take(&mut block.bulk.buffer);
            bytes.clear();
            bytes.resize(request.tile.bytes() as usize, 0);
            self.move_spans(
                block,
                warp,
                lane as u32,
                direction,
                &request.spans,
                &mut bytes,
            );
            for (unit, from) in request
                .tile
                .units()
                .zip(bytes.chunks_exact(UNIT_BYTES as usize))
            {
                let at = unit as usize;
                block.shared.data[at..at + UNIT_BYTES as usize].copy_from_slice(from);
                block.shared.depart(unit, UNIT_BYTES);
                block.bulk.proxy.overwrite(unit);
            }
            block.bulk.buffer = bytes;
            let (begin, end) = (request.tile.at(), request.tile.end());
            // What landed in the same place before is known by this copy from now on: records do not pile up.
            block
                .bulk
                .loads
                .retain(|load| load.landed.is_none() || !load.tile.meets(begin, end));
            block.bulk.loads.push(Load {
                barrier,
                tile: request.tile,
                actor,
                landed: None,
                began: (block.epoch, warp.stretch),
                seen: 0,
                carriers: BTreeSet::new(),
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
            Shared::write_unit(&warp.touched, lane as u32, unit, &mut self.troubles);
            if !self.troubles.is_empty() {
                let mut addresses = [0; 32];
                addresses[lane] = unit;
                self.report_shared(block, warp, Touch::Write, &addresses, UNIT_BYTES);
            }
        }
    }

    /// Lets the copies land that are bound for the mbarrier at `address`; `false` if they are more than it expects.
    pub(super) fn land(&mut self, block: &mut Block, address: u32) -> bool {
        let Block {
            bulk,
            shared,
            epoch,
            ..
        } = block;
        let Some(barrier) = bulk.barriers.get_mut(&address) else {
            return false;
        };
        let bound = |load: &&mut Load| load.barrier == address && load.landed.is_none();
        let mut surplus = None;
        for load in bulk.loads.iter_mut().filter(bound) {
            load.landed = Some(barrier.phase());
            let (began, stretch) = load.began;
            if began == *epoch {
                barrier.gathered.land(began, load.actor.warp, stretch);
            }
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
        self.misused(copier, misuse, address);
        false
    }
}
