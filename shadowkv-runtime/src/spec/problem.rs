//! One thing wrong with a spec.

use super::source::Place;

/// What sort of thing is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    /// The text is not YAML.
    Syntax,
    /// YAML that a spec has no use for: aliases, tags, several documents, deep nesting.
    Unsupported,
    /// A key given twice.
    DuplicateKey,
    /// A field that does not exist, or that the chosen kind does not read.
    UnknownField,
    /// A required field that is not there.
    MissingField,
    /// A value of the wrong type, or a word that is not one of the choices.
    WrongType,
    /// A value outside its limits.
    OutOfRange,
    /// Values that are each allowed but not together.
    Contradiction,
}

/// One thing wrong with a spec: what and where it is, what is allowed, what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What sort of thing is wrong.
    pub kind: ProblemKind,
    /// The field, such as `shadowkv.rank`; empty for the whole document.
    pub path: String,
    /// What to point at.
    pub place: Place,
    /// What is wrong, in one line.
    pub message: String,
    /// What would be right.
    pub allowed: Option<String>,
    /// What to do.
    pub help: Option<String>,
}

impl Problem {
    pub(super) fn new(kind: ProblemKind, path: &str, place: Place, message: String) -> Self {
        Problem {
            kind,
            path: path.to_owned(),
            place,
            message,
            allowed: None,
            help: None,
        }
    }

    pub(super) fn allowed(mut self, text: impl Into<String>) -> Self {
        self.allowed = Some(text.into());
        self
    }

    pub(super) fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self
    }
}

/// The candidate that `word` most likely meant, if one is near.
pub(super) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let word = word.to_ascii_lowercase().replace('-', "_");
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().max(3) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// A list for a sentence: `` `a`, `b` ``.
pub(super) fn quoted_list<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    words
        .into_iter()
        .map(|word| format!("`{word}`"))
        .collect::<Vec<_>>()
        .join(", ")
}
