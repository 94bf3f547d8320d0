//! Instructions: guard, opcode, modifiers and operands.

use super::super::ast::{Guard, Instruction, Position, ScalarType};
use super::super::error::ParseError;
use super::super::lexer::Token;
use super::Parser;
use super::body::Body;
use super::scope::{Name, undeclared};

impl<'a> Parser<'a> {
    /// `@p` or `@!p` and the instruction after it.
    pub(super) fn guarded(&mut self, body: &mut Body<'a>) -> Result<(), ParseError> {
        let position = self.position;
        self.advance()?;
        let negated = self.accept('!')?;
        let register_position = self.position;
        let name = self.word("a predicate")?;
        let Some(Name::Register(register)) = body.scopes.find(name) else {
            return Err(undeclared(name, register_position));
        };
        let ty = body.kernel.registers[register.0 as usize].ty;
        if ty != ScalarType::Pred {
            return Err(ParseError::new(
                register_position,
                format!(
                    "expected a predicate, found {}",
                    Token::Word(name).describe()
                ),
            ));
        }
        let opcode = self.word("an instruction")?;
        self.instruction(body, Some(Guard { register, negated }), opcode, position)
    }

    /// What follows the base opcode, to the semicolon.
    pub(super) fn instruction(
        &mut self,
        body: &mut Body<'a>,
        guard: Option<Guard>,
        opcode: &str,
        position: Position,
    ) -> Result<(), ParseError> {
        let mut modifiers = Vec::new();
        while let Token::Dotted(modifier) = self.token {
            modifiers.push(modifier.to_owned());
            self.advance()?;
        }
        let mut operands = Vec::new();
        if opcode == "call" {
            // Names of functions and lists in parentheses, of no use: nothing executes a call.
            self.skip_statement()?;
        } else if !self.accept(';')? {
            loop {
                let target = matches!((opcode, operands.len()), ("bra", 0) | ("brx", 1));
                let operand = self.operand(body, target, operands.len())?;
                operands.push(operand);
                if self.accept(';')? {
                    break;
                }
                if !self.accept(',')? {
                    return self.expected("`,` or `;`");
                }
            }
        }
        body.kernel.instructions.push(Instruction {
            position,
            location: body.location,
            guard,
            opcode: opcode.to_owned(),
            modifiers,
            operands,
        });
        Ok(())
    }
}
