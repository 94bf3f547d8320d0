//! What the emulator objects to.

use std::fmt;

use serde::Serialize;

/// Kind of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FindingKind {
    /// Access to no allocation, or over the end of one or of shared memory.
    OutOfBounds,
    /// Access to freed memory.
    UseAfterFree,
    /// Address not a multiple of the access's size.
    Misaligned,
    /// Read of bytes that nobody has written.
    UninitialisedRead,
    /// Two threads touch the same bytes, one of them writing, and nothing orders them.
    Race,
    /// Access to bytes to which an asynchronous copy is on its way.
    CopyInFlight,
    /// A barrier that part of a warp does not reach.
    BarrierDivergence,
    /// A warp operation whose lanes are not all there.
    MissingLanes,
    /// Threads wait for something that cannot happen any more.
    Deadlock,
    /// The kernel does not end.
    Livelock,
    /// `trap`.
    Trap,
    /// An operand that the hardware leaves undefined.
    UndefinedOperand,
    /// A copy of the copy engine that the hardware would refuse.
    InvalidCopy,
    /// Use of an mbarrier that the hardware leaves undefined.
    InvalidMbarrier,
}

impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FindingKind::OutOfBounds => "out of bounds",
            FindingKind::UseAfterFree => "use after free",
            FindingKind::Misaligned => "misaligned",
            FindingKind::UninitialisedRead => "uninitialised read",
            FindingKind::Race => "race",
            FindingKind::CopyInFlight => "copy in flight",
            FindingKind::BarrierDivergence => "barrier divergence",
            FindingKind::MissingLanes => "missing lanes",
            FindingKind::Deadlock => "deadlock",
            FindingKind::Livelock => "livelock",
            FindingKind::Trap => "trap",
            FindingKind::UndefinedOperand => "undefined operand",
            FindingKind::InvalidCopy => "invalid copy",
            FindingKind::InvalidMbarrier => "invalid mbarrier",
        })
    }
}

/// An instruction of a kernel and who executed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Party {
    /// Block, x, y, z.
    pub block: [u32; 3],
    /// Thread of the block, x, y, z.
    pub thread: [u32; 3],
    /// The instruction as written in PTX; empty if it is not known any more.
    pub instruction: String,
    /// Line of the PTX; 0 if it is not known.
    pub ptx_line: u32,
    /// `file:line` of the CUDA source, if the PTX has line information.
    pub source: Option<String>,
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [x, y, z] = self.block;
        write!(f, "block ({x}, {y}, {z}) thread ")?;
        match self.thread {
            [x, 0, 0] => write!(f, "{x}")?,
            [x, y, z] => write!(f, "({x}, {y}, {z})")?,
        }
        if self.ptx_line == 0 {
            return Ok(());
        }
        write!(f, " at ")?;
        if let Some(source) = &self.source {
            write!(f, "{source}, ")?;
        }
        write!(f, "PTX line {}, `{}`", self.ptx_line, self.instruction)
    }
}

/// One finding; equal ones of other threads are counted in `count`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Kind.
    pub kind: FindingKind,
    /// Kernel.
    pub kernel: String,
    /// What happened, in words.
    pub message: String,
    /// Who, and where in the code.
    pub party: Party,
    /// The other side of a race.
    pub other: Option<Party>,
    /// The address as allocation and offset, or as offset in shared memory; empty if it is about none.
    pub address: String,
    /// How often it was seen at this instruction.
    pub count: u64,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} in `{}`", self.kind, self.message, self.kernel)?;
        write!(f, "\n  by {}", self.party)?;
        if let Some(other) = &self.other {
            write!(f, "\n  and {other}")?;
        }
        if !self.address.is_empty() {
            write!(f, "\n  at {}", self.address)?;
        }
        if self.count > 1 {
            write!(f, "\n  {} times at this instruction", self.count)?;
        }
        Ok(())
    }
}
