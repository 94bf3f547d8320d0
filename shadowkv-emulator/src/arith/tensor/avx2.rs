//! [`super::half`]'s rows in AVX2: the same steps, the same bits.

use super::half::{ALL_ZERO, HIGHEST, LOWEST, Operands};
use crate::arith::Lanes32;
use std::arch::x86_64::*;

/// Eight words as a vector.
#[inline]
#[target_feature(enable = "avx2")]
fn words(words: [u32; 8]) -> __m256i {
    bytemuck::cast(words)
}

/// All rows, with `BLOCK` pairs along K summed at a time; as [`super::half`]'s portable version.
#[target_feature(enable = "avx2")]
pub(super) fn rows<const PAIRS: usize, const BLOCK: usize>(
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
        let mut sums = words(sums);
        for block in 0..PAIRS / BLOCK {
            let (next, mask) = row_block::<PAIRS, BLOCK>(operands, row, block * BLOCK, cut, sums);
            sums = next;
            again[row] |= mask;
        }
        let sums: [u32; 8] = bytemuck::cast(sums);
        d[even][lane..lane + 4].copy_from_slice(&sums[..4]);
        d[odd][lane..lane + 4].copy_from_slice(&sums[4..]);
    }
    again
}

#[inline]
#[target_feature(enable = "avx2")]
fn row_block<const PAIRS: usize, const BLOCK: usize>(
    operands: &Operands<PAIRS>,
    row: usize,
    first: usize,
    cut: i32,
    c: __m256i,
) -> (__m256i, u32) {
    // Two `i16`s a lane: the exponents of two products.
    let mut pairs = _mm256_set1_epi16(i16::MIN);
    for pair in first..first + BLOCK {
        let a = _mm256_set1_epi32(operands.a_exponents[pair / 4][row * 4 + pair % 4] as i32);
        pairs = _mm256_max_epi16(
            pairs,
            _mm256_add_epi16(a, words(operands.b_exponents[pair])),
        );
    }
    let low = _mm256_srai_epi32::<16>(_mm256_slli_epi32::<16>(pairs));
    let largest = _mm256_max_epi32(low, _mm256_srai_epi32::<16>(pairs));
    let largest = _mm256_max_epi32(largest, accumulator_exponent(c));

    let above = _mm256_cmpgt_epi32(largest, _mm256_set1_epi32(HIGHEST));
    let below = _mm256_cmpgt_epi32(_mm256_set1_epi32(LOWEST), largest);
    let tiny = _mm256_and_si256(
        below,
        _mm256_cmpgt_epi32(largest, _mm256_set1_epi32(ALL_ZERO)),
    );
    let again = _mm256_or_si256(above, tiny);
    let largest = _mm256_min_epi32(largest, _mm256_set1_epi32(HIGHEST));
    let largest = _mm256_max_epi32(largest, _mm256_set1_epi32(LOWEST));
    let fields = _mm256_sub_epi32(_mm256_set1_epi32(127 + cut), largest);
    let scale = _mm256_castsi256_ps(_mm256_slli_epi32::<23>(fields));
    let fields = _mm256_add_epi32(_mm256_set1_epi32(127 - cut), largest);
    let unit = _mm256_castsi256_ps(_mm256_slli_epi32::<23>(fields));

    let mut products = _mm256_setzero_si256();
    for pair in first..first + BLOCK {
        let (part, at) = (pair / 4, row * 4 + pair % 4);
        let low = _mm256_mul_ps(
            _mm256_set1_ps(operands.a_low[part][at]),
            bytemuck::cast(operands.b_low[pair]),
        );
        let high = _mm256_mul_ps(
            _mm256_set1_ps(operands.a_high[part][at]),
            bytemuck::cast(operands.b_high[pair]),
        );
        products = _mm256_add_epi32(products, _mm256_cvttps_epi32(_mm256_mul_ps(low, scale)));
        products = _mm256_add_epi32(products, _mm256_cvttps_epi32(_mm256_mul_ps(high, scale)));
    }
    let accumulator = _mm256_cvttps_epi32(_mm256_mul_ps(_mm256_castsi256_ps(c), scale));
    let sum = _mm256_add_epi32(products, accumulator);
    // The sign of the sum differs from those of both addends.
    let overflow = _mm256_and_si256(
        _mm256_xor_si256(sum, products),
        _mm256_xor_si256(sum, accumulator),
    );
    let again = _mm256_or_si256(again, overflow);

    let magnitude = _mm256_abs_epi32(sum);
    let magnitude = _mm256_andnot_si256(_mm256_srli_epi32::<24>(magnitude), magnitude);
    let magnitude = _mm256_castps_si256(_mm256_mul_ps(_mm256_cvtepi32_ps(magnitude), unit));
    let sign = _mm256_and_si256(sum, _mm256_set1_epi32(i32::MIN));
    let mask = _mm256_movemask_ps(_mm256_castsi256_ps(again));
    (_mm256_or_si256(magnitude, sign), mask as u32)
}

#[inline]
#[target_feature(enable = "avx2")]
fn accumulator_exponent(c: __m256i) -> __m256i {
    let magnitude = _mm256_and_si256(c, _mm256_set1_epi32(i32::MAX));
    let field = _mm256_srli_epi32::<23>(magnitude);
    let zero = _mm256_cmpeq_epi32(magnitude, _mm256_setzero_si256());
    let zero = _mm256_and_si256(zero, _mm256_set1_epi32(i32::from(super::half::ZERO)));
    let special = _mm256_cmpeq_epi32(field, _mm256_set1_epi32(255));
    let special = _mm256_and_si256(special, _mm256_set1_epi32(i32::from(super::half::SPECIAL)));
    let exponent = _mm256_sub_epi32(
        _mm256_max_epi32(field, _mm256_set1_epi32(1)),
        _mm256_set1_epi32(127),
    );
    _mm256_add_epi32(exponent, _mm256_add_epi32(zero, special))
}
