//! Features that a config can switch on: read where a spec can say them, refused where it cannot.

use serde_json::{Value, json};

use super::config::Block;
use super::family::Noted;
use crate::spec::resolved::ModelFamily;

pub(super) fn biases(top: &mut Block, model_type: &str) -> Noted<bool> {
    let no = [json!(false)];
    match model_type {
        "chatglm" => {
            top.only(
                "add_bias_linear",
                &no,
                "a spec can say biases on q, k and v alone",
            );
            Noted::said(top.flag("add_qkv_bias").unwrap_or(false))
        }
        "glm" => Noted::said(top.flag("attention_bias").unwrap_or(false)),
        "qwen2" => {
            // The model code has these biases whatever the config says.
            top.only(
                "attention_bias",
                &[json!(true)],
                "qwen2 always has biases on q, k and v",
            );
            Noted::inferred(true, "fixed in the model code of qwen2, not in its config")
        }
        _ => {
            let reason = "it adds a bias to the output projection too; a spec can say biases on q, k and v alone";
            top.only("attention_bias", &no, reason);
            top.only("mlp_bias", &no, "the kernels' MLP has no bias");
            top.only(
                "rope_interleaved",
                &no,
                "this family rotates half-split pairs",
            );
            Noted::said(false)
        }
    }
}

pub(super) fn activation(top: &mut Block) {
    for name in ["hidden_act", "hidden_activation"] {
        top.only(
            name,
            &[json!("silu"), json!("swish")],
            "the MLP's gate is SiLU",
        );
    }
}

/// The switches of the original GLM form, which must stand as GLM-4 has them.
pub(super) fn chatglm_options(top: &mut Block, layers: Option<u32>, vocab: Option<u32>) {
    let (yes, no) = ([json!(true)], [json!(false)]);
    top.only(
        "apply_residual_connection_post_layernorm",
        &no,
        "the residual is taken before the norm",
    );
    top.only(
        "original_rope",
        &yes,
        "only the original interleaved rotation of half a head is known",
    );
    top.only("post_layer_norm", &yes, "the decoder ends with a norm");
    top.only("rmsnorm", &yes, "norms are RMS norms");
    top.only("prefix_projection", &no, "prefix tuning is not supported");
    top.only("pre_seq_len", &[json!(0)], "prefix tuning is not supported");
    top.only(
        "quantization_bit",
        &[json!(0)],
        "import the config of the bfloat16 checkpoint",
    );
    for (name, same, twin) in [
        ("num_hidden_layers", layers, "num_layers"),
        ("vocab_size", vocab, "padded_vocab_size"),
    ] {
        if let (Some(value), Some(same)) = (top.whole(name), same)
            && value != same
        {
            top.refuse(name, format!("it is {value}, but `{twin}` is {same}"));
        }
    }
}

/// Sliding windows: dead text, or no shorter than the context, or refused.
pub(super) fn windows(top: &mut Block, family: ModelFamily, layers: u32, context: u32) {
    let window = top.whole("sliding_window");
    let switch = top.flag("use_sliding_window");
    let first = top.whole("max_window_layers");
    let qwen = matches!(family, ModelFamily::Qwen2 | ModelFamily::Qwen3);
    // Qwen's windows need the switch and begin at layer `max_window_layers`; the others take the number alone.
    let live = if qwen {
        switch.unwrap_or(false) && first.is_none_or(|first| first < layers)
    } else {
        switch != Some(false)
    };
    if let Some(window) = window.filter(|window| live && *window < context) {
        let reason = format!(
            "a window of {window} tokens is shorter than the context of {context}; limit `max_position` to {window} to import the model without it"
        );
        top.refuse("sliding_window", reason);
    }
    if let Some(kinds) = top.value("layer_types") {
        let full = |kind: &Value| kind == "full_attention";
        if live && !kinds.as_array().is_some_and(|kinds| kinds.iter().all(full)) {
            top.refuse("layer_types", "only layers of full attention are supported");
        }
    }
}

/// Qwen2.5-1M: attention in chunks past its original length.
pub(super) fn dual_chunks(top: &mut Block, context: u32) {
    let name = "dual_chunk_attention_config";
    let Some(mut block) = top.block(name) else {
        return;
    };
    let original = block.required("original_max_position_embeddings", Block::whole);
    for read in ["chunk_size", "local_size"] {
        block.whole(read);
    }
    let sparse = block.value("sparse_attention_config").is_some()
        || block.value("sparse_attention_enabled").is_some();
    top.close(block);
    if sparse {
        top.refuse(name, "the model's own sparse attention is not supported");
    }
    if let Some(original) = original.filter(|original| *original < context) {
        let reason = format!(
            "past {original} tokens the model remaps positions chunk by chunk, which is not supported; limit `max_position` to {original}, below which the block changes nothing"
        );
        top.refuse(name, reason);
    }
}
