//! Arithmetic and logic (PTX ISA, integer, floating point and logic instructions).

#![allow(clippy::enum_glob_use, reason = "a table of the variants' own names")]

use super::{Code, Decoder, Modifiers, Result};
use crate::arith::half::HalfOperation;
use crate::arith::integer::PermuteMode;
use crate::ptx::ast::{Instruction, Operand, ScalarType};

use ScalarType::{
    B16, B32, B64, Bf16, Bf16x2, F16, F16x2, F32, F64, Pred, S16, S32, S64, U16, U32, U64,
};

/// What the operands of an instruction are.
#[derive(Clone, Copy)]
enum Shape {
    /// Destination and sources of one width.
    Same { wide: bool, sources: u8 },
    /// 16-bit ones.
    Same16 { sources: u8 },
    /// 32-bit sources, 64-bit destination (and third source).
    Widening { sources: u8, from_16: bool },
    /// 64-bit source, 32-bit destination.
    Narrowing,
}

impl<'a> Decoder<'a> {
    pub(super) fn alu(
        &mut self,
        instruction: &'a Instruction,
        modifiers: &mut Modifiers<'a>,
    ) -> Result<bool> {
        match instruction.opcode.as_str() {
            "mov" => self.mov(modifiers)?,
            "setp" => self.setp(modifiers)?,
            "set" => self.set(modifiers)?,
            "selp" => self.selp(modifiers)?,
            "slct" => return Ok(false),
            _ => {
                // What is not arithmetic keeps its modifiers.
                let mut left = modifiers.clone();
                let Some((code, shape)) = Self::arithmetic(instruction, &mut left) else {
                    return Ok(false);
                };
                *modifiers = left;
                self.operation(code, shape)?;
            }
        }
        Ok(true)
    }

    fn operation(&mut self, code: Code, shape: Shape) -> Result<()> {
        let (d_wide, wide, c_wide, sources, from_16) = match shape {
            Shape::Same { wide, sources } => (wide, wide, wide, sources, false),
            Shape::Same16 { sources } => (false, false, false, sources, true),
            Shape::Widening { sources, from_16 } => (!from_16, false, !from_16, sources, from_16),
            Shape::Narrowing => (false, true, false, 1, false),
        };
        // Shifts and bit positions are 32 bits whatever the rest is.
        let narrow_b = matches!(
            code,
            Code::Shl64 | Code::ShrU64 | Code::ShrS64 | Code::BfeU64 | Code::BfeS64
        );
        let mut draft = self.blank(code);
        if matches!(
            code,
            Code::AndPred | Code::OrPred | Code::XorPred | Code::NotPred
        ) {
            return self.predicate_logic(code);
        }
        if matches!(code, Code::Bfi32 | Code::Bfi64 | Code::Lop3) {
            let wide = code == Code::Bfi64;
            draft.a = self.source_at(1, wide)?;
            draft.b = self.source_at(2, wide)?;
            draft.c = self.source_at(3, false)?;
            if code == Code::Lop3 {
                let Operand::Integer(table) = self.operand(4)? else {
                    return Err(self.error("the table of lop3 must be a number"));
                };
                draft.imm = *table as i64;
            } else {
                let length = self.source_at(4, false)?;
                (draft.list, draft.listed) = self.list(&[length]);
            }
            draft.d = self.destination_at(0, wide)?;
            self.emit(draft);
            return Ok(());
        }
        let expected = usize::from(sources) + 1;
        if self.operand_count() != expected {
            return Err(self.error(&format!("{expected} operands are expected")));
        }
        let mut fetch = |index: usize, wide: bool| {
            if from_16 && !(index == 3 && matches!(shape, Shape::Widening { .. })) {
                self.source_16(index)
            } else {
                self.source_at(index, wide)
            }
        };
        draft.a = fetch(1, wide)?;
        if sources > 1 {
            draft.b = fetch(2, wide && !narrow_b)?;
        }
        if sources > 2 {
            draft.c = fetch(3, c_wide && !narrow_b)?;
        }
        draft.d = self.destination_at(0, d_wide)?;
        self.emit(draft);
        Ok(())
    }

