//! Entry points: parameters and performance directives.

use super::super::ast::{Kernel, Parameter, Symbol};
use super::super::error::{ParseError, quoted};
use super::super::lexer::Token;
use super::body::Body;
use super::declaration::bytes_of;
use super::scope::Name;
use super::{PARAMETER_BYTES, Parser};

impl Parser<'_> {
    /// `.entry name (parameters) directives { body }`, its linkage already read.
    pub(super) fn entry(&mut self) -> Result<(), ParseError> {
        let position = self.position;
        self.advance()?;
        let name_position = self.position;
        let name = self.word("a kernel's name")?;
        let mut body = Body::new(Kernel {
            name: name.to_owned(),
            position,
            ..Kernel::default()
        });
        body.scopes.open();
        if self.accept('(')? {
            self.parameters(&mut body)?;
        }
        loop {
            match self.token {
                Token::Dotted(name) => self.performance_directive(name, &mut body.kernel)?,
                // A declaration: nothing to launch.
                Token::Mark(';') => return self.advance(),
                Token::Mark('{') => break,
                _ => return self.expected("a kernel's body"),
            }
        }
        if !self.kernel_names.insert(name) {
            return Err(ParseError::new(
                name_position,
                format!("{} is declared twice", quoted(name)),
            ));
        }
        self.advance()?;
        self.body(&mut body)?;
        self.module.kernels.push(body.kernel);
        Ok(())
    }

    /// Parameters to the closing parenthesis, laid out as C lays out a structure.
    fn parameters(&mut self, body: &mut Body<'_>) -> Result<(), ParseError> {
        let mut end = 0u64;
        while !self.accept(')')? {
            if self.token != Token::Dotted("param") {
                return self.expected("`.param`");
            }
            self.advance()?;
            let prefix = self.prefix()?;
            let declarator = self.declarator()?;
            let Some(bytes) = bytes_of(&prefix, &declarator)? else {
                return Err(ParseError::new(
                    declarator.position,
                    "expected a parameter of known size, found an open array",
                ));
            };
            let offset = end.next_multiple_of(prefix.align());
            end = offset + bytes;
            if end > PARAMETER_BYTES {
                return Err(ParseError::new(
                    declarator.position,
                    format!("expected at most {PARAMETER_BYTES} bytes of parameters, found {end}"),
                ));
            }
            let symbol = Symbol::Parameter(body.kernel.parameters.len() as u32);
            body.kernel.parameters.push(Parameter {
                name: declarator.name.to_owned(),
                offset: offset as u32,
                bytes: bytes as u32,
            });
            body.scopes
                .declare(declarator.name, Name::Symbol(symbol), declarator.position)?;
            if self.token != Token::Mark(')') {
                self.expect(',')?;
            }
        }
        body.kernel.parameter_bytes = end as u32;
        Ok(())
    }

    fn performance_directive(&mut self, name: &str, kernel: &mut Kernel) -> Result<(), ParseError> {
        match name {
            "maxntid" => kernel.max_threads = Some(self.dimensions()?),
            "reqntid" => kernel.required_threads = Some(self.dimensions()?),
            "reqnctapercluster" => {
                self.dimensions()?;
            }
            "minnctapersm" | "maxnctapersm" | "maxnreg" | "maxclusterrank" => {
                self.advance()?;
                self.small("a number")?;
            }
            "noreturn" | "explicitcluster" | "blocksareclusters" => self.advance()?,
            "pragma" => self.skip_statement()?,
            _ => return self.expected("a performance directive or a kernel's body"),
        }
        Ok(())
    }

    /// One to three numbers after the current directive; those left out are 1.
    fn dimensions(&mut self) -> Result<[u32; 3], ParseError> {
        self.advance()?;
        let mut dimensions = [1; 3];
        for (index, dimension) in dimensions.iter_mut().enumerate() {
            if index > 0 && !self.accept(',')? {
                break;
            }
            *dimension = self.small("a number of threads")?;
        }
        Ok(dimensions)
    }
}
