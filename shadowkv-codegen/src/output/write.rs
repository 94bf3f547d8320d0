//! Writing: each file by a temporary one, synchronised and renamed, and only where something changes.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::Serialize;
pub(super) use shadowkv_runtime::files::TEMPORARY;
use shadowkv_runtime::files::write_whole;

use super::owned::{Found, scan};
use super::{Extent, FileKind, OutputError, OutputFile};

/// A temporary file this old belongs to no process that is still at work.
const ABANDONED: Duration = Duration::from_secs(60 * 60);

/// What became of each file, by its path inside the package's folder; every list is sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Written {
    /// Were not there.
    pub created: Vec<String>,
    /// Were there with other content.
    pub updated: Vec<String>,
    /// Were there and right; not touched.
    pub unchanged: Vec<String>,
    /// Were written by an earlier run and no longer belong.
    pub removed: Vec<String>,
    /// Lie there and are not ours; left alone.
    pub foreign: Vec<String>,
}

impl Written {
    /// Joins the account of a second write into the same folder.
    pub fn merge(&mut self, other: Written) {
        for (mine, theirs) in [
            (&mut self.created, other.created),
            (&mut self.updated, other.updated),
            (&mut self.unchanged, other.unchanged),
            (&mut self.removed, other.removed),
            (&mut self.foreign, other.foreign),
        ] {
            mine.extend(theirs);
            mine.sort();
            mine.dedup();
        }
    }

    /// Files that are now there and ours.
    pub fn files(&self) -> usize {
        self.created.len() + self.updated.len() + self.unchanged.len()
    }
}

/// Brings `folder` to hold `files`, and removes what earlier runs left there that the package no longer has: sources of
/// the kinds written now, and binaries whose kernel is gone or whose source changes with this very write.
///
/// # Errors
///
/// [`OutputError`]. Files written until then are whole, the others as they were.
pub fn write_files(
    folder: &Path,
    files: &[OutputFile],
    extent: &Extent,
) -> Result<Written, OutputError> {
    let found = scan(folder, extent)?;
    create_folder(folder)?;
    sweep(folder);
    let mut written = Written::default();
    for file in files {
        let path = file.place(folder);
        let list = match state(&path, &file.bytes)? {
            State::Missing => &mut written.created,
            State::Other => &mut written.updated,
            State::Same => {
                written.unchanged.push(file.path.clone());
                continue;
            }
        };
        write_file(&path, &file.bytes)?;
        list.push(file.path.clone());
    }
    for found in &found {
        if files.iter().any(|file| file.path == found.path) {
            continue;
        }
        match found.owned {
            Some(kind) if is_left_over(found, kind, files, extent, &written) => {
                let path = folder.join(&found.path);
                match fs::remove_file(&path) {
                    // Another process was faster.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    other => other.map_err(|error| OutputError::new("remove", &path, error))?,
                }
                if let Some(parent) = path.parent().filter(|parent| *parent != folder) {
                    // Fails, as it should, while the folder holds anything else.
                    let _ = fs::remove_dir(parent);
                }
                written.removed.push(found.path.clone());
            }
            Some(_) => {}
            None if extent.has_source(&found.path) => {}
            None => written.foreign.push(found.path.clone()),
        }
    }
    for list in [
        &mut written.created,
        &mut written.updated,
        &mut written.unchanged,
    ] {
        list.sort();
    }
    Ok(written)
}

/// Whether a file of ours that is not written now has to go.
fn is_left_over(
    found: &Found,
    kind: FileKind,
    files: &[OutputFile],
    extent: &Extent,
    written: &Written,
) -> bool {
    let is_header = |path: &str| {
        Path::new(path)
            .extension()
            .is_some_and(|extension| extension == "cuh")
    };
    let changed = || written.created.iter().chain(&written.updated);
    match kind {
        FileKind::Ptx | FileKind::Cubin => {
            let source = format!("{}.cu", found.kernel());
            !extent.has_kernel(found.kernel())
                || changed().any(|path| *path == source || is_header(path))
        }
        // It tells by itself which of its binaries are of another source; behind a header all are.
        FileKind::Binaries => changed().any(|path| is_header(path)),
        _ => !extent.has_source(&found.path) && files.iter().any(|file| file.kind == kind),
    }
}

enum State {
    Missing,
    Same,
    Other,
}

fn state(path: &Path, bytes: &[u8]) -> Result<State, OutputError> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(State::Missing),
        Err(error) => return Err(OutputError::new("look at", path, error)),
        Ok(data) if data.is_dir() => {
            return Err(OutputError::NotAFile {
                path: path.to_owned(),
            });
        }
        Ok(data) if data.len() != bytes.len() as u64 => return Ok(State::Other),
        Ok(_) => {}
    }
    // An unreadable file is replaced, if that is allowed.
    Ok(if fs::read(path).is_ok_and(|found| found == bytes) {
        State::Same
    } else {
        State::Other
    })
}

/// Writes one file so that it is at every moment either as it was or complete. Its folder is created.
///
/// # Errors
///
/// [`OutputError`]; then it is as it was.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), OutputError> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    create_folder(folder)?;
    write_whole(path, bytes)
        .map_err(|error| OutputError::new(error.operation, &error.path, error.source))
}

fn create_folder(folder: &Path) -> Result<(), OutputError> {
    fs::create_dir_all(folder).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => OutputError::NotAFolder {
            path: folder.to_owned(),
        },
        _ => OutputError::new("create", folder, error),
    })
}

/// Removes what killed processes left behind. Best effort: another process may be sweeping too.
fn sweep(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let ours = entry.file_name().to_string_lossy().starts_with(TEMPORARY);
        let modified = entry.metadata().and_then(|data| data.modified()).ok();
        let age = modified.and_then(|time| SystemTime::now().duration_since(time).ok());
        if ours && age.is_some_and(|age| age >= ABANDONED) {
            let _ = fs::remove_file(entry.path());
        }
    }
}
