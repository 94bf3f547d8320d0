//! The multi-function unit: one quadratic a segment, in fixed point, as an H100 computes it.
//!
//! The leading bits of a significand choose a segment, the following 17 are the offset in it. The unit adds a constant, a
//! linear term and a quadratic one, all exact but for the offset's square, which is cut; then it cuts the sum. All of it
//! was found from the results alone: with this square, and with no other tried, integers give every one of them.
//!
//! Every function takes and returns the bits of singles. Denormals count, and come out, as zeros; what PTX makes of the
//! forms without `.ftz` is in [`super::rows`].

use super::tables::{EX2, LG2, RCP, RSQRT, SIN, SQRT, Segment, TANH};
use crate::arith::Lanes32;

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

/// For each lane, the quadratic of a segment at a 17-bit offset.
///
/// Its loops are apart so that all but the one that looks up vectorise, each at its own width.
#[inline(always)]
fn quadratics<const N: usize>(
    table: &[Segment; N],
    segments: &Lanes32,
    offsets: &Lanes32,
) -> [i64; 32] {
    let mut values = [0; 32];
    let (mut slopes, mut curvatures, mut squares) = ([0; 32], [0; 32], [0; 32]);
    for lane in 0..32 {
        (values[lane], slopes[lane], curvatures[lane]) = table[segments[lane] as usize % N];
    }
    for lane in 0..32 {
        squares[lane] = square(offsets[lane]);
    }
    for lane in 0..32 {
        values[lane] += i64::from(slopes[lane]) * i64::from(offsets[lane] as i32);
    }
    for lane in 0..32 {
        values[lane] += i64::from(curvatures[lane]) * i64::from(squares[lane] as i32);
    }
    values
}

/// [`quadratics`] in units of 2^17, cut.
#[inline(always)]
fn significands<const N: usize>(
    table: &[Segment; N],
    segments: &Lanes32,
    offsets: &Lanes32,
) -> Lanes32 {
    let values = quadratics(table, segments, offsets);
    let mut significands = [0; 32];
    for lane in 0..32 {
        significands[lane] = (values[lane] >> 17) as u32;
    }
    significands
}

