//! Names of a kernel: blocks shadow what is around them, and labels may be used before they stand.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::super::ast::{Kernel, LabelId, Operand, Position, RegisterId, Symbol};
use super::super::error::{ParseError, quoted};

/// What a name of a kernel stands for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Name {
    Register(RegisterId),
    Symbol(Symbol),
    Label(LabelId),
}

/// An operand that can only be a label, known when the blocks around it end.
struct Reference<'a> {
    name: &'a str,
    position: Position,
    instruction: usize,
    operand: usize,
}

struct Scope {
    names: HashMap<String, Name>,
    /// The first reference made inside.
    references: usize,
}

/// The blocks around the current place, outermost first.
pub(super) struct Scopes<'a> {
    scopes: Vec<Scope>,
    references: Vec<Reference<'a>>,
}

impl<'a> Scopes<'a> {
    /// No blocks yet.
    pub(super) fn new() -> Scopes<'a> {
        Scopes {
            scopes: Vec::new(),
            references: Vec::new(),
        }
    }

    /// How many blocks are open.
    pub(super) fn depth(&self) -> usize {
        self.scopes.len()
    }

    /// Opens a block.
    pub(super) fn open(&mut self) {
        self.scopes.push(Scope {
            names: HashMap::new(),
            references: self.references.len(),
        });
    }

    /// Closes the innermost block. References that it does not resolve are left to the block around it.
    pub(super) fn close(&mut self, kernel: &mut Kernel) -> Result<(), ParseError> {
        let Some(scope) = self.scopes.pop() else {
            return Ok(());
        };
        let mut kept = scope.references;
        for index in scope.references..self.references.len() {
            let reference = &self.references[index];
            if let Some(&Name::Label(label)) = scope.names.get(reference.name) {
                kernel.instructions[reference.instruction].operands[reference.operand] =
                    Operand::Label(label);
            } else {
                self.references.swap(kept, index);
                kept += 1;
            }
        }
        self.references.truncate(kept);
        match self.references.first() {
            Some(reference) if self.scopes.is_empty() => {
                Err(undeclared(reference.name, reference.position))
            }
            _ => Ok(()),
        }
    }

    /// Adds a name to the innermost block.
    pub(super) fn declare(
        &mut self,
        name: &str,
        meaning: Name,
        position: Position,
    ) -> Result<(), ParseError> {
        let Some(scope) = self.scopes.last_mut() else {
            return Ok(());
        };
        match scope.names.entry(name.to_owned()) {
            Entry::Occupied(_) => Err(ParseError::new(
                position,
                format!("{} is declared twice", quoted(name)),
            )),
            Entry::Vacant(entry) => {
                entry.insert(meaning);
                Ok(())
            }
        }
    }

    /// What `name` stands for here.
    pub(super) fn find(&self, name: &str) -> Option<Name> {
        self.scopes
            .iter()
            .rev()
            .find_map(|scope| scope.names.get(name))
            .copied()
    }

    /// Leaves an operand to be resolved to a label.
    pub(super) fn refer(
        &mut self,
        name: &'a str,
        position: Position,
        instruction: usize,
        operand: usize,
    ) {
        self.references.push(Reference {
            name,
            position,
            instruction,
            operand,
        });
    }
}

/// The error of a name that nothing declares.
pub(super) fn undeclared(name: &str, position: Position) -> ParseError {
    let kind = if name.starts_with('%') {
        "register"
    } else {
        "register, variable or label"
    };
    ParseError::new(position, format!("undeclared {kind} {}", quoted(name)))
}
