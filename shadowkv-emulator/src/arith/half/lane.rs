//! Single 16-bit floats, in the lower half of a word.

use crate::arith::float;

/// The NaN that arithmetic makes, of either format.
pub(super) const NAN: u32 = 0x7fff;

#[inline(always)]
pub(super) fn is_nan<const BF16: bool>(bits: u32) -> bool {
    bits & 0x7fff > if BF16 { 0x7f80 } else { 0x7c00 }
}

#[inline(always)]
pub(super) fn load<const BF16: bool>(bits: u32) -> f32 {
    if BF16 {
        float::f32_from_bf16(bits)
    } else {
        float::f32_from_f16(bits)
    }
}

/// The nearest, ties to even.
#[inline(always)]
pub(super) fn store<const BF16: bool>(value: f32) -> u32 {
    if BF16 {
        float::bf16_from_f32(value)
    } else {
        float::f16_from_f32(value)
    }
}

/// `a * b + c` to odd: cut to a single whose last bit is set if anything was cut. Rounding that to 16 bits is rounding
/// the exact sum, since a single has the two more bits that it takes.
#[inline(always)]
pub(super) fn fused([a, b, c]: [f32; 3]) -> f32 {
    let (a, b, c) = (f64::from(a), f64::from(b), f64::from(c));
    // Exact for 16-bit factors.
    let product = a * b;
    let sum = product + c;
    // What the rounding of the sum lost (Knuth's two-sum); NaN if it overflowed, which no 16-bit sources do.
    let other = sum - product;
    let lost = (product - (sum - other)) + (c - other);
    let sum = to_odd(sum, lost);
    let single = sum as f32;
    let lost = sum - f64::from(single);
    let bits = single.to_bits();
    let toward = if (lost > 0.0) == (single > 0.0) {
        bits.wrapping_add(1)
    } else {
        bits.wrapping_sub(1)
    };
    let inexact = lost != 0.0 && !lost.is_nan() && bits & 1 == 0;
    f32::from_bits(if inexact { toward } else { bits })
}

/// `sum` rounded to odd, given what its rounding to nearest lost.
#[inline(always)]
fn to_odd(sum: f64, lost: f64) -> f64 {
    let bits = sum.to_bits();
    let toward = if (lost > 0.0) == (sum > 0.0) {
        bits.wrapping_add(1)
    } else {
        bits.wrapping_sub(1)
    };
    let inexact = lost != 0.0 && !lost.is_nan() && bits & 1 == 0;
    f64::from_bits(if inexact { toward } else { bits })
}
