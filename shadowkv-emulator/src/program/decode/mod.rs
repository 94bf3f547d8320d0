//! From the syntax tree to a [`Program`]: each instruction is recognised once, or refused by name and line.

use std::collections::HashMap;

use super::allocate::{self, Successors, Usage};
use super::{Code, Inst, NONE, Place, Program};
use crate::ptx::ast::{
    self, AddressBase, Instruction, Module, Operand, Position, RegisterId, ScalarType, Space,
    Symbol,
};

mod alu;
mod bulk;
mod control;
mod convert;
mod copies;
mod memory;
mod modifiers;
mod select;
mod warp;

use modifiers::Modifiers;

/// A kernel that the emulator cannot run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("ptx:{position}: {}: {reason}", .instruction.as_ref().map_or_else(|| "kernel".to_owned(), |name| format!("`{name}`")))]
pub struct DecodeError {
    /// Where.
    pub position: Position,
    /// The instruction as written, if it is about one.
    pub instruction: Option<String>,
    /// What is wrong with it.
    pub reason: String,
}

/// Where variables of module scope have been put.
#[derive(Clone, Debug, Default)]
pub(crate) struct Windows {
    /// Address of each of the module's variables; 0 for shared ones.
    pub(crate) variables: Vec<u64>,
}

/// Marks a constant among the registers of a draft.
const CONSTANT: u32 = 1 << 31;

type Draft = Inst<u32>;
type Result<T> = std::result::Result<T, DecodeError>;

/// Decodes `kernel` of `module`.
///
/// # Errors
///
/// The first instruction that the emulator does not know, or that contradicts its operands' types.
pub(crate) fn decode(module: &Module, kernel: &ast::Kernel, windows: &Windows) -> Result<Program> {
    let mut decoder = Decoder::new(module, kernel, windows)?;
    let mut starts = Vec::with_capacity(kernel.instructions.len() + 1);
    for instruction in &kernel.instructions {
        starts.push(decoder.drafts.len());
        decoder.instruction(instruction)?;
    }
    starts.push(decoder.drafts.len());
    decoder.finish(&starts)
}

struct Decoder<'a> {
    module: &'a Module,
    kernel: &'a ast::Kernel,
    windows: &'a Windows,
    /// Offset of the kernel's own variables in their spaces, and of the module's shared ones.
    kernel_offsets: Vec<u64>,
    module_shared: Vec<u64>,
    static_shared: u64,
    dynamic_offset: u64,
    local_bytes: u64,
    /// Rows of each register; temporaries follow the kernel's own.
    widths: Vec<u8>,
    /// Number of each predicate register, 0 for others.
    predicates: Vec<u16>,
    predicate_count: u16,
    constants: Vec<(u64, bool)>,
    constant_index: HashMap<(u64, bool), u32>,
    drafts: Vec<Draft>,
    usages: Vec<Usage>,
    lists: Vec<u32>,
    places: Vec<Place>,
    names: Vec<String>,
    communicates: bool,
    // Of the instruction at hand.
    current: Option<&'a Instruction>,
    guard: (u16, u32),
    reads: Vec<u32>,
    writes: Vec<u32>,
}

impl<'a> Decoder<'a> {
    fn new(module: &'a Module, kernel: &'a ast::Kernel, windows: &'a Windows) -> Result<Self> {
        let error = |reason: String, position| DecodeError {
            position,
            instruction: None,
            reason,
        };
        let mut widths = Vec::new();
        let mut predicates = Vec::new();
        let mut predicate_count = 1_u16;
        for register in &kernel.registers {
            let width = match register.ty {
                ScalarType::Pred => 0,
                ScalarType::B128 => {
                    let reason = format!("128-bit register `{}` is not supported", register.name);
                    return Err(error(reason, kernel.position));
                }
                ty if ty.bytes() == 8 => 2,
                _ => 1,
            };
            widths.push(width);
            predicates.push(if width == 0 { predicate_count } else { 0 });
            if width == 0 {
                predicate_count = predicate_count
                    .checked_add(1)
                    .ok_or_else(|| error("more than 65535 predicates".into(), kernel.position))?;
            }
        }
        let mut static_shared = 0_u64;
        let mut local_bytes = 0_u64;
        let mut dynamic_align = 16_u64;
        let mut place = |variable: &ast::Variable| -> u64 {
            let cursor = match variable.space {
                Space::Shared => &mut static_shared,
                Space::Local => &mut local_bytes,
                _ => return 0,
            };
            let Some(bytes) = variable.bytes else {
                dynamic_align = dynamic_align.max(variable.align);
                return u64::MAX; // the dynamic part: resolved when all static ones are placed
            };
            *cursor = cursor.next_multiple_of(variable.align.max(1));
            let offset = *cursor;
            *cursor += bytes;
            offset
        };
        let mut module_shared: Vec<u64> = module.variables.iter().map(&mut place).collect();
        let mut kernel_offsets: Vec<u64> = kernel.variables.iter().map(&mut place).collect();
        if static_shared > 1 << 20 || local_bytes > 1 << 20 {
            let reason = format!(
                "{static_shared} bytes of shared and {local_bytes} of local memory are more than any GPU has"
            );
            return Err(error(reason, kernel.position));
        }
        let dynamic_offset = static_shared.next_multiple_of(dynamic_align);
        for offset in module_shared.iter_mut().chain(&mut kernel_offsets) {
            if *offset == u64::MAX {
                *offset = dynamic_offset;
            }
        }
        Ok(Decoder {
            module,
            kernel,
            windows,
            kernel_offsets,
            module_shared,
            static_shared,
            dynamic_offset,
            local_bytes,
            widths,
            predicates,
            predicate_count,
            constants: Vec::new(),
            constant_index: HashMap::new(),
            drafts: Vec::new(),
            usages: Vec::new(),
            lists: Vec::new(),
            places: Vec::new(),
            names: Vec::new(),
            communicates: false,
            current: None,
            guard: (0, 0),
            reads: Vec::new(),
            writes: Vec::new(),
        })
    }

