//! What a run has learnt so far, kept so that a run that was killed is not for nothing: one line per figure, by the hash of
//! the source it is of.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde::{Deserialize, Serialize};
use shadowkv_runtime::cost::Limiter;

use super::judge::Figure;
use crate::output::OutputError;

/// One figure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Known {
    key: String,
    seconds: f64,
    limiter: Option<Limiter>,
    bytes: Option<u64>,
}

impl Known {
    pub(super) fn new(key: &str, figure: &Figure) -> Known {
        Known {
            key: key.to_owned(),
            seconds: figure.seconds,
            limiter: figure.limiter,
            bytes: figure.bytes,
        }
    }

    pub(super) fn figure(&self) -> Figure {
        Figure {
            seconds: self.seconds,
            limiter: self.limiter,
            bytes: self.bytes,
        }
    }
}

/// The journal of one architecture, problem size, judge and compiler.
pub(super) struct Journal {
    path: PathBuf,
    known: BTreeMap<String, Known>,
    file: Mutex<File>,
}

impl Journal {
    /// Opens the journal `path` of a run described by `header`, and reads what an earlier one with the same header left. A
    /// line that was not written whole is passed over.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub(super) fn open(path: &Path, header: &str) -> Result<Journal, OutputError> {
        let failed = |source| OutputError::new("write", path, source);
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let mut lines = text.lines();
        let mut known = BTreeMap::new();
        if lines.next() == Some(header) {
            let read = lines.filter_map(|line| serde_json::from_str::<Known>(line).ok());
            known.extend(read.map(|line| (line.key.clone(), line)));
        }
        // Written anew, so that half a line never stands before a whole one.
        let mut text = format!("{header}\n");
        for line in known.values() {
            if let Ok(line) = serde_json::to_string(line) {
                text.push_str(&line);
                text.push('\n');
            }
        }
        crate::output::write_file(path, text.as_bytes())?;
        let file = OpenOptions::new().append(true).open(path).map_err(failed)?;
        Ok(Journal {
            path: path.to_owned(),
            known,
            file: Mutex::new(file),
        })
    }

    /// What an earlier run found of the source with this key.
    pub(super) fn known(&self, key: &str) -> Option<&Known> {
        self.known.get(key)
    }

    /// Figures of earlier runs.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// Keeps a figure. Best effort: without it a run that is killed has to find it again.
    pub(super) fn keep(&self, known: &Known) {
        if let (Ok(mut file), Ok(line)) = (self.file.lock(), serde_json::to_string(known)) {
            let _ = file.write_all(format!("{line}\n").as_bytes());
        }
    }

    /// Removes it: what it held is in the tuning file now.
    pub(super) fn remove(self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_survive_and_half_a_line_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let figure = Figure {
            seconds: 1.5e-6,
            limiter: Some(Limiter::L2),
            bytes: Some(7),
        };
        let journal = Journal::open(&path, "header").unwrap();
        journal.keep(&Known::new("a", &figure));
        journal.keep(&Known::new("b", &figure));
        drop(journal);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, &text[..text.len() - 9]).unwrap();

        let journal = Journal::open(&path, "header").unwrap();
        assert_eq!(journal.len(), 1);
        assert_eq!(journal.known("a").unwrap().figure(), figure);
        assert!(journal.known("b").is_none());
        journal.keep(&Known::new("b", &figure));
        drop(journal);
        assert_eq!(Journal::open(&path, "header").unwrap().len(), 2);
        // Of another run nothing is taken.
        let journal = Journal::open(&path, "another").unwrap();
        assert_eq!(journal.len(), 0);
        journal.remove();
        assert!(!path.exists());
    }
}
