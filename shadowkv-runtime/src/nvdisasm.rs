//! `nvdisasm`, NVIDIA's disassembler of kernels' binaries: finding it, installing it when that is wished for, running it. It
//! needs no GPU.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::cache::{Cache, CacheError};
use crate::command::{self, RunError};
use crate::env::{self, Environment};
use crate::wheel::{InstallOptions, Package, Progress, Wheel, WheelError};

/// Name of the program.
const PROGRAM: &str = "nvdisasm";
/// Longest time it may take.
const LIMIT: Duration = Duration::from_secs(120);

/// The package. It reads what every compiler up to its version writes.
pub static PACKAGE: Package = Package {
    title: "nvdisasm",
    name: "nvidia-cuda-nvdisasm",
    version: "13.5.37",
    megabytes: 5,
    folder: "nvdisasm",
    program: true,
    platforms: "Linux on x86_64 and aarch64",
    alternative: "set SHADOWKV_NVDISASM to an nvdisasm of your own: the program or its folder `nvidia/cu13/bin`",
    wheels: &WHEELS,
};

const MEMBER: &str = "nvidia/cu13/bin/nvdisasm";
const LICENCE: (&str, &str) = (
    "nvidia_cuda_nvdisasm-13.5.37.dist-info/licenses/License.txt",
    "ad6f5853fba0ca0d159d0f58d49ae49830c2f8c93f7a92648b9ce90adb4c6ccd",
);

static WHEELS: [Wheel; 2] = [
    Wheel {
        machine: Some("x86_64"),
        sha256: "d3fdbdd49fa53e2e4aacd3db8259d052bd2b049ececdcb69e92e083c6728e7ca",
        members: &[
            (
                MEMBER,
                "3bf19e7ab706ed8f68ecc2403d277b97dc110c52e0ac4c4f0c8eada5f7889c3c",
            ),
            LICENCE,
        ],
    },
    Wheel {
        machine: Some("aarch64"),
        sha256: "a3a8248074edb9fba63b74c38a5416b712a91ab09e70b8ab37186c3d293fc605",
        members: &[
            (
                MEMBER,
                "29aa9750249f95271b6095fc874f357945b0a73193097576f8d2bcceedd57241",
            ),
            LICENCE,
        ],
    },
];

/// How to obtain the disassembler.
#[derive(Clone, Debug, Default)]
pub struct NvdisasmOptions {
    /// `SHADOWKV_NVDISASM`: the program or its folder. Nothing else is tried then.
    pub explicit: Option<PathBuf>,
    /// Folders that may hold it, in order.
    pub folders: Vec<PathBuf>,
    /// Our cache.
    pub cache: Option<Cache>,
    /// How to install it into the cache; `None`: not at all.
    pub install: Option<InstallOptions>,
}

impl NvdisasmOptions {
    /// What the process environment asks for; nothing is installed.
    pub fn from_environment() -> NvdisasmOptions {
        NvdisasmOptions::new(&Environment::read())
    }

    /// What that environment asks for; nothing is installed.
    pub fn new(environment: &Environment) -> NvdisasmOptions {
        let toolkits = [&environment.cuda_home, &environment.cuda_path];
        let toolkits = toolkits.into_iter().flatten().map(|root| root.join("bin"));
        NvdisasmOptions {
            explicit: environment.nvdisasm.clone(),
            folders: toolkits.chain(environment.program_path.clone()).collect(),
            cache: Cache::locate(environment.cache_dir.as_deref()).ok(),
            install: None,
        }
    }

    /// The same with leave to install it, unless `offline` or the environment forbids downloads.
    #[must_use]
    pub fn installing(mut self, offline: bool) -> NvdisasmOptions {
        self.install = Some(InstallOptions {
            offline: offline || Environment::read().offline,
            ..InstallOptions::default()
        });
        self
    }
}

