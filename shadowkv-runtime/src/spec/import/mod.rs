//! A spec from a Hugging Face `config.json`.
//!
//! Every field of the config is read, known not to matter, or refused: nothing is passed over in silence.

mod config;
mod error;
mod family;
mod features;
mod fields;
mod scaling;
mod write;

use self::config::Config;
pub use self::error::{ImportError, Refusal};
use super::resolved::Spec;
#[cfg(feature = "decoder")]
pub(crate) use write::{DEFAULT_CHUNK_SIZE, default_rank, package_name};

/// What the config does not say, and what to do differently from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportOptions {
    /// Name of the spec; made from `source_name` unless given.
    pub name: Option<String>,
    /// Rank; 160, or the largest multiple of 16 that the keys allow, unless given.
    pub rank: Option<u32>,
    /// Chunk size in tokens; 8 unless given.
    pub chunk_size: Option<u32>,
    /// Sparse budget in tokens; 2048 unless given.
    pub sparse_budget: Option<u32>,
    /// Outlier chunks; 48 unless given.
    pub outlier_chunks: Option<u32>,
    /// Positions to use, at most the model's own; some models are only supported with fewer.
    pub max_position: Option<u32>,
    /// Fields of the config to pass over although nothing reads them.
    pub ignore: Vec<String>,
}

/// A spec made from a config.
#[derive(Clone, Debug, PartialEq)]
pub struct ImportedSpec {
    /// The spec file: YAML with comments that say what was inferred. Ends with a newline.
    pub yaml: String,
    /// What it means.
    pub spec: Spec,
    /// What a person should check; also comments in `yaml`.
    pub warnings: Vec<String>,
}

/// Turns the text of a `config.json` into a spec. Of `source_name`, a path or a name, only the last parts are used.
///
/// # Errors
/// [`ImportError`] naming every field that cannot be honoured, and why.
pub fn import(
    source_name: &str,
    config_json: &str,
    options: &ImportOptions,
) -> Result<ImportedSpec, ImportError> {
    let mut config = Config::parse(source_name, config_json)?;
    let facts = family::read(&mut config, options);
    // Reading ends early where something essential is missing; what comes after it is then unread for no fault.
    if facts.is_some() {
        config.refuse_unread(&options.ignore);
    }
    let facts = config.finish(facts)?;
    let name = options
        .name
        .clone()
        .unwrap_or_else(|| write::name(source_name, &facts));
    let yaml = write::yaml(&name, &write::origin(source_name), &facts, options);
    let spec = Spec::parse("imported spec", &yaml, &[]).map_err(|error| ImportError::Invalid {
        source_name: source_name.to_owned(),
        source: Box::new(error),
    })?;
    Ok(ImportedSpec {
        yaml,
        spec,
        warnings: facts.warnings,
    })
}
