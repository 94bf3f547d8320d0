//! Running pip, or what stands in for it.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::{Attempt, InstallOptions, Package, Progress, WheelError};
use crate::cache::CacheError;
use crate::command::{self, Output, RunError};

/// Lines of an installer's output that an error shows.
const LINES: usize = 12;

/// Longest time a program may take to tell its version.
const PROBE_LIMIT: Duration = Duration::from_secs(60);

/// A program that can fetch a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installer {
    /// Program, as a name to look up or a path.
    pub program: PathBuf,
    /// What makes it an installer, such as `-m pip`.
    pub arguments: Vec<String>,
    /// What it is a dialect of.
    pub kind: InstallerKind,
}

/// Which options a program understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstallerKind {
    /// `pip download` leaves the wheel.
    Pip,
    /// `uv pip` knows no download; it installs into a folder.
    Uv,
}

impl Installer {
    /// An installer of pip's kind, such as `python3` with `-m pip`.
    pub fn pip(program: impl Into<PathBuf>, arguments: &[&str]) -> Installer {
        Installer {
            program: program.into(),
            arguments: arguments.iter().map(ToString::to_string).collect(),
            kind: InstallerKind::Pip,
        }
    }

    /// `python3 -m pip`, `python -m pip`, `pip3`, `pip`, `uv pip`.
    pub fn usual() -> Vec<Installer> {
        vec![
            Installer::pip("python3", &["-m", "pip"]),
            Installer::pip("python", &["-m", "pip"]),
            Installer::pip("pip3", &[]),
            Installer::pip("pip", &[]),
            Installer {
                program: "uv".into(),
                arguments: vec!["pip".to_owned()],
                kind: InstallerKind::Uv,
            },
        ]
    }

    /// The command as one would type it.
    pub fn label(&self) -> String {
        let program = self.program.display().to_string();
        let parts = std::iter::once(program).chain(self.arguments.iter().cloned());
        parts.collect::<Vec<_>>().join(" ")
    }

    /// The command that prints the version, and fails where the installer cannot be used.
    pub(crate) fn version_command(&self) -> Command {
        let mut command = Command::new(&self.program);
        // `uv pip` has no such option.
        if self.kind == InstallerKind::Pip {
            command.args(&self.arguments);
        }
        command.arg("--version");
        command
    }

    fn command(&self, folder: &Path, requirements: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        let words: &[&str] = match self.kind {
            InstallerKind::Pip => &[
                "download",
                "--no-deps",
                "--only-binary=:all:",
                "--require-hashes",
                "--disable-pip-version-check",
                "--no-input",
                "--progress-bar=off",
                "--dest",
            ],
            InstallerKind::Uv => &[
                "install",
                "--no-deps",
                "--only-binary=:all:",
                "--require-hashes",
                "--no-progress",
                "--target",
            ],
        };
        command.args(words).arg(folder);
        command.args([OsString::from("--requirement"), requirements.into()]);
        // Nothing goes into any environment of the user's, so a wish for one does not apply.
        command.env_remove("PIP_REQUIRE_VIRTUALENV");
        // uv would fetch a whole Python when it finds none; nobody has agreed to that.
        command.env("UV_PYTHON_DOWNLOADS", "never");
        command
    }
}

/// What an installer left.
pub(super) enum Fetched {
    /// The wheel itself.
    Wheel(PathBuf),
    /// A folder into which the wheel was unpacked.
    Folder(PathBuf),
}

