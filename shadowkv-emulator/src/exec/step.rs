//! The main loop: one instruction after another for the lanes that stand at it.

use crate::finding::FindingKind;
use crate::program::{Code, Inst};

use super::alu::Machine;
use super::notes::Actor;
use super::warp::Warp;
use super::{Block, Stop, Worker};

/// What an instruction asks of the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// The next instruction.
    Next,
    /// The group changed: its instruction is set already.
    Moved,
    /// Another warp's turn, and the next instruction afterwards.
    Yield,
    /// The block has failed.
    Fail,
}

impl Worker<'_> {
    /// Runs a warp until it blocks, or for `turn` instructions.
    pub(super) fn run_warp(&mut self, block: &mut Block, warp: &mut Warp, turn: u64) -> Stop {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2")
            && std::arch::is_x86_feature_detected!("fma")
            && std::arch::is_x86_feature_detected!("bmi1")
            && std::arch::is_x86_feature_detected!("bmi2")
            && std::arch::is_x86_feature_detected!("lzcnt")
            && std::arch::is_x86_feature_detected!("popcnt")
        {
            // SAFETY: the processor has these features.
            return unsafe { self.run_avx2(block, warp, turn) };
        }
        self.run_plain(block, warp, turn)
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
    fn run_avx2(&mut self, block: &mut Block, warp: &mut Warp, turn: u64) -> Stop {
        self.run_lanes(block, warp, turn)
    }

    fn run_plain(&mut self, block: &mut Block, warp: &mut Warp, turn: u64) -> Stop {
        self.run_lanes(block, warp, turn)
    }

    #[inline(always)]
    fn run_lanes(&mut self, block: &mut Block, warp: &mut Warp, turn: u64) -> Stop {
        let program = self.context.program;
        let code = program.code.as_slice();
        let mut left = turn;
        if warp.current.lanes == 0 && !warp.regroup() {
            return Stop::Blocked;
        }
        let mut meeting = warp.next_meeting();
        loop {
            if warp.current.pc >= meeting {
                if !warp.regroup() {
                    return Stop::Blocked;
                }
                meeting = warp.next_meeting();
            }
            let pc = warp.current.pc as usize;
            // The last instruction of every program is an exit.
            let Some(inst) = code.get(pc) else {
                return Stop::Blocked;
            };
            if left == 0 {
                return Stop::Yield;
            }
            left -= 1;
            let lanes = warp.current.lanes & (warp.predicates[usize::from(inst.guard)] ^ inst.flip);
            self.executed += 1;
            let site = &mut self.sites[pc];
            site.warps += 1;
            site.lanes += u64::from(lanes.count_ones());
            if lanes != warp.alive {
                self.divergent += 1;
            }
            if lanes == 0 {
                warp.current.pc += 1;
                continue;
            }
            let mut machine = Machine {
                registers: &mut warp.registers,
                predicates: &mut warp.predicates,
                lists: &program.lists,
                lanes,
            };
            if machine.execute(inst) {
                warp.current.pc += 1;
                continue;
            }
            match self.others(block, warp, inst, lanes) {
                Flow::Next => warp.current.pc += 1,
                Flow::Moved => {
                    if warp.current.lanes == 0 && !warp.regroup() {
                        return Stop::Blocked;
                    }
                    meeting = warp.next_meeting();
                }
                Flow::Yield => {
                    warp.current.pc += 1;
                    return Stop::Yield;
                }
                Flow::Fail => {
                    block.failed = true;
                    return Stop::Failed;
                }
            }
        }
    }

    /// Instructions that more than registers take part in.
    #[inline(always)]
    #[expect(clippy::too_many_lines, reason = "one table of instructions")]
    fn others(&mut self, block: &mut Block, warp: &mut Warp, inst: &Inst, lanes: u32) -> Flow {
        match inst.code {
            Code::Branch => {
                let target = inst.imm as u32;
                let here = warp.current;
                if lanes == here.lanes {
                    warp.current.pc = target;
                } else {
                    warp.others.push(super::warp::Group { pc: target, lanes });
                    warp.current.lanes &= !lanes;
                    warp.current.pc += 1;
                }
                Flow::Moved
            }
            Code::Exit => {
                warp.alive &= !lanes;
                warp.current.lanes &= !lanes;
                warp.current.pc += 1;
                self.progress += 1;
                Flow::Moved
            }
            Code::Load(access) => {
                self.load(block, warp, inst, access, lanes);
                Flow::Next
            }
            Code::Store(access) => {
                self.store(block, warp, inst, access, lanes);
                Flow::Next
            }
            Code::LoadParameter {
                element_bytes,
                signed,
                wide,
            } => {
                self.load_parameter(warp, inst, lanes, element_bytes, signed, wide);
                Flow::Next
            }
            Code::Mma(kind) => {
                if lanes != warp.alive && Self::park(warp, lanes) {
                    return Flow::Moved;
                }
                self.mma(block, warp, inst, kind, lanes);
                Flow::Next
            }
            Code::LdMatrix {
                matrices,
                transposed,
                wide_address,
            } => {
                if lanes != warp.alive && Self::park(warp, lanes) {
                    return Flow::Moved;
                }
                self.load_matrix(block, warp, inst, lanes, matrices, transposed, wide_address);
                Flow::Next
            }
            Code::CpAsync {
                bytes,
                has_size,
                wide_shared,
            } => {
                self.copy_async(block, warp, inst, lanes, bytes, has_size, wide_shared);
                Flow::Next
            }
            Code::CpAsyncCommit => {
                warp.copies.commit(lanes);
                Flow::Next
            }
            Code::CpAsyncWait => {
                Self::copy_wait(block, warp, lanes, Some(inst.imm as usize));
                Flow::Next
            }
            Code::CpAsyncWaitAll => {
                Self::copy_wait(block, warp, lanes, None);
                Flow::Next
            }
            Code::Shuffle { mode } => {
                if lanes != warp.alive && Self::park(warp, lanes) {
                    return Flow::Moved;
                }
                self.shuffle(block, warp, inst, lanes, mode);
                Flow::Next
            }
            Code::ReadSpecial(special) => {
                let values = self.special(special, block, warp);
                if inst.imm == 1 {
                    warp.registers.put64(inst.d, &values, lanes);
                } else {
                    warp.registers
                        .put32(inst.d, &values.map(|value| value as u32), lanes);
                }
                Flow::Next
            }
            Code::Barrier(kind) => self.barrier(block, warp, inst, kind, lanes),
            Code::WarpSync => {
                if lanes != warp.alive && Self::park(warp, lanes) {
                    return Flow::Moved;
                }
                self.warp_sync(block, warp, inst, lanes);
                Flow::Next
            }
            _ => self.rare(block, warp, inst, lanes),
        }
    }

    /// What kernels seldom do.
    fn rare(&mut self, block: &mut Block, warp: &mut Warp, inst: &Inst, lanes: u32) -> Flow {
        let together = matches!(
            inst.code,
            Code::StMatrix { .. }
                | Code::Vote { .. }
                | Code::MatchAny { .. }
                | Code::MatchAll { .. }
                | Code::Redux(_)
                | Code::Elect
        );
        if together && lanes != warp.alive && Self::park(warp, lanes) {
            return Flow::Moved;
        }
        match inst.code {
            Code::StMatrix {
                matrices,
                transposed,
                wide_address,
            } => self.store_matrix(block, warp, inst, lanes, matrices, transposed, wide_address),
            Code::Atomic(atomic) => self.atomic(block, warp, inst, atomic, lanes),
            Code::CvtaToGeneric(space) => Self::to_generic(warp, inst, space, lanes),
            Code::CvtaFromGeneric(space) => Self::from_generic(warp, inst, space, lanes),
            Code::Vote { vote } => self.vote(block, warp, inst, lanes, vote),
            Code::MatchAny { wide } => self.match_any(block, warp, inst, lanes, wide),
            Code::MatchAll { wide } => self.match_all(block, warp, inst, lanes, wide),
            Code::Redux(redux) => self.redux(block, warp, inst, lanes, redux),
            Code::ActiveMask => {
                let mask = warp.current.lanes;
                warp.registers.put32(inst.d, &[mask; 32], lanes);
            }
            Code::Elect => {
                let leader = lanes.trailing_zeros();
                warp.registers.put32(inst.d, &[leader; 32], lanes);
                Self::set_predicate(warp, inst.p, 1 << leader, lanes);
            }
            Code::Fence(order) => Self::fence(warp, order),
            // A cluster is one block: waiting alone is its barrier.
            Code::Nop | Code::ClusterArrive => {}
            Code::Sleep => return Flow::Yield,
            Code::ClusterWait => {
                let kind = crate::program::BarrierKind {
                    waits: true,
                    aligned: true,
                    counted: false,
                    dynamic: false,
                    reduction: None,
                };
                let inst = Inst { imm: 16, ..*inst };
                return self.barrier(block, warp, &inst, kind, lanes);
            }
            Code::Trap => {
                let lane = lanes.trailing_zeros();
                self.notes.add(
                    FindingKind::Trap,
                    Actor {
                        block: block.number,
                        warp: warp.index,
                        lane,
                        pc: Some(warp.current.pc),
                    },
                    None,
                    "the kernel gives up",
                    String::new(),
                );
                return Flow::Fail;
            }
            _ => return self.bulk(block, warp, inst, lanes),
        }
        Flow::Next
    }

    pub(super) fn set_predicate(warp: &mut Warp, number: u16, value: u32, lanes: u32) {
        if number != 0
            && let Some(slot) = warp.predicates.get_mut(usize::from(number))
        {
            *slot = *slot & !lanes | value & lanes;
        }
    }

    /// Who executes lane `lane` of the instruction at hand.
    pub(super) fn actor(block: &Block, warp: &Warp, lane: u32) -> Actor {
        Actor {
            block: block.number,
            warp: warp.index,
            lane,
            pc: Some(warp.current.pc),
        }
    }
}
