//! From "a compiler, please" to one that works.

use std::fmt;
use std::path::{Path, PathBuf};

use super::Arch;
use super::compile::{self, CompileFailure, CompileRequest, Compiled};
use super::discover::{Candidate, Discovery, Search, discover_api};
use super::library::{Api, CallError};
use super::wheel::{self, InstallOptions, Progress, WheelError};
use crate::cache::{Cache, CacheError};
use crate::env::{self, Environment};

/// How to obtain NVRTC.
#[derive(Clone, Debug, Default)]
pub struct NvrtcOptions {
    /// Where to look.
    pub search: Search,
    /// How to install it into the search's cache when there is none.
    pub install: InstallOptions,
}

impl NvrtcOptions {
    /// What the process environment asks for.
    pub fn from_environment() -> NvrtcOptions {
        NvrtcOptions::new(&Environment::read())
    }

    /// What that environment asks for.
    pub fn new(environment: &Environment) -> NvrtcOptions {
        let cache = Cache::locate(environment.cache_dir.as_deref()).ok();
        NvrtcOptions {
            search: Search::from_environment(environment, cache),
            install: InstallOptions {
                offline: environment.offline,
                ..InstallOptions::default()
            },
        }
    }

    /// The same with downloads forbidden, as `--offline` does; `false` changes nothing.
    #[must_use]
    pub fn offline(mut self, offline: bool) -> NvrtcOptions {
        self.install.offline |= offline;
        self
    }
}

/// Why there is no compiler.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NvrtcError {
    /// `SHADOWKV_NVRTC` names something that cannot be used; nothing else was tried.
    #[error(
        "{} = `{}` cannot be used:\n{discovery}\nset it to a libnvrtc.so.12 or .13 or its folder, or unset it to let the usual places be searched",
        env::NVRTC, path.display()
    )]
    Explicit {
        /// Its value.
        path: PathBuf,
        /// What was found there.
        discovery: Box<Discovery>,
    },
    /// NVRTC is nowhere and could not be installed.
    #[error(
        "no usable NVRTC on this machine:\n{discovery}\nit could not be installed either: {install}"
    )]
    NotFound {
        /// Every place that was looked at.
        discovery: Box<Discovery>,
        /// Why it could not be installed.
        #[source]
        install: WheelError,
    },
    /// NVRTC was installed and still cannot be used.
    #[error("NVRTC was installed but cannot be used:\n{discovery}")]
    Installed {
        /// What is wrong with it.
        discovery: Box<Discovery>,
    },
    /// The library was found but does not answer.
    #[error("`{}`: {source}", path.display())]
    Call {
        /// The library.
        path: PathBuf,
        /// The call.
        source: CallError,
    },
}

/// A loaded NVRTC. Cheap to clone; any number of threads may compile at once.
#[derive(Clone)]
pub struct Nvrtc {
    api: Api,
    candidate: Candidate,
    discovery: Discovery,
    /// As ten times major plus minor.
    supported: Vec<i32>,
}

impl fmt::Debug for Nvrtc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Nvrtc").field(&self.candidate).finish()
    }
}

impl Nvrtc {
    /// Finds NVRTC, or installs it and says so through `progress`.
    ///
    /// # Errors
    /// A library named by the user that cannot be used, or none anywhere and none to be had.
    pub fn open(options: &NvrtcOptions, progress: &dyn Fn(&Progress)) -> Result<Nvrtc, NvrtcError> {
        let (discovery, api) = discover_api(&options.search);
        if let (Some(api), Some(candidate)) = (api, discovery.chosen.clone()) {
            return Nvrtc::new(api, candidate, discovery);
        }
        if let Some(path) = &options.search.explicit {
            return Err(NvrtcError::Explicit {
                path: path.clone(),
                discovery: Box::new(discovery),
            });
        }
        let installed = match &options.search.cache {
            Some(cache) => wheel::install(cache, &options.install, progress),
            None => Err(CacheError::NoHome.into()),
        };
        installed.map_err(|install| NvrtcError::NotFound {
            discovery: Box::new(discovery),
            install,
        })?;
        let again = Search {
            cache: options.search.cache.clone(),
            ..Search::default()
        };
        let (discovery, api) = discover_api(&again);
        match (api, discovery.chosen.clone()) {
            (Some(api), Some(candidate)) => Nvrtc::new(api, candidate, discovery),
            _ => Err(NvrtcError::Installed {
                discovery: Box::new(discovery),
            }),
        }
    }

    fn new(api: Api, candidate: Candidate, discovery: Discovery) -> Result<Nvrtc, NvrtcError> {
        let supported = api.supported().map_err(|source| NvrtcError::Call {
            path: candidate.library.clone(),
            source,
        })?;
        Ok(Nvrtc {
            api,
            candidate,
            discovery,
            supported,
        })
    }

    /// Major and minor version, such as `(12, 9)`.
    pub fn version(&self) -> (i32, i32) {
        self.candidate.version
    }

    /// The library in use.
    pub fn path(&self) -> &Path {
        &self.candidate.library
    }

    /// How it was found, and what was passed over on the way.
    pub fn discovery(&self) -> &Discovery {
        &self.discovery
    }

    /// Those of our architectures that this version compiles for, from old to new.
    pub fn supported_archs(&self) -> Vec<Arch> {
        let known = Arch::ALL.into_iter();
        known.filter(|arch| self.supports(*arch)).collect()
    }

    /// Whether this version compiles for `arch`.
    pub fn supports(&self, arch: Arch) -> bool {
        let (major, minor) = arch.compute_capability();
        let number = i32::try_from(major * 10 + minor);
        number.is_ok_and(|number| self.supported.contains(&number))
    }

    /// Compiles a source to a cubin, with the PTX it came from and what each kernel takes.
    ///
    /// # Errors
    /// The compiler's diagnostics, with the PTX where ptxas is who complains.
    pub fn compile(&self, request: &CompileRequest<'_>) -> Result<Compiled, Box<CompileFailure>> {
        compile::compile((self.api, self.version()), request)
    }
}
