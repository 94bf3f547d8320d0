//! Text of tokens that come one by one.

use super::{Tokenizer, TokenizerError};

/// What a piece of text ends with whose last bytes are no whole character.
const INCOMPLETE: char = char::REPLACEMENT_CHARACTER;

/// Gives out the text of tokens as soon as it is whole UTF-8.
///
/// What a token means may depend on the one before it (a space that vanishes at the beginning of a text), so the tokens of
/// the piece before are decoded with those of this one.
#[derive(Debug)]
pub struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    skip_special: bool,
    /// Tokens of the piece before, then those since.
    tokens: Vec<u32>,
    /// How many are of the piece before.
    before: usize,
    /// Bytes that were given out of the text since.
    given: usize,
}

impl<'a> TextStream<'a> {
    pub(super) fn new(tokenizer: &'a Tokenizer, skip_special: bool) -> TextStream<'a> {
        TextStream {
            tokenizer,
            skip_special,
            tokens: Vec::new(),
            before: 0,
            given: 0,
        }
    }

    /// Takes the next token; the text that has become whole with it, which may be empty.
    ///
    /// # Errors
    ///
    /// The library's.
    pub fn push(&mut self, token: u32) -> Result<String, TokenizerError> {
        self.tokens.push(token);
        let text = self.text_since()?;
        let whole = text.trim_end_matches(INCOMPLETE);
        let piece = whole.get(self.given..).unwrap_or_default().to_owned();
        if whole.len() < text.len() {
            self.given += piece.len();
        } else {
            self.tokens.drain(..self.before);
            self.before = self.tokens.len();
            self.given = 0;
        }
        Ok(piece)
    }

    /// The rest, whole or not, at the end of the tokens.
    ///
    /// # Errors
    ///
    /// The library's.
    pub fn finish(self) -> Result<String, TokenizerError> {
        let text = self.text_since()?;
        Ok(text.get(self.given..).unwrap_or_default().to_owned())
    }

    /// Text of the tokens since the piece before.
    fn text_since(&self) -> Result<String, TokenizerError> {
        let decode = |tokens: &[u32]| self.tokenizer.decode(tokens, self.skip_special);
        let before = decode(&self.tokens[..self.before])?;
        let all = decode(&self.tokens)?;
        Ok(all.get(before.len()..).unwrap_or_default().to_owned())
    }
}
