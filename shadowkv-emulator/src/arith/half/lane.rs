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
pub(super) fn fused_f16([a, b, c]: [f32; 3]) -> f32 {
    // Exact: 22 bits, and exponents far from a single's limits.
    let product = a * b;
    let sum = product + c;
    // What the rounding of the sum lost (Knuth's two-sum); NaN if there are infinities.
    let other = sum - product;
    let lost = (product - (sum - other)) + (c - other);
    single_to_odd(sum, lost > 0.0, lost < 0.0)
}

/// The same where products have 16 bits, and exponents beyond a single's.
#[inline(always)]
pub(super) fn fused_bf16([a, b, c]: [f32; 3]) -> f32 {
    let (a, b, c) = (f64::from(a), f64::from(b), f64::from(c));
    let product = a * b;
    let sum = product + c;
    let other = sum - product;
    let lost = (product - (sum - other)) + (c - other);
    let sum = double_to_odd(sum, lost > 0.0, lost < 0.0);
    let single = sum as f32;
    let back = f64::from(single);
    single_to_odd(single, sum > back, sum < back)
}

/// What was rounded to the even `nearest`, rounded to odd, the exact number being above or below.
#[inline(always)]
fn single_to_odd(nearest: f32, above: bool, below: bool) -> f32 {
    let bits = nearest.to_bits();
    let outward = above == nearest.is_sign_positive();
    let odd = if outward {
        bits.wrapping_add(1)
    } else {
        bits.wrapping_sub(1)
    };
    f32::from_bits(if (above || below) && bits & 1 == 0 {
        odd
    } else {
        bits
    })
}

/// As [`single_to_odd`].
#[inline(always)]
fn double_to_odd(nearest: f64, above: bool, below: bool) -> f64 {
    let bits = nearest.to_bits();
    let outward = above == nearest.is_sign_positive();
    let odd = if outward {
        bits.wrapping_add(1)
    } else {
        bits.wrapping_sub(1)
    };
    f64::from_bits(if (above || below) && bits & 1 == 0 {
        odd
    } else {
        bits
    })
}
