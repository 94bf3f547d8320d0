//! Why weights cannot be read.

use std::io;
use std::path::PathBuf;

/// Why weights cannot be read. The file is named, and the tensor where it is one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// The file cannot be opened or mapped.
    #[error("cannot read weights `{}`: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The folder holds no weights.
    #[error("`{}` holds no weights: it has neither {}", folder.display(), wanted.join(" nor "))]
    NoWeights {
        /// The folder.
        folder: PathBuf,
        /// Names looked for.
        wanted: Vec<&'static str>,
    },
    /// The file's head is damaged, or it is no such file at all.
    #[error("`{}` is no valid {format} file: {reason}", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// `safetensors`, `GGUF` or `safetensors index`.
        format: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The file ends before a tensor does.
    #[error(
        "`{}` is truncated: tensor `{tensor}` ends at byte {needed}, the file has {found} bytes; fetch it again",
        path.display()
    )]
    Truncated {
        /// The file.
        path: PathBuf,
        /// The first tensor that is not whole.
        tensor: String,
        /// Bytes of the file that would hold it.
        needed: u64,
        /// Bytes of the file.
        found: u64,
    },
    /// There is no tensor of that name.
    #[error("`{}` has no tensor `{tensor}`", path.display())]
    Missing {
        /// The file, or the index of several.
        path: PathBuf,
        /// The name asked for.
        tensor: String,
    },
    /// The elements are of a type that is not read.
    #[error("`{}`: tensor `{tensor}` has elements of type {found}; {allowed} are read", path.display())]
    Type {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its type.
        found: String,
        /// The types that are read.
        allowed: &'static str,
    },
    /// What the file says of a tensor cannot be.
    #[error("`{}`: tensor `{tensor}` {reason}", path.display())]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// What is wrong, to be read after the name.
        reason: String,
    },
}
