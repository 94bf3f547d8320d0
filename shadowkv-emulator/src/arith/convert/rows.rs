//! Conversions that kernels are full of, as straight loops.

use super::legal::is_integer;
use super::{Conversion, Rounding};
use crate::arith::float::{self, Direction};
use crate::arith::{Lanes32, Lanes64};
use crate::ptx::ast::ScalarType::{Bf16, Bf16x2, F16, F32, F64, S8, S32, U32};

/// One function of a lane over 32.
macro_rules! rows {
    ($($(#[$doc:meta])* $name:ident: $from:ty => $to:ty = $lane:expr;)*) => {$(
        $(#[$doc])*
        #[inline(always)]
        pub fn $name(a: &[$from; 32]) -> [$to; 32] {
            let mut d = [0; 32];
            for (d, &a) in d.iter_mut().zip(a) {
                *d = $lane(a);
            }
            d
        }
    )*};
}

rows! {
    /// `cvt.rn.f32.s32`
    f32_from_s32: u32 => u32 = |a: u32| (a as i32 as f32).to_bits();
    /// `cvt.rn.f32.u32`
    f32_from_u32: u32 => u32 = |a: u32| (a as f32).to_bits();
    /// `cvt.rni.s32.f32`
    s32_from_f32_rni: u32 => u32 = |a: u32| float::rint(f32::from_bits(a)) as i32 as u32;
    /// `cvt.rzi.s32.f32`
    s32_from_f32_rzi: u32 => u32 = |a: u32| f32::from_bits(a) as i32 as u32;
    /// `cvt.rni.f32.f32`
    rint_f32: u32 => u32 = |a: u32| float::rint(f32::from_bits(a)).to_bits();
    /// `cvt.s64.s32`
    s64_from_s32: u32 => u64 = |a: u32| i64::from(a as i32) as u64;
    /// `cvt.u64.u32`
    u64_from_u32: u32 => u64 = u64::from;
    /// `cvt.f32.bf16`, the source in the lower half
    f32_from_bf16: u32 => u32 = |a: u32| float::f32_from_bf16(a).to_bits();
    /// `cvt.f32.f16`, the source in the lower half
    f32_from_f16: u32 => u32 = |a: u32| float::f32_from_f16(a).to_bits();
    /// `cvt.rn.bf16.f32`, the result in the lower half
    bf16_from_f32: u32 => u32 = |a: u32| float::bf16_from_f32(f32::from_bits(a));
    /// `cvt.rn.f16.f32`, the result in the lower half
    f16_from_f32: u32 => u32 = |a: u32| float::f16_from_f32(f32::from_bits(a));
}

/// `cvt.rn.bf16x2.f32`: `high` in the upper half of the result, `low` in the lower.
#[inline(always)]
pub fn bf16x2_from_f32(high: &Lanes32, low: &Lanes32) -> Lanes32 {
    let mut d = [0; 32];
    for ((d, &high), &low) in d.iter_mut().zip(high).zip(low) {
        *d = (float::bf16_from_f32(f32::from_bits(high)) << 16)
            | float::bf16_from_f32(f32::from_bits(low));
    }
    d
}

/// `cvt.rn.f16x2.f32`: `high` in the upper half of the result, `low` in the lower.
#[inline(always)]
pub fn f16x2_from_f32(high: &Lanes32, low: &Lanes32) -> Lanes32 {
    let mut d = [0; 32];
    for ((d, &high), &low) in d.iter_mut().zip(high).zip(low) {
        *d = (float::f16_from_f32(f32::from_bits(high)) << 16)
            | float::f16_from_f32(f32::from_bits(low));
    }
    d
}

/// The lower halves.
#[inline(always)]
fn narrow(a: &Lanes64) -> Lanes32 {
    let mut d = [0; 32];
    for (d, &a) in d.iter_mut().zip(a) {
        *d = a as u32;
    }
    d
}

/// Converts if there is a row for `conversion`; returns whether there was.
#[inline(always)]
pub(super) fn convert(conversion: Conversion, a: &Lanes64, b: &Lanes64, d: &mut Lanes64) -> bool {
    let Conversion {
        to,
        from,
        rounding,
        ftz,
        sat,
        satfinite,
        relu,
    } = conversion;
    if sat || satfinite || relu {
        return false;
    }
    if is_integer(to) && is_integer(from) {
        integers(conversion, a, d);
        return true;
    }
    let singles = match (to, from, rounding) {
        (F32, S32, NEAREST) => f32_from_s32(&narrow(a)),
        (F32, U32, NEAREST) => f32_from_u32(&narrow(a)),
        // A denormal becomes zero whether it is flushed before or not.
        (S32, F32, Some(Rounding::Integer(Direction::NearestEven))) => s32_from_f32_rni(&narrow(a)),
        (S32, F32, Some(Rounding::Integer(Direction::Zero))) => s32_from_f32_rzi(&narrow(a)),
        (F32, F32, Some(Rounding::Integer(Direction::NearestEven))) => rint_f32(&narrow(a)),
        _ if ftz => return false,
        (Bf16x2, F32, NEAREST) => bf16x2_from_f32(&narrow(a), &narrow(b)),
        (Bf16, F32, NEAREST) => bf16_from_f32(&narrow(a)),
        (F16, F32, NEAREST) => f16_from_f32(&narrow(a)),
        (F32, Bf16, _) => f32_from_bf16(&narrow(a)),
        (F32, F16, _) => f32_from_f16(&narrow(a)),
        (F64, F32, _) => {
            for (d, &a) in d.iter_mut().zip(a) {
                *d = f64_from_f32(a as u32);
            }
            return true;
        }
        (F32, F64, NEAREST) => {
            for (d, &a) in d.iter_mut().zip(a) {
                *d = u64::from(f32_from_f64(a));
            }
            return true;
        }
        _ => return false,
    };
    *d = u64_from_u32(&singles);
    true
}

const NEAREST: Option<Rounding> = Some(Rounding::Number(Direction::NearestEven));

/// The double that a single is; Rust leaves open what a NaN becomes.
#[inline(always)]
fn f64_from_f32(bits: u32) -> u64 {
    let value = f64::from(f32::from_bits(bits)).to_bits();
    let payload = u64::from(bits & 0x007f_ffff) << 29;
    let nan = (u64::from(bits & 0x8000_0000) << 32) | 0x7ff8_0000_0000_0000 | payload;
    if bits & 0x7fff_ffff > 0x7f80_0000 {
        nan
    } else {
        value
    }
}

/// The nearest single; a NaN keeps what fits.
#[inline(always)]
fn f32_from_f64(bits: u64) -> u32 {
    let value = (f64::from_bits(bits) as f32).to_bits();
    let nan =
        ((bits >> 32) as u32 & 0x8000_0000) | 0x7fc0_0000 | ((bits >> 29) as u32 & 0x007f_ffff);
    if bits & 0x7fff_ffff_ffff_ffff > 0x7ff0_0000_0000_0000 {
        nan
    } else {
        value
    }
}

/// Integers, wrapping.
#[inline(always)]
fn integers(conversion: Conversion, a: &Lanes64, d: &mut Lanes64) {
    let unused = 64 - 8 * conversion.from.bytes();
    // A sign matters only where the result is wider; there, it is in the bits that follow.
    let mask = u64::MAX >> (64 - 8 * conversion.to.bytes());
    if conversion.from.is_signed() {
        for (d, &a) in d.iter_mut().zip(a) {
            *d = ((a << unused) as i64 >> unused) as u64 & mask;
        }
    } else {
        for (d, &a) in d.iter_mut().zip(a) {
            *d = a << unused >> unused & mask;
        }
    }
    if conversion.to == S8 {
        for d in d.iter_mut() {
            *d = u64::from(i16::from(*d as i8) as u16);
        }
    }
}
