//! The spec of a GGUF file, from its metadata.

use serde_json::{Value, json};

use super::ModelError;
use crate::spec::import::{DEFAULT_CHUNK_SIZE, ImportOptions, default_rank, package_name};
use crate::spec::{Override, Spec, limits};
use crate::weights::{Gguf, Metadata, WeightSource, WeightsError};

/// Architectures whose rows are where we look for them, once a spec says the rest.
const LAYOUTS: &[&str] = &["llama", "qwen2", "qwen3", "phi3", "chatglm"];
/// The one architecture whose metadata is a whole spec.
const COMPLETE: &str = "llama";
/// Where llama.cpp keeps llama3's scaling: as factors per frequency, from which its parameters do not follow.
const SCALED: &str = "rope_freqs.weight";

/// Refuses a file whose tensors may mean something else than their names say.
pub(super) fn check_layout(gguf: &Gguf) -> Result<(), ModelError> {
    let architecture = gguf
        .metadata()
        .text("general.architecture")?
        .unwrap_or_default();
    if LAYOUTS.contains(&architecture) {
        return Ok(());
    }
    Err(ModelError::Architecture {
        path: gguf.path().to_owned(),
        architecture: architecture.to_owned(),
        known: LAYOUTS,
    })
}

/// The spec that the metadata makes.
pub(super) fn spec(
    gguf: &Gguf,
    options: &ImportOptions,
    overrides: &[Override],
) -> Result<Spec, ModelError> {
    let refused = |reason: String| ModelError::GgufSpec {
        path: gguf.path().to_owned(),
        reason,
    };
    let metadata = gguf.metadata();
    let architecture = metadata.text("general.architecture")?.unwrap_or_default();
    if architecture != COMPLETE {
        let reason = format!("only architecture `{COMPLETE}` does, and this is `{architecture}`");
        return Err(refused(reason));
    }
    if let Some(reason) = unreadable(gguf)? {
        return Err(refused(reason));
    }
    let facts = Facts::read(metadata)?;
    if facts.rotary_dim != facts.head_dim {
        let (rotary, head) = (facts.rotary_dim, facts.head_dim);
        return Err(refused(format!(
            "it rotates {rotary} of {head} elements of a head"
        )));
    }
    let tied = gguf.tensor("output.weight").is_err();
    let value = facts.spec(&name(gguf, options)?, tied, options);
    let source_name = gguf.path().display().to_string();
    Ok(Spec::parse(&source_name, &value.to_string(), overrides)?)
}

/// What changes the computation and that the metadata does not say in full.
fn unreadable(gguf: &Gguf) -> Result<Option<String>, WeightsError> {
    let metadata = gguf.metadata();
    if gguf.names().binary_search(&SCALED).is_ok() {
        return Ok(Some(format!("its frequencies are scaled by `{SCALED}`")));
    }
    let scaling = metadata.text("llama.rope.scaling.type")?.unwrap_or("none");
    let linear = metadata.number("llama.rope.scale_linear")?.unwrap_or(1.0);
    if scaling != "none" || linear.to_bits() != 1.0_f64.to_bits() {
        return Ok(Some(format!("its frequencies are scaled (`{scaling}`)")));
    }
    if metadata.whole("llama.expert_count")?.unwrap_or(0) > 0 {
        return Ok(Some("it is a mixture of experts".to_owned()));
    }
    let context = metadata.whole("llama.context_length")?.unwrap_or(0);
    if metadata
        .whole("llama.attention.sliding_window")?
        .is_some_and(|window| window > 0 && window < context)
    {
        return Ok(Some("its attention is within a sliding window".to_owned()));
    }
    Ok(None)
}

/// A name for the spec: as asked for, the model's own, or the file's.
fn name(gguf: &Gguf, options: &ImportOptions) -> Result<String, WeightsError> {
    if let Some(name) = &options.name {
        return Ok(name.clone());
    }
    let own = gguf.metadata().text("general.name")?;
    let stem = gguf
        .path()
        .file_stem()
        .map(|stem| stem.to_string_lossy().into_owned());
    let names = own
        .map(package_name)
        .into_iter()
        .chain(stem.as_deref().map(package_name));
    Ok(names
        .into_iter()
        .find(|name| !name.is_empty())
        .unwrap_or_else(|| COMPLETE.to_owned()))
}

