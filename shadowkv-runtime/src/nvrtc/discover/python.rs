//! Where Python keeps its packages.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::command::{self, RunError};
use crate::env::Environment;

/// Importing `site` takes milliseconds, but home folders on a network have their own idea of time.
const LIMIT: Duration = Duration::from_secs(20);

/// Prints one folder a line. The working directory is taken off the path first: a `site.py` or
/// `sys.py` lying there is nobody's installation.
const PROBE: &str = "\
import sys
sys.path[:] = [p for p in sys.path if p]
import site
folders = list(getattr(site, 'getsitepackages', list)())
folders.append(getattr(site, 'getusersitepackages', str)())
folders.extend(p for p in sys.path if p.endswith('-packages'))
for folder in dict.fromkeys(folders):
    if folder:
        print(folder)
";

/// Which Pythons to ask.
#[derive(Clone, Debug, Default)]
pub struct PythonSearch {
    /// Interpreters, as names to look up or paths.
    pub interpreters: Vec<PathBuf>,
    /// Environments whose `lib*/python3*/site-packages` are looked at without asking anybody.
    pub prefixes: Vec<PathBuf>,
}

impl PythonSearch {
    /// `VIRTUAL_ENV`, `CONDA_PREFIX`, `python3` and `python`.
    pub fn from_environment(environment: &Environment) -> PythonSearch {
        let prefixes = [&environment.virtual_env, &environment.conda_prefix];
        PythonSearch {
            interpreters: vec!["python3".into(), "python".into()],
            prefixes: prefixes.into_iter().flatten().cloned().collect(),
        }
    }

    /// Folders that exist, each once.
    #[cfg(feature = "cuda")]
    pub(crate) fn folders(&self) -> Vec<PathBuf> {
        self.site_packages().into_iter().flatten().collect()
    }

    /// Folders that exist, each once, and what went wrong on the way.
    pub(super) fn site_packages(&self) -> Vec<Result<PathBuf, String>> {
        let mut found: Vec<Result<PathBuf, String>> = Vec::new();
        let mut add = |folder: PathBuf| {
            if folder.is_dir() && !found.iter().any(|known| known.as_ref() == Ok(&folder)) {
                found.push(Ok(folder));
            }
        };
        for prefix in &self.prefixes {
            of_prefix(prefix).into_iter().for_each(&mut add);
        }
        let mut troubles = Vec::new();
        for interpreter in &self.interpreters {
            match ask(interpreter) {
                Ok(folders) => folders.into_iter().for_each(&mut add),
                Err(trouble) => {
                    troubles.push(Err(format!("`{}`: {trouble}", interpreter.display())));
                }
            }
        }
        found.extend(troubles);
        found
    }
}

fn of_prefix(prefix: &Path) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for lib in ["lib", "lib64"] {
        let Ok(entries) = fs::read_dir(prefix.join(lib)) else {
            continue;
        };
        let names = entries.flatten().map(|entry| entry.path());
        let mut versions: Vec<PathBuf> = names
            .filter(|path| {
                let name = path.file_name().and_then(|name| name.to_str());
                name.is_some_and(|name| name.starts_with("python3"))
            })
            .collect();
        versions.sort();
        folders.extend(versions.into_iter().map(|path| path.join("site-packages")));
    }
    folders
}

fn ask(interpreter: &Path) -> Result<Vec<PathBuf>, String> {
    let output = command::run(Command::new(interpreter).args(["-c", PROBE]), LIMIT)
        .map_err(|error: RunError| error.to_string())?;
    if !output.status.success() {
        let last = output
            .stderr
            .trim()
            .lines()
            .next_back()
            .unwrap_or("no message");
        return Err(format!("ended with {}: {last}", output.status));
    }
    Ok(output.stdout.lines().map(PathBuf::from).collect())
}

#[cfg(all(test, unix))]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn script(folder: &Path, name: &str, text: &str) -> PathBuf {
        let path = folder.join(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn interpreters_and_environments() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let of_environment = root.join("venv/lib/python3.11/site-packages");
        let of_interpreter = root.join("dist-packages");
        fs::create_dir_all(&of_environment).unwrap();
        fs::create_dir_all(&of_interpreter).unwrap();
        let echo = format!(
            "echo {0}; echo {0}; echo /no/such/folder",
            of_interpreter.display()
        );
        let search = PythonSearch {
            interpreters: vec![
                script(root, "good", &echo),
                script(root, "bad", "echo broken >&2; exit 1"),
                root.join("none"),
            ],
            prefixes: vec![root.join("venv"), root.join("no-venv")],
        };
        let found = search.site_packages();
        assert_eq!(found[..2], [Ok(of_environment), Ok(of_interpreter)]);
        let troubles: Vec<_> = found[2..]
            .iter()
            .map(|found| found.clone().unwrap_err())
            .collect();
        assert!(
            troubles[0].ends_with("ended with exit status: 1: broken"),
            "{}",
            troubles[0]
        );
        assert!(troubles[1].ends_with("none`: not found"), "{}", troubles[1]);
    }
}
