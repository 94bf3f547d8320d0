//! The cache folder: where it is, and how something whole gets into it.
//!
//! `SHADOWKV_CACHE_DIR` is taken as it is; otherwise it is `shadowkv` inside the user's cache folder
//! (`$XDG_CACHE_HOME`, else `~/.cache`). Entries are folders. An entry is built beside its place and
//! renamed into it, so that nobody ever sees half of one, whenever a process is interrupted.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use etcetera::BaseStrategy;
use tempfile::TempDir;

use crate::env::CACHE_DIR;

const STAGING_PREFIX: &str = ".staging-";
/// Folders under construction this old belong to nobody who is still alive.
pub const ABANDONED: Duration = Duration::from_secs(24 * 60 * 60);

/// Why the cache cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// There is no home folder to put it in.
    #[error("no home folder, so no cache folder: set {CACHE_DIR} to a folder of yours")]
    NoHome,
    /// The folder cannot be created or written to.
    #[error(
        "cache folder `{}` is not writable ({source}): make it so, or set {CACHE_DIR} to another",
        path.display()
    )]
    NotWritable {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file system is full.
    #[error(
        "no space left for `{}`: free some, or set {CACHE_DIR} to a folder on another file system",
        path.display()
    )]
    DiskFull {
        /// What was being written.
        path: PathBuf,
    },
    /// Any other failure.
    #[error("cache: cannot {operation} `{}`: {source}", path.display())]
    Io {
        /// What was tried, such as `rename`.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl CacheError {
    /// The error for a failed operation on `path`; a full disk is told apart.
    pub(crate) fn io(operation: &'static str, path: &Path, source: io::Error) -> CacheError {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => CacheError::DiskFull {
                path: path.to_owned(),
            },
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                CacheError::NotWritable {
                    path: path.to_owned(),
                    source,
                }
            }
            _ => CacheError::Io {
                operation,
                path: path.to_owned(),
                source,
            },
        }
    }
}

/// How a publication ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// Our entry is in place.
    Ours,
    /// Another process was faster, and its entry is good.
    Theirs,
}

