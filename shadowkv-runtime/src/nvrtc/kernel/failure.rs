//! A kernel that does not compile, and how a person is told.

use std::fmt;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde::Serialize;

use crate::nvrtc::{Arch, Severity};

/// Longest piece of a line that is shown, characters.
const SHOWN: usize = 200;

/// A kernel that gave no binary.
///
/// [`fmt::Display`] and [`KernelFailure::render`] are the text for people; [`KernelFailure::log`] is what the compiler
/// itself wrote.
#[derive(Clone, Debug, Serialize)]
pub struct KernelFailure {
    /// Name of the package.
    pub package: String,
    /// Short name of the kernel.
    pub kernel: String,
    /// What it was compiled for.
    pub arch: Arch,
    /// Everything the compiler said, errors first as it has them.
    pub diagnostics: Vec<LocatedDiagnostic>,
    /// The compiler's log.
    pub log: String,
}

/// What the compiler objects to, with every line it speaks of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LocatedDiagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The compiler's message.
    pub message: String,
    /// The line of the emitted source; absent where neither the compiler nor the PTX tells it.
    pub source: Option<SourceLine>,
    /// The template's line that printed it, as `file:line`.
    pub template: Option<String>,
    /// The line of the PTX, where ptxas is who objects.
    pub ptx: Option<SourceLine>,
}

/// One line of a text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SourceLine {
    /// File name; the PTX, which is no file, goes by `<kernel>.ptx`.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1; only newer compilers tell.
    pub column: Option<usize>,
    /// The line itself.
    pub text: String,
}

impl KernelFailure {
    /// The errors without the warnings around them.
    pub fn errors(&self) -> impl Iterator<Item = &LocatedDiagnostic> {
        self.diagnostics
            .iter()
            .filter(|found| found.severity == Severity::Error)
    }

    /// The whole report: for each error its place, the lines concerned, and the template's line. Deterministic;
    /// `colour` adds ANSI escapes and nothing else.
    pub fn render(&self, colour: bool) -> String {
        let KernelFailure {
            package,
            kernel,
            arch,
            ..
        } = self;
        let title = format!("kernel `{kernel}` of `{package}` does not compile for {arch}");
        let mut texts =
            vec![renderer(colour).render(&[Group::with_title(Level::ERROR.primary_title(title))])];
        texts.extend(self.errors().map(|error| error.render(colour)));
        if self.errors().next().is_none() {
            texts.push(self.log.trim().to_owned());
        }
        texts.join("\n")
    }
}

impl fmt::Display for KernelFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for KernelFailure {}

impl LocatedDiagnostic {
    /// The message with the lines it speaks of.
    pub fn render(&self, colour: bool) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
            Severity::Remark => Level::NOTE,
        };
        let mut group = Group::with_title(level.primary_title(&self.message));
        for line in [&self.ptx, &self.source].into_iter().flatten() {
            group = group.element(line.snippet());
        }
        if let Some(template) = &self.template {
            group = group.element(Level::NOTE.with_name(Some("printed by")).message(template));
        }
        renderer(colour).render(&[group])
    }
}

impl SourceLine {
    fn snippet(&self) -> Snippet<'_, annotate_snippets::Annotation<'_>> {
        let text: String = self.text.chars().take(SHOWN).collect();
        let blank = text
            .chars()
            .take_while(|character| character.is_whitespace())
            .count();
        let from = self.column.map_or(blank, |column| column - 1);
        let offset = |characters: usize| {
            text.char_indices()
                .nth(characters)
                .map_or(text.len(), |(offset, _)| offset)
        };
        // The compiler names a column or nothing; without one the whole line is marked.
        let span = match self.column {
            Some(_) => offset(from)..offset(from + 1),
            None => offset(from)..text.trim_end().len().max(offset(from)),
        };
        Snippet::source(text)
            .path(self.file.as_str())
            .line_start(self.line)
            .annotation(AnnotationKind::Primary.span(span))
    }
}

fn renderer(colour: bool) -> Renderer {
    if colour {
        Renderer::styled()
    } else {
        Renderer::plain()
    }
}
