//! Why a model cannot be opened.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::hub::HubError;
use crate::manifest::ManifestError;
use crate::spec::SpecError;
use crate::spec::import::ImportError;
use crate::tokenizer::TokenizerError;
use crate::weights::WeightsError;
use crate::wheel::WheelError;

/// Why a model cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// What was given is no model.
    #[error(
        "no model `{locator}`: it is neither a folder, nor a .gguf file, nor a hub id such as `owner/name`, `owner/name@revision` or `owner/name/file.gguf`"
    )]
    NoModel {
        /// What was given.
        locator: String,
    },
    /// A file of the model cannot be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A JSON file of the model is damaged.
    #[error("`{}`: {reason}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A folder without a config.
    #[error("`{}` has no config.json to make a spec from: give one with --spec", folder.display())]
    NoConfig {
        /// The folder.
        folder: PathBuf,
    },
    /// A GGUF file whose metadata does not make a spec.
    #[error("`{}` does not tell its whole spec: {reason}; give one with --spec", path.display())]
    GgufSpec {
        /// The file.
        path: PathBuf,
        /// What is missing or not understood.
        reason: String,
    },
    /// A GGUF file whose tensors may be laid out in a way that is not known.
    #[error(
        "`{}` holds a model of architecture `{architecture}`, whose layout is not known; known: {}",
        path.display(), known.join(", ")
    )]
    Architecture {
        /// The file.
        path: PathBuf,
        /// What it says.
        architecture: String,
        /// What would do.
        known: &'static [&'static str],
    },
    /// The spec has no `decoder:` block.
    #[error(
        "spec `{name}` has no `decoder:` block: without it there are attention kernels, but no model"
    )]
    NoDecoder {
        /// Name of the spec.
        name: String,
    },
    /// Tensors that the spec demands are not there.
    #[error("`{}` lacks {}", path.display(), Names(tensors, "that the spec demands"))]
    Missing {
        /// The file.
        path: PathBuf,
        /// All of them.
        tensors: Vec<String>,
    },
    /// Tensors have other shapes than the spec says.
    #[error("`{}` does not fit the spec:{}", path.display(), Mismatches(mismatches))]
    Shapes {
        /// The file.
        path: PathBuf,
        /// All of them.
        mismatches: Vec<Mismatch>,
    },
    /// Tensors that no part of the spec's decoder reads: to pass over them would be another model.
    #[error("`{}` has {}", path.display(), Names(tensors, "that the spec has no place for"))]
    Unread {
        /// The file.
        path: PathBuf,
        /// All of them.
        tensors: Vec<String>,
    },
    /// The model has no tokenizer.
    #[error("`{}` has no tokenizer (tokenizer.json, or a vocabulary inside a GGUF file): text cannot become tokens", path.display())]
    NoTokenizer {
        /// The model.
        path: PathBuf,
    },
    /// The model has no chat template.
    #[error("`{}` has no chat template: give a plain prompt", path.display())]
    NoChatTemplate {
        /// The model.
        path: PathBuf,
    },
    /// The spec is invalid.
    #[error("{}", .0.render(false))]
    Spec(#[from] SpecError),
    /// The config makes no spec.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// The package's manifest cannot be read.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The weights cannot be read.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The tokenizer or the chat template cannot be used.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The hub does not give the model.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// The default model cannot be fetched.
    #[error(transparent)]
    Wheel(#[from] WheelError),
}

/// A tensor whose shape is not the spec's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// Its name.
    pub tensor: String,
    /// The shape the spec demands.
    pub expected: Vec<usize>,
    /// The shape it has.
    pub found: Vec<usize>,
}

/// Lines of a message at most.
const SHOWN: usize = 8;

/// How many tensors, and the first of them.
struct Names<'a>(&'a [String], &'static str);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Names(tensors, what) = self;
        let plural = if tensors.len() == 1 { "" } else { "s" };
        write!(f, "{} tensor{plural} {what}:", tensors.len())?;
        for tensor in tensors.iter().take(SHOWN) {
            write!(f, "\n  `{tensor}`")?;
        }
        more(f, tensors.len())
    }
}

struct Mismatches<'a>(&'a [Mismatch]);

impl fmt::Display for Mismatches<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Mismatch {
            tensor,
            expected,
            found,
        } in self.0.iter().take(SHOWN)
        {
            write!(
                f,
                "\n  `{tensor}`: the spec demands {expected:?}, the file has {found:?}"
            )?;
        }
        more(f, self.0.len())
    }
}

fn more(f: &mut fmt::Formatter<'_>, count: usize) -> fmt::Result {
    match count.saturating_sub(SHOWN) {
        0 => Ok(()),
        more => write!(f, "\n  and {more} more"),
    }
}
