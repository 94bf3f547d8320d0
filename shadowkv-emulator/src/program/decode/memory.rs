//! Loads, stores, atomics and copies (PTX ISA, data movement instructions, asynchronous copies).

use super::{Code, Decoder, Modifiers, Result};
use crate::program::{Access, AccessSpace, Atomic, AtomicOperation, AtomicType, Order};
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
                let code = if Self::fences_copies(&all) {
                    Code::ProxyFence
                } else {
                    Code::Fence(order)
                };
                let draft = self.blank(code);
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
        matches!(
            all,
            ["proxy", "async"] | ["proxy", "async", "shared::cta" | "shared::cluster"]
        )
    }

    pub(super) fn space(modifiers: &mut Modifiers<'_>) -> AccessSpace {
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

    pub(super) fn order(&mut self, modifiers: &mut Modifiers<'_>, load: bool) -> Order {
        let found = modifiers.take_any(&[
            "weak", "relaxed", "acquire", "release", "acq_rel", "volatile", "mmio",
        ]);
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

    pub(super) fn cache_modifiers(modifiers: &mut Modifiers<'_>) -> bool {
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
        let Some(ty) = modifiers
            .take_type()
            .filter(|ty| ty.bytes() <= 8 && *ty != ScalarType::Pred)
        else {
            return Err(self.error("a type of at most 64 bits is expected"));
        };
        let members = Self::members(self.operand(0)?);
        if members.len() != usize::from(elements) {
            return Err(self.error(&format!("{elements} destinations are expected")));
        }
        // A register may be wider than the element.
        let wide = members.iter().any(
            |member| matches!(member, Operand::Register(register) if self.width_of(*register) == 2),
        ) || ty.bytes() == 8;
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
        if offset
            .checked_add(bytes)
            .is_none_or(|end| end > u64::from(self.kernel.parameter_bytes))
        {
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
        let Some(ty) = modifiers
            .take_type()
            .filter(|ty| ty.bytes() <= 8 && *ty != ScalarType::Pred)
        else {
            return Err(self.error("a type of at most 64 bits is expected"));
        };
        let members = Self::members(self.operand(1)?);
        if members.len() != usize::from(elements) {
            return Err(self.error(&format!("{elements} sources are expected")));
        }
        let (base, offset, wide_address) = self.address(0)?;
        let wide = members.iter().any(
            |member| matches!(member, Operand::Register(register) if self.width_of(*register) == 2),
        ) || ty.bytes() == 8;
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
        let order = if order == Order::Weak {
            Order::Relaxed
        } else {
            order
        };
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
        let operation = match modifiers.take_any(&[
            "add", "min", "max", "and", "or", "xor", "exch", "cas", "inc", "dec",
        ]) {
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
            AtomicType::F16
                | AtomicType::F16x2
                | AtomicType::Bf16
                | AtomicType::Bf16x2
                | AtomicType::F32
                | AtomicType::F64
        );
        if float
            && !matches!(
                operation,
                AtomicOperation::Add
                    | AtomicOperation::Exch
                    | AtomicOperation::Min
                    | AtomicOperation::Max
            )
        {
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
}
