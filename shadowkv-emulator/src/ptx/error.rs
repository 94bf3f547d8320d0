//! What is wrong with a PTX text, and where.

use super::ast::Position;

/// A text that does not parse.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("ptx:{position}: {message}")]
#[non_exhaustive]
pub struct ParseError {
    /// Where the text stops making sense.
    pub position: Position,
    /// What was found there, and what was expected.
    pub message: String,
}

impl ParseError {
    /// An error at `position`.
    pub(super) fn new(position: Position, message: impl Into<String>) -> ParseError {
        ParseError {
            position,
            message: message.into(),
        }
    }
}

/// `text` between backquotes, fit for a message: no control characters, and not much of it.
pub(super) fn quoted(text: &str) -> String {
    const LONGEST: usize = 48;
    let mut shown: String = text
        .chars()
        .take(LONGEST)
        .map(|character| {
            if character.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                character
            }
        })
        .collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push_str("...");
    }
    format!("`{shown}`")
}