    fn instruction(&mut self, instruction: &'a Instruction) -> Result<()> {
        self.current = Some(instruction);
        self.guard = (0, 0);
        if let Some(guard) = instruction.guard {
            let predicate = self.predicates[guard.register.0 as usize];
            if predicate == 0 {
                return Err(self.error("the guard is not a predicate"));
            }
            self.guard = (predicate, if guard.negated { u32::MAX } else { 0 });
        }
        let mut modifiers = Modifiers::new(instruction);
        let known = self.alu(instruction, &mut modifiers)?
            || self.convert(instruction, &mut modifiers)?
            || self.memory(instruction, &mut modifiers)?
            || self.warp(instruction, &mut modifiers)?
            || self.control(instruction, &mut modifiers)?;
        if !known {
            return Err(self.error("this instruction is not supported"));
        }
        if let Some(rest) = modifiers.rest() {
            return Err(self.error(&format!("modifier `.{rest}` is not supported here")));
        }
        Ok(())
    }

    fn error(&self, reason: &str) -> DecodeError {
        DecodeError {
            position: self
                .current
                .map_or(self.kernel.position, |instruction| instruction.position),
            instruction: self.current.map(Instruction::full_name),
            reason: reason.to_owned(),
        }
    }

    /// A draft of `code` under the instruction's guard, without operands.
    fn blank(&self, code: Code) -> Draft {
        Inst {
            code,
            guard: self.guard.0,
            flip: self.guard.1,
            d: NONE,
            a: NONE,
            b: NONE,
            c: NONE,
            p: 0,
            q: 0,
            list: 0,
            listed: 0,
            imm: 0,
        }
    }

    /// Appends a draft; what was read and written since the last one is its usage.
    fn emit(&mut self, draft: Draft) {
        self.emit_as(draft, Successors::Next);
    }

    fn emit_as(&mut self, draft: Draft, successors: Successors) {
        let guarded = draft.guard != 0;
        self.usages.push(Usage {
            reads: std::mem::take(&mut self.reads),
            writes: std::mem::take(&mut self.writes),
            guarded,
            successors,
        });
        let (position, location) = self.current.map_or((self.kernel.position, None), |found| {
            (found.position, found.location)
        });
        self.places.push(Place {
            ptx: position,
            source: location.map(|index| self.kernel.locations[index as usize]),
        });
        self.names
            .push(self.current.map(Instruction::full_name).unwrap_or_default());
        self.drafts.push(draft);
    }

