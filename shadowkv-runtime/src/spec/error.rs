//! Errors of reading a spec, and their one renderer.

use std::fmt;
use std::io;
use std::path::PathBuf;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use super::limits::SPEC_BYTES_MAX;
use super::overrides::OverrideError;
use super::problem::Problem;
use super::source::{Place, Source, char_floor};

/// Longest piece of a source line that is shown on either side of a mark, bytes.
const SHOWN_AROUND: usize = 160;

/// Why there is no spec.
///
/// [`fmt::Display`] is one line; [`SpecError::render`] is the text for people, with the source lines.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// The file cannot be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The path is a directory.
    #[error("`{}` is a directory, not a spec file", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
    },
    /// The file is larger than any spec.
    #[error("`{}` is larger than {SPEC_BYTES_MAX} bytes, the limit for a spec", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The file is not UTF-8.
    #[error("`{}` is not UTF-8: the byte at offset {offset} (line {line}) begins no character", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// Offset of the first bad byte, from 0.
        offset: usize,
        /// Its line, from 1.
        line: usize,
    },
    /// An override is malformed.
    #[error(transparent)]
    Override(#[from] OverrideError),
    /// The spec says something wrong.
    #[error(transparent)]
    Invalid(#[from] InvalidSpec),
}

/// Everything that is wrong with one spec, in the order of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidSpec {
    source: Source,
    problems: Vec<Problem>,
}

impl std::error::Error for InvalidSpec {}

impl fmt::Display for InvalidSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(first) = self.problems.first() else {
            return write!(f, "{}: invalid spec", self.source.name);
        };
        match &first.place {
            Place::Text(span) => {
                let at = self.source.marked_line(span);
                write!(
                    f,
                    "{}:{}:{}: {}",
                    self.source.name, at.line, at.column, first.message
                )?;
            }
            Place::Override(text) => write!(f, "--set {text}: {}", first.message)?,
        }
        match self.problems.len() - 1 {
            0 => Ok(()),
            more => write!(f, " (and {more} more)"),
        }
    }
}

impl InvalidSpec {
    /// `problems` is not empty.
    pub(super) fn new(source: Source, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| match &problem.place {
            Place::Text(span) => (0, span.start),
            Place::Override(_) => (1, 0),
        });
        problems.dedup();
        InvalidSpec { source, problems }
    }

    /// The problems, in the order of the text; those of overrides last.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Line and column of a problem in the source, both from 1, the column in characters; `None` if an override made it.
    pub fn line_column(&self, problem: &Problem) -> Option<(usize, usize)> {
        match &problem.place {
            Place::Text(span) => {
                let at = self.source.marked_line(span);
                Some((at.line, at.column))
            }
            Place::Override(_) => None,
        }
    }

    fn render(&self, renderer: &Renderer) -> String {
        let mut text = self
            .problems
            .iter()
            .map(|problem| self.render_one(problem, renderer))
            .collect::<Vec<_>>()
            .join("\n\n");
        if self.problems.len() > 1 {
            let title = format!("{}: {} problems", self.source.name, self.problems.len());
            text.push_str("\n\n");
            text.push_str(
                &renderer.render(&[Group::with_title(Level::ERROR.primary_title(title))]),
            );
        }
        text
    }

    fn render_one(&self, problem: &Problem, renderer: &Renderer) -> String {
        let mut group = Group::with_title(Level::ERROR.primary_title(&problem.message));
        group = match &problem.place {
            Place::Text(span) => {
                let at = self.source.marked_line(span);
                // Only a window of a very long line, so that one error stays one screen.
                let from = char_floor(at.text, at.marked.start.saturating_sub(SHOWN_AROUND));
                let to = char_floor(at.text, at.marked.start + SHOWN_AROUND);
                let marked =
                    at.marked.start - from..at.marked.end.min(to).max(at.marked.start) - from;
                let mut snippet = Snippet::source(&at.text[from..to])
                    .line_start(at.line)
                    .annotation(AnnotationKind::Primary.span(marked));
                if from == 0 {
                    snippet = snippet.path(&self.source.name);
                } else {
                    // The snippet counts columns from where it begins; the origin from the start of the line.
                    group = group.element(
                        Origin::path(&self.source.name)
                            .line(at.line)
                            .char_column(at.column),
                    );
                }
                group.element(snippet)
            }
            Place::Override(text) => group.element(Origin::path(format!("--set {text}"))),
        };
        if let Some(allowed) = &problem.allowed {
            group = group.element(Level::NOTE.with_name(Some("allowed")).message(allowed));
        }
        if let Some(help) = &problem.help {
            group = group.element(Level::HELP.message(help));
        }
        renderer.render(&[group])
    }
}

impl SpecError {
    /// The whole report: for each problem its place, its line with a mark, what is allowed and what to do.
    /// Deterministic; `colour` adds ANSI escapes and nothing else.
    pub fn render(&self, colour: bool) -> String {
        let renderer = if colour {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        match self {
            SpecError::Invalid(invalid) => invalid.render(&renderer),
            other => {
                let mut group = Group::with_title(Level::ERROR.primary_title(other.to_string()));
                if let Some(help) = other.help() {
                    group = group.element(Level::HELP.message(help));
                }
                renderer.render(&[group])
            }
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            SpecError::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Some("check the path; the shipped specs are in `model-specs/`".to_owned())
            }
            SpecError::Directory { .. } => Some("name the YAML file inside it".to_owned()),
            SpecError::TooLarge { .. } => {
                Some("a spec is a few KiB of YAML; is this the right file?".to_owned())
            }
            SpecError::NotUtf8 { .. } => Some("save the file as UTF-8".to_owned()),
            SpecError::Override(error) => Some(error.help().to_owned()),
            SpecError::Read { .. } | SpecError::Invalid(_) => None,
        }
    }
}
