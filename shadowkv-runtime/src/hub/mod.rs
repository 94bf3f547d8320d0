//! Models that are fetched: by their hub id, or the default one.
//!
//! | what | by |
//! | --- | --- |
//! | `owner/name` of a Hugging Face hub, into that hub's own cache | [`HubOptions::fetch`] |
//! | the small model that is used when none is given, into our cache | [`default_model`] |
//!
//! `HF_HOME`, `HF_ENDPOINT` and `HF_TOKEN` mean what they mean to the hub's other programs.

pub mod default_model;
mod error;
mod fetch;
mod id;

use std::ffi::OsString;
use std::path::PathBuf;

use etcetera::BaseStrategy;

pub use error::HubError;
pub use fetch::HubProgress;
pub use id::{HubId, NotAnId};

/// `HF_HOME`: folder of the hub's cache and of the token.
pub const HOME: &str = "HF_HOME";
/// `HF_ENDPOINT`: address of the hub.
pub const ENDPOINT: &str = "HF_ENDPOINT";
/// `HF_TOKEN`: who asks.
pub const TOKEN: &str = "HF_TOKEN";

/// Where the hub and its cache are.
#[derive(Clone, Default)]
pub struct HubOptions {
    /// Folder of the hub's cache (`HF_HOME`, else `~/.cache/huggingface`); `None` where there is no home folder.
    pub home: Option<PathBuf>,
    /// Address of the hub, unless it is the usual one.
    pub endpoint: Option<String>,
    /// Who asks; else the token file in `home`.
    pub token: Option<String>,
    /// Nothing may be downloaded: the cache has it or nobody.
    pub offline: bool,
}

impl std::fmt::Debug for HubOptions {
    /// Without the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HubOptions")
            .field("home", &self.home)
            .field("endpoint", &self.endpoint)
            .field("offline", &self.offline)
            .finish_non_exhaustive()
    }
}

impl HubOptions {
    /// What the process environment says; `offline` comes from ours.
    pub fn from_environment(offline: bool) -> HubOptions {
        HubOptions::from_lookup(|name| std::env::var_os(name), offline)
    }

    /// The same from any source of variables.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<OsString>, offline: bool) -> HubOptions {
        let set = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let text = |name: &str| set(name).and_then(|value| value.into_string().ok());
        let usual = || {
            let home = etcetera::choose_base_strategy().ok()?;
            Some(home.cache_dir().join("huggingface"))
        };
        HubOptions {
            home: set(HOME).map(PathBuf::from).or_else(usual),
            endpoint: text(ENDPOINT).map(|endpoint| endpoint.trim_end_matches('/').to_owned()),
            token: text(TOKEN).map(|token| token.trim().to_owned()),
            offline,
        }
    }
}
