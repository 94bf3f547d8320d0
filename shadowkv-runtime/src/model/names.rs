//! How checkpoints name and fuse the weights of a decoder, as data.

use crate::spec::TensorNames;
use crate::weights::Naming;

/// Names of one kind of checkpoint. Weights have `.weight` behind them, biases `.bias`.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) embedding: &'static str,
    pub(super) final_norm: &'static str,
    pub(super) lm_head: &'static str,
    /// Before the number of a layer.
    pub(super) layer: &'static str,
    pub(super) input_norm: &'static str,
    /// Queries, keys, values: three, or all in one.
    pub(super) qkv: &'static [&'static str],
    pub(super) q_norm: &'static str,
    pub(super) k_norm: &'static str,
    pub(super) output: &'static str,
    pub(super) post_norm: &'static str,
    /// Gate, up: two, or both in one.
    pub(super) gate_up: &'static [&'static str],
    pub(super) down: &'static str,
    /// What may be there and is not read: parts of names.
    pub(super) immaterial: &'static [&'static str],
}

/// Tables that older checkpoints keep; the spec is what says how to rotate.
const ROTARY: &[&str] = &["rotary_emb.", "rotary_pos_emb.", ".masked_bias"];

const LLAMA: Names = Names {
    embedding: "model.embed_tokens",
    final_norm: "model.norm",
    lm_head: "lm_head",
    layer: "model.layers.",
    input_norm: "input_layernorm",
    qkv: &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
    q_norm: "self_attn.q_norm",
    k_norm: "self_attn.k_norm",
    output: "self_attn.o_proj",
    post_norm: "post_attention_layernorm",
    gate_up: &["mlp.gate_proj", "mlp.up_proj"],
    down: "mlp.down_proj",
    immaterial: ROTARY,
};

const GLM: Names = Names {
    gate_up: &["mlp.gate_up_proj"],
    ..LLAMA
};

const PHI3: Names = Names {
    qkv: &["self_attn.qkv_proj"],
    ..GLM
};

const CHATGLM: Names = Names {
    embedding: "transformer.embedding.word_embeddings",
    final_norm: "transformer.encoder.final_layernorm",
    lm_head: "transformer.output_layer",
    layer: "transformer.encoder.layers.",
    qkv: &["self_attention.query_key_value"],
    output: "self_attention.dense",
    gate_up: &["mlp.dense_h_to_4h"],
    down: "mlp.dense_4h_to_h",
    ..LLAMA
};

const GGUF_LLAMA: Names = Names {
    embedding: "token_embd",
    final_norm: "output_norm",
    lm_head: "output",
    layer: "blk.",
    input_norm: "attn_norm",
    qkv: &["attn_q", "attn_k", "attn_v"],
    q_norm: "attn_q_norm",
    k_norm: "attn_k_norm",
    output: "attn_output",
    post_norm: "ffn_norm",
    gate_up: &["ffn_gate", "ffn_up"],
    down: "ffn_down",
    immaterial: &["rope_freqs.", "rope_factors_long.", "rope_factors_short."],
};

const GGUF_GLM: Names = Names {
    gate_up: &["ffn_up"],
    ..GGUF_LLAMA
};

const GGUF_FUSED: Names = Names {
    qkv: &["attn_qkv"],
    ..GGUF_GLM
};

/// The names of weights that the spec says are fused and named in that form.
pub(super) fn names(form: TensorNames, naming: Naming) -> &'static Names {
    match (naming, form) {
        (Naming::Published, TensorNames::Llama) => &LLAMA,
        (Naming::Published, TensorNames::Glm) => &GLM,
        (Naming::Published, TensorNames::Phi3) => &PHI3,
        (Naming::Published, TensorNames::ChatGlm) => &CHATGLM,
        (Naming::Gguf, TensorNames::Llama) => &GGUF_LLAMA,
        (Naming::Gguf, TensorNames::Glm) => &GGUF_GLM,
        (Naming::Gguf, TensorNames::Phi3 | TensorNames::ChatGlm) => &GGUF_FUSED,
    }
}
