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
use crate::arith::Lanes32;

/// Exponent that stands for a zero: below every sum of two exponents, even if the other is infinity's.
pub(super) const ZERO: i16 = -1000;
/// Exponent that stands for infinity or NaN: above every finite sum, even if the other factor is zero.
pub(super) const SPECIAL: i16 = 10_000;
/// An output is computed in `f32` if its largest exponent is at most this, so that nothing overflows...
pub(super) const HIGHEST: i32 = 120;
/// ...and at least this, so that the scale is finite and no underflow reaches a bit that is kept...
pub(super) const LOWEST: i32 = -100;
/// ...or below this, where all addends are zero.
pub(super) const ALL_ZERO: i32 = -700;

/// Column of each of the eight outputs of a step.
pub(super) const COLUMN: [usize; 8] = [0, 2, 4, 6, 1, 3, 5, 7];

/// A and B taken apart. `PAIRS` is half of K; an exponent word holds those of two neighbours along K.
pub(super) struct Operands<const PAIRS: usize> {
    /// By `part`, then as in A's registers.
    pub(super) a_exponents: [[u32; 64]; 2],
    pub(super) a_low: [[f32; 64]; 2],
    pub(super) a_high: [[f32; 64]; 2],
    /// By pair along K, then by output.
    pub(super) b_exponents: [[u32; 8]; PAIRS],
    pub(super) b_low: [[f32; 8]; PAIRS],
    pub(super) b_high: [[f32; 8]; PAIRS],
}

/// The two exponents of a register's elements, as `i16`s in one word.
#[inline(always)]
fn exponents<const FRACTION: u32, const BIAS: i16>(word: u32) -> u32 {
    let one = |bits: u32| {
        let magnitude = bits as i16 & 0x7fff;
        let field = magnitude >> FRACTION;
        let zero = if magnitude == 0 { ZERO } else { 0 };
        let special = if field == 2 * BIAS + 1 { SPECIAL } else { 0 };
        u32::from((field.max(1) - BIAS + zero + special) as u16)
    };
    one(word & 0xffff) | (one(word >> 16) << 16)
}

/// The two elements of a register; wrong for infinity and NaN, whose exponents say so.
#[inline(always)]
fn values<const FRACTION: u32>(word: u32) -> (f32, f32) {
    if FRACTION == 7 {
        return (
            f32::from_bits(word << 16),
            f32::from_bits(word & 0xffff_0000),
        );
    }
    // The exponent field of an f16 is 112 lower than that of the same number in f32, denormals included.
    let one = |bits: u32| {
        f32::from_bits(((bits & 0x8000) << 16) | ((bits & 0x7fff) << 13))
            * f32::from_bits(239 << 23)
    };
    (one(word & 0xffff), one(word >> 16))
}

impl<const PAIRS: usize> Operands<PAIRS> {
    #[inline(always)]
    fn new<const FRACTION: u32, const BIAS: i16>(a: &[Lanes32], b: &[Lanes32]) -> Self {
        let mut operands = Operands {
            a_exponents: [[0; 64]; 2],
            a_low: [[0.0; 64]; 2],
            a_high: [[0.0; 64]; 2],
            b_exponents: [[0; 8]; PAIRS],
            b_low: [[0.0; 8]; PAIRS],
            b_high: [[0.0; 8]; PAIRS],
        };
        for part in 0..PAIRS / 4 {
            let words: [u32; 64] = bytemuck::cast([a[2 * part], a[2 * part + 1]]);
            for (lane, &word) in words.iter().enumerate() {
                operands.a_exponents[part][lane] = exponents::<FRACTION, BIAS>(word);
                (operands.a_low[part][lane], operands.a_high[part][lane]) =
                    values::<FRACTION>(word);
            }
            for q in 0..4 {
                for (output, column) in COLUMN.into_iter().enumerate() {
                    let word = b[part][column * 4 + q];
                    let pair = part * 4 + q;
                    operands.b_exponents[pair][output] = exponents::<FRACTION, BIAS>(word);
                    (operands.b_low[pair][output], operands.b_high[pair][output]) =
                        values::<FRACTION>(word);
                }
            }
        }
        operands
    }
}

/// One block of products and the accumulator, eight outputs; the sums, and a mask of outputs to compute again.
#[inline(always)]
fn row_block<const PAIRS: usize>(
    operands: &Operands<PAIRS>,
    row: usize,
    pairs: std::ops::Range<usize>,
    cut: i32,
    c: [u32; 8],
) -> ([u32; 8], u32) {
    let mut largest = c.map(accumulator_exponent);
    for pair in pairs.clone() {
        let word = operands.a_exponents[pair / 4][row * 4 + pair % 4];
        for (largest, &other) in largest.iter_mut().zip(&operands.b_exponents[pair]) {
            let low = i32::from(word as i16) + i32::from(other as i16);
            let high = i32::from((word >> 16) as i16) + i32::from((other >> 16) as i16);
            *largest = (*largest).max(low).max(high);
        }
    }
    let mut again = 0;
    let mut scale = [0.0; 8];
    let mut unit = [0.0; 8];
    for output in 0..8 {
        let exponent = largest[output];
        again |=
            u32::from(exponent > HIGHEST || (exponent < LOWEST && exponent > ALL_ZERO)) << output;
        let exponent = exponent.clamp(LOWEST, HIGHEST);
        scale[output] = f32::from_bits(((127 + cut - exponent) as u32) << 23);
        unit[output] = f32::from_bits(((127 - cut + exponent) as u32) << 23);
    }
    let mut products = [0i32; 8];
    for pair in pairs {
        let at = (pair / 4, row * 4 + pair % 4);
        let (low, high) = (operands.a_low[at.0][at.1], operands.a_high[at.0][at.1]);
        for output in 0..8 {
            let addend = (low * operands.b_low[pair][output] * scale[output]) as i32;
            products[output] = products[output].wrapping_add(addend);
            let addend = (high * operands.b_high[pair][output] * scale[output]) as i32;
            products[output] = products[output].wrapping_add(addend);
        }
    }
    let mut d = [0; 8];
    for output in 0..8 {
        let (sum, overflow) =
            products[output].overflowing_add((f32::from_bits(c[output]) * scale[output]) as i32);
        again |= u32::from(overflow) << output;
        let magnitude = sum.unsigned_abs();
        // Clears the bit after the 24th, and others below it, so that the conversion cuts instead of rounding.
        let magnitude = (magnitude & !(magnitude >> 24)) as f32 * unit[output];
        d[output] = magnitude.to_bits() | (sum as u32 & 0x8000_0000);
    }
    (d, again)
}

