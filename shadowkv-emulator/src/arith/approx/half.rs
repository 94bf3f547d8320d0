//! `ex2` and `tanh` of 16-bit floats: through the singles' functions, and cut once more.

use super::unit;
use crate::arith::Lanes32;
use crate::arith::float;

/// A function of one 16-bit float, in the lower half of a word.
macro_rules! halves {
    ($($(#[$doc:meta])* $scalar:ident, $packed:ident = $lane:expr;)*) => {$(
        $(#[$doc])*
        /// of the lower halves; the upper halves of the result are 0
        #[inline(always)]
        pub fn $scalar(x: &Lanes32) -> Lanes32 {
            let mut d = [0; 32];
            for (d, &x) in d.iter_mut().zip(x) {
                *d = $lane(x & 0xffff);
            }
            d
        }

        $(#[$doc])*
        /// of both halves
        #[inline(always)]
        pub fn $packed(x: &Lanes32) -> Lanes32 {
            let mut d = [0; 32];
            for (d, &x) in d.iter_mut().zip(x) {
                *d = $lane(x & 0xffff) | ($lane(x >> 16) << 16);
            }
            d
        }
    )*};
}

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
        result | (bits >> 16 & 0x8000)
    }
}

/// The `bf16` next to zero.
#[inline(always)]
fn bf16_cut(bits: u32) -> u32 {
    bits >> 16
}

#[inline(always)]
fn ex2_f16(x: u32) -> u32 {
    f16_cut(unit::ex2(float::f32_from_f16(x).to_bits()))
}

#[inline(always)]
fn ex2_bf16(x: u32) -> u32 {
    bf16_cut(unit::ex2(x << 16))
}

#[inline(always)]
fn tanh_f16(x: u32) -> u32 {
    f16_cut(unit::tanh(float::f32_from_f16(x).to_bits()))
}

#[inline(always)]
fn tanh_bf16(x: u32) -> u32 {
    bf16_cut(unit::tanh(x << 16))
}

halves! {
    /// `ex2.approx.f16`
    ex2_approx_f16, ex2_approx_f16x2 = ex2_f16;
    /// `ex2.approx.ftz.bf16`
    ex2_approx_ftz_bf16, ex2_approx_ftz_bf16x2 = ex2_bf16;
    /// `tanh.approx.f16`
    tanh_approx_f16, tanh_approx_f16x2 = tanh_f16;
    /// `tanh.approx.bf16`
    tanh_approx_bf16, tanh_approx_bf16x2 = tanh_bf16;
}
