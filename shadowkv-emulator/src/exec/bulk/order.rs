//! What mbarriers and copies order within a block (PTX ISA, memory consistency model, asynchronous operations).
//!
//! Shared memory is compared between warps at the block's barriers (see [`crate::exec::shared`]). mbarriers hand memory from
//! warp to warp without one, so an arrival makes the warp forget what it touched: whatever comes after the phase cannot race
//! with it. That is more than an arrival orders (only those who wait for the phase are ordered with it), and whole warps where
//! single threads arrive: something wrong may be missed, nothing right is reported.
//!
//! A wait that succeeds begins an epoch for the global memory of the whole block, as a barrier of some of its warps does: again
//! more than it orders.
//!
//! A copy to shared memory is ordered with the warps that have waited, at any mbarrier, since it landed. What another warp
//! touches of its target between two barriers came before the copy without an arrival, or after it without a wait.

use crate::finding::FindingKind;

use super::super::memory::verb;
use super::super::notes::Actor;
use super::super::warp::Warp;
use super::super::{Block, Worker};
use super::loads::Load;
use super::tile::UNIT_BYTES;

/// The bit of a warp; a block has at most 32.
pub(super) fn bit(warp: u32) -> u32 {
    1 << (warp & 31)
}

impl Worker<'_> {
    /// The warp has waited for a phase.
    pub(super) fn acquire(&mut self, block: &mut Block, warp: &mut Warp) {
        let mut unordered = Vec::new();
        for load in &mut block.bulk.loads {
            if load.landed && load.seen & bit(warp.index) == 0 {
                load.seen |= bit(warp.index);
                unordered.extend(collision(load, warp));
            }
        }
        self.report_copies(block.number, unordered);
        block.epoch += 1;
        self.view.group = 0;
        warp.interval = 0;
        warp.touched.pass_warp_sync();
    }

    /// The warp has arrived at an mbarrier.
    pub(super) fn release(&mut self, block: &mut Block, warp: &mut Warp) {
        block.clock.join(&warp.clock);
        block.bulk.proxy.keep(self.context.program, warp);
        warp.touched.clear();
    }

    /// A barrier of the warps that `among` names: of all warps, if `whole`.
    pub(in crate::exec) fn order_copies(
        &mut self,
        block: &mut Block,
        warps: &[Warp],
        whole: bool,
        among: impl Fn(&Warp) -> bool,
    ) {
        for warp in warps.iter().filter(|warp| among(warp)) {
            block.bulk.proxy.keep(self.context.program, warp);
        }
        let mut unordered = Vec::new();
        for load in &mut block.bulk.loads {
            for warp in warps.iter().filter(|warp| among(warp)) {
                if load.seen & bit(warp.index) == 0 {
                    unordered.extend(collision(load, warp));
                    if load.landed {
                        load.seen |= bit(warp.index);
                    }
                }
            }
        }
        if whole {
            block.bulk.loads.retain(|load| !load.landed);
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

/// The first access of a warp to a copy's target since the warp was last compared.
fn collision(load: &Load, warp: &Warp) -> Option<Unordered> {
    let unit = load.tile.units().find(|&unit| warp.touched.touches(unit))?;
    let latest = warp.touched.latest(unit);
    Some(Unordered {
        warp: warp.index,
        lane: latest.map_or(0, |(_, lane, _)| lane),
        pc: latest.map(|(pc, _, _)| pc),
        verb: latest.map_or("access", |(_, _, touch)| verb(touch)),
        unit,
        copy: load.actor,
    })
}
