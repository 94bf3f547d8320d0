//! Conversions (PTX ISA, cvt) and address conversions (cvta).

use super::{Code, Decoder, Modifiers, Result};
use crate::arith::convert::Conversion;
use crate::program::AccessSpace;
use crate::ptx::ast::Instruction;

impl<'a> Decoder<'a> {
    pub(super) fn convert(
        &mut self,
        instruction: &'a Instruction,
        modifiers: &mut Modifiers<'a>,
    ) -> Result<bool> {
        match instruction.opcode.as_str() {
            "cvt" => self.cvt(instruction, modifiers)?,
            "cvta" => {
                let to_generic = !modifiers.take("to");
                let space = match modifiers.take_any(&[
                    "global",
                    "shared",
                    "shared::cta",
                    "local",
                    "param",
                    "const",
                ]) {
                    Some("global") => AccessSpace::Global,
                    Some("shared" | "shared::cta") => AccessSpace::Shared,
                    Some("local") => AccessSpace::Local,
                    Some("param") => AccessSpace::Param,
                    Some("const") => AccessSpace::Const,
                    _ => return Err(self.error("this state space is not supported")),
                };
                let wide = modifiers.take("u64");
                if !wide {
                    return Err(self.error("addresses are 64 bits"));
                }
                let mut draft = self.blank(if to_generic {
                    Code::CvtaToGeneric(space)
                } else {
                    Code::CvtaFromGeneric(space)
                });
                draft.a = self.source_at(1, true)?;
                draft.d = self.destination_at(0, true)?;
                self.emit(draft);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn cvt(&mut self, instruction: &'a Instruction, modifiers: &mut Modifiers<'a>) -> Result<()> {
        let all = modifiers.take_all();
        let Some(conversion) = Conversion::parse(&all) else {
            return Err(self.error("this conversion is not supported"));
        };
        let to_wide = conversion.to.bytes() == 8;
        let from_wide = conversion.from.bytes() == 8;
        let two = instruction.operands.len() == 3;
        let code = match all.as_slice() {
            ["s64", "s32"] => Code::CvtS64FromS32,
            // 16-bit registers are zero-extended already.
            ["u64" | "s64", "u32" | "u16"] => Code::CvtU64FromU32,
            ["u32" | "s32", "u16"] => Code::Mov32,
            ["u32" | "s32", "u64" | "s64"] => Code::CvtLow32,
            ["u16" | "s16", "u32" | "s32"] => Code::CvtLow16,
            ["rn", "f32", "s32"] => Code::CvtF32FromS32,
            ["rn", "f32", "u32"] => Code::CvtF32FromU32,
            ["rni", "s32", "f32"] => Code::CvtS32FromF32 { nearest: true },
            ["rzi", "s32", "f32"] => Code::CvtS32FromF32 { nearest: false },
            ["rni", "f32", "f32"] => Code::CvtRintF32,
            ["rn", "bf16x2", "f32"] => Code::CvtBf16x2,
            _ => Code::Cvt {
                conversion,
                from_wide,
                to_wide,
            },
        };
        let mut draft = self.blank(code);
        draft.a = self.source_at(1, from_wide)?;
        if two {
            draft.b = self.source_at(2, from_wide)?;
        }
        draft.d = self.destination_at(0, to_wide)?;
        self.emit(draft);
        Ok(())
    }
}
