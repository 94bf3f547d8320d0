//! Why files cannot be written or read.

use std::io;
use std::path::{Path, PathBuf};

/// Why a package cannot be written or compared. Whatever it is, no file is half written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutputError {
    /// Something that is no folder stands where a folder must be.
    #[error("`{}` is not a folder: move it away, or choose another --out-dir", path.display())]
    NotAFolder {
        /// The path.
        path: PathBuf,
    },
    /// A folder stands where a file must be.
    #[error("`{}` is a folder where a file belongs: move it away, or choose another --out-dir", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// The place cannot be written to.
    #[error("cannot write to `{}` ({source}): make it writable, or choose another --out-dir", path.display())]
    NotWritable {
        /// The path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file system, or the share of it that is allowed, is full.
    #[error("no space for `{}` ({source}): free some, or choose an --out-dir on another file system", path.display())]
    Full {
        /// The path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Any other failure.
    #[error("cannot {operation} `{}`: {source}", path.display())]
    Io {
        /// What was tried, such as `rename`.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl OutputError {
    /// The error of a failed operation.
    pub(crate) fn new(operation: &'static str, path: &Path, source: io::Error) -> OutputError {
        use io::ErrorKind::{
            FileTooLarge, IsADirectory, NotADirectory, PermissionDenied, QuotaExceeded,
            ReadOnlyFilesystem, StorageFull,
        };
        let path = path.to_owned();
        match source.kind() {
            NotADirectory => OutputError::NotAFolder {
                path: nearest_file(&path),
            },
            IsADirectory => OutputError::NotAFile { path },
            PermissionDenied | ReadOnlyFilesystem => OutputError::NotWritable { path, source },
            StorageFull | QuotaExceeded | FileTooLarge => OutputError::Full { path, source },
            _ => OutputError::Io {
                operation,
                path,
                source,
            },
        }
    }
}

/// The part of a path that is a file and so can have nothing below it.
fn nearest_file(path: &Path) -> PathBuf {
    let found = path.ancestors().find(|part| part.is_file());
    found.unwrap_or(path).to_owned()
}
