//! What this machine has, what it lacks, and what to do about it.

mod driver;
mod render;
mod tools;

use std::path::PathBuf;

use serde::Serialize;

pub use driver::{DeviceReport, DriverReport};
pub use tools::ToolReport;

use crate::cache::Cache;
use crate::env::{self, Environment};
use crate::nvrtc::discover::{Search, discover};
use crate::nvrtc::wheel::{self, Installer};
use crate::nvrtc::{Arch, Discovery};

/// The whole examination.
#[derive(Clone, Debug, Serialize)]
pub struct DoctorReport {
    /// Version of this program.
    pub program_version: String,
    /// What the environment variables say.
    pub environment: Environment,
    /// Whether downloads are forbidden.
    pub offline: bool,
    /// NVRTC: every place looked at, and the one in use.
    pub nvrtc: Discovery,
    /// Our cache.
    pub cache: CacheReport,
    /// Programs that could install NVRTC.
    pub tools: Vec<ToolReport>,
    /// The CUDA driver and its devices.
    pub driver: DriverReport,
    /// What to do, most pressing first; empty when nothing is amiss.
    pub advice: Vec<String>,
}

/// Our cache folder.
#[derive(Clone, Debug, Serialize)]
pub struct CacheReport {
    /// The folder; absent when there is no place for one.
    pub path: Option<PathBuf>,
    /// Whether it can be written to.
    pub writable: bool,
    /// Why not.
    pub error: Option<String>,
}

/// What to examine.
#[derive(Clone, Debug)]
pub struct DoctorOptions {
    /// Where to look for NVRTC.
    pub search: Search,
    /// Programs that could install it.
    pub installers: Vec<Installer>,
    /// What the environment variables say.
    pub environment: Environment,
    /// Downloads are forbidden.
    pub offline: bool,
}

impl DoctorOptions {
    /// The examination of that environment.
    pub fn new(environment: &Environment) -> DoctorOptions {
        let cache = Cache::locate(environment.cache_dir.as_deref()).ok();
        let search = Search {
            thorough: true,
            ..Search::from_environment(environment, cache)
        };
        DoctorOptions {
            search,
            installers: Installer::usual(),
            environment: environment.clone(),
            offline: environment.offline,
        }
    }
}

impl DoctorReport {
    /// Examines the machine. Nothing is installed, and the only thing written is a file in the
    /// cache that is removed at once.
    pub fn examine(options: &DoctorOptions) -> DoctorReport {
        let mut report = DoctorReport {
            program_version: env!("CARGO_PKG_VERSION").to_owned(),
            environment: options.environment.clone(),
            offline: options.offline,
            nvrtc: discover(&options.search),
            cache: examine_cache(options.search.cache.as_ref()),
            tools: options.installers.iter().map(tools::examine).collect(),
            driver: DriverReport::examine(),
            advice: Vec::new(),
        };
        report.advice = advice(&report);
        report
    }

    /// Whether kernels can be compiled here, now or after the download that is allowed.
    pub fn can_compile(&self) -> bool {
        self.nvrtc.chosen.is_some() || self.can_install()
    }

    fn can_install(&self) -> bool {
        let installer = self.tools.iter().any(|tool| tool.version.is_some());
        let free = self.environment.nvrtc.is_none() && !self.offline;
        free && installer && self.cache.writable && wheel::pinned().is_some()
    }
}

fn examine_cache(cache: Option<&Cache>) -> CacheReport {
    let Some(cache) = cache else {
        return CacheReport {
            path: None,
            writable: false,
            error: Some(crate::cache::CacheError::NoHome.to_string()),
        };
    };
    let checked = cache.check_writable();
    CacheReport {
        path: Some(cache.root().to_owned()),
        writable: checked.is_ok(),
        error: checked.err().map(|error| error.to_string()),
    }
}

fn advice(report: &DoctorReport) -> Vec<String> {
    let mut advice = Vec::new();
    match &report.nvrtc.chosen {
        Some(chosen) => {
            let (major, minor) = chosen.version;
            if (major, minor) < (12, 8) {
                advice.push(format!(
                    "NVRTC {major}.{minor} does not compile for {} and {}: use 12.8 or later for those",
                    Arch::Sm100,
                    Arch::Sm120
                ));
            }
            if let Some((driver, _)) = report.driver.version
                && major > driver
            {
                advice.push(format!(
                    "NVRTC {major}.{minor} writes binaries that this driver (CUDA {driver}) does not load: \
                     set {} to an NVRTC of version {driver}, or update the driver",
                    env::NVRTC
                ));
            }
        }
        None if report.environment.nvrtc.is_some() => advice.push(format!(
            "{} names something that cannot be used: correct it, or unset it to let the usual places be searched",
            env::NVRTC
        )),
        None if report.can_install() => advice.push(format!(
            "no NVRTC: {} {} will be installed into the cache at the first compilation",
            wheel::PACKAGE.name,
            wheel::PACKAGE.version
        )),
        None if report.offline => advice.push(format!(
            "no NVRTC, and downloads are off: unset {}, or install {}=={} yourself and set {} to its folder",
            env::OFFLINE,
            wheel::PACKAGE.name,
            wheel::PACKAGE.version,
            env::NVRTC
        )),
        None => advice.push(format!(
            "no NVRTC and nothing to install it with: install Python 3 with pip, or set {} to an NVRTC of your own",
            env::NVRTC
        )),
    }
    if let Some(error) = &report.cache.error {
        advice.push(error.clone());
    }
    if let Some(error) = &report.driver.error {
        advice.push(format!("CUDA driver: {error}"));
    }
    advice
}
