//! Values of literals (PTX ISA, constants).

/// A literal's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number {
    /// An integer; a negative one in two's complement.
    Integer(u64),
    /// `0f` and the bits of a single.
    Float32(u32),
    /// `0d` and the bits of a double, or decimal.
    Float64(u64),
}

/// The value of the literal `text`, which begins with a digit; on error, what a literal ought to look like.
pub(super) fn literal(text: &str) -> Result<Number, &'static str> {
    let digits = |prefix: [&str; 2]| prefix.iter().find_map(|prefix| text.strip_prefix(prefix));
    if let Some(bits) = digits(["0f", "0F"]) {
        return bits_of(bits, 8).map_or(Err("`0f` and 8 hexadecimal digits"), |bits| {
            Ok(Number::Float32(bits as u32))
        });
    }
    if let Some(bits) = digits(["0d", "0D"]) {
        return bits_of(bits, 16).map_or(Err("`0d` and 16 hexadecimal digits"), |bits| {
            Ok(Number::Float64(bits))
        });
    }
    let (body, radix) = if let Some(body) = digits(["0x", "0X"]) {
        (body, 16)
    } else if let Some(body) = digits(["0b", "0B"]) {
        (body, 2)
    } else if text.contains(['.', 'e', 'E']) {
        // Rust reads more than PTX has, such as `1_0` or `inf`.
        let plain = text
            .bytes()
            .all(|b| b.is_ascii_digit() || b".eE+-".contains(&b));
        return match text.parse::<f64>() {
            Ok(value) if plain && value.is_finite() => Ok(Number::Float64(value.to_bits())),
            _ => Err("a decimal floating-point number"),
        };
    } else if text.len() > 1 && text.starts_with('0') {
        (&text[1..], 8)
    } else {
        (text, 10)
    };
    let body = body.strip_suffix('U').unwrap_or(body);
    // `0U` is an octal literal without further digits.
    let body = if body.is_empty() && radix == 8 {
        "0"
    } else {
        body
    };
    if body.is_empty() || !body.chars().all(|digit| digit.is_digit(radix)) {
        return Err("an integer");
    }
    u64::from_str_radix(body, radix)
        .map(Number::Integer)
        .map_err(|_| "an integer of at most 64 bits")
}

/// The literal after a minus sign.
pub(super) fn negative(number: Number) -> Result<Number, &'static str> {
    match number {
        Number::Integer(magnitude) if magnitude > 1 << 63 => Err("an integer of at most 64 bits"),
        Number::Integer(magnitude) => Ok(Number::Integer(magnitude.wrapping_neg())),
        Number::Float32(bits) => Ok(Number::Float32(bits ^ (1 << 31))),
        Number::Float64(bits) => Ok(Number::Float64(bits ^ (1 << 63))),
    }
}

/// Exactly `count` hexadecimal digits.
fn bits_of(text: &str, count: usize) -> Option<u64> {
    (text.len() == count && text.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .then(|| u64::from_str_radix(text, 16).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_notation() {
        for (text, value) in [
            ("0", 0),
            ("0U", 0),
            ("17", 17),
            ("17U", 17),
            ("0x1Fe", 0x1FE),
            ("0XffU", 0xFF),
            ("0b101", 5),
            ("017", 15),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(literal(text), Ok(Number::Integer(value)), "{text}");
        }
        assert_eq!(literal("0f3F800000"), Ok(Number::Float32(0x3F80_0000)));
        assert_eq!(
            literal("0d3FF0000000000000"),
            Ok(Number::Float64(1f64.to_bits()))
        );
        assert_eq!(literal("1.5e-3"), Ok(Number::Float64(1.5e-3f64.to_bits())));
        assert_eq!(literal("2."), Ok(Number::Float64(2f64.to_bits())));
    }

    #[test]
    fn wrong_literals() {
        for text in [
            "08",
            "0x",
            "0b2",
            "1k",
            "0f3F8",
            "0d3FF",
            "1_0",
            "1e",
            "1e999",
            "0xU",
            "1.5f",
            "0f+F800000",
        ] {
            assert!(literal(text).is_err(), "{text}");
        }
        assert_eq!(
            literal("18446744073709551616"),
            Err("an integer of at most 64 bits")
        );
        assert!(negative(Number::Integer((1 << 63) + 1)).is_err());
        assert_eq!(
            negative(Number::Integer(1 << 63)),
            Ok(Number::Integer(1 << 63))
        );
    }
}
