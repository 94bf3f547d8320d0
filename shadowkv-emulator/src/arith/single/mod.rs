//! Singles computed exactly and rounded once, with PTX's own NaN and flushing (PTX ISA, floating point instructions).
//!
//! Every operation that makes a NaN makes [`NAN`]. With `.ftz`, denormal sources count as zeros, and a result is flushed
//! if it is below the least normal number when rounded to 24 bits, not to a denormal's fewer.

use super::{Lanes32, Lanes64};

/// The NaN that arithmetic makes.
pub const NAN: u32 = 0x7fff_ffff;
const INFINITY: u32 = 0x7f80_0000;
const SIGN: u32 = 0x8000_0000;

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

/// A denormal as a zero.
#[inline(always)]
fn flush(bits: u32) -> u32 {
    if bits & INFINITY == 0 {
        bits & SIGN
    } else {
        bits
    }
}

/// A result's bits.
#[inline(always)]
pub(super) fn result(value: f32) -> u32 {
    if value.is_nan() { NAN } else { value.to_bits() }
}

#[inline(always)]
fn is_nan(bits: u32) -> bool {
    bits & !SIGN > INFINITY
}

/// Roots that are NaN are taken of 1 first: of `x < 0 ? NAN : sqrt(x)`, LLVM 22 keeps `sqrt(x)` and with it the host's NaN.
#[inline(always)]
fn sqrt(a: u32) -> u32 {
    let invalid = is_nan(a) || a > SIGN;
    let root = f32::from_bits(if invalid { 0x3f80_0000 } else { a }).sqrt();
    if invalid { NAN } else { root.to_bits() }
}

#[inline(always)]
fn div(a: u32, b: u32) -> u32 {
    result(f32::from_bits(a) / f32::from_bits(b))
}

/// `2^24`: times this, what only rounding to a denormal makes normal is told from what is normal.
const SCALE: f32 = 16_777_216.0;

/// A result, flushed if `scaled`, which is [`SCALE`] times as large, is that of a denormal.
#[inline(always)]
fn result_ftz(value: f32, scaled: f32) -> u32 {
    let tiny = scaled.abs() < f32::MIN_POSITIVE * SCALE;
    let bits = result(value);
    if tiny { bits & SIGN } else { bits }
}

#[inline(always)]
fn div_ftz(a: u32, b: u32) -> u32 {
    let (a, b) = (f32::from_bits(flush(a)), f32::from_bits(flush(b)));
    result_ftz(a / b, a * SCALE / b)
}

#[inline(always)]
pub(super) fn mul_ftz(a: u32, b: u32) -> u32 {
    let (a, b) = (f32::from_bits(flush(a)), f32::from_bits(flush(b)));
    result_ftz(a * b, a * SCALE * b)
}

#[inline(always)]
fn fma_ftz(a: u32, b: u32, c: u32) -> u32 {
    let (a, b, c) = (
        f32::from_bits(flush(a)),
        f32::from_bits(flush(b)),
        f32::from_bits(flush(c)),
    );
    result_ftz(a.mul_add(b, c), (a * SCALE).mul_add(b, c * SCALE))
}

/// `.sat`: clamped to 0 to 1; NaN is 0.
#[inline(always)]
fn clamp(bits: u32) -> u32 {
    if bits & SIGN != 0 || is_nan(bits) {
        0
    } else {
        bits.min(1f32.to_bits())
    }
}

/// `a` with the bits of `flip` flipped, if it is a number.
#[inline(always)]
fn sign(a: u32, flip: u32) -> u32 {
    if is_nan(a) { NAN } else { a ^ flip }
}

/// `min` if `flip` is all ones, `max` if it is 0; -0 is less than 0.
#[inline(always)]
fn extreme(a: u32, b: u32, flip: u32, propagate: bool) -> u32 {
    let greater = if ordered(a) ^ flip >= ordered(b) ^ flip {
        a
    } else {
        b
    };
    let number = if is_nan(b) { a } else { greater };
    let number = if is_nan(a) { b } else { number };
    let none = if propagate {
        is_nan(a) || is_nan(b)
    } else {
        is_nan(a) && is_nan(b)
    };
    if none { NAN } else { number }
}

/// Bits as an integer that orders as the number does.
#[inline(always)]
fn ordered(bits: u32) -> u32 {
    if bits & SIGN == 0 { bits | SIGN } else { !bits }
}

/// The lesser or greater magnitude with the product of the signs.
#[inline(always)]
fn extreme_magnitude(a: u32, b: u32, flip: u32, propagate: bool) -> u32 {
    let number = extreme(a & !SIGN, b & !SIGN, flip, propagate);
    if is_nan(number) {
        number
    } else {
        number | ((a ^ b) & SIGN)
    }
}

/// All ones: the lesser.
const MIN: u32 = u32::MAX;
/// The greater.
const MAX: u32 = 0;

