//! Collects problems by field path and finds the place of each.

use std::collections::BTreeMap;

use super::super::check::join;
use super::super::node::{Data, Node};
use super::super::problem::{Problem, ProblemKind};
use super::super::scalar::number;
use super::super::source::Place;

/// The problems found so far, and where every written value is.
pub(super) struct Findings {
    /// By path. A collection is pointed at by its key.
    places: BTreeMap<String, Place>,
    keys: BTreeMap<String, Place>,
    problems: Vec<Problem>,
}

/// A problem just added, for adding to its text.
pub(super) struct Finding<'a>(&'a mut Problem);

impl Finding<'_> {
    pub(super) fn allowed(self, text: impl Into<String>) -> Self {
        self.0.allowed = Some(text.into());
        self
    }

    pub(super) fn help(self, text: impl Into<String>) -> Self {
        self.0.help = Some(text.into());
        self
    }
}

impl Findings {
    pub(super) fn new(root: &Node) -> Self {
        let mut findings = Findings {
            places: BTreeMap::new(),
            keys: BTreeMap::new(),
            problems: Vec::new(),
        };
        findings.index(root, "");
        findings
    }

    fn index(&mut self, node: &Node, path: &str) {
        self.places.insert(path.to_owned(), node.place.clone());
        match &node.data {
            Data::Scalar(_) => {}
            Data::List(items) => {
                for (i, item) in items.iter().enumerate() {
                    self.index(item, &format!("{path}[{i}]"));
                }
            }
            Data::Map(entries) => {
                for entry in entries {
                    let path = join(path, &entry.key);
                    self.keys.insert(path.clone(), entry.key_place.clone());
                    self.index(&entry.value, &path);
                    if !matches!(entry.value.data, Data::Scalar(_)) {
                        self.places.insert(path, entry.key_place.clone());
                    }
                }
            }
        }
    }

    /// Whether the field is written rather than a default.
    pub(super) fn is_written(&self, path: &str) -> bool {
        self.keys.contains_key(path)
    }

    /// Problems so far.
    pub(super) fn count(&self) -> usize {
        self.problems.len()
    }

    /// A value outside its limits.
    pub(super) fn range(&mut self, path: &str, message: String) -> Finding<'_> {
        self.add(ProblemKind::OutOfRange, path, message)
    }

    /// Values that are not allowed together, pointed out at `path`.
    pub(super) fn clash(&mut self, path: &str, message: String) -> Finding<'_> {
        self.add(ProblemKind::Contradiction, path, message)
    }

    /// A field that the chosen kind needs.
    pub(super) fn missing(&mut self, path: &str, message: String) -> Finding<'_> {
        self.add(ProblemKind::MissingField, path, message)
    }

    /// A field that the chosen kind does not read, pointed out at its key.
    pub(super) fn unread(&mut self, path: &str, message: String) -> Finding<'_> {
        let place = self.keys.get(path).cloned();
        let finding = self.add(ProblemKind::UnknownField, path, message);
        if let Some(place) = place {
            finding.0.place = place;
        }
        finding
    }

    /// Checks `min <= value <= max`.
    pub(super) fn within(
        &mut self,
        path: &str,
        value: u32,
        min: u32,
        max: u32,
        help: &str,
    ) -> bool {
        let right = (min..=max).contains(&value);
        if !right {
            self.range(path, format!("`{path}` cannot be {value}"))
                .allowed(format!("{min} to {max}"))
                .help(help);
        }
        right
    }

    /// Checks that a number is finite and satisfies `right`, which `allowed` puts in words.
    pub(super) fn number(&mut self, path: &str, value: f64, right: bool, allowed: &str) -> bool {
        let right = right && value.is_finite();
        if !right {
            self.range(path, format!("`{path}` cannot be {}", number(value)))
                .allowed(allowed);
        }
        right
    }

    fn add(&mut self, kind: ProblemKind, path: &str, message: String) -> Finding<'_> {
        let place = self.place(path);
        self.problems.push(Problem::new(kind, path, place, message));
        let last = self.problems.len() - 1;
        Finding(&mut self.problems[last])
    }

    /// The place of the value, or of the nearest thing around it that is written.
    fn place(&self, path: &str) -> Place {
        let mut path = path;
        loop {
            if let Some(place) = self.places.get(path) {
                return place.clone();
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = &path[..end],
                None if path.is_empty() => return Place::Text(0..0),
                None => path = "",
            }
        }
    }

    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }
}
