//! Why a tokenizer or a chat template cannot be used.

use std::io;
use std::path::PathBuf;

use crate::weights::WeightsError;

/// Why a tokenizer or a chat template cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// The file cannot be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is damaged.
    #[error("`{}` holds no valid tokenizer: {reason}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A vocabulary of a kind that is not known.
    #[error(
        "`{}`: {key} `{found}` is not known, known: {}; put the model's tokenizer.json beside the file",
        path.display(), known.join(", ")
    )]
    Unknown {
        /// The file.
        path: PathBuf,
        /// The metadata's key.
        key: &'static str,
        /// Its value.
        found: String,
        /// Values that are known.
        known: Vec<&'static str>,
    },
    /// The file's metadata cannot be read.
    #[error(transparent)]
    Metadata(#[from] WeightsError),
    /// Text that the vocabulary cannot express.
    #[error("text cannot be cut into tokens: {reason}")]
    Encode {
        /// The library's words.
        reason: String,
    },
    /// Tokens that have no text.
    #[error("tokens cannot be turned into text: {reason}")]
    Decode {
        /// The library's words.
        reason: String,
    },
    /// The chat template is not valid.
    #[error("chat template of `{}`: {reason}", path.display())]
    Template {
        /// The file.
        path: PathBuf,
        /// What is wrong, with its line.
        reason: String,
    },
    /// The chat template refuses the conversation.
    #[error("the model's chat template refuses the conversation: {reason}")]
    Refused {
        /// In the template's words.
        reason: String,
    },
}
