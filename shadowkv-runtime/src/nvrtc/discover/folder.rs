//! What lies in a folder: libraries called NVRTC, their builtins, Python's packages.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::elf;
use super::{MAJORS, Rejection};

const LIBRARY: &str = "libnvrtc.so";
const BUILTINS: &str = "libnvrtc-builtins.so";

/// Libraries of a folder, or why there are none to speak of.
pub(super) enum Found {
    NoFolder,
    Unreadable(String),
    /// Preferred first; links to the same file once.
    Libraries(Vec<PathBuf>),
}

/// Every `libnvrtc.so` and `libnvrtc.so.N` of a folder (`libnvrtc.alt.so` is another build, not ours).
pub(super) fn libraries(folder: &Path) -> Found {
    let names = match file_names(folder) {
        Ok(names) => names,
        Err(error) => {
            return match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Found::NoFolder,
                _ => Found::Unreadable(error.to_string()),
            };
        }
    };
    let mut libraries: Vec<(usize, Vec<u32>, String)> = names
        .into_iter()
        .filter_map(|name| {
            let version = version_of(&name, LIBRARY)?;
            Some((preference(&version), version, name))
        })
        .collect();
    // The shortest name of a version is the one others load it by.
    libraries.sort_by_key(|(preference, version, name)| {
        (
            *preference,
            version.len(),
            Reverse(version.clone()),
            name.clone(),
        )
    });
    let mut seen = BTreeSet::new();
    let paths = libraries.into_iter().map(|(_, _, name)| folder.join(name));
    Found::Libraries(
        paths
            .filter(|path| seen.insert(fs::canonicalize(path).unwrap_or_else(|_| path.clone())))
            .collect(),
    )
}

/// The majors we drive in their order, then the unversioned name, then what will be refused.
fn preference(version: &[u32]) -> usize {
    match version.first() {
        None => MAJORS.len(),
        Some(&major) => {
            let place = MAJORS
                .iter()
                .position(|known| i64::from(*known) == i64::from(major));
            place.unwrap_or(MAJORS.len() + 1)
        }
    }
}

/// `libnvrtc.so.12.4` with `libnvrtc.so` gives `[12, 4]`; another name gives nothing.
fn version_of(name: &str, stem: &str) -> Option<Vec<u32>> {
    match name.strip_prefix(stem)? {
        "" => Some(Vec::new()),
        rest => rest
            .strip_prefix('.')?
            .split('.')
            .map(|number| number.parse().ok())
            .collect(),
    }
}

fn file_names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = fs::read_dir(folder)?;
    let names = entries.map(|entry| entry.map(|entry| entry.file_name().into_string().ok()));
    names.filter_map(Result::transpose).collect()
}

/// Everything that can be told without loading it: a broken library may crash the process.
pub(super) fn inspect(library: &Path) -> Result<(), Rejection> {
    let name = library.file_name().and_then(|name| name.to_str());
    if let Some(version) = name.and_then(|name| version_of(name, LIBRARY))
        && let Some(&major) = version.first()
        && preference(&version) > MAJORS.len()
    {
        return Err(Rejection::Version {
            major: i32::try_from(major).unwrap_or(i32::MAX),
            minor: version
                .get(1)
                .map_or(0, |minor| i32::try_from(*minor).unwrap_or(i32::MAX)),
        });
    }
    elf::check(library)?;
    builtins_beside(library, None).map(drop)
}

