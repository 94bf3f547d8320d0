//! Errors of an import.

use std::fmt;

use super::super::error::SpecError;

/// Why a config gives no spec.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The text is not JSON.
    #[error("{source_name}:{line}:{column}: not valid JSON: {reason}")]
    Json {
        /// The config.
        source_name: String,
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// What is wrong.
        reason: String,
    },
    /// The JSON is not an object.
    #[error("{source_name}: a config is a JSON object, this is {found}")]
    NotAnObject {
        /// The config.
        source_name: String,
        /// What it is.
        found: &'static str,
    },
    /// The config says something that a spec cannot say, or lacks something.
    #[error("{source_name} cannot be imported:{}", Lines(refusals))]
    Refused {
        /// The config.
        source_name: String,
        /// Every field concerned.
        refusals: Vec<Refusal>,
    },
    /// The config is readable but its numbers make no valid spec.
    #[error("{source_name} makes no valid spec:\n{}", source.render(false))]
    Invalid {
        /// The config.
        source_name: String,
        /// What is wrong with the spec made from it.
        source: Box<SpecError>,
    },
}

/// One field of a config that cannot be honoured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The field, such as `rope_scaling.type`.
    pub field: String,
    /// Why, and what to do.
    pub reason: String,
}

struct Lines<'a>(&'a [Refusal]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|refusal| write!(f, "\n  `{}`: {}", refusal.field, refusal.reason))
    }
}
