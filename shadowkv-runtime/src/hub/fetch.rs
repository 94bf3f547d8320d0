//! From a hub id to a folder of files.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex};

use hf_hub::api::Progress;
use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, Repo, RepoType};
use serde::Deserialize;

use super::{HubError, HubId, HubOptions};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// Beside the weights, what of it there is.
const COMPANIONS: [&str; 5] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
];

/// How far a download is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubProgress {
    /// The file.
    pub file: String,
    /// Bytes that are here.
    pub done: u64,
    /// Bytes it has.
    pub total: u64,
}

impl fmt::Display for HubProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let megabytes = |bytes: u64| bytes as f64 / 1e6;
        write!(
            f,
            "downloading {} ({:.1} of {:.1} MB)",
            self.file,
            megabytes(self.done),
            megabytes(self.total)
        )
    }
}

impl HubOptions {
    /// Fetches what of the model is not in the cache yet; its folder, or its GGUF file where one is named.
    ///
    /// What is in the cache is taken as it is; a hub is asked only for the rest.
    ///
    /// # Errors
    ///
    /// [`HubError`]; each kind says what to do.
    pub fn fetch(
        &self,
        id: &HubId,
        progress: &(dyn Fn(&HubProgress) + Sync),
    ) -> Result<PathBuf, HubError> {
        let home = self.home.as_ref().ok_or(HubError::NoHome)?;
        let cache = Cache::new(home.join("hub"));
        let fetch = Fetch {
            id,
            options: self,
            cache,
            progress,
        };
        if let Some(file) = &id.file {
            return fetch.file(file);
        }
        if let Some(folder) = fetch.cached() {
            return Ok(folder);
        }
        fetch.folder()
    }
}

struct Fetch<'a> {
    id: &'a HubId,
    options: &'a HubOptions,
    cache: Cache,
    progress: &'a (dyn Fn(&HubProgress) + Sync),
}

/// The names of shards.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Fetch<'_> {
    fn repo(&self) -> Repo {
        match &self.id.revision {
            Some(revision) => {
                Repo::with_revision(self.id.repo.clone(), RepoType::Model, revision.clone())
            }
            None => Repo::new(self.id.repo.clone(), RepoType::Model),
        }
    }

    fn in_cache(&self, file: &str) -> Option<PathBuf> {
        self.cache.repo(self.repo()).get(file)
    }

    /// The folder, if config and weights are all there.
    fn cached(&self) -> Option<PathBuf> {
        let config = self.in_cache("config.json")?;
        let folder = config.parent()?.to_owned();
        if folder.join(SINGLE).exists() {
            return Some(folder);
        }
        let shards = shards(&folder.join(INDEX)).ok()?;
        shards
            .iter()
            .all(|shard| folder.join(shard).exists())
            .then_some(folder)
    }

    /// One file, from the cache or the hub.
    fn file(&self, file: &str) -> Result<PathBuf, HubError> {
        match self.in_cache(file) {
            Some(path) => Ok(path),
            None => self.download(&self.api()?.repo(self.repo()), file),
        }
    }

    fn folder(&self) -> Result<PathBuf, HubError> {
        let repo = self.api()?.repo(self.repo());
        let info = repo
            .info()
            .map_err(|error| self.failed("list of files", &error))?;
        let names: BTreeSet<String> = info
            .siblings
            .into_iter()
            .map(|file| file.rfilename)
            .collect();
        let weights = [SINGLE, INDEX]
            .into_iter()
            .find(|name| names.contains(*name));
        let weights = match (weights, only_gguf(&names)) {
            (Some(weights), _) => weights,
            (None, Some(gguf)) => gguf,
            (None, None) => {
                return Err(HubError::NoWeights {
                    id: self.id.clone(),
                    files: names.into_iter().collect(),
                });
            }
        };
        let get = |file: &str| match self.in_cache(file) {
            Some(path) => Ok(path),
            None => self.download(&repo, file),
        };
        for name in COMPANIONS.iter().filter(|name| names.contains(**name)) {
            get(name)?;
        }
        let path = get(weights)?;
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        if weights == INDEX {
            let shards = shards(&path).map_err(|reason| HubError::Index {
                path: path.clone(),
                reason,
            })?;
            for shard in &shards {
                get(shard)?;
            }
        }
        Ok(if is_gguf(&path) { path } else { folder })
    }

    /// A client; an error where nothing may be downloaded.
    fn api(&self) -> Result<Api, HubError> {
        if self.options.offline {
            return Err(HubError::Offline {
                id: self.id.clone(),
                cache: self.cache.path().clone(),
            });
        }
        let mut builder = ApiBuilder::from_cache(self.cache.clone())
            .with_progress(false)
            .with_retries(2);
        if let Some(endpoint) = &self.options.endpoint {
            builder = builder.with_endpoint(endpoint.clone());
        }
        if let Some(token) = &self.options.token {
            builder = builder.with_token(Some(token.clone()));
        }
        builder
            .build()
            .map_err(|error| self.failed("client", &error))
    }

    fn download(&self, repo: &ApiRepo, file: &str) -> Result<PathBuf, HubError> {
        let total = Arc::new(Mutex::new(0));
        let watched = Watched {
            file: file.to_owned(),
            done: 0,
            total: Arc::clone(&total),
            progress: self.progress,
        };
        let path = repo.download_with_progress(file, watched);
        let path = path.map_err(|error| self.failed(file, &error))?;
        // A connection that ends early is no error to the library.
        let expected = total.lock().map_or(0, |total| *total);
        let found = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
        if expected != found {
            remove(&path);
            return Err(HubError::Size {
                path,
                expected,
                found,
            });
        }
        Ok(path)
    }

    fn failed(&self, file: &str, error: &ApiError) -> HubError {
        let id = self.id.clone();
        if let ApiError::RequestError(request) = error
            && let ureq::Error::StatusCode(status @ (401 | 403 | 404)) = **request
        {
            return HubError::Refused { id, status };
        }
        HubError::Fetch {
            id,
            file: file.to_owned(),
            reason: error.to_string(),
        }
    }
}

