//! [`super::half`]'s rows in AVX2, on the condition that all is well: the same bits, or a refusal.
//!
//! An instruction saved here is saved 16 times a tile, so the conditions that the portable rows test for each output are
//! gathered over the tile and looked at once.

use super::half::{HIGHEST, LOWEST};
use super::operands::{EXPONENT_BIAS, Operands};
use crate::arith::Lanes32;
use std::arch::x86_64::{
    __m256i, _mm256_abs_epi32, _mm256_add_epi16, _mm256_add_epi32, _mm256_and_si256,
    _mm256_andnot_si256, _mm256_castps_si256, _mm256_castsi256_ps, _mm256_cmpeq_epi32,
    _mm256_cvtepi32_ps, _mm256_cvttps_epi32, _mm256_max_epi16, _mm256_max_epi32, _mm256_max_epu32,
    _mm256_min_epu32, _mm256_mul_ps, _mm256_or_si256, _mm256_set1_epi16, _mm256_set1_epi32,
    _mm256_set1_ps, _mm256_setzero_si256, _mm256_slli_epi32, _mm256_srai_epi32, _mm256_srli_epi32,
    _mm256_sub_epi32,
};

/// What was seen of all outputs of a tile, a lane apart.
struct Seen {
    /// Largest of the largest exponents.
    highest: __m256i,
    /// Least of them, as unsigned: outputs that are all zeros have -1 and do not count.
    lowest: __m256i,
    /// Largest magnitude of a sum.
    magnitude: __m256i,
}

/// A sum of 16 products is below 64, and with an accumulator below 66; one that wraps is seen as above 62.
const WRAPPED: u32 = 62 << 25;

/// All rows, with `BLOCK` parts along K summed at a time, if that gives the right bits; else D is left in any state.
#[target_feature(enable = "avx2")]
pub(super) fn rows<const PARTS: usize, const BLOCK: usize>(
    operands: &Operands<PARTS>,
    cut: i32,
    c: &[Lanes32; 4],
    d: &mut [Lanes32; 4],
) -> bool {
    let mut seen = Seen {
        highest: _mm256_setzero_si256(),
        lowest: _mm256_set1_epi32(-1),
        magnitude: _mm256_setzero_si256(),
    };
    for row in 0..16 {
        let (even, odd, lane) = (2 * (row / 8), 2 * (row / 8) + 1, (row % 8) * 4);
        let mut sums = [0u32; 8];
        sums[..4].copy_from_slice(&c[even][lane..lane + 4]);
        sums[4..].copy_from_slice(&c[odd][lane..lane + 4]);
        let mut sums: __m256i = bytemuck::cast(sums);
        for block in 0..PARTS / BLOCK {
            sums = row_block::<PARTS, BLOCK>(operands, row, block * BLOCK, cut, sums, &mut seen);
        }
        let sums: [u32; 8] = bytemuck::cast(sums);
        d[even][lane..lane + 4].copy_from_slice(&sums[..4]);
        d[odd][lane..lane + 4].copy_from_slice(&sums[4..]);
    }
    let highest: [i32; 8] = bytemuck::cast(seen.highest);
    let lowest: [u32; 8] = bytemuck::cast(seen.lowest);
    let magnitude: [u32; 8] = bytemuck::cast(seen.magnitude);
    let mut well = operands.finite;
    for lane in 0..8 {
        well &= highest[lane] <= HIGHEST + EXPONENT_BIAS;
        well &= lowest[lane] >= (LOWEST + EXPONENT_BIAS) as u32;
        well &= magnitude[lane] < WRAPPED;
    }
    well
}

/// One block of products and the accumulator, eight outputs.
#[inline]
#[target_feature(enable = "avx2")]
fn row_block<const PARTS: usize, const BLOCK: usize>(
    operands: &Operands<PARTS>,
    row: usize,
    first: usize,
    cut: i32,
    c: __m256i,
    seen: &mut Seen,
) -> __m256i {
    // Two `i16`s a lane: the exponents of two products.
    let mut pairs = _mm256_set1_epi16(i16::MIN);
    for part in first..first + BLOCK {
        let a = &operands.a[part][row / 8].exponents.as_chunks::<4>().0[row % 8];
        for (&a, &b) in a.iter().zip(operands.b[part].exponents.as_chunks::<8>().0) {
            let sums = _mm256_add_epi16(_mm256_set1_epi32(a as i32), bytemuck::cast(b));
            pairs = _mm256_max_epi16(pairs, sums);
        }
    }
    let upper = _mm256_max_epi16(pairs, _mm256_slli_epi32::<16>(pairs));
    let products = _mm256_srai_epi32::<16>(upper);
    let largest = _mm256_max_epi32(products, accumulator_exponent(c));
    seen.highest = _mm256_max_epi32(seen.highest, largest);
    seen.lowest = _mm256_min_epu32(seen.lowest, largest);

    let largest = _mm256_max_epi32(largest, _mm256_set1_epi32(LOWEST + EXPONENT_BIAS));
    let fields = _mm256_sub_epi32(_mm256_set1_epi32(127 + cut + EXPONENT_BIAS), largest);
    let scale = _mm256_slli_epi32::<23>(fields);
    // The reciprocal of a power of two.
    let unit = _mm256_castsi256_ps(_mm256_sub_epi32(_mm256_set1_epi32(254 << 23), scale));
    let scale = _mm256_castsi256_ps(scale);

    let mut sum = _mm256_cvttps_epi32(_mm256_mul_ps(_mm256_castsi256_ps(c), scale));
    for part in first..first + BLOCK {
        let (a, b) = (&operands.a[part][row / 8], &operands.b[part]);
        for (a, b) in [(&a.low, &b.low), (&a.high, &b.high)] {
            for (&a, &b) in a.as_chunks::<4>().0[row % 8]
                .iter()
                .zip(b.as_chunks::<8>().0)
            {
                let product = _mm256_mul_ps(_mm256_set1_ps(a), bytemuck::cast(b));
                let addend = _mm256_cvttps_epi32(_mm256_mul_ps(product, scale));
                sum = _mm256_add_epi32(sum, addend);
            }
        }
    }
    let magnitude = _mm256_abs_epi32(sum);
    seen.magnitude = _mm256_max_epu32(seen.magnitude, magnitude);
    // Clears the bit after the 24th, and others below it, so that the conversion cuts instead of rounding.
    let magnitude = _mm256_andnot_si256(_mm256_srli_epi32::<24>(magnitude), magnitude);
    let magnitude = _mm256_castps_si256(_mm256_mul_ps(_mm256_cvtepi32_ps(magnitude), unit));
    let sign = _mm256_and_si256(sum, _mm256_set1_epi32(i32::MIN));
    _mm256_or_si256(magnitude, sign)
}

/// Biased exponents of singles; -1 for zeros.
#[inline]
#[target_feature(enable = "avx2")]
fn accumulator_exponent(c: __m256i) -> __m256i {
    let magnitude = _mm256_slli_epi32::<1>(c);
    let zero = _mm256_cmpeq_epi32(magnitude, _mm256_setzero_si256());
    // A denormal's exponent comes out one too low; it is below LOWEST either way.
    let field = _mm256_srli_epi32::<24>(magnitude);
    _mm256_or_si256(
        zero,
        _mm256_add_epi32(field, _mm256_set1_epi32(EXPONENT_BIAS - 127)),
    )
}
