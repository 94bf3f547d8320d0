//! What lanes do together (PTX ISA, shfl, vote, match, redux, mma) and the special registers.

use super::{Code, Decoder, Modifiers, Result};
use crate::arith::tensor::MmaKind;
use crate::program::{Redux, Shuffle, Special, Vote};
use crate::ptx::ast::{Instruction, Operand};

/// The special register called `name`, without its percent sign.
pub(super) fn special(name: &str) -> Option<Special> {
    let axis = |suffix: &str| match suffix {
        "x" => Some(0),
        "y" => Some(1),
        "z" => Some(2),
        _ => None,
    };
    if let Some((base, suffix)) = name.split_once('.') {
        let axis = axis(suffix)?;
        return Some(match base {
            "tid" => Special::Tid(axis),
            "ntid" => Special::Ntid(axis),
            "ctaid" | "clusterid" => Special::Ctaid(axis),
            "nctaid" | "nclusterid" => Special::Nctaid(axis),
            "cluster_ctaid" => Special::Zero,
            "cluster_nctaid" => Special::One,
            _ => return None,
        });
    }
    Some(match name {
        "laneid" => Special::LaneId,
        "warpid" => Special::WarpId,
        "nwarpid" => Special::NwarpId,
        "smid" => Special::SmId,
        "nsmid" => Special::NsmId,
        "gridid" => Special::GridId,
        "lanemask_eq" => Special::LanemaskEq,
        "lanemask_lt" => Special::LanemaskLt,
        "lanemask_le" => Special::LanemaskLe,
        "lanemask_gt" => Special::LanemaskGt,
        "lanemask_ge" => Special::LanemaskGe,
        "clock" | "clock_hi" => Special::Clock,
        "clock64" => Special::Clock64,
        "globaltimer" | "globaltimer_lo" | "globaltimer_hi" => Special::GlobalTimer,
        "dynamic_smem_size" => Special::DynamicSharedBytes,
        "total_smem_size" => Special::TotalSharedBytes,
        "cluster_ctarank" => Special::Zero,
        "cluster_nctarank" => Special::One,
        _ => return None,
    })
}

