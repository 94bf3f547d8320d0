//! The text of a spec, and places in it.

use std::ops::Range;

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Bytes of the spec's text, after line ends are normalised to `\n`.
    Text(Range<usize>),
    /// An override, by its whole text (`shadowkv.rank=128`).
    Override(String),
}

/// A spec's text with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Source {
    /// What errors call it: a path, or whatever the caller said.
    pub(super) name: String,
    /// The text, lines ending in `\n`, without a byte order mark.
    pub(super) text: String,
}

/// One line of a source and what is marked in it.
pub(super) struct MarkedLine<'a> {
    /// From 1.
    pub(super) line: usize,
    /// Of the first marked character, from 1, in characters.
    pub(super) column: usize,
    /// The line without its end.
    pub(super) text: &'a str,
    /// Marked bytes of `text`.
    pub(super) marked: Range<usize>,
}

impl Source {
    pub(super) fn new(name: &str, text: &str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let text = text.replace("\r\n", "\n").replace('\r', "\n");
        Source {
            name: name.to_owned(),
            text,
        }
    }

    /// The line that holds the first byte of `span`; the mark ends with the line at the latest.
    pub(super) fn marked_line(&self, span: &Range<usize>) -> MarkedLine<'_> {
        let start = char_floor(&self.text, span.start);
        let before = &self.text[..start];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let text = self.text[line_start..]
            .split('\n')
            .next()
            .unwrap_or_default();
        let end = char_floor(&self.text, span.end);
        let end = end.clamp(start, line_start + text.len());
        MarkedLine {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            text,
            marked: start - line_start..end - line_start,
        }
    }
}

/// The start of the character that holds byte `at`, or the text's length.
pub(super) fn char_floor(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    (0..=at)
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0)
}
