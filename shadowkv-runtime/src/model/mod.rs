//! Models: spec, weights, tokenizer and chat template, from wherever they are.
//!
//! ```no_run
//! use shadowkv_runtime::model::{Model, ModelOptions};
//!
//! let options = ModelOptions::from_environment();
//! let model = Model::open(Some("path/to/model"), &options, &|step| eprintln!("{step}"))?;
//! let prompt = model.tokenizer()?.encode("Once upon a time", true)?;
//! println!("{} layers, {} tokens", model.weights.layers.len(), prompt.len());
//! # Ok::<(), shadowkv_runtime::model::ModelError>(())
//! ```

mod error;
mod gguf;
mod locate;
mod names;
mod open;
mod synthetic;
mod weights;

use std::fmt;
use std::path::{Path, PathBuf};

pub use error::{Mismatch, ModelError};
pub use locate::Locator;
pub use weights::{LayerWeights, ModelWeights};

use crate::cache::Cache;
use crate::env::Environment;
use crate::hub::{HubOptions, HubProgress};
use crate::spec::import::ImportOptions;
use crate::spec::{Override, Spec};
use crate::tokenizer::{ChatTemplate, Tokenizer};
use crate::wheel::{InstallOptions, Progress};

/// How to open a model.
#[derive(Clone, Debug, Default)]
pub struct ModelOptions {
    /// Where the spec is, unless the model tells it.
    pub spec: Option<SpecSource>,
    /// Fields of the spec to set.
    pub overrides: Vec<Override>,
    /// How to make a spec of what the model tells.
    pub import: ImportOptions,
    /// Where the hub is.
    pub hub: HubOptions,
    /// Our cache; `None` where there is no home folder.
    pub cache: Option<Cache>,
    /// How to fetch the default model.
    pub install: InstallOptions,
}

impl ModelOptions {
    /// What the process environment asks for.
    pub fn from_environment() -> ModelOptions {
        let environment = Environment::read();
        ModelOptions {
            hub: HubOptions::from_environment(environment.offline),
            cache: Cache::locate(environment.cache_dir.as_deref()).ok(),
            install: InstallOptions {
                offline: environment.offline,
                ..InstallOptions::default()
            },
            ..ModelOptions::default()
        }
    }

    /// The same with downloads forbidden, as `--offline` does; `false` changes nothing.
    #[must_use]
    pub fn offline(mut self, offline: bool) -> ModelOptions {
        self.install.offline |= offline;
        self.hub.offline |= offline;
        self
    }
}

/// Where a spec is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpecSource {
    /// A YAML file, a package's `manifest.json`, or the package's folder.
    Path(PathBuf),
    /// The YAML itself.
    Text(String),
}

/// A step of opening, worth telling the user.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenProgress {
    /// The default model is fetched.
    Install(Progress),
    /// A hub's model is fetched.
    Download(HubProgress),
}

impl fmt::Display for OpenProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenProgress::Install(step) => step.fmt(f),
            OpenProgress::Download(step) => step.fmt(f),
        }
    }
}

/// A model, its weights still in their files.
#[derive(Debug)]
pub struct Model {
    /// Its folder or file.
    pub path: PathBuf,
    /// Its spec, which has a decoder.
    pub spec: Spec,
    /// Its weights, which fit the spec.
    pub weights: ModelWeights,
    /// Tokens that end a generation: the spec's, and those by which the model's other files end a turn.
    pub eos_tokens: Vec<u32>,
    /// What a person should know.
    pub warnings: Vec<String>,
    tokenizer: Option<Tokenizer>,
    chat_template: Option<ChatTemplate>,
}

impl Model {
    /// Opens the model that `locator` names: a folder, a `.gguf` file or a hub id; without one the default model.
    ///
    /// # Errors
    ///
    /// Whatever is missing, damaged or contradictory, by name.
    pub fn open(
        locator: Option<&str>,
        options: &ModelOptions,
        progress: &(dyn Fn(&OpenProgress) + Sync),
    ) -> Result<Model, ModelError> {
        open::open(locator, options, progress)
    }

    /// The tokenizer.
    ///
    /// # Errors
    ///
    /// [`ModelError::NoTokenizer`].
    pub fn tokenizer(&self) -> Result<&Tokenizer, ModelError> {
        self.tokenizer
            .as_ref()
            .ok_or_else(|| ModelError::NoTokenizer {
                path: self.path.clone(),
            })
    }

    /// The chat template.
    ///
    /// # Errors
    ///
    /// [`ModelError::NoChatTemplate`].
    pub fn chat_template(&self) -> Result<&ChatTemplate, ModelError> {
        self.chat_template
            .as_ref()
            .ok_or_else(|| ModelError::NoChatTemplate {
                path: self.path.clone(),
            })
    }

    /// Whether it has a tokenizer, and a chat template.
    pub fn has_text(&self) -> (bool, bool) {
        (self.tokenizer.is_some(), self.chat_template.is_some())
    }

    /// Its folder or file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}
