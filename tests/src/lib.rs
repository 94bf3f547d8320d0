//! Helpers shared by the tests across the shadowkv crates.
//!
//! | to | use |
//! | --- | --- |
//! | go through every spec there is | [`specs`], [`shipped`], [`odd`] |
//! | plan and emit one | [`Case::plan`], [`Case::package`] |
//! | make specs nobody thought of | [`random`] |
//! | compile, and read the machine code | [`nvrtc`], [`nvdisasm`] |

#![allow(
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a test that cannot go on has failed"
)]

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use shadowkv_codegen::emit::{Package, emit};
use shadowkv_codegen::plan::Plan;
use shadowkv_codegen::spec::Spec;
use shadowkv_codegen::tune::file::plan_with;
use shadowkv_runtime::nvdisasm::{Nvdisasm, NvdisasmOptions};
use shadowkv_runtime::nvrtc::{Arch, Nvrtc, NvrtcOptions};

pub mod random;

/// Folder of the specs that people use, below the repository's root.
pub const SHIPPED: &str = "model-specs";

/// Folder of the checked-in packages, below the repository's root.
pub const PACKAGES: &str = "kernels-generated";

/// Folder of the specs at the edges of what is allowed, below the repository's root.
pub const ODD: &str = "tests/specs";

/// One spec file.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its path below the repository's root, for messages.
    pub file: String,
    /// What it says.
    pub spec: Spec,
}

impl Case {
    /// Name of the spec and of its package.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// Its plan: with the tiles of its tuning file where one is checked in, which must be one that may be used.
    pub fn plan(&self) -> Plan {
        let folder = root().join(PACKAGES).join(self.name());
        let (plan, refused) = plan_with(&self.spec, &folder, Arch::Sm80)
            .unwrap_or_else(|error| panic!("{}: {error}", self.file));
        if let Some(refused) = refused {
            panic!("{refused}");
        }
        plan
    }

    /// Its package.
    pub fn package(&self) -> Package {
        emit(&self.plan()).unwrap_or_else(|error| panic!("{}: {error}", self.file))
    }
}

/// The repository's root.
pub fn root() -> &'static Path {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests)
}

/// Every spec: the shipped ones, then the odd ones, each by file name.
pub fn specs() -> impl Iterator<Item = &'static Case> {
    shipped().iter().chain(odd())
}

/// The specs in `model-specs`, by file name.
pub fn shipped() -> &'static [Case] {
    static CASES: OnceLock<Vec<Case>> = OnceLock::new();
    CASES.get_or_init(|| read(SHIPPED))
}

/// The specs in `tests/specs`, by file name.
pub fn odd() -> &'static [Case] {
    static CASES: OnceLock<Vec<Case>> = OnceLock::new();
    CASES.get_or_init(|| read(ODD))
}

fn read(folder: &str) -> Vec<Case> {
    let path = root().join(folder);
    let listed =
        std::fs::read_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut files: Vec<PathBuf> = listed
        .map(|entry| {
            entry
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
                .path()
        })
        .filter(|file| file.extension() == Some(OsStr::new("yaml")))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{} holds no spec", path.display());
    let case = |file: PathBuf| {
        let spec = Spec::load(&file, &[]).unwrap_or_else(|error| panic!("{}", error.render(false)));
        let stem = file
            .file_stem()
            .map(|stem| stem.to_string_lossy().into_owned())
            .unwrap_or_default();
        assert_eq!(
            spec.name, stem,
            "{folder}/{stem}.yaml: a spec is named like its file"
        );
        Case {
            file: format!("{folder}/{stem}.yaml"),
            spec,
        }
    };
    files.into_iter().map(case).collect()
}

/// The compiler, from where a user of this machine has it; fetched into the user's cache where there is none. A test that
/// needs it fails without it.
pub fn nvrtc() -> &'static Nvrtc {
    static NVRTC: OnceLock<Nvrtc> = OnceLock::new();
    NVRTC.get_or_init(|| {
        let say = |step: &_| eprintln!("{step}");
        Nvrtc::open(&NvrtcOptions::from_environment(), &say)
            .unwrap_or_else(|error| panic!("{error}"))
    })
}

/// The disassembler, on the same terms.
pub fn nvdisasm() -> &'static Nvdisasm {
    static NVDISASM: OnceLock<Nvdisasm> = OnceLock::new();
    NVDISASM.get_or_init(|| {
        let say = |step: &_| eprintln!("{step}");
        let options = NvdisasmOptions::from_environment().installing(false);
        Nvdisasm::open(&options, &say).unwrap_or_else(|error| panic!("{error}"))
    })
}
