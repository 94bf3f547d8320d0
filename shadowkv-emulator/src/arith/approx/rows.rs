//! What PTX makes of the multi-function unit, for singles (PTX ISA, floating point instructions).
//!
//! The unit flushes denormals. Without `.ftz`, arguments and results are scaled around it, as ptxas does.

use super::unit;
use crate::arith::{Lanes32, single};

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

/// `x`, denormals times 2^24.
#[inline(always)]
fn normal(x: u32) -> u32 {
    if is_denormal(x) {
        times(x, power(24))
    } else {
        x
    }
}

/// A factor that brings a divisor into the unit's range.
#[inline(always)]
fn divisor_scale(x: u32) -> f32 {
    let scale = f32::from_bits(large_divisor_scale(x));
    if is_denormal(x) { power(24) } else { scale }
}

/// A factor, as bits, that brings a large divisor into the unit's range.
#[inline(always)]
fn large_divisor_scale(x: u32) -> u32 {
    let magnitude = f32::from_bits(x & 0x7fff_ffff);
    if magnitude > power(126) {
        power(-2)
    } else {
        1.0
    }
    .to_bits()
}

/// Below what `ex2` is scaled.
#[inline(always)]
fn is_low(x: u32) -> bool {
    f32::from_bits(x) < -126.0
}

/// An expression of every lane.
macro_rules! each {
    (|$($name:ident),+| $lane:expr) => {{
        let mut d = [0; 32];
        for (lane, d) in d.iter_mut().enumerate() {
            $(let $name = $name[lane];)+
            *d = $lane;
        }
        d
    }};
}

/// `ex2.approx.f32`
#[inline(always)]
pub fn ex2_approx(x: &Lanes32) -> Lanes32 {
    let d = unit::ex2(&each!(|x| if is_low(x) { times(x, 0.5) } else { x }));
    each!(|x, d| if is_low(x) {
        times(d, f32::from_bits(d))
    } else {
        d
    })
}

/// `ex2.approx.ftz.f32`
#[inline(always)]
pub fn ex2_approx_ftz(x: &Lanes32) -> Lanes32 {
    unit::ex2(x)
}

/// `lg2.approx.f32`
#[inline(always)]
pub fn lg2_approx(x: &Lanes32) -> Lanes32 {
    let d = unit::lg2(&each!(|x| normal(x)));
    each!(|x, d| if is_denormal(x) {
        single::result(f32::from_bits(d) - 24.0)
    } else {
        d
    })
}

/// `lg2.approx.ftz.f32`
#[inline(always)]
pub fn lg2_approx_ftz(x: &Lanes32) -> Lanes32 {
    unit::lg2(x)
}

/// `rcp.approx.f32`
#[inline(always)]
pub fn rcp_approx(x: &Lanes32) -> Lanes32 {
    let d = unit::rcp(&each!(|x| times(x, divisor_scale(x))));
    each!(|x, d| times(d, divisor_scale(x)))
}

/// `rcp.approx.ftz.f32`
#[inline(always)]
pub fn rcp_approx_ftz(x: &Lanes32) -> Lanes32 {
    unit::rcp(x)
}

/// `rsqrt.approx.f32`
#[inline(always)]
pub fn rsqrt_approx(x: &Lanes32) -> Lanes32 {
    let d = unit::rsqrt(&each!(|x| normal(x)));
    each!(|x, d| if is_denormal(x) {
        times(d, power(12))
    } else {
        d
    })
}

/// `rsqrt.approx.ftz.f32`
#[inline(always)]
pub fn rsqrt_approx_ftz(x: &Lanes32) -> Lanes32 {
    unit::rsqrt(x)
}

/// `sqrt.approx.f32`
#[inline(always)]
pub fn sqrt_approx(x: &Lanes32) -> Lanes32 {
    let d = unit::sqrt(&each!(|x| normal(x)));
    each!(|x, d| if is_denormal(x) {
        times(d, power(-12))
    } else {
        d
    })
}

/// `sqrt.approx.ftz.f32`
#[inline(always)]
pub fn sqrt_approx_ftz(x: &Lanes32) -> Lanes32 {
    unit::sqrt(x)
}

/// `sin.approx.f32`, `sin.approx.ftz.f32`
#[inline(always)]
pub fn sin_approx(x: &Lanes32) -> Lanes32 {
    unit::sin::<0>(x)
}

/// `cos.approx.f32`, `cos.approx.ftz.f32`
#[inline(always)]
pub fn cos_approx(x: &Lanes32) -> Lanes32 {
    unit::sin::<1>(x)
}

/// `tanh.approx.f32`
#[inline(always)]
pub fn tanh_approx(x: &Lanes32) -> Lanes32 {
    unit::tanh(x)
}

/// `div.full.f32`: in range whatever the divisor
#[inline(always)]
pub fn div_full(a: &Lanes32, b: &Lanes32) -> Lanes32 {
    let d = unit::rcp(&each!(|b| times(b, divisor_scale(b))));
    each!(|a, b, d| times(times(a, divisor_scale(b)), f32::from_bits(d)))
}

/// `div.full.ftz.f32`: in range whatever the divisor
#[inline(always)]
pub fn div_full_ftz(a: &Lanes32, b: &Lanes32) -> Lanes32 {
    let d = unit::rcp(&each!(|b| single::mul_ftz(b, large_divisor_scale(b))));
    each!(|a, b, d| single::mul_ftz(single::mul_ftz(a, large_divisor_scale(b)), d))
}

/// `div.approx.f32`: zero for divisors whose reciprocal is denormal
#[inline(always)]
pub fn div_approx(a: &Lanes32, b: &Lanes32) -> Lanes32 {
    let d = unit::rcp(&each!(|b| normal(b)));
    each!(|a, b, d| {
        let a = if is_denormal(b) {
            times(a, power(24))
        } else {
            a
        };
        times(a, f32::from_bits(d))
    })
}

/// `div.approx.ftz.f32`: zero for divisors whose reciprocal is denormal
#[inline(always)]
pub fn div_approx_ftz(a: &Lanes32, b: &Lanes32) -> Lanes32 {
    let d = unit::rcp(b);
    each!(|a, d| single::mul_ftz(a, d))
}
