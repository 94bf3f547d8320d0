//! A PTX module as parsed: names resolved, nothing yet known of what the instructions mean.

use std::fmt;

/// A place in the PTX text; both numbers count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Position {
    /// Line of the PTX text.
    pub line: u32,
    /// Column, in characters.
    pub column: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// A state space that a variable or parameter lives in (PTX ISA, state spaces).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Space {
    /// `.global`
    Global,
    /// `.const`
    Const,
    /// `.shared`
    Shared,
    /// `.local`
    Local,
    /// `.param`
    Param,
}

/// A fundamental type (PTX ISA, fundamental types); `.pred` is one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "PTX's own names")]
pub enum ScalarType {
    Pred,
    B8,
    B16,
    B32,
    B64,
    B128,
    U8,
    U16,
    U32,
    U64,
    S8,
    S16,
    S32,
    S64,
    F16,
    F16x2,
    Bf16,
    Bf16x2,
    Tf32,
    E4m3,
    E5m2,
    E4m3x2,
    E5m2x2,
    F32,
    F64,
}

#[allow(clippy::enum_glob_use, reason = "tables of every variant")]
impl ScalarType {
    /// The type called `name`, without its dot.
    pub fn from_name(name: &str) -> Option<ScalarType> {
        use ScalarType::*;
        Some(match name {
            "pred" => Pred,
            "b8" => B8,
            "b16" => B16,
            "b32" => B32,
            "b64" => B64,
            "b128" => B128,
            "u8" => U8,
            "u16" => U16,
            "u32" => U32,
            "u64" => U64,
            "s8" => S8,
            "s16" => S16,
            "s32" => S32,
            "s64" => S64,
            "f16" => F16,
            "f16x2" => F16x2,
            "bf16" => Bf16,
            "bf16x2" => Bf16x2,
            "tf32" => Tf32,
            "e4m3" => E4m3,
            "e5m2" => E5m2,
            "e4m3x2" => E4m3x2,
            "e5m2x2" => E5m2x2,
            "f32" => F32,
            "f64" => F64,
            _ => return None,
        })
    }

    /// Size in bytes; a predicate counts as one.
    pub fn bytes(self) -> u32 {
        use ScalarType::*;
        match self {
            Pred | B8 | U8 | S8 | E4m3 | E5m2 => 1,
            B16 | U16 | S16 | F16 | Bf16 | E4m3x2 | E5m2x2 => 2,
            B32 | U32 | S32 | F32 | F16x2 | Bf16x2 | Tf32 => 4,
            B64 | U64 | S64 | F64 => 8,
            B128 => 16,
        }
    }

    /// Whether values are signed integers.
    pub fn is_signed(self) -> bool {
        use ScalarType::*;
        matches!(self, S8 | S16 | S32 | S64)
    }
}

/// Index into [`Kernel::registers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RegisterId(pub u32);

/// A register, unique within its kernel whatever scope declared it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Register {
    /// Name as written, with its percent sign if it has one.
    pub name: String,
    /// Declared type.
    pub ty: ScalarType,
}

/// A module.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Module {
    /// `.version`, major and minor.
    pub version: (u32, u32),
    /// `.target`, such as `sm_80`.
    pub target: String,
    /// `.file` entries: index and name as written.
    pub files: Vec<(u32, String)>,
    /// Variables of module scope: global, const, shared and external shared.
    pub variables: Vec<Variable>,
    /// Entry points.
    pub kernels: Vec<Kernel>,
}

/// A variable of module or kernel scope.
#[derive(Clone, Debug, PartialEq)]
pub struct Variable {
    /// Name.
    pub name: String,
    /// Where it lives.
    pub space: Space,
    /// Element type.
    pub ty: ScalarType,
    /// Bytes; `None` for `x[]`, whose size the launch decides.
    pub bytes: Option<u64>,
    /// Alignment in bytes, a power of two; the element's own unless given.
    pub align: u64,
    /// Initial bytes; empty if there is no initialiser. Shorter than the variable: zeros follow.
    pub init: Vec<u8>,
    /// Declared `.extern`.
    pub external: bool,
    /// Where it is declared.
    pub position: Position,
}

/// A kernel parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Name.
    pub name: String,
    /// Offset in the parameter buffer, bytes.
    pub offset: u32,
    /// Size, bytes.
    pub bytes: u32,
}

