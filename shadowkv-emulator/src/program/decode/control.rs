//! Control flow and barriers (PTX ISA, control flow, parallel synchronisation).

use super::{Code, Decoder, Modifiers, Result};
use crate::program::allocate::Successors;
use crate::program::{BarrierKind, BarrierReduction};
use crate::ptx::ast::{Instruction, Operand};

impl<'a> Decoder<'a> {
    pub(super) fn control(
        &mut self,
        instruction: &'a Instruction,
        modifiers: &mut Modifiers<'a>,
    ) -> Result<bool> {
        match instruction.opcode.as_str() {
            "bra" => {
                modifiers.take("uni");
                let Operand::Label(label) = self.operand(0)? else {
                    return Err(self.error("a label is expected"));
                };
                let mut draft = self.blank(Code::Branch);
                // The label for now; an instruction when all are known.
                draft.imm = i64::from(label.0);
                self.emit(draft);
            }
            "ret" | "exit" => {
                modifiers.take("uni");
                let draft = self.blank(Code::Exit);
                let successors = if draft.guard == 0 {
                    Successors::Exit
                } else {
                    Successors::Next
                };
                self.emit_as(draft, successors);
            }
            "trap" | "brkpt" => {
                let draft = self.blank(Code::Trap);
                self.emit(draft);
            }
            "nanosleep" => {
                modifiers.take("u32");
                let draft = self.blank(Code::Sleep);
                self.emit(draft);
            }
            "bar" | "barrier" => self.barrier(instruction.opcode == "bar", modifiers)?,
            "griddepcontrol" => {
                modifiers.take_all();
                let draft = self.blank(Code::Nop);
                self.emit(draft);
            }
            "pmevent" => {
                let draft = self.blank(Code::Nop);
                self.emit(draft);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn barrier(&mut self, short: bool, modifiers: &mut Modifiers<'_>) -> Result<()> {
        if modifiers.take("warp") {
            if !modifiers.take("sync") {
                return Err(self.error("this form is not supported"));
            }
            let mut draft = self.blank(Code::WarpSync);
            draft.a = self.source_at(0, false)?;
            self.emit(draft);
            return Ok(());
        }
        if modifiers.take("cluster") {
            let arrive = modifiers.take("arrive");
            let wait = modifiers.take("wait");
            for name in ["release", "relaxed", "acquire", "aligned"] {
                modifiers.take(name);
            }
            let code = match (arrive, wait) {
                (true, false) => Code::ClusterArrive,
                (false, true) => Code::ClusterWait,
                _ => return Err(self.error("this form is not supported")),
            };
            let draft = self.blank(code);
            self.emit(draft);
            return Ok(());
        }
        modifiers.take("cta");
        let aligned = modifiers.take("aligned") || short;
        let form = modifiers.take_any(&["sync", "arrive", "red"]);
        let reduction = match (form, modifiers.take_any(&["popc", "and", "or"])) {
            (Some("red"), Some("popc")) => Some(BarrierReduction::Popc),
            (Some("red"), Some("and")) => Some(BarrierReduction::And),
            (Some("red"), Some("or")) => Some(BarrierReduction::Or),
            (Some("sync" | "arrive"), None) => None,
            _ => return Err(self.error("this form is not supported")),
        };
        modifiers.take_any(&["u32", "pred"]);
        let first = usize::from(reduction.is_some());
        let last = self.operand_count() - usize::from(reduction.is_some());
        let counted = last > first + 1;
        let dynamic = !matches!(self.operand(first)?, Operand::Integer(_));
        let mut draft = self.blank(Code::Barrier(BarrierKind {
            waits: form != Some("arrive"),
            aligned,
            counted,
            dynamic,
            reduction,
        }));
        match self.operand(first)? {
            Operand::Integer(number) if *number < 16 => draft.imm = *number as i64,
            Operand::Integer(_) => return Err(self.error("barriers are numbered 0 to 15")),
            operand => draft.a = self.source(operand, false)?,
        }
        if counted {
            draft.b = self.source_at(first + 1, false)?;
        }
        match reduction {
            None => {}
            Some(kind) => {
                let (source, negated) = self.predicate(self.operand(last)?)?;
                draft.q = source;
                draft.listed = u16::from(negated);
                if kind == BarrierReduction::Popc {
                    draft.d = self.destination_at(0, false)?;
                } else {
                    draft.p = self.predicate(self.operand(0)?)?.0;
                }
            }
        }
        self.emit(draft);
        Ok(())
    }
}
