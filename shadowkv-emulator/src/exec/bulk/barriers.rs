//! The instructions on mbarriers (PTX ISA, `mbarrier.init`, `.inval`, `.arrive`, `.expect_tx`, `.test_wait`, `.try_wait`).

use crate::finding::FindingKind;
use crate::program::{Arrival, Inst};

use super::super::notes::Actor;
use super::super::step::Flow;
use super::super::warp::Warp;
use super::super::{Block, Worker};
use super::lanes_of;
use super::mbarrier::{Asked, Mbarrier, Misuse, Origin};

/// Bytes of an mbarrier, and its alignment.
pub(super) const OBJECT_BYTES: u32 = 8;

impl Worker<'_> {
    pub(super) fn mbarrier_init(
        &mut self,
        block: &mut Block,
        warp: &Warp,
        inst: &Inst,
        lanes: u32,
    ) -> Flow {
        for lane in lanes_of(lanes) {
            let address = object(warp, inst, lane);
            if !self.is_placed(block, warp, lane, address) {
                return Flow::Fail;
            }
            let origin = Origin {
                actor: Self::actor(block, warp, lane as u32),
                epoch: block.epoch,
                stretch: warp.stretch,
                syncs: warp.syncs,
            };
            let barrier = match Mbarrier::new(warp.registers.get32(inst.b)[lane], origin) {
                Ok(barrier) => barrier,
                Err(misuse) => return self.misused(origin.actor, misuse, address),
            };
            let before = block
                .bulk
                .barriers
                .get(&address)
                .map(|before| before.origin.actor);
            if let Some(before) = before {
                let message = "init of an mbarrier that is one already: mbarrier.inval is missing";
                self.object_finding(origin.actor, Some(before), message, address);
            } else if block.shared.is_busy(address, OBJECT_BYTES) {
                let (kind, what, other) = block.bulk.explain(address, OBJECT_BYTES);
                let message = format!("init of an mbarrier in {what}");
                let place = self.shared_place(address, OBJECT_BYTES);
                self.notes.add(kind, origin.actor, other, &message, place);
            }
            // Plain accesses are undefined from now on: they meet bytes that are neither readable nor free.
            block.shared.depart(address, OBJECT_BYTES);
            block.bulk.barriers.insert(address, barrier);
        }
        self.progress += 1;
        Flow::Next
    }

    pub(super) fn mbarrier_inval(
        &mut self,
        block: &mut Block,
        warp: &Warp,
        inst: &Inst,
        lanes: u32,
    ) -> Flow {
        for lane in lanes_of(lanes) {
            let address = object(warp, inst, lane);
            if !self.is_live(block, warp, lane, address) {
                return Flow::Fail;
            }
            if let Some(copy) = block.bulk.copy_bound_for(address) {
                let actor = Self::actor(block, warp, lane as u32);
                let message = "inval of an mbarrier on which a copy is still to be counted";
                self.object_finding(actor, Some(copy), message, address);
            }
            block.bulk.barriers.remove(&address);
            block.shared.take_back(address, OBJECT_BYTES);
        }
        Flow::Next
    }

    pub(super) fn mbarrier_expect(
        &mut self,
        block: &mut Block,
        warp: &Warp,
        inst: &Inst,
        lanes: u32,
    ) -> Flow {
        for lane in lanes_of(lanes) {
            let address = object(warp, inst, lane);
            if !self.is_live(block, warp, lane, address) {
                return Flow::Fail;
            }
            let bytes = warp.registers.get32(inst.b)[lane];
            if let Some(barrier) = block.bulk.barriers.get_mut(&address)
                && let Err(misuse) = barrier.expect(bytes)
            {
                return self.misused(Self::actor(block, warp, lane as u32), misuse, address);
            }
        }
        self.progress += 1;
        Flow::Next
    }

    pub(super) fn mbarrier_arrive(
        &mut self,
        block: &mut Block,
        warp: &mut Warp,
        inst: &Inst,
        arrival: Arrival,
        lanes: u32,
    ) -> Flow {
        let mut tokens = [0; 32];
        let addresses = lanes_of(lanes).map(|lane| (lane, object(warp, inst, lane)));
        let addresses: Vec<(usize, u32)> = addresses.collect();
        for &(lane, address) in &addresses {
            if !self.is_live(block, warp, lane, address) {
                return Flow::Fail;
            }
        }
        if arrival.releases {
            self.arrive_with(block, warp);
            for &(_, address) in &addresses {
                Self::publish(block, warp, address);
            }
        }
        for (lane, address) in addresses {
            let Some(barrier) = block.bulk.barriers.get_mut(&address) else {
                return Flow::Fail;
            };
            let operand = warp.registers.get32(inst.b)[lane];
            tokens[lane] = barrier.token(address);
            let count = if arrival.has_count { operand } else { 1 };
            let expected = if arrival.expects {
                barrier.expect(operand)
            } else {
                Ok(())
            };
            let arrived = expected.and_then(|()| barrier.arrive(count, arrival.may_complete));
            if let Err(misuse) = arrived {
                return self.misused(Self::actor(block, warp, lane as u32), misuse, address);
            }
        }
        if arrival.returns {
            warp.registers.put64(inst.d, &tokens, lanes);
        }
        // A thread that arrives has come on, whether or not the phase is complete.
        self.progress += 1;
        Flow::Next
    }

    /// A wait for the current phase lets the copies land that are bound for the mbarrier; a wait for the phase before does
    /// not, so that waiting for the wrong phase leaves them in flight.
    pub(super) fn mbarrier_wait(
        &mut self,
        block: &mut Block,
        warp: &mut Warp,
        inst: &Inst,
        parity: bool,
        acquires: bool,
        lanes: u32,
    ) -> Flow {
        let mut complete = 0;
        let mut waited = Vec::new();
        for lane in lanes_of(lanes) {
            let address = object(warp, inst, lane);
            if !self.is_live(block, warp, lane, address) {
                return Flow::Fail;
            }
            let asked = if parity {
                Asked::Parity(warp.registers.get32(inst.b)[lane])
            } else {
                Asked::Token(warp.registers.get64(inst.b)[lane])
            };
            let is_complete = |block: &Block| {
                let barrier = block.bulk.barriers.get(&address);
                barrier.map_or(Ok(false), |barrier| barrier.is_complete(asked, address))
            };
            let mut answer = is_complete(block);
            if answer == Ok(false) {
                if !self.land(block, address) {
                    return Flow::Fail;
                }
                answer = is_complete(block);
            }
            match answer {
                Ok(true) => {
                    complete |= 1 << lane;
                    if acquires && !waited.contains(&address) {
                        waited.push(address);
                        self.learn(block, warp, address);
                    }
                }
                Ok(false) => {
                    if let Some(barrier) = block.bulk.barriers.get_mut(&address) {
                        barrier.awaited = true;
                    }
                }
                Err(misuse) => {
                    return self.misused(Self::actor(block, warp, lane as u32), misuse, address);
                }
            }
        }
        Self::set_predicate(warp, inst.p, complete, lanes);
        if complete == lanes {
            Flow::Next
        } else if complete == 0 {
            spin(warp, lanes)
        } else {
            Flow::Yield
        }
    }

    /// Whether an mbarrier can be at `address`.
    fn is_placed(&mut self, block: &Block, warp: &Warp, lane: usize, address: u32) -> bool {
        let end = address.checked_add(OBJECT_BYTES);
        let (kind, message) = if end.is_none_or(|end| end > self.context.shared_bytes) {
            (FindingKind::OutOfBounds, "an mbarrier beyond shared memory")
        } else if !address.is_multiple_of(OBJECT_BYTES) {
            (
                FindingKind::Misaligned,
                "an mbarrier at an address that is no multiple of 8",
            )
        } else {
            return true;
        };
        let actor = Self::actor(block, warp, lane as u32);
        let place = self.shared_place(address, OBJECT_BYTES);
        self.notes.add(kind, actor, None, message, place);
        false
    }

    /// Whether there is an mbarrier at `address`. That its initialisation comes before this use is checked too.
    pub(super) fn is_live(
        &mut self,
        block: &Block,
        warp: &Warp,
        lane: usize,
        address: u32,
    ) -> bool {
        if !self.is_placed(block, warp, lane, address) {
            return false;
        }
        let actor = Self::actor(block, warp, lane as u32);
        let Some(barrier) = block.bulk.barriers.get(&address) else {
            let message = "use of an mbarrier that nobody has initialised";
            self.object_finding(actor, None, message, address);
            return false;
        };
        let origin = barrier.origin;
        let ordered = if origin.epoch != block.epoch {
            true
        } else if origin.actor.warp == warp.index {
            origin.actor.lane == actor.lane
                || (origin.stretch, origin.syncs) < (warp.stretch, warp.syncs)
        } else {
            warp.order[origin.actor.warp as usize] >= origin.stretch
        };
        if !ordered {
            let message =
                "use of an mbarrier without a barrier after its initialisation by another thread";
            let place = self.shared_place(address, OBJECT_BYTES);
            self.notes
                .add(FindingKind::Race, actor, Some(origin.actor), message, place);
        }
        true
    }

    pub(super) fn misused(&mut self, actor: Actor, misuse: Misuse, address: u32) -> Flow {
        self.object_finding(actor, None, &misuse.to_string(), address);
        Flow::Fail
    }

    fn object_finding(&mut self, actor: Actor, other: Option<Actor>, message: &str, address: u32) {
        let place = self.shared_place(address, OBJECT_BYTES);
        self.notes
            .add(FindingKind::InvalidMbarrier, actor, other, message, place);
    }
}

/// Address of a lane's mbarrier in shared memory.
fn object(warp: &Warp, inst: &Inst, lane: usize) -> u32 {
    warp.registers.get32(inst.a)[lane].wrapping_add(inst.imm as u32)
}

/// None of `lanes` may go on. Other lanes of the warp may be those they wait for: they run first, whatever their instruction,
/// and these try again afterwards. Without any, the wait has failed, and it is another warp's turn.
fn spin(warp: &mut Warp, lanes: u32) -> Flow {
    if lanes != warp.current.lanes {
        return Flow::Yield;
    }
    let all_spin = warp.others.is_empty();
    if all_spin {
        warp.others.append(&mut warp.spinning);
    }
    if warp.others.is_empty() {
        return Flow::Yield;
    }
    warp.spinning.push(warp.current);
    warp.current.lanes = 0;
    if all_spin { Flow::Yield } else { Flow::Moved }
}
