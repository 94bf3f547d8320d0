//! Copies of the copy engine and mbarriers (PTX ISA, cp.async.bulk, mbarrier).

use super::{CONSTANT, Code, Decoder, Modifiers, Result};
use crate::memory::PARAM_WINDOW;
use crate::program::{AccessSpace, Arrival, NONE};
use crate::ptx::ast::{AddressBase, Operand, Space};

impl Decoder<'_> {
    pub(super) fn bulk_copy(&mut self, modifiers: &mut Modifiers<'_>) -> Result<()> {
        if modifiers.take("commit_group") {
            let draft = self.blank(Code::BulkCommit);
            self.emit(draft);
            return Ok(());
        }
        if modifiers.take("wait_group") {
            let mut draft = self.blank(Code::BulkWait {
                read_only: modifiers.take("read"),
            });
            let Operand::Integer(groups) = self.operand(0)? else {
                return Err(self.error("a number of groups is expected"));
            };
            draft.imm = *groups as i64;
            self.emit(draft);
            return Ok(());
        }
        if modifiers.take("prefetch") {
            modifiers.take_all();
            let draft = self.blank(Code::Nop);
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
        let (load, rest) = match all.as_slice() {
            ["shared::cluster" | "shared::cta", "global", rest @ ..] => (true, rest),
            ["global", "shared::cta", rest @ ..] => (false, rest),
            _ => return Err(self.error("this form is not supported")),
        };
        let completion = if load {
            "mbarrier::complete_tx::bytes"
        } else {
            "bulk_group"
        };
        let known = |name: &&str| *name == completion || name.starts_with("L2::");
        if !rest.contains(&completion) || !rest.iter().all(known) {
            return Err(self.error("this form is not supported"));
        }
        if dimensions == 0 {
            self.plain_copy(load)
        } else {
            self.tensor_copy(dimensions, load)
        }
    }

    /// `[dst], [src], size, [mbar]` to shared memory, `[dst], [src], size` from it.
    fn plain_copy(&mut self, load: bool) -> Result<()> {
        let (shared_at, global_at) = if load { (0, 1) } else { (1, 0) };
        let shared = self.shared_sum(shared_at, AccessSpace::Shared)?;
        let (global, offset, wide) = self.address(global_at)?;
        if !wide {
            return Err(self.error("global addresses are 64 bits"));
        }
        let mut draft = self.blank(if load {
            Code::BulkLoad
        } else {
            Code::BulkStore
        });
        draft.c = self.source_at(2, false)?;
        let mut registers = Vec::new();
        if load {
            registers.push(self.shared_sum(3, AccessSpace::Shared)?);
        }
        (draft.a, draft.b) = if load {
            (shared, global)
        } else {
            (global, shared)
        };
        draft.imm = offset;
        (draft.list, draft.listed) = self.list(&registers);
        self.emit(draft);
        Ok(())
    }

    /// `[dst], [map, {coordinates}], [mbar]` to shared memory, `[map, {coordinates}], [src]` from it.
    fn tensor_copy(&mut self, dimensions: u8, load: bool) -> Result<()> {
        let (tensor_at, shared_at) = if load { (1, 0) } else { (0, 1) };
        let shared = self.shared_sum(shared_at, AccessSpace::Shared)?;
        let Operand::TensorAddress { base, coordinates } = self.operand(tensor_at)? else {
            return Err(self.error("a tensor map and coordinates are expected"));
        };
        let (map, mut offset, wide) = self.address_base(base, 0)?;
        if !wide {
            return Err(self.error("the address of a tensor map is 64 bits"));
        }
        if let AddressBase::Symbol(symbol) = base {
            match self.symbol_address(*symbol).1 {
                Space::Param => offset = offset.wrapping_add(PARAM_WINDOW as i64),
                Space::Global | Space::Const => {}
                _ => return Err(self.error("a tensor map is a parameter or in global memory")),
            }
        }
        if coordinates.len() != usize::from(dimensions) {
            return Err(self.error(&format!("{dimensions} coordinates are expected")));
        }
        let mut registers = Vec::new();
        for coordinate in coordinates {
            registers.push(self.source(coordinate, false)?);
        }
        if load {
            registers.push(self.shared_sum(2, AccessSpace::Shared)?);
        }
        let mut draft = self.blank(if load {
            Code::TensorLoad { dimensions }
        } else {
            Code::TensorStore { dimensions }
        });
        draft.a = shared;
        draft.b = map;
        draft.imm = offset;
        (draft.list, draft.listed) = self.list(&registers);
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
        // Clusters are single blocks: their order is that of the block.
        let order = modifiers.take_any(&["acquire", "release", "relaxed"]);
        let ordered = order != Some("relaxed");
        modifiers.take_any(&["cta", "cluster"]);
        let space = Self::space(modifiers);
        if !matches!(space, AccessSpace::Shared | AccessSpace::Generic) || !modifiers.take("b64") {
            return Err(self.error("this form is not supported"));
        }
        match operation {
            Some("init" | "inval" | "expect_tx") => {
                let (base, offset) = self.shared_address(0, space)?;
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
                let has_operand = self.operand_count() > 2;
                if expect && !has_operand {
                    return Err(self.error("a number of bytes is expected"));
                }
                let returns = matches!(self.operand(0)?, Operand::Register(_));
                let (base, offset) = self.shared_address(1, space)?;
                let mut draft = self.blank(Code::MbarrierArrive(Arrival {
                    has_count: has_operand && !expect,
                    expects: expect,
                    returns,
                    may_complete: !modifiers.take("noComplete"),
                    releases: ordered,
                }));
                draft.a = base;
                draft.imm = offset;
                if has_operand {
                    draft.b = self.source_at(2, false)?;
                }
                if returns {
                    draft.d = self.destination_at(0, true)?;
                }
                self.emit(draft);
            }
            Some("try_wait" | "test_wait") => {
                let (base, offset) = self.shared_address(1, space)?;
                let mut draft = self.blank(Code::MbarrierWait {
                    parity,
                    acquires: ordered,
                });
                draft.a = base;
                draft.imm = offset;
                // A time limit may follow: a wait that fails returns at once in any case.
                draft.b = self.source_at(2, !parity)?;
                draft.p = self.predicate(self.operand(0)?)?.0;
                self.emit(draft);
            }
            _ => return Err(self.error("this form is not supported")),
        }
        Ok(())
    }

    /// Register of 32 bits and offset of an address in shared memory, whatever the form it is written in.
    fn shared_address(&mut self, index: usize, space: AccessSpace) -> Result<(u32, i64)> {
        if let Operand::Address {
            base: AddressBase::Symbol(symbol),
            offset,
        } = self.operand(index)?
        {
            let (address, of) = self.symbol_address(*symbol);
            if of != Space::Shared {
                return Err(self.error("a variable in shared memory is expected"));
            }
            let address = address.wrapping_add_signed(*offset);
            return Ok((self.constant(address, false), 0));
        }
        let (base, offset, wide) = self.address(index)?;
        if !wide {
            return Ok((base, offset));
        }
        // What does not fit 32 bits is beyond shared memory in any case: it stays so.
        let offsets = if space == AccessSpace::Generic {
            self.derived(Code::CvtaFromGeneric(AccessSpace::Shared), base, None, true)
        } else {
            base
        };
        let most = self.constant(u64::from(u32::MAX), true);
        let low = self.derived(Code::MinU64, offsets, Some(most), true);
        let narrow = self.derived(Code::CvtLow32, low, None, false);
        Ok((narrow, offset))
    }

    /// An address in shared memory as one register.
    fn shared_sum(&mut self, index: usize, space: AccessSpace) -> Result<u32> {
        let (base, offset) = self.shared_address(index, space)?;
        if offset == 0 {
            return Ok(base);
        }
        let offset = self.constant(offset as u64, false);
        Ok(self.derived(Code::Add32, base, Some(offset), false))
    }

    /// A register computed from others before the instruction at hand, of 64 bits if `wide`.
    fn derived(&mut self, code: Code, a: u32, b: Option<u32>, wide: bool) -> u32 {
        let register = self.temporary(if wide { 2 } else { 1 });
        let reads = std::mem::take(&mut self.reads);
        let writes = std::mem::replace(&mut self.writes, vec![register]);
        let guard = std::mem::take(&mut self.guard);
        self.reads = [Some(a), b]
            .into_iter()
            .flatten()
            .filter(|source| source & CONSTANT == 0)
            .collect();
        let mut draft = self.blank(code);
        draft.d = register;
        draft.a = a;
        draft.b = b.unwrap_or(NONE);
        self.emit(draft);
        self.reads = reads;
        self.writes = writes;
        self.guard = guard;
        self.reads.push(register);
        register
    }
}
