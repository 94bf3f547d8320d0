//! What mbarriers and copies order within a block (PTX ISA, memory consistency model, asynchronous operations).
//!
//! Warps are the parties. An arrival ends a stretch of its warp, as a barrier of part of the block does, and leaves what the
//! warp knows of the others with the mbarrier; who waits for the phase learns what was left there until the phase was complete.
//! Threads of a warp do not arrive each for itself: something wrong between lanes of one warp may be missed.
//!
//! A copy to shared memory is a party of its own. It comes after what its warp knows to be over when it begins, and before what
//! a warp does that has learnt that it has landed: by waiting for the phase that counts it, or from one that has. A stretch of
//! another warp that touches its target in between is a race.
//!
//! A copy's accesses to global memory count as its warp's, in the stretch in which it begins: who learns that it has landed
//! learns that this stretch is over.

use crate::finding::FindingKind;
use crate::memory::interval::{Clock, Order, WARPS};

use super::super::barrier::join_order;
use super::super::memory::verb;
use super::super::notes::Actor;
use super::super::shared::Touched;
use super::super::warp::Warp;
use super::super::{Block, Worker};
use super::loads::Load;
use super::tile::{Tile, UNIT_BYTES};

/// What is left at an mbarrier for those who wait.
#[derive(Clone, Debug)]
pub(super) struct Knowledge {
    /// The block's epoch of `order`: a barrier of the whole block makes it worthless.
    epoch: u32,
    order: Order,
    /// Of other blocks.
    clock: Clock,
}

impl Default for Knowledge {
    fn default() -> Knowledge {
        Knowledge {
            epoch: 0,
            order: [0; WARPS],
            clock: Clock::default(),
        }
    }
}

impl Knowledge {
    fn enter(&mut self, epoch: u32) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.order = [0; WARPS];
        }
    }

    /// What a warp knows.
    fn gather(&mut self, epoch: u32, warp: &Warp) {
        self.enter(epoch);
        join_order(&mut self.order, &warp.order);
        self.clock.join(&warp.clock);
    }

    /// Stretch `number` of `warp` is over as far as its copies go.
    pub(super) fn land(&mut self, epoch: u32, warp: u32, number: u32) {
        self.enter(epoch);
        if let Some(over) = self.order.get_mut(warp as usize) {
            *over = (*over).max(number);
        }
    }
}

/// The bit of a warp; a block has at most 32.
fn bit(warp: u32) -> u32 {
    1 << (warp & 31)
}

impl Worker<'_> {
    /// The warp has waited for a phase of the mbarrier at `address`.
    pub(super) fn learn(&mut self, block: &mut Block, warp: &mut Warp, address: u32) {
        let Block { bulk, epoch, .. } = block;
        let Some(barrier) = bulk.barriers.get(&address) else {
            return;
        };
        let released = &barrier.released;
        if released.epoch == *epoch {
            join_order(&mut warp.order, &released.order);
        }
        warp.clock.join(&released.clock);
        let mut unordered = Vec::new();
        for load in &mut bulk.loads {
            let counted =
                load.barrier == address && load.landed.is_some_and(|phase| !barrier.is_in(phase));
            if counted || load.carriers.contains(&address) {
                unordered.extend(collision(load, warp));
                load.seen |= bit(warp.index);
            }
        }
        self.report_copies(block.number, unordered);
    }

    /// The warp arrives at the mbarrier at `address`: what it did comes before.
    pub(super) fn publish(block: &mut Block, warp: &Warp, address: u32) {
        let Block { bulk, epoch, .. } = block;
        let seen = |load: &&mut Load| load.seen & bit(warp.index) != 0;
        for load in bulk.loads.iter_mut().filter(seen) {
            load.carriers.insert(address);
        }
        if let Some(barrier) = bulk.barriers.get_mut(&address) {
            barrier.gathered.gather(*epoch, warp);
        }
    }

    /// Ends the warp's stretch before an arrival.
    pub(super) fn arrive_with(&mut self, block: &mut Block, warp: &mut Warp) {
        block.bulk.proxy.keep(self.context.program, warp);
        let unordered = block
            .bulk
            .loads
            .iter()
            .filter_map(|load| collision(load, warp))
            .collect();
        self.report_copies(block.number, unordered);
        self.end_stretch(block, warp);
    }

    /// A copy to `tile` begins: stretches that are over, and not before it, must not have touched it.
    pub(super) fn check_stretches(&mut self, block: &Block, warp: &Warp, copy: Actor, tile: &Tile) {
        let mut unordered = Vec::new();
        for stretch in &block.stretches {
            if stretch.warp != warp.index && warp.order[stretch.warp as usize] < stretch.number {
                unordered.extend(meeting(tile, copy, stretch.warp, &stretch.touched));
            }
        }
        self.report_copies(block.number, unordered);
    }

    /// A barrier of the warps whose bits are set.
    pub(in crate::exec) fn order_copies(
        &mut self,
        block: &mut Block,
        warps: &[Warp],
        members: u32,
    ) {
        let member = |warp: &&Warp| members & bit(warp.index) != 0;
        let bulk = &mut block.bulk;
        for warp in warps.iter().filter(member) {
            bulk.proxy.keep(self.context.program, warp);
        }
        let mut unordered = Vec::new();
        for load in &mut bulk.loads {
            unordered.extend(
                warps
                    .iter()
                    .filter(member)
                    .filter_map(|warp| collision(load, warp)),
            );
            if load.seen & members != 0 {
                load.seen |= members;
            }
        }
        if members == u32::MAX {
            // Everybody knows, or nobody.
            bulk.loads.retain(|load| load.seen == 0);
        }
        self.report_copies(block.number, unordered);
    }

    fn report_copies(&mut self, block: u32, unordered: Vec<Unordered>) {
        for found in unordered {
            let actor = Actor {
                block,
                warp: found.warp,
                lane: found.lane,
                pc: found.pc,
            };
            let message = format!(
                "{} of shared memory to which a bulk copy writes, with neither a wait for it nor an arrival before it",
                found.verb
            );
            let place = self.shared_place(found.unit, UNIT_BYTES);
            self.notes
                .add(FindingKind::Race, actor, Some(found.copy), &message, place);
        }
    }
}

/// An access that nothing orders with a copy.
struct Unordered {
    warp: u32,
    lane: u32,
    pc: Option<u32>,
    verb: &'static str,
    unit: u32,
    copy: Actor,
}

/// The first access to a copy's target in the present stretch of a warp that does not know of the copy. Of the copy's own warp
/// nothing is found: what it did before is ordered, and not told apart from what it does afterwards.
fn collision(load: &Load, warp: &Warp) -> Option<Unordered> {
    if load.actor.warp == warp.index || load.seen & bit(warp.index) != 0 {
        return None;
    }
    meeting(&load.tile, load.actor, warp.index, &warp.touched)
}

/// The first access to `tile` among those of a warp.
fn meeting(tile: &Tile, copy: Actor, warp: u32, touched: &Touched) -> Option<Unordered> {
    if touched.is_empty() {
        return None;
    }
    let unit = tile.units().find(|&unit| touched.touches(unit))?;
    let latest = touched.latest(unit);
    Some(Unordered {
        warp,
        lane: latest.map_or(0, |(_, lane, _)| lane),
        pc: latest.map(|(pc, _, _)| pc),
        verb: latest.map_or("access", |(_, _, touch)| verb(touch)),
        unit,
        copy,
    })
}
