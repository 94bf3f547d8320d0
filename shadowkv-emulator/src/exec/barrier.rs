//! Barriers of a block (PTX ISA, bar and barrier) and of a warp (bar.warp.sync).

use crate::finding::FindingKind;
use crate::program::{BarrierKind, BarrierReduction, Inst};

use super::memory::verb;
use super::notes::Actor;
use super::shared::{self, Touched};
use super::step::Flow;
use super::warp::{Group, Waiting, Warp};
use super::{Block, Worker};

/// A named barrier on its way to completion.
#[derive(Default)]
pub(super) struct Barrier {
    /// Threads that have arrived; warps of an aligned barrier count whole.
    arrived: u32,
    /// Threads it takes, where the instruction says so.
    wanted: Option<u32>,
    /// Warps that have arrived.
    warps: Vec<u32>,
    /// Threads whose predicate was true, and how many were asked.
    votes: u32,
    asked: u32,
    /// Results to be handed out: warp, lanes, instruction.
    results: Vec<(u32, u32, Inst, BarrierReduction)>,
}

impl Worker<'_> {
    pub(super) fn barrier(
        &mut self,
        block: &mut Block,
        warp: &mut Warp,
        inst: &Inst,
        kind: BarrierKind,
        lanes: u32,
    ) -> Flow {
        let lane = lanes.trailing_zeros();
        let actor = Self::actor(block, warp, lane);
        if kind.aligned && lanes != warp.alive {
            if self.park(warp, lanes) {
                return Flow::Moved;
            }
            let missing = warp.alive & !lanes;
            self.notes.add(
                FindingKind::BarrierDivergence,
                actor,
                None,
                &format!("part of the warp does not reach this barrier: lanes {missing:#010x}"),
                String::new(),
            );
            return Flow::Fail;
        }
        let number = if kind.dynamic {
            warp.registers.get32(inst.a)[lane as usize]
        } else {
            inst.imm as u32
        };
        let wanted = kind
            .counted
            .then(|| warp.registers.get32(inst.b)[lane as usize]);
        let Some(barrier) = block.barriers.get_mut(number as usize) else {
            self.notes.add(
                FindingKind::UndefinedOperand,
                actor,
                None,
                &format!("barrier {number}: there are 16"),
                String::new(),
            );
            return Flow::Fail;
        };
        if barrier.arrived > 0 && barrier.wanted != wanted {
            let say = |wanted: Option<u32>| {
                wanted.map_or_else(|| "all".to_owned(), |wanted| wanted.to_string())
            };
            let message = format!(
                "barrier {number} is waited for by {} threads here and by {} elsewhere",
                say(wanted),
                say(barrier.wanted)
            );
            self.notes.add(
                FindingKind::BarrierDivergence,
                actor,
                None,
                &message,
                String::new(),
            );
            return Flow::Fail;
        }
        barrier.wanted = wanted;
        barrier.arrived += if kind.aligned && kind.counted {
            32
        } else {
            lanes.count_ones()
        };
        if !barrier.warps.contains(&warp.index) {
            barrier.warps.push(warp.index);
        }
        if let Some(reduction) = kind.reduction {
            let predicate = warp.predicates[usize::from(inst.q)];
            let predicate = if inst.listed == 1 { !predicate } else { predicate };
            barrier.votes += (predicate & lanes).count_ones();
            barrier.asked += lanes.count_ones();
            barrier.results.push((warp.index, lanes, *inst, reduction));
        }
        self.progress += 1;
        if !kind.waits {
            return Flow::Next;
        }
        warp.waiting.push(Waiting {
            group: Group {
                pc: warp.current.pc + 1,
                lanes,
            },
            barrier: number as u8,
        });
        warp.current.lanes &= !lanes;
        warp.current.pc += 1;
        Flow::Moved
    }

    /// Lets the other groups of a warp run first, in the hope that they come here too; `false` if there are none.
    pub(super) fn park(&mut self, warp: &mut Warp, lanes: u32) -> bool {
        if warp.others.is_empty() && warp.spinning.is_empty() || lanes != warp.current.lanes {
            return false;
        }
        warp.parked.push(warp.current);
        warp.current.lanes = 0;
        true
    }

    pub(super) fn warp_sync(&mut self, block: &Block, warp: &mut Warp, inst: &Inst, lanes: u32) {
        let masks = *warp.registers.get32(inst.a);
        self.members(block, warp, &masks, lanes);
        warp.touched.pass_warp_sync();
        warp.warp_syncs += 1;
        warp.interval = 0;
    }

    /// Completes every barrier that all its threads have reached; whether there was any.
    pub(super) fn release_barriers(&mut self, block: &mut Block, warps: &mut [Warp]) -> bool {
        let mut any = false;
        for number in 0..block.barriers.len() {
            let alive: u32 = warps.iter().map(|warp| warp.alive.count_ones()).sum();
            let barrier = &block.barriers[number];
            if barrier.arrived == 0 {
                continue;
            }
            let wanted = barrier.wanted.unwrap_or(alive);
            if barrier.arrived < wanted {
                continue;
            }
            any = true;
            let barrier = std::mem::take(&mut block.barriers[number]);
            for (index, lanes, inst, reduction) in &barrier.results {
                let Some(warp) = warps.get_mut(*index as usize) else {
                    continue;
                };
                let truth = |value: bool| if value { u32::MAX } else { 0 };
                match reduction {
                    BarrierReduction::Popc => {
                        warp.registers.put32(inst.d, &[barrier.votes; 32], *lanes);
                    }
                    BarrierReduction::And => {
                        let all = truth(barrier.votes == barrier.asked);
                        Self::set_predicate(warp, inst.p, all, *lanes);
                    }
                    BarrierReduction::Or => {
                        Self::set_predicate(warp, inst.p, truth(barrier.votes > 0), *lanes);
                    }
                }
            }
            let running = warps.iter().filter(|warp| warp.alive != 0).count();
            let whole = barrier.warps.len() >= running;
            if whole {
                self.end_epoch(block, warps);
            } else {
                self.end_partly(block, warps, &barrier.warps);
            }
            for warp in warps.iter_mut() {
                let mut released = Vec::new();
                warp.waiting.retain(|waiting| {
                    let here = usize::from(waiting.barrier) == number;
                    if here {
                        released.push(waiting.group);
                    }
                    !here
                });
                warp.others.append(&mut released);
            }
        }
        any
    }

    /// A barrier of the whole block: what was touched before it is compared, and forgotten.
    pub(super) fn end_epoch(&mut self, block: &mut Block, warps: &mut [Warp]) {
        self.shared_races(block, warps, |_| true);
        self.order_copies(block, warps, true, |_| true);
        block.epoch += 1;
        self.view.group = 0;
        for warp in warps.iter_mut() {
            warp.touched.clear();
            warp.interval = 0;
            warp.warp_syncs = 0;
            if !warp.clock.is_empty() {
                block.clock.join(&warp.clock);
                warp.clock = crate::memory::interval::Clock::default();
            }
        }
    }

    /// A barrier of some warps. They are compared with each other alone; towards the rest of the block it counts as a
    /// barrier too, so that nothing is reported that is right, though something wrong may be missed.
    fn end_partly(&mut self, block: &mut Block, warps: &mut [Warp], members: &[u32]) {
        self.shared_races(block, warps, |warp| members.contains(&warp.index));
        self.order_copies(block, warps, false, |warp| members.contains(&warp.index));
        block.epoch += 1;
        self.view.group = 0;
        for warp in warps.iter_mut() {
            warp.interval = 0;
            if members.contains(&warp.index) {
                warp.touched.clear();
                block.clock.join(&warp.clock);
            }
        }
    }

    /// Races between the warps that `among` names.
    fn shared_races(&mut self, block: &Block, warps: &[Warp], among: impl Fn(&Warp) -> bool) {
        let members: Vec<&Warp> = warps.iter().filter(|warp| among(warp)).collect();
        let touched: Vec<&Touched> = members.iter().map(|warp| &warp.touched).collect();
        for race in shared::races(&touched) {
            let [a, b] = race.parties.map(|party| Actor {
                block: block.number,
                warp: members.get(party.warp).map_or(0, |warp| warp.index),
                lane: party.lane,
                pc: party.pc,
            });
            let [first, second] = race.parties.map(|party| verb(party.touch));
            let message =
                format!("{first} and {second} of the same shared memory without a barrier between");
            let place = self.shared_place(race.address, 1);
            self.notes
                .add(FindingKind::Race, a, Some(b), &message, place);
        }
    }

    /// Nobody can go on.
    pub(super) fn deadlock(&mut self, block: &mut Block, warps: &[Warp]) {
        block.failed = true;
        let mut said = Vec::new();
        for (number, barrier) in block.barriers.iter().enumerate() {
            if barrier.arrived > 0 {
                let alive: u32 = warps.iter().map(|warp| warp.alive.count_ones()).sum();
                said.push(format!(
                    "{} of {} threads have arrived at barrier {number}",
                    barrier.arrived,
                    barrier.wanted.unwrap_or(alive)
                ));
            }
        }
        let waiting = warps.iter().find_map(|warp| {
            warp.waiting.first().map(|waiting| Actor {
                block: block.number,
                warp: warp.index,
                lane: waiting.group.lanes.trailing_zeros(),
                pc: Some(waiting.group.pc.saturating_sub(1)),
            })
        });
        let actor = waiting.unwrap_or(Actor {
            block: block.number,
            warp: 0,
            lane: 0,
            pc: None,
        });
        self.notes.add(
            FindingKind::Deadlock,
            actor,
            None,
            &format!("no thread of the block can go on: {}", said.join("; ")),
            String::new(),
        );
    }
}
