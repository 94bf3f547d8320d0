//! What an instruction does, decided once when a kernel is loaded.

use crate::arith::convert::Conversion;
use crate::arith::half::HalfOperation;
use crate::arith::integer::PermuteMode;
use crate::arith::tensor::MmaKind;

use super::operations::{
    Access, AccessSpace, Arrival, Atomic, BarrierKind, Compare, CompareType, Order, Redux, SetP,
    Shuffle, Special, Vote,
};

/// What to do. Operands are in [`super::Inst`]: `d` the destination, `a`, `b`, `c` the sources, `p` and `q` predicates, `imm` a
/// number, `list` further registers.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(
    missing_docs,
    reason = "PTX's own names; the operand convention is above"
)]
pub(crate) enum Code {
    // Moves.
    Mov32,
    Mov64,
    MovPred,
    ReadSpecial(Special),
    /// 64 bits into the registers of `list`, each of `imm` bits.
    Unpack,
    /// The registers of `list`, each of `imm` bits, into one register.
    Pack {
        wide: bool,
    },
    /// The parameter word at byte `imm`, the same for all lanes.
    LoadParameter {
        element_bytes: u8,
        signed: bool,
        wide: bool,
    },

    // 32-bit integers and bits.
    Add32,
    Sub32,
    MulLo32,
    MulHiS32,
    MulHiU32,
    MadLo32,
    MadHiS32,
    MadHiU32,
    And32,
    Or32,
    Xor32,
    Not32,
    Shl32,
    ShrU32,
    ShrS32,
    MinS32,
    MinU32,
    MaxS32,
    MaxU32,
    Neg32,
    Abs32,
    DivS32,
    DivU32,
    RemS32,
    RemU32,
    Sel32,
    Popc32,
    Clz32,
    Brev32,
    Bfi32,
    BfeU32,
    BfeS32,
    Prmt(PermuteMode),
    Lop3,
    FunnelLeft {
        clamp: bool,
    },
    FunnelRight {
        clamp: bool,
    },
    SadS32,
    SadU32,
    Mul24LoS,
    Mul24LoU,
    FindU32 {
        shift: bool,
    },
    FindS32 {
        shift: bool,
    },
    Dp4a {
        a_signed: bool,
        b_signed: bool,
    },
    Dp2a {
        a_signed: bool,
        b_signed: bool,
        high: bool,
    },
    AddSatS32,
    SubSatS32,

    // 64-bit integers and bits.
    Add64,
    Sub64,
    MulLo64,
    MulHiU64,
    MulHiS64,
    MadLo64,
    MulWideS32,
    MulWideU32,
    MadWideS32,
    MadWideU32,
    And64,
    Or64,
    Xor64,
    Not64,
    Shl64,
    ShrU64,
    ShrS64,
    MinS64,
    MinU64,
    MaxS64,
    MaxU64,
    Neg64,
    Abs64,
    DivS64,
    DivU64,
    RemS64,
    RemU64,
    Sel64,
    Popc64,
    Clz64,
    Brev64,
    Bfi64,
    BfeU64,
    BfeS64,

    // 16-bit integers and bits, zero-extended in 32.
    Add16,
    Sub16,
    MulLo16,
    MulHiS16,
    MulHiU16,
    MadLo16,
    MulWideS16,
    MulWideU16,
    MadWideS16,
    MadWideU16,
    And16,
    Or16,
    Xor16,
    Not16,
    Shl16,
    ShrU16,
    ShrS16,
    MinS16,
    MinU16,
    MaxS16,
    MaxU16,
    Neg16,
    Abs16,
    DivS16,
    DivU16,
    RemS16,
    RemU16,

    // Predicates.
    AndPred,
    OrPred,
    XorPred,
    NotPred,
    /// `d|q = (a op b) combined with c-th predicate`; see [`SetP`].
    SetP(SetP),
    /// `set`: all ones, or 1.0, where true.
    Set {
        compare: Compare,
        ty: CompareType,
        float: bool,
    },