    fn operand(&self, index: usize) -> Result<&'a Operand> {
        self.current
            .and_then(|instruction| instruction.operands.get(index))
            .ok_or_else(|| self.error(&format!("operand {} is missing", index + 1)))
    }

    fn operand_count(&self) -> usize {
        self.current
            .map_or(0, |instruction| instruction.operands.len())
    }

    fn width_of(&self, register: RegisterId) -> u8 {
        self.widths[register.0 as usize]
    }

    fn constant(&mut self, value: u64, wide: bool) -> u32 {
        let value = if wide { value } else { value & 0xffff_ffff };
        let next = self.constants.len() as u32;
        let index = *self.constant_index.entry((value, wide)).or_insert(next);
        if index == next {
            self.constants.push((value, wide));
        }
        index | CONSTANT
    }

    /// Value of a symbol's address in its own space.
    fn symbol_address(&self, symbol: Symbol) -> (u64, Space) {
        match symbol {
            Symbol::ModuleVariable(index) => {
                let variable = &self.module.variables[index as usize];
                match variable.space {
                    Space::Shared => (self.module_shared[index as usize], Space::Shared),
                    space => (
                        self.windows
                            .variables
                            .get(index as usize)
                            .copied()
                            .unwrap_or(0),
                        space,
                    ),
                }
            }
            Symbol::KernelVariable(index) => (
                self.kernel_offsets[index as usize],
                self.kernel.variables[index as usize].space,
            ),
            Symbol::Parameter(index) => (
                u64::from(self.kernel.parameters[index as usize].offset),
                Space::Param,
            ),
        }
    }

    /// A source of 32 (or fewer) or 64 bits.
    fn source(&mut self, operand: &Operand, wide: bool) -> Result<u32> {
        match operand {
            Operand::Register(register) => {
                let width = self.width_of(*register);
                if width != if wide { 2 } else { 1 } {
                    let name = &self.kernel.registers[register.0 as usize].name;
                    return Err(self.error(&format!(
                        "register `{name}` has not the width the instruction needs"
                    )));
                }
                self.reads.push(register.0);
                Ok(register.0)
            }
            Operand::Integer(value) => Ok(self.constant(*value, wide)),
            Operand::Float32(bits) if !wide => Ok(self.constant(u64::from(*bits), false)),
            Operand::Float64(bits) if wide => Ok(self.constant(*bits, true)),
            // A single written as a double literal.
            Operand::Float64(bits) => {
                let single = f64::from_bits(*bits) as f32;
                Ok(self.constant(u64::from(single.to_bits()), false))
            }
            Operand::Symbol(symbol, offset) => {
                let (address, _) = self.symbol_address(*symbol);
                Ok(self.constant(address.wrapping_add_signed(*offset), wide))
            }
            Operand::Special(name) => self.special(name, wide),
            _ => Err(self.error("a source operand of this form is not supported")),
        }
    }

    fn source_at(&mut self, index: usize, wide: bool) -> Result<u32> {
        let operand = self.operand(index)?;
        self.source(operand, wide)
    }

    /// A source of 16 bits: constants are cut to them.
    fn source_16(&mut self, index: usize) -> Result<u32> {
        match self.operand(index)? {
            Operand::Integer(value) => Ok(self.constant(value & 0xffff, false)),
            operand => self.source(operand, false),
        }
    }

    /// A special register into a register of its own.
    fn special(&mut self, name: &str, wide: bool) -> Result<u32> {
        let Some(special) = warp::special(name) else {
            return Err(self.error(&format!("special register `%{name}` is not supported")));
        };
        let register = self.temporary(if wide { 2 } else { 1 });
        let reads = std::mem::take(&mut self.reads);
        let guard = std::mem::take(&mut self.guard);
        self.writes.push(register);
        let mut draft = self.blank(Code::ReadSpecial(special));
        draft.d = register;
        draft.imm = i64::from(wide);
        self.emit(draft);
        self.guard = guard;
        self.reads = reads;
        self.reads.push(register);
        Ok(register)
    }

    fn temporary(&mut self, width: u8) -> u32 {
        self.widths.push(width);
        self.predicates.push(0);
        (self.widths.len() - 1) as u32
    }

    /// A destination of 32 (or fewer) or 64 bits; `_` is a register that nobody reads.
    fn destination(&mut self, operand: &Operand, wide: bool) -> Result<u32> {
        let width = if wide { 2 } else { 1 };
        let register = match operand {
            Operand::Register(register) => {
                if self.width_of(*register) != width {
                    let name = &self.kernel.registers[register.0 as usize].name;
                    return Err(self.error(&format!(
                        "register `{name}` has not the width the instruction needs"
                    )));
                }
                register.0
            }
            Operand::Sink => self.temporary(width),
            _ => return Err(self.error("the destination must be a register")),
        };
        self.writes.push(register);
        Ok(register)
    }

    fn destination_at(&mut self, index: usize, wide: bool) -> Result<u32> {
        let operand = self.operand(index)?;
        self.destination(operand, wide)
    }

    /// Number of a predicate; the flag says whether it is negated. An integer is a constant predicate.
    fn predicate(&self, operand: &Operand) -> Result<(u16, bool)> {
        let (register, negated) = match operand {
            Operand::Register(register) => (*register, false),
            Operand::Negated(register) => (*register, true),
            Operand::Integer(value) => return Ok((0, *value == 0)),
            Operand::Sink => return Ok((0, false)),
            _ => return Err(self.error("a predicate is expected")),
        };
        match self.predicates[register.0 as usize] {
            0 => Err(self.error("a predicate is expected")),
            number => Ok((number, negated)),
        }
    }

    /// Base register (or zero) and offset of an address, and whether the base is 64 bits wide.
    fn address(&mut self, index: usize) -> Result<(u32, i64, bool)> {
        let Operand::Address { base, offset } = self.operand(index)? else {
            return Err(self.error("an address in brackets is expected"));
        };
        self.address_base(base, *offset)
    }

    fn address_base(&mut self, base: &AddressBase, offset: i64) -> Result<(u32, i64, bool)> {
        match base {
            AddressBase::Register(register) => {
                let wide = self.width_of(*register) == 2;
                if self.width_of(*register) == 0 {
                    return Err(self.error("a predicate is no address"));
                }
                self.reads.push(register.0);
                Ok((register.0, offset, wide))
            }
            AddressBase::Symbol(symbol) => {
                let (address, _) = self.symbol_address(*symbol);
                let zero = self.constant(0, true);
                Ok((zero, offset.wrapping_add(address as i64), true))
            }
            AddressBase::Absolute => {
                let zero = self.constant(0, true);
                Ok((zero, offset, true))
            }
        }
    }

    /// The members of a vector operand, or the operand itself.
    fn members(operand: &'a Operand) -> &'a [Operand] {
        match operand {
            Operand::Vector(members) => members,
            other => std::slice::from_ref(other),
        }
    }

    /// Appends `registers` to the lists; where they begin and how many.
    fn list(&mut self, registers: &[u32]) -> (u32, u16) {
        let begin = self.lists.len() as u32;
        self.lists.extend_from_slice(registers);
        (begin, registers.len() as u16)
    }

    fn finish(mut self, starts: &[usize]) -> Result<Program> {
        // A body may end without `ret`.
        self.current = None;
        self.guard = (0, 0);
        let end = self.blank(Code::Exit);
        self.emit_as(end, Successors::Exit);

        // Labels count instructions of the tree; drafts may be more.
        for (draft, usage) in self.drafts.iter_mut().zip(&mut self.usages) {
            if draft.code == Code::Branch {
                let target = starts[self.kernel.labels[draft.imm as usize].1 as usize];
                draft.imm = target as i64;
                usage.successors = if draft.guard == 0 {
                    Successors::Jump(target as u32)
                } else {
                    Successors::Branch(target as u32)
                };
            }
        }

        // Constants first: 64-bit ones on even rows.
        let mut constant_rows = vec![0_u32; self.constants.len()];
        let mut rows = 0_u32;
        for wide in [true, false] {
            for (index, constant) in self.constants.iter().enumerate() {
                if constant.1 == wide {
                    constant_rows[index] = rows;
                    rows += if wide { 2 } else { 1 };
                }
            }
        }
        // The row of absent operands.
        let absent = rows;
        let first = (rows + 1).next_multiple_of(2);
        // A lane of a 64-bit register lies elsewhere in its two rows than in a 32-bit one's: while lanes are apart, one kind
        // must not be given rows of the other.
        let of_width = |width: u8| -> Vec<u8> {
            self.widths
                .iter()
                .map(|&own| if own == width { own } else { 0 })
                .collect()
        };
        let wide = allocate::allocate(&of_width(2), &self.usages);
        let narrow = allocate::allocate(&of_width(1), &self.usages);
        let first_narrow = first + wide.rows;
        let rows = first_narrow + narrow.rows;
        if rows > u32::from(u16::MAX) {
            return Err(DecodeError {
                position: self.kernel.position,
                instruction: None,
                reason: format!("{rows} live registers are more than the emulator holds"),
            });
        }
        let row = |register: u32| -> u16 {
            let row = if register == NONE {
                absent
            } else if register & CONSTANT != 0 {
                constant_rows[(register & !CONSTANT) as usize]
            } else if self.widths[register as usize] == 2 {
                first + wide.row[register as usize]
            } else {
                first_narrow + narrow.row[register as usize]
            };
            row as u16
        };
        let code = self
            .drafts
            .iter()
            .map(|draft| Inst {
                code: draft.code,
                guard: draft.guard,
                flip: draft.flip,
                d: row(draft.d),
                a: row(draft.a),
                b: row(draft.b),
                c: row(draft.c),
                p: draft.p,
                q: draft.q,
                list: draft.list,
                listed: draft.listed,
                imm: draft.imm,
            })
            .collect();
        let lists = self.lists.iter().map(|&register| row(register)).collect();
        let constants = self
            .constants
            .iter()
            .zip(&constant_rows)
            .map(|(&(value, wide), &row)| (row as u16, value, wide))
            .collect();
        Ok(Program {
            name: self.kernel.name.clone(),
            code,
            lists,
            constants,
            rows: rows as usize,
            predicates: usize::from(self.predicate_count),
            static_shared_bytes: self.static_shared as u32,
            dynamic_shared_offset: self.dynamic_offset as u32,
            local_bytes: self.local_bytes as u32,
            parameter_bytes: self.kernel.parameter_bytes,
            max_threads: self.kernel.max_threads,
            required_threads: self.kernel.required_threads,
            communicates: self.communicates,
            places: self.places,
            names: self.names,
            files: self.module.files.clone(),
        })
    }
}
