//! What a search has found, place by place.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use crate::nvrtc::library::LoadError;

/// Every place looked at, in order, and what was chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Discovery {
    /// The places.
    pub places: Vec<Place>,
    /// The library in use; absent when none works.
    pub chosen: Option<Candidate>,
}

/// A library that works.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Candidate {
    /// How it was found.
    pub source: Source,
    /// The library.
    pub library: PathBuf,
    /// Its builtins, preloaded.
    pub builtins: PathBuf,
    /// Major and minor version it reports.
    pub version: (i32, i32),
}

/// One place and its outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// Why it was looked at.
    pub source: Source,
    /// Folder or library; absent where there is none to name.
    pub path: Option<PathBuf>,
    /// What was found.
    pub outcome: Outcome,
}

/// Why a place is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Source {
    /// `SHADOWKV_NVRTC`.
    Variable,
    /// `CUDA_HOME`.
    CudaHome,
    /// `CUDA_PATH`.
    CudaPath,
    /// A folder of `LD_LIBRARY_PATH`.
    LoaderPath,
    /// The loader, asked by name.
    Loader,
    /// Python's `site-packages`.
    Python,
    /// Our cache.
    Cache,
}

/// What was found at a place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
#[non_exhaustive]
pub enum Outcome {
    /// The variable is not set.
    NotSet,
    /// No such file or folder.
    Absent,
    /// A folder without NVRTC.
    Nothing,
    /// A folder that cannot be read.
    Unreadable {
        /// What the system says.
        reason: String,
    },
    /// The loader finds nothing of that name, or nothing it can load.
    LoaderRefused {
        /// What the loader says.
        reason: String,
    },
    /// An interpreter that tells nothing.
    Python {
        /// Which, and why.
        trouble: String,
    },
    /// A library that cannot be used.
    Rejected {
        /// Why not.
        reason: Rejection,
    },
    /// The loader names a library that this program has loaded itself, from another place.
    AlreadyLoaded,
    /// A library that looks right and is not needed.
    Spare,
    /// The library in use.
    Chosen {
        /// Major and minor version it reports.
        version: (i32, i32),
    },
}

/// Why a library cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case", tag = "kind")]
#[non_exhaustive]
pub enum Rejection {
    /// It cannot be read.
    #[error("cannot be read: {reason}")]
    Unreadable {
        /// What the system says.
        reason: String,
    },
    /// It is no shared library of 64 bits.
    #[error("is no 64-bit ELF library ({reason})")]
    NotElf {
        /// What is wrong with its header.
        reason: String,
    },
    /// It ends before its contents do.
    #[error("is cut off: {actual} bytes of at least {needed}")]
    Truncated {
        /// Bytes its headers speak of.
        needed: u64,
        /// Bytes there are.
        actual: u64,
    },
    /// It is for another kind of processor.
    #[error("is for {found}, this program is for {wanted}")]
    Machine {
        /// Processor of the library.
        found: String,
        /// Processor of this program.
        wanted: String,
    },
    /// It is of a CUDA major that we do not drive.
    #[error("is NVRTC {major}.{minor}; versions 12 and 13 can be used")]
    Version {
        /// Its major version.
        major: i32,
        /// Its minor version.
        minor: i32,
    },
    /// Its builtins are not beside it.
    #[error("has no `{wanted}` beside it; both files of one version belong in one folder")]
    NoBuiltins {
        /// Name of the missing file.
        wanted: String,
    },
    /// It lacks a function.
    #[error("has no function `{symbol}`")]
    Symbol {
        /// The function.
        symbol: String,
    },
    /// The loader or the library itself refuses.
    #[error("cannot be loaded: {reason}")]
    Load {
        /// What the loader says.
        reason: String,
    },
    /// A copy of ours that has changed.
    #[error("is damaged: {damage}")]
    Damaged {
        /// Which file, and how.
        damage: String,
    },
}

impl From<LoadError> for Rejection {
    fn from(error: LoadError) -> Rejection {
        match error {
            LoadError::Symbol(symbol) => Rejection::Symbol {
                symbol: symbol.to_owned(),
            },
            LoadError::Refused(reason) => Rejection::Load { reason },
            LoadError::Call(error) => Rejection::Load {
                reason: error.to_string(),
            },
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Source::Variable => "SHADOWKV_NVRTC",
            Source::CudaHome => "CUDA_HOME",
            Source::CudaPath => "CUDA_PATH",
            Source::LoaderPath => "LD_LIBRARY_PATH",
            Source::Loader => "loader",
            Source::Python => "Python",
            Source::Cache => "cache",
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::NotSet => f.write_str("not set"),
            Outcome::Absent => f.write_str("does not exist"),
            Outcome::Nothing => f.write_str("no NVRTC in it"),
            Outcome::Unreadable { reason } => write!(f, "cannot be read: {reason}"),
            Outcome::LoaderRefused { reason } => write!(f, "not found ({reason})"),
            Outcome::Python { trouble } => f.write_str(trouble),
            Outcome::Rejected { reason } => reason.fmt(f),
            Outcome::AlreadyLoaded => f.write_str("loaded by ourselves before, from its own place"),
            Outcome::Spare => f.write_str("usable, not needed"),
            Outcome::Chosen { version } => write!(f, "NVRTC {}.{}, in use", version.0, version.1),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => write!(f, "{}: `{}` {}", self.source, path.display(), self.outcome),
            None => write!(f, "{}: {}", self.source, self.outcome),
        }
    }
}

impl fmt::Display for Discovery {
    /// One line a place.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, place) in self.places.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "  {place}")?;
        }
        Ok(())
    }
}
