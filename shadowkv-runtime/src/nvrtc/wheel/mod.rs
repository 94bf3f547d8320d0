//! Installing NVRTC into our cache when the machine has none.
//!
//! One pinned wheel, fetched by the user's own pip (so mirrors, proxies and credentials are theirs),
//! checked by hash twice, by pip and by us. Only the two libraries and the licence are kept.
//! Processes that want it at the same time wait for the one that is at it; a process that dies
//! leaves nothing that another would take for a library.

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

/// Name of the package.
pub const PACKAGE: &str = "nvidia-cuda-nvrtc-cu12";
/// The one version that is installed: compiles for `sm_50` to `sm_121`, runs with every CUDA 12 or 13 driver.
pub const VERSION: &str = "12.9.86";

/// Folder inside the cache.
const FOLDER: &str = "nvrtc";

/// The wheel of one platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wheel {
    /// Processor, as Rust and pip call it.
    pub machine: &'static str,
    /// SHA-256 of the wheel.
    pub sha256: &'static str,
    /// The files that are kept: path inside the wheel and SHA-256. The NVRTC library comes first.
    pub members: [(&'static str, &'static str); 3],
}

const LIBRARY: &str = "nvidia/cuda_nvrtc/lib/libnvrtc.so.12";
const BUILTINS: &str = "nvidia/cuda_nvrtc/lib/libnvrtc-builtins.so.12.9";
const LICENCE: &str = "nvidia_cuda_nvrtc_cu12-12.9.86.dist-info/licenses/License.txt";

/// Every wheel there is for Linux.
pub const WHEELS: [Wheel; 2] = [
    Wheel {
        machine: "x86_64",
        sha256: "210cf05005a447e29214e9ce50851e83fc5f4358df8b453155d5e1918094dcb4",
        members: [
            (
                LIBRARY,
                "7c67c6b51ea0e0279634cebd676ff7efda1674806444520c84430ad5c35fe625",
            ),
            (
                BUILTINS,
                "6507cf33450cfb22970c2c1e7aa8e7c0a33e39d864720277b05f61a92791e2e8",
            ),
            (
                LICENCE,
                "ad6f5853fba0ca0d159d0f58d49ae49830c2f8c93f7a92648b9ce90adb4c6ccd",
            ),
        ],
    },
    Wheel {
        machine: "aarch64",
        sha256: "096d4de6bda726415dfaf3198d4f5c522b8e70139c97feef5cd2ca6d4cd9cead",
        members: [
            (
                LIBRARY,
                "3a599a1649813776e6852024ba6c3a2fc291a0eab61745864261aa449f8d2b7d",
            ),
            (
                BUILTINS,
                "fa791107a53e7e38bbcf28cd8223c62bd91445227634537d1e71a4b3cbd6920d",
            ),
            (
                LICENCE,
                "ad6f5853fba0ca0d159d0f58d49ae49830c2f8c93f7a92648b9ce90adb4c6ccd",
            ),
        ],
    },
];

/// The wheel for this machine; `None` where there is none.
pub fn pinned() -> Option<&'static Wheel> {
    let wheels = WHEELS.iter().filter(|_| std::env::consts::OS == "linux");
    wheels
        .into_iter()
        .find(|wheel| wheel.machine == std::env::consts::ARCH)
}

/// A step of the installation, worth telling the user.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// Another process is installing; we wait for it.
    Waiting {
        /// Where it installs.
        folder: PathBuf,
    },
    /// What lies in the cache is damaged and will be replaced.
    Replacing {
        /// Its folder.
        folder: PathBuf,
        /// Which file, and how.
        damage: String,
    },
    /// The download begins (about 90 MB).
    Downloading {
        /// The command that downloads.
        command: String,
    },
    /// The wheel is checked and unpacked.
    Unpacking,
    /// The library is in place.
    Installed {
        /// Its folder.
        folder: PathBuf,
    },
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Progress::Waiting { folder } => write!(
                f,
                "waiting for another process that installs NVRTC into `{}`",
                folder.display()
            ),
            Progress::Replacing { folder, damage } => write!(
                f,
                "replacing the damaged NVRTC in `{}` ({damage})",
                folder.display()
            ),
            Progress::Downloading { command } => write!(
                f,
                "no NVRTC on this machine: downloading {PACKAGE} {VERSION} (about 90 MB) with `{command}`"
            ),
            Progress::Unpacking => write!(f, "checking and unpacking {PACKAGE} {VERSION}"),
            Progress::Installed { folder } => {
                write!(f, "NVRTC {VERSION} installed in `{}`", folder.display())
            }
        }
    }
}

impl Wheel {
    /// Its folder in a cache; version and platform are in the name, so another pin is another folder.
    pub fn folder_in(&self, cache: &Cache) -> PathBuf {
        let name = format!("{PACKAGE}-{VERSION}-{}", self.machine);
        cache.root().join(FOLDER).join(name)
    }

    /// File name of the NVRTC library.
    pub fn library_name(&self) -> &'static str {
        file_name(self.members[0].0)
    }

    /// Whether a folder holds exactly the files we would put there.
    ///
    /// # Errors
    /// The first file that is missing, unreadable or different.
    pub fn verify(&self, folder: &Path) -> Result<(), String> {
        for (member, expected) in self.members {
            let name = file_name(member);
            let found =
                sha256_file(&folder.join(name)).map_err(|error| format!("`{name}`: {error}"))?;
            if found != expected {
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

/// Installs the pinned wheel into `cache` unless a good copy is there; returns its folder.
///
/// # Errors
/// [`WheelError`]; each kind says what to do.
pub fn install(
    cache: &Cache,
    options: &InstallOptions,
    progress: &dyn Fn(&Progress),
) -> Result<PathBuf, WheelError> {
    let wheel = pinned().ok_or(WheelError::Platform {
        os: std::env::consts::OS,
        machine: std::env::consts::ARCH,
    })?;
    let target = wheel.folder_in(cache);
    if wheel.verify(&target).is_ok() {
        return Ok(target);
    }
    if options.offline {
        return Err(WheelError::Offline);
    }
    let parent = cache.folder(FOLDER)?;
    let lock = lock(&parent, &target, progress)?;
    // Whoever held the lock before us may have done the work.
    if target.is_dir() {
        match wheel.verify(&target) {
            Ok(()) => return Ok(target),
            Err(damage) => progress(&Progress::Replacing {
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
    let fetched = pip::fetch(download.path(), options, progress)?;
    progress(&Progress::Unpacking);
    let staged = Cache::stage(&target)?;
    unpack::unpack(wheel, &fetched, staged.path())?;
    if Cache::publish(staged, &target, |folder| wheel.verify(folder).is_ok())? == Published::Ours {
        progress(&Progress::Installed {
            folder: target.clone(),
        });
    }
    Ok(target)
}

/// Held until dropped; the system releases it when the process dies. A file system without locks is
/// no obstacle: publication is atomic anyway, and then two processes download at worst.
fn lock(
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
        folder: target.to_owned(),
    });
    Ok(fs4::FileExt::lock(&file).is_ok().then_some(file))
}
