//! The process environment, read in one place and passed on as values.
//!
//! | variable | meaning | same as |
//! | --- | --- | --- |
//! | `SHADOWKV_NVRTC` | the NVRTC library to use, or its folder | [`Environment::nvrtc`] |
//! | `SHADOWKV_NVDISASM` | the disassembler to use, or its folder | [`Environment::nvdisasm`] |
//! | `SHADOWKV_CACHE_DIR` | folder of our cache | [`Environment::cache_dir`] |
//! | `SHADOWKV_PACKAGES` | folders with kernel packages, separated as in `PATH` | [`Environment::packages`] |
//! | `SHADOWKV_OFFLINE` | `1`: nothing is downloaded | [`Environment::offline`] |
//!
//! Others are read because they tell where a CUDA library may be; they are not ours.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use serde::Serialize;

/// `SHADOWKV_NVRTC`.
pub const NVRTC: &str = "SHADOWKV_NVRTC";
/// `SHADOWKV_NVDISASM`.
pub const NVDISASM: &str = "SHADOWKV_NVDISASM";
/// `SHADOWKV_CACHE_DIR`.
pub const CACHE_DIR: &str = "SHADOWKV_CACHE_DIR";
/// `SHADOWKV_PACKAGES`.
pub const PACKAGES: &str = "SHADOWKV_PACKAGES";
/// `SHADOWKV_OFFLINE`.
pub const OFFLINE: &str = "SHADOWKV_OFFLINE";

/// What the process environment says. An empty variable is an absent one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Environment {
    /// `SHADOWKV_NVRTC`: library or folder.
    pub nvrtc: Option<PathBuf>,
    /// `SHADOWKV_NVDISASM`: program or folder.
    pub nvdisasm: Option<PathBuf>,
    /// `SHADOWKV_CACHE_DIR`.
    pub cache_dir: Option<PathBuf>,
    /// `SHADOWKV_PACKAGES`: packages, or folders of packages, in order.
    pub packages: Vec<PathBuf>,
    /// `SHADOWKV_OFFLINE` is set to anything but `0`, `false`, `no` or `off`.
    pub offline: bool,
    /// `CUDA_HOME`.
    pub cuda_home: Option<PathBuf>,
    /// `CUDA_PATH`.
    pub cuda_path: Option<PathBuf>,
    /// Folders of `PATH`, in order.
    #[serde(skip)]
    pub program_path: Vec<PathBuf>,
    /// Folders of `LD_LIBRARY_PATH`, in order.
    pub library_path: Vec<PathBuf>,
    /// `VIRTUAL_ENV`.
    pub virtual_env: Option<PathBuf>,
    /// `CONDA_PREFIX`.
    pub conda_prefix: Option<PathBuf>,
}

impl Environment {
    /// Reads the process environment.
    pub fn read() -> Environment {
        Environment::from_lookup(|name| std::env::var_os(name))
    }

    /// The same from any source of variables.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<OsString>) -> Environment {
        let set = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let path = |name: &str| set(name).map(PathBuf::from);
        // An empty entry means the working directory; we do not follow it there.
        let folders = |name: &str| {
            set(name).map_or_else(Vec::new, |folders| {
                std::env::split_paths(&folders)
                    .filter(|folder| !folder.as_os_str().is_empty())
                    .collect()
            })
        };
        Environment {
            nvrtc: path(NVRTC),
            nvdisasm: path(NVDISASM),
            cache_dir: path(CACHE_DIR),
            packages: folders(PACKAGES),
            offline: set(OFFLINE).is_some_and(|value| is_yes(&value)),
            cuda_home: path("CUDA_HOME"),
            cuda_path: path("CUDA_PATH"),
            program_path: folders("PATH"),
            library_path: folders("LD_LIBRARY_PATH"),
            virtual_env: path("VIRTUAL_ENV"),
            conda_prefix: path("CONDA_PREFIX"),
        }
    }
}

/// Whoever writes `SHADOWKV_OFFLINE=maybe` does not want to be surprised by a download.
fn is_yes(value: &OsStr) -> bool {
    !["0", "false", "no", "off"]
        .iter()
        .any(|no| value.eq_ignore_ascii_case(no))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Environment {
        Environment::from_lookup(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn nothing_set_and_empty_are_the_same() {
        assert_eq!(of(&[]), Environment::default());
        let empty = [
            (NVRTC, ""),
            (CACHE_DIR, ""),
            (OFFLINE, ""),
            ("CUDA_HOME", ""),
        ];
        assert_eq!(of(&empty), Environment::default());
    }

    #[test]
    fn offline_is_anything_but_no() {
        for (value, offline) in [
            ("1", true),
            ("true", true),
            ("maybe", true),
            ("0", false),
            ("No", false),
        ] {
            assert_eq!(of(&[(OFFLINE, value)]).offline, offline, "{value}");
        }
    }

    #[test]
    fn library_path_is_split() {
        let environment = of(&[("LD_LIBRARY_PATH", "/a::/b c:")]);
        assert_eq!(
            environment.library_path,
            [PathBuf::from("/a"), PathBuf::from("/b c")]
        );
    }
}