/// Exponent of a single: [`ZERO`] and [`SPECIAL`] as for operands.
#[inline(always)]
fn accumulator_exponent(bits: u32) -> i32 {
    let magnitude = bits & 0x7fff_ffff;
    let field = (magnitude >> 23) as i32;
    let zero = if magnitude == 0 { i32::from(ZERO) } else { 0 };
    let special = if field == 255 { i32::from(SPECIAL) } else { 0 };
    field.max(1) - 127 + zero + special
}

/// All rows, with `BLOCK` pairs along K summed at a time.
#[inline(always)]
fn rows<const PAIRS: usize, const BLOCK: usize>(
    operands: &Operands<PAIRS>,
    cut: i32,
    c: &[Lanes32; 4],
    d: &mut [Lanes32; 4],
) -> [u32; 16] {
    let mut again = [0; 16];
    for row in 0..16 {
        let (even, odd, lane) = (2 * (row / 8), 2 * (row / 8) + 1, (row % 8) * 4);
        let mut sums = [0; 8];
        sums[..4].copy_from_slice(&c[even][lane..lane + 4]);
        sums[4..].copy_from_slice(&c[odd][lane..lane + 4]);
        for block in 0..PAIRS / BLOCK {
            let (next, mask) =
                row_block(operands, row, block * BLOCK..(block + 1) * BLOCK, cut, sums);
            sums = next;
            again[row] |= mask;
        }
        d[even][lane..lane + 4].copy_from_slice(&sums[..4]);
        d[odd][lane..lane + 4].copy_from_slice(&sums[4..]);
    }
    again
}

/// The tile with whatever the machine has.
#[inline(always)]
fn tile_of<const FRACTION: u32, const BIAS: i16, const PAIRS: usize, const BLOCK: usize>(
    cut: u32,
    a: &[Lanes32],
    b: &[Lanes32],
    c: &[Lanes32; 4],
    d: &mut [Lanes32; 4],
) -> [u32; 16] {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the machine has AVX2, as just asked.
        return unsafe { tile_avx2::<FRACTION, BIAS, PAIRS, BLOCK>(cut as i32, a, b, c, d) };
    }
    rows::<PAIRS, BLOCK>(&Operands::new::<FRACTION, BIAS>(a, b), cut as i32, c, d)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn tile_avx2<const FRACTION: u32, const BIAS: i16, const PAIRS: usize, const BLOCK: usize>(
    cut: i32,
    a: &[Lanes32],
    b: &[Lanes32],
    c: &[Lanes32; 4],
    d: &mut [Lanes32; 4],
) -> [u32; 16] {
    super::avx2::rows::<PAIRS, BLOCK>(&Operands::new::<FRACTION, BIAS>(a, b), cut, c, d)
}

/// D = A B + C, K = 8 or 16 in `depth`.
pub(super) fn tile(
    format: HalfFormat,
    depth: usize,
    arithmetic: Arithmetic,
    a: &[Lanes32],
    b: &[Lanes32],
    c: &[Lanes32; 4],
    d: &mut [Lanes32; 4],
) {
    let cut = arithmetic.fraction_bits;
    let again = match (format, depth, arithmetic.block) {
        (HalfFormat::Bf16, 16, 16) => tile_of::<7, 127, 8, 8>(cut, a, b, c, d),
        (HalfFormat::Bf16, 16, _) => tile_of::<7, 127, 8, 4>(cut, a, b, c, d),
        (HalfFormat::Bf16, _, _) => tile_of::<7, 127, 4, 4>(cut, a, b, c, d),
        (HalfFormat::F16, 16, 16) => tile_of::<10, 15, 8, 8>(cut, a, b, c, d),
        (HalfFormat::F16, 16, _) => tile_of::<10, 15, 8, 4>(cut, a, b, c, d),
        (HalfFormat::F16, _, _) => tile_of::<10, 15, 4, 4>(cut, a, b, c, d),
    };
    for (row, &mask) in again.iter().enumerate().filter(|(_, mask)| **mask != 0) {
        for output in (0..8).filter(|output| mask >> output & 1 == 1) {
            let column = COLUMN[output];
            let (register, lane) = accumulator_at(row, column);
            d[register][lane] = exact_output(
                format,
                depth,
                arithmetic,
                [a, b],
                c[register][lane],
                (row, column),
            );
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
