//! Fields of configs that no family reads.

/// Fields that do not change what a model computes at inference.
pub(super) const IMMATERIAL: [&str; 32] = [
    "_attn_implementation",
    "_name_or_path",
    "apply_query_key_layer_scaling",
    "architectures",
    "attention_dropout",
    "attention_softmax_in_fp32",
    "attn_implementation",
    "attn_pdrop",
    "auto_map",
    "bias_dropout_fusion",
    "classifier_dropout",
    "dtype",
    "embd_pdrop",
    "finetuning_task",
    "fp32_residual_connection",
    "hidden_dropout",
    "id2label",
    "initializer_range",
    "is_llama_config",
    "label2id",
    "max_window_layers",
    "output_attentions",
    "output_hidden_states",
    "pad_token_id",
    "pretraining_tp",
    "problem_type",
    "resid_pdrop",
    "return_dict",
    "torch_dtype",
    "transformers.js_config",
    "transformers_version",
    "use_cache",
];

/// Why a well-known field is refused.
pub(super) fn reason(name: &str) -> Option<&'static str> {
    Some(match name {
        "quantization_config" => {
            "the checkpoint is quantised; import the config of the bfloat16 checkpoint it was made from"
        }
        "num_local_experts"
        | "num_experts"
        | "n_routed_experts"
        | "num_experts_per_tok"
        | "moe_intermediate_size" => "mixture-of-experts layers are not supported",
        "attn_logit_softcapping" | "final_logit_softcapping" => {
            "soft-capped logits are not supported"
        }
        "vision_config" | "text_config" | "audio_config" => {
            "only plain text decoders are supported"
        }
        _ => return None,
    })
}
