//! Where NVRTC is, and why each other place was passed over.
//!
//! The order: `SHADOWKV_NVRTC`, `CUDA_HOME`, `CUDA_PATH`, the loader's path, Python's
//! `site-packages`, our own cache. The first library that loads and has its builtins beside it is
//! taken; every place looked at until then is in the report with what was found there.

mod elf;
mod folder;
mod python;
mod report;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

pub use python::PythonSearch;
pub use report::{Candidate, Discovery, Outcome, Place, Rejection, Source};

use self::folder::Found;
use super::library::{Api, LoadError, Loaded};
use super::wheel;
use crate::cache::Cache;
use crate::env::Environment;

/// CUDA majors whose NVRTC we drive, in order of preference where a folder holds several: every
/// driver since 525 loads what 12 writes, only those since 580 what 13 writes.
pub const MAJORS: [i32; 2] = [12, 13];

/// Where to look. Every field is a value, so a search depends on nothing global but the file system
/// and, with `loader`, the libraries the process has loaded.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// `SHADOWKV_NVRTC`: library or folder. When given, nothing else is looked at.
    pub explicit: Option<PathBuf>,
    /// `CUDA_HOME`.
    pub cuda_home: Option<PathBuf>,
    /// `CUDA_PATH`.
    pub cuda_path: Option<PathBuf>,
    /// Folders of `LD_LIBRARY_PATH`.
    pub library_path: Vec<PathBuf>,
    /// Whether the loader is asked for `libnvrtc.so.12` and `.13` by name.
    pub loader: bool,
    /// Python interpreters and environments.
    pub python: PythonSearch,
    /// Our cache; absent when there is none.
    pub cache: Option<Cache>,
    /// Whether to look on after a library was chosen, without loading what else there is.
    pub thorough: bool,
}

impl Search {
    /// The search that an environment asks for.
    pub fn from_environment(environment: &Environment, cache: Option<Cache>) -> Search {
        Search {
            explicit: environment.nvrtc.clone(),
            cuda_home: environment.cuda_home.clone(),
            cuda_path: environment.cuda_path.clone(),
            library_path: environment.library_path.clone(),
            loader: true,
            python: PythonSearch::from_environment(environment),
            cache,
            thorough: false,
        }
    }
}

/// Looks for NVRTC. The chosen library is loaded and stays so.
pub fn discover(search: &Search) -> Discovery {
    discover_api(search).0
}

/// The same, with the functions of the chosen library.
pub(crate) fn discover_api(search: &Search) -> (Discovery, Option<Api>) {
    let mut scan = Scan {
        thorough: search.thorough,
        places: Vec::new(),
        chosen: None,
    };
    if let Some(path) = &search.explicit {
        scan.explicit(path);
        // The user named one: falling through to another would be a silent lie.
        return scan.finish();
    }
    for (source, root) in [
        (Source::CudaHome, &search.cuda_home),
        (Source::CudaPath, &search.cuda_path),
    ] {
        let Some(root) = root else {
            scan.note(source, None, Outcome::NotSet);
            continue;
        };
        for part in ["lib64", "lib", TARGET_LIB] {
            scan.folder(source, &root.join(part));
        }
    }
    for folder in &search.library_path {
        scan.folder(Source::LoaderPath, folder);
    }
    if search.loader {
        scan.loader();
    }
    if scan.goes_on() {
        for found in search.python.site_packages() {
            match found {
                Ok(site) => scan.site_packages(&site),
                Err(trouble) => scan.note(Source::Python, None, Outcome::Python { trouble }),
            }
        }
    }
    if let Some(cache) = &search.cache {
        scan.cache(cache);
    }
    scan.finish()
}

const TARGET_LIB: &str = if cfg!(target_arch = "aarch64") {
    "targets/sbsa-linux/lib"
} else {
    "targets/x86_64-linux/lib"
};

struct Scan {
    thorough: bool,
    places: Vec<Place>,
    chosen: Option<(Candidate, Api)>,
}

impl Scan {
    fn goes_on(&self) -> bool {
        self.thorough || self.chosen.is_none()
    }

    fn finish(self) -> (Discovery, Option<Api>) {
        let (chosen, api) = self.chosen.unzip();
        let discovery = Discovery {
            places: self.places,
            chosen,
        };
        (discovery, api)
    }

    fn note(&mut self, source: Source, path: Option<PathBuf>, outcome: Outcome) {
        if self.goes_on() {
            self.places.push(Place {
                source,
                path,
                outcome,
            });
        }
    }

    fn explicit(&mut self, path: &Path) {
        let source = Source::Variable;
        if path.is_dir() {
            self.folder(source, path);
        } else if path.is_file() {
            self.library(source, path);
        } else {
            self.note(source, Some(path.to_owned()), Outcome::Absent);
        }
    }