    #[expect(clippy::too_many_lines, reason = "one table of opcodes")]
    fn arithmetic(
        instruction: &'a Instruction,
        modifiers: &mut Modifiers<'a>,
    ) -> Option<(Code, Shape)> {
        use Code::*;
        let opcode = instruction.opcode.as_str();
        if let Some(found) = Self::half(instruction, modifiers) {
            return Some(found);
        }
        let same = |sources| Shape::Same {
            wide: false,
            sources,
        };
        let wide = |sources| Shape::Same {
            wide: true,
            sources,
        };
        let short = |sources| Shape::Same16 { sources };
        if opcode == "lop3" {
            return modifiers
                .take_type()
                .filter(|ty| *ty == B32)
                .map(|_| (Lop3, same(4)));
        }
        if opcode == "prmt" {
            modifiers.take_type().filter(|ty| *ty == B32)?;
            let mode = modifiers.take_any(&["f4e", "b4e", "rc8", "ecl", "ecr", "rc16"]);
            let mode = match mode {
                Some(name) => PermuteMode::from_name(name)?,
                None => PermuteMode::Default,
            };
            return Some((Prmt(mode), same(3)));
        }
        if opcode == "shf" {
            modifiers.take_type().filter(|ty| *ty == B32)?;
            let left = modifiers.take("l");
            if !left && !modifiers.take("r") {
                return None;
            }
            let clamp = modifiers.take("clamp");
            if !clamp && !modifiers.take("wrap") {
                return None;
            }
            let code = if left {
                FunnelLeft { clamp }
            } else {
                FunnelRight { clamp }
            };
            return Some((code, same(3)));
        }
        if opcode == "dp4a" || opcode == "dp2a" {
            let high = modifiers.take("hi");
            if opcode == "dp2a" && !high && !modifiers.take("lo") {
                return None;
            }
            let all = modifiers.take_all();
            let [a, b] = all.as_slice() else { return None };
            let signed = |ty: &str| match ty {
                "s32" => Some(true),
                "u32" => Some(false),
                _ => None,
            };
            let (a_signed, b_signed) = (signed(a)?, signed(b)?);
            let code = if opcode == "dp4a" {
                Dp4a { a_signed, b_signed }
            } else {
                Dp2a {
                    a_signed,
                    b_signed,
                    high,
                }
            };
            return Some((code, same(3)));
        }
        let ty = modifiers.take_type()?;
        match ty {
            F32 => return Self::single(opcode, modifiers),
            F64 => return Self::double(opcode, modifiers),
            _ => {}
        }
        Some(match (opcode, ty) {
            ("add" | "sub", S32) if modifiers.take("sat") => (
                if opcode == "add" {
                    AddSatS32
                } else {
                    SubSatS32
                },
                same(2),
            ),
            ("add", S32 | U32) => (Add32, same(2)),
            ("sub", S32 | U32) => (Sub32, same(2)),
            ("add", S64 | U64) => (Add64, wide(2)),
            ("sub", S64 | U64) => (Sub64, wide(2)),
            ("add", S16 | U16) => (Add16, short(2)),
            ("sub", S16 | U16) => (Sub16, short(2)),
            ("mul" | "mad", S32 | U32 | S64 | U64 | S16 | U16) => {
                let mad = opcode == "mad";
                let sources = if mad { 3 } else { 2 };
                let part = modifiers.take_any(&["lo", "hi", "wide"])?;
                match (part, ty, mad) {
                    ("lo", S32 | U32, false) => (MulLo32, same(2)),
                    ("lo", S32 | U32, true) => (MadLo32, same(3)),
                    ("hi", S32, false) => (MulHiS32, same(2)),
                    ("hi", U32, false) => (MulHiU32, same(2)),
                    ("hi", S32, true) => (MadHiS32, same(3)),
                    ("hi", U32, true) => (MadHiU32, same(3)),
                    ("lo", S64 | U64, false) => (MulLo64, wide(2)),
                    ("lo", S64 | U64, true) => (MadLo64, wide(3)),
                    ("hi", S64, false) => (MulHiS64, wide(2)),
                    ("hi", U64, false) => (MulHiU64, wide(2)),
                    ("wide", S32, false) => (
                        MulWideS32,
                        Shape::Widening {
                            sources,
                            from_16: false,
                        },
                    ),
                    ("wide", U32, false) => (
                        MulWideU32,
                        Shape::Widening {
                            sources,
                            from_16: false,
                        },
                    ),
                    ("wide", S32, true) => (
                        MadWideS32,
                        Shape::Widening {
                            sources,
                            from_16: false,
                        },
                    ),
                    ("wide", U32, true) => (
                        MadWideU32,
                        Shape::Widening {
                            sources,
                            from_16: false,
                        },
                    ),
                    ("lo", S16 | U16, false) => (MulLo16, short(2)),
                    ("lo", S16 | U16, true) => (MadLo16, short(3)),
                    ("hi", S16, false) => (MulHiS16, short(2)),
                    ("hi", U16, false) => (MulHiU16, short(2)),
                    ("wide", S16, false) => (
                        MulWideS16,
                        Shape::Widening {
                            sources,
                            from_16: true,
                        },
                    ),
                    ("wide", U16, false) => (
                        MulWideU16,
                        Shape::Widening {
                            sources,
                            from_16: true,
                        },
                    ),
                    ("wide", S16, true) => (
                        MadWideS16,
                        Shape::Widening {
                            sources,
                            from_16: true,
                        },
                    ),
                    ("wide", U16, true) => (
                        MadWideU16,
                        Shape::Widening {
                            sources,
                            from_16: true,
                        },
                    ),
                    _ => return None,
                }
            }
            ("mul24", S32) if modifiers.take("lo") => (Mul24LoS, same(2)),
            ("mul24", U32) if modifiers.take("lo") => (Mul24LoU, same(2)),
            ("sad", S32) => (SadS32, same(3)),
            ("sad", U32) => (SadU32, same(3)),
            ("div", S32) => (DivS32, same(2)),
            ("div", U32) => (DivU32, same(2)),
            ("div", S64) => (DivS64, wide(2)),
            ("div", U64) => (DivU64, wide(2)),
            ("div", S16) => (DivS16, short(2)),
            ("div", U16) => (DivU16, short(2)),
            ("rem", S32) => (RemS32, same(2)),
            ("rem", U32) => (RemU32, same(2)),
            ("rem", S64) => (RemS64, wide(2)),
            ("rem", U64) => (RemU64, wide(2)),
            ("rem", S16) => (RemS16, short(2)),
            ("rem", U16) => (RemU16, short(2)),
            ("min", S32) => (MinS32, same(2)),
            ("min", U32) => (MinU32, same(2)),
            ("max", S32) => (MaxS32, same(2)),
            ("max", U32) => (MaxU32, same(2)),
            ("min", S64) => (MinS64, wide(2)),
            ("min", U64) => (MinU64, wide(2)),
            ("max", S64) => (MaxS64, wide(2)),
            ("max", U64) => (MaxU64, wide(2)),
            ("min", S16) => (MinS16, short(2)),
            ("min", U16) => (MinU16, short(2)),
            ("max", S16) => (MaxS16, short(2)),
            ("max", U16) => (MaxU16, short(2)),
            ("neg", S32) => (Neg32, same(1)),
            ("neg", S64) => (Neg64, wide(1)),
            ("neg", S16) => (Neg16, short(1)),
            ("abs", S32) => (Abs32, same(1)),
            ("abs", S64) => (Abs64, wide(1)),
            ("abs", S16) => (Abs16, short(1)),
            ("and", B32) => (And32, same(2)),
            ("or", B32) => (Or32, same(2)),
            ("xor", B32) => (Xor32, same(2)),
            ("not", B32) => (Not32, same(1)),
            ("and", B64) => (And64, wide(2)),
            ("or", B64) => (Or64, wide(2)),
            ("xor", B64) => (Xor64, wide(2)),
            ("not", B64) => (Not64, wide(1)),
            ("and", B16) => (And16, short(2)),
            ("or", B16) => (Or16, short(2)),
            ("xor", B16) => (Xor16, short(2)),
            ("not", B16) => (Not16, short(1)),
            ("and", Pred) => (AndPred, same(2)),
            ("or", Pred) => (OrPred, same(2)),
            ("xor", Pred) => (XorPred, same(2)),
            ("not", Pred) => (NotPred, same(1)),
            ("shl", B32 | U32 | S32) => (Shl32, same(2)),
            ("shl", B64 | U64 | S64) => (Shl64, wide(2)),
            ("shl", B16 | U16 | S16) => (Shl16, short(2)),
            ("shr", B32 | U32) => (ShrU32, same(2)),
            ("shr", S32) => (ShrS32, same(2)),
            ("shr", B64 | U64) => (ShrU64, wide(2)),
            ("shr", S64) => (ShrS64, wide(2)),
            ("shr", B16 | U16) => (ShrU16, short(2)),
            ("shr", S16) => (ShrS16, short(2)),
            ("popc", B32) => (Popc32, same(1)),
            ("popc", B64) => (Popc64, Shape::Narrowing),
            ("clz", B32) => (Clz32, same(1)),
            ("clz", B64) => (Clz64, Shape::Narrowing),
            ("brev", B32) => (Brev32, same(1)),
            ("brev", B64) => (Brev64, wide(1)),
            ("bfi", B32) => (Bfi32, same(4)),
            ("bfi", B64) => (Bfi64, wide(4)),
            ("bfe", U32) => (BfeU32, same(3)),
            ("bfe", S32) => (BfeS32, same(3)),
            ("bfe", U64) => (BfeU64, wide(3)),
            ("bfe", S64) => (BfeS64, wide(3)),
            ("bfind", U32 | B32) => (
                FindU32 {
                    shift: modifiers.take("shiftamt"),
                },
                same(1),
            ),
            ("bfind", S32) => (
                FindS32 {
                    shift: modifiers.take("shiftamt"),
                },
                same(1),
            ),
            _ => return None,
        })
    }

