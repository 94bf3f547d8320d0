//! What can be wrong with an expression, as text and at evaluation.

use super::{MAX_DEPTH, MAX_NAME_BYTES, MAX_NODES, MAX_TEXT_BYTES};

/// Why a text is no expression. Positions are byte offsets into the text, from 0.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExprError {
    /// Something other than what the grammar allows here.
    #[error("at byte {position}: expected {expected}, found {found}")]
    Unexpected {
        /// Where.
        position: usize,
        /// What the grammar allows here.
        expected: &'static str,
        /// What stands there.
        found: String,
    },
    /// A call of a function that does not exist.
    #[error(
        "at byte {position}: `{name}` is no function; expected `ceil_div`, `round_up`, `min` or `max`"
    )]
    UnknownFunction {
        /// Where.
        position: usize,
        /// The name called.
        name: String,
    },
    /// A literal beyond `u64`.
    #[error("at byte {position}: expected a number up to 18446744073709551615, found `{digits}`")]
    NumberTooLarge {
        /// Where.
        position: usize,
        /// Its digits (the first 32).
        digits: String,
    },
    /// A name outside the grammar.
    #[error(
        "at byte {position}: expected a name ([a-z_][a-z0-9_]*, at most {MAX_NAME_BYTES} bytes, no function's name), found `{name}`"
    )]
    BadName {
        /// Where.
        position: usize,
        /// The name (its first 32 characters).
        name: String,
    },
    /// The text is too long to be looked at.
    #[error("at byte {MAX_TEXT_BYTES}: expected at most {MAX_TEXT_BYTES} bytes, found {bytes}")]
    TooLong {
        /// Length of the text.
        bytes: usize,
    },
    /// Nested too deeply.
    #[error("at byte {position}: expected at most {MAX_DEPTH} levels of nesting")]
    TooDeep {
        /// Where the limit was crossed.
        position: usize,
    },
    /// Too many literals, names and operations.
    #[error(
        "at byte {position}: expected at most {MAX_NODES} literals, names and operations together"
    )]
    TooLarge {
        /// Where the limit was crossed.
        position: usize,
    },
}

impl ExprError {
    /// Byte offset into the text.
    pub fn position(&self) -> usize {
        match self {
            ExprError::Unexpected { position, .. }
            | ExprError::UnknownFunction { position, .. }
            | ExprError::NumberTooLarge { position, .. }
            | ExprError::BadName { position, .. }
            | ExprError::TooDeep { position }
            | ExprError::TooLarge { position } => *position,
            ExprError::TooLong { .. } => MAX_TEXT_BYTES,
        }
    }
}

/// Why an expression has no value for the given sizes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// A name without a value.
    #[error("size `{name}` is not known; known are: {}", list(.known))]
    UnknownName {
        /// The name.
        name: String,
        /// The names that have a value, sorted.
        known: Vec<String>,
    },
    /// A result beyond `u64`.
    #[error("`{expr}` overflows 64 bits (operands {left} and {right})")]
    Overflow {
        /// The sub-expression.
        expr: String,
        /// Value of its first operand.
        left: u64,
        /// Value of its second operand.
        right: u64,
    },
    /// A difference below zero.
    #[error("`{expr}` is below zero ({left} - {right})")]
    BelowZero {
        /// The sub-expression.
        expr: String,
        /// Value of its first operand.
        left: u64,
        /// Value of its second operand.
        right: u64,
    },
    /// `ceil_div` or `round_up` by zero.
    #[error("`{expr}` divides by zero")]
    DivisionByZero {
        /// The sub-expression.
        expr: String,
    },
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

/// The first characters of a text that may be of any length.
pub(super) fn shorten(text: &str) -> String {
    const KEPT: usize = 32;
    match text.char_indices().nth(KEPT) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
