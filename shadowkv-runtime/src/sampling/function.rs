//! Exponential and logarithm in single roundings of `f32`, which every device makes alike.

#![expect(
    clippy::excessive_precision,
    reason = "the coefficients as they were published, digit by digit like the kernel's"
)]

use std::f32::consts::LOG2_E;

/// Weights are in units of 2^-39: the sum of 2^24 of them is at most 2^63.
const WEIGHT_BITS: i32 = 39;

/// Exponents below this have weight 0.
pub(super) const FAINTEST: f32 = -27.0;

/// ln 2 in two parts, the first of few bits, so that its product with a small whole number is exact.
const LN_2_HIGH: f32 = 0.693_359_375;
const LN_2_LOW: f32 = -2.121_944_4e-4;

/// Adding and subtracting 1.5 * 2^23 rounds a number of less than 2^22 to a whole one.
const ROUNDING: f32 = 12_582_912.0;

/// `e^z` for `z <= 0` in units of 2^-39, truncated; relative error below 2^-22 before that. 0 for what is not a number.
pub(super) fn weight_of(z: f32) -> u64 {
    if z.is_nan() || z < FAINTEST {
        return 0;
    }
    let whole = z * LOG2_E + ROUNDING - ROUNDING;
    let rest = z - whole * LN_2_HIGH - whole * LN_2_LOW;
    // Cephes' expf.
    let mut y = 1.987_569_15e-4_f32;
    y = y * rest + 1.398_199_950_7e-3;
    y = y * rest + 8.333_451_907_3e-3;
    y = y * rest + 4.166_579_589_4e-2;
    y = y * rest + 1.666_666_545_9e-1;
    y = y * rest + 5.000_000_120_1e-1;
    y = y * rest * rest + rest + 1.0;
    // y * 2^(whole + 39): at least 2^-1, so that it is a normal number.
    let exponent = (whole as i32 + WEIGHT_BITS) as u32;
    f32::from_bits(y.to_bits() + (exponent << 23)) as u64
}

/// ln of a sum of weights that is 2^39 at least; error below 2^-22, absolute up to 1 and relative beyond.
pub(super) fn ln_of(sum: u64) -> f32 {
    let bits = (sum as f32).to_bits();
    let mut exponent = ((bits >> 23) as i32 - 127 - WEIGHT_BITS) as f32;
    let mut x = f32::from_bits(bits & 0x007f_ffff | 0x3f80_0000);
    if x > std::f32::consts::SQRT_2 {
        x *= 0.5;
        exponent += 1.0;
    }
    x -= 1.0;
    let square = x * x;
    // Cephes' logf.
    let mut y = 7.037_683_629_2e-2_f32;
    y = y * x - 1.151_461_031_0e-1;
    y = y * x + 1.167_699_874_0e-1;
    y = y * x - 1.242_014_084_6e-1;
    y = y * x + 1.424_932_278_7e-1;
    y = y * x - 1.666_805_766_5e-1;
    y = y * x + 2.000_071_476_5e-1;
    y = y * x - 2.499_999_399_3e-1;
    y = y * x + 3.333_333_117_4e-1;
    y = y * x * square;
    y += exponent * LN_2_LOW;
    y -= square * 0.5;
    x + y + exponent * LN_2_HIGH
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: f64 = 549_755_813_888.0; // 2^39

    #[test]
    fn weights_are_exponentials() {
        assert_eq!(weight_of(0.0), 1 << 39);
        assert_eq!(weight_of(-0.0), 1 << 39);
        assert_eq!(weight_of(FAINTEST), 1);
        for nothing in [FAINTEST.next_down(), f32::NEG_INFINITY, f32::NAN] {
            assert_eq!(weight_of(nothing), 0);
        }
        let mut worst = 0.0_f64;
        for step in 0..=270_000 {
            let z = -step as f32 * 1e-4;
            let exact = f64::from(z).exp() * UNIT;
            let error = (weight_of(z) as f64 - exact).abs() - 1.0;
            worst = worst.max(error / exact);
            assert!(weight_of(z) <= 1 << 39);
        }
        assert!(worst < 2.0_f64.powi(-22), "{worst}");
    }

    #[test]
    fn logarithms_of_sums() {
        for terms in (1..4000).chain([1 << 20, (1 << 24) - 1, 1 << 24]) {
            for sum in [terms << 39, (terms << 39) + (1 << 38) + 12_345] {
                let exact = (sum as f64 / UNIT).ln();
                let error = (f64::from(ln_of(sum)) - exact).abs();
                assert!(
                    error < 2.0_f64.powi(-22) * exact.max(1.0),
                    "{sum}: {error:e}"
                );
            }
        }
        assert_eq!(ln_of(1 << 39), 0.0);
    }
}
