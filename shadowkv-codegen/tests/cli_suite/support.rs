//! A folder of one's own to run the program in, and what a run printed.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use shadowkv_runtime::env::{self, Environment};
use shadowkv_runtime::nvrtc::{Nvrtc, NvrtcOptions};
use tempfile::TempDir;

/// A spec that compiles in a second or two.
pub(crate) const SMALL: &str = "\
name: small
attention: { head_dim: 64, kv_heads: 2, gqa_ratio: 4 }
rope: { base: 10000 }
shadowkv: { rank: 32, chunk_size: 8, sparse_budget: 256 }
";

/// The kernels of a package without a decoder.
pub(crate) const KERNELS: [&str; 15] = [
    "rope_append",
    "prefill_attention",
    "key_gram",
    "key_project",
    "chunk_landmarks",
    "select_outliers",
    "store_exact",
    "offload_values",
    "decode_attention",
    "landmark_score",
    "select_chunks",
    "gather_values",
    "reconstruct_keys",
    "sparse_attention",
    "fold_chunk",
];

/// Files of a package: its kernels, five headers, the launchers and the manifest.
pub(crate) const FILES: usize = KERNELS.len() + 7;

/// The cache that all tests share, so that NVRTC is fetched once.
pub(crate) fn cache() -> &'static Path {
    Path::new(concat!(env!("CARGO_TARGET_TMPDIR"), "/cache"))
}

/// A compiler from wherever the program itself would get it.
pub(crate) fn nvrtc() -> Nvrtc {
    let environment = Environment::from_lookup(|name| {
        if name == env::CACHE_DIR {
            Some(cache().into())
        } else {
            std::env::var_os(name)
        }
    });
    let say = |step: &_| eprintln!("{step}");
    Nvrtc::open(&NvrtcOptions::new(&environment), &say).unwrap_or_else(|error| panic!("{error}"))
}

/// A file or folder of the repository.
pub(crate) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// A temporary folder with `small.yaml` in it, in which the program is run.
pub(crate) struct Workplace {
    folder: TempDir,
}

impl Workplace {
    pub(crate) fn new() -> Workplace {
        let workplace = Workplace {
            folder: tempfile::tempdir().unwrap(),
        };
        workplace.write("small.yaml", SMALL);
        workplace
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub(crate) fn read(&self, path: &str) -> String {
        let path = self.path(path);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Paths of all files below `path`, sorted.
    pub(crate) fn files(&self, path: &str) -> Vec<String> {
        let root = self.path(path);
        let mut found = Vec::new();
        let mut folders = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    found.push(path.strip_prefix(&root).unwrap().display().to_string());
                }
            }
        }
        found.sort();
        found
    }

    /// The program, not yet started.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("shadowkv-codegen"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env(env::CACHE_DIR, cache());
        // Set by the test runner; the program would take itself for one started by `cargo run`.
        command.env_remove("CARGO_PKG_NAME").env_remove("NO_COLOR");
        command
    }

    /// Runs the program and expects an exit code.
    pub(crate) fn run(&self, arguments: &[&str], code: i32) -> Ran {
        finish(&mut self.command(arguments), code)
    }
}

/// Runs a command and expects an exit code.
pub(crate) fn finish(command: &mut Command, code: i32) -> Ran {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let ran = Ran {
        command: format!("{command:?}"),
        output,
    };
    assert_eq!(ran.output.status.code(), Some(code), "{ran}");
    ran
}

/// A finished run; shown whole when a test fails.
pub(crate) struct Ran {
    command: String,
    output: Output,
}

impl Ran {
    pub(crate) fn out(&self) -> String {
        String::from_utf8_lossy(&self.output.stdout).into_owned()
    }

    pub(crate) fn err(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    /// Standard output as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.output.stdout)
            .unwrap_or_else(|error| panic!("{error}\n{self}"))
    }

    /// Expects a piece of text on standard output.
    #[track_caller]
    pub(crate) fn prints(&self, piece: &str) -> &Ran {
        assert!(
            self.out().contains(piece),
            "no `{piece}` on standard output\n{self}"
        );
        self
    }

    /// Expects a piece of text on standard error.
    #[track_caller]
    pub(crate) fn says(&self, piece: &str) -> &Ran {
        assert!(
            self.err().contains(piece),
            "no `{piece}` on standard error\n{self}"
        );
        self
    }

    /// Expects standard output to be exactly this.
    #[track_caller]
    pub(crate) fn prints_only(&self, text: &str) -> &Ran {
        assert_eq!(self.out(), text, "{self}");
        self
    }

    /// Expects standard error to be exactly this.
    #[track_caller]
    pub(crate) fn says_only(&self, text: &str) -> &Ran {
        assert_eq!(self.err(), text, "{self}");
        self
    }
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ran { command, output } = self;
        write!(
            f,
            "$ {command}\n{}\n--- out\n{}--- err\n{}",
            output.status,
            self.out(),
            self.err()
        )
    }
}
