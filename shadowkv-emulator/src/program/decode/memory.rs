//! Loads, stores, atomics and copies (PTX ISA, data movement instructions, asynchronous copies).

use super::{CONSTANT, Code, Decoder, Modifiers, Result};
use crate::memory::PARAM_WINDOW;
use crate::program::{
    Access, AccessSpace, Atomic, AtomicOperation, AtomicType, NONE, Order,
};
use crate::ptx::ast::{AddressBase, Instruction, Operand, ScalarType, Space};

impl<'a> Decoder<'a> {
    pub(super) fn memory(
        &mut self,
        instruction: &'a Instruction,
        modifiers: &mut Modifiers<'a>,
    ) -> Result<bool> {
        match instruction.opcode.as_str() {
            "ld" | "ldu" => self.load(modifiers)?,
            "st" => self.store(modifiers)?,
            "atom" => self.atomic(modifiers, true)?,
            "red" => self.atomic(modifiers, false)?,
            "cp" => self.copy(modifiers)?,
            "ldmatrix" => self.matrix(modifiers, true)?,
            "stmatrix" => self.matrix(modifiers, false)?,
            "mbarrier" => self.mbarrier(modifiers)?,
            "createpolicy" => {
                // A cache policy changes no value: the register holds something, that is all.
                modifiers.take_all();
                let mut draft = self.blank(Code::Mov64);
                draft.a = self.constant(0, true);
                draft.d = self.destination_at(0, true)?;
                self.emit(draft);
            }
            "prefetch" | "prefetchu" | "discard" | "applypriority" => {
                modifiers.take_all();
                let draft = self.blank(Code::Nop);
                self.emit(draft);
            }
            "fence" | "membar" => {
                let all = modifiers.take_all();
                let order = Self::fence_order(&all);
                if order != Order::Weak {
                    self.communicates = true;
                }
                let mut draft = self.blank(Code::Fence(order));
                draft.listed = u16::from(Self::fences_copies(&all));
                self.emit(draft);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// What a fence orders between blocks; `Weak` for the narrower ones, whose effect the barriers already have.
    fn fence_order(all: &[&str]) -> Order {
        let has = |name: &str| all.contains(&name);
        let block_only = has("cta") || has("proxy") || has("mbarrier_init");
        if block_only {
            return Order::Weak;
        }
        if has("acquire") {
            Order::Acquire
        } else if has("release") {
            Order::Release
        } else {
            Order::AcqRel
        }
    }

    /// Whether a fence shows the copy engine what was written to shared memory before.
    fn fences_copies(all: &[&str]) -> bool {
        matches!(all, ["proxy", "async"] | ["proxy", "async", "shared::cta" | "shared::cluster"])
    }

    fn space(modifiers: &mut Modifiers<'_>) -> AccessSpace {
        match modifiers.take_any(&[
            "global",
            "shared",
            "shared::cta",
            "shared::cluster",
            "local",
            "param",
            "param::entry",
            "const",
        ]) {
            Some("global") => AccessSpace::Global,
            Some("shared" | "shared::cta" | "shared::cluster") => AccessSpace::Shared,
            Some("local") => AccessSpace::Local,
            Some("param" | "param::entry") => AccessSpace::Param,
            Some("const") => AccessSpace::Const,
            _ => AccessSpace::Generic,
        }
    }

    /// The space a generic access must be in because of the symbol it names.
    fn refine(&self, space: AccessSpace, operand: &Operand) -> AccessSpace {
        let Operand::Address {
            base: AddressBase::Symbol(symbol),
            ..
        } = operand
        else {
            return space;
        };
        if space != AccessSpace::Generic {
            return space;
        }
        match self.symbol_address(*symbol).1 {
            Space::Global => AccessSpace::Global,
            Space::Const => AccessSpace::Const,
            Space::Shared => AccessSpace::Shared,
            Space::Local => AccessSpace::Local,
            Space::Param => AccessSpace::Param,
        }
    }

    fn order(&mut self, modifiers: &mut Modifiers<'_>, load: bool) -> Order {
        let found = modifiers.take_any(&["weak", "relaxed", "acquire", "release", "acq_rel", "volatile", "mmio"]);
        let scope = modifiers.take_any(&["cta", "cluster", "gpu", "sys"]);
        let order = match found {
            None | Some("weak") => Order::Weak,
            Some("acquire") if load => Order::Acquire,
            Some("release") if !load => Order::Release,
            Some("acq_rel") => Order::AcqRel,
            Some("acquire") => Order::Acquire,
            Some("release") => Order::Release,
            _ => Order::Relaxed,
        };
        // Within a block its own barriers and the interleaving of warps are enough.
        let block_only = scope == Some("cta");
        if order != Order::Weak && !block_only {
            self.communicates = true;
        }
        order
    }

    fn cache_modifiers(modifiers: &mut Modifiers<'_>) -> bool {
        for name in ["ca", "cg", "cs", "lu", "cv", "wb", "wt", "nc", "unified"] {
            modifiers.take(name);
        }
        modifiers.take_prefixed("L1::");
        let hint = modifiers.take("L2::cache_hint");
        modifiers.take_prefixed("L2::");
        modifiers.take_prefixed("level::");
        hint
    }

    fn vector(modifiers: &mut Modifiers<'_>) -> u8 {
        match modifiers.take_any(&["v2", "v4", "v8"]) {
            Some("v2") => 2,
            Some("v4") => 4,
            Some("v8") => 8,
            _ => 1,
        }
    }

    fn load(&mut self, modifiers: &mut Modifiers<'_>) -> Result<()> {
        let order = self.order(modifiers, true);
        let space = Self::space(modifiers);
        let space = self.refine(space, self.operand(1)?);
        Self::cache_modifiers(modifiers);
        let elements = Self::vector(modifiers);
        let Some(ty) = modifiers.take_type().filter(|ty| ty.bytes() <= 8 && *ty != ScalarType::Pred) else {
            return Err(self.error("a type of at most 64 bits is expected"));
        };
        let members = Self::members(self.operand(0)?);
        if members.len() != usize::from(elements) {
            return Err(self.error(&format!("{elements} destinations are expected")));
        }
        // A register may be wider than the element.
        let wide = members.iter().any(|member| matches!(member, Operand::Register(register) if self.width_of(*register) == 2))
            || ty.bytes() == 8;
        if space == AccessSpace::Param
            && elements == 1
            && let Some(offset) = self.is_parameter(self.operand(1)?)
        {
            let bytes = ty.bytes() as u8;
            self.parameter_range(offset, u64::from(bytes))?;
            let mut draft = self.blank(Code::LoadParameter {
                element_bytes: bytes,
                signed: ty.is_signed(),
                wide,
            });
            draft.imm = offset as i64;
            draft.d = self.destination(&members[0], wide)?;
            self.emit(draft);
            return Ok(());
        }
        let (base, offset, wide_address) = self.address(1)?;
        let mut registers = Vec::new();
        for member in members {
            registers.push(self.destination(member, wide)?);
        }
        let mut draft = self.blank(Code::Load(Access {
            space,
            element_bytes: ty.bytes() as u8,
            elements,
            signed: ty.is_signed(),
            wide,
            wide_address,
            order,
        }));
        draft.a = base;
        draft.imm = offset;
        draft.d = registers[0];
        (draft.list, draft.listed) = self.list(&registers);
        self.emit(draft);
        Ok(())
    }

    fn parameter_range(&self, offset: u64, bytes: u64) -> Result<()> {
        if offset.checked_add(bytes).is_none_or(|end| end > u64::from(self.kernel.parameter_bytes)) {
            return Err(self.error("this reads beyond the kernel's parameters"));
        }
        Ok(())
    }

    fn store(&mut self, modifiers: &mut Modifiers<'_>) -> Result<()> {
        let order = self.order(modifiers, false);
        let space = Self::space(modifiers);
        let space = self.refine(space, self.operand(0)?);
        Self::cache_modifiers(modifiers);
        let elements = Self::vector(modifiers);
        let Some(ty) = modifiers.take_type().filter(|ty| ty.bytes() <= 8 && *ty != ScalarType::Pred) else {
            return Err(self.error("a type of at most 64 bits is expected"));
        };
        let members = Self::members(self.operand(1)?);
        if members.len() != usize::from(elements) {
            return Err(self.error(&format!("{elements} sources are expected")));
        }
        let (base, offset, wide_address) = self.address(0)?;
        let wide = members.iter().any(|member| matches!(member, Operand::Register(register) if self.width_of(*register) == 2))
            || ty.bytes() == 8;
        let mut registers = Vec::new();
        for member in members {
            registers.push(self.source(member, wide)?);
        }
        let mut draft = self.blank(Code::Store(Access {
            space,
            element_bytes: ty.bytes() as u8,
            elements,
            signed: false,
            wide,
            wide_address,
            order,
        }));
        draft.a = base;
        draft.imm = offset;
        draft.b = registers[0];
        (draft.list, draft.listed) = self.list(&registers);
        self.emit(draft);
        Ok(())
    }

    fn atomic(&mut self, modifiers: &mut Modifiers<'_>, returns: bool) -> Result<()> {
        let order = self.order(modifiers, false);
        let order = if order == Order::Weak { Order::Relaxed } else { order };
        let space = Self::space(modifiers);
        Self::cache_modifiers(modifiers);
        modifiers.take("noftz");
        let elements = Self::vector(modifiers);
        let ty = match modifiers.take_type() {
            Some(ScalarType::B16) => AtomicType::B16,
            Some(ScalarType::B32) => AtomicType::B32,
            Some(ScalarType::B64) => AtomicType::B64,
            Some(ScalarType::S32) => AtomicType::S32,
            Some(ScalarType::U32) => AtomicType::U32,
            Some(ScalarType::S64) => AtomicType::S64,
            Some(ScalarType::U64) => AtomicType::U64,
            Some(ScalarType::F16) => AtomicType::F16,
            Some(ScalarType::F16x2) => AtomicType::F16x2,
            Some(ScalarType::Bf16) => AtomicType::Bf16,
            Some(ScalarType::Bf16x2) => AtomicType::Bf16x2,
            Some(ScalarType::F32) => AtomicType::F32,
            Some(ScalarType::F64) => AtomicType::F64,
            _ => return Err(self.error("this type is not supported")),
        };
        let operation = match modifiers.take_any(&["add", "min", "max", "and", "or", "xor", "exch", "cas", "inc", "dec"]) {
            Some("add") => AtomicOperation::Add,
            Some("min") => AtomicOperation::Min,
            Some("max") => AtomicOperation::Max,
            Some("and") => AtomicOperation::And,
            Some("or") => AtomicOperation::Or,
            Some("xor") => AtomicOperation::Xor,
            Some("exch") => AtomicOperation::Exch,
            Some("cas") => AtomicOperation::Cas,
            Some("inc") => AtomicOperation::Inc,
            Some("dec") => AtomicOperation::Dec,
            _ => return Err(self.error("this operation is not supported")),
        };
        let float = matches!(
            ty,
            AtomicType::F16 | AtomicType::F16x2 | AtomicType::Bf16 | AtomicType::Bf16x2 | AtomicType::F32 | AtomicType::F64
        );
        if float && !matches!(operation, AtomicOperation::Add | AtomicOperation::Exch | AtomicOperation::Min | AtomicOperation::Max) {
            return Err(self.error("this operation is not supported on this type"));
        }
        let first = usize::from(returns);
        let space = self.refine(space, self.operand(first)?);
        if space != AccessSpace::Shared {
            self.communicates = true;
        }
        let (base, offset, wide_address) = self.address(first)?;
        let wide = ty.bytes() == 8;
        let mut registers = Vec::new();
        let members = Self::members(self.operand(first + 1)?);
        if members.len() != usize::from(elements) {
            return Err(self.error(&format!("{elements} sources are expected")));
        }
        for member in members {
            registers.push(self.source(member, wide)?);
        }
        let mut draft = self.blank(Code::Atomic(Atomic {
            space,
            operation,
            ty,
            elements,
            returns,
            wide_address,
            order,
        }));
        if operation == AtomicOperation::Cas {
            draft.c = self.source_at(first + 2, wide)?;
        }
        if returns {
            if elements > 1 {
                return Err(self.error("vector atomics that return are not supported"));
            }
            draft.d = self.destination_at(0, wide)?;
        }
        draft.a = base;
        draft.imm = offset;
        draft.b = registers[0];
        (draft.list, draft.listed) = self.list(&registers);
        self.emit(draft);
        Ok(())
    }

    fn matrix(&mut self, modifiers: &mut Modifiers<'_>, load: bool) -> Result<()> {
        let aligned = modifiers.take("sync") & modifiers.take("aligned") & modifiers.take("m8n8");
        let matrices = match modifiers.take_any(&["x1", "x2", "x4"]) {
            Some("x1") => 1,
            Some("x2") => 2,
            Some("x4") => 4,
            _ => 0,
        };
        let transposed = modifiers.take("trans");
        let shared = matches!(Self::space(modifiers), AccessSpace::Shared);
        if !aligned || matrices == 0 || !shared || !modifiers.take("b16") {
            return Err(self.error("this form is not supported"));
        }
        let (registers_at, address_at) = if load { (0, 1) } else { (1, 0) };
        let (base, offset, wide_address) = self.address(address_at)?;
        let members = Self::members(self.operand(registers_at)?);
        if members.len() != usize::from(matrices) {
            return Err(self.error(&format!("{matrices} registers are expected")));
        }
        let mut registers = Vec::new();
        for member in members {
            registers.push(if load {
                self.destination(member, false)?
            } else {
                self.source(member, false)?
            });
        }
        let mut draft = self.blank(if load {
            Code::LdMatrix {
                matrices,
                transposed,
                wide_address,
            }
        } else {
            Code::StMatrix {
                matrices,
                transposed,
                wide_address,
            }
        });
        draft.a = base;
        draft.imm = offset;
        (draft.list, draft.listed) = self.list(&registers);
        self.emit(draft);
        Ok(())
    }

    fn copy(&mut self, modifiers: &mut Modifiers<'_>) -> Result<()> {
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

    fn bulk_copy(&mut self, modifiers: &mut Modifiers<'_>) -> Result<()> {
        if modifiers.take("commit_group") {
            let draft = self.blank(Code::BulkCommit);
            self.emit(draft);
            return Ok(());
        }
        if modifiers.take("wait_group") {
            let mut draft = self.blank(Code::BulkWait);
            draft.listed = u16::from(modifiers.take("read"));
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
        let completion = if load { "mbarrier::complete_tx::bytes" } else { "bulk_group" };
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
        let mut draft = self.blank(if load { Code::BulkLoad } else { Code::BulkStore });
        draft.c = self.source_at(2, false)?;
        let mut registers = Vec::new();
        if load {
            registers.push(self.shared_sum(3, AccessSpace::Shared)?);
        }
        (draft.a, draft.b) = if load { (shared, global) } else { (global, shared) };
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

    fn mbarrier(&mut self, modifiers: &mut Modifiers<'_>) -> Result<()> {
        let operation = modifiers.take_any(&[
            "init", "inval", "arrive", "expect_tx", "try_wait", "test_wait",
        ]);
        let expect = operation == Some("arrive") && modifiers.take("expect_tx");
        let parity = modifiers.take("parity");
        // Clusters are single blocks: their order is that of the block.
        modifiers.take_any(&["acquire", "release", "relaxed"]);
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
                let mut draft = self.blank(Code::MbarrierArrive {
                    has_count: has_operand && !expect,
                    expect,
                    returns,
                });
                draft.a = base;
                draft.imm = offset;
                // An arrival that must not complete the phase.
                draft.listed = u16::from(modifiers.take("noComplete"));
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
                    blocking: operation == Some("try_wait"),
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
        let guard = std::mem::replace(&mut self.guard, (0, 0));
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
