//! Text to tokens and back, and conversations to text.
//!
//! | from | by |
//! | --- | --- |
//! | `tokenizer.json` | [`Tokenizer::open`] |
//! | the vocabulary inside a GGUF file | [`Tokenizer::from_gguf`] |
//! | `tokenizer_config.json`, `chat_template.jinja`, a GGUF file | [`ChatTemplate`] |

mod chat;
mod error;
mod gguf;
mod json;
mod stream;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

pub use chat::{ChatTemplate, Message};
pub use error::TokenizerError;
pub use stream::TextStream;

use crate::weights::Gguf;

/// A model's vocabulary and how text is cut into it.
pub struct Tokenizer {
    path: PathBuf,
    inner: tokenizers::Tokenizer,
    /// Put before a text, unless its post-processor does so.
    prefix: Vec<u32>,
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer")
            .field("path", &self.path)
            .field("vocab_size", &self.vocab_size())
            .finish_non_exhaustive()
    }
}

impl Tokenizer {
    /// Opens a `tokenizer.json`.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is no tokenizer.
    pub fn open(path: impl AsRef<Path>) -> Result<Tokenizer, TokenizerError> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|source| TokenizerError::Read {
            path: path.to_owned(),
            source,
        })?;
        // The library trusts merges to be made of tokens and panics where they are not.
        let parsed = catch_unwind(AssertUnwindSafe(|| {
            tokenizers::Tokenizer::from_bytes(&bytes)
        }));
        let reason = match parsed {
            Ok(Ok(inner)) => return Ok(Tokenizer::new(path, inner, Vec::new())),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "its parts contradict each other".to_owned(),
        };
        Err(TokenizerError::Invalid {
            path: path.to_owned(),
            reason,
        })
    }

    /// The vocabulary inside a GGUF file.
    ///
    /// # Errors
    ///
    /// There is none, it is damaged, or of a kind that is not known.
    pub fn from_gguf(gguf: &Gguf) -> Result<Tokenizer, TokenizerError> {
        gguf::read(gguf.metadata())
    }

    fn new(path: &Path, mut inner: tokenizers::Tokenizer, prefix: Vec<u32>) -> Tokenizer {
        // A file may ask for prompts to be cut or filled up, as training did. Without an argument this cannot fail.
        let _ = inner.with_truncation(None);
        inner.with_padding(None);
        Tokenizer {
            path: path.to_owned(),
            inner,
            prefix,
        }
    }

    /// Tokens of `text`. Names of special tokens within it are those tokens. `add_special` puts before (and after) it what the
    /// model expects around a plain text; a rendered chat template has it already.
    ///
    /// # Errors
    ///
    /// Text that the vocabulary cannot express.
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>, TokenizerError> {
        let encoding = self.inner.encode_fast(text, add_special);
        let encoding = encoding.map_err(|error| TokenizerError::Encode {
            reason: error.to_string(),
        })?;
        let prefix: &[u32] = if add_special { &self.prefix } else { &[] };
        Ok([prefix, encoding.get_ids()].concat())
    }

    /// Text of `tokens`; bytes that are no UTF-8 become U+FFFD. `skip_special` leaves special tokens out.
    ///
    /// # Errors
    ///
    /// The library's.
    pub fn decode(&self, tokens: &[u32], skip_special: bool) -> Result<String, TokenizerError> {
        let text = self.inner.decode(tokens, skip_special);
        text.map_err(|error| TokenizerError::Decode {
            reason: error.to_string(),
        })
    }

    /// Text of tokens that come one by one.
    pub fn stream(&self, skip_special: bool) -> TextStream<'_> {
        TextStream::new(self, skip_special)
    }

    /// Tokens there are, special ones included.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// Number of a token.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// A token as the vocabulary writes it.
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// Whether text never becomes that token but by its name.
    pub fn is_special(&self, id: u32) -> bool {
        let token = self.token(id);
        token.is_some_and(|token| self.inner.get_added_vocabulary().is_special_token(&token))
    }

    /// The file it comes from.
    pub fn path(&self) -> &Path {
        &self.path
    }
}
