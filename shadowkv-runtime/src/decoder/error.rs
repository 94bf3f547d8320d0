//! Why a decoder does not decode.

use crate::device::DeviceError;
use crate::kv::KvError;

/// Why a decoder does not decode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecoderError {
    /// A spec of attention alone.
    #[error("the spec `{spec}` has no `decoder` block: it describes attention, not a whole model")]
    NoShape {
        /// Name of the spec.
        spec: String,
    },
    /// A token that does not exist.
    #[error("token id {id} at position {position} is not in the vocabulary, which has {vocab} (0 to {})", .vocab - 1)]
    Token {
        /// The id.
        id: i32,
        /// Its position in the sequence.
        position: usize,
        /// Tokens of the vocabulary.
        vocab: u32,
    },
    /// More tokens than a sequence has room for.
    #[error("the sequence would have {tokens} tokens, and has room for {capacity}")]
    Capacity {
        /// Tokens it would have.
        tokens: usize,
        /// Tokens it may have.
        capacity: usize,
    },
    /// A prompt of no token.
    #[error("prompt {prompt} has no token")]
    EmptyPrompt {
        /// Which of the prompts, from 0.
        prompt: usize,
    },
    /// The store takes no more.
    #[error(transparent)]
    Store(#[from] KvError),
    /// The device failed.
    #[error(transparent)]
    Device(DeviceError),
}
