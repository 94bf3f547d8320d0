//! Any conversion of one lane, the slow and plain way.

use super::legal::is_integer;
use super::{Conversion, Rounding};
use crate::arith::float::{Direction, Format, Value, round};
use crate::ptx::ast::ScalarType;
use crate::ptx::ast::ScalarType::{
    Bf16, Bf16x2, E4m3, E4m3x2, E5m2, E5m2x2, F16, F16x2, F32, F64, Tf32,
};

fn format(ty: ScalarType) -> Option<Format> {
    Some(match ty {
        E4m3 | E4m3x2 => Format::E4M3,
        E5m2 | E5m2x2 => Format::E5M2,
        F16 | F16x2 => Format::F16,
        Bf16 | Bf16x2 => Format::BF16,
        Tf32 => Format::TF32,
        F32 => Format::F32,
        F64 => Format::F64,
        _ => return None,
    })
}

/// Converts one lane; 0 for types that no legal conversion has.
pub(super) fn convert(conversion: Conversion, a: u64, b: u64) -> u64 {
    let Conversion { to, from, .. } = conversion;
    match (format(to), format(from)) {
        (None, None) => integer_to_integer(conversion, a),
        (Some(to), None) => integer_to_float(conversion, to, a),
        (None, Some(from)) if is_integer(to) => float_to_integer(conversion, from, a),
        (None, Some(_)) => 0,
        (Some(to_format), Some(from_format)) => {
            let one = |bits| float_to_float(conversion, to_format, from_format, bits);
            match (to, from) {
                (F16x2 | Bf16x2, F32) => (one(a) << 16) | one(b),
                (E4m3x2 | E5m2x2, F32) => (one(a) << 8) | one(b),
                (E4m3x2 | E5m2x2, F16x2) => (one(a >> 16) << 8) | one(a & 0xffff),
                (F16x2, E4m3x2 | E5m2x2) => (one(a >> 8 & 0xff) << 16) | one(a & 0xff),
                // The 13 bits below a tf32 are written as zeros.
                (Tf32, F32) => one(a) << 13,
                _ => one(a),
            }
        }
    }
}

/// The bits of the type at the bottom of `bits`, extended by its signedness.
fn extend(ty: ScalarType, bits: u64) -> i128 {
    let unused = 64 - 8 * ty.bytes();
    if ty.is_signed() {
        i128::from((bits << unused) as i64 >> unused)
    } else {
        i128::from(bits << unused >> unused)
    }
}