/// The builtins of that version beside the library or beside what it links to; of any version when
/// the library has not been asked yet.
pub(super) fn builtins_beside(
    library: &Path,
    version: Option<(i32, i32)>,
) -> Result<PathBuf, Rejection> {
    let real = fs::canonicalize(library).unwrap_or_else(|_| library.to_owned());
    for beside in [library, real.as_path()] {
        let Some(folder) = beside.parent() else {
            continue;
        };
        let mut names: Vec<String> = file_names(folder).unwrap_or_default();
        names.retain(|name| {
            version_of(name, BUILTINS).is_some_and(|found| match version {
                None => true,
                Some((major, minor)) => {
                    let number = |index| found.get(index).map(|number| i64::from(*number));
                    number(0) == Some(i64::from(major)) && number(1) == Some(i64::from(minor))
                }
            })
        });
        // The shortest is the name NVRTC itself asks for.
        names.sort_by_key(|name| (name.len(), name.clone()));
        if let Some(name) = names.first() {
            let builtins = folder.join(name);
            elf::check(&builtins)?;
            return Ok(builtins);
        }
    }
    Err(Rejection::NoBuiltins {
        wanted: match version {
            Some((major, minor)) => format!("{BUILTINS}.{major}.{minor}"),
            None => format!("{BUILTINS}.*"),
        },
    })
}

/// Folders of NVIDIA's packages that hold NVRTC: that of CUDA 12, that of CUDA 13, then any other.
pub(super) fn of_site_packages(site: &Path) -> Vec<PathBuf> {
    let nvidia = site.join("nvidia");
    let mut packages = file_names(&nvidia).unwrap_or_default();
    packages.sort_by_key(|name| {
        let place = ["cuda_nvrtc", "cu13"]
            .iter()
            .position(|known| known == name);
        (place.unwrap_or(2), name.clone())
    });
    let folders = packages
        .into_iter()
        .map(|name| nvidia.join(name).join("lib"));
    folders
        .filter(|folder| matches!(libraries(folder), Found::Libraries(found) if !found.is_empty()))
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::panic,
        reason = "a test that cannot go on has failed"
    )]

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let Found::Libraries(libraries) = libraries(folder) else {
            panic!("a folder");
        };
        let names = libraries.iter().map(|path| path.file_name().unwrap());
        names
            .map(|name| name.to_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn names_in_order_of_preference() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "libnvrtc.so.11.2",
            "libnvrtc.so.13",
            "libnvrtc.so.12",
            "libnvrtc.so",
            "libnvrtc.alt.so.12",
            "libnvrtc-builtins.so.12.9",
            "libnvrtc_static.a",
            "libnvrtc.so.12.x",
        ] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        assert_eq!(
            names(folder.path()),
            [
                "libnvrtc.so.12",
                "libnvrtc.so.13",
                "libnvrtc.so",
                "libnvrtc.so.11.2"
            ]
        );
        let refused = inspect(&folder.path().join("libnvrtc.so.11.2")).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "is NVRTC 11.2; versions 12 and 13 can be used"
        );
    }

    #[cfg(unix)]
    #[test]
    fn links_count_once() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("libnvrtc.so.12.4.127"), "").unwrap();
        for link in ["libnvrtc.so.12", "libnvrtc.so"] {
            std::os::unix::fs::symlink("libnvrtc.so.12.4.127", folder.path().join(link)).unwrap();
        }
        assert_eq!(names(folder.path()), ["libnvrtc.so.12"]);
    }

    #[test]
    fn folders_that_are_none() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(
            libraries(&folder.path().join("none")),
            Found::NoFolder
        ));
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(matches!(libraries(&file), Found::NoFolder));
    }

    #[test]
    fn layouts_of_site_packages() {
        let site = tempfile::tempdir().unwrap();
        for package in ["cu13", "cuda_nvrtc", "cublas", "another"] {
            let lib = site.path().join("nvidia").join(package).join("lib");
            fs::create_dir_all(&lib).unwrap();
            if package != "cublas" {
                fs::write(lib.join("libnvrtc.so.12"), "").unwrap();
            }
        }
        let found = of_site_packages(site.path());
        let found: Vec<_> = found
            .iter()
            .map(|path| path.strip_prefix(site.path().join("nvidia")).unwrap())
            .collect();
        assert_eq!(
            found,
            ["cuda_nvrtc/lib", "cu13/lib", "another/lib"].map(Path::new)
        );
    }
}
