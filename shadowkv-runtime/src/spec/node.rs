//! YAML as a tree in which every key and value knows its place.
//!
//! The events come from `saphyr-parser`. Aliases, tags and further documents are refused here, so nothing can expand,
//! and nesting is limited, so nothing can recurse far.

use std::ops::Range;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::limits::NESTING_MAX;
use super::problem::{Problem, ProblemKind};
use super::scalar::{self, Scalar};
use super::source::Place;

/// A value and its place.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) data: Data,
}

/// What a value is.
#[derive(Clone, Debug)]
pub(super) enum Data {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key of a mapping and its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_place: Place,
    pub(super) value: Node,
}

impl Node {
    /// What the value is, for a sentence: ``the text `abc` ``, `a list`.
    pub(super) fn describe(&self) -> String {
        match &self.data {
            Data::Scalar(scalar) => scalar.describe(),
            Data::List(_) => "a list".to_owned(),
            Data::Map(_) => "a mapping".to_owned(),
        }
    }
}

/// A collection whose end has not been seen.
enum Open {
    List {
        start: Range<usize>,
        items: Vec<Node>,
    },
    Map {
        start: Range<usize>,
        entries: Vec<Entry>,
        key: Option<(String, Range<usize>)>,
    },
}

/// Parses one document. Duplicate keys are added to `problems` (the first one stays); anything else ends the parse.
pub(super) fn parse(text: &str, problems: &mut Vec<Problem>) -> Result<Node, Box<Problem>> {
    if let Some(at) = text.find(|c: char| c.is_control() && !matches!(c, '\n' | '\t' | '\u{85}')) {
        let character = text[at..].chars().next().unwrap_or_default();
        let message = format!(
            "control character U+{:04X} in the text",
            u32::from(character)
        );
        let mut control = problem(ProblemKind::Syntax, at..at + character.len_utf8(), message);
        control.help = Some("remove it; is this a text file?".to_owned());
        return Err(control);
    }
    Builder {
        offsets: Offsets::new(text),
        open: Vec::new(),
        root: None,
        documents: 0,
        problems,
    }
    .run(text)
}

struct Builder<'a> {
    offsets: Offsets,
    open: Vec<Open>,
    root: Option<Node>,
    documents: usize,
    problems: &'a mut Vec<Problem>,
}

#[expect(
    clippy::unnecessary_box_returns,
    reason = "every caller puts it into an `Err`"
)]
fn problem(kind: ProblemKind, span: Range<usize>, message: impl Into<String>) -> Box<Problem> {
    Box::new(Problem::new(kind, "", Place::Text(span), message.into()))
}

