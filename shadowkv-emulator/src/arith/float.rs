//! Binary float formats in integers: decoding, and rounding to any of them in any direction.

/// How a value between two representable ones is rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// To the nearest, ties to even.
    NearestEven,
    /// To the nearest, ties away from zero.
    NearestAway,
    /// Toward zero.
    Zero,
    /// Toward negative infinity.
    Down,
    /// Toward positive infinity.
    Up,
}

/// A binary float format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Format {
    exponent_bits: u32,
    fraction_bits: u32,
    /// Largest finite magnitude.
    largest: u64,
    /// The NaN that conversions make.
    nan: u64,
}

/// What bits stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// `magnitude * 2^exponent`, zero included.
    Finite {
        negative: bool,
        magnitude: u64,
        exponent: i32,
    },
    /// An infinity.
    Infinite { negative: bool },
    /// Not a number.
    Nan,
}

impl Format {
    pub(super) const E4M3: Format = Format {
        exponent_bits: 4,
        fraction_bits: 3,
        largest: 0x7e,
        nan: 0x7f,
    };
    pub(super) const E5M2: Format = Format {
        exponent_bits: 5,
        fraction_bits: 2,
        largest: 0x7b,
        nan: 0x7f,
    };
    pub(super) const F16: Format = Format {
        exponent_bits: 5,
        fraction_bits: 10,
        largest: 0x7bff,
        nan: 0x7fff,
    };
    pub(super) const BF16: Format = Format {
        exponent_bits: 8,
        fraction_bits: 7,
        largest: 0x7f7f,
        nan: 0x7fff,
    };
    /// `tf32` without the 13 bits below it.
    pub(super) const TF32: Format = Format {
        exponent_bits: 8,
        fraction_bits: 10,
        largest: 0x3_fbff,
        nan: 0x3_ffff,
    };
    pub(super) const F32: Format = Format {
        exponent_bits: 8,
        fraction_bits: 23,
        largest: 0x7f7f_ffff,
        nan: 0x7fff_ffff,
    };
    pub(super) const F64: Format = Format {
        exponent_bits: 11,
        fraction_bits: 52,
        largest: 0x7fef_ffff_ffff_ffff,
        nan: 0x7fff_ffff_ffff_ffff,
    };

    fn sign(self, negative: bool) -> u64 {
        u64::from(negative) << (self.exponent_bits + self.fraction_bits)
    }

    /// Exponent of the last bit of the least numbers.
    fn least(self) -> i32 {
        2 - (1 << (self.exponent_bits - 1)) - self.fraction_bits as i32
    }

    /// What the lowest bits of `bits` stand for.
    pub(super) fn decode(self, bits: u64) -> Value {
        let negative = bits & self.sign(true) != 0;
        let magnitude = bits & (self.sign(true) - 1);
        if magnitude > self.largest {
            // Only a format with infinities has room between the largest number and the NaNs.
            let infinite = magnitude == self.largest + 1 && self != Format::E4M3;
            return if infinite {
                Value::Infinite { negative }
            } else {
                Value::Nan
            };
        }
        let field = (magnitude >> self.fraction_bits) as i32;
        let fraction = magnitude & ((1 << self.fraction_bits) - 1);
        let hidden = u64::from(field != 0) << self.fraction_bits;
        Value::Finite {
            negative,
            magnitude: fraction | hidden,
            exponent: self.least() + field.max(1) - 1,
        }
    }

    /// All bits of the format.
    pub(super) fn mask(self) -> u64 {
        (self.sign(true) << 1).wrapping_sub(1)
    }

    /// A quiet NaN with the sign and the upper fraction bits of one in another format.
    pub(super) fn nan_with_payload_of(self, from: Format, bits: u64) -> u64 {
        let fraction = bits & ((1 << from.fraction_bits) - 1);
        let aligned = fraction << (63 - from.fraction_bits) >> (63 - self.fraction_bits);
        let quiet = 1 << (self.fraction_bits - 1);
        self.infinity(bits & from.sign(true) != 0) | aligned | quiet
    }

    /// The NaN that conversions make.
    pub(super) fn nan(self) -> u64 {
        self.nan
    }

    /// Infinity, where the format has one.
    pub(super) fn infinity(self, negative: bool) -> u64 {
        self.sign(negative) | (self.largest + 1)
    }

    /// The largest finite number.
    pub(super) fn largest(self, negative: bool) -> u64 {
        self.sign(negative) | self.largest
    }