    /// Tries every NVRTC in a folder until one works.
    fn folder(&mut self, source: Source, folder: &Path) {
        if !self.goes_on() {
            return;
        }
        match folder::libraries(folder) {
            Found::NoFolder => self.note(source, Some(folder.to_owned()), Outcome::Absent),
            Found::Unreadable(reason) => {
                let outcome = Outcome::Unreadable { reason };
                self.note(source, Some(folder.to_owned()), outcome);
            }
            Found::Libraries(libraries) if libraries.is_empty() => {
                self.note(source, Some(folder.to_owned()), Outcome::Nothing);
            }
            Found::Libraries(libraries) => {
                for library in libraries {
                    self.library(source, &library);
                }
            }
        }
    }

    fn library(&mut self, source: Source, library: &Path) {
        if !self.goes_on() {
            return;
        }
        // A bare file name would send the loader off to search for it.
        let library = &std::path::absolute(library).unwrap_or_else(|_| library.to_owned());
        let outcome = match folder::inspect(library) {
            Err(reason) => Outcome::Rejected { reason },
            Ok(()) if self.chosen.is_some() => Outcome::Spare,
            Ok(()) => match load(library, library) {
                Ok((version, builtins, api)) => {
                    remember(library);
                    self.choose(source, library, version, builtins, api)
                }
                Err(reason) => Outcome::Rejected { reason },
            },
        };
        self.note_even_if_chosen(source, library, outcome);
    }

    fn choose(
        &mut self,
        source: Source,
        library: &Path,
        version: (i32, i32),
        builtins: PathBuf,
        api: Api,
    ) -> Outcome {
        let candidate = Candidate {
            source,
            library: library.to_owned(),
            builtins,
            version,
        };
        self.chosen = Some((candidate, api));
        Outcome::Chosen { version }
    }

    fn note_even_if_chosen(&mut self, source: Source, path: &Path, outcome: Outcome) {
        self.places.push(Place {
            source,
            path: Some(path.to_owned()),
            outcome,
        });
    }

    /// Asks the loader by name, as any other program would.
    fn loader(&mut self) {
        for major in MAJORS {
            if self.chosen.is_some() {
                return;
            }
            let name = PathBuf::from(format!("libnvrtc.so.{major}"));
            let loaded = match Loaded::open(&name) {
                Ok(loaded) => loaded,
                Err(LoadError::Refused(reason)) => {
                    self.note(
                        Source::Loader,
                        Some(name),
                        Outcome::LoaderRefused { reason },
                    );
                    continue;
                }
                Err(error) => {
                    let reason = Rejection::from(error);
                    self.note(Source::Loader, Some(name), Outcome::Rejected { reason });
                    continue;
                }
            };
            let library = loaded.actual_path().unwrap_or_else(|| name.clone());
            if is_ours(&library) {
                self.note(Source::Loader, Some(library), Outcome::AlreadyLoaded);
                continue;
            }
            let outcome = match keep(loaded, &library) {
                Ok((version, builtins, api)) => {
                    self.choose(Source::Loader, &library, version, builtins, api)
                }
                Err(reason) => Outcome::Rejected { reason },
            };
            self.note_even_if_chosen(Source::Loader, &library, outcome);
        }
    }

    fn site_packages(&mut self, site: &Path) {
        let folders = folder::of_site_packages(site);
        if folders.is_empty() {
            self.note(Source::Python, Some(site.to_owned()), Outcome::Nothing);
        }
        for folder in folders {
            self.folder(Source::Python, &folder);
        }
    }

    fn cache(&mut self, cache: &Cache) {
        if !self.goes_on() {
            return;
        }
        let Some(wheel) = wheel::pinned() else {
            return;
        };
        let folder = wheel.folder_in(cache);
        if !folder.is_dir() {
            return self.note(Source::Cache, Some(folder), Outcome::Absent);
        }
        match wheel.verify(&folder) {
            // A damaged library would not fail to load but crash, so the sums come first.
            Err(damage) => {
                let reason = Rejection::Damaged { damage };
                self.note(Source::Cache, Some(folder), Outcome::Rejected { reason });
            }
            Ok(()) => self.library(Source::Cache, &folder.join(wheel.main_file())),
        }
    }
}

/// Libraries loaded by path. The loader answers with them when it is asked by name later, which says
/// nothing about its own path: the same search has to end the same way the second time.
static OURS: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn real(library: &Path) -> PathBuf {
    std::fs::canonicalize(library).unwrap_or_else(|_| library.to_owned())
}

fn remember(library: &Path) {
    let mut ours = OURS.lock().unwrap_or_else(PoisonError::into_inner);
    ours.insert(real(library));
}

fn is_ours(library: &Path) -> bool {
    let ours = OURS.lock().unwrap_or_else(PoisonError::into_inner);
    ours.contains(&real(library))
}

/// Loads a library together with its builtins.
fn load(name: &Path, library: &Path) -> Result<((i32, i32), PathBuf, Api), Rejection> {
    keep(Loaded::open(name)?, library)
}

fn keep(loaded: Loaded, library: &Path) -> Result<((i32, i32), PathBuf, Api), Rejection> {
    let version = loaded.version();
    if !MAJORS.contains(&version.0) {
        return Err(Rejection::Version {
            major: version.0,
            minor: version.1,
        });
    }
    let builtins = folder::builtins_beside(library, Some(version))?;
    let api = loaded.keep(&builtins)?;
    Ok((version, builtins, api))
}
