//! Why the hub does not give a model.

use std::path::PathBuf;

use super::HubId;
use crate::env;

/// Why the hub does not give a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// There is no home folder, so no cache.
    #[error(
        "no home folder, so no cache of hub models: set {} to a folder of yours",
        super::HOME
    )]
    NoHome,
    /// Downloads are forbidden, and the cache does not have it.
    #[error(
        "downloads are off ({} or --offline), and `{id}` is not in the cache `{}`: allow them once, or give the folder of a copy",
        env::OFFLINE, cache.display()
    )]
    Offline {
        /// The model.
        id: HubId,
        /// The cache.
        cache: PathBuf,
    },
    /// The hub has no such model, or shows it to others only.
    #[error(
        "the hub has no model `{id}` for us (status {status}): check its name; if it is private or gated, set {} to a token that may read it",
        super::TOKEN
    )]
    Refused {
        /// The model.
        id: HubId,
        /// Status of the answer.
        status: u16,
    },
    /// The hub cannot be reached, or does not answer as one.
    #[error(
        "`{file}` of `{id}` cannot be fetched: {reason}; check network, proxy and {}",
        super::ENDPOINT
    )]
    Fetch {
        /// The model.
        id: HubId,
        /// What was being fetched.
        file: String,
        /// What went wrong.
        reason: String,
    },
    /// The model has no file that we read.
    #[error("`{id}` has no weights that are read (safetensors, or a .gguf file named as `{id}/file.gguf`); it has: {}", files.join(", "))]
    NoWeights {
        /// The model.
        id: HubId,
        /// Names of its files.
        files: Vec<String>,
    },
    /// A file came, but it is not whole.
    #[error("`{}` has {found} bytes where the hub told of {expected}: it was removed, try again", path.display())]
    Size {
        /// The file.
        path: PathBuf,
        /// Size by the hub's word.
        expected: u64,
        /// Size it has.
        found: u64,
    },
    /// The index of the shards cannot be read.
    #[error("`{}` is no index of shards: {reason}", path.display())]
    Index {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}
