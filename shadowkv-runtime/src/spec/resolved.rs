//! The resolved spec: every default filled in, every value checked.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A complete, valid model spec.
///
/// Notation of the docs: `H` = [`Attention::kv_heads`], `G` = [`Attention::gqa_ratio`],
/// `d` = [`Attention::head_dim`], `D` = `H * d`, `C` = [`ShadowKv::chunk_size`], `R` = [`ShadowKv::rank`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Spec {
    /// Package name: lower-case letters, digits, `-`, `_` and `.`; names the output folder.
    pub name: String,
    /// Head geometry.
    pub attention: Attention,
    /// Rotary embedding.
    pub rope: Rope,
    /// Parameters of the method (`ShadowKV`, arXiv 2410.21465).
    pub shadowkv: ShadowKv,
    /// What a whole decoder needs beyond attention.
    pub decoder: Option<Decoder>,
}

/// Head geometry of the attention layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Attention {
    /// Elements of one head, `d`: a multiple of 8 in `32..=256`.
    pub head_dim: u32,
    /// Key/value heads, `H`.
    pub kv_heads: u32,
    /// Query heads that share one KV head, `G`: `1..=16`.
    pub gqa_ratio: u32,
}

impl Attention {
    /// Width of one token's keys over all KV heads, `D = H * d` elements.
    pub fn key_width(&self) -> u32 {
        self.kv_heads * self.head_dim
    }

    /// Query heads, `H * G`.
    pub fn query_heads(&self) -> u32 {
        self.kv_heads * self.gqa_ratio
    }
}

/// Rotary position embedding.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rope {
    /// Base of the frequencies (`rope_theta`), > 1.
    pub base: f64,
    /// Which elements form a rotated pair.
    pub layout: RopeLayout,
    /// Leading elements of a head that are rotated: even, `2..=head_dim`.
    pub rotary_dim: u32,
    /// Positions the model may use, `1..=2^21`: beyond, an f32 angle of frequency 1 is no longer reduced exactly.
    pub max_position: u32,
    /// Scaling of the frequencies for long contexts.
    pub scaling: RopeScaling,
}

/// Which elements of the rotary part form a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RopeLayout {
    /// Element `i` with `i + rotary_dim / 2` (Llama, Qwen, Phi, Yi).
    HalfSplit,
    /// Element `2i` with `2i + 1` (GLM).
    Interleaved,
}

/// Scaling of the rotary frequencies.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum RopeScaling {
    /// Plain `base^(-2i/rotary_dim)`.
    None,
    /// Llama 3.1: low frequencies divided by `factor`, high ones kept, a ramp in between.
    Llama3 {
        /// Divisor of the low frequencies.
        factor: f64,
        /// Wavelengths above `original_max_position / low_freq_factor` are divided.
        low_freq_factor: f64,
        /// Wavelengths below `original_max_position / high_freq_factor` are kept.
        high_freq_factor: f64,
        /// Context length the model was first trained for, tokens.
        original_max_position: u32,
    },
    /// `YaRN`: ramp over dimensions, and a factor on cosine and sine.
    Yarn {
        /// Divisor of the low frequencies.
        factor: f64,
        /// Context length the model was first trained for, tokens.
        original_max_position: u32,
        /// Rotations at which the ramp begins (32 unless the model says otherwise).
        beta_fast: f64,
        /// Rotations at which the ramp ends (1 unless the model says otherwise).
        beta_slow: f64,
        /// Multiplier of cosine and sine (`0.1 ln(factor) + 1` unless given).
        attention_factor: f64,
    },
    /// `LongRoPE`: one divisor per frequency, a short and a long list, and a factor on cosine and sine.
    LongRope {
        /// Divisors for prompts up to `original_max_position`; `rotary_dim / 2` of them.
        short_factor: Vec<f64>,
        /// Divisors for longer prompts; `rotary_dim / 2` of them.
        long_factor: Vec<f64>,
        /// Prompt length in tokens above which the long list is chosen.
        original_max_position: u32,
        /// Multiplier of cosine and sine, both lists (`sqrt(1 + ln(max/original) / ln(original))` unless given).
        attention_factor: f64,
        /// A table every sequence uses whatever its length, if the spec forces one.
        force: Option<LongRopeTable>,
    },
}

/// One of the two frequency tables of `LongRoPE`; the discriminant is the table's index in the emitted code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LongRopeTable {
    /// The table of `short_factor`, index 0.
    Short = 0,
    /// The table of `long_factor`, index 1.
    Long = 1,
}