struct Facts {
    layers: u32,
    hidden: u32,
    ffn: u32,
    vocab: u32,
    query_heads: u32,
    kv_heads: u32,
    head_dim: u32,
    rotary_dim: u32,
    context: u32,
    base: f64,
    eps: f64,
    bos: Option<u32>,
    eos: Vec<u32>,
}

impl Facts {
    fn read(metadata: &Metadata) -> Result<Facts, WeightsError> {
        let whole = |key: &str| metadata.whole(&format!("llama.{key}"));
        let required = |key: &str| metadata.required(&format!("llama.{key}"), whole(key)?);
        let hidden = required("embedding_length")?;
        let query_heads = required("attention.head_count")?;
        let kv_heads = whole("attention.head_count_kv")?.unwrap_or(query_heads);
        if query_heads == 0 || kv_heads == 0 || !query_heads.is_multiple_of(kv_heads) {
            return Err(metadata.invalid(format!(
                "{query_heads} query heads cannot share {kv_heads} KV heads evenly"
            )));
        }
        let head_dim = match whole("attention.key_length")? {
            Some(head_dim) => head_dim,
            None if hidden.is_multiple_of(query_heads) => hidden / query_heads,
            None => {
                return Err(
                    metadata.invalid(format!("{hidden} elements are not {query_heads} heads"))
                );
            }
        };
        let tokens = metadata
            .texts("tokenizer.ggml.tokens")?
            .map(|tokens| tokens.len() as u32);
        let vocab = whole("vocab_size")?.or(tokens);
        let eps = metadata.number("llama.attention.layer_norm_rms_epsilon")?;
        Ok(Facts {
            layers: required("block_count")?,
            hidden,
            ffn: required("feed_forward_length")?,
            vocab: metadata.required("llama.vocab_size", vocab)?,
            query_heads,
            kv_heads,
            head_dim,
            rotary_dim: whole("rope.dimension_count")?.unwrap_or(head_dim),
            context: required("context_length")?,
            base: metadata.number("llama.rope.freq_base")?.unwrap_or(10_000.0),
            eps: metadata.required("llama.attention.layer_norm_rms_epsilon", eps)?,
            bos: metadata.whole("tokenizer.ggml.bos_token_id")?,
            eos: metadata
                .whole("tokenizer.ggml.eos_token_id")?
                .into_iter()
                .collect(),
        })
    }

    /// A spec as JSON, which is YAML too.
    fn spec(&self, name: &str, tied: bool, options: &ImportOptions) -> Value {
        let width = self.kv_heads.saturating_mul(self.head_dim);
        let mut decoder = json!({
            "family": "llama",
            "layers": self.layers,
            "hidden": self.hidden,
            "ffn": self.ffn,
            "vocab": self.vocab,
            "norm_eps": self.eps,
            "tied_embeddings": tied,
            "eos_tokens": self.eos,
        });
        if let Some(bos) = self.bos {
            decoder["bos_token"] = bos.into();
        }
        let max_position = options
            .max_position
            .map_or(self.context, |wanted| wanted.min(self.context));
        json!({
            "name": name,
            "attention": {
                "head_dim": self.head_dim,
                "kv_heads": self.kv_heads,
                "gqa_ratio": self.query_heads / self.kv_heads,
            },
            "rope": { "base": self.base, "max_position": max_position },
            "shadowkv": {
                "rank": options.rank.unwrap_or_else(|| default_rank(width)),
                "chunk_size": options.chunk_size.unwrap_or(DEFAULT_CHUNK_SIZE),
                "sparse_budget": options.sparse_budget.unwrap_or(limits::DEFAULT_SPARSE_BUDGET),
                "outlier_chunks": options.outlier_chunks.unwrap_or(limits::DEFAULT_OUTLIER_CHUNKS),
            },
            "decoder": decoder,
        })
    }
}
