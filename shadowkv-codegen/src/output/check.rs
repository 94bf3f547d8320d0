//! Comparing what would be written with what lies there.

use std::fs;
use std::io;
use std::path::Path;

use serde::Serialize;
use similar::TextDiff;

use super::owned::scan;
use super::{Extent, FileKind, OutputError, OutputFile};

/// Most lines of a diff that are shown per file.
const DIFF_LINES: usize = 60;

/// Larger files on disk are not ours, whatever their name says, and are not compared line by line.
const DIFF_BYTES: u64 = 4 << 20;

/// One way in which a folder is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Difference {
    /// A file is not there.
    Missing {
        /// Path inside the package's folder.
        file: String,
    },
    /// A file has other content.
    Stale {
        /// Path inside the package's folder.
        file: String,
        /// Unified diff from what lies there to what would be written, cut after a screenful.
        diff: String,
    },
    /// A file of ours that the package no longer has.
    Unexpected {
        /// Path inside the package's folder.
        file: String,
    },
}

impl Difference {
    /// Path inside the package's folder.
    pub fn file(&self) -> &str {
        match self {
            Difference::Missing { file }
            | Difference::Stale { file, .. }
            | Difference::Unexpected { file } => file,
        }
    }
}

/// In what way `folder` differs from `files`, in the order of the files, left-over ones last; empty if it is current.
/// Nothing is written.
///
/// # Errors
///
/// [`OutputError`] if something cannot be read.
pub fn check_files(
    folder: &Path,
    files: &[OutputFile],
    extent: &Extent,
) -> Result<Vec<Difference>, OutputError> {
    let mut differences = Vec::new();
    for file in files {
        let path = file.place(folder);
        match read(&path)? {
            None => differences.push(Difference::Missing {
                file: file.path.clone(),
            }),
            Some(found) if found == file.bytes => {}
            Some(found) => {
                let diff = diff(&file.path, &found, &file.bytes);
                differences.push(Difference::Stale {
                    file: file.path.clone(),
                    diff,
                });
            }
        }
    }
    for found in scan(folder, extent)? {
        let unexpected = match found.owned {
            Some(FileKind::Ptx | FileKind::Cubin) => !extent.has_kernel(found.kernel()),
            Some(kind) => {
                !extent.has_source(&found.path) && files.iter().any(|file| file.kind == kind)
            }
            None => false,
        };
        if unexpected {
            differences.push(Difference::Unexpected { file: found.path });
        }
    }
    Ok(differences)
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, OutputError> {
    let absent = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    match fs::metadata(path) {
        Err(error) if absent(&error) => return Ok(None),
        Err(error) => return Err(OutputError::new("look at", path, error)),
        Ok(data) if data.is_dir() => {
            return Err(OutputError::NotAFile {
                path: path.to_owned(),
            });
        }
        Ok(data) if data.len() > DIFF_BYTES => return Ok(Some(Vec::new())),
        Ok(_) => {}
    }
    fs::read(path)
        .map(Some)
        .map_err(|error| OutputError::new("read", path, error))
}

fn diff(path: &str, found: &[u8], wanted: &[u8]) -> String {
    let (found, wanted) = (
        String::from_utf8_lossy(found),
        String::from_utf8_lossy(wanted),
    );
    let diff = TextDiff::from_lines(&*found, &*wanted);
    let text = diff
        .unified_diff()
        .header(&format!("{path} (on disk)"), &format!("{path} (generated)"))
        .to_string();
    let lines: Vec<&str> = text.lines().collect();
    if lines.len() <= DIFF_LINES {
        return text;
    }
    let shown = lines[..DIFF_LINES].join("\n");
    format!("{shown}\n... {} more lines\n", lines.len() - DIFF_LINES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_is_cut() {
        let long: String = "line\n".repeat(500);
        let text = diff("a.cu", b"", long.as_bytes());
        assert_eq!(text.lines().count(), DIFF_LINES + 1);
        assert!(
            text.starts_with("--- a.cu (on disk)\n+++ a.cu (generated)\n"),
            "{text}"
        );
        assert!(text.ends_with("... 443 more lines\n"), "{text}");
    }
}
