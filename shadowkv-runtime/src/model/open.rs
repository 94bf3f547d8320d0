//! Opening a model.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{
    Locator, Model, ModelError, ModelOptions, ModelWeights, OpenProgress, SpecSource, gguf,
};
use crate::cache::CacheError;
use crate::hub::default_model;
use crate::manifest::Manifest;
use crate::spec::import::{ImportOptions, import, package_name};
use crate::spec::{Override, Spec};
use crate::tokenizer::{ChatTemplate, Tokenizer};
use crate::weights::{Gguf, Metadata, Safetensors};
use crate::wheel::WheelError;

/// Tokens by which chats end a turn although a config may not say so.
const END_OF_TURN: [&str; 5] = [
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|endoftext|>",
    "<end_of_turn>",
];

/// The part of `generation_config.json` that concerns us.
#[derive(Deserialize)]
struct GenerationConfig {
    eos_token_id: Option<OneOrMany>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(u32),
    Many(Vec<u32>),
}

pub(super) fn open(
    locator: Option<&str>,
    options: &ModelOptions,
    progress: &(dyn Fn(&OpenProgress) + Sync),
) -> Result<Model, ModelError> {
    let Some(locator) = locator else {
        let cache = options
            .cache
            .as_ref()
            .ok_or(WheelError::Cache(CacheError::NoHome))?;
        let tell = |step: &_| progress(&OpenProgress::Install(Clone::clone(step)));
        let path = default_model::install(cache, &options.install, &tell)?;
        let named = fill(&options.import, default_model::import_options());
        return open_gguf(&path, options, &named);
    };
    match Locator::new(locator)? {
        Locator::Folder(folder) => open_folder(&folder, options, &options.import),
        Locator::Gguf(path) => open_gguf(&path, options, &options.import),
        Locator::Hub(id) => {
            let path = options
                .hub
                .fetch(&id, &|step| progress(&OpenProgress::Download(step.clone())))?;
            // The folder is named by a commit.
            let name = id.repo.rsplit('/').next().map(package_name);
            let named = fill(
                &options.import,
                ImportOptions {
                    name,
                    ..ImportOptions::default()
                },
            );
            if path.is_dir() {
                open_folder(&path, options, &named)
            } else {
                open_gguf(&path, options, &named)
            }
        }
    }
}

/// What is asked for, and where nothing is, what suits.
fn fill(asked: &ImportOptions, suits: ImportOptions) -> ImportOptions {
    ImportOptions {
        name: asked.name.clone().or(suits.name),
        rank: asked.rank.or(suits.rank),
        chunk_size: asked.chunk_size.or(suits.chunk_size),
        sparse_budget: asked.sparse_budget.or(suits.sparse_budget),
        outlier_chunks: asked.outlier_chunks.or(suits.outlier_chunks),
        max_position: asked.max_position.or(suits.max_position),
        ignore: asked.ignore.clone(),
    }
}

fn open_folder(
    folder: &Path,
    options: &ModelOptions,
    named: &ImportOptions,
) -> Result<Model, ModelError> {
    let weights = match Safetensors::open(folder) {
        Ok(weights) => weights,
        Err(error) => {
            return match only_gguf(folder) {
                Some(path) => open_gguf(&path, options, named),
                None => Err(error.into()),
            };
        }
    };
    let (spec, warnings) = match given_spec(options)? {
        Some(spec) => (spec, Vec::new()),
        None => imported_spec(folder, named, &options.overrides)?,
    };
    let weights = ModelWeights::open(&spec, &weights)?;
    let tokenizer = folder.join("tokenizer.json");
    let tokenizer = tokenizer
        .exists()
        .then(|| Tokenizer::open(tokenizer))
        .transpose()?;
    let chat_template = ChatTemplate::of_folder(folder)?;
    let eos = generation_eos(folder)?;
    Ok(assemble(
        folder,
        spec,
        weights,
        tokenizer,
        chat_template,
        eos,
        warnings,
    ))
}

fn open_gguf(
    path: &Path,
    options: &ModelOptions,
    named: &ImportOptions,
) -> Result<Model, ModelError> {
    let gguf = Gguf::open(path)?;
    gguf::check_layout(&gguf)?;
    let spec = match given_spec(options)? {
        Some(spec) => spec,
        None => gguf::spec(&gguf, named, &options.overrides)?,
    };
    let weights = ModelWeights::open(&spec, &gguf)?;
    // A tokenizer.json beside the file is the model's own.
    let beside = path.with_file_name("tokenizer.json");
    let tokenizer = if beside.is_file() {
        Some(Tokenizer::open(beside)?)
    } else if gguf.metadata().has("tokenizer.ggml.tokens") {
        Some(Tokenizer::from_gguf(&gguf)?)
    } else {
        None
    };
    let chat_template = match &tokenizer {
        Some(tokenizer) => ChatTemplate::of_gguf(&gguf, tokenizer)?,
        None => None,
    };
    let eos = gguf_eos(gguf.metadata())?;
    Ok(assemble(
        path,
        spec,
        weights,
        tokenizer,
        chat_template,
        eos,
        Vec::new(),
    ))
}

