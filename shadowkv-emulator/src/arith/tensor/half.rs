//! `mma` of 16-bit floats with `f32` accumulators: a whole tile at a time, eight outputs a step.
//!
//! The eight outputs are a row of D, its even columns first: the order in which two registers of C hold them.
//! A pass over the exponents finds the largest of each output's addends; a second multiplies in `f32` (exact for these
//! formats), scales by a power of two that brings the cut to the ones, and converts to integers, which cuts. Outputs
//! whose exponents lie beyond what `f32` can scale are computed again by [`super::exact`].

use super::Arithmetic;
use super::exact::{Format, Sum, chain};
use super::fragment::{a_element, accumulator_at, b_element};
use super::kind::HalfFormat;
use super::operands::{COLUMN, EXPONENT_BIAS, Operands};
use crate::arith::Lanes32;

/// An output is computed in `f32` if its largest exponent is at most this, so that nothing overflows...
pub(super) const HIGHEST: i32 = 120;
/// ...and at least this, so that the scale is finite and no underflow reaches a bit that is kept...
pub(super) const LOWEST: i32 = -100;
/// ...or this, when all addends are zero.
const ALL_ZERO: i32 = -EXPONENT_BIAS - 1;

/// One block of products and the accumulator, eight outputs; the sums, and a mask of outputs to compute again.
#[inline(always)]
fn row_block<const PARTS: usize>(
    operands: &Operands<PARTS>,
    row: usize,
    parts: std::ops::Range<usize>,
    cut: i32,
    c: [u32; 8],
) -> ([u32; 8], u32) {
    let mut largest = [0; 8];
    for (largest, &c) in largest.iter_mut().zip(&c) {
        *largest = accumulator_exponent(c);
    }
    for part in parts.clone() {
        let a = &operands.a[part][row / 8].exponents.as_chunks::<4>().0[row % 8];
        for (&a, b) in a.iter().zip(operands.b[part].exponents.as_chunks::<8>().0) {
            for (largest, &b) in largest.iter_mut().zip(b) {
                let low = i32::from(a as i16) + i32::from(b as i16);
                let high = i32::from((a >> 16) as i16) + i32::from((b >> 16) as i16);
                *largest = (*largest)
                    .max(low - EXPONENT_BIAS)
                    .max(high - EXPONENT_BIAS);
            }
        }
    }
    let mut again = 0;
    let mut scale = [0.0; 8];
    let mut unit = [0.0; 8];
    for output in 0..8 {
        let exponent = largest[output];
        let tiny = exponent < LOWEST && exponent != ALL_ZERO;
        again |= u32::from(!operands.finite || exponent > HIGHEST || tiny) << output;
        let exponent = exponent.clamp(LOWEST, HIGHEST);
        scale[output] = f32::from_bits(((127 + cut - exponent) as u32) << 23);
        unit[output] = f32::from_bits(((127 - cut + exponent) as u32) << 23);
    }
    let mut products = [0i32; 8];
    for part in parts {
        let (a, b) = (&operands.a[part][row / 8], &operands.b[part]);
        for (a, b) in [(&a.low, &b.low), (&a.high, &b.high)] {
            for (&a, b) in a.as_chunks::<4>().0[row % 8]
                .iter()
                .zip(b.as_chunks::<8>().0)
            {
                for output in 0..8 {
                    let addend = (a * b[output] * scale[output]) as i32;
                    products[output] = products[output].wrapping_add(addend);
                }
            }
        }
    }
    let mut d = [0; 8];
    for output in 0..8 {
        let accumulator = (f32::from_bits(c[output]) * scale[output]) as i32;
        let (sum, overflow) = products[output].overflowing_add(accumulator);
        again |= u32::from(overflow) << output;
        let magnitude = sum.unsigned_abs();
        // Clears the bit after the 24th, and others below it, so that the conversion cuts instead of rounding.
        let magnitude = (magnitude & !(magnitude >> 24)) as f32 * unit[output];
        d[output] = magnitude.to_bits() | (sum as u32 & 0x8000_0000);
    }
    (d, again)
}

/// Exponent of a single; [`ALL_ZERO`] for zeros, and above [`HIGHEST`] for infinity and NaN.
#[inline(always)]
fn accumulator_exponent(bits: u32) -> i32 {
    let magnitude = bits & 0x7fff_ffff;
    let exponent = ((magnitude >> 23) as i32).max(1) - 127;
    if magnitude == 0 { ALL_ZERO } else { exponent }
}

/// All rows, with `BLOCK` parts along K summed at a time; which outputs of each row to compute again.
#[inline(always)]
fn rows<const PARTS: usize, const BLOCK: usize>(
    operands: &Operands<PARTS>,
    cut: i32,
    c: &[Lanes32; 4],
    d: &mut [Lanes32; 4],
) -> [u32; 16] {
    std::array::from_fn(|row| {
        let (even, odd, lane) = (2 * (row / 8), 2 * (row / 8) + 1, (row % 8) * 4);
        let mut sums = [0; 8];
        sums[..4].copy_from_slice(&c[even][lane..lane + 4]);
        sums[4..].copy_from_slice(&c[odd][lane..lane + 4]);
        let mut again = 0;
        for block in 0..PARTS / BLOCK {
            let parts = block * BLOCK..(block + 1) * BLOCK;
            let (next, mask) = row_block(operands, row, parts, cut, sums);
            sums = next;
            again |= mask;
        }
        d[even][lane..lane + 4].copy_from_slice(&sums[..4]);
        d[odd][lane..lane + 4].copy_from_slice(&sums[4..]);
        again
    })
}