/// Fetches the package into `folder` with the first installer that there is.
pub(super) fn fetch(
    package: &'static Package,
    folder: &Path,
    options: &InstallOptions,
    progress: &dyn Fn(&Progress),
) -> Result<Fetched, WheelError> {
    let requirements = folder.join("requirements.txt");
    fs::write(&requirements, requirements_text(package))
        .map_err(|error| CacheError::io("write", &requirements, error))?;
    let mut tried = Vec::new();
    let mut python_is_there = false;
    for installer in &options.installers {
        let label = installer.label();
        match probe(installer) {
            Ok(()) => {}
            Err(Missing { reason, program }) => {
                python_is_there |= !program;
                tried.push(Attempt {
                    command: label,
                    reason,
                });
                continue;
            }
        }
        progress(&Progress::Downloading {
            package,
            command: label.clone(),
        });
        let into = folder.join("package");
        let mut command = installer.command(&into, &requirements);
        let output = command::run(&mut command, options.limit).map_err(|error| match error {
            RunError::Timeout(limit) => WheelError::Timeout {
                command: label.clone(),
                seconds: limit.as_secs(),
            },
            other => WheelError::Installer {
                command: label.clone(),
                status: other.to_string(),
                lines: String::new(),
            },
        })?;
        // uv runs without a Python and installs for none.
        if output.stderr.contains("No interpreter found") {
            tried.push(Attempt {
                command: label,
                reason: "finds no Python".to_owned(),
            });
            continue;
        }
        if !output.status.success() {
            return Err(failure(package, label, folder, &output));
        }
        return fetched(installer.kind, into, label);
    }
    Err(if python_is_there {
        WheelError::NoPip { package, tried }
    } else {
        WheelError::NoPython { package, tried }
    })
}

/// Every platform's hash, so that pip picks the platform.
fn requirements_text(package: &Package) -> String {
    let hashes = package
        .wheels
        .iter()
        .map(|wheel| format!(" --hash=sha256:{}", wheel.sha256));
    let Package { name, version, .. } = package;
    format!("{name}=={version}{}\n", hashes.collect::<String>())
}

struct Missing {
    reason: String,
    /// Whether the program itself is what is missing.
    program: bool,
}

/// Asks for the version: tells a Python without pip from a pip that fails.
fn probe(installer: &Installer) -> Result<(), Missing> {
    let output = command::run(&mut installer.version_command(), PROBE_LIMIT);
    let output = output.map_err(|error| Missing {
        program: matches!(error, RunError::NotFound),
        reason: error.to_string(),
    })?;
    if output.status.success() {
        return Ok(());
    }
    let last = output
        .stderr
        .trim()
        .lines()
        .next_back()
        .unwrap_or("no message");
    Err(Missing {
        reason: last.to_owned(),
        program: false,
    })
}

fn fetched(kind: InstallerKind, into: PathBuf, label: String) -> Result<Fetched, WheelError> {
    if kind == InstallerKind::Uv {
        return Ok(Fetched::Folder(into));
    }
    let entries = fs::read_dir(&into).map_err(|error| CacheError::io("read", &into, error))?;
    let mut files = entries.flatten().map(|entry| entry.path());
    let wheel = files.find(|path| path.extension().is_some_and(|end| end == "whl"));
    wheel.map(Fetched::Wheel).ok_or(WheelError::Installer {
        command: label,
        status: "success".to_owned(),
        lines: "it left no wheel".to_owned(),
    })
}

/// Sorts a failure by what its output says; pip's exit status is 1 for all of them.
fn failure(
    package: &'static Package,
    command: String,
    folder: &Path,
    output: &Output,
) -> WheelError {
    const NETWORK: [&str; 9] = [
        "NewConnectionError",
        "ConnectTimeoutError",
        "ReadTimeoutError",
        "ProxyError",
        "NameResolutionError",
        "Network is unreachable",
        "Temporary failure in name resolution",
        "Connection refused",
        "error sending request",
    ];
    let text = format!("{}{}", output.stdout, output.stderr);
    let says = |words: &str| text.contains(words);
    if says("No space left on device") || says("Disk quota exceeded") {
        return CacheError::DiskFull {
            path: folder.to_owned(),
        }
        .into();
    }
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let lines = lines[lines.len().saturating_sub(LINES)..].join("\n");
    if says("DO NOT MATCH THE HASHES") || says("Hash mismatch") {
        let expected: Vec<_> = package.wheels.iter().map(|wheel| wheel.sha256).collect();
        return WheelError::Hash {
            file: format!("{} {}", package.name, package.version),
            expected: expected.join(" or "),
            found: lines,
        };
    }
    if NETWORK.iter().any(|words| says(words)) {
        return WheelError::Network {
            package,
            command,
            lines,
        };
    }
    WheelError::Installer {
        command,
        status: output.status.to_string(),
        lines,
    }
}