fn assemble(
    path: &Path,
    spec: Spec,
    weights: ModelWeights,
    tokenizer: Option<Tokenizer>,
    chat_template: Option<ChatTemplate>,
    eos: Vec<u32>,
    mut warnings: Vec<String>,
) -> Model {
    let vocab = spec.decoder.as_ref().map_or(0, |decoder| decoder.vocab);
    let mut ends: BTreeSet<u32> = eos.into_iter().collect();
    ends.extend(spec.decoder.iter().flat_map(|decoder| &decoder.eos_tokens));
    if let Some(tokenizer) = &tokenizer {
        let ids = END_OF_TURN.iter().filter_map(|token| tokenizer.id(token));
        ends.extend(ids.filter(|id| tokenizer.is_special(*id)));
        if tokenizer.vocab_size() > vocab as usize {
            warnings.push(format!(
                "the tokenizer has {} tokens, the model {vocab}: the tokens beyond are errors when they come up",
                tokenizer.vocab_size()
            ));
        }
    }
    Model {
        path: path.to_owned(),
        spec,
        weights,
        eos_tokens: ends.into_iter().filter(|token| *token < vocab).collect(),
        warnings,
        tokenizer,
        chat_template,
    }
}

/// The spec that was given, whatever the model tells.
fn given_spec(options: &ModelOptions) -> Result<Option<Spec>, ModelError> {
    let overrides = &options.overrides;
    let spec = match &options.spec {
        None => return Ok(None),
        Some(SpecSource::Text(text)) => Spec::parse("spec", text, overrides)?,
        Some(SpecSource::Path(path)) => {
            let manifest = if path.is_dir() {
                path.join("manifest.json")
            } else {
                path.clone()
            };
            if manifest.extension().is_some_and(|end| end == "json") {
                let name = manifest.display().to_string();
                Manifest::load(&manifest)?.spec(&name, overrides)?
            } else {
                Spec::load(path, overrides)?
            }
        }
    };
    Ok(Some(spec))
}

/// The spec that `config.json` makes, with what a person should check of it.
fn imported_spec(
    folder: &Path,
    named: &ImportOptions,
    overrides: &[Override],
) -> Result<(Spec, Vec<String>), ModelError> {
    let path = folder.join("config.json");
    let text = read(&path)?.ok_or_else(|| ModelError::NoConfig {
        folder: folder.to_owned(),
    })?;
    let imported = import(&path.display().to_string(), &text, named)?;
    let spec = if overrides.is_empty() {
        imported.spec
    } else {
        Spec::parse("imported spec", &imported.yaml, overrides)?
    };
    Ok((spec, imported.warnings))
}

/// Tokens at which `generation_config.json` stops.
fn generation_eos(folder: &Path) -> Result<Vec<u32>, ModelError> {
    let path = folder.join("generation_config.json");
    let Some(text) = read(&path)? else {
        return Ok(Vec::new());
    };
    let config: GenerationConfig =
        serde_json::from_str(&text).map_err(|error| ModelError::Json {
            path,
            reason: error.to_string(),
        })?;
    Ok(match config.eos_token_id {
        None => Vec::new(),
        Some(OneOrMany::One(token)) => vec![token],
        Some(OneOrMany::Many(tokens)) => tokens,
    })
}

fn gguf_eos(metadata: &Metadata) -> Result<Vec<u32>, ModelError> {
    let mut tokens = Vec::new();
    for key in ["tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"] {
        tokens.extend(metadata.whole(key)?);
    }
    Ok(tokens)
}

/// The GGUF file of a folder that has but one.
fn only_gguf(folder: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?;
    let paths = entries.flatten().map(|entry| entry.path());
    let mut found = paths.filter(|path| path.extension().is_some_and(|end| end == "gguf"));
    let only = found.next()?;
    found.next().is_none().then_some(only)
}

fn read(path: &Path) -> Result<Option<String>, ModelError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ModelError::Read {
            path: path.to_owned(),
            source,
        }),
    }
}