/// The tile with whatever the machine has; which outputs of each row to compute again, if any.
#[inline(always)]
fn tile_of<const FRACTION: u32, const PARTS: usize, const BLOCK: usize>(
    cut: i32,
    [a, b]: [&[Lanes32]; 2],
    c: &[Lanes32; 4],
    d: &mut [Lanes32; 4],
    portable: bool,
) -> Option<[u32; 16]> {
    let (Ok(a), Ok(b)) = (a.as_chunks::<2>().0.try_into(), b.try_into()) else {
        return None;
    };
    #[cfg(target_arch = "x86_64")]
    if !portable && is_x86_feature_detected!("avx2") {
        // SAFETY: the machine has AVX2, as just asked.
        return unsafe { tile_avx2::<FRACTION, PARTS, BLOCK>(cut, a, b, c, d) };
    }
    let mut operands = Operands::EMPTY;
    operands.fill::<FRACTION>(a, b);
    Some(rows::<PARTS, BLOCK>(&operands, cut, c, d))
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn tile_avx2<const FRACTION: u32, const PARTS: usize, const BLOCK: usize>(
    cut: i32,
    a: &[[Lanes32; 2]; PARTS],
    b: &[Lanes32; PARTS],
    c: &[Lanes32; 4],
    d: &mut [Lanes32; 4],
) -> Option<[u32; 16]> {
    let mut operands = Operands::EMPTY;
    operands.fill::<FRACTION>(a, b);
    if super::avx2::rows::<PARTS, BLOCK>(&operands, cut, c, d) {
        return None;
    }
    Some(rows::<PARTS, BLOCK>(&operands, cut, c, d))
}

/// D = A B + C, K = 8 or 16 in `depth`.
pub(super) fn tile(
    format: HalfFormat,
    depth: usize,
    arithmetic: Arithmetic,
    ab: [&[Lanes32]; 2],
    c: &[Lanes32; 4],
    d: &mut [Lanes32; 4],
) {
    tile_with(format, depth, arithmetic, ab, c, d, false);
}

/// As [`tile`] on a machine without AVX2.
#[cfg(test)]
pub(super) fn portable_tile(
    format: HalfFormat,
    depth: usize,
    arithmetic: Arithmetic,
    ab: [&[Lanes32]; 2],
    c: &[Lanes32; 4],
    d: &mut [Lanes32; 4],
) {
    tile_with(format, depth, arithmetic, ab, c, d, true);
}

#[inline(always)]
fn tile_with(
    format: HalfFormat,
    depth: usize,
    arithmetic: Arithmetic,
    ab: [&[Lanes32]; 2],
    c: &[Lanes32; 4],
    d: &mut [Lanes32; 4],
    portable: bool,
) {
    let cut = arithmetic.fraction_bits as i32;
    let again = match (format, depth, arithmetic.block) {
        (HalfFormat::Bf16, 16, 16) => tile_of::<7, 2, 2>(cut, ab, c, d, portable),
        (HalfFormat::Bf16, 16, _) => tile_of::<7, 2, 1>(cut, ab, c, d, portable),
        (HalfFormat::Bf16, _, _) => tile_of::<7, 1, 1>(cut, ab, c, d, portable),
        (HalfFormat::F16, 16, 16) => tile_of::<10, 2, 2>(cut, ab, c, d, portable),
        (HalfFormat::F16, 16, _) => tile_of::<10, 2, 1>(cut, ab, c, d, portable),
        (HalfFormat::F16, _, _) => tile_of::<10, 1, 1>(cut, ab, c, d, portable),
    };
    let Some(again) = again else { return };
    for (row, &mask) in again.iter().enumerate().filter(|(_, mask)| **mask != 0) {
        for output in (0..8).filter(|output| (mask >> output) & 1 == 1) {
            let column = COLUMN[output];
            let (register, lane) = accumulator_at(row, column);
            let c = c[register][lane];
            d[register][lane] = exact_output(format, depth, arithmetic, ab, c, (row, column));
        }
    }
}

/// One output, the slow way.
pub(super) fn exact_output(
    format: HalfFormat,
    depth: usize,
    arithmetic: Arithmetic,
    [a, b]: [&[Lanes32]; 2],
    c: u32,
    (row, column): (usize, usize),
) -> u32 {
    let format = match format {
        HalfFormat::F16 => Format::F16,
        HalfFormat::Bf16 => Format::BF16,
    };
    let products = (0..depth).map(|k| {
        format
            .decode(a_element::<2>(a, row, k))
            .times(format.decode(b_element::<2>(b, k, column)))
    });
    chain(
        products,
        arithmetic,
        c,
        |bits| Format::F32.decode(bits),
        Sum::to_f32,
    )
}