    /// `magnitude * 2^exponent`, rounded once.
    pub(super) fn encode(
        self,
        negative: bool,
        magnitude: u64,
        exponent: i32,
        direction: Direction,
    ) -> u64 {
        if magnitude == 0 {
            return self.sign(negative);
        }
        let leading = exponent + 63 - magnitude.leading_zeros() as i32;
        let last = (leading - self.fraction_bits as i32).max(self.least());
        let down = last - exponent;
        let kept = if down <= 0 {
            magnitude << -down
        } else {
            round(negative, magnitude, down as u32, direction)
        };
        // A normal number's hidden bit adds the one that the field lacks; a carry adds one more.
        let bits = (((last - self.least()) as u64) << self.fraction_bits) + kept;
        if bits <= self.largest {
            return self.sign(negative) | bits;
        }
        let cut = match direction {
            Direction::NearestEven | Direction::NearestAway => false,
            Direction::Zero => true,
            Direction::Down => !negative,
            Direction::Up => negative,
        };
        if cut {
            self.largest(negative)
        } else {
            self.infinity(negative)
        }
    }
}

/// `magnitude / 2^down` (`down` at least 1) as an integer.
pub(super) fn round(negative: bool, magnitude: u64, down: u32, direction: Direction) -> u64 {
    // Beyond 65 places everything is less than half.
    let wide = u128::from(magnitude) << 64 >> down.min(66);
    let (kept, rest) = ((wide >> 64) as u64, wide as u64);
    let half = 1 << 63;
    let up = match direction {
        Direction::NearestEven => rest > half || (rest == half && kept & 1 == 1),
        Direction::NearestAway => rest >= half,
        Direction::Zero => false,
        Direction::Down => {
            negative && magnitude != 0 && (rest != 0 || kept << down.min(63) != magnitude)
        }
        Direction::Up => {
            !negative && magnitude != 0 && (rest != 0 || kept << down.min(63) != magnitude)
        }
    };
    kept + u64::from(up)
}

/// The single that an `f16` in the lower half of `bits` is; NaN becomes the one that conversions make.
#[inline(always)]
pub(super) fn f32_from_f16(bits: u32) -> f32 {
    let magnitude = bits & 0x7fff;
    // The exponent field is 112 lower than that of the same number in f32, denormals included.
    let value = f32::from_bits(magnitude << 13) * f32::from_bits((127 + 112) << 23);
    let special = if magnitude == 0x7c00 {
        0x7f80_0000
    } else {
        0x7fff_ffff
    };
    let magnitude = if magnitude >= 0x7c00 {
        special
    } else {
        value.to_bits()
    };
    let sign = if magnitude == 0x7fff_ffff {
        0
    } else {
        (bits & 0x8000) << 16
    };
    f32::from_bits(magnitude | sign)
}

/// The nearest `f16`, ties to even, in the lower half.
#[inline(always)]
pub(super) fn f16_from_f32(value: f32) -> u32 {
    let bits = value.to_bits();
    let magnitude = bits & 0x7fff_ffff;
    // Adding a half shifts a denormal's bits to the end of the fraction and rounds there.
    let denormal = (f32::from_bits(magnitude) + 0.5)
        .to_bits()
        .wrapping_sub(0.5f32.to_bits());
    let odd = (magnitude >> 13) & 1;
    let normal = magnitude.wrapping_sub(112 << 23).wrapping_add(0xfff + odd) >> 13;
    let finite = if magnitude < (113 << 23) {
        denormal
    } else {
        normal
    };
    let result = if magnitude >= (143 << 23) {
        0x7c00
    } else {
        finite
    };
    if magnitude > 0x7f80_0000 {
        0x7fff
    } else {
        result | ((bits >> 16) & 0x8000)
    }
}

/// The single that a `bf16` in the lower half of `bits` is, NaNs as they are.
#[inline(always)]
pub(super) fn f32_from_bf16(bits: u32) -> f32 {
    f32::from_bits(bits << 16)
}

/// The nearest `bf16`, ties to even, in the lower half.
#[inline(always)]
pub(super) fn bf16_from_f32(value: f32) -> u32 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
    if bits & 0x7fff_ffff > 0x7f80_0000 {
        0x7fff
    } else {
        rounded
    }
}

/// The nearest integer, ties to even, without what the baseline would call a library for; NaN becomes the one that
/// conversions make.
#[inline(always)]
pub(super) fn rint(value: f32) -> f32 {
    const TWO_TO_23: f32 = 8_388_608.0;
    let magnitude = value.abs();
    // From 2^23 up there are no fractions, and below, the sum has no room for them.
    let rounded = (magnitude + TWO_TO_23) - TWO_TO_23;
    let rounded = if magnitude < TWO_TO_23 {
        rounded
    } else {
        magnitude
    };
    let signed = rounded.to_bits() | (value.to_bits() & 0x8000_0000);
    f32::from_bits(if value.is_nan() { 0x7fff_ffff } else { signed })
}
