//! The spec as it is written: the shape of the YAML, with an `Option` wherever there is a default.
//!
//! The doc comments here are what an editor shows: the JSON schema is made from these types.

use schemars::JsonSchema;
use serde::Deserialize;

use super::limits as l;
use super::resolved::{
    Activation, LongRopeTable, ModelFamily, RopeLayout, StorageType, TensorNames,
};

/// A `ShadowKV` model spec: the attention geometry, the rotary embedding and the method's parameters of one model.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "ShadowKV model spec")]
pub struct RawSpec {
    /// Package name: lower-case letters, digits, `-`, `_` and `.`, beginning with a letter or digit; names the output folder.
    #[schemars(regex(pattern = r"^[a-z0-9][a-z0-9._-]*$"), length(max = l::NAME_LENGTH_MAX))]
    pub name: String,
    /// Free text for people.
    pub description: Option<String>,
    /// Head geometry of the attention layers.
    pub attention: RawAttention,
    /// Rotary position embedding.
    pub rope: RawRope,
    /// Parameters of the method.
    pub shadowkv: RawShadowKv,
    /// What a whole decoder needs beyond attention; leave it out to use the attention kernels alone.
    pub decoder: Option<RawDecoder>,
}

/// Head geometry of the attention layers.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawAttention {
    /// Elements of one head: a multiple of 8 from 32 to 256.
    #[schemars(range(min = l::HEAD_DIM_MIN, max = l::HEAD_DIM_MAX), extend("multipleOf" = l::HEAD_DIM_STEP))]
    pub head_dim: u32,
    /// Key/value heads. `kv_heads * head_dim` is at most 16384.
    #[schemars(range(min = 1, max = l::KV_HEADS_MAX))]
    pub kv_heads: u32,
    /// Query heads that share one KV head, 1 to 16.
    #[schemars(range(min = 1, max = l::GQA_RATIO_MAX))]
    pub gqa_ratio: u32,
}

/// Rotary position embedding.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawRope {
    /// Base of the frequencies (`rope_theta`), greater than 1.
    #[schemars(extend("exclusiveMinimum" = 1))]
    pub base: f64,
    /// Which elements form a rotated pair.
    #[schemars(extend("default" = "half_split"))]
    pub layout: Option<RopeLayout>,
    /// Leading elements of a head that are rotated: even, at most `head_dim`, which is the default.
    #[schemars(range(min = 2, max = l::HEAD_DIM_MAX), extend("multipleOf" = 2))]
    pub rotary_dim: Option<u32>,
    /// Positions the model may use, tokens; at most 2^21.
    #[schemars(range(min = 1, max = l::MAX_POSITION), extend("default" = l::DEFAULT_MAX_POSITION))]
    pub max_position: Option<u32>,
    /// Scaling of the frequencies for long contexts; none unless given.
    pub scaling: Option<RawScaling>,
}

/// Scaling of the rotary frequencies. Which fields are read depends on `kind`; the others are errors.
///
/// Flat rather than one type per kind, so that a mistake inside keeps its line and column.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawScaling {
    /// The formula.
    pub kind: RawScalingKind,
    /// llama3, yarn: divisor of the low frequencies, at least 1.
    #[schemars(range(min = 1))]
    pub factor: Option<f64>,
    /// llama3: wavelengths above `original_max_position / low_freq_factor` are divided.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub low_freq_factor: Option<f64>,
    /// llama3: wavelengths below `original_max_position / high_freq_factor` are kept.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub high_freq_factor: Option<f64>,
    /// llama3, yarn, longrope: context length the model was first trained for, tokens.
    #[schemars(range(min = 1, max = l::MAX_POSITION))]
    pub original_max_position: Option<u32>,
    /// yarn: rotations at which the ramp begins (32).
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub beta_fast: Option<f64>,
    /// yarn: rotations at which the ramp ends (1).
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub beta_slow: Option<f64>,
    /// yarn, longrope: multiplier of cosine and sine. Default for yarn `0.1 ln(factor) + 1`, for longrope
    /// `sqrt(1 + ln(max_position / original_max_position) / ln(original_max_position))`.
    #[schemars(range(min = 0.001, max = 1000.0))]
    pub attention_factor: Option<f64>,
    /// longrope: `rotary_dim / 2` divisors for prompts up to `original_max_position`.
    #[schemars(extend("items" = {"type": "number", "exclusiveMinimum": 0}))]
    pub short_factor: Option<Vec<f64>>,
    /// longrope: `rotary_dim / 2` divisors for longer prompts.
    #[schemars(extend("items" = {"type": "number", "exclusiveMinimum": 0}))]
    pub long_factor: Option<Vec<f64>>,
    /// longrope: the table every sequence uses whatever its length.
    pub force: Option<LongRopeTable>,
}