/// The bits of a positive result whose 24-bit significand (a carry counts) is `significand` and whose exponent field
/// would be `field` + 1.
#[inline(always)]
fn assemble(field: i32, significand: u32) -> u32 {
    ((field << 23) as u32).wrapping_add(significand)
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
pub(super) fn rcp(x: &Lanes32) -> Lanes32 {
    let (mut segments, mut d) = ([0; 32], [0; 32]);
    for lane in 0..32 {
        // 128 segments: the offset has 16 bits, and a zero below them.
        (segments[lane], d[lane]) = ((x[lane] >> 16) & 0x7f, (x[lane] << 1) & 0x1_fffe);
    }
    let values = significands(&RCP, &segments, &d);
    for lane in 0..32 {
        let x = x[lane];
        let field = ((x >> 23) & 0xff) as i32;
        let result = assemble(252 - field, values[lane]);
        // 2^-126, of 2^126, is the last that is not flushed.
        let result = if x & !SIGN > (126 + 127) << 23 {
            0
        } else {
            result
        };
        let result = if field == 0 { INFINITY } else { result };
        d[lane] = if x & !SIGN > INFINITY {
            NAN
        } else {
            result | (x & SIGN)
        };
    }
    d
}

/// Segments and offsets of significands over two octaves, the first of even exponents.
#[inline(always)]
fn two_octaves(x: &Lanes32) -> (Lanes32, Lanes32) {
    let (mut segments, mut offsets) = ([0; 32], [0; 32]);
    for lane in 0..32 {
        // The bias is odd: an even field is an odd exponent.
        let odd = !(x[lane] >> 23) & 1;
        (segments[lane], offsets[lane]) =
            ((odd << 6) | ((x[lane] >> 17) & 0x3f), x[lane] & 0x1_ffff);
    }
    (segments, offsets)
}

/// `1 / sqrt(x)`
#[inline(always)]
pub(super) fn rsqrt(x: &Lanes32) -> Lanes32 {
    let (segments, offsets) = two_octaves(x);
    let values = significands(&RSQRT, &segments, &offsets);
    let mut d = [0; 32];
    for lane in 0..32 {
        let x = x[lane];
        let half = ((x >> 23) as i32 - 127) >> 1;
        // A power of four has an exact answer, which the first segment misses by one.
        let power = segments[lane] | offsets[lane] == 0;
        let result = assemble(125 - half, if power { 1 << 24 } else { values[lane] });
        let result = if x >= INFINITY { 0 } else { result };
        let result = if x > INFINITY { NAN } else { result };
        d[lane] = if x & INFINITY == 0 {
            INFINITY | (x & SIGN)
        } else {
            result
        };
    }
    d
}

/// `sqrt(x)`
#[inline(always)]
pub(super) fn sqrt(x: &Lanes32) -> Lanes32 {
    let (segments, offsets) = two_octaves(x);
    let values = significands(&SQRT, &segments, &offsets);
    let mut d = [0; 32];
    for lane in 0..32 {
        let x = x[lane];
        let half = ((x >> 23) as i32 - 127) >> 1;
        let result = assemble(126 + half, values[lane]);
        let result = if x >= INFINITY { INFINITY } else { result };
        let result = if x > INFINITY { NAN } else { result };
        d[lane] = if x & INFINITY == 0 { x & SIGN } else { result };
    }
    d
}

/// `x`, at most 192 either way, as the unit's fixed point: 23 bits of fraction.
#[inline(always)]
fn to_fixed(x: u32) -> i32 {
    // Beyond 192 `ex2` does not change; infinity and NaN are cut to that too.
    let magnitude = f32::from_bits((x & !SIGN).min(0x4340_0000)) * f32::from_bits((127 + 23) << 23);
    // SAFETY: a number of at most 192 * 2^23, which is less than 2^31.
    let fixed = unsafe { magnitude.to_int_unchecked::<i32>() };
    // Negated by inverting, except when there is no fraction.
    let inverted = if fixed as u32 & FRACTION == 0 {
        -fixed
    } else {
        !fixed
    };
    if x & SIGN == 0 { fixed } else { inverted }
}

/// `2^x`
#[inline(always)]
pub(super) fn ex2(x: &Lanes32) -> Lanes32 {
    let (mut segments, mut offsets, mut exponents) = ([0; 32], [0; 32], [0; 32]);
    for lane in 0..32 {
        let fixed = to_fixed(x[lane]);
        exponents[lane] = fixed >> 23;
        (segments[lane], offsets[lane]) = ((fixed as u32 >> 17) & 0x3f, fixed as u32 & 0x1_ffff);
    }
    let values = significands(&EX2, &segments, &offsets);
    let mut d = [0; 32];
    for lane in 0..32 {
        let exponent = exponents[lane];
        let result = assemble(exponent + 126, values[lane]);
        let result = if exponent > 127 { INFINITY } else { result };
        let result = if exponent < -126 { 0 } else { result };
        d[lane] = if x[lane] & !SIGN > INFINITY {
            NAN
        } else {
            result
        };
    }
    d
}

/// `log2(x)`
#[inline(always)]
pub(super) fn lg2(x: &Lanes32) -> Lanes32 {
    let (mut segments, mut offsets) = ([0; 32], [0; 32]);
    for lane in 0..32 {
        (segments[lane], offsets[lane]) = ((x[lane] >> 17) & 0x3f, x[lane] & 0x1_ffff);
    }
    let values = quadratics(&LG2, &segments, &offsets);
    let mut d = [0; 32];
    for lane in 0..32 {
        let x = x[lane];
        let exponent = i64::from((x >> 23) & 0xff) - 127;
        let fixed = (exponent << 36) + (values[lane] >> 4);
        // Fixed point is negated by inverting.
        let result = cut((fixed ^ (fixed >> 63)) as u64, -36) | ((fixed >> 63) as u32 & SIGN);
        let result = if x == ONE { 0 } else { result };
        let result = if x >= INFINITY { INFINITY } else { result };
        let result = if x > INFINITY { NAN } else { result };
        d[lane] = if x & INFINITY == 0 {
            INFINITY | SIGN
        } else {
            result
        };
    }
    d
}

/// 25 bits of the turn that `x` is the angle of.
#[inline(always)]
fn phase(x: u32) -> u32 {
    // By a single next to 1 / (2 pi), cut to a single; a double holds the product.
    let turns =
        (f64::from(f32::from_bits(x & !SIGN)) * f64::from(f32::from_bits(0x3e22_f983))).to_bits();
    let exponent = (turns >> 52) as i32 - 1023;
    let significand = ((turns >> 29) as u32 & FRACTION) | HIDDEN;
    // Beyond these shifts there are no bits left.
    let up = (exponent + 2).clamp(0, 25);
    let down = (-2 - exponent).clamp(0, 24);
    significand << up >> down
}

/// `sin(x)`, or `sin(x + pi / 2)` for a `QUARTER` of 1.
#[inline(always)]
pub(super) fn sin<const QUARTER: u32>(x: &Lanes32) -> Lanes32 {
    let (mut segments, mut offsets, mut phases) = ([0; 32], [0; 32], [0; 32]);
    for lane in 0..32 {
        let phase = phase(x[lane]).wrapping_add(QUARTER << 23);
        // Odd quadrants run backwards.
        let position = if phase & HIDDEN == 0 { phase } else { !phase };
        phases[lane] = phase;
        (segments[lane], offsets[lane]) = ((position >> 17) & 0x3f, position & 0x1_ffff);
    }
    let values = quadratics(&SIN, &segments, &offsets);
    let mut d = [0; 32];
    for lane in 0..32 {
        let (x, phase) = (x[lane], phases[lane]);
        let top = phase & (FRACTION | HIDDEN) == HIDDEN;
        let result = if top {
            ONE
        } else {
            cut(values[lane] as u64, -41)
        };
        // A cosine's sign has nothing to do with the argument's.
        let sign = if QUARTER == 0 { x & SIGN } else { 0 };
        let result = result | (sign ^ ((phase << 7) & SIGN));
        d[lane] = if x & !SIGN >= INFINITY { NAN } else { result };
    }
    d
}

/// `tanh(x)`; denormals pass.
#[inline(always)]
pub(super) fn tanh(x: &Lanes32) -> Lanes32 {
    // By octave from 2^-8 up: how many bits choose a segment, and the first segment.
    const BITS: [u32; 16] = [0, 0, 0, 1, 1, 2, 2, 2, 3, 4, 3, 0, 0, 0, 0, 0];
    const FIRST: [u32; 16] = [0, 1, 2, 3, 5, 7, 11, 15, 19, 27, 43, 0, 0, 0, 0, 0];
    let (mut segments, mut offsets) = ([0; 32], [0; 32]);
    for lane in 0..32 {
        let octave = (((x[lane] & !SIGN) >> 23).clamp(119, 129) as usize - 119) % 16;
        let position = (x[lane] & FRACTION) >> (6 - BITS[octave]);
        (segments[lane], offsets[lane]) = (FIRST[octave] + (position >> 17), position & 0x1_ffff);
    }
    let values = quadratics(&TANH, &segments, &offsets);
    let mut d = [0; 32];
    for lane in 0..32 {
        let magnitude = x[lane] & !SIGN;
        let result = cut(values[lane] as u64, -40);
        let result = if magnitude < 119 << 23 {
            magnitude
        } else {
            result
        };
        let result = if magnitude >= 130 << 23 { ONE } else { result };
        d[lane] = if magnitude > INFINITY {
            NAN
        } else {
            result | (x[lane] & SIGN)
        };
    }
    d
}