    // f32.
    AddF32,
    SubF32,
    MulF32,
    FmaF32,
    AddF32Ftz,
    SubF32Ftz,
    MulF32Ftz,
    FmaF32Ftz,
    /// Saturated to [0, 1]: 0 add, 1 sub, 2 mul, 3 fma.
    SatF32(u8, bool),
    MinF32 {
        ftz: bool,
        nan: bool,
    },
    MaxF32 {
        ftz: bool,
        nan: bool,
    },
    NegF32 {
        ftz: bool,
    },
    AbsF32 {
        ftz: bool,
    },
    DivF32 {
        ftz: bool,
    },
    DivApproxF32 {
        ftz: bool,
    },
    DivFullF32 {
        ftz: bool,
    },
    SqrtF32 {
        ftz: bool,
    },
    SqrtApproxF32 {
        ftz: bool,
    },
    RcpF32 {
        ftz: bool,
    },
    RcpApproxF32 {
        ftz: bool,
    },
    RsqrtApproxF32 {
        ftz: bool,
    },
    Ex2ApproxF32 {
        ftz: bool,
    },
    Lg2ApproxF32 {
        ftz: bool,
    },
    SinApproxF32 {
        ftz: bool,
    },
    CosApproxF32 {
        ftz: bool,
    },
    TanhApproxF32,
    CopysignF32,

    // f64.
    AddF64,
    SubF64,
    MulF64,
    FmaF64,
    DivF64,
    SqrtF64,
    RcpF64,
    MinF64,
    MaxF64,
    NegF64,
    AbsF64,

    /// f16, bf16 and their pairs.
    Half(HalfOperation),

    // Conversions.
    CvtS64FromS32,
    CvtU64FromU32,
    /// The low 32 bits.
    CvtLow32,
    /// The low 16 bits.
    CvtLow16,
    CvtF32FromS32,
    CvtF32FromU32,
    CvtS32FromF32 {
        nearest: bool,
    },
    CvtRintF32,
    CvtBf16x2,
    Cvt {
        conversion: Conversion,
        from_wide: bool,
        to_wide: bool,
    },

    // Memory.
    Load(Access),
    Store(Access),
    Atomic(Atomic),
    /// Generic address to and from a window.
    CvtaToGeneric(AccessSpace),
    CvtaFromGeneric(AccessSpace),
    /// `imm` bytes from `[b + c-offset]` (global) to `[a]` (shared); source size in `c` where `p` says so.
    CpAsync {
        bytes: u8,
        has_size: bool,
        wide_shared: bool,
    },
    CpAsyncCommit,
    /// All but the newest `imm` groups.
    CpAsyncWait,
    CpAsyncWaitAll,
    LdMatrix {
        matrices: u8,
        transposed: bool,
        wide_address: bool,
    },
    StMatrix {
        matrices: u8,
        transposed: bool,
        wide_address: bool,
    },
    Fence(Order),

    // Warps.
    Shuffle {
        mode: Shuffle,
    },
    Vote {
        vote: Vote,
    },
    MatchAny {
        wide: bool,
    },
    MatchAll {
        wide: bool,
    },
    Redux(Redux),
    ActiveMask,
    Mma(MmaKind),
    Elect,

    // mbarrier and bulk copies (sm_90).
    MbarrierInit,
    MbarrierInval,
    /// Arrivals, or the bytes that are expected, in `b`.
    MbarrierArrive(Arrival),
    MbarrierExpect,
    /// `p = ` the phase of parity (or token) `b` is complete.
    MbarrierWait {
        parity: bool,
        acquires: bool,
    },
    /// A tile of the tensor whose map is at `[b + imm]` to `[a]` of shared memory; coordinates in `list`, the mbarrier behind
    /// them.
    TensorLoad {
        dimensions: u8,
    },
    TensorStore {
        dimensions: u8,
    },
    /// `c` bytes from `[b + imm]` to `[a]` of shared memory; the mbarrier in `list`.
    BulkLoad,
    /// `c` bytes from `[b]` of shared memory to `[a + imm]`.
    BulkStore,
    BulkCommit,
    /// All but the newest `imm` groups; of their sources alone where `read_only` says so.
    BulkWait {
        read_only: bool,
    },
    /// `fence.proxy.async`: copies see what was written to shared memory.
    ProxyFence,

    // Control.
    Nop,
    /// To instruction `imm`.
    Branch,
    Exit,
    Trap,
    /// Barrier `a` or `imm`, of `b` threads where given; see [`BarrierKind`].
    Barrier(BarrierKind),
    WarpSync,
    ClusterArrive,
    ClusterWait,
    Sleep,
}