/// The formula that scales the frequencies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RawScalingKind {
    /// Plain `base^(-2i/rotary_dim)`.
    None,
    /// Llama 3.1: low frequencies divided, high ones kept, a ramp in between.
    Llama3,
    /// `YaRN`: a ramp over dimensions, and a factor on cosine and sine.
    Yarn,
    /// `LongRoPE`: one divisor per frequency, a short and a long list, and a factor on cosine and sine.
    LongRope,
}

/// Parameters of the method (`ShadowKV`, arXiv 2410.21465).
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawShadowKv {
    /// Rank of the joint factorisation of the pre-RoPE keys: a multiple of 16, at most `kv_heads * head_dim`.
    #[schemars(range(min = l::RANK_STEP, max = l::KEY_WIDTH_MAX), extend("multipleOf" = l::RANK_STEP))]
    pub rank: u32,
    /// Tokens in a chunk: 4, 8, 16 or 32.
    #[schemars(extend("enum" = l::CHUNK_SIZES))]
    pub chunk_size: u32,
    /// Tokens attended through selected chunks per step and KV head; a multiple of `chunk_size`.
    #[schemars(range(min = 4, max = l::SELECTED_CHUNKS_MAX * 32), extend("default" = l::DEFAULT_SPARSE_BUDGET))]
    pub sparse_budget: Option<u32>,
    /// Chunks per KV head kept exact because their mean represents them badly.
    #[schemars(range(max = l::EXACT_CHUNKS_MAX), extend("default" = l::DEFAULT_OUTLIER_CHUNKS))]
    pub outlier_chunks: Option<u32>,
    /// Whole chunks at the prompt's end kept exact; at least 1.
    #[schemars(range(min = 1, max = l::EXACT_CHUNKS_MAX), extend("default" = l::DEFAULT_LOCAL_CHUNKS))]
    pub local_chunks: Option<u32>,
    /// Generated tokens the exact window holds beyond the local chunks before its oldest chunk is compressed.
    #[schemars(range(max = l::GENERATED_WINDOW_MAX), extend("default" = l::DEFAULT_GENERATED_WINDOW))]
    pub generated_window: Option<u32>,
    /// Chunk slots on the GPU per KV head: at least `sparse_budget / chunk_size`; twice that unless given.
    #[schemars(range(min = 1, max = l::RESIDENT_CHUNKS_MAX))]
    pub resident_chunks: Option<u32>,
    /// Element types of the compressed stores.
    pub storage: Option<RawStorage>,
}

/// Element types of the compressed stores.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawStorage {
    /// Values in host memory and in the slots.
    #[schemars(extend("default" = "bf16"))]
    pub values: Option<StorageType>,
    /// Landmarks (mean keys).
    #[schemars(extend("default" = "bf16"))]
    pub landmarks: Option<StorageType>,
    /// The factor of the keys with one row of `rank` elements per token.
    #[schemars(extend("default" = "bf16"))]
    pub factors: Option<StorageType>,
}

/// What a whole decoder needs beyond attention.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawDecoder {
    /// Model family.
    pub family: ModelFamily,
    /// Decoder layers.
    #[schemars(range(min = 1, max = l::LAYERS_MAX))]
    pub layers: u32,
    /// Width of the residual stream, elements: a multiple of 8.
    #[schemars(range(min = l::WIDTH_STEP, max = l::HIDDEN_MAX), extend("multipleOf" = l::WIDTH_STEP))]
    pub hidden: u32,
    /// Inner width of the gated MLP, elements: a multiple of 8.
    #[schemars(range(min = l::WIDTH_STEP, max = l::FFN_MAX), extend("multipleOf" = l::WIDTH_STEP))]
    pub ffn: u32,
    /// Rows of the embedding.
    #[schemars(range(min = 1, max = l::VOCAB_MAX))]
    pub vocab: u32,
    /// Epsilon of the RMS norms, between 0 and 1.
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))]
    pub norm_eps: f64,
    /// Activation of the MLP's gate.
    #[schemars(extend("default" = "silu"))]
    pub activation: Option<Activation>,
    /// Biases on the q, k and v projections; true for qwen2 and glm, false for the others unless given.
    pub qkv_bias: Option<bool>,
    /// RMS norm of q and k per head before `RoPE`; what the family does (true for qwen3 alone).
    pub qk_norm: Option<bool>,
    /// The output projection reuses the embedding.
    #[schemars(extend("default" = false))]
    pub tied_embeddings: Option<bool>,
    /// How the weights are named in the checkpoint; phi3 and glm for those families, llama for the others unless given.
    pub tensor_names: Option<TensorNames>,
    /// Token that begins a sequence, if the model has one.
    pub bos_token: Option<u32>,
    /// Tokens that end a generation; may be empty.
    pub eos_tokens: Vec<u32>,
}