/// Parameters of the method (`ShadowKV`, sections 3 and 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ShadowKv {
    /// Rank of the joint factorisation of the pre-RoPE keys, `R`: a multiple of 16 up to `D`.
    pub rank: u32,
    /// Tokens in a chunk, `C`: 4, 8, 16 or 32.
    pub chunk_size: u32,
    /// Tokens attended through selected chunks per step and KV head; a multiple of `chunk_size`.
    pub sparse_budget: u32,
    /// Chunks per KV head kept exact because their mean represents them badly.
    pub outlier_chunks: u32,
    /// Whole chunks at the prompt's end kept exact.
    pub local_chunks: u32,
    /// Generated tokens the exact window holds beyond the local chunks before its oldest chunk is folded.
    pub generated_window: u32,
    /// Chunk slots on the GPU per KV head; at least [`ShadowKv::selected_chunks`].
    pub resident_chunks: u32,
    /// How the three stores are kept.
    pub storage: Storage,
}

impl ShadowKv {
    /// Chunks selected per step and KV head, `k = sparse_budget / chunk_size`.
    pub fn selected_chunks(&self) -> u32 {
        self.sparse_budget / self.chunk_size
    }
}

/// Storage types of the three compressed stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Storage {
    /// Values in host memory and in the slots.
    pub values: StorageType,
    /// Landmarks (mean keys).
    pub landmarks: StorageType,
    /// The factor `A` of the keys, `[tokens, rank]`.
    pub factors: StorageType,
}

/// An element type of stored tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StorageType {
    /// bfloat16, 2 bytes.
    Bf16,
}

impl StorageType {
    /// Size of one element in bytes.
    pub fn bytes(self) -> u32 {
        match self {
            StorageType::Bf16 => 2,
        }
    }
}

/// What a whole decoder needs beyond attention.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Decoder {
    /// Model family.
    pub family: ModelFamily,
    /// Decoder layers.
    pub layers: u32,
    /// Width of the residual stream, elements.
    pub hidden: u32,
    /// Inner width of the gated MLP, elements.
    pub ffn: u32,
    /// Rows of the embedding.
    pub vocab: u32,
    /// Epsilon of the RMS norms.
    pub norm_eps: f64,
    /// Activation of the gate.
    pub activation: Activation,
    /// Biases on the q, k and v projections.
    pub qkv_bias: bool,
    /// RMS norm of q and k per head before `RoPE` (Qwen3).
    pub qk_norm: bool,
    /// The output projection reuses the embedding.
    pub tied_embeddings: bool,
    /// How the weights are named in the checkpoint.
    pub tensor_names: TensorNames,
    /// Token that begins a sequence, if the model has one.
    pub bos_token: Option<u32>,
    /// Tokens that end a generation.
    pub eos_tokens: Vec<u32>,
}

impl Decoder {
    /// Elements of the weights of one layer.
    pub fn layer_weights(&self, attention: &Attention) -> u64 {
        let queries = u64::from(attention.query_heads() * attention.head_dim);
        let qkv = queries + 2 * u64::from(attention.key_width());
        let mut layer = u64::from(self.hidden) * (qkv + queries + 3 * u64::from(self.ffn) + 2);
        if self.qkv_bias {
            layer += qkv;
        }
        if self.qk_norm {
            layer += 2 * u64::from(attention.head_dim);
        }
        layer
    }
}

/// Model family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ModelFamily {
    /// Llama 2/3, Yi, `SmolLM2`.
    Llama,
    /// Mistral.
    Mistral,
    /// Qwen2, Qwen2.5.
    Qwen2,
    /// Qwen3 (per-head q and k norm).
    Qwen3,
    /// Phi-3.
    Phi3,
    /// GLM-4.
    Glm,
}

/// Activation of the MLP's gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `x * sigmoid(x)`.
    Silu,
}

/// How the weights of a checkpoint are named and fused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TensorNames {
    /// `model.layers.L.self_attn.{q,k,v}_proj`, `mlp.{gate,up,down}_proj` (llama, mistral, qwen2, qwen3).
    Llama,
    /// Llama's names with fused `qkv_proj` and `gate_up_proj`.
    Phi3,
    /// Llama's names with fused `gate_up_proj` (the transformers form of GLM).
    Glm,
    /// `transformer.encoder.layers.L.self_attention.query_key_value` (the original GLM form).
    #[serde(rename = "chatglm")]
    ChatGlm,
}
