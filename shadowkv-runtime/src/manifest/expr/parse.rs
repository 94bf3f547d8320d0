//! Recursive descent over the grammar, within limits that keep any text off the end of the stack.

use super::error::shorten;
use super::{ExprError, MAX_DEPTH, MAX_NAME_BYTES, MAX_NODES, MAX_TEXT_BYTES, Node, Op};

const OPERAND: &str = "a number, a name, a function or `(`";

pub(super) fn parse(text: &str) -> Result<Node, ExprError> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(ExprError::TooLong { bytes: text.len() });
    }
    let mut parser = Parser {
        text,
        position: 0,
        nodes: 0,
    };
    let (node, _) = parser.sum(0)?;
    match parser.peek() {
        None => Ok(node),
        Some(_) => Err(parser.unexpected("`+`, `-`, `*` or the end")),
    }
}

/// `name` as the grammar wants it; `position` is only for the error.
pub(super) fn check_name(name: &str, position: usize) -> Result<(), ExprError> {
    let head = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    let fits = name.len() <= MAX_NAME_BYTES;
    if head && fits && name.bytes().all(is_name_byte) && Op::function(name).is_none() {
        Ok(())
    } else {
        Err(ExprError::BadName {
            position,
            name: shorten(name),
        })
    }
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'
}

/// A node and its height, so that long chains of operators count as nesting too.
type Measured = (Node, usize);

struct Parser<'a> {
    text: &'a str,
    position: usize,
    nodes: usize,
}

impl<'a> Parser<'a> {
    fn sum(&mut self, depth: usize) -> Result<Measured, ExprError> {
        let mut left = self.product(depth)?;
        loop {
            let op = match self.peek() {
                Some(b'+') => Op::Add,
                Some(b'-') => Op::Sub,
                _ => return Ok(left),
            };
            self.position += 1;
            let right = self.product(depth)?;
            left = self.join(op, left, right)?;
        }
    }

    fn product(&mut self, depth: usize) -> Result<Measured, ExprError> {
        let mut left = self.factor(depth)?;
        while self.peek() == Some(b'*') {
            self.position += 1;
            let right = self.factor(depth)?;
            left = self.join(Op::Mul, left, right)?;
        }
        Ok(left)
    }

    fn factor(&mut self, depth: usize) -> Result<Measured, ExprError> {
        if depth >= MAX_DEPTH {
            return Err(ExprError::TooDeep {
                position: self.position,
            });
        }
        match self.peek() {
            Some(b'(') => {
                self.position += 1;
                let inner = self.sum(depth + 1)?;
                self.expect(b')', "`+`, `-`, `*` or `)`")?;
                Ok(inner)
            }
            Some(b'0'..=b'9') => self.number(),
            Some(b'a'..=b'z' | b'_') => self.name_or_call(depth),
            _ => Err(self.unexpected(OPERAND)),
        }
    }

    fn number(&mut self) -> Result<Measured, ExprError> {
        let position = self.position;
        let digits = self.take_while(|byte| byte.is_ascii_digit());
        let value = digits.parse().map_err(|_| ExprError::NumberTooLarge {
            position,
            digits: shorten(digits),
        })?;
        self.leaf(Node::Constant(value))
    }

    fn name_or_call(&mut self, depth: usize) -> Result<Measured, ExprError> {
        let position = self.position;
        let name = self.take_while(is_name_byte);
        let function = Op::function(name);
        if self.peek() != Some(b'(') {
            if function.is_some() {
                return Err(self.unexpected("`(` after a function's name"));
            }
            check_name(name, position)?;
            return self.leaf(Node::Name(name.to_owned()));
        }
        let op = function.ok_or_else(|| ExprError::UnknownFunction {
            position,
            name: shorten(name),
        })?;
        self.position += 1;
        let left = self.sum(depth + 1)?;
        self.expect(b',', "`+`, `-`, `*` or `,`")?;
        let right = self.sum(depth + 1)?;
        self.expect(b')', "`+`, `-`, `*` or `)`")?;
        self.join(op, left, right)
    }

    fn leaf(&mut self, node: Node) -> Result<Measured, ExprError> {
        self.count()?;
        Ok((node, 1))
    }

    fn join(&mut self, op: Op, left: Measured, right: Measured) -> Result<Measured, ExprError> {
        self.count()?;
        let height = left.1.max(right.1) + 1;
        if height > MAX_DEPTH {
            return Err(ExprError::TooDeep {
                position: self.position,
            });
        }
        Ok((Node::Apply(op, Box::new(left.0), Box::new(right.0)), height))
    }

    fn count(&mut self) -> Result<(), ExprError> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(ExprError::TooLarge {
                position: self.position,
            });
        }
        Ok(())
    }

    /// The next byte that is no white space; moves up to it.
    fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while bytes
            .get(self.position)
            .is_some_and(u8::is_ascii_whitespace)
        {
            self.position += 1;
        }
        bytes.get(self.position).copied()
    }

    fn take_while(&mut self, wanted: impl Fn(u8) -> bool) -> &'a str {
        let rest = self.text.get(self.position..).unwrap_or_default();
        let end = rest.bytes().position(|byte| !wanted(byte));
        let taken = &rest[..end.unwrap_or(rest.len())];
        self.position += taken.len();
        taken
    }

    fn expect(&mut self, wanted: u8, expected: &'static str) -> Result<(), ExprError> {
        if self.peek() == Some(wanted) {
            self.position += 1;
            return Ok(());
        }
        Err(self.unexpected(expected))
    }

    fn unexpected(&mut self, expected: &'static str) -> ExprError {
        self.peek();
        let rest = self.text.get(self.position..).unwrap_or_default();
        let found = match rest.chars().next() {
            Some(c) => format!("`{}`", c.escape_debug()),
            None => "the end".to_owned(),
        };
        ExprError::Unexpected {
            position: self.position,
            expected,
            found,
        }
    }
}
