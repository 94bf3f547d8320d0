//! One output of a floating-point `mma`, the slow and plain way: what the fast rows must equal bit for bit.
//!
//! A tensor core neither rounds after each addition nor sums exactly. It multiplies exactly, finds the largest exponent
//! among a block of products and the accumulator, aligns every addend to it, cuts what falls below a fixed number of
//! fraction bits (toward zero), adds the rest exactly, and cuts the sum to the accumulator's format.

use super::Arithmetic;

/// A binary float format.
#[derive(Clone, Copy, Debug)]
pub(super) struct Format {
    exponent_bits: u32,
    fraction_bits: u32,
}

impl Format {
    pub(super) const BF16: Format = Format {
        exponent_bits: 8,
        fraction_bits: 7,
    };
    pub(super) const F16: Format = Format {
        exponent_bits: 5,
        fraction_bits: 10,
    };
    pub(super) const TF32: Format = Format {
        exponent_bits: 8,
        fraction_bits: 10,
    };
    pub(super) const F32: Format = Format {
        exponent_bits: 8,
        fraction_bits: 23,
    };

    /// The number that the lowest bits of `bits` hold.
    pub(super) fn decode(self, bits: u32) -> Number {
        let exponent_mask = (1 << self.exponent_bits) - 1;
        let fraction = bits & ((1 << self.fraction_bits) - 1);
        let field = (bits >> self.fraction_bits) & exponent_mask;
        let bias = (exponent_mask >> 1) as i32;
        let hidden = u32::from(field != 0) << self.fraction_bits;
        let class = if field == exponent_mask {
            if fraction == 0 {
                Class::Infinite
            } else {
                Class::Nan
            }
        } else if field == 0 && fraction == 0 {
            Class::Zero
        } else {
            Class::Finite
        };
        Number {
            class,
            negative: (bits >> (self.exponent_bits + self.fraction_bits)) & 1 == 1,
            exponent: field.max(1) as i32 - bias,
            significand: u64::from(fraction | hidden),
            fraction_bits: self.fraction_bits,
        }
    }
}

/// What kind of number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Zero,
    Finite,
    Infinite,
    Nan,
}

/// A decoded number: `significand * 2^(exponent - fraction_bits)`, not normalised.
#[derive(Clone, Copy, Debug)]
pub(super) struct Number {
    class: Class,
    negative: bool,
    exponent: i32,
    significand: u64,
    fraction_bits: u32,
}

impl Number {
    /// The product, exact. Its exponent is the sum of the two exponents even if the significand reaches 2.
    pub(super) fn times(self, other: Number) -> Number {
        let class = match (self.class, other.class) {
            (Class::Nan, _)
            | (_, Class::Nan)
            | (Class::Infinite, Class::Zero)
            | (Class::Zero, Class::Infinite) => Class::Nan,
            (Class::Infinite, _) | (_, Class::Infinite) => Class::Infinite,
            (Class::Zero, _) | (_, Class::Zero) => Class::Zero,
            (Class::Finite, Class::Finite) => Class::Finite,
        };
        Number {
            class,
            negative: self.negative != other.negative,
            exponent: self.exponent + other.exponent,
            significand: self.significand * other.significand,
            fraction_bits: self.fraction_bits + other.fraction_bits,
        }
    }

    /// The number in units of `2^(exponent - fraction_bits)`, cut toward zero.
    fn aligned(self, exponent: i32, fraction_bits: u32) -> i64 {
        let up = self.exponent - exponent + fraction_bits as i32 - self.fraction_bits as i32;
        let magnitude = if up >= 0 {
            self.significand << up
        } else {
            self.significand >> (-up).min(63)
        };
        if self.negative {
            -(magnitude as i64)
        } else {
            magnitude as i64
        }
    }
}

/// A sum of aligned addends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sum {
    /// `units * 2^exponent`
    Finite {
        units: i64,
        exponent: i32,
    },
    Infinite {
        negative: bool,
    },
    Nan,
}

/// Addends are aligned to at least this exponent: the least bit that a sum keeps is 2^-158.
const LOWEST_EXPONENT: i32 = -133;

