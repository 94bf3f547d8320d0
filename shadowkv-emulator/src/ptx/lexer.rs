//! PTX text to tokens, one at a time.

use super::ast::Position;
use super::error::{ParseError, quoted};

/// A token; its text is a slice of the PTX text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// An identifier, with its leading `%`, `$` or `_` if it has one.
    Word(&'a str),
    /// A dot and what follows it, without the dot: `.reg`, `.2d`, `.L1::no_allocate`.
    Dotted(&'a str),
    /// A literal that begins with a digit, in any notation.
    Number(&'a str),
    /// A string, without its quotes.
    Text(&'a str),
    /// Any other character.
    Mark(char),
    /// The end of the text.
    End,
}

impl Token<'_> {
    /// The token as a message names it.
    pub(super) fn describe(self) -> String {
        match self {
            Token::Word(text) | Token::Number(text) => quoted(text),
            Token::Dotted(text) => quoted(&format!(".{text}")),
            Token::Text(text) => format!("the string {}", quoted(text)),
            Token::Mark(mark) => quoted(mark.encode_utf8(&mut [0; 4])),
            Token::End => "the end of the text".to_owned(),
        }
    }
}

/// A place in the text from which tokens are read.
pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
    position: Position,
}

/// Whether `byte` may stand inside an identifier.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$'
}

impl<'a> Lexer<'a> {
    /// Begins at the start of `text`.
    pub(super) fn new(text: &'a str) -> Lexer<'a> {
        Lexer {
            text,
            at: 0,
            position: Position { line: 1, column: 1 },
        }
    }

    /// The next token and where it begins.
    pub(super) fn next(&mut self) -> Result<(Token<'a>, Position), ParseError> {
        self.skip_blank()?;
        let start = self.at;
        let position = self.position;
        let Some(first) = self.byte(0) else {
            return Ok((Token::End, position));
        };
        let token = match first {
            b'A'..=b'Z' | b'a'..=b'z' | b'_' | b'$' => {
                self.take_word();
                Token::Word(&self.text[start..self.at])
            }
            b'%' if self.byte(1).is_some_and(is_word) => {
                self.step(1);
                self.take_word();
                Token::Word(&self.text[start..self.at])
            }
            b'.' if self.byte(1).is_some_and(is_word) => {
                self.step(1);
                self.take_word();
                while self.text.as_bytes()[self.at..].starts_with(b"::")
                    && self.byte(2).is_some_and(is_word)
                {
                    self.step(2);
                    self.take_word();
                }
                Token::Dotted(&self.text[start + 1..self.at])
            }
            b'0'..=b'9' => {
                self.take_number();
                Token::Number(&self.text[start..self.at])
            }
            b'"' => self.string(position)?,
            _ => {
                let mark = self.text[start..].chars().next().unwrap_or_default();
                self.at += mark.len_utf8();
                self.position.column += 1;
                Token::Mark(mark)
            }
        };
        Ok((token, position))
    }

    /// The byte `ahead` of the current one.
    fn byte(&self, ahead: usize) -> Option<u8> {
        self.text.as_bytes().get(self.at + ahead).copied()
    }

    /// Passes `count` ASCII characters of the current line.
    fn step(&mut self, count: usize) {
        self.at += count;
        self.position.column += count as u32;
    }

    /// Passes one byte of any kind. Columns count characters: bytes that continue one do not move them.
    fn pass(&mut self, byte: u8) {
        self.at += 1;
        if byte == b'\n' {
            self.position.line += 1;
            self.position.column = 1;
        } else if byte & 0xC0 != 0x80 {
            self.position.column += 1;
        }
    }

    fn take_word(&mut self) {
        let rest = &self.text.as_bytes()[self.at..];
        let length = rest
            .iter()
            .position(|&byte| !is_word(byte))
            .unwrap_or(rest.len());
        self.step(length);
    }

    /// Takes a literal whole, right or wrong: its value is another module's job.
    fn take_number(&mut self) {
        let start = self.at;
        self.take_word();
        let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if self.byte(0) == Some(b'.')
            && is_digits(&self.text[start..self.at])
            && self
                .byte(1)
                .is_none_or(|byte| !is_word(byte) || byte.is_ascii_digit())
        {
            self.step(1);
            self.take_word();
        }
        let taken = &self.text[start..self.at];
        let mantissa = taken.strip_suffix(['e', 'E']);
        let signed = matches!(self.byte(0), Some(b'+' | b'-'))
            && self.byte(1).is_some_and(|b| b.is_ascii_digit());
        if signed && mantissa.is_some_and(|text| is_digits(&text.replacen('.', "", 1))) {
            self.step(1);
            self.take_word();
        }
    }

    /// A string of one line; a backslash keeps the quote after it from ending it.
    fn string(&mut self, position: Position) -> Result<Token<'a>, ParseError> {
        self.step(1);
        let start = self.at;
        let mut escaped = false;
        while let Some(byte) = self.byte(0) {
            if byte == b'\n' {
                break;
            }
            if byte == b'"' && !escaped {
                let text = &self.text[start..self.at];
                self.step(1);
                return Ok(Token::Text(text));
            }
            escaped = byte == b'\\' && !escaped;
            self.pass(byte);
        }
        Err(ParseError::new(
            position,
            "expected a closing quote on the line where the string begins",
        ))
    }

    /// Passes white space and comments.
    fn skip_blank(&mut self) -> Result<(), ParseError> {
        while let Some(byte) = self.byte(0) {
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' | 0x0B | 0x0C => self.pass(byte),
                b'/' if self.byte(1) == Some(b'/') => {
                    while let Some(byte) = self.byte(0).filter(|&byte| byte != b'\n') {
                        self.pass(byte);
                    }
                }
                b'/' if self.byte(1) == Some(b'*') => self.skip_block_comment()?,
                _ => break,
            }
        }
        Ok(())
    }

    fn skip_block_comment(&mut self) -> Result<(), ParseError> {
        let position = self.position;
        self.step(2);
        while let Some(byte) = self.byte(0) {
            if byte == b'*' && self.byte(1) == Some(b'/') {
                self.step(2);
                return Ok(());
            }
            self.pass(byte);
        }
        Err(ParseError::new(
            position,
            "expected `*/` after the comment that begins here",
        ))
    }
}
