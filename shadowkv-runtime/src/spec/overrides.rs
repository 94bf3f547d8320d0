//! Values set from outside the file: `--set shadowkv.rank=128`.

use std::str::FromStr;

use super::node::{self, Data, Entry, Node};
use super::problem::{Problem, ProblemKind};
use super::scalar::Scalar;
use super::source::Place;

/// One value to set: `path=value`, the path dotted, the value a YAML scalar or flow collection.
#[derive(Clone, Debug)]
pub struct Override {
    text: String,
    path: Vec<String>,
    value: Node,
}

/// Why an override cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OverrideError {
    /// No `=`.
    #[error("`--set {text}` has no `=`")]
    NoValue {
        /// The override.
        text: String,
    },
    /// The part before `=` is not a dotted path.
    #[error("`--set {text}`: `{path}` is not a path of fields")]
    BadPath {
        /// The override.
        text: String,
        /// The part before `=`.
        path: String,
    },
    /// The part after `=` is not a YAML value.
    #[error("`--set {text}`: {reason}")]
    BadValue {
        /// The override.
        text: String,
        /// What is wrong with the value.
        reason: String,
    },
}

impl OverrideError {
    /// What to do.
    pub(super) fn help(&self) -> &'static str {
        match self {
            OverrideError::NoValue { .. } | OverrideError::BadPath { .. } => {
                "write `path=value`, for example `--set shadowkv.rank=128`"
            }
            OverrideError::BadValue { .. } => {
                "the value is a YAML scalar, or a list or mapping in brackets"
            }
        }
    }
}

impl FromStr for Override {
    type Err = OverrideError;

    fn from_str(text: &str) -> Result<Self, OverrideError> {
        let shown = || text.chars().take(200).collect::<String>();
        let (path, value) = text
            .split_once('=')
            .ok_or_else(|| OverrideError::NoValue { text: shown() })?;
        let segments: Vec<String> = path.trim().split('.').map(str::to_owned).collect();
        let word = |s: &String| {
            !s.is_empty()
                && s.bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
        };
        if !segments.iter().all(word) {
            return Err(OverrideError::BadPath {
                text: shown(),
                path: path.to_owned(),
            });
        }
        let mut problems = Vec::new();
        let parsed = if value.trim().is_empty() {
            Err("the value is empty".to_owned())
        } else {
            node::parse(value, &mut problems).map_err(|problem| problem.message)
        };
        let reason = match parsed {
            Ok(mut value) if problems.is_empty() => {
                let text = shown();
                relocate(&mut value, &Place::Override(text.clone()));
                return Ok(Override {
                    text,
                    path: segments,
                    value,
                });
            }
            Ok(_) => problems.remove(0).message,
            Err(reason) => reason,
        };
        Err(OverrideError::BadValue {
            text: shown(),
            reason,
        })
    }
}

/// Gives every part of a value the same place.
fn relocate(node: &mut Node, place: &Place) {
    node.place = place.clone();
    match &mut node.data {
        Data::Scalar(_) => {}
        Data::List(items) => items.iter_mut().for_each(|item| relocate(item, place)),
        Data::Map(entries) => {
            for entry in entries {
                entry.key_place = place.clone();
                relocate(&mut entry.value, place);
            }
        }
    }
}

impl Override {
    /// Sets the value in `root`, creating mappings on the way.
    pub(super) fn apply(&self, root: &mut Node) -> Result<(), Box<Problem>> {
        let place = Place::Override(self.text.clone());
        let mut node = root;
        for (depth, segment) in self.path.iter().enumerate() {
            if matches!(node.data, Data::Scalar(Scalar::Null)) {
                node.data = Data::Map(Vec::new());
            }
            let described = node.describe();
            let Data::Map(entries) = &mut node.data else {
                let parent = self.path[..depth].join(".");
                let message = format!("`{parent}` has no fields: it is {described}");
                return Err(Box::new(Problem::new(
                    ProblemKind::WrongType,
                    &parent,
                    place,
                    message,
                )));
            };
            let index = entries
                .iter()
                .position(|entry| entry.key == *segment)
                .unwrap_or_else(|| {
                    let value = Node {
                        place: place.clone(),
                        data: Data::Scalar(Scalar::Null),
                    };
                    entries.push(Entry {
                        key: segment.clone(),
                        key_place: place.clone(),
                        value,
                    });
                    entries.len() - 1
                });
            node = &mut entries[index].value;
        }
        *node = self.value.clone();
        Ok(())
    }
}
