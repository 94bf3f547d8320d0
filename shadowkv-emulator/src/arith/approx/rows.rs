//! What PTX makes of the multi-function unit, for singles (PTX ISA, floating point instructions).
//!
//! The unit flushes denormals. Without `.ftz`, arguments and results are scaled around it, as ptxas does.

use super::unit;
use crate::arith::{Lanes32, single};

/// Functions of a lane over 32.
macro_rules! rows {
    ($($(#[$doc:meta])* $name:ident($($source:ident),+) = $lane:expr;)*) => {$(
        $(#[$doc])*
        #[inline(always)]
        pub fn $name($($source: &Lanes32),+) -> Lanes32 {
            let mut d = [0; 32];
            for (lane, d) in d.iter_mut().enumerate() {
                $(let $source = $source[lane];)+
                *d = $lane;
            }
            d
        }
    )*};
}

/// `2^exponent`
const fn power(exponent: i32) -> f32 {
    f32::from_bits(((127 + exponent) as u32) << 23)
}

/// Whether `bits` are those of a denormal or zero.
#[inline(always)]
fn is_denormal(bits: u32) -> bool {
    bits & unit::INFINITY == 0
}

/// `x * y` as the floating-point unit gives it.
#[inline(always)]
fn times(x: u32, y: f32) -> u32 {
    single::result(f32::from_bits(x) * y)
}

#[inline(always)]
fn ex2(x: u32) -> u32 {
    let low = f32::from_bits(x) < -126.0;
    let result = unit::ex2(if low { times(x, 0.5) } else { x });
    if low {
        times(result, f32::from_bits(result))
    } else {
        result
    }
}

#[inline(always)]
fn lg2(x: u32) -> u32 {
    let low = is_denormal(x);
    let result = unit::lg2(if low { times(x, power(24)) } else { x });
    let less = single::result(f32::from_bits(result) - 24.0);
    if low { less } else { result }
}

/// A factor that brings a divisor into the unit's range.
#[inline(always)]
fn divisor_scale(x: u32) -> f32 {
    let magnitude = f32::from_bits(x & 0x7fff_ffff);
    let scale = if magnitude > power(126) {
        power(-2)
    } else {
        1.0
    };
    if is_denormal(x) { power(24) } else { scale }
}

#[inline(always)]
fn rcp(x: u32) -> u32 {
    let scale = divisor_scale(x);
    times(unit::rcp(times(x, scale)), scale)
}

#[inline(always)]
fn rsqrt(x: u32) -> u32 {
    let low = is_denormal(x);
    let result = unit::rsqrt(if low { times(x, power(24)) } else { x });
    if low {
        times(result, power(12))
    } else {
        result
    }
}

#[inline(always)]
fn sqrt(x: u32) -> u32 {
    let low = is_denormal(x);
    let result = unit::sqrt(if low { times(x, power(24)) } else { x });
    if low {
        times(result, power(-12))
    } else {
        result
    }
}

/// `div.full`: in range whatever the divisor.
#[inline(always)]
fn div_full_lane(a: u32, b: u32) -> u32 {
    let scale = divisor_scale(b);
    times(times(a, scale), f32::from_bits(unit::rcp(times(b, scale))))
}

/// `div.approx`: zero for divisors whose reciprocal is denormal.
#[inline(always)]
fn div_approx_lane(a: u32, b: u32) -> u32 {
    let scale = if is_denormal(b) { power(24) } else { 1.0 };
    times(times(a, scale), f32::from_bits(unit::rcp(times(b, scale))))
}

#[inline(always)]
fn div_approx_ftz_lane(a: u32, b: u32) -> u32 {
    single::mul_ftz(a, unit::rcp(b))
}

#[inline(always)]
fn div_full_ftz_lane(a: u32, b: u32) -> u32 {
    let large = f32::from_bits(b & 0x7fff_ffff) > power(126);
    let scale = if large { power(-2) } else { 1.0 }.to_bits();
    single::mul_ftz(
        single::mul_ftz(a, scale),
        unit::rcp(single::mul_ftz(b, scale)),
    )
}

rows! {
    /// `ex2.approx.f32`
    ex2_approx(x) = ex2(x);
    /// `ex2.approx.ftz.f32`
    ex2_approx_ftz(x) = unit::ex2(x);
    /// `lg2.approx.f32`
    lg2_approx(x) = lg2(x);
    /// `lg2.approx.ftz.f32`
    lg2_approx_ftz(x) = unit::lg2(x);
    /// `rcp.approx.f32`
    rcp_approx(x) = rcp(x);
    /// `rcp.approx.ftz.f32`
    rcp_approx_ftz(x) = unit::rcp(x);
    /// `rsqrt.approx.f32`
    rsqrt_approx(x) = rsqrt(x);
    /// `rsqrt.approx.ftz.f32`
    rsqrt_approx_ftz(x) = unit::rsqrt(x);
    /// `sqrt.approx.f32`
    sqrt_approx(x) = sqrt(x);
    /// `sqrt.approx.ftz.f32`
    sqrt_approx_ftz(x) = unit::sqrt(x);
    /// `sin.approx.f32`, `sin.approx.ftz.f32`
    sin_approx(x) = unit::sin(x, 0);
    /// `cos.approx.f32`, `cos.approx.ftz.f32`
    cos_approx(x) = unit::sin(x, 1);
    /// `tanh.approx.f32`
    tanh_approx(x) = unit::tanh(x);
    /// `div.approx.f32`
    div_approx(a, b) = div_approx_lane(a, b);
    /// `div.approx.ftz.f32`
    div_approx_ftz(a, b) = div_approx_ftz_lane(a, b);
    /// `div.full.f32`
    div_full(a, b) = div_full_lane(a, b);
    /// `div.full.ftz.f32`
    div_full_ftz(a, b) = div_full_ftz_lane(a, b);
}
