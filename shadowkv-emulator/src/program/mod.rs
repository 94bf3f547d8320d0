//! A kernel as the executor takes it: every instruction decided, registers in rows, constants in rows beside them.

mod allocate;
mod code;
mod decode;
mod operations;

pub(crate) use code::Code;
pub use decode::DecodeError;
pub(crate) use decode::{Windows, decode};
pub(crate) use operations::*;

use crate::ptx::ast::{Location, Position};

/// Number of "no register" in a draft, and of the row that nobody reads.
pub(crate) const NONE: u32 = u32::MAX;

/// One decoded instruction. `R` is the row of a register: its first one, for 64 bits the first of two.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Inst<R = u16> {
    /// What it does.
    pub(crate) code: Code,
    /// Predicate that guards it; predicate 0 is always true.
    pub(crate) guard: u16,
    /// All ones where the guard is negated, else 0.
    pub(crate) flip: u32,
    /// Destination.
    pub(crate) d: R,
    /// First source, or the address.
    pub(crate) a: R,
    /// Second source, or the value stored.
    pub(crate) b: R,
    /// Third source.
    pub(crate) c: R,
    /// Destination predicate, or a source predicate; 0 where there is none (a written one is then dropped).
    pub(crate) p: u16,
    /// Second predicate.
    pub(crate) q: u16,
    /// First of its registers in [`Program::lists`].
    pub(crate) list: u32,
    /// How many there are.
    pub(crate) listed: u16,
    /// Offset, immediate or target.
    pub(crate) imm: i64,
}

/// A decoded kernel.
#[derive(Debug)]
pub(crate) struct Program {
    /// Symbol.
    pub(crate) name: String,
    /// Instructions.
    pub(crate) code: Vec<Inst>,
    /// Registers of instructions with many.
    pub(crate) lists: Vec<u16>,
    /// Values of the first rows of every warp's register file: (row, value, 64 bits wide).
    pub(crate) constants: Vec<(u16, u64, bool)>,
    /// Rows of a warp's register file.
    pub(crate) rows: usize,
    /// Predicates of a warp, the always true one included.
    pub(crate) predicates: usize,
    /// Bytes of shared memory that the kernel declares.
    pub(crate) static_shared_bytes: u32,
    /// Where dynamic shared memory begins: the static part, aligned.
    pub(crate) dynamic_shared_offset: u32,
    /// Bytes of local memory per thread.
    pub(crate) local_bytes: u32,
    /// Bytes of the parameter buffer.
    pub(crate) parameter_bytes: u32,
    /// `.maxntid`.
    pub(crate) max_threads: Option<[u32; 3]>,
    /// `.reqntid`.
    pub(crate) required_threads: Option<[u32; 3]>,
    /// Whether blocks talk to each other through global memory: atomics, fences, ordered accesses.
    pub(crate) communicates: bool,
    /// Per instruction: where it stands in the PTX, and the source location of its `.loc`.
    pub(crate) places: Vec<Place>,
    /// What each instruction is, as written.
    pub(crate) names: Vec<String>,
    /// `.file` entries.
    pub(crate) files: Vec<(u32, String)>,
}

/// Where an instruction comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Place in the PTX.
    pub(crate) ptx: Position,
    /// Place in the CUDA source, if the PTX has line information.
    pub(crate) source: Option<Location>,
}

impl Program {
    /// `file:line` of instruction `pc` in the CUDA source, if known.
    pub(crate) fn source_line(&self, pc: usize) -> Option<String> {
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
