//! A kernel as the executor takes it: every instruction decided, registers in rows, constants in rows beside them.

mod allocate;
mod code;
mod decode;

pub use code::*;
pub use decode::{DecodeError, Windows, decode};

use crate::ptx::ast::{Location, Position};

/// Number of "no register" in a draft, and of the row that nobody reads.
pub(crate) const NONE: u32 = u32::MAX;

/// One decoded instruction. `R` is the row of a register: its first one, for 64 bits the first of two.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Inst<R = u16> {
    /// What it does.
    pub code: Code,
    /// Predicate that guards it; predicate 0 is always true.
    pub guard: u16,
    /// All ones where the guard is negated, else 0.
    pub flip: u32,
    /// Destination.
    pub d: R,
    /// First source, or the address.
    pub a: R,
    /// Second source, or the value stored.
    pub b: R,
    /// Third source.
    pub c: R,
    /// Destination predicate, or a source predicate; 0 where there is none (a written one is then dropped).
    pub p: u16,
    /// Second predicate.
    pub q: u16,
    /// First of its registers in [`Program::lists`].
    pub list: u32,
    /// How many there are.
    pub listed: u16,
    /// Offset, immediate or target.
    pub imm: i64,
}

/// A decoded kernel.
#[derive(Debug)]
pub struct Program {
    /// Symbol.
    pub name: String,
    /// Instructions.
    pub code: Vec<Inst>,
    /// Registers of instructions with many.
    pub lists: Vec<u16>,
    /// Values of the first rows of every warp's register file: (row, value, 64 bits wide).
    pub constants: Vec<(u16, u64, bool)>,
    /// Rows of a warp's register file.
    pub rows: usize,
    /// Predicates of a warp, the always true one included.
    pub predicates: usize,
    /// Bytes of shared memory that the kernel declares.
    pub static_shared_bytes: u32,
    /// Where dynamic shared memory begins: the static part, aligned.
    pub dynamic_shared_offset: u32,
    /// Bytes of local memory per thread.
    pub local_bytes: u32,
    /// Bytes of the parameter buffer.
    pub parameter_bytes: u32,
    /// `.maxntid`.
    pub max_threads: Option<[u32; 3]>,
    /// `.reqntid`.
    pub required_threads: Option<[u32; 3]>,
    /// Whether blocks talk to each other through global memory: atomics, fences, ordered accesses.
    pub communicates: bool,
    /// Per instruction: where it stands in the PTX, and the source location of its `.loc`.
    pub places: Vec<Place>,
    /// What each instruction is, as written.
    pub names: Vec<String>,
    /// `.file` entries.
    pub files: Vec<(u32, String)>,
}

/// Where an instruction comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Place in the PTX.
    pub ptx: Position,
    /// Place in the CUDA source, if the PTX has line information.
    pub source: Option<Location>,
}

impl Program {
    /// `file:line` of instruction `pc` in the CUDA source, if known.
    pub fn source_line(&self, pc: usize) -> Option<String> {
        let location = self.places.get(pc)?.source?;
        let name = self
            .files
            .iter()
            .find(|(index, _)| *index == location.file)
            .map_or("?", |(_, name)| name.as_str());
        // Without the folder: where a source lay when it was compiled says nothing here.
        let name = name.rsplit(['/', '\\']).next().unwrap_or(name);
        Some(format!("{name}:{}", location.line))
    }
}
