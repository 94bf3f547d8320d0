//! Weights of a model as its files hold them.
//!
//! Files are mapped, never copied: a [`Tensor`] points into its file and keeps it mapped.
//!
//! | file | opened by |
//! | --- | --- |
//! | `model.safetensors`, or `model.safetensors.index.json` and its shards | [`Safetensors`] |
//! | `*.gguf` | [`Gguf`] |

use std::fmt;
use std::path::Path;
use std::sync::Arc;

mod convert;
mod dtype;
mod error;
#[cfg(feature = "gguf")]
mod gguf;
#[cfg(feature = "gguf")]
mod map;
#[cfg(feature = "decoder")]
mod safetensors;

pub use convert::ConvertError;
pub use error::WeightsError;
#[cfg(feature = "gguf")]
pub use gguf::{Gguf, Metadata};
#[cfg(feature = "decoder")]
pub use safetensors::Safetensors;

/// Whose names the tensors have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// Those of the published checkpoint.
    Published,
    /// Those of llama.cpp.
    Gguf,
}

/// Files that hold the tensors of one model.
pub trait WeightSource: fmt::Debug + Send + Sync {
    /// What messages call it: the file, or the index of several.
    fn path(&self) -> &Path;

    /// Whose names the tensors have.
    fn naming(&self) -> Naming;

    /// Names of all tensors, sorted.
    fn names(&self) -> Vec<&str>;

    /// The tensor called `name`.
    ///
    /// # Errors
    ///
    /// There is none, or it cannot be used; the file and the tensor are named.
    fn tensor(&self, name: &str) -> Result<Tensor, WeightsError>;
}

/// How the elements of a tensor are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WeightType {
    /// IEEE binary32.
    F32,
    /// IEEE binary16.
    F16,
    /// bfloat16.
    Bf16,
    /// A block format of GGML, along the rows of a matrix. Needs the feature `gguf`.
    #[cfg(feature = "gguf")]
    Ggml(candle_core::quantized::GgmlDType),
}

/// A tensor, or rows of one, in memory that somebody else keeps: a mapped file, as a rule.
#[derive(Clone)]
pub struct Tensor {
    /// Its name in the file.
    pub name: String,
    /// How its elements are stored.
    pub dtype: WeightType,
    /// Extents, the slowest first: `[rows, columns]` or `[elements]`.
    pub shape: Vec<usize>,
    /// The elements, row after row.
    pub data: Bytes,
    /// For each row, which row of `data` it is; in order unless given.
    pub row_order: Option<Arc<[u32]>>,
}

/// Bytes of a file or of memory, kept alive as long as anybody looks at them.
#[derive(Clone)]
pub struct Bytes {
    owner: Arc<dyn AsRef<[u8]> + Send + Sync>,
    begin: usize,
    end: usize,
}

impl Bytes {
    /// `begin..end` of what `owner` holds; empty if there is no such range.
    pub fn new(owner: Arc<dyn AsRef<[u8]> + Send + Sync>, begin: usize, end: usize) -> Bytes {
        Bytes { owner, begin, end }
    }
}

impl std::ops::Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        (*self.owner)
            .as_ref()
            .get(self.begin..self.end)
            .unwrap_or_default()
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tensor")
            .field("name", &self.name)
            .field("dtype", &self.dtype)
            .field("shape", &self.shape)
            .finish_non_exhaustive()
    }
}
