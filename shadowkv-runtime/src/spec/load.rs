//! From a file or a text to a [`Spec`].

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::digest;

use super::check;
use super::error::{InvalidSpec, SpecError};
use super::limits::SPEC_BYTES_MAX;
use super::node::{self, Data, Node};
use super::overrides::Override;
use super::problem::{Problem, ProblemKind};
use super::raw::RawSpec;
use super::resolve;
use super::resolved::Spec;
use super::scalar::Scalar;
use super::source::{Place, Source};

impl Spec {
    /// Reads, checks and resolves a spec file; `overrides` are applied in order before any check.
    ///
    /// # Errors
    /// [`SpecError`] if the file cannot be read, is larger than [`SPEC_BYTES_MAX`] (never more than that is read) or
    /// holds no valid spec.
    pub fn load(path: impl AsRef<Path>, overrides: &[Override]) -> Result<Self, SpecError> {
        let path = path.as_ref();
        let text = read(path)?;
        Self::parse(&path.display().to_string(), &text, overrides)
    }

    /// Checks and resolves a spec given as text; errors call it `source_name`.
    ///
    /// # Errors
    /// [`SpecError::Invalid`] with everything found wrong.
    pub fn parse(source_name: &str, text: &str, overrides: &[Override]) -> Result<Self, SpecError> {
        let source = Source::new(source_name, text);
        match interpret(&source.text, overrides) {
            Ok(spec) => Ok(spec),
            Err(problems) => Err(InvalidSpec::new(source, problems).into()),
        }
    }

    /// Lower-case hex SHA-256 of the canonical JSON of the resolved spec: the same for any formatting, comments or
    /// spelled-out defaults of the YAML, and different for any difference in meaning.
    pub fn sha256(&self) -> String {
        // Fields in declaration order and floats in their shortest exact form; both are fixed by the types. A resolved
        // spec holds finite numbers and text keys only, so writing it as JSON cannot fail.
        let json = serde_json::to_vec(self).unwrap_or_default();
        digest::sha256(&json)
    }
}

/// The text of a spec file, reading at most one byte over the limit.
fn read(path: &Path) -> Result<String, SpecError> {
    let failed = |source| SpecError::Read {
        path: path.to_owned(),
        source,
    };
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if metadata.is_dir() {
        return Err(SpecError::Directory {
            path: path.to_owned(),
        });
    }
    let too_large = || SpecError::TooLarge {
        path: path.to_owned(),
    };
    if metadata.len() > SPEC_BYTES_MAX {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    // The file may grow, or be a device without a size.
    File::open(path)
        .and_then(|file| file.take(SPEC_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(failed)?;
    if bytes.len() as u64 > SPEC_BYTES_MAX {
        return Err(too_large());
    }
    String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..offset]
            .split(|byte| *byte == b'\n')
            .count();
        SpecError::NotUtf8 {
            path: path.to_owned(),
            offset,
            line,
        }
    })
}

fn interpret(text: &str, overrides: &[Override]) -> Result<Spec, Vec<Problem>> {
    let mut problems = Vec::new();
    if text.len() as u64 > SPEC_BYTES_MAX {
        let message = format!("the spec is larger than {SPEC_BYTES_MAX} bytes");
        return Err(vec![Problem::new(
            ProblemKind::Unsupported,
            "",
            Place::Text(0..0),
            message,
        )]);
    }
    let mut root = match node::parse(text, &mut problems) {
        Ok(root) => root,
        Err(problem) => {
            problems.push(*problem);
            return Err(problems);
        }
    };
    if matches!(root.data, Data::Map(_)) {
        for one in overrides {
            if let Err(problem) = one.apply(&mut root) {
                problems.push(*problem);
            }
        }
    }
    check::structure(&mut root, &mut problems);
    let incomplete = |problem: &Problem| {
        matches!(
            problem.kind,
            ProblemKind::MissingField | ProblemKind::WrongType
        )
    };
    if problems.iter().any(incomplete) {
        return Err(problems);
    }
    let raw = match deserialise(&root) {
        Ok(raw) => raw,
        Err(problem) => {
            problems.push(*problem);
            return Err(problems);
        }
    };
    let (spec, found) = resolve::resolve(raw, &root);
    problems.extend(found);
    if problems.is_empty() {
        Ok(spec)
    } else {
        Err(problems)
    }
}

/// The structure is checked, so this only fails if the schema and the raw types disagree.
fn deserialise(root: &Node) -> Result<RawSpec, Box<Problem>> {
    serde_path_to_error::deserialize(to_yaml(root)).map_err(|error| {
        let path = error.path().to_string();
        let message = format!("`{path}`: {}", error.inner());
        Box::new(Problem::new(
            ProblemKind::WrongType,
            &path,
            root.place.clone(),
            message,
        ))
    })
}

fn to_yaml(node: &Node) -> serde_yaml::Value {
    use serde_yaml::Value;
    match &node.data {
        Data::Scalar(Scalar::Null) => Value::Null,
        Data::Scalar(Scalar::Bool(value)) => Value::Bool(*value),
        Data::Scalar(Scalar::Integer(value)) => Value::from(*value),
        Data::Scalar(Scalar::Float(value)) => Value::from(*value),
        Data::Scalar(Scalar::Text(text)) => Value::String(text.clone()),
        Data::List(items) => Value::Sequence(items.iter().map(to_yaml).collect()),
        Data::Map(entries) => Value::Mapping(
            entries
                .iter()
                .map(|entry| (Value::String(entry.key.clone()), to_yaml(&entry.value)))
                .collect(),
        ),
    }
}
