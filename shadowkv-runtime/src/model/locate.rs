//! What the text behind `--model` means.

use std::fmt;
use std::path::{Path, PathBuf};

use super::ModelError;
use crate::hub::HubId;

/// Where a model is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Locator {
    /// A folder.
    Folder(PathBuf),
    /// A GGUF file.
    Gguf(PathBuf),
    /// A model on a hub.
    Hub(HubId),
}

impl Locator {
    /// What is there on the disk comes first.
    ///
    /// # Errors
    ///
    /// [`ModelError::NoModel`].
    pub fn new(text: &str) -> Result<Locator, ModelError> {
        let path = Path::new(text);
        if path.is_dir() {
            return Ok(Locator::Folder(path.to_owned()));
        }
        if path.is_file() && path.extension().is_some_and(|end| end == "gguf") {
            return Ok(Locator::Gguf(path.to_owned()));
        }
        let id = if path.exists() {
            None
        } else {
            text.parse().ok()
        };
        id.map(Locator::Hub).ok_or_else(|| ModelError::NoModel {
            locator: text.to_owned(),
        })
    }
}

impl fmt::Display for Locator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Locator::Folder(path) | Locator::Gguf(path) => path.display().fmt(f),
            Locator::Hub(id) => id.fmt(f),
        }
    }
}
