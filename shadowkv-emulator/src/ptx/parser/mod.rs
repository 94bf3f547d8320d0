//! Recursive descent over the tokens. Nothing recurses deeper than the dimensions of an array, and nothing is
//! allocated that the text does not spell out, except what the limits below bound: no text exhausts stack or memory.

mod body;
mod declaration;
mod entry;
mod initialiser;
mod instruction;
mod module;
mod operand;
mod scope;

use std::collections::{HashMap, HashSet};

use super::ast::{Module, Position, Symbol};
use super::error::ParseError;
use super::lexer::{Lexer, Token};
use super::number::{self, Number};

/// Most registers of a module: `%r<n>` declares many in few characters.
const REGISTERS: usize = 1 << 20;
/// Longest name that may stand before `<n>`.
const RANGE_NAME: usize = 64;
/// Most bytes of a variable.
const VARIABLE_BYTES: u64 = 1 << 32;
/// Most bytes of all initialisers of a module.
const INITIAL_BYTES: usize = 16 << 20;
/// Largest alignment.
const ALIGNMENT: u64 = 1 << 16;
/// Most bytes of a kernel's parameters, the PTX ISA's own limit.
const PARAMETER_BYTES: u64 = 32_764;
/// Most blocks inside one another.
const DEPTH: usize = 64;
/// Most dimensions of an array.
const DIMENSIONS: usize = 8;

/// Parses a whole text.
pub(super) fn parse(text: &str) -> Result<Module, ParseError> {
    let start = Position { line: 1, column: 1 };
    if u32::try_from(text.len()).is_err() {
        return Err(ParseError::new(start, "the text is over 4 GiB"));
    }
    let mut parser = Parser {
        lexer: Lexer::new(text),
        token: Token::End,
        position: start,
        module: Module::default(),
        names: HashMap::new(),
        kernel_names: HashSet::new(),
        registers_left: REGISTERS,
        initial_bytes_left: INITIAL_BYTES,
    };
    parser.advance()?;
    parser.parse_module()?;
    Ok(parser.module)
}

/// The state of parsing: one token ahead, and the module so far.
struct Parser<'a> {
    lexer: Lexer<'a>,
    token: Token<'a>,
    /// Where `token` stands.
    position: Position,
    module: Module,
    /// Variables of module scope.
    names: HashMap<&'a str, Symbol>,
    kernel_names: HashSet<&'a str>,
    registers_left: usize,
    initial_bytes_left: usize,
}

impl<'a> Parser<'a> {
    /// Goes to the next token.
    fn advance(&mut self) -> Result<(), ParseError> {
        (self.token, self.position) = self.lexer.next()?;
        Ok(())
    }

    /// An error at the current token.
    fn expected<T>(&self, what: &str) -> Result<T, ParseError> {
        Err(ParseError::new(
            self.position,
            format!("expected {what}, found {}", self.token.describe()),
        ))
    }

    /// Passes `mark` if it comes next.
    fn accept(&mut self, mark: char) -> Result<bool, ParseError> {
        let found = self.token == Token::Mark(mark);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    /// Passes `mark`, which must come next.
    fn expect(&mut self, mark: char) -> Result<(), ParseError> {
        if self.accept(mark)? {
            Ok(())
        } else {
            self.expected(&format!("`{mark}`"))
        }
    }

    /// Passes the word that must come next.
    fn word(&mut self, what: &str) -> Result<&'a str, ParseError> {
        let Token::Word(word) = self.token else {
            return self.expected(what);
        };
        self.advance()?;
        Ok(word)
    }

    /// Passes the number, with or without a minus sign, that must come next.
    fn number(&mut self, what: &str) -> Result<Number, ParseError> {
        let position = self.position;
        let negative = self.accept('-')?;
        let Token::Number(text) = self.token else {
            return self.expected(what);
        };
        let value = number::literal(text)
            .and_then(|value| {
                if negative {
                    number::negative(value)
                } else {
                    Ok(value)
                }
            })
            .map_err(|wanted| {
                let sign = if negative { "-" } else { "" };
                let found = Token::Word(&format!("{sign}{text}")).describe();
                ParseError::new(position, format!("expected {wanted}, found {found}"))
            })?;
        self.advance()?;
        Ok(value)
    }

    /// Passes the integer from 0 to `most` that must come next.
    fn integer(&mut self, what: &str, most: u64) -> Result<u64, ParseError> {
        let Token::Number(text) = self.token else {
            return self.expected(what);
        };
        match number::literal(text) {
            Ok(Number::Integer(value)) if value <= most => {
                self.advance()?;
                Ok(value)
            }
            Ok(Number::Integer(_)) | Err("an integer of at most 64 bits") => {
                self.expected(&format!("{what} of at most {most}"))
            }
            _ => self.expected(what),
        }
    }

    /// Passes the 32-bit integer that must come next.
    fn small(&mut self, what: &str) -> Result<u32, ParseError> {
        self.integer(what, u32::MAX.into())
            .map(|value| value as u32)
    }

    /// Passes everything up to and with the next semicolon.
    fn skip_statement(&mut self) -> Result<(), ParseError> {
        while self.token != Token::Mark(';') {
            if self.token == Token::End {
                return self.expected("`;`");
            }
            self.advance()?;
        }
        self.advance()
    }

    /// Passes a block in braces whatever it contains.
    fn skip_block(&mut self) -> Result<(), ParseError> {
        self.expect('{')?;
        let mut depth = 1usize;
        while depth > 0 {
            match self.token {
                Token::Mark('{') => depth += 1,
                Token::Mark('}') => depth -= 1,
                Token::End => return self.expected("`}`"),
                _ => {}
            }
            self.advance()?;
        }
        Ok(())
    }
}
