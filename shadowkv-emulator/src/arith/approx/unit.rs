//! The multi-function unit: one quadratic a segment, in fixed point, as an H100 computes it.
//!
//! The leading bits of a significand choose a segment, the following 17 are the offset in it. The unit adds a constant, a
//! linear term and a quadratic one, all exact but for the offset's square, which is cut; then it cuts the sum. All of it
//! was found from the results alone: with this square, and with no other tried, integers give every one of them.
//!
//! Every function takes and returns the bits of a single. Denormals count, and come out, as zeros; what PTX makes of the
//! forms without `.ftz` is in [`super::rows`].

use super::tables::{EX2, LG2, RCP, RSQRT, SIN, SQRT, Segment, TANH};

/// The NaN that the unit returns.
pub(super) const NAN: u32 = 0x7fff_ffff;
pub(super) const INFINITY: u32 = 0x7f80_0000;
pub(super) const ONE: u32 = 0x3f80_0000;
const SIGN: u32 = 0x8000_0000;
const FRACTION: u32 = 0x007f_ffff;
const HIDDEN: u32 = 0x0080_0000;

/// The square of a 17-bit number in units of 2^19, its partial products below that left out before they are added.
#[inline(always)]
fn square(x: u32) -> u32 {
    // Bits 9 and up lose nothing but the square of bit 9, which the shift drops.
    let high = x >> 9;
    let mut sum = (high * high) >> 1;
    // Bit i below them meets the bits that are high enough; it counts, or not, as a mask.
    for bit in 2..9 {
        let mask = 0u32.wrapping_sub((x >> bit) & 1);
        sum += mask & (x >> (18 - bit));
    }
    sum
}

/// The quadratic of segment `segment` at the 17-bit `offset`.
#[inline(always)]
fn quadratic<const N: usize>(table: &[Segment; N], segment: u32, offset: u32) -> i64 {
    let (constant, linear, quadratic) = table[segment as usize % N];
    constant
        + i64::from(linear) * i64::from(offset as i32)
        + i64::from(quadratic) * i64::from(square(offset) as i32)
}

/// The bits of a positive result whose 24-bit significand (a carry counts) is `significand` and whose exponent field
/// would be `field` + 1.
#[inline(always)]
fn assemble(field: i32, significand: i64) -> u32 {
    ((field << 23) as u32).wrapping_add(significand as u32)
}

/// The single next to zero from `units * 2^exponent`, for fewer than 2^52 units.
#[inline(always)]
fn cut(units: u64, exponent: i32) -> u32 {
    const TWO_TO_52: f64 = 4_503_599_627_370_496.0;
    // As a double: its low bits are the integer's, over 2^52.
    let bits = (f64::from_bits(TWO_TO_52.to_bits() | units) - TWO_TO_52).to_bits();
    let field = (bits >> 52) as i32 - 1023 + 127 + exponent;
    let single = ((field as u32) << 23) | ((bits >> 29) as u32 & FRACTION);
    if units == 0 { 0 } else { single }
}

/// `1 / x`
#[inline(always)]
pub(super) fn rcp(x: u32) -> u32 {
    let field = (x >> 23 & 0xff) as i32;
    // 128 segments: the offset has 16 bits, and a zero below them.
    let significand = quadratic(&RCP, x >> 16 & 0x7f, x << 1 & 0x1_fffe) >> 17;
    let result = assemble(252 - field, significand);
    // 2^-126, of 2^126, is the last that is not flushed.
    let result = if x & !SIGN > (126 + 127) << 23 {
        0
    } else {
        result
    };
    let result = if field == 0 { INFINITY } else { result };
    if x & !SIGN > INFINITY {
        NAN
    } else {
        result | (x & SIGN)
    }
}

/// `1 / sqrt(x)`
#[inline(always)]
pub(super) fn rsqrt(x: u32) -> u32 {
    let exponent = (x >> 23 & 0xff) as i32 - 127;
    let odd = (exponent & 1) as u32;
    let significand = quadratic(&RSQRT, (odd << 6) | (x >> 17 & 0x3f), x & 0x1_ffff) >> 17;
    // A power of four has an exact answer, which the first segment misses by one.
    let significand = if x & FRACTION | odd == 0 {
        1 << 24
    } else {
        significand
    };
    let result = assemble(125 - (exponent >> 1), significand);
    let result = if x >= INFINITY { 0 } else { result };
    let result = if x > INFINITY { NAN } else { result };
    if x & INFINITY == 0 {
        INFINITY | (x & SIGN)
    } else {
        result
    }
}

