//! The statements of a kernel's body.

use super::super::ast::{Kernel, LabelId, Location, Position, Register, RegisterId, Space, Symbol};
use super::super::error::{ParseError, quoted};
use super::super::lexer::Token;
use super::scope::{Name, Scopes};
use super::{DEPTH, Parser, RANGE_NAME, REGISTERS};

/// A kernel being read.
pub(super) struct Body<'a> {
    pub(super) kernel: Kernel,
    pub(super) scopes: Scopes<'a>,
    /// The `.loc` in force.
    pub(super) location: Option<u32>,
}

impl<'a> Body<'a> {
    pub(super) fn new(kernel: Kernel) -> Body<'a> {
        Body {
            kernel,
            scopes: Scopes::new(),
            location: None,
        }
    }
}

impl<'a> Parser<'a> {
    /// Statements to the brace that closes the body, whose opening one has been read.
    pub(super) fn body(&mut self, body: &mut Body<'a>) -> Result<(), ParseError> {
        while body.scopes.depth() > 0 {
            match self.token {
                Token::Mark('{') => {
                    if body.scopes.depth() == DEPTH {
                        return self
                            .expected(&format!("at most {DEPTH} blocks inside one another"));
                    }
                    self.advance()?;
                    body.scopes.open();
                }
                Token::Mark('}') => {
                    self.advance()?;
                    body.scopes.close(&mut body.kernel)?;
                }
                Token::Mark(';') => self.advance()?,
                Token::Mark('@') => self.guarded(body)?,
                Token::Dotted(name) => self.body_directive(name, body)?,
                Token::Word(word) if !word.starts_with('%') => {
                    let position = self.position;
                    self.advance()?;
                    if self.accept(':')? {
                        label(body, word, position)?;
                    } else {
                        self.instruction(body, None, word, position)?;
                    }
                }
                _ => return self.expected("a statement or `}`"),
            }
        }
        Ok(())
    }

    fn body_directive(&mut self, name: &str, body: &mut Body<'a>) -> Result<(), ParseError> {
        let space = match name {
            "reg" => return self.registers(body),
            "loc" => return self.location(body),
            "pragma" | "branchtargets" | "calltargets" | "callprototype" => {
                return self.skip_statement();
            }
            "shared" => Space::Shared,
            "local" => Space::Local,
            "param" => Space::Param,
            "global" => Space::Global,
            "const" => Space::Const,
            _ => return self.expected("a directive of a kernel's body"),
        };
        self.advance()?;
        for (name, variable) in self.variables(space)? {
            let symbol = Symbol::KernelVariable(body.kernel.variables.len() as u32);
            body.scopes
                .declare(name, Name::Symbol(symbol), variable.position)?;
            body.kernel.variables.push(variable);
        }
        Ok(())
    }

    /// `.reg .b32 a, b<3>;`
    fn registers(&mut self, body: &mut Body<'a>) -> Result<(), ParseError> {
        self.advance()?;
        let prefix_position = self.position;
        let prefix = self.prefix()?;
        if prefix.vector > 1 {
            return Err(ParseError::new(
                prefix_position,
                "expected a scalar type, found a vector of registers: not supported",
            ));
        }
        loop {
            let position = self.position;
            let name = self.word("a register's name")?;
            let mut declare = |name: String| {
                let id = RegisterId(body.kernel.registers.len() as u32);
                body.scopes.declare(&name, Name::Register(id), position)?;
                body.kernel.registers.push(Register {
                    name,
                    ty: prefix.ty,
                });
                Ok(())
            };
            let count = if self.accept('<')? {
                let count = self.integer("a number of registers", u64::MAX)?;
                self.expect('>')?;
                // The name is copied that often.
                if name.len() > RANGE_NAME {
                    return Err(ParseError::new(
                        position,
                        format!(
                            "expected a name of at most {RANGE_NAME} characters before `<`, found {}",
                            quoted(name)
                        ),
                    ));
                }
                Some(count)
            } else {
                None
            };
            let taken = usize::try_from(count.unwrap_or(1)).ok();
            let Some(left) = taken.and_then(|taken| self.registers_left.checked_sub(taken)) else {
                return Err(ParseError::new(
                    position,
                    format!(
                        "expected at most {REGISTERS} registers in a module, found more with {}",
                        quoted(name)
                    ),
                ));
            };
            self.registers_left = left;
            match count {
                Some(count) => {
                    (0..count).try_for_each(|number| declare(format!("{name}{number}")))?;
                }
                None => declare(name.to_owned())?,
            }
            if !self.accept(',')? {
                break;
            }
        }
        self.expect(';')
    }

    /// `.loc file line column, function_name label+offset, inlined_at file line column`
    fn location(&mut self, body: &mut Body<'a>) -> Result<(), ParseError> {
        self.advance()?;
        let file = self.small("a file's number")?;
        let line = self.small("a line")?;
        let column = self.small("a column")?;
        let mut inlined_at = None;
        while self.accept(',')? {
            match self.token {
                Token::Word("function_name") => {
                    self.advance()?;
                    self.word("a function's name")?;
                    if self.accept('+')? {
                        self.number("an offset")?;
                    }
                }
                Token::Word("inlined_at") => {
                    self.advance()?;
                    inlined_at = Some((self.small("a file's number")?, self.small("a line")?));
                    self.small("a column")?;
                }
                _ => return self.expected("`function_name` or `inlined_at`"),
            }
        }
        body.location = Some(body.kernel.locations.len() as u32);
        body.kernel.locations.push(Location {
            file,
            line,
            column,
            inlined_at,
        });
        Ok(())
    }
}

fn label(body: &mut Body<'_>, name: &str, position: Position) -> Result<(), ParseError> {
    let id = LabelId(body.kernel.labels.len() as u32);
    body.scopes.declare(name, Name::Label(id), position)?;
    let next = body.kernel.instructions.len() as u32;
    body.kernel.labels.push((name.to_owned(), next));
    Ok(())
}
