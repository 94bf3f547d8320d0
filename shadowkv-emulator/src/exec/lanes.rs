//! What the lanes of a warp do together: shuffles, votes, matches, reductions, products.

use crate::arith::Lanes32;
use crate::arith::tensor::{self, MmaKind};
use crate::finding::FindingKind;
use crate::program::{Inst, Redux, Shuffle, Vote};

use super::warp::Warp;
use super::{Block, Worker};

impl Worker<'_> {
    /// Whether every lane that has not exited, and the warp has 32 of them, executes this instruction.
    #[inline(always)]
    pub(super) fn whole_warp(&mut self, block: &Block, warp: &Warp, lanes: u32) -> bool {
        if lanes == u32::MAX {
            return true;
        }
        self.report_missing(
            block,
            warp,
            lanes,
            !lanes,
            "this instruction needs all 32 lanes of the warp",
        );
        false
    }

    #[cold]
    fn report_missing(
        &mut self,
        block: &Block,
        warp: &Warp,
        lanes: u32,
        missing: u32,
        message: &str,
    ) {
        let actor = Self::actor(block, warp, lanes.trailing_zeros());
        self.notes.add(
            FindingKind::MissingLanes,
            actor,
            None,
            &format!("{message}; lanes {missing:#010x} are missing"),
            String::new(),
        );
    }

    /// Checks the member mask of a `.sync` operation: it must be the same for all that execute it, hold each of them, and all
    /// its members must be there.
    #[inline(always)]
    pub(super) fn members(
        &mut self,
        block: &Block,
        warp: &Warp,
        masks: &Lanes32,
        lanes: u32,
    ) -> u32 {
        let first = masks[lanes.trailing_zeros() as usize & 31];
        let mut same = true;
        for lane in 0..32 {
            same &= masks[lane] == first || lanes >> lane & 1 == 0;
        }
        let wanted = first & warp.alive;
        if !same || wanted != lanes {
            self.report_members(block, warp, masks, lanes);
        }
        first
    }

    #[cold]
    fn report_members(&mut self, block: &Block, warp: &Warp, masks: &Lanes32, lanes: u32) {
        // Lanes may be in groups of their own, each with its own mask, as long as each group is complete.
        let mut left = lanes;
        while left != 0 {
            let lane = left.trailing_zeros();
            let mask = masks[lane as usize];
            let group = (0..32)
                .filter(|&other| left >> other & 1 == 1 && masks[other as usize] == mask)
                .fold(0, |group, other| group | 1 << other);
            left &= !group;
            let missing = mask & warp.alive & !group;
            if missing != 0 {
                self.report_missing(
                    block,
                    warp,
                    group,
                    missing,
                    "the operation waits for members that do not execute it here",
                );
            }
            let strangers = group & !mask;
            if strangers != 0 {
                self.report_missing(
                    block,
                    warp,
                    strangers,
                    strangers,
                    "lanes outside of the member mask execute the operation",
                );
            }
        }
    }

    #[inline(always)]
    pub(super) fn shuffle(
        &mut self,
        block: &Block,
        warp: &mut Warp,
        inst: &Inst,
        lanes: u32,
        mode: Shuffle,
    ) {
        let masks = *warp
            .registers
            .get32(self.context.program.lists[inst.list as usize]);
        self.members(block, warp, &masks, lanes);
        let a = *warp.registers.get32(inst.a);
        let b = *warp.registers.get32(inst.b);
        let c = *warp.registers.get32(inst.c);
        let mut d = a;
        let mut inside = 0_u32;
        let mut absent = 0_u32;
        for lane in 0..32_u32 {
            let at = lane as usize;
            let segment = c[at] >> 8 & 31;
            let clamp = c[at] & 31;
            let highest = (lane & segment) | (clamp & !segment);
            let (source, valid) = match mode {
                Shuffle::Up => {
                    let source = lane.wrapping_sub(b[at] & 31);
                    (source, source as i32 >= highest as i32)
                }
                Shuffle::Down => {
                    let source = lane + (b[at] & 31);
                    (source, source <= highest)
                }
                Shuffle::Butterfly => {
                    let source = lane ^ (b[at] & 31);
                    (source, source <= highest)
                }
                Shuffle::Index => {
                    let lowest = lane & segment;
                    let source = lowest | (b[at] & 31 & !segment);
                    (source, source <= highest)
                }
            };
            let source = if valid { source & 31 } else { lane };
            d[at] = a[source as usize];
            inside |= u32::from(valid) << lane;
            absent |= (!lanes >> source & lanes >> lane & 1) << lane;
        }
        if absent != 0 {
            self.report_missing(
                block,
                warp,
                absent,
                absent,
                "a shuffle reads from a lane that does not execute it",
            );
        }
        warp.registers.put32(inst.d, &d, lanes);
        Self::set_predicate(warp, inst.p, inside, lanes);
    }

    pub(super) fn vote(
        &mut self,
        block: &Block,
        warp: &mut Warp,
        inst: &Inst,
        lanes: u32,
        vote: Vote,
    ) {
        let masks = *warp.registers.get32(inst.a);
        self.members(block, warp, &masks, lanes);
        let predicate = warp.predicates[usize::from(inst.q)];
        let predicate = if inst.imm & 1 == 1 {
            !predicate
        } else {
            predicate
        };
        // Lanes with other masks vote among themselves.
        let mut left = lanes;
        while left != 0 {
            let mask = masks[left.trailing_zeros() as usize];
            let group = (0..32)
                .filter(|&lane| left >> lane & 1 == 1 && masks[lane as usize] == mask)
                .fold(0_u32, |group, lane| group | 1 << lane);
            left &= !group;
            let yes = predicate & group;
            let truth = |value: bool| if value { u32::MAX } else { 0 };
            match vote {
                Vote::Ballot => warp.registers.put32(inst.d, &[yes; 32], group),
                Vote::All => Self::set_predicate(warp, inst.p, truth(yes == group), group),
                Vote::Any => Self::set_predicate(warp, inst.p, truth(yes != 0), group),
                Vote::Uni => {
                    Self::set_predicate(warp, inst.p, truth(yes == 0 || yes == group), group);
                }
            }
        }
    }

    pub(super) fn match_any(
        &mut self,
        block: &Block,
        warp: &mut Warp,
        inst: &Inst,
        lanes: u32,
        wide: bool,
    ) {
        let values = Self::match_values(warp, inst, wide);
        let masks = *warp.registers.get32(inst.b);
        self.members(block, warp, &masks, lanes);
        let mut d = [0; 32];
        for lane in (0..32_usize).filter(|lane| lanes >> lane & 1 == 1) {
            for other in (0..32_usize).filter(|other| lanes >> other & 1 == 1) {
                d[lane] |= u32::from(values[lane] == values[other]) << other;
            }
        }
        warp.registers.put32(inst.d, &d, lanes);
    }

    pub(super) fn match_all(
        &mut self,
        block: &Block,
        warp: &mut Warp,
        inst: &Inst,
        lanes: u32,
        wide: bool,
    ) {
        let values = Self::match_values(warp, inst, wide);
        let masks = *warp.registers.get32(inst.b);
        let mask = self.members(block, warp, &masks, lanes);
        let first = values[lanes.trailing_zeros() as usize & 31];
        let same = (0..32_usize).all(|lane| lanes >> lane & 1 == 0 || values[lane] == first);
        let d = if same { mask & lanes } else { 0 };
        warp.registers.put32(inst.d, &[d; 32], lanes);
        Self::set_predicate(warp, inst.p, if same { u32::MAX } else { 0 }, lanes);
    }

    fn match_values(warp: &Warp, inst: &Inst, wide: bool) -> [u64; 32] {
        if wide {
            *warp.registers.get64(inst.a)
        } else {
            warp.registers.get32(inst.a).map(u64::from)
        }
    }

    pub(super) fn redux(
        &mut self,
        block: &Block,
        warp: &mut Warp,
        inst: &Inst,
        lanes: u32,
        redux: Redux,
    ) {
        let masks = *warp.registers.get32(inst.b);
        self.members(block, warp, &masks, lanes);
        let values = *warp.registers.get32(inst.a);
        let mut members = (0..32_usize)
            .filter(|lane| lanes >> lane & 1 == 1)
            .map(|lane| values[lane]);
        let first = members.next().unwrap_or(0);
        let result = members.fold(first, |sum, value| match redux {
            Redux::Add => sum.wrapping_add(value),
            Redux::MinS => (sum as i32).min(value as i32) as u32,
            Redux::MinU => sum.min(value),
            Redux::MaxS => (sum as i32).max(value as i32) as u32,
            Redux::MaxU => sum.max(value),
            Redux::And => sum & value,
            Redux::Or => sum | value,
            Redux::Xor => sum ^ value,
        });
        warp.registers.put32(inst.d, &[result; 32], lanes);
    }

    #[inline(always)]
    pub(super) fn mma(
        &mut self,
        block: &Block,
        warp: &mut Warp,
        inst: &Inst,
        kind: MmaKind,
        lanes: u32,
    ) {
        if !self.whole_warp(block, warp, lanes) {
            return;
        }
        let list = &self.context.program.lists[inst.list as usize..][..usize::from(inst.listed)];
        let (a_list, rest) = list.split_at(kind.a_registers());
        let (b_list, rest) = rest.split_at(kind.b_registers());
        let (c_list, d_list) = rest.split_at(kind.c_registers());
        let mut a = [[0; 32]; 4];
        let mut b = [[0; 32]; 4];
        let mut c = [[0; 32]; 4];
        let mut d = [[0; 32]; 4];
        let fill = |to: &mut [Lanes32; 4], list: &[u16]| {
            for (lanes, &row) in to.iter_mut().zip(list) {
                *lanes = *warp.registers.get32(row);
            }
        };
        fill(&mut a, a_list);
        fill(&mut b, b_list);
        fill(&mut c, c_list);
        tensor::mma(
            kind,
            self.context.tensor,
            &a[..a_list.len()],
            &b[..b_list.len()],
            &c[..c_list.len()],
            &mut d[..d_list.len()],
        );
        for (values, &row) in d.iter().zip(d_list) {
            warp.registers.put32(row, values, lanes);
        }
        self.sites[warp.current.pc as usize].tensor_operations += kind.flops();
    }
}
