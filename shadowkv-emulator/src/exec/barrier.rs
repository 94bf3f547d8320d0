//! Barriers of a block (PTX ISA, bar and barrier) and of a warp (bar.warp.sync).

use crate::finding::FindingKind;
use crate::memory::interval::{Clock, Order, WARPS};
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
    /// How often it has been completed before.
    generation: u32,
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

/// What a warp touched between two barriers of part of the block.
pub(super) struct Stretch {
    pub(super) warp: u32,
    pub(super) number: u32,
    pub(super) touched: Touched,
}

/// Most stretches of a warp that are kept for comparison: with arrivals at mbarriers there may be any number. What older ones
/// touched is forgotten, and something wrong may be missed.
const KEPT: usize = 4;

/// Learns what another knows.
pub(super) fn join_order(order: &mut Order, other: &Order) {
    for (mine, theirs) in order.iter_mut().zip(other) {
        *mine = (*mine).max(*theirs);
    }
}

impl Block {
    /// Forgets stretches but those for which `keep` says so.
    pub(super) fn forget_stretches(&mut self, keep: impl Fn(&Stretch) -> bool) {
        for mut stretch in self.stretches.extract_if(.., |stretch| !keep(stretch)) {
            stretch.touched.clear();
            self.spare.push(stretch.touched);
        }
    }
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
            if Self::park(warp, lanes) {
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
            let predicate = if inst.listed == 1 {
                !predicate
            } else {
                predicate
            };
            barrier.votes += (predicate & lanes).count_ones();
            barrier.asked += lanes.count_ones();
            barrier.results.push((warp.index, lanes, *inst, reduction));
        }
        self.progress += 1;
        let generation = barrier.generation;
        // A counted barrier is complete at once, whoever else may be on the way.
        if wanted.is_some_and(|wanted| barrier.arrived >= wanted) {
            let next = Barrier {
                generation: generation + 1,
                ..Barrier::default()
            };
            let complete = std::mem::replace(barrier, next);
            block.complete.push((number as u8, complete));
        }
        if !kind.waits {
            return Flow::Next;
        }
        warp.waiting.push(Waiting {
            group: Group {
                pc: warp.current.pc + 1,
                lanes,
            },
            barrier: number as u8,
            generation,
        });
        warp.current.lanes &= !lanes;
        warp.current.pc += 1;
        Flow::Moved
    }

    /// Lets the other groups of a warp run first, in the hope that they come here too; `false` if there are none.
    pub(super) fn park(warp: &mut Warp, lanes: u32) -> bool {
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
        warp.syncs += 1;
        warp.interval = 0;
    }

    /// Completes every barrier that all its threads have reached; whether there was any.
    pub(super) fn release_barriers(&mut self, block: &mut Block, warps: &mut [Warp]) -> bool {
        let alive: u32 = warps.iter().map(|warp| warp.alive.count_ones()).sum();
        for (number, barrier) in block.barriers.iter_mut().enumerate() {
            if barrier.arrived > 0 && barrier.wanted.is_none() && barrier.arrived >= alive {
                let next = Barrier {
                    generation: barrier.generation + 1,
                    ..Barrier::default()
                };
                let complete = std::mem::replace(barrier, next);
                block.complete.push((number as u8, complete));
            }
        }
        let complete = std::mem::take(&mut block.complete);
        let any = !complete.is_empty();
        for (number, barrier) in complete {
            self.release(block, warps, number, &barrier);
        }
        any
    }

    fn release(&mut self, block: &mut Block, warps: &mut [Warp], number: u8, barrier: &Barrier) {
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
        let everybody = warps
            .iter()
            .all(|warp| warp.alive == 0 || barrier.warps.contains(&warp.index));
        if everybody {
            self.end_epoch(block, warps);
        } else {
            self.end_partly(block, warps, &barrier.warps);
        }
        for warp in warps.iter_mut() {
            let others = &mut warp.others;
            warp.waiting.retain(|waiting| {
                let here = waiting.barrier == number && waiting.generation == barrier.generation;
                if here {
                    others.push(waiting.group);
                }
                !here
            });
        }
    }

    /// A barrier of the whole block: what was touched before it is compared, and forgotten.
    pub(super) fn end_epoch(&mut self, block: &mut Block, warps: &mut [Warp]) {
        let open: Vec<(u32, &Touched)> = warps
            .iter()
            .map(|warp| (warp.index, &warp.touched))
            .collect();
        self.shared_races(block, &open);
        for warp in warps.iter() {
            self.compare_stretches(block, warp);
        }
        self.order_copies(block, warps, u32::MAX);
        block.forget_stretches(|_| false);
        block.epoch += 1;
        self.view.group = 0;
        for warp in warps.iter_mut() {
            warp.touched.clear();
            warp.interval = 0;
            warp.syncs = 0;
            warp.stretch = 1;
            warp.order = [0; WARPS];
            if !warp.clock.is_empty() {
                block.clock.join(&warp.clock);
                warp.clock = Clock::default();
            }
        }
    }

    /// A barrier of some warps: it orders them among themselves, and nobody else.
    fn end_partly(&mut self, block: &mut Block, warps: &mut [Warp], members: &[u32]) {
        let mask = members.iter().fold(0, |mask, warp| mask | 1 << warp);
        self.order_copies(block, warps, mask);
        let mut order = [0; WARPS];
        let mut clock = Clock::default();
        for warp in warps
            .iter_mut()
            .filter(|warp| members.contains(&warp.index))
        {
            self.end_stretch(block, warp);
            clock.join(&warp.clock);
            join_order(&mut order, &warp.order);
        }
        for warp in warps
            .iter_mut()
            .filter(|warp| members.contains(&warp.index))
        {
            warp.order = order;
            warp.clock = clock.clone();
        }
        block.forget_stretches(|stretch| {
            warps.iter().any(|warp| {
                warp.index != stretch.warp && warp.order[stretch.warp as usize] < stretch.number
            })
        });
    }

    /// Ends a warp's stretch: what it touched is kept for comparison with the warps that are not ordered after it.
    pub(super) fn end_stretch(&mut self, block: &mut Block, warp: &mut Warp) {
        if !warp.touched.is_empty() {
            self.compare_stretches(block, warp);
            let bytes = self.context.shared_bytes as usize;
            let fresh = block.spare.pop().unwrap_or_else(|| Touched::new(bytes));
            block.stretches.push(Stretch {
                warp: warp.index,
                number: warp.stretch,
                touched: std::mem::replace(&mut warp.touched, fresh),
            });
            let mut mine = block
                .stretches
                .iter()
                .rev()
                .filter(|stretch| stretch.warp == warp.index);
            if let Some(last) = mine.nth(KEPT).map(|stretch| stretch.number) {
                block.forget_stretches(|stretch| {
                    stretch.warp != warp.index || stretch.number > last
                });
            }
        }
        warp.order[warp.index as usize] = warp.stretch;
        warp.stretch += 1;
        warp.interval = 0;
    }

    /// Compares what a warp has touched with earlier stretches of others that nothing orders before it.
    fn compare_stretches(&mut self, block: &Block, warp: &Warp) {
        for stretch in &block.stretches {
            if stretch.warp != warp.index && warp.order[stretch.warp as usize] < stretch.number {
                let pair = [
                    (stretch.warp, &stretch.touched),
                    (warp.index, &warp.touched),
                ];
                self.shared_races(block, &pair);
            }
        }
    }

    /// Races between the given warps.
    fn shared_races(&mut self, block: &Block, open: &[(u32, &Touched)]) {
        let touched: Vec<&Touched> = open.iter().map(|(_, touched)| *touched).collect();
        for race in shared::races(&touched) {
            let [a, b] = race.parties.map(|party| Actor {
                block: block.number,
                warp: open.get(party.warp).map_or(0, |(warp, _)| *warp),
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
