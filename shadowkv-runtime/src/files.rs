//! Files written whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Beginning of the names of files under construction.
pub const TEMPORARY: &str = ".shadowkv-tmp-";

/// Why a file is not written; what was there is as it was.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} `{}`: {source}", path.display())]
pub struct WriteError {
    /// What failed: `write`, `rename to`.
    pub operation: &'static str,
    /// The file or folder concerned.
    pub path: PathBuf,
    /// What the system says.
    pub source: io::Error,
}

/// Writes `bytes` to `path`: beside its place first, then renamed into it, both synchronised with the disk. The folder must
/// exist.
///
/// # Errors
///
/// [`WriteError`].
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    write_whole_by(path, |file| {
        file.write_all(bytes).map_err(|source| WriteError {
            operation: "write",
            path: path.to_owned(),
            source,
        })
    })
}

/// The same of what `write` writes to a file that is empty at first.
///
/// # Errors
///
/// [`WriteError`], and whatever `write` returns.
pub fn write_whole_by<E: From<WriteError>>(
    path: &Path,
    write: impl FnOnce(&mut File) -> Result<(), E>,
) -> Result<(), E> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let failed = |operation: &'static str, path: &Path| {
        let path = path.to_owned();
        move |source: io::Error| WriteError {
            operation,
            path,
            source,
        }
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(TEMPORARY);
    #[cfg(unix)]
    let builder = {
        use std::os::unix::fs::PermissionsExt as _;
        // What any new file gets, less the user's umask; temporary files are private otherwise.
        builder.permissions(fs::Permissions::from_mode(0o666))
    };
    let mut temporary = builder
        .tempfile_in(folder)
        .map_err(failed("write to", folder))?;
    write(temporary.as_file_mut())?;
    temporary
        .as_file()
        .sync_all()
        .map_err(failed("synchronise", path))?;
    temporary
        .persist(path)
        .map_err(|error| failed("rename to", path)(error.error))?;
    if cfg!(unix) {
        let synchronised = File::open(folder).and_then(|folder| folder.sync_all());
        synchronised.map_err(failed("synchronise", folder))?;
    }
    Ok(())
}
