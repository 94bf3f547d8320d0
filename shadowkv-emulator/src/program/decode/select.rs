//! Moves, comparisons, selections and predicates (PTX ISA, mov, setp, set, selp, logic of predicates).

use super::{Code, Decoder, Modifiers, Result};
use crate::program::{Combine, Compare, CompareType, SetP};
use crate::ptx::ast::{Operand, ScalarType, Space};

use ScalarType::{B16, B32, B64, Bf16, F16, F32, F64, Pred, S16, S32, S64, U16, U32, U64};

impl Decoder<'_> {
    pub(super) fn predicate_logic(&mut self, code: Code) -> Result<()> {
        let mut draft = self.blank(code);
        let (d, _) = self.predicate(self.operand(0)?)?;
        let (a, a_negated) = self.predicate(self.operand(1)?)?;
        draft.p = d;
        draft.q = a;
        let mut flags = i64::from(a_negated);
        if code != Code::NotPred {
            let (b, b_negated) = self.predicate(self.operand(2)?)?;
            draft.listed = b;
            flags |= i64::from(b_negated) << 1;
        }
        draft.imm = flags;
        self.emit(draft);
        Ok(())
    }

    pub(super) fn mov(&mut self, modifiers: &mut Modifiers<'_>) -> Result<()> {
        let Some(ty) = modifiers.take_type() else {
            return Err(self.error("a type is expected"));
        };
        let (d, a) = (self.operand(0)?, self.operand(1)?);
        if ty == Pred {
            let mut draft = self.blank(Code::MovPred);
            draft.p = self.predicate(d)?.0;
            let (source, negated) = self.predicate(a)?;
            draft.q = source;
            draft.imm = i64::from(negated);
            self.emit(draft);
            return Ok(());
        }
        let wide = ty.bytes() == 8;
        if ty.bytes() > 8 {
            return Err(self.error("128-bit moves are not supported"));
        }
        match (d, a) {
            (Operand::Vector(members), _) => {
                let bits = ty.bytes() * 8 / members.len().max(1) as u32;
                if bits < 16 {
                    return Err(self.error("parts of less than 16 bits are not supported"));
                }
                let mut draft = self.blank(Code::Unpack);
                draft.a = self.source(a, wide)?;
                let mut registers = Vec::new();
                for member in members {
                    registers.push(self.destination(member, bits == 64)?);
                }
                (draft.list, draft.listed) = self.list(&registers);
                draft.imm = i64::from(bits);
                // Unpack reads 64 bits or 32.
                draft.q = u16::from(wide);
                self.emit(draft);
            }
            (_, Operand::Vector(members)) => {
                let bits = ty.bytes() * 8 / members.len().max(1) as u32;
                if bits < 16 {
                    return Err(self.error("parts of less than 16 bits are not supported"));
                }
                let mut draft = self.blank(Code::Pack { wide });
                let mut registers = Vec::new();
                for member in members {
                    registers.push(self.source(member, false)?);
                }
                (draft.list, draft.listed) = self.list(&registers);
                draft.imm = i64::from(bits);
                draft.d = self.destination(d, wide)?;
                self.emit(draft);
            }
            (_, Operand::Special(name)) => {
                let Some(special) = super::warp::special(name) else {
                    return Err(self.error(&format!("special register `%{name}` is not supported")));
                };
                let mut draft = self.blank(Code::ReadSpecial(special));
                draft.imm = i64::from(wide);
                draft.d = self.destination(d, wide)?;
                self.emit(draft);
            }
            _ => {
                let mut draft = self.blank(if wide { Code::Mov64 } else { Code::Mov32 });
                draft.a = if ty.bytes() == 2 {
                    self.source_16(1)?
                } else {
                    self.source(a, wide)?
                };
                draft.d = self.destination(d, wide)?;
                self.emit(draft);
            }
        }
        Ok(())
    }

    pub(super) fn compare_type(ty: ScalarType, ftz: bool) -> Option<CompareType> {
        Some(match ty {
            S16 => CompareType::S16,
            U16 | B16 => CompareType::U16,
            S32 => CompareType::S32,
            U32 | B32 => CompareType::U32,
            S64 => CompareType::S64,
            U64 | B64 => CompareType::U64,
            F16 => CompareType::F16,
            Bf16 => CompareType::Bf16,
            F32 if ftz => CompareType::F32Ftz,
            F32 => CompareType::F32,
            F64 => CompareType::F64,
            _ => return None,
        })
    }

    pub(super) fn compare(modifiers: &mut Modifiers<'_>, ty: ScalarType) -> Option<Compare> {
        let name = modifiers.take_any(&[
            "eq", "ne", "lt", "le", "gt", "ge", "lo", "ls", "hi", "hs", "equ", "neu", "ltu", "leu",
            "gtu", "geu", "num", "nan",
        ])?;
        let float = matches!(ty, F16 | Bf16 | F32 | F64);
        Some(match name {
            "eq" => Compare::Eq,
            "ne" => Compare::Ne,
            "lt" => Compare::Lt,
            "le" => Compare::Le,
            "gt" => Compare::Gt,
            "ge" => Compare::Ge,
            "lo" if !float => Compare::Lt,
            "ls" if !float => Compare::Le,
            "hi" if !float => Compare::Gt,
            "hs" if !float => Compare::Ge,
            "equ" if float => Compare::Equ,
            "neu" if float => Compare::Neu,
            "ltu" if float => Compare::Ltu,
            "leu" if float => Compare::Leu,
            "gtu" if float => Compare::Gtu,
            "geu" if float => Compare::Geu,
            "num" if float => Compare::Num,
            "nan" if float => Compare::Nan,
            _ => return None,
        })
    }

    pub(super) fn setp(&mut self, modifiers: &mut Modifiers<'_>) -> Result<()> {
        let ftz = modifiers.take("ftz");
        let combine = modifiers
            .take_any(&["and", "or", "xor"])
            .map(|name| match name {
                "and" => Combine::And,
                "or" => Combine::Or,
                _ => Combine::Xor,
            });
        let ty = modifiers.take_type();
        let Some((ty, compare)) =
            ty.and_then(|ty| Some((Self::compare_type(ty, ftz)?, Self::compare(modifiers, ty)?)))
        else {
            return Err(self.error("this comparison is not supported"));
        };
        let wide = matches!(ty, CompareType::S64 | CompareType::U64 | CompareType::F64);
        let (first, second) = match self.operand(0)? {
            Operand::Pair(first, second) => (first.as_ref(), Some(second.as_ref())),
            single => (single, None),
        };
        let p = self.predicate(first)?.0;
        let q = second.map_or(Ok(0), |second| Ok(self.predicate(second)?.0))?;
        let mut third = 0;
        let combine = match combine {
            None => None,
            Some(combine) => {
                let (predicate, negated) = self.predicate(self.operand(3)?)?;
                third = predicate;
                Some((combine, negated))
            }
        };
        let mut draft = self.blank(Code::SetP(SetP {
            compare,
            ty,
            combine,
        }));
        (draft.p, draft.q, draft.listed) = (p, q, third);
        if matches!(ty, CompareType::S16 | CompareType::U16) {
            draft.a = self.source_16(1)?;
            draft.b = self.source_16(2)?;
        } else {
            draft.a = self.source_at(1, wide)?;
            draft.b = self.source_at(2, wide)?;
        }
        self.emit(draft);
        Ok(())
    }

    pub(super) fn set(&mut self, modifiers: &mut Modifiers<'_>) -> Result<()> {
        let ftz = modifiers.take("ftz");
        let source = modifiers.take_type();
        let result = modifiers.take_type();
        let found = source
            .and_then(|ty| Some((Self::compare_type(ty, ftz)?, Self::compare(modifiers, ty)?)));
        let (Some((ty, compare)), Some(result)) = (found, result) else {
            return Err(self.error("this comparison is not supported"));
        };
        let float = match result {
            F32 => true,
            U32 | S32 => false,
            _ => return Err(self.error("this comparison is not supported")),
        };
        let wide = matches!(ty, CompareType::S64 | CompareType::U64 | CompareType::F64);
        let mut draft = self.blank(Code::Set { compare, ty, float });
        draft.a = self.source_at(1, wide)?;
        draft.b = self.source_at(2, wide)?;
        draft.d = self.destination_at(0, false)?;
        self.emit(draft);
        Ok(())
    }

    pub(super) fn selp(&mut self, modifiers: &mut Modifiers<'_>) -> Result<()> {
        let Some(ty) = modifiers.take_type() else {
            return Err(self.error("a type is expected"));
        };
        let wide = ty.bytes() == 8;
        let mut draft = self.blank(if wide { Code::Sel64 } else { Code::Sel32 });
        if ty.bytes() == 2 {
            draft.a = self.source_16(1)?;
            draft.b = self.source_16(2)?;
        } else {
            draft.a = self.source_at(1, wide)?;
            draft.b = self.source_at(2, wide)?;
        }
        let (predicate, negated) = self.predicate(self.operand(3)?)?;
        draft.q = predicate;
        draft.imm = i64::from(negated);
        draft.d = self.destination_at(0, wide)?;
        self.emit(draft);
        Ok(())
    }

    /// Whether a symbol is in the space of kernel parameters.
    pub(super) fn is_parameter(&self, operand: &Operand) -> Option<u64> {
        let Operand::Address {
            base: crate::ptx::ast::AddressBase::Symbol(symbol),
            offset,
        } = operand
        else {
            return None;
        };
        let (address, space) = self.symbol_address(*symbol);
        (space == Space::Param).then(|| address.wrapping_add_signed(*offset))
    }
}
