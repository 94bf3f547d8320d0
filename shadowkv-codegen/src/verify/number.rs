//! bfloat16 and how far apart its numbers, and those of `f32`, lie.

/// The bfloat16 nearest to `value`, ties to even.
pub fn bf16_bits(value: f64) -> u16 {
    let single = value as f32;
    let mut bits = single.to_bits();
    // Rounded twice, a value just beside the middle of two bfloat16 numbers would become the middle itself.
    if bits & 0xffff == 0x8000 && f64::from(single).to_bits() != value.to_bits() {
        if f64::from(single).abs() < value.abs() {
            bits += 1;
        } else {
            bits -= 1;
        }
    }
    if single.is_nan() {
        return (bits >> 16) as u16 | 0x0040;
    }
    // Up if more than half, or half and the kept part is odd; a carry runs into the exponent as it should.
    let odd = (bits >> 16) & 1;
    ((bits + 0x7fff + odd) >> 16) as u16
}

/// The value of a bfloat16.
pub fn bf16_value(bits: u16) -> f64 {
    f64::from(f32::from_bits(u32::from(bits) << 16))
}

/// `value` rounded to bfloat16.
pub fn bf16(value: f64) -> f64 {
    bf16_value(bf16_bits(value))
}

/// Half the distance between the numbers of a format around `value`: what rounding to nearest may be off by.
/// `fraction_bits` are those stored: 7 of bfloat16, 23 of `f32`; both have exponents down to -126.
///
/// A bfloat16 has 8 significant bits, so that this is 2^-8 of a value just above a power of two and 2^-9 of one just
/// below the next.
pub fn half_spacing(value: f64, fraction_bits: i32) -> f64 {
    if !value.is_finite() {
        return 0.0;
    }
    let exponent = ((value.to_bits() >> 52) & 0x7ff) as i32 - 1023;
    2.0_f64.powi(exponent.max(-126) - fraction_bits - 1)
}

/// Stored fraction bits of bfloat16.
pub const BF16_FRACTION: i32 = 7;
/// Stored fraction bits of `f32`.
pub const F32_FRACTION: i32 = 23;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_to_bf16_is_to_nearest_even_and_once() {
        let cases = [
            (1.0, 0x3f80),
            (-2.5, 0xc020),
            // Ties: to even, both ways.
            (1.0 + 1.0 / 256.0, 0x3f80),
            (1.0 + 3.0 / 256.0, 0x3f82),
            // Beside a tie by less than f32 can tell.
            (1.0 + 1.0 / 256.0 + 1e-12, 0x3f81),
            (1.0 + 3.0 / 256.0 - 1e-12, 0x3f81),
            (-(1.0 + 1.0 / 256.0 + 1e-12), 0xbf81),
            (f64::NEG_INFINITY, 0xff80),
            (0.0, 0),
            // The smallest subnormal, and half of it.
            (2.0_f64.powi(-133), 1),
            (2.0_f64.powi(-134), 0),
        ];
        for (value, bits) in cases {
            assert_eq!(bf16_bits(value), bits, "{value}");
        }
        assert!(bf16_value(bf16_bits(f64::NAN)).is_nan());
        for bits in 0..=u16::MAX {
            let value = bf16_value(bits);
            assert!(value.is_nan() || bf16_bits(value) == bits, "{bits:#x}");
        }
    }

    #[test]
    fn spacing() {
        assert_eq!(half_spacing(1.0, BF16_FRACTION), 2.0_f64.powi(-8));
        assert_eq!(half_spacing(-1.99, BF16_FRACTION), 2.0_f64.powi(-8));
        assert_eq!(half_spacing(2.0, F32_FRACTION), 2.0_f64.powi(-23));
        assert_eq!(half_spacing(0.0, BF16_FRACTION), 2.0_f64.powi(-134));
        assert_eq!(half_spacing(f64::INFINITY, BF16_FRACTION), 0.0);
    }
}
