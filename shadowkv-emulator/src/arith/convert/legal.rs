//! Which combinations of types and modifiers `cvt` takes.

use super::{Conversion, Rounding};
use crate::arith::float::Direction;
use crate::ptx::ast::ScalarType;
use crate::ptx::ast::ScalarType::{
    Bf16, Bf16x2, E4m3x2, E5m2x2, F16, F16x2, F32, F64, S8, S16, S32, S64, Tf32, U8, U16, U32, U64,
};

pub(super) fn is_integer(ty: ScalarType) -> bool {
    matches!(ty, U8 | S8 | U16 | S16 | U32 | S32 | U64 | S64)
}

fn is_float(ty: ScalarType) -> bool {
    matches!(ty, F16 | Bf16 | F32 | F64)
}

/// Whether every value of the integer type `inner` is one of `outer`.
fn contains(outer: ScalarType, inner: ScalarType) -> bool {
    match (outer.is_signed(), inner.is_signed()) {
        (false, true) => false,
        (true, false) => outer.bytes() > inner.bytes(),
        _ => outer.bytes() >= inner.bytes(),
    }
}

/// Whether `conversion` is one that ptxas takes for some chip up to `sm_90`.
pub(super) fn is_legal(conversion: Conversion) -> bool {
    let Conversion {
        to,
        from,
        rounding,
        ftz,
        sat,
        satfinite,
        relu,
    } = conversion;
    // `.rna` is `tf32`'s alone.
    let directed = matches!(rounding, Some(Rounding::Number(direction)) if direction != Direction::NearestAway);
    let to_integer = matches!(rounding, Some(Rounding::Integer(_)));
    let near_or_zero = matches!(
        rounding,
        Some(Rounding::Number(Direction::NearestEven | Direction::Zero))
    );
    let nearest = rounding == Some(Rounding::Number(Direction::NearestEven));
    // `.relu` and `.satfinite` exist for some packed and 16-bit results only.
    let plain = !relu && !satfinite;
    match (to, from) {
        (to, from) if is_integer(to) && is_integer(from) => {
            rounding.is_none() && !ftz && plain && !(sat && contains(to, from))
        }
        (to, from) if is_float(to) && is_integer(from) => {
            directed && !ftz && plain && !(to == Bf16 && (sat || from.bytes() == 1))
        }
        (to, from) if is_integer(to) && is_float(from) => {
            to_integer
                && plain
                && (!ftz || from == F32)
                && !(from == Bf16 && (sat || to.bytes() == 1))
        }
        (F16 | Bf16, F32) if !plain => near_or_zero && !(sat && (to == Bf16 || satfinite || relu)),
        (F16, F32) | (F32, F64) => directed && plain,
        (Bf16, F32) => directed && plain && !sat,
        (F16, F64) => directed && plain && !ftz,
        (Bf16, F64) => directed && plain && !ftz && !sat,
        (Bf16, F16) | (F16, Bf16) => (directed || rounding.is_none()) && plain && !ftz && !sat,
        (F64, F32) | (F32, F16) => rounding.is_none() && plain,
        (F64, F16) => rounding.is_none() && plain && !ftz,
        (F32, Bf16) => rounding.is_none() && plain && !sat,
        (F64, Bf16) => rounding.is_none() && plain && !ftz && !sat,
        (to, from) if to == from && is_float(to) => {
            (to_integer || rounding.is_none())
                && plain
                && (!ftz || to == F32)
                && !(sat && to == Bf16)
        }
        (Tf32, F32) => {
            let away = rounding == Some(Rounding::Number(Direction::NearestAway));
            !ftz && !sat && ((away && !relu) || (near_or_zero && !satfinite))
        }
        (F16x2 | Bf16x2, F32) => near_or_zero && !ftz && !sat,
        (E4m3x2 | E5m2x2, F32 | F16x2) => nearest && satfinite && !ftz && !sat,
        (F16x2, E4m3x2 | E5m2x2) => nearest && !satfinite && !ftz && !sat,
        _ => false,
    }
}
