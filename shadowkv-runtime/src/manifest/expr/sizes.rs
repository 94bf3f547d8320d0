//! The values of named sizes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Values of the names an expression may use, ordered by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sizes(BTreeMap<String, u64>);

impl Sizes {
    /// No sizes.
    pub fn new() -> Sizes {
        Sizes::default()
    }

    /// The same sizes with `name` set to `value`.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: u64) -> Sizes {
        self.set(name, value);
        self
    }

    /// Sets `name` to `value`; returns the value it had.
    pub fn set(&mut self, name: impl Into<String>, value: u64) -> Option<u64> {
        self.0.insert(name.into(), value)
    }

    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<u64> {
        self.0.get(name).copied()
    }

    /// Names and values, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(name, value)| (name.as_str(), *value))
    }
}

impl<N: Into<String>> FromIterator<(N, u64)> for Sizes {
    fn from_iter<I: IntoIterator<Item = (N, u64)>>(sizes: I) -> Sizes {
        Sizes(
            sizes
                .into_iter()
                .map(|(name, value)| (name.into(), value))
                .collect(),
        )
    }
}