impl Builder<'_> {
    fn run(mut self, text: &str) -> Result<Node, Box<Problem>> {
        let mut parser = Parser::new_from_str(text);
        while let Some(event) = parser.next_event() {
            let (event, span) = event.map_err(|error| {
                let at = self.offsets.byte(error.marker().index());
                problem(
                    ProblemKind::Syntax,
                    at..at,
                    format!("not valid YAML: {}", error.info()),
                )
            })?;
            let span = self.offsets.bytes(&span);
            self.event(event, span)?;
        }
        self.root.ok_or_else(|| {
            let mut empty = problem(ProblemKind::MissingField, 0..0, "the spec is empty");
            empty.help =
                Some("begin with `name:`, `attention:`, `rope:` and `shadowkv:`".to_owned());
            empty
        })
    }

    fn event(&mut self, event: Event<'_>, span: Range<usize>) -> Result<(), Box<Problem>> {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    let mut second = problem(
                        ProblemKind::Unsupported,
                        span,
                        "a second YAML document begins here",
                    );
                    second.help = Some("write one spec per file".to_owned());
                    return Err(second);
                }
            }
            Event::Alias(_) => {
                let mut alias = problem(
                    ProblemKind::Unsupported,
                    span,
                    "YAML aliases (`*name`) are not supported",
                );
                alias.help = Some("write the value out".to_owned());
                return Err(alias);
            }
            Event::Scalar(text, style, _, tag) => {
                refuse_tag(tag.is_some(), &span)?;
                self.scalar(&text, style == ScalarStyle::Plain, span)?;
            }
            Event::SequenceStart(_, tag) => {
                refuse_tag(tag.is_some(), &span)?;
                self.begin(Open::List {
                    start: span,
                    items: Vec::new(),
                })?;
            }
            Event::MappingStart(_, tag) => {
                refuse_tag(tag.is_some(), &span)?;
                self.begin(Open::Map {
                    start: span,
                    entries: Vec::new(),
                    key: None,
                })?;
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::List { start, items }) => self.value(start, Data::List(items)),
                Some(Open::Map { start, entries, .. }) => self.value(start, Data::Map(entries)),
                None => {}
            },
        }
        Ok(())
    }

    fn begin(&mut self, open: Open) -> Result<(), Box<Problem>> {
        let (Open::List { start, .. } | Open::Map { start, .. }) = &open;
        if self.open.len() == NESTING_MAX {
            let message = format!("nested deeper than {NESTING_MAX} levels");
            return Err(problem(ProblemKind::Unsupported, start.clone(), message));
        }
        if let Some(Open::Map { key: None, .. }) = self.open.last() {
            return Err(problem(
                ProblemKind::Unsupported,
                start.clone(),
                "a key must be a plain word",
            ));
        }
        self.open.push(open);
        Ok(())
    }

    fn scalar(&mut self, text: &str, plain: bool, span: Range<usize>) -> Result<(), Box<Problem>> {
        if let Some(Open::Map { key, entries, .. }) = self.open.last_mut()
            && key.is_none()
        {
            if text.is_empty() {
                return Err(problem(
                    ProblemKind::Syntax,
                    span,
                    "a key is missing before `:`",
                ));
            }
            if entries.iter().any(|entry| entry.key == text) {
                let message = format!("the key `{text}` is given twice");
                let duplicate = *problem(ProblemKind::DuplicateKey, span.clone(), message);
                self.problems.push(duplicate.help("keep one of the two"));
            }
            *key = Some((text.to_owned(), span));
            return Ok(());
        }
        let data = Data::Scalar(if plain {
            scalar::resolve(text)
        } else {
            Scalar::Text(text.to_owned())
        });
        self.value(span, data);
        Ok(())
    }

    fn value(&mut self, span: Range<usize>, data: Data) {
        match self.open.last_mut() {
            Some(Open::List { items, .. }) => items.push(Node {
                place: Place::Text(span),
                data,
            }),
            Some(Open::Map { entries, key, .. }) => {
                let Some((key, key_span)) = key.take() else {
                    return;
                };
                // An absent value and a block collection have no text of their own on the key's line.
                let block =
                    !matches!(data, Data::Scalar(_)) && !self.offsets.same_line(&key_span, &span);
                let value_span = if span.is_empty() || block {
                    key_span.clone()
                } else {
                    span
                };
                if entries.iter().any(|entry| entry.key == key) {
                    return;
                }
                let value = Node {
                    place: Place::Text(value_span),
                    data,
                };
                entries.push(Entry {
                    key,
                    key_place: Place::Text(key_span),
                    value,
                });
            }
            None => {
                self.root = Some(Node {
                    place: Place::Text(span),
                    data,
                });
            }
        }
    }
}

fn refuse_tag(tagged: bool, span: &Range<usize>) -> Result<(), Box<Problem>> {
    if !tagged {
        return Ok(());
    }
    let mut tag = problem(
        ProblemKind::Unsupported,
        span.clone(),
        "YAML tags (`!name`) are not supported",
    );
    tag.help = Some(
        "write the value without the tag; put text that looks like a number in quotes".to_owned(),
    );
    Err(tag)
}

/// Byte offsets of characters, since the parser counts characters.
struct Offsets {
    /// Byte offset of each character, if they differ from the character's index; the text's length last.
    table: Option<Vec<usize>>,
    length: usize,
    newlines: Vec<usize>,
}

impl Offsets {
    fn new(text: &str) -> Self {
        let table = (!text.is_ascii()).then(|| text.char_indices().map(|(byte, _)| byte).collect());
        let newlines = text.match_indices('\n').map(|(at, _)| at).collect();
        Offsets {
            table,
            length: text.len(),
            newlines,
        }
    }

    fn byte(&self, character: usize) -> usize {
        match &self.table {
            None => character.min(self.length),
            Some(table) => table.get(character).copied().unwrap_or(self.length),
        }
    }

    fn bytes(&self, span: &Span) -> Range<usize> {
        let start = self.byte(span.start.index());
        start..self.byte(span.end.index()).max(start)
    }

    fn same_line(&self, a: &Range<usize>, b: &Range<usize>) -> bool {
        let line = |at: usize| self.newlines.partition_point(|newline| *newline < at);
        line(a.start) == line(b.start)
    }
}
