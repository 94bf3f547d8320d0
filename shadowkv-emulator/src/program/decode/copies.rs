//! Asynchronous copies of threads (PTX ISA, cp.async).

use super::{Code, Decoder, Modifiers, Result};
use crate::ptx::ast::Operand;

impl Decoder<'_> {
    pub(super) fn copy(&mut self, modifiers: &mut Modifiers<'_>) -> Result<()> {
        if modifiers.take("reduce") || !modifiers.take("async") {
            return Err(self.error("this form is not supported"));
        }
        if modifiers.take("bulk") {
            return self.bulk_copy(modifiers);
        }
        if modifiers.take("commit_group") {
            let draft = self.blank(Code::CpAsyncCommit);
            self.emit(draft);
            return Ok(());
        }
        if modifiers.take("wait_all") {
            let draft = self.blank(Code::CpAsyncWaitAll);
            self.emit(draft);
            return Ok(());
        }
        if modifiers.take("wait_group") {
            let Operand::Integer(groups) = self.operand(0)? else {
                return Err(self.error("a number of groups is expected"));
            };
            let mut draft = self.blank(Code::CpAsyncWait);
            draft.imm = *groups as i64;
            self.emit(draft);
            return Ok(());
        }
        let cached = modifiers.take_any(&["ca", "cg"]);
        let to_shared = modifiers.take("shared") | modifiers.take("shared::cta");
        let from_global = modifiers.take("global");
        let hint = Self::cache_modifiers(modifiers);
        if cached.is_none() || !to_shared || !from_global {
            return Err(self.error("this form is not supported"));
        }
        let Operand::Integer(bytes) = self.operand(2)? else {
            return Err(self.error("the size must be a number"));
        };
        if !matches!((bytes, cached), (4 | 8, Some("ca")) | (16, _)) {
            return Err(self.error("the size must be 4, 8 or 16 bytes, and 16 with .cg"));
        }
        let (shared, shared_offset, wide_shared) = self.address(0)?;
        let (global, global_offset, wide) = self.address(1)?;
        if !wide {
            return Err(self.error("global addresses are 64 bits"));
        }
        let operands = self.operand_count() - usize::from(hint);
        let has_size = operands > 3;
        let mut draft = self.blank(Code::CpAsync {
            bytes: *bytes as u8,
            has_size,
            wide_shared,
        });
        if has_size {
            draft.c = match self.operand(3)? {
                Operand::Register(register) if self.width_of(*register) == 0 => {
                    return Err(self.error("ignore-src predicates are not supported"));
                }
                operand => self.source(operand, false)?,
            };
        }
        draft.a = shared;
        draft.b = global;
        // Both offsets in one number: 32 bits are enough for a shared one.
        draft.imm = global_offset;
        draft.list = shared_offset as u32;
        self.emit(draft);
        Ok(())
    }
}
