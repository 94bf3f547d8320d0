//! PTX text to a syntax tree.

pub mod ast;
mod error;
mod lexer;
mod number;
mod parser;
mod special;

pub use error::ParseError;

/// Parses the text of a module, as NVRTC makes it.
///
/// # Errors
///
/// Text that is not PTX, or PTX that NVRTC does not make: the first such place, and what was expected there.
pub fn parse(text: &str) -> Result<ast::Module, ParseError> {
    parser::parse(text)
}