    /// f16, bf16 and their pairs.
    fn half(instruction: &'a Instruction, modifiers: &mut Modifiers<'a>) -> Option<(Code, Shape)> {
        let last = instruction.modifiers.last()?;
        let ty = ScalarType::from_name(last)?;
        let arithmetic = matches!(
            instruction.opcode.as_str(),
            "add" | "sub" | "mul" | "fma" | "neg" | "abs" | "min" | "max" | "ex2" | "tanh"
        );
        if !arithmetic || !matches!(ty, F16 | F16x2 | Bf16 | Bf16x2) {
            return None;
        }
        let all: Vec<&str> = instruction.modifiers.iter().map(String::as_str).collect();
        let operation = HalfOperation::parse(&instruction.opcode, &all)?;
        modifiers.take_all();
        let sources = (instruction.operands.len().saturating_sub(1)) as u8;
        Some((
            Code::Half(operation),
            Shape::Same {
                wide: false,
                sources,
            },
        ))
    }

    fn single(opcode: &str, modifiers: &mut Modifiers<'_>) -> Option<(Code, Shape)> {
        use Code::*;
        let ftz = modifiers.take("ftz");
        let same = |sources| Shape::Same {
            wide: false,
            sources,
        };
        let approx = modifiers.take("approx");
        let full = modifiers.take("full");
        let rn = modifiers.take("rn");
        let sat = modifiers.take("sat");
        if sat {
            let (number, sources) = match opcode {
                "add" => (0, 2),
                "sub" => (1, 2),
                "mul" => (2, 2),
                "fma" | "mad" => (3, 3),
                _ => return None,
            };
            return Some((SatF32(number, ftz), same(sources)));
        }
        if approx {
            return Some((
                match opcode {
                    "div" => DivApproxF32 { ftz },
                    "sqrt" => SqrtApproxF32 { ftz },
                    "rcp" => RcpApproxF32 { ftz },
                    "rsqrt" => RsqrtApproxF32 { ftz },
                    "ex2" => Ex2ApproxF32 { ftz },
                    "lg2" => Lg2ApproxF32 { ftz },
                    "sin" => SinApproxF32 { ftz },
                    "cos" => CosApproxF32 { ftz },
                    "tanh" => TanhApproxF32,
                    _ => return None,
                },
                same(if opcode == "div" { 2 } else { 1 }),
            ));
        }
        Some(match opcode {
            "add" if ftz => (AddF32Ftz, same(2)),
            "add" => (AddF32, same(2)),
            "sub" if ftz => (SubF32Ftz, same(2)),
            "sub" => (SubF32, same(2)),
            "mul" if ftz => (MulF32Ftz, same(2)),
            "mul" => (MulF32, same(2)),
            "fma" | "mad" if ftz => (FmaF32Ftz, same(3)),
            "fma" | "mad" => (FmaF32, same(3)),
            "div" if full => (DivFullF32 { ftz }, same(2)),
            "div" if rn => (DivF32 { ftz }, same(2)),
            "sqrt" if rn => (SqrtF32 { ftz }, same(1)),
            "rcp" if rn => (RcpF32 { ftz }, same(1)),
            "min" => {
                let nan = modifiers.take("NaN");
                (MinF32 { ftz, nan }, same(2))
            }
            "max" => {
                let nan = modifiers.take("NaN");
                (MaxF32 { ftz, nan }, same(2))
            }
            "neg" => (NegF32 { ftz }, same(1)),
            "abs" => (AbsF32 { ftz }, same(1)),
            "copysign" => (CopysignF32, same(2)),
            _ => return None,
        })
    }

    fn double(opcode: &str, modifiers: &mut Modifiers<'_>) -> Option<(Code, Shape)> {
        use Code::*;
        modifiers.take("rn");
        let wide = |sources| Shape::Same {
            wide: true,
            sources,
        };
        Some(match opcode {
            "add" => (AddF64, wide(2)),
            "sub" => (SubF64, wide(2)),
            "mul" => (MulF64, wide(2)),
            "fma" | "mad" => (FmaF64, wide(3)),
            "div" => (DivF64, wide(2)),
            "sqrt" => (SqrtF64, wide(1)),
            "rcp" => (RcpF64, wide(1)),
            "min" => (MinF64, wide(2)),
            "max" => (MaxF64, wide(2)),
            "neg" => (NegF64, wide(1)),
            "abs" => (AbsF64, wide(1)),
            _ => return None,
        })
    }
}