/// The GGUF file of a model that has but one.
fn only_gguf(names: &BTreeSet<String>) -> Option<&str> {
    let mut found = names
        .iter()
        .filter(|name| is_gguf(Path::new(name)) && is_inside(name));
    let only = found.next()?;
    found.next().is_none().then_some(only.as_str())
}

fn is_gguf(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "gguf")
}

/// Whether a name stays in the folder it is joined to.
fn is_inside(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    parts.all(|part| matches!(part, Component::Normal(_)))
}

/// The shards an index names; each a file beside it.
fn shards(index: &Path) -> Result<BTreeSet<String>, String> {
    let text = std::fs::read_to_string(index).map_err(|error| error.to_string())?;
    let index: Index = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let shards: BTreeSet<String> = index.weight_map.into_values().collect();
    match shards.iter().find(|shard| !is_inside(shard)) {
        Some(shard) => Err(format!("shard `{shard}` is no file beside it")),
        None => Ok(shards),
    }
}

/// Removes a file of the cache and what it points to.
fn remove(path: &Path) {
    // Best effort: whoever comes next sees that the sizes differ, too.
    if let Ok(blob) = std::fs::canonicalize(path) {
        let _ = std::fs::remove_file(blob);
    }
    let _ = std::fs::remove_file(path);
}

/// Passes on how far a download is.
struct Watched<'a> {
    file: String,
    done: u64,
    total: Arc<Mutex<u64>>,
    progress: &'a (dyn Fn(&HubProgress) + Sync),
}

impl Watched<'_> {
    fn tell(&self) {
        (self.progress)(&HubProgress {
            file: self.file.clone(),
            done: self.done,
            total: self.total.lock().map_or(0, |total| *total),
        });
    }
}

impl Progress for Watched<'_> {
    fn init(&mut self, size: usize, _filename: &str) {
        if let Ok(mut total) = self.total.lock() {
            *total = size as u64;
        }
        // It is called once more when the download itself begins.
        self.done = 0;
    }

    fn update(&mut self, size: usize) {
        self.done += size as u64;
        self.tell();
    }

    fn finish(&mut self) {
        self.tell();
    }
}