/// Least and greatest value of an integer type.
fn range(ty: ScalarType) -> (i128, i128) {
    let bits = 8 * ty.bytes();
    if ty.is_signed() {
        (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
    } else {
        (0, (1 << bits) - 1)
    }
}

/// An integer as a register holds it.
fn register(ty: ScalarType, value: i128) -> u64 {
    let bits = (8 * ty.bytes()).max(16);
    value as u64 & (u64::MAX >> (64 - bits))
}

fn integer_to_integer(conversion: Conversion, a: u64) -> u64 {
    let value = extend(conversion.from, a);
    let (least, greatest) = range(conversion.to);
    if conversion.sat {
        return register(conversion.to, value.clamp(least, greatest));
    }
    register(conversion.to, extend(conversion.to, value as u64))
}

fn integer_to_float(conversion: Conversion, to: Format, a: u64) -> u64 {
    let value = extend(conversion.from, a);
    if conversion.sat {
        return to.encode(false, value.clamp(0, 1) as u64, 0, Direction::Zero);
    }
    to.encode(
        value < 0,
        value.unsigned_abs() as u64,
        0,
        direction(conversion),
    )
}

fn direction(conversion: Conversion) -> Direction {
    conversion
        .rounding
        .map_or(Direction::NearestEven, Rounding::direction)
}

/// The source. An H100 flushes denormal singles on the way to everything but `f16`.
fn decode(conversion: Conversion, from: Format, bits: u64) -> Value {
    let flush =
        conversion.ftz && conversion.from == F32 && conversion.to != F16 && bits & 0x7f80_0000 == 0;
    from.decode(if flush { bits & 0x8000_0000 } else { bits })
}

fn float_to_integer(conversion: Conversion, from: Format, bits: u64) -> u64 {
    let to = conversion.to;
    let (least, greatest) = range(to);
    let value = match decode(conversion, from, bits) {
        // An H100 gives the sign bit alone for conversions that have 64 bits on either side, else 0.
        Value::Nan if to.bytes() == 8 || conversion.from == F64 => {
            extend(to, 1 << (8 * to.bytes() - 1))
        }
        Value::Nan => 0,
        Value::Infinite { negative: true } => least,
        Value::Infinite { negative: false } => greatest,
        Value::Finite {
            negative,
            magnitude,
            exponent,
        } => {
            let magnitude = if exponent >= 0 {
                // Beyond every integer type, and still of an i128.
                i128::from(magnitude) << exponent.min(65)
            } else {
                i128::from(round(
                    negative,
                    magnitude,
                    -exponent as u32,
                    direction(conversion),
                ))
            };
            (if negative { -magnitude } else { magnitude }).clamp(least, greatest)
        }
    };
    register(to, value)
}

fn float_to_float(conversion: Conversion, to: Format, from: Format, bits: u64) -> u64 {
    let direction = direction(conversion);
    if (conversion.to, direction) == (Tf32, Direction::NearestAway) {
        return tf32_away(conversion.satfinite, bits as u32) >> 13;
    }
    // A move, where there is nothing to do; the narrow ones go through an instruction that knows one NaN alone.
    let nothing = conversion.rounding.is_none() && !conversion.sat && !conversion.ftz;
    if nothing
        && matches!(
            (conversion.to, conversion.from),
            (F32, F32 | Bf16) | (F64, F64)
        )
    {
        return if conversion.from == Bf16 {
            bits << 16 & 0xffff_0000
        } else {
            bits
        };
    }
    let result = match decode(conversion, from, bits) {
        Value::Nan if conversion.sat => 0,
        // Flushing is an addition, which makes the one NaN that is widened then.
        Value::Nan if conversion.ftz && conversion.to == F64 => {
            to.nan_with_payload_of(from, from.nan())
        }
        Value::Nan if keeps_payload(conversion) => to.nan_with_payload_of(from, bits),
        Value::Nan => return to.nan(),
        Value::Infinite { negative } if conversion.satfinite => to.largest(negative),
        Value::Infinite { negative } => to.infinity(negative),
        Value::Finite {
            negative,
            magnitude,
            exponent,
        } => {
            let result = match conversion.rounding {
                Some(Rounding::Integer(_)) if exponent < 0 => to.encode(
                    negative,
                    round(negative, magnitude, -exponent as u32, direction),
                    0,
                    direction,
                ),
                _ => to.encode(negative, magnitude, exponent, direction),
            };
            match to.decode(result) {
                Value::Finite { .. } => result,
                _ if conversion.satfinite => to.largest(negative),
                _ => result,
            }
        }
    };
    let flush = conversion.ftz && conversion.to == F32 && result & 0x7f80_0000 == 0;
    let result = if flush { result & 0x8000_0000 } else { result };
    let negative = result & !(to.mask() >> 1) != 0;
    if negative && (conversion.relu || conversion.sat) {
        return 0;
    }
    if conversion.sat {
        result.min(to.encode(false, 1, 0, Direction::Zero))
    } else {
        result
    }
}

/// Whether a NaN keeps its sign and the upper bits of its fraction; others become the one NaN of the result's type.
fn keeps_payload(conversion: Conversion) -> bool {
    conversion.from == F64 || conversion.to == F64
}

/// `cvt.rna.tf32.f32` as ptxas makes it of integer instructions: NaNs are cut, and with `.satfinite` become something
/// else that is of no use.
fn tf32_away(satfinite: bool, bits: u32) -> u64 {
    let special = |bits: u32| bits & 0x7f80_0000 == 0x7f80_0000;
    let rounded = if special(bits) { bits } else { bits + 0x1000 } & !0x1fff;
    u64::from(if satfinite && special(rounded) {
        rounded - 0x2000
    } else {
        rounded
    })
}
