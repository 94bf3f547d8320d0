//! Asynchronous copies and their barriers (PTX ISA, cp.async, cp.async.bulk, mbarrier).

use super::{Code, Decoder, Modifiers, Result};
use crate::program::AccessSpace;
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

    pub(super) fn bulk_copy(&mut self, modifiers: &mut Modifiers<'_>) -> Result<()> {
        if modifiers.take("commit_group") {
            let draft = self.blank(Code::BulkCommit);
            self.emit(draft);
            return Ok(());
        }
        if modifiers.take("wait_group") {
            modifiers.take("read");
            let Operand::Integer(groups) = self.operand(0)? else {
                return Err(self.error("a number of groups is expected"));
            };
            let mut draft = self.blank(Code::BulkWait);
            draft.imm = *groups as i64;
            self.emit(draft);
            return Ok(());
        }
        let dimensions = if modifiers.take("tensor") {
            modifiers.take("tile");
            match modifiers.take_any(&["1d", "2d", "3d", "4d", "5d"]) {
                Some("1d") => 1,
                Some("2d") => 2,
                Some("3d") => 3,
                Some("4d") => 4,
                Some("5d") => 5,
                _ => return Err(self.error("the number of dimensions is missing")),
            }
        } else {
            0
        };
        let all = modifiers.take_all();
        let load = matches!(all.first(), Some(&("shared::cluster" | "shared::cta")))
            && all.get(1) == Some(&"global");
        let store = all.first() == Some(&"global") && all.get(1) == Some(&"shared::cta");
        let known = |name: &&str| {
            matches!(
                *name,
                "shared::cluster"
                    | "shared::cta"
                    | "global"
                    | "mbarrier::complete_tx::bytes"
                    | "bulk_group"
                    | "tile"
            ) || name.starts_with("L2::")
        };
        if !(load || store) || !all.iter().all(known) || all.contains(&"multicast::cluster") {
            return Err(self.error("this form is not supported"));
        }
        if dimensions == 0 {
            // cp.async.bulk.shared.global [dst], [src], size, [mbar]; .global.shared [dst], [src], size.
            let (to, to_offset, _) = self.address(0)?;
            let (from, from_offset, _) = self.address(1)?;
            let size = self.source_at(2, false)?;
            let mut draft = self.blank(if load {
                Code::BulkLoad
            } else {
                Code::BulkStore
            });
            let mut registers = Vec::new();
            if load {
                let (barrier, barrier_offset, wide) = self.address(3)?;
                if wide {
                    return Err(self.error("a shared address of 32 bits is expected"));
                }
                if barrier_offset != 0 || to_offset != 0 {
                    return Err(self.error("offsets are not supported here"));
                }
                registers.push(barrier);
            } else if from_offset != 0 {
                return Err(self.error("offsets are not supported here"));
            }
            draft.a = to;
            draft.b = from;
            draft.c = size;
            draft.imm = if load { from_offset } else { to_offset };
            (draft.list, draft.listed) = self.list(&registers);
            self.communicates = true;
            self.emit(draft);
            return Ok(());
        }
        let (tensor_at, shared_at) = if load { (1, 0) } else { (0, 1) };
        let (shared, shared_offset, wide) = self.address(shared_at)?;
        if wide || shared_offset != 0 {
            return Err(self.error("a shared address of 32 bits without offset is expected"));
        }
        let Operand::TensorAddress { base, coordinates } = self.operand(tensor_at)? else {
            return Err(self.error("a tensor map and coordinates are expected"));
        };
        let (map, map_offset, _) = self.address_base(base, 0)?;
        if coordinates.len() != usize::from(dimensions) {
            return Err(self.error(&format!("{dimensions} coordinates are expected")));
        }
        let mut registers = Vec::new();
        for coordinate in coordinates {
            registers.push(self.source(coordinate, false)?);
        }
        if load {
            let (barrier, offset, wide) = self.address(2)?;
            if wide || offset != 0 {
                return Err(self.error("a shared address of 32 bits without offset is expected"));
            }
            registers.push(barrier);
        }
        let mut draft = self.blank(if load {
            Code::TensorLoad { dimensions }
        } else {
            Code::TensorStore { dimensions }
        });
        draft.a = shared;
        draft.b = map;
        draft.imm = map_offset;
        (draft.list, draft.listed) = self.list(&registers);
        // The copy engine writes behind the blocks' backs: one worker keeps one view of memory.
        self.communicates = true;
        self.emit(draft);
        Ok(())
    }

    pub(super) fn mbarrier(&mut self, modifiers: &mut Modifiers<'_>) -> Result<()> {
        let operation = modifiers.take_any(&[
            "init",
            "inval",
            "arrive",
            "expect_tx",
            "try_wait",
            "test_wait",
        ]);
        let expect = operation == Some("arrive") && modifiers.take("expect_tx");
        let parity = modifiers.take("parity");
        self.order(modifiers, true);
        let space = Self::space(modifiers);
        if !matches!(space, AccessSpace::Shared | AccessSpace::Generic) || !modifiers.take("b64") {
            return Err(self.error("this form is not supported"));
        }
        modifiers.take("noComplete");
        match operation {
            Some("init" | "inval" | "expect_tx") => {
                let (base, offset, _) = self.address(0)?;
                let mut draft = self.blank(match operation {
                    Some("init") => Code::MbarrierInit,
                    Some("inval") => Code::MbarrierInval,
                    _ => Code::MbarrierExpect,
                });
                draft.a = base;
                draft.imm = offset;
                if operation != Some("inval") {
                    draft.b = self.source_at(1, false)?;
                }
                self.emit(draft);
            }
            Some("arrive") => {
                let has_count = self.operand_count() > 2;
                let returns = matches!(self.operand(0)?, Operand::Register(_));
                let (base, offset, _) = self.address(1)?;
                let mut draft = self.blank(Code::MbarrierArrive {
                    has_count: has_count && !expect,
                    expect,
                    returns,
                });
                draft.a = base;
                draft.imm = offset;
                if has_count {
                    draft.b = self.source_at(2, false)?;
                }
                if returns {
                    draft.d = self.destination_at(0, true)?;
                }
                self.emit(draft);
            }
            Some("try_wait" | "test_wait") => {
                let (base, offset, _) = self.address(1)?;
                let mut draft = self.blank(Code::MbarrierWait {
                    parity,
                    blocking: operation == Some("try_wait"),
                });
                draft.a = base;
                draft.imm = offset;
                draft.b = self.source_at(2, !parity)?;
                draft.p = self.predicate(self.operand(0)?)?.0;
                self.emit(draft);
            }
            _ => return Err(self.error("this form is not supported")),
        }
        Ok(())
    }
}
