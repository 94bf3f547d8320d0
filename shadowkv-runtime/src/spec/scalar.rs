//! What an unquoted YAML scalar means: the core schema of YAML 1.2.

/// A scalar value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scalar {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
}

/// Most characters of a text that an error quotes.
const QUOTED_MAX: usize = 40;

impl Scalar {
    pub(super) fn describe(&self) -> String {
        match self {
            Scalar::Null => "empty".to_owned(),
            Scalar::Bool(value) => format!("`{value}`"),
            Scalar::Integer(value) => value.to_string(),
            Scalar::Float(value) => number(*value),
            Scalar::Text(text) if text.chars().count() > QUOTED_MAX => {
                format!(
                    "the text {:?}...",
                    text.chars().take(QUOTED_MAX).collect::<String>()
                )
            }
            Scalar::Text(text) => format!("the text {text:?}"),
        }
    }
}

/// A number the way a person would write it.
pub(super) fn number(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 {
            "infinity"
        } else {
            "minus infinity"
        }
        .to_owned()
    } else if value != 0.0 && !(1e-4..1e12).contains(&value.abs()) {
        format!("{value:e}")
    } else {
        value.to_string()
    }
}

/// The meaning of an unquoted scalar.
pub(super) fn resolve(text: &str) -> Scalar {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Scalar::Null,
        "true" | "True" | "TRUE" => return Scalar::Bool(true),
        "false" | "False" | "FALSE" => return Scalar::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Scalar::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => {
            return Scalar::Float(f64::INFINITY);
        }
        "-.inf" | "-.Inf" | "-.INF" => return Scalar::Float(f64::NEG_INFINITY),
        _ => {}
    }
    for (prefix, radix) in [("0x", 16), ("0o", 8)] {
        if let Some(digits) = text.strip_prefix(prefix)
            && digits.starts_with(|c: char| c.is_digit(radix))
            && let Ok(value) = i64::from_str_radix(digits, radix)
        {
            return Scalar::Integer(value);
        }
    }
    // `parse` also takes words such as `inf` and `nan`, which YAML writes with a dot.
    if text
        .bytes()
        .all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b))
        && text.bytes().any(|b| b.is_ascii_digit())
    {
        if let Ok(value) = text.parse::<i64>() {
            return Scalar::Integer(value);
        }
        if let Ok(value) = text.parse::<f64>() {
            return Scalar::Float(value);
        }
    }
    Scalar::Text(text.to_owned())
}
