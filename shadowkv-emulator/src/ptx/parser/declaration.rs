//! Declarations of variables: `.align 4 .b8 name[16] = {1, 2}` and the like.

use super::super::ast::{Position, ScalarType, Space, Variable};
use super::super::error::{ParseError, quoted};
use super::super::lexer::Token;
use super::{ALIGNMENT, DIMENSIONS, Parser, VARIABLE_BYTES};

/// What stands before the names of a declaration.
pub(super) struct Prefix {
    pub(super) ty: ScalarType,
    /// Elements of `.v2`, `.v4` or `.v8`; 1 for a scalar.
    pub(super) vector: u64,
    /// `.align`, in bytes.
    align: Option<u64>,
}

/// A declared name.
pub(super) struct Declarator<'a> {
    pub(super) name: &'a str,
    pub(super) position: Position,
    /// Length of each dimension, outermost first; `None` for `[]`.
    pub(super) dimensions: Vec<Option<u64>>,
}

impl Prefix {
    /// Bytes of one element of an array.
    pub(super) fn element_bytes(&self) -> u64 {
        u64::from(self.ty.bytes()) * self.vector
    }

    pub(super) fn align(&self) -> u64 {
        self.align.unwrap_or_else(|| self.element_bytes())
    }
}

impl<'a> Parser<'a> {
    /// Variables of one declaration whose space has been read, to the semicolon.
    pub(super) fn variables(
        &mut self,
        space: Space,
    ) -> Result<Vec<(&'a str, Variable)>, ParseError> {
        let prefix = self.prefix()?;
        let mut variables = Vec::new();
        loop {
            let declarator = self.declarator()?;
            let mut bytes = bytes_of(&prefix, &declarator)?;
            let mut init = Vec::new();
            if self.token == Token::Mark('=') {
                if !matches!(space, Space::Global | Space::Const) {
                    return self.expected("no initial value in this state space");
                }
                self.advance()?;
                init = self.initialiser(&prefix, &declarator, bytes)?;
                if bytes.is_none() {
                    bytes = Some(init.len() as u64);
                }
            }
            let variable = Variable {
                name: declarator.name.to_owned(),
                space,
                ty: prefix.ty,
                bytes,
                align: prefix.align(),
                init,
                external: false,
                position: declarator.position,
            };
            variables.push((declarator.name, variable));
            if !self.accept(',')? {
                break;
            }
        }
        self.expect(';')?;
        Ok(variables)
    }

    /// Alignment, attributes and type.
    pub(super) fn prefix(&mut self) -> Result<Prefix, ParseError> {
        let mut align = None;
        let mut vector = 1;
        let mut ty = None;
        // After `.ptr` stand the space and alignment of what a parameter points to.
        let mut pointee = false;
        while let Token::Dotted(name) = self.token {
            match name {
                "ptr" if ty.is_some() => pointee = true,
                "global" | "const" | "shared" | "local" if pointee => {}
                "align" => {
                    self.advance()?;
                    let bytes = self.alignment()?;
                    if !pointee {
                        align = Some(bytes);
                    }
                    continue;
                }
                "attribute" => {
                    self.advance()?;
                    self.expect('(')?;
                    while !self.accept(')')? {
                        if matches!(self.token, Token::End | Token::Mark(';')) {
                            return self.expected("`)`");
                        }
                        self.advance()?;
                    }
                    continue;
                }
                "v2" if ty.is_none() => vector = 2,
                "v4" if ty.is_none() => vector = 4,
                "v8" if ty.is_none() => vector = 8,
                _ if ty.is_some() => return self.expected("a name"),
                _ => match ScalarType::from_name(name) {
                    Some(found) => ty = Some(found),
                    None => return self.expected("a type"),
                },
            }
            self.advance()?;
        }
        match ty {
            Some(ty) => Ok(Prefix { ty, vector, align }),
            None => self.expected("a type"),
        }
    }

    fn alignment(&mut self) -> Result<u64, ParseError> {
        let position = self.position;
        let bytes = self.integer("an alignment", ALIGNMENT)?;
        if !bytes.is_power_of_two() {
            return Err(ParseError::new(
                position,
                format!("expected an alignment that is a power of two, found `{bytes}`"),
            ));
        }
        Ok(bytes)
    }

    /// A name and its dimensions.
    pub(super) fn declarator(&mut self) -> Result<Declarator<'a>, ParseError> {
        let position = self.position;
        let name = self.word("a name")?;
        let mut dimensions = Vec::new();
        while self.accept('[')? {
            if dimensions.len() == DIMENSIONS {
                return self.expected(&format!("an array of at most {DIMENSIONS} dimensions"));
            }
            if dimensions.is_empty() && self.accept(']')? {
                dimensions.push(None);
                continue;
            }
            dimensions.push(Some(self.integer("an array's length", VARIABLE_BYTES)?));
            self.expect(']')?;
        }
        Ok(Declarator {
            name,
            position,
            dimensions,
        })
    }
}

/// Bytes of what is declared; `None` if its outermost dimension is open.
pub(super) fn bytes_of(
    prefix: &Prefix,
    declarator: &Declarator<'_>,
) -> Result<Option<u64>, ParseError> {
    let inner = declarator.dimensions.iter().flatten();
    let bytes = inner
        .copied()
        .try_fold(prefix.element_bytes(), u64::checked_mul)
        .filter(|&bytes| bytes <= VARIABLE_BYTES);
    let Some(bytes) = bytes else {
        return Err(ParseError::new(
            declarator.position,
            format!(
                "expected a variable of at most {VARIABLE_BYTES} bytes, found {}, which is larger",
                quoted(declarator.name)
            ),
        ));
    };
    Ok((declarator.dimensions.first() != Some(&None)).then_some(bytes))
}