impl<'a> Decoder<'a> {
    pub(super) fn warp(
        &mut self,
        instruction: &'a Instruction,
        modifiers: &mut Modifiers<'a>,
    ) -> Result<bool> {
        match instruction.opcode.as_str() {
            "shfl" => self.shuffle(modifiers)?,
            "vote" => self.vote(modifiers)?,
            "match" => self.match_lanes(modifiers)?,
            "redux" => self.redux(modifiers)?,
            "activemask" => {
                modifiers.take("b32");
                let mut draft = self.blank(Code::ActiveMask);
                draft.d = self.destination_at(0, false)?;
                self.emit(draft);
            }
            "elect" => {
                modifiers.take("sync");
                let mut draft = self.blank(Code::Elect);
                let (d, p) = match self.operand(0)? {
                    Operand::Pair(d, p) => (d.as_ref(), p.as_ref()),
                    _ => return Err(self.error("a register and a predicate are expected")),
                };
                draft.a = self.source_at(1, false)?;
                draft.p = self.predicate(p)?.0;
                draft.d = self.destination(d, false)?;
                self.emit(draft);
            }
            "mma" => self.mma(modifiers)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn shuffle(&mut self, modifiers: &mut Modifiers<'_>) -> Result<()> {
        if !modifiers.take("sync") || !modifiers.take("b32") {
            return Err(self.error("only shfl.sync of 32 bits is supported"));
        }
        let mode = match modifiers.take_any(&["up", "down", "bfly", "idx"]) {
            Some("up") => Shuffle::Up,
            Some("down") => Shuffle::Down,
            Some("bfly") => Shuffle::Butterfly,
            Some("idx") => Shuffle::Index,
            _ => return Err(self.error("the mode is missing")),
        };
        let (d, p) = match self.operand(0)? {
            Operand::Pair(d, p) => (d.as_ref(), Some(p.as_ref())),
            single => (single, None),
        };
        let mut draft = self.blank(Code::Shuffle { mode });
        draft.a = self.source_at(1, false)?;
        draft.b = self.source_at(2, false)?;
        draft.c = self.source_at(3, false)?;
        let members = self.source_at(4, false)?;
        (draft.list, draft.listed) = self.list(&[members]);
        if let Some(p) = p {
            draft.p = self.predicate(p)?.0;
        }
        draft.d = self.destination(d, false)?;
        self.emit(draft);
        Ok(())
    }

    fn vote(&mut self, modifiers: &mut Modifiers<'_>) -> Result<()> {
        if !modifiers.take("sync") {
            return Err(self.error("only vote.sync is supported"));
        }
        let vote = match modifiers.take_any(&["all", "any", "uni", "ballot"]) {
            Some("all") => Vote::All,
            Some("any") => Vote::Any,
            Some("uni") => Vote::Uni,
            Some("ballot") => Vote::Ballot,
            _ => return Err(self.error("the mode is missing")),
        };
        modifiers.take_any(&["pred", "b32"]);
        let mut draft = self.blank(Code::Vote { vote });
        let (source, negated) = self.predicate(self.operand(1)?)?;
        draft.q = source;
        draft.imm = i64::from(negated);
        draft.a = self.source_at(2, false)?;
        if vote == Vote::Ballot {
            draft.d = self.destination_at(0, false)?;
        } else {
            draft.p = self.predicate(self.operand(0)?)?.0;
        }
        self.emit(draft);
        Ok(())
    }

    fn match_lanes(&mut self, modifiers: &mut Modifiers<'_>) -> Result<()> {
        let all = modifiers.take("all");
        modifiers.take("any");
        let wide = modifiers.take("b64");
        if !modifiers.take("sync") || !(wide || modifiers.take("b32")) {
            return Err(self.error("this form is not supported"));
        }
        let mut draft = self.blank(if all {
            Code::MatchAll { wide }
        } else {
            Code::MatchAny { wide }
        });
        let (d, p) = match self.operand(0)? {
            Operand::Pair(d, p) => (d.as_ref(), Some(p.as_ref())),
            single => (single, None),
        };
        draft.a = self.source_at(1, wide)?;
        draft.b = self.source_at(2, false)?;
        if let Some(p) = p {
            draft.p = self.predicate(p)?.0;
        }
        draft.d = self.destination(d, false)?;
        self.emit(draft);
        Ok(())
    }

    fn redux(&mut self, modifiers: &mut Modifiers<'_>) -> Result<()> {
        let sync = modifiers.take("sync");
        let operation = modifiers.take_any(&["add", "min", "max", "and", "or", "xor"]);
        let ty = modifiers.take_any(&["s32", "u32", "b32"]);
        let redux = match (operation, ty) {
            (Some("add"), Some("s32" | "u32")) => Redux::Add,
            (Some("min"), Some("s32")) => Redux::MinS,
            (Some("min"), Some("u32")) => Redux::MinU,
            (Some("max"), Some("s32")) => Redux::MaxS,
            (Some("max"), Some("u32")) => Redux::MaxU,
            (Some("and"), Some("b32")) => Redux::And,
            (Some("or"), Some("b32")) => Redux::Or,
            (Some("xor"), Some("b32")) => Redux::Xor,
            _ => return Err(self.error("this form is not supported")),
        };
        if !sync {
            return Err(self.error("this form is not supported"));
        }
        let mut draft = self.blank(Code::Redux(redux));
        draft.a = self.source_at(1, false)?;
        draft.b = self.source_at(2, false)?;
        draft.d = self.destination_at(0, false)?;
        self.emit(draft);
        Ok(())
    }

    fn mma(&mut self, modifiers: &mut Modifiers<'_>) -> Result<()> {
        let all = modifiers.take_all();
        let Some(kind) = MmaKind::parse(&all) else {
            return Err(self.error("this shape or type is not supported"));
        };
        let counts = [
            kind.d_registers(),
            kind.a_registers(),
            kind.b_registers(),
            kind.c_registers(),
        ];
        let mut registers = Vec::new();
        for (index, &count) in counts.iter().enumerate().skip(1) {
            let members = Self::members(self.operand(index)?);
            if members.len() != count {
                return Err(self.error(&format!("operand {} has {count} registers", index + 1)));
            }
            for member in members {
                registers.push(self.source(member, false)?);
            }
        }
        let members = Self::members(self.operand(0)?);
        if members.len() != counts[0] {
            return Err(self.error(&format!("operand 1 has {} registers", counts[0])));
        }
        for member in members {
            registers.push(self.destination(member, false)?);
        }
        let mut draft = self.blank(Code::Mma(kind));
        (draft.list, draft.listed) = self.list(&registers);
        self.emit(draft);
        Ok(())
    }
}