/// Why there is no disassembler, or no listing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NvdisasmError {
    /// `SHADOWKV_NVDISASM` names something that cannot be used; nothing else was tried.
    #[error(
        "{} = `{}` cannot be used: {reason}; set it to nvdisasm or its folder, or unset it to let the usual places be searched",
        env::NVDISASM, path.display()
    )]
    Explicit {
        /// Its value.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// It is nowhere.
    #[error(
        "no nvdisasm in CUDA_HOME, CUDA_PATH, PATH or the cache{}: allow its download (--install), or set {} to one",
        tried(.rejected), env::NVDISASM
    )]
    NotFound {
        /// Those that were found and cannot be used, and why not.
        rejected: Vec<(PathBuf, String)>,
    },
    /// It could not be installed.
    #[error("no nvdisasm on this machine, and it could not be installed: {0}")]
    Install(#[source] WheelError),
    /// It was installed and still cannot be used.
    #[error("nvdisasm was installed, but `{}` cannot be used: {reason}", path.display())]
    Installed {
        /// The program.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// It does not take a binary.
    #[error("`{}`: {reason}", program.display())]
    Run {
        /// The program.
        program: PathBuf,
        /// Its last words.
        reason: String,
    },
    /// The binary cannot be handed over.
    #[error("cannot write a temporary file for nvdisasm: {0}")]
    File(#[from] io::Error),
}

fn tried(rejected: &[(PathBuf, String)]) -> String {
    let each = rejected
        .iter()
        .map(|(path, reason)| format!(" (`{}`: {reason})", path.display()));
    each.collect()
}

/// A disassembler that runs.
#[derive(Clone, Debug)]
pub struct Nvdisasm {
    program: PathBuf,
    version: String,
}

impl Nvdisasm {
    /// Finds the disassembler, or installs it, where that is allowed, and says so through `progress`.
    ///
    /// # Errors
    /// A program named by the user that cannot be used, or none anywhere and none to be had.
    pub fn open(
        options: &NvdisasmOptions,
        progress: &dyn Fn(&Progress),
    ) -> Result<Nvdisasm, NvdisasmError> {
        if let Some(path) = &options.explicit {
            let program = if path.is_dir() {
                path.join(PROGRAM)
            } else {
                path.clone()
            };
            return Nvdisasm::at(program).map_err(|reason| NvdisasmError::Explicit {
                path: path.clone(),
                reason,
            });
        }
        let mut rejected = Vec::new();
        let programs = options.folders.iter().map(|folder| folder.join(PROGRAM));
        for program in programs.filter(|program| program.is_file()) {
            match Nvdisasm::at(program.clone()) {
                Ok(found) => return Ok(found),
                Err(reason) => rejected.push((program, reason)),
            }
        }
        if let (Some(cache), Some(pinned)) = (&options.cache, PACKAGE.pinned()) {
            let folder = pinned.folder_in(cache);
            if folder.is_dir() {
                let program = folder.join(PROGRAM);
                let found = pinned
                    .verify(&folder)
                    .and_then(|()| Nvdisasm::at(program.clone()));
                match found {
                    Ok(found) => return Ok(found),
                    Err(reason) => rejected.push((program, reason)),
                }
            }
        }
        let Some(install) = &options.install else {
            return Err(NvdisasmError::NotFound { rejected });
        };
        let installed = match &options.cache {
            Some(cache) => PACKAGE.install(cache, install, progress),
            None => Err(CacheError::NoHome.into()),
        };
        let path = installed.map_err(NvdisasmError::Install)?.join(PROGRAM);
        Nvdisasm::at(path.clone()).map_err(|reason| NvdisasmError::Installed { path, reason })
    }

    /// The program, if it answers.
    fn at(program: PathBuf) -> Result<Nvdisasm, String> {
        let text = run(Command::new(&program).arg("--version"))?;
        let release = text.split_whitespace().find_map(|word| {
            word.strip_prefix('V')
                .filter(|rest| starts_with_digit(rest))
        });
        let version = release.ok_or("it tells no version")?.to_owned();
        Ok(Nvdisasm { program, version })
    }

    /// Its version, such as `13.5.37`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The program.
    pub fn path(&self) -> &Path {
        &self.program
    }

    /// The instructions of a binary, as text.
    ///
    /// # Errors
    /// [`NvdisasmError::Run`] for a binary that it does not know.
    pub fn disassemble(&self, cubin: &[u8]) -> Result<String, NvdisasmError> {
        let mut file = tempfile::NamedTempFile::new()?;
        io::Write::write_all(&mut file, cubin)?;
        let mut command = Command::new(&self.program);
        command.arg("--print-code").arg(file.path());
        run(&mut command).map_err(|reason| NvdisasmError::Run {
            program: self.program.clone(),
            reason,
        })
    }
}

impl fmt::Display for Nvdisasm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "nvdisasm {}", self.version)
    }
}

fn starts_with_digit(text: &str) -> bool {
    text.starts_with(|character: char| character.is_ascii_digit())
}

/// What a command prints, or its last words.
fn run(command: &mut Command) -> Result<String, String> {
    let output = command::run(command, LIMIT).map_err(|error: RunError| error.to_string())?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let text = format!("{}{}", output.stdout, output.stderr);
    let last = text.trim().lines().next_back().unwrap_or("no message");
    Err(format!("{} ({})", last.trim(), output.status))
}
