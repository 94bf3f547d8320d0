//! Directives of module scope.

use super::super::ast::{Space, Symbol};
use super::super::error::{ParseError, quoted};
use super::super::lexer::Token;
use super::Parser;

impl Parser<'_> {
    /// The whole text.
    pub(super) fn parse_module(&mut self) -> Result<(), ParseError> {
        self.version()?;
        self.target()?;
        loop {
            match self.token {
                Token::End => return Ok(()),
                Token::Dotted(name) => self.directive(name)?,
                _ => return self.expected("a directive of module scope"),
            }
        }
    }

    fn version(&mut self) -> Result<(), ParseError> {
        if self.token != Token::Dotted("version") {
            return self.expected("`.version`, which begins every module");
        }
        self.advance()?;
        let version = match self.token {
            Token::Number(text) => text
                .split_once('.')
                .and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?))),
            _ => None,
        };
        let Some(version) = version else {
            return self.expected("a version such as `8.4`");
        };
        self.module.version = version;
        self.advance()
    }

    fn target(&mut self) -> Result<(), ParseError> {
        if self.token != Token::Dotted("target") {
            return self.expected("`.target`");
        }
        self.advance()?;
        self.word("a target such as `sm_80`")?
            .clone_into(&mut self.module.target);
        while self.accept(',')? {
            self.word("a target option")?;
        }
        Ok(())
    }

    fn directive(&mut self, name: &str) -> Result<(), ParseError> {
        match name {
            "address_size" => {
                self.advance()?;
                let position = self.position;
                let bits = self.integer("an address size", 64)?;
                if bits != 64 {
                    return Err(ParseError::new(
                        position,
                        format!("expected an address size of 64, found `{bits}`: not supported"),
                    ));
                }
                Ok(())
            }
            "file" => self.file(),
            "section" => {
                while self.token != Token::Mark('{') {
                    if self.token == Token::End {
                        return self.expected("`{`");
                    }
                    self.advance()?;
                }
                self.skip_block()
            }
            "pragma" | "alias" => self.skip_statement(),
            _ => self.declaration(),
        }
    }

    /// `.file 1 "name"`, and perhaps a time and a size.
    fn file(&mut self) -> Result<(), ParseError> {
        self.advance()?;
        let index = self.small("a file's number")?;
        let Token::Text(name) = self.token else {
            return self.expected("a file's name");
        };
        self.advance()?;
        while self.accept(',')? {
            self.number("a file's time or size")?;
        }
        self.module.files.push((index, name.to_owned()));
        Ok(())
    }

    /// A variable or a function, with what its linkage is.
    fn declaration(&mut self) -> Result<(), ParseError> {
        let mut external = false;
        while let Token::Dotted(name @ ("visible" | "weak" | "extern" | "common")) = self.token {
            external |= name == "extern";
            self.advance()?;
        }
        match self.token {
            Token::Dotted("entry") => self.entry(),
            Token::Dotted("func") => self.skip_function(),
            Token::Dotted("global") => self.module_variables(Space::Global, external),
            Token::Dotted("const") => self.module_variables(Space::Const, external),
            Token::Dotted("shared") => self.module_variables(Space::Shared, external),
            _ => self.expected("a directive of module scope"),
        }
    }

    /// Device functions are inlined by NVRTC; one that is not can only be reached by a `call`.
    fn skip_function(&mut self) -> Result<(), ParseError> {
        loop {
            match self.token {
                Token::Mark(';') => return self.advance(),
                Token::Mark('{') => return self.skip_block(),
                Token::End => return self.expected("a function's body or `;`"),
                _ => self.advance()?,
            }
        }
    }

    fn module_variables(&mut self, space: Space, external: bool) -> Result<(), ParseError> {
        self.advance()?;
        for (name, mut variable) in self.variables(space)? {
            variable.external = external;
            let position = variable.position;
            let symbol = Symbol::ModuleVariable(self.module.variables.len() as u32);
            if let Some(previous) = self.names.insert(name, symbol) {
                // An external declaration may precede the definition.
                let replaced = match previous {
                    Symbol::ModuleVariable(index) => self.module.variables.get_mut(index as usize),
                    _ => None,
                };
                match replaced {
                    Some(earlier) if earlier.external || external => {
                        self.names.insert(name, previous);
                        if !external {
                            *earlier = variable;
                        }
                        continue;
                    }
                    _ => {
                        return Err(ParseError::new(
                            position,
                            format!("{} is declared twice", quoted(name)),
                        ));
                    }
                }
            }
            self.module.variables.push(variable);
        }
        Ok(())
    }
}
