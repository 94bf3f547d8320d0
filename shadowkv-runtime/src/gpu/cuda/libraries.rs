//! Where NVIDIA's libraries are: the folders in which NVRTC is looked for, for cuBLASLt and cuSOLVER.

use std::path::{Path, PathBuf};

use libloading::Library;
use serde::Serialize;

use crate::env::Environment;
use crate::nvrtc::discover::PythonSearch;

/// Parts of a toolkit in which libraries are.
const TOOLKIT: [&str; 4] = [
    "lib64",
    "lib",
    "targets/x86_64-linux/lib",
    "targets/sbsa-linux/lib",
];

/// What became of one library.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LibraryReport {
    /// What it is called.
    pub name: &'static str,
    /// What it is for.
    pub purpose: &'static str,
    /// Where it is, or what does its work.
    pub found: Option<String>,
    /// Why it cannot be used, with every place looked at.
    pub error: Option<String>,
}

/// A library to look for.
pub(super) struct Wanted {
    /// Its name without `lib` and `.so`.
    pub(super) stem: &'static str,
    /// Its own major versions, each with the major version of CUDA it belongs to, preferred first.
    pub(super) versions: &'static [(i32, i32)],
    /// Folders of NVIDIA's Python packages, below `nvidia`.
    pub(super) packages: &'static [&'static str],
    /// What to do when it is absent.
    pub(super) remedy: &'static str,
}

/// A library that is loaded for good.
pub(super) struct Found {
    pub(super) library: &'static Library,
    pub(super) path: PathBuf,
}

impl Wanted {
    /// Loads it, for a driver of that CUDA version.
    ///
    /// # Errors
    ///
    /// Every place that was looked at, why it was passed over, and what to do.
    pub(super) fn load(&self, driver_version: (i32, i32)) -> Result<Found, String> {
        let mut passed = Vec::new();
        let names: Vec<String> = self
            .versions
            .iter()
            .filter(|(_, cuda)| *cuda <= driver_version.0)
            .map(|(version, _)| format!("lib{}.so.{version}", self.stem))
            .collect();
        // Python is only asked where nobody else knows.
        let stages: [&dyn Fn() -> Vec<Option<PathBuf>>; 2] =
            [&named_places, &|| installed_places(self.packages)];
        for place in stages.into_iter().flat_map(|places| places()) {
            if let Some(found) = try_place(place.as_deref(), &names, &mut passed) {
                return Ok(found);
            }
        }
        Err(format!(
            "no usable {}; looked at:\n{}\n{}",
            names.join(" or "),
            passed.join("\n"),
            self.remedy
        ))
    }
}

/// The first of `names` in a folder, or on the loader's own path, that can be loaded.
fn try_place(place: Option<&Path>, names: &[String], passed: &mut Vec<String>) -> Option<Found> {
    let before = passed.len();
    for name in names {
        let path = place.map_or_else(|| PathBuf::from(name), |folder| folder.join(name));
        if place.is_some() && !path.is_file() {
            continue;
        }
        match load(&path) {
            Ok(library) => {
                // Its threads may run its code until the very end, so it is never unloaded.
                let library = Box::leak(Box::new(library));
                return Some(Found { library, path });
            }
            Err(error) => passed.push(format!("  `{}`: {error}", path.display())),
        }
    }
    if let Some(folder) = place.filter(|_| passed.len() == before) {
        passed.push(format!("  `{}`: not there", folder.display()));
    }
    None
}

/// The toolkits that the environment names, and the loader's own path (`None`).
fn named_places() -> Vec<Option<PathBuf>> {
    let environment = Environment::read();
    let roots = [environment.cuda_home, environment.cuda_path];
    let folders = roots
        .into_iter()
        .flatten()
        .flat_map(|root| TOOLKIT.map(|part| root.join(part)));
    folders.map(Some).chain([None]).collect()
}

/// Python's packages, and the usual place of a toolkit, as far as they exist.
fn installed_places(packages: &[&str]) -> Vec<Option<PathBuf>> {
    let mut folders = Vec::new();
    for site in PythonSearch::from_environment(&Environment::read()).folders() {
        folders.extend(
            packages
                .iter()
                .map(|package| site.join("nvidia").join(package).join("lib")),
        );
    }
    folders.extend(TOOLKIT.map(|part| Path::new("/usr/local/cuda").join(part)));
    folders
        .into_iter()
        .filter(|folder| folder.is_dir())
        .map(Some)
        .collect()
}

fn load(path: &Path) -> Result<Library, libloading::Error> {
    // SAFETY: the initialisers of NVIDIA's libraries have no preconditions; a file that claims to be one is the user's own choice
    // of code to run.
    unsafe { Library::new(path) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic, reason = "a test that cannot go on has failed")]

    use super::*;

    #[test]
    fn an_absent_library_is_reported_with_places_and_remedy() {
        let wanted = Wanted {
            stem: "no-such-library",
            versions: &[(13, 13), (12, 12)],
            packages: &["cublas"],
            remedy: "install it",
        };
        let Err(error) = wanted.load((12, 4)) else {
            panic!("there is no such library");
        };
        assert!(
            error.starts_with("no usable libno-such-library.so.12; looked at:\n"),
            "{error}"
        );
        assert!(error.contains("`libno-such-library.so.12`: "), "{error}");
        assert!(error.ends_with("\ninstall it"), "{error}");
        let Err(error) = wanted.load((13, 0)) else {
            panic!("there is no such library");
        };
        assert!(
            error.starts_with("no usable libno-such-library.so.13 or libno-such-library.so.12"),
            "{error}"
        );
    }
}