rows! {
    /// `add.rn.f32`
    add_rn(a, b) = result(f32::from_bits(a) + f32::from_bits(b));
    /// `add.rn.ftz.f32`
    add_rn_ftz(a, b) = flush(result(f32::from_bits(flush(a)) + f32::from_bits(flush(b))));
    /// `mul.rn.f32`
    mul_rn(a, b) = result(f32::from_bits(a) * f32::from_bits(b));
    /// `mul.rn.ftz.f32`
    mul_rn_ftz(a, b) = mul_ftz(a, b);
    /// `fma.rn.f32`; fast where the caller is compiled with `fma`
    fma_rn(a, b, c) = result(f32::from_bits(a).mul_add(f32::from_bits(b), f32::from_bits(c)));
    /// `fma.rn.ftz.f32`; fast where the caller is compiled with `fma`
    fma_rn_ftz(a, b, c) = fma_ftz(a, b, c);
    /// `neg.f32`
    neg(a) = sign(a, SIGN);
    /// `neg.ftz.f32`
    neg_ftz(a) = sign(flush(a), SIGN);
    /// `abs.f32`
    abs(a) = sign(a & !SIGN, 0);
    /// `abs.ftz.f32`
    abs_ftz(a) = sign(flush(a) & !SIGN, 0);
    /// What `.sat` does to a result
    saturate(a) = clamp(a);
    /// `sqrt.rn.f32`
    sqrt_rn(a) = sqrt(a);
    /// `sqrt.rn.ftz.f32`
    sqrt_rn_ftz(a) = sqrt(flush(a));
    /// `rcp.rn.f32`
    rcp_rn(a) = div(1f32.to_bits(), a);
    /// `rcp.rn.ftz.f32`
    rcp_rn_ftz(a) = div_ftz(1f32.to_bits(), a);
    /// `div.rn.f32`
    div_rn(a, b) = div(a, b);
    /// `div.rn.ftz.f32`
    div_rn_ftz(a, b) = div_ftz(a, b);
    /// `min.f32`
    min(a, b) = extreme(a, b, MIN, false);
    /// `min.ftz.f32`
    min_ftz(a, b) = extreme(flush(a), flush(b), MIN, false);
    /// `min.NaN.f32`
    min_nan(a, b) = extreme(a, b, MIN, true);
    /// `min.ftz.NaN.f32`
    min_ftz_nan(a, b) = extreme(flush(a), flush(b), MIN, true);
    /// `min.xorsign.abs.f32`
    min_xorsign_abs(a, b) = extreme_magnitude(a, b, MIN, false);
    /// `min.NaN.xorsign.abs.f32`
    min_nan_xorsign_abs(a, b) = extreme_magnitude(a, b, MIN, true);
    /// `max.f32`
    max(a, b) = extreme(a, b, MAX, false);
    /// `max.ftz.f32`
    max_ftz(a, b) = extreme(flush(a), flush(b), MAX, false);
    /// `max.NaN.f32`
    max_nan(a, b) = extreme(a, b, MAX, true);
    /// `max.ftz.NaN.f32`
    max_ftz_nan(a, b) = extreme(flush(a), flush(b), MAX, true);
    /// `max.xorsign.abs.f32`
    max_xorsign_abs(a, b) = extreme_magnitude(a, b, MAX, false);
    /// `max.NaN.xorsign.abs.f32`
    max_nan_xorsign_abs(a, b) = extreme_magnitude(a, b, MAX, true);
    /// `copysign.f32`: `b` with the sign of `a`
    copysign(a, b) = (a & SIGN) | (b & !SIGN);
}

/// A class of numbers that `testp` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "PTX's own names")]
pub enum Class {
    Finite,
    Infinite,
    Number,
    NotANumber,
    Normal,
    Subnormal,
}

impl Class {
    /// The class called `name`, without its dot.
    pub fn from_name(name: &str) -> Option<Class> {
        Some(match name {
            "finite" => Class::Finite,
            "infinite" => Class::Infinite,
            "number" => Class::Number,
            "notanumber" => Class::NotANumber,
            "normal" => Class::Normal,
            "subnormal" => Class::Subnormal,
            _ => return None,
        })
    }

    /// Whether a magnitude is of the class, given the bits of infinity and of the least normal number.
    #[inline(always)]
    fn holds(self, magnitude: u64, infinity: u64, least: u64) -> bool {
        match self {
            Class::Finite => magnitude < infinity,
            Class::Infinite => magnitude == infinity,
            Class::Number => magnitude <= infinity,
            Class::NotANumber => magnitude > infinity,
            // Zeros count as normal.
            Class::Normal => (magnitude >= least || magnitude == 0) && magnitude < infinity,
            Class::Subnormal => magnitude < least && magnitude != 0,
        }
    }
}

/// `testp.f32`: a bit for each lane.
#[inline(always)]
pub fn testp_f32(a: &Lanes32, class: Class) -> u32 {
    let mut mask = 0;
    for (lane, &a) in a.iter().enumerate() {
        mask |=
            u32::from(class.holds(u64::from(a & !SIGN), u64::from(INFINITY), 0x0080_0000)) << lane;
    }
    mask
}

/// `testp.f64`: a bit for each lane.
#[inline(always)]
pub fn testp_f64(a: &Lanes64, class: Class) -> u32 {
    let mut mask = 0;
    for (lane, &a) in a.iter().enumerate() {
        mask |= u32::from(class.holds(a & (u64::MAX >> 1), 0x7ff0 << 48, 1 << 52)) << lane;
    }
    mask
}

#[cfg(test)]
mod tests;
