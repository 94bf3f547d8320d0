//! `decoder:`: the rest of the model.

use super::super::limits as l;
use super::super::raw::RawDecoder;
use super::super::resolved::{Activation, Decoder, ModelFamily, Rope, RopeLayout, TensorNames};
use super::finding::Findings;

pub(super) fn resolve(raw: RawDecoder, rope: &Rope, findings: &mut Findings) -> Decoder {
    let family = raw.family;
    let sizes = [
        (
            "decoder.layers",
            raw.layers,
            l::LAYERS_MAX,
            "it is the model's `num_hidden_layers`",
        ),
        (
            "decoder.vocab",
            raw.vocab,
            l::VOCAB_MAX,
            "it is the model's `vocab_size`",
        ),
    ];
    for (path, value, max, help) in sizes {
        findings.within(path, value, 1, max, help);
    }
    let widths = [
        (
            "decoder.hidden",
            raw.hidden,
            l::HIDDEN_MAX,
            "it is the model's `hidden_size`",
        ),
        (
            "decoder.ffn",
            raw.ffn,
            l::FFN_MAX,
            "it is the model's `intermediate_size`",
        ),
    ];
    for (path, value, max, help) in widths {
        width(path, value, max, help, findings);
    }
    // It is added in f32.
    let eps_right = raw.norm_eps as f32 >= f32::MIN_POSITIVE && raw.norm_eps < 1.0;
    findings.number(
        "decoder.norm_eps",
        raw.norm_eps,
        eps_right,
        "a number of at least 1.2e-38 and less than 1",
    );

    let qk_norm = family == ModelFamily::Qwen3;
    if raw.qk_norm.is_some_and(|written| written != qk_norm) {
        let says = if qk_norm {
            "norms q and k in every layer"
        } else {
            "has no norm of q and k"
        };
        findings
            .clash(
                "decoder.qk_norm",
                format!("family `{}` {says}", family_name(family)),
            )
            .allowed(format!("`{qk_norm}` for this family"))
            .help("remove the key: the family decides; the family with a q and k norm is `qwen3`");
    }
    let tensor_names = raw.tensor_names.unwrap_or(names_of(family)[0]);
    if !names_of(family).contains(&tensor_names) {
        let allowed: Vec<_> = names_of(family)
            .iter()
            .map(|names| format!("`{}`", names_name(*names)))
            .collect();
        findings
            .clash(
                "decoder.tensor_names",
                format!(
                    "family `{}` has no `{}` tensor names",
                    family_name(family),
                    names_name(tensor_names)
                ),
            )
            .allowed(allowed.join(", "))
            .help("remove the key for the family's own names");
    }
    layout(family, rope.layout, findings);
    tokens(&raw, findings);
    Decoder {
        family,
        layers: raw.layers,
        hidden: raw.hidden,
        ffn: raw.ffn,
        vocab: raw.vocab,
        norm_eps: raw.norm_eps,
        activation: raw.activation.unwrap_or(Activation::Silu),
        qkv_bias: raw
            .qkv_bias
            .unwrap_or(matches!(family, ModelFamily::Qwen2 | ModelFamily::Glm)),
        qk_norm,
        tied_embeddings: raw.tied_embeddings.unwrap_or(false),
        tensor_names,
        bos_token: raw.bos_token,
        eos_tokens: raw.eos_tokens,
    }
}

/// Rows are read and written 16 bytes at a time.
fn width(path: &str, value: u32, max: u32, help: &str, findings: &mut Findings) {
    let step = l::WIDTH_STEP;
    if !(step..=max).contains(&value) || !value.is_multiple_of(step) {
        findings
            .range(path, format!("`{path}` cannot be {value}"))
            .allowed(format!("a multiple of {step} from {step} to {max}"))
            .help(help);
    }
}

/// A wrong layout changes every number and nothing else says so.
fn layout(family: ModelFamily, layout: RopeLayout, findings: &mut Findings) {
    let (half_split, interleaved) = ("half_split", "interleaved");
    let (right, name, other) = match family {
        ModelFamily::Glm => (RopeLayout::Interleaved, interleaved, half_split),
        _ => (RopeLayout::HalfSplit, half_split, interleaved),
    };
    if layout != right {
        let family = family_name(family);
        let default = if findings.is_written("rope.layout") {
            ""
        } else {
            ", the default"
        };
        findings
            .clash("rope.layout", format!("family `{family}` does not rotate in the layout `{other}`{default}"))
            .allowed(format!("`{name}` for this family"))
            .help(format!("write `layout: {name}`, or leave `decoder` out for attention kernels of another model"));
    }
}

fn tokens(raw: &RawDecoder, findings: &mut Findings) {
    let mut token = |path: &str, token: u32| {
        if token >= raw.vocab && raw.vocab > 0 {
            findings
                .clash(path, format!("token {token} is not in the vocabulary"))
                .allowed(format!("0 to {} (`vocab` - 1)", raw.vocab - 1));
        }
    };
    if let Some(bos) = raw.bos_token {
        token("decoder.bos_token", bos);
    }
    for (i, eos) in raw.eos_tokens.iter().enumerate() {
        token(&format!("decoder.eos_tokens[{i}]"), *eos);
    }
}

/// The names a family's checkpoints use; the default first.
fn names_of(family: ModelFamily) -> &'static [TensorNames] {
    match family {
        ModelFamily::Llama | ModelFamily::Mistral | ModelFamily::Qwen2 | ModelFamily::Qwen3 => {
            &[TensorNames::Llama]
        }
        ModelFamily::Phi3 => &[TensorNames::Phi3],
        ModelFamily::Glm => &[TensorNames::Glm, TensorNames::ChatGlm],
    }
}

pub(in crate::spec) fn family_name(family: ModelFamily) -> &'static str {
    match family {
        ModelFamily::Llama => "llama",
        ModelFamily::Mistral => "mistral",
        ModelFamily::Qwen2 => "qwen2",
        ModelFamily::Qwen3 => "qwen3",
        ModelFamily::Phi3 => "phi3",
        ModelFamily::Glm => "glm",
    }
}

pub(in crate::spec) fn names_name(names: TensorNames) -> &'static str {
    match names {
        TensorNames::Llama => "llama",
        TensorNames::Phi3 => "phi3",
        TensorNames::Glm => "glm",
        TensorNames::ChatGlm => "chatglm",
    }
}
