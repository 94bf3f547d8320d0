//! `ex2` and `tanh` of 16-bit floats: through the singles' functions, and cut once more.

use super::unit;
use crate::arith::Lanes32;
use crate::arith::float;

/// The `f16` next to zero; infinity from 2^16 up.
#[inline(always)]
fn f16_cut(bits: u32) -> u32 {
    let magnitude = bits & 0x7fff_ffff;
    let normal = magnitude.wrapping_sub(112 << 23) >> 13;
    // Denormals are multiples of 2^-24.
    let denormal =
        (f32::from_bits(magnitude.min(113 << 23)) * f32::from_bits((127 + 24) << 23)) as u32;
    let result = if magnitude < 113 << 23 {
        denormal
    } else {
        normal
    };
    let result = if magnitude >= 143 << 23 {
        0x7c00
    } else {
        result
    };
    if magnitude > unit::INFINITY {
        0x7fff
    } else {
        result | ((bits >> 16) & 0x8000)
    }
}

/// The lower halves, or the upper ones, as singles.
#[inline(always)]
fn widen<const BF16: bool, const UPPER: bool>(x: &Lanes32) -> Lanes32 {
    let mut d = [0; 32];
    for (d, &x) in d.iter_mut().zip(x) {
        let bits = if UPPER { x >> 16 } else { x & 0xffff };
        *d = if BF16 {
            bits << 16
        } else {
            float::f32_from_f16(bits).to_bits()
        };
    }
    d
}

/// Cuts `low` to the lower halves and `high` to the upper ones.
#[inline(always)]
fn narrow<const BF16: bool>(low: &Lanes32, high: &Lanes32) -> Lanes32 {
    let mut d = [0; 32];
    for ((d, &low), &high) in d.iter_mut().zip(low).zip(high) {
        *d = if BF16 {
            (low >> 16) | (high & 0xffff_0000)
        } else {
            f16_cut(low) | (f16_cut(high) << 16)
        };
    }
    d
}

/// A function of the lower halves, and of both.
macro_rules! halves {
    ($($(#[$doc:meta])* $scalar:ident, $packed:ident = $unit:path, $bf16:literal;)*) => {$(
        $(#[$doc])*
        /// of the lower halves; the upper halves of the result are 0
        #[inline(always)]
        pub fn $scalar(x: &Lanes32) -> Lanes32 {
            narrow::<$bf16>(&$unit(&widen::<$bf16, false>(x)), &[0; 32])
        }

        $(#[$doc])*
        /// of both halves
        #[inline(always)]
        pub fn $packed(x: &Lanes32) -> Lanes32 {
            narrow::<$bf16>(&$unit(&widen::<$bf16, false>(x)), &$unit(&widen::<$bf16, true>(x)))
        }
    )*};
}

halves! {
    /// `ex2.approx.f16`
    ex2_approx_f16, ex2_approx_f16x2 = unit::ex2, false;
    /// `ex2.approx.ftz.bf16`
    ex2_approx_ftz_bf16, ex2_approx_ftz_bf16x2 = unit::ex2, true;
    /// `tanh.approx.f16`
    tanh_approx_f16, tanh_approx_f16x2 = unit::tanh, false;
    /// `tanh.approx.bf16`
    tanh_approx_bf16, tanh_approx_bf16x2 = unit::tanh, true;
}