/// An entry point.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kernel {
    /// Symbol.
    pub name: String,
    /// Parameters in order.
    pub parameters: Vec<Parameter>,
    /// Bytes of all parameters.
    pub parameter_bytes: u32,
    /// `.maxntid`: most threads of a block per dimension.
    pub max_threads: Option<[u32; 3]>,
    /// `.reqntid`: exact threads of a block per dimension.
    pub required_threads: Option<[u32; 3]>,
    /// Registers of all scopes.
    pub registers: Vec<Register>,
    /// Shared and local variables of all scopes.
    pub variables: Vec<Variable>,
    /// Instructions in order.
    pub instructions: Vec<Instruction>,
    /// Names of labels, by [`LabelId`], and the instruction each stands before (one past the last at the end).
    pub labels: Vec<(String, u32)>,
    /// `.loc` entries; [`Instruction::location`] points here.
    pub locations: Vec<Location>,
    /// Where it begins.
    pub position: Position,
}

/// Index into [`Kernel::labels`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LabelId(pub u32);

/// A `.loc`: the source line that the instructions after it were made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Location {
    /// Index of the `.file`.
    pub file: u32,
    /// Line, from 1 (0: none).
    pub line: u32,
    /// Column.
    pub column: u32,
    /// File and line of the call this was inlined at, outermost unknown; the `.loc`'s own `inlined_at`.
    pub inlined_at: Option<(u32, u32)>,
}

/// `@p` or `@!p`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guard {
    /// The predicate.
    pub register: RegisterId,
    /// Runs where the predicate is false.
    pub negated: bool,
}

/// One instruction as written.
#[derive(Clone, Debug, PartialEq)]
pub struct Instruction {
    /// Where it stands.
    pub position: Position,
    /// Index into [`Kernel::locations`] of the `.loc` in force, if any.
    pub location: Option<u32>,
    /// Its guard.
    pub guard: Option<Guard>,
    /// The base opcode, such as `ld`.
    pub opcode: String,
    /// What follows it after dots, in order: `["global", "nc", "L1::no_allocate", "v4", "u32"]`.
    pub modifiers: Vec<String>,
    /// Operands in order.
    pub operands: Vec<Operand>,
}

impl Instruction {
    /// Opcode and modifiers as written.
    pub fn full_name(&self) -> String {
        let mut name = self.opcode.clone();
        for modifier in &self.modifiers {
            name.push('.');
            name.push_str(modifier);
        }
        name
    }

    /// Whether `modifier` is among the modifiers.
    pub fn has(&self, modifier: &str) -> bool {
        self.modifiers.iter().any(|found| found == modifier)
    }
}

/// What an operand names.
#[derive(Clone, Debug, PartialEq)]
pub enum Operand {
    /// A register.
    Register(RegisterId),
    /// `!p`, a negated predicate.
    Negated(RegisterId),
    /// An integer; negative ones in two's complement of 64 bits.
    Integer(u64),
    /// `0f...`: the bits of a single.
    Float32(u32),
    /// `0d...`: the bits of a double. Decimal literals are doubles too.
    Float64(u64),
    /// `{a, b, ...}`.
    Vector(Vec<Operand>),
    /// `[base + offset]`.
    Address {
        /// What the offset counts from.
        base: AddressBase,
        /// Bytes.
        offset: i64,
    },
    /// `[base, {x, y, ...}]` of a tensor copy.
    TensorAddress {
        /// The register that holds the tensor map's address.
        base: AddressBase,
        /// Coordinates.
        coordinates: Vec<Operand>,
    },
    /// The address of a variable or parameter, as a value, and an offset.
    Symbol(Symbol, i64),
    /// A label.
    Label(LabelId),
    /// `%tid.x` and the like: the whole name without the percent sign.
    Special(String),
    /// `_`
    Sink,
    /// `d|p`: two destinations.
    Pair(Box<Operand>, Box<Operand>),
}

/// Base of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressBase {
    /// A register.
    Register(RegisterId),
    /// A variable or parameter.
    Symbol(Symbol),
    /// None: the offset is the address.
    Absolute,
}

/// A named thing with an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Symbol {
    /// Index into [`Module::variables`].
    ModuleVariable(u32),
    /// Index into [`Kernel::variables`].
    KernelVariable(u32),
    /// Index into [`Kernel::parameters`].
    Parameter(u32),
}
