//! What instructions have besides registers: comparisons, atomics, orders, spaces.

/// Comparison of `setp` and `set`, without its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "PTX's own names")]
pub(crate) enum Compare {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    /// Both operands are numbers.
    Num,
    /// One operand is no number.
    Nan,
    Equ,
    Neu,
    Ltu,
    Leu,
    Gtu,
    Geu,
}

/// How `setp` joins its comparison with a third, boolean operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "PTX's own names")]
pub(crate) enum Combine {
    And,
    Or,
    Xor,
}

/// How a type is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "PTX's own names")]
pub(crate) enum CompareType {
    S16,
    U16,
    S32,
    U32,
    S64,
    U64,
    F16,
    Bf16,
    F32,
    F32Ftz,
    F64,
}

/// Operation of an atomic or a reduction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "PTX's own names")]
pub(crate) enum AtomicOperation {
    Add,
    Min,
    Max,
    And,
    Or,
    Xor,
    Exch,
    Cas,
    Inc,
    Dec,
}

/// Element of an atomic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "PTX's own names")]
pub(crate) enum AtomicType {
    B16,
    B32,
    B64,
    S32,
    U32,
    S64,
    U64,
    F16,
    F16x2,
    Bf16,
    Bf16x2,
    F32,
    F64,
}

impl AtomicType {
    /// Size of one element, bytes.
    pub(crate) fn bytes(self) -> u32 {
        use AtomicType::{B16, B32, B64, Bf16, Bf16x2, F16, F16x2, F32, F64, S32, S64, U32, U64};
        match self {
            B16 | F16 | Bf16 => 2,
            B32 | S32 | U32 | F16x2 | Bf16x2 | F32 => 4,
            B64 | S64 | U64 | F64 => 8,
        }
    }
}

/// Memory ordering of an access or a fence (PTX ISA, memory consistency model).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "PTX's own names")]
pub(crate) enum Order {
    Weak,
    Relaxed,
    Acquire,
    Release,
    AcqRel,
}

impl Order {
    /// Whether later accesses come after it.
    pub(crate) fn acquires(self) -> bool {
        matches!(self, Order::Acquire | Order::AcqRel)
    }

    /// Whether earlier accesses come before it.
    pub(crate) fn releases(self) -> bool {
        matches!(self, Order::Release | Order::AcqRel)
    }
}

/// State space that an access names; generic ones are told apart by address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "PTX's own names")]
pub(crate) enum AccessSpace {
    Generic,
    Global,
    Shared,
    Local,
    Param,
    Const,
}

/// How `shfl` finds its source lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "PTX's own names")]
pub(crate) enum Shuffle {
    Up,
    Down,
    Butterfly,
    Index,
}

/// What `vote` returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "PTX's own names")]
pub(crate) enum Vote {
    All,
    Any,
    Uni,
    Ballot,
}

/// Operation of `redux`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "PTX's own names")]
pub(crate) enum Redux {
    Add,
    MinS,
    MinU,
    MaxS,
    MaxU,
    And,
    Or,
    Xor,
}

/// A predefined, read-only register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "PTX's own names")]
pub(crate) enum Special {
    Tid(u8),
    Ntid(u8),
    Ctaid(u8),
    Nctaid(u8),
    LaneId,
    WarpId,
    NwarpId,
    SmId,
    NsmId,
    GridId,
    LanemaskEq,
    LanemaskLt,
    LanemaskLe,
    LanemaskGt,
    LanemaskGe,
    Clock,
    Clock64,
    GlobalTimer,
    DynamicSharedBytes,
    TotalSharedBytes,
    /// Always 0: `%cluster_ctarank` and the like, where clusters are single blocks.
    Zero,
    /// Always 1: `%cluster_nctarank` and the like.
    One,
}

/// A load or store of registers: what is the same for all lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Access {
    /// Where.
    pub(crate) space: AccessSpace,
    /// Bytes of one element in memory: 1, 2, 4, 8.
    pub(crate) element_bytes: u8,
    /// Elements: 1, 2, 4 or 8.
    pub(crate) elements: u8,
    /// Loads extend the sign of elements narrower than their register.
    pub(crate) signed: bool,
    /// Whether the registers are 64 bits wide.
    pub(crate) wide: bool,
    /// Whether the address register is 64 bits wide.
    pub(crate) wide_address: bool,
    /// Ordering.
    pub(crate) order: Order,
}

impl Access {
    /// Bytes a lane moves.
    pub(crate) fn bytes(self) -> u32 {
        u32::from(self.element_bytes) * u32::from(self.elements)
    }
}

/// An atomic or reduction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Atomic {
    /// Where.
    pub(crate) space: AccessSpace,
    /// What.
    pub(crate) operation: AtomicOperation,
    /// On what.
    pub(crate) ty: AtomicType,
    /// Elements (vector reductions of `sm_90` have more than one).
    pub(crate) elements: u8,
    /// Whether the old value is returned.
    pub(crate) returns: bool,
    /// Whether the address register is 64 bits wide.
    pub(crate) wide_address: bool,
    /// Ordering.
    pub(crate) order: Order,
}

/// A comparison that sets predicates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SetP {
    /// The comparison.
    pub(crate) compare: Compare,
    /// Of what.
    pub(crate) ty: CompareType,
    /// Joined with predicate `c`, negated where the flag says so.
    pub(crate) combine: Option<(Combine, bool)>,
}

/// What a barrier instruction does.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent properties of an instruction"
)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BarrierKind {
    /// Waits for the others; `false` for `arrive`.
    pub(crate) waits: bool,
    /// All threads of a warp must execute it together.
    pub(crate) aligned: bool,
    /// Has a thread count.
    pub(crate) counted: bool,
    /// The barrier's number is in register `a`, not in `imm`.
    pub(crate) dynamic: bool,
    /// Reduces predicate `q` (negated where set) into `p` or, for popc, into `d`.
    pub(crate) reduction: Option<BarrierReduction>,
}

/// What an arrival at an mbarrier does.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent properties of an instruction"
)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// Counts for several.
    pub(crate) has_count: bool,
    /// Expects bytes of copies.
    pub(crate) expects: bool,
    /// Returns the state.
    pub(crate) returns: bool,
    /// May complete the phase.
    pub(crate) may_complete: bool,
    /// What the thread did before comes before what others do who wait.
    pub(crate) releases: bool,
}

/// `bar.red`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "PTX's own names")]
pub(crate) enum BarrierReduction {
    Popc,
    And,
    Or,
}