/// The cache folder. It need not exist; it is created when something is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// The cache in `explicit` (the value of `SHADOWKV_CACHE_DIR`), else in the user's cache folder.
    ///
    /// # Errors
    /// [`CacheError::NoHome`].
    pub fn locate(explicit: Option<&Path>) -> Result<Cache, CacheError> {
        if let Some(root) = explicit {
            return Ok(Cache::at(root));
        }
        let strategy = etcetera::choose_base_strategy().map_err(|_| CacheError::NoHome)?;
        Ok(Cache::at(strategy.cache_dir().join("shadowkv")))
    }

    /// The cache in exactly that folder.
    pub fn at(root: impl Into<PathBuf>) -> Cache {
        Cache { root: root.into() }
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder `name` inside, created when missing.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn folder(&self, name: &str) -> Result<PathBuf, CacheError> {
        let folder = self.root.join(name);
        fs::create_dir_all(&folder).map_err(|source| match source.kind() {
            io::ErrorKind::StorageFull => CacheError::DiskFull {
                path: folder.clone(),
            },
            _ => CacheError::NotWritable {
                path: folder.clone(),
                source,
            },
        })?;
        Ok(folder)
    }

    /// Whether something can be stored: writes a file and removes it again.
    ///
    /// # Errors
    /// When it cannot.
    pub fn check_writable(&self) -> Result<(), CacheError> {
        let folder = self.folder("")?;
        tempfile::Builder::new()
            .prefix(STAGING_PREFIX)
            .tempfile_in(&folder)
            .and_then(tempfile::NamedTempFile::close)
            .map_err(|source| CacheError::io("write to", &folder, source))
    }

    /// A fresh folder beside `target` to build an entry in; it vanishes unless it is published.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn stage(target: &Path) -> Result<TempDir, CacheError> {
        let parent = target.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(parent)
            .and_then(|()| {
                tempfile::Builder::new()
                    .prefix(STAGING_PREFIX)
                    .tempdir_in(parent)
            })
            .map_err(|source| CacheError::io("create a folder in", parent, source))
    }

    /// Moves a staged folder to `target` at once and for good (data is synchronised first).
    ///
    /// When something is there already, `is_good` judges it: a good entry wins over ours, a bad one
    /// is replaced.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn publish(
        staged: TempDir,
        target: &Path,
        is_good: impl Fn(&Path) -> bool,
    ) -> Result<Published, CacheError> {
        synchronise(staged.path())?;
        // Twice, since between two steps another process may put its own entry there.
        let mut last = None;
        for _ in 0..2 {
            match fs::rename(staged.path(), target) {
                Ok(()) => {
                    // The folder has moved; there is nothing left to remove.
                    let _ = staged.keep();
                    if let Some(parent) = target.parent() {
                        synchronise_folder(parent)?;
                    }
                    return Ok(Published::Ours);
                }
                Err(error) if !target.exists() => {
                    return Err(CacheError::io("rename to", target, error));
                }
                Err(error) => last = Some(error),
            }
            if is_good(target) {
                return Ok(Published::Theirs);
            }
            let rubbish = Cache::stage(target)?;
            // Failing here means that somebody else has just moved it away.
            let _ = fs::rename(target, rubbish.path().join("entry"));
        }
        let error = last.unwrap_or_else(|| io::ErrorKind::AlreadyExists.into());
        Err(CacheError::io("replace", target, error))
    }

    /// Removes what processes that were killed while building left in `folder` at least `age` ago:
    /// [`ABANDONED`], or less for a caller that knows to be the only one.
    pub fn sweep(folder: &Path, age: Duration) {
        let Ok(entries) = fs::read_dir(folder) else {
            return;
        };
        for entry in entries.flatten() {
            let ours = entry
                .file_name()
                .to_string_lossy()
                .starts_with(STAGING_PREFIX);
            let modified = entry.metadata().and_then(|data| data.modified());
            let since = modified
                .ok()
                .and_then(|time| SystemTime::now().duration_since(time).ok());
            if ours && since.is_some_and(|since| since >= age) {
                // Best effort: another process may be sweeping too.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
}

/// Every file of the folder and the folder itself reach the disk.
fn synchronise(folder: &Path) -> Result<(), CacheError> {
    let entries = fs::read_dir(folder).map_err(|error| CacheError::io("read", folder, error))?;
    for entry in entries {
        let path = entry
            .map_err(|error| CacheError::io("read", folder, error))?
            .path();
        if path.is_dir() {
            synchronise(&path)?;
        } else {
            File::open(&path)
                .and_then(|file| file.sync_all())
                .map_err(|error| CacheError::io("synchronise", &path, error))?;
        }
    }
    synchronise_folder(folder)
}

fn synchronise_folder(folder: &Path) -> Result<(), CacheError> {
    // Only Unix lets a folder be opened as a file.
    if cfg!(unix) {
        File::open(folder)
            .and_then(|file| file.sync_all())
            .map_err(|error| CacheError::io("synchronise", folder, error))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

    use super::*;

    fn staged(target: &Path, text: &str) -> TempDir {
        let staged = Cache::stage(target).unwrap();
        fs::write(staged.path().join("data"), text).unwrap();
        staged
    }

    fn data(target: &Path) -> String {
        fs::read_to_string(target.join("data")).unwrap()
    }

    #[test]
    fn the_explicit_folder_is_taken_as_it_is() {
        let cache = Cache::locate(Some(Path::new("/somewhere"))).unwrap();
        assert_eq!(cache.root(), Path::new("/somewhere"));
    }

    #[test]
    fn first_second_and_broken_entries() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("entry");
        let good = |target: &Path| data(target) != "broken";
        assert_eq!(
            Cache::publish(staged(&target, "broken"), &target, good).unwrap(),
            Published::Ours
        );
        assert_eq!(
            Cache::publish(staged(&target, "one"), &target, good).unwrap(),
            Published::Ours
        );
        assert_eq!(
            Cache::publish(staged(&target, "two"), &target, good).unwrap(),
            Published::Theirs
        );
        assert_eq!(data(&target), "one");
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            1,
            "nothing else is left"
        );
    }

    #[test]
    fn racing_publishers_leave_one_whole_entry() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("entry");
        let ours = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        Cache::publish(staged(&target, "same"), &target, |_| true).unwrap()
                    })
                })
                .collect();
            let ended = threads.into_iter().map(|thread| thread.join().unwrap());
            ended
                .filter(|published| *published == Published::Ours)
                .count()
        });
        assert_eq!((ours, data(&target).as_str()), (1, "same"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_in_the_way_is_not_writable() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let error = Cache::at(file.join("cache")).check_writable().unwrap_err();
        assert!(matches!(error, CacheError::NotWritable { .. }), "{error}");
        assert!(error.to_string().contains("set SHADOWKV_CACHE_DIR"));
        let cache = Cache::at(folder.path().join("new"));
        cache.check_writable().unwrap();
        assert_eq!(fs::read_dir(cache.root()).unwrap().count(), 0);
    }
}