/// `sqrt(x)`
#[inline(always)]
pub(super) fn sqrt(x: u32) -> u32 {
    let exponent = (x >> 23 & 0xff) as i32 - 127;
    let odd = (exponent & 1) as u32;
    let significand = quadratic(&SQRT, (odd << 6) | (x >> 17 & 0x3f), x & 0x1_ffff) >> 17;
    let result = assemble(126 + (exponent >> 1), significand);
    let result = if x >= INFINITY { INFINITY } else { result };
    let result = if x > INFINITY { NAN } else { result };
    if x & INFINITY == 0 { x & SIGN } else { result }
}

/// `2^x`
#[inline(always)]
pub(super) fn ex2(x: u32) -> u32 {
    // 192, beyond which nothing changes, and whose fixed-point form has 31 bits.
    let magnitude = (x & !SIGN).min(0x4340_0000);
    let fixed = (f32::from_bits(magnitude) * f32::from_bits((127 + 23) << 23)) as i32;
    // Fixed point is negated by inverting, except when there is no fraction.
    let inverted = if fixed & 0x007f_ffff == 0 {
        -fixed
    } else {
        !fixed
    };
    let fixed = if x & SIGN == 0 { fixed } else { inverted };
    let exponent = fixed >> 23;
    let fraction = fixed as u32 & FRACTION;
    let significand = quadratic(&EX2, fraction >> 17, fraction & 0x1_ffff) >> 17;
    let result = assemble(exponent + 126, significand);
    let result = if exponent > 127 { INFINITY } else { result };
    let result = if exponent < -126 { 0 } else { result };
    if x & !SIGN > INFINITY { NAN } else { result }
}

/// `log2(x)`
#[inline(always)]
pub(super) fn lg2(x: u32) -> u32 {
    let exponent = i64::from(x >> 23 & 0xff) - 127;
    let fixed = (exponent << 36) + (quadratic(&LG2, x >> 17 & 0x3f, x & 0x1_ffff) >> 4);
    // Fixed point is negated by inverting.
    let magnitude = (fixed ^ (fixed >> 63)) as u64;
    let result = cut(magnitude, -36) | ((fixed >> 63) as u32 & SIGN);
    let result = if x == ONE { 0 } else { result };
    let result = if x >= INFINITY { INFINITY } else { result };
    let result = if x > INFINITY { NAN } else { result };
    if x & INFINITY == 0 {
        INFINITY | SIGN
    } else {
        result
    }
}

/// `sin(x)`, or `sin(x + pi / 2)` for a `quarter` of 1.
#[inline(always)]
pub(super) fn sin(x: u32, quarter: u32) -> u32 {
    // In turns, by a single next to 1 / (2 pi), cut to a single; a double holds the product.
    let turns =
        (f64::from(f32::from_bits(x & !SIGN)) * f64::from(f32::from_bits(0x3e22_f983))).to_bits();
    let exponent = (turns >> 52) as i32 - 1023;
    let significand = (turns >> 29) as u32 & FRACTION | HIDDEN;
    // 25 bits of a turn. Beyond these shifts there are none left.
    let up = (exponent + 2).clamp(0, 25);
    let down = (-2 - exponent).clamp(0, 24);
    let phase = (significand << up >> down) + (quarter << 23);
    let quadrant = phase >> 23 & 3;
    let fraction = phase & FRACTION;
    let odd = quadrant & 1 != 0;
    let position = if odd { fraction ^ FRACTION } else { fraction };
    let units = quadratic(&SIN, position >> 17, position & 0x1_ffff) as u64;
    let result = if odd && fraction == 0 {
        ONE
    } else {
        cut(units, -41)
    };
    // A cosine's sign has nothing to do with the argument's.
    let sign = if quarter == 0 { x & SIGN } else { 0 };
    let result = result | (sign ^ (quadrant >> 1 << 31));
    if x & !SIGN >= INFINITY { NAN } else { result }
}

/// `tanh(x)`; denormals pass.
#[inline(always)]
pub(super) fn tanh(x: u32) -> u32 {
    // By octave from 2^-8 up: how many bits choose a segment, and the first segment.
    const BITS: [u32; 11] = [0, 0, 0, 1, 1, 2, 2, 2, 3, 4, 3];
    const FIRST: [u32; 11] = [0, 1, 2, 3, 5, 7, 11, 15, 19, 27, 43];
    let magnitude = x & !SIGN;
    let octave = (magnitude >> 23).clamp(119, 129) as usize - 119;
    let position = (magnitude & FRACTION) >> (6 - BITS[octave]);
    let units = quadratic(&TANH, FIRST[octave] + (position >> 17), position & 0x1_ffff) as u64;
    let result = cut(units, -40);
    let result = if magnitude < 119 << 23 {
        magnitude
    } else {
        result
    };
    let result = if magnitude >= 130 << 23 { ONE } else { result };
    if magnitude > INFINITY {
        NAN
    } else {
        result | (x & SIGN)
    }
}