/// Adds `addends`, each cut to `fraction_bits` below the largest exponent among them.
pub(super) fn fused_sum(addends: &[Number], fraction_bits: u32) -> Sum {
    let infinite = |negative| {
        addends
            .iter()
            .any(|n| n.class == Class::Infinite && n.negative == negative)
    };
    if addends.iter().any(|n| n.class == Class::Nan) || (infinite(true) && infinite(false)) {
        return Sum::Nan;
    }
    if infinite(true) || infinite(false) {
        return Sum::Infinite {
            negative: infinite(true),
        };
    }
    let finite = || addends.iter().filter(|n| n.class == Class::Finite);
    let largest = finite().map(|n| n.exponent).fold(LOWEST_EXPONENT, i32::max);
    let units = finite().map(|n| n.aligned(largest, fraction_bits)).sum();
    Sum::Finite {
        units,
        exponent: largest - fraction_bits as i32,
    }
}

/// An accumulator `c` and `products`, a block at a time, each block's result being the next one's accumulator.
pub(super) fn chain(
    products: impl Iterator<Item = Number>,
    arithmetic: Arithmetic,
    c: u32,
    decode: impl Fn(u32) -> Number,
    encode: impl Fn(Sum) -> u32,
) -> u32 {
    let products: Vec<Number> = products.collect();
    products.chunks(arithmetic.block).fold(c, |c, block| {
        let mut addends = block.to_vec();
        addends.push(decode(c));
        encode(fused_sum(&addends, arithmetic.fraction_bits))
    })
}

/// The NaN that a tensor core writes.
const NAN: u32 = 0x7fff_ffff;
const INFINITY: u32 = 0x7f80_0000;

impl Sum {
    /// The bits of the single nearest toward zero; beyond the largest finite one, infinity.
    pub(super) fn to_f32(self) -> u32 {
        let (units, exponent) = match self {
            Sum::Nan => return NAN,
            Sum::Infinite { negative } => return (u32::from(negative) << 31) | INFINITY,
            Sum::Finite { units: 0, .. } => return 0,
            Sum::Finite { units, exponent } => (units, exponent),
        };
        let sign = u32::from(units < 0) << 31;
        let magnitude = units.unsigned_abs();
        // Exponent of the leading bit, and of the last bit that a single can hold.
        let leading = exponent + 63 - magnitude.leading_zeros() as i32;
        let last = (leading - 23).max(-149);
        let up = exponent - last;
        let significand = if up >= 0 {
            magnitude << up
        } else {
            magnitude >> (-up).min(63)
        } as u32;
        if leading > 127 {
            return sign | INFINITY;
        }
        if significand == 0 {
            return 0; // whatever the sign
        }
        // A normal number's hidden bit adds the one that the field lacks.
        let field = (last + 149) as u32;
        sign | ((field << 23) + significand)
    }
}

impl Sum {
    /// The bits of the nearest `f16`, ties to even.
    pub(super) fn to_f16(self) -> u32 {
        let (units, exponent) = match self {
            Sum::Nan => return 0x7fff,
            Sum::Infinite { negative } => return (u32::from(negative) << 15) | 0x7c00,
            Sum::Finite { units: 0, .. } => return 0,
            Sum::Finite { units, exponent } => (units, exponent),
        };
        let sign = u32::from(units < 0) << 15;
        let magnitude = units.unsigned_abs();
        let leading = exponent + 63 - magnitude.leading_zeros() as i32;
        let last = (leading - 10).max(-24);
        let up = exponent - last;
        let significand = if up >= 0 {
            magnitude << up
        } else if up < -40 {
            0
        } else {
            let (kept, rest) = (magnitude >> -up, magnitude << (64 + up));
            kept + u64::from(rest > 1 << 63 || (rest == 1 << 63 && kept & 1 == 1))
        };
        if significand == 0 {
            return 0;
        }
        // A significand rounded up to the next power of two carries into the field.
        let bits = (((last + 24) as u64) << 10) + significand;
        sign | bits.min(0x7c00) as u32
    }
}
