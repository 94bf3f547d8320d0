//! Operands of instructions.

use super::super::ast::{AddressBase, LabelId, Operand, Position, RegisterId, Symbol};
use super::super::error::ParseError;
use super::super::lexer::Token;
use super::super::number::Number;
use super::super::special;
use super::Parser;
use super::body::Body;
use super::scope::{Name, undeclared};

/// What `WARP_SZ` stands for.
const WARP_SIZE: u64 = 32;

/// What an identifier in an operand turned out to be.
enum Found {
    Register(RegisterId),
    Symbol(Symbol),
    Special(String),
    WarpSize,
    /// Nothing declared: perhaps a label further on.
    Unknown,
}

impl<'a> Parser<'a> {
    /// The operand number `index` of the instruction after those of `body`. A name that nothing declares is left to
    /// be a label further on; where `target`, a plain name is a label whatever else has that name.
    pub(super) fn operand(
        &mut self,
        body: &mut Body<'a>,
        target: bool,
        index: usize,
    ) -> Result<Operand, ParseError> {
        if let Token::Word(name) = self.token {
            let position = self.position;
            let plain = !name.starts_with('%') && !matches!(name, "_" | "generic");
            if plain && (target || matches!(self.find(body, name), Found::Unknown)) {
                self.advance()?;
                body.scopes
                    .refer(name, position, body.kernel.instructions.len(), index);
                return Ok(Operand::Label(LabelId(u32::MAX)));
            }
        }
        match self.token {
            Token::Mark('{') => self.vector(body).map(Operand::Vector),
            Token::Mark('[') => self.address(body),
            _ => {
                let first = self.simple(body)?;
                if self.accept('|')? {
                    let second = self.simple(body)?;
                    return Ok(Operand::Pair(Box::new(first), Box::new(second)));
                }
                Ok(first)
            }
        }
    }

    /// `{a, b, ...}`
    fn vector(&mut self, body: &Body<'a>) -> Result<Vec<Operand>, ParseError> {
        self.expect('{')?;
        let mut elements = Vec::new();
        loop {
            elements.push(self.simple(body)?);
            if self.accept('}')? {
                return Ok(elements);
            }
            if !self.accept(',')? {
                return self.expected("`,` or `}`");
            }
        }
    }

    /// `[base + offset]` or `[base, {x, y}]`
    fn address(&mut self, body: &Body<'a>) -> Result<Operand, ParseError> {
        self.expect('[')?;
        let position = self.position;
        let (base, mut offset) = match self.token {
            Token::Word(_) => match self.simple(body)? {
                Operand::Register(register) => (AddressBase::Register(register), 0),
                Operand::Symbol(symbol, offset) => (AddressBase::Symbol(symbol), offset),
                _ => {
                    return Err(ParseError::new(
                        position,
                        "expected a register, a variable or a number as an address",
                    ));
                }
            },
            _ => match self.number("an address")? {
                Number::Integer(address) => (AddressBase::Absolute, address as i64),
                _ => {
                    return Err(ParseError::new(
                        position,
                        "expected a register, a variable or a number as an address",
                    ));
                }
            },
        };
        if matches!(base, AddressBase::Register(_)) {
            offset = self.offset()?;
        }
        if self.token == Token::Mark(',') {
            if offset != 0 {
                return self.expected("`]`, as coordinates allow no offset");
            }
            self.advance()?;
            let coordinates = self.vector(body)?;
            self.expect(']')?;
            return Ok(Operand::TensorAddress { base, coordinates });
        }
        if !self.accept(']')? {
            return self.expected("`]`");
        }
        Ok(Operand::Address { base, offset })
    }

    /// `+8`, `-8`, `+-8` or nothing.
    fn offset(&mut self) -> Result<i64, ParseError> {
        if self.token != Token::Mark('-') && !self.accept('+')? {
            return Ok(0);
        }
        let position = self.position;
        match self.number("an offset")? {
            Number::Integer(offset) => Ok(offset as i64),
            _ => Err(ParseError::new(
                position,
                "expected an integer as an offset",
            )),
        }
    }

    /// An operand without parts: a register, a number, a variable's address.
    fn simple(&mut self, body: &Body<'a>) -> Result<Operand, ParseError> {
        let position = self.position;
        match self.token {
            Token::Number(_) | Token::Mark('-') => Ok(match self.number("a number")? {
                Number::Integer(value) => Operand::Integer(value),
                Number::Float32(bits) => Operand::Float32(bits),
                Number::Float64(bits) => Operand::Float64(bits),
            }),
            Token::Mark('!') => {
                self.advance()?;
                let position = self.position;
                let name = self.word("a predicate")?;
                match self.find(body, name) {
                    Found::Register(register) => Ok(Operand::Negated(register)),
                    _ => Err(undeclared(name, position)),
                }
            }
            Token::Word("_") => {
                self.advance()?;
                Ok(Operand::Sink)
            }
            Token::Word("generic") => {
                self.advance()?;
                self.expect('(')?;
                let position = self.position;
                let name = self.word("a variable")?;
                let Found::Symbol(symbol) = self.find(body, name) else {
                    return Err(undeclared(name, position));
                };
                self.expect(')')?;
                Ok(Operand::Symbol(symbol, self.offset()?))
            }
            Token::Word(name) => {
                let found = self.find(body, name);
                self.advance()?;
                match found {
                    Found::Register(register) => Ok(Operand::Register(register)),
                    Found::Symbol(symbol) => Ok(Operand::Symbol(symbol, self.offset()?)),
                    Found::Special(name) => self.component(name, position),
                    Found::WarpSize => Ok(Operand::Integer(WARP_SIZE)),
                    Found::Unknown => Err(undeclared(name, position)),
                }
            }
            _ => self.expected("an operand"),
        }
    }

    /// The component of the special register `name`, if it is a vector.
    fn component(&mut self, name: String, position: Position) -> Result<Operand, ParseError> {
        if !special::is_vector(&name) {
            return Ok(Operand::Special(name));
        }
        match self.token {
            Token::Dotted(component @ ("x" | "y" | "z" | "w")) => {
                self.advance()?;
                Ok(Operand::Special(format!("{name}.{component}")))
            }
            _ => Err(ParseError::new(
                position,
                format!(
                    "expected one of the components `.x`, `.y`, `.z` after `%{name}`, found {}",
                    self.token.describe()
                ),
            )),
        }
    }

    fn find(&self, body: &Body<'a>, name: &str) -> Found {
        match body.scopes.find(name) {
            Some(Name::Register(register)) => return Found::Register(register),
            Some(Name::Symbol(symbol)) => return Found::Symbol(symbol),
            Some(Name::Label(_)) => return Found::Unknown,
            None => {}
        }
        if let Some(&symbol) = self.names.get(name) {
            return Found::Symbol(symbol);
        }
        match name.strip_prefix('%') {
            Some(special) if special::is_special(special) => Found::Special(special.to_owned()),
            None if name == "WARP_SZ" => Found::WarpSize,
            _ => Found::Unknown,
        }
    }
}
