//! The modifiers of an instruction, taken one by one; what nobody takes is refused.

use crate::ptx::ast::{Instruction, ScalarType};

#[derive(Clone)]
pub(super) struct Modifiers<'a> {
    left: Vec<&'a str>,
}

impl<'a> Modifiers<'a> {
    pub(super) fn new(instruction: &'a Instruction) -> Self {
        Modifiers {
            left: instruction.modifiers.iter().map(String::as_str).collect(),
        }
    }

    /// Takes `name` if it is there.
    pub(super) fn take(&mut self, name: &str) -> bool {
        let found = self.left.iter().position(|modifier| *modifier == name);
        if let Some(index) = found {
            self.left.remove(index);
        }
        found.is_some()
    }

    /// Takes the first of `names` that is there.
    pub(super) fn take_any(&mut self, names: &[&'static str]) -> Option<&'static str> {
        names.iter().copied().find(|name| self.take(name))
    }

    /// Takes everything that starts with `prefix`.
    pub(super) fn take_prefixed(&mut self, prefix: &str) {
        self.left.retain(|modifier| !modifier.starts_with(prefix));
    }

    /// Takes the last modifier that is a type.
    pub(super) fn take_type(&mut self) -> Option<ScalarType> {
        let found = self
            .left
            .iter()
            .rposition(|modifier| ScalarType::from_name(modifier).is_some())?;
        ScalarType::from_name(self.left.remove(found))
    }

    /// Takes all of them, for a decoder that judges them itself.
    pub(super) fn take_all(&mut self) -> Vec<&'a str> {
        std::mem::take(&mut self.left)
    }

    /// The first that is left.
    pub(super) fn rest(&self) -> Option<&'a str> {
        self.left.first().copied()
    }
}
