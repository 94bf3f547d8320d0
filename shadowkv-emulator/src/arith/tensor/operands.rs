//! Fragments of 16-bit floats taken apart: exponents and values, in the order in which rows are computed.

use crate::arith::Lanes32;

/// What exponents of products are biased by, so that those of all products other than zero are positive.
pub(super) const EXPONENT_BIAS: i32 = 254;
/// Exponent that stands for a zero: with it, every sum is negative.
const ZERO: i16 = -1000;

/// Column of each of the eight outputs of a step.
pub(super) const COLUMN: [usize; 8] = [0, 2, 4, 6, 1, 3, 5, 7];

/// The registers of one fragment, taken apart. An exponent word holds those of two neighbours along K, as `i16`s.
pub(super) struct Split {
    pub(super) exponents: Lanes32,
    pub(super) low: [f32; 32],
    pub(super) high: [f32; 32],
}

/// A and B taken apart; a part spans 8 along K.
pub(super) struct Operands<const PARTS: usize> {
    /// By part and half of the rows, then by row and pair along K, as A's registers are.
    pub(super) a: [[Split; 2]; PARTS],
    /// By part, then by pair along K and output.
    pub(super) b: [Split; PARTS],
    /// Whether A and B hold neither infinity nor NaN; if not, the rest means nothing.
    pub(super) finite: bool,
}

/// The exponent of a 16-bit float, half of [`EXPONENT_BIAS`] added; meaningless for infinity and NaN.
#[inline(always)]
fn exponent<const FRACTION: u32>(bits: i16) -> i16 {
    let magnitude = bits & 0x7fff;
    let zero = if magnitude == 0 { ZERO } else { 0 };
    let field = (magnitude >> FRACTION).max(1);
    let lower = if FRACTION == 7 { 0 } else { 127 - 15 };
    field + (zero + lower)
}

/// A 16-bit float, in the lower bits of `bits`, as a single; meaningless for infinity and NaN.
#[inline(always)]
fn value<const FRACTION: u32>(bits: u32) -> f32 {
    if FRACTION == 7 {
        return f32::from_bits(bits << 16);
    }
    // The exponent field of an f16 is 112 lower than that of the same number in f32, denormals included.
    let shifted = ((bits & 0x8000) << 16) | ((bits & 0x7fff) << 13);
    f32::from_bits(shifted) * f32::from_bits((127 + 112) << 23)
}

impl Split {
    const EMPTY: Split = Split {
        exponents: [0; 32],
        low: [0.0; 32],
        high: [0.0; 32],
    };

    /// In place, since moves of it would cost as much as the work.
    #[inline(always)]
    fn fill<const FRACTION: u32>(&mut self, words: &Lanes32) {
        let halves: &mut [i16; 64] = bytemuck::cast_mut(&mut self.exponents);
        for (out, &bits) in halves
            .iter_mut()
            .zip(bytemuck::cast_ref::<_, [i16; 64]>(words))
        {
            *out = exponent::<FRACTION>(bits);
        }
        for (out, &word) in self.low.iter_mut().zip(words) {
            *out = value::<FRACTION>(word);
        }
        for (out, &word) in self.high.iter_mut().zip(words) {
            *out = match FRACTION {
                7 => f32::from_bits(word & 0xffff_0000),
                _ => value::<FRACTION>(word >> 16),
            };
        }
    }
}

impl<const PARTS: usize> Operands<PARTS> {
    pub(super) const EMPTY: Operands<PARTS> = Operands {
        a: [const { [Split::EMPTY; 2] }; PARTS],
        b: [const { Split::EMPTY }; PARTS],
        finite: false,
    };

    /// Takes A's and B's registers apart.
    #[inline(always)]
    pub(super) fn fill<const FRACTION: u32>(
        &mut self,
        a: &[[Lanes32; 2]; PARTS],
        b: &[Lanes32; PARTS],
    ) {
        // Lane by lane first: going across lanes is what costs.
        let mut largest = [0; 64];
        for register in a.as_flattened().iter().chain(b) {
            let halves: &[i16; 64] = bytemuck::cast_ref(register);
            for (largest, &bits) in largest.iter_mut().zip(halves) {
                *largest = (bits & 0x7fff).max(*largest);
            }
        }
        let largest = largest.iter().fold(0, |largest, &bits| bits.max(largest));
        self.finite = largest < (i16::MAX >> FRACTION) << FRACTION;
        for part in 0..PARTS {
            self.a[part][0].fill::<FRACTION>(&a[part][0]);
            self.a[part][1].fill::<FRACTION>(&a[part][1]);
            let mut by_pair = [0; 32];
            for pair in 0..4 {
                for output in 0..8 {
                    by_pair[pair * 8 + output] = b[part][COLUMN[output] * 4 + pair];
                }
            }
            self.b[part].fill::<FRACTION>(&by_pair);
        }
    }
}
