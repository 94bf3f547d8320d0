//! What each model type's config means.

use super::ImportOptions;
use super::config::{Block, Config};
use super::features;
use super::scaling::{self, Scaling};
use crate::spec::resolved::{ModelFamily, RopeLayout, TensorNames};

/// A value and, if the config does not say it outright, where it comes from.
pub(super) struct Noted<T> {
    pub(super) value: T,
    pub(super) note: Option<String>,
}

impl<T> Noted<T> {
    pub(super) fn said(value: T) -> Self {
        Noted { value, note: None }
    }

    pub(super) fn inferred(value: T, note: impl Into<String>) -> Self {
        Noted {
            value,
            note: Some(note.into()),
        }
    }
}

/// Everything a spec needs of a model.
pub(super) struct Facts {
    pub(super) model_type: String,
    pub(super) original_name: Option<String>,
    pub(super) family: ModelFamily,
    pub(super) tensor_names: TensorNames,
    pub(super) head_dim: Noted<u32>,
    pub(super) kv_heads: Noted<u32>,
    pub(super) gqa_ratio: u32,
    pub(super) base: Noted<f64>,
    pub(super) layout: RopeLayout,
    pub(super) rotary_dim: Noted<u32>,
    pub(super) max_position: Noted<u32>,
    pub(super) scaling: Scaling,
    pub(super) layers: u32,
    pub(super) hidden: u32,
    pub(super) ffn: u32,
    pub(super) vocab: u32,
    pub(super) norm_eps: f64,
    pub(super) qkv_bias: Noted<bool>,
    pub(super) tied: bool,
    pub(super) bos: Option<u32>,
    pub(super) eos: Vec<u32>,
    pub(super) warnings: Vec<String>,
}

const TYPES: &str = "llama, mistral, qwen2, qwen3, phi3, chatglm, glm";

/// Reads the config. `None`, or whatever was read, with refusals where something is missing or cannot be honoured.
pub(super) fn read(config: &mut Config, options: &ImportOptions) -> Option<Facts> {
    let top = &mut config.top;
    let model_type = top.required("model_type", Block::text)?;
    let (family, tensor_names) = match model_type.as_str() {
        "llama" => (ModelFamily::Llama, TensorNames::Llama),
        "mistral" => (ModelFamily::Mistral, TensorNames::Llama),
        "qwen2" => (ModelFamily::Qwen2, TensorNames::Llama),
        "qwen3" => (ModelFamily::Qwen3, TensorNames::Llama),
        "phi3" => (ModelFamily::Phi3, TensorNames::Phi3),
        "chatglm" => (ModelFamily::Glm, TensorNames::ChatGlm),
        "glm" => (ModelFamily::Glm, TensorNames::Glm),
        other => {
            top.refuse(
                "model_type",
                format!("`{other}` is not supported; supported: {TYPES}"),
            );
            return None;
        }
    };
    let chat = tensor_names == TensorNames::ChatGlm;
    let names = if chat { &CHATGLM } else { &USUAL };
    let sizes = [
        names.layers,
        "hidden_size",
        names.ffn,
        names.vocab,
        "num_attention_heads",
    ]
    .map(|name| top.required(name, Block::whole));
    let [layers, hidden, ffn, vocab, heads] = sizes;
    let norm_eps = top.required(names.eps, Block::number);
    let positions = top.required(names.positions, Block::whole);
    let head_dim = head_dim(top, names, hidden, heads);
    let kv_heads = kv_heads(top, chat, heads);
    let rope = scaling::read(top, family == ModelFamily::Phi3, positions);
    let base = base(top, chat, rope.theta);
    let bos = top.whole("bos_token_id");
    let eos = top
        .required("eos_token_id", Block::wholes)
        .unwrap_or_default();
    let tied = top.flag("tie_word_embeddings").unwrap_or(false);
    let qkv_bias = features::biases(top, &model_type);
    features::activation(top);
    if chat {
        features::chatglm_options(top, layers, vocab);
    }
    let (hidden, layers, head_dim, kv_heads, heads) =
        (hidden?, layers?, head_dim?, kv_heads?, heads?);
    if kv_heads.value == 0 || !heads.is_multiple_of(kv_heads.value) {
        let reason = format!(
            "{heads} query heads cannot share {} KV heads evenly",
            kv_heads.value
        );
        top.refuse("num_attention_heads", reason);
        return None;
    }
    let max_position = max_position(top, positions?, &rope, options);
    features::windows(top, family, layers, max_position.value);
    features::dual_chunks(top, max_position.value);
    let mut scaling = rope.scaling;
    let rotary_dim = rotary(top, family, chat, head_dim.value, rope.partial);
    keep_attention_factor(&mut scaling, positions?, max_position.value);
    let warnings = warnings(&model_type, base.value);
    Some(Facts {
        original_name: top.text("_name_or_path"),
        model_type,
        family,
        tensor_names,
        gqa_ratio: heads / kv_heads.value,
        head_dim,
        kv_heads,
        base,
        layout: if family == ModelFamily::Glm {
            RopeLayout::Interleaved
        } else {
            RopeLayout::HalfSplit
        },
        rotary_dim,
        max_position,
        scaling,
        layers,
        hidden,
        ffn: ffn?,
        vocab: vocab?,
        norm_eps: norm_eps?,
        qkv_bias,
        tied,
        bos,
        eos,
        warnings,
    })
}

/// What a form of config calls its fields.
struct Names {
    layers: &'static str,
    ffn: &'static str,
    vocab: &'static str,
    eps: &'static str,
    positions: &'static str,
    head_dim: &'static str,
}

const USUAL: Names = Names {
    layers: "num_hidden_layers",
    ffn: "intermediate_size",
    vocab: "vocab_size",
    eps: "rms_norm_eps",
    positions: "max_position_embeddings",
    head_dim: "head_dim",
};

const CHATGLM: Names = Names {
    layers: "num_layers",
    ffn: "ffn_hidden_size",
    vocab: "padded_vocab_size",
    eps: "layernorm_epsilon",
    positions: "seq_length",
    head_dim: "kv_channels",
};

fn head_dim(
    top: &mut Block,
    names: &Names,
    hidden: Option<u32>,
    heads: Option<u32>,
) -> Option<Noted<u32>> {
    if let Some(said) = top.whole(names.head_dim) {
        return Some(Noted::said(said));
    }
    let (hidden, heads) = (hidden?, heads?);
    if heads == 0 || !hidden.is_multiple_of(heads) {
        let reason =
            format!("it is missing, and `hidden_size` {hidden} is not a multiple of {heads} heads");
        top.refuse(names.head_dim, reason);
        return None;
    }
    Some(Noted::inferred(
        hidden / heads,
        "hidden_size / num_attention_heads",
    ))
}

fn kv_heads(top: &mut Block, chat: bool, heads: Option<u32>) -> Option<Noted<u32>> {
    let all = |why: &str| heads.map(|heads| Noted::inferred(heads, why));
    if !chat {
        let said = top.whole("num_key_value_heads").map(Noted::said);
        return said.or_else(|| all("no num_key_value_heads: one per query head"));
    }
    let groups = top.whole("multi_query_group_num");
    if top.flag("multi_query_attention").unwrap_or(false) {
        if groups.is_none() {
            top.refuse("multi_query_group_num", "it is missing");
        }
        groups.map(|groups| Noted::inferred(groups, "multi_query_group_num"))
    } else {
        all("no multi_query_attention: one per query head")
    }
}

fn base(top: &mut Block, chat: bool, theta: Option<f64>) -> Noted<f64> {
    const USUAL_BASE: f64 = 10_000.0;
    if chat {
        let ratio = top.number("rope_ratio").unwrap_or(1.0);
        return Noted::inferred(USUAL_BASE * ratio, format!("10000 * rope_ratio {ratio}"));
    }
    theta.map_or_else(
        || Noted::inferred(USUAL_BASE, "no rope_theta: the library's default"),
        Noted::said,
    )
}

fn max_position(
    top: &mut Block,
    positions: u32,
    rope: &scaling::Rope,
    options: &ImportOptions,
) -> Noted<u32> {
    let own = match rope.reach {
        Some(reach) if reach > positions => Noted::inferred(
            reach,
            "yarn's original_max_position_embeddings * factor; the config keeps the unscaled length",
        ),
        _ => Noted::said(positions),
    };
    match options.max_position {
        Some(wanted) if wanted > own.value => {
            let reason = format!(
                "{wanted} positions were asked for, but the model has {}",
                own.value
            );
            top.refuse("max_position_embeddings", reason);
            own
        }
        Some(wanted) if wanted < own.value => {
            Noted::inferred(wanted, format!("limited from the model's {}", own.value))
        }
        _ => own,
    }
}

fn rotary(
    top: &mut Block,
    family: ModelFamily,
    chat: bool,
    head_dim: u32,
    partial: Option<f64>,
) -> Noted<u32> {
    if chat {
        return Noted::inferred(
            head_dim / 2,
            "half of kv_channels, fixed in the model code of chatglm",
        );
    }
    let share = |factor: f64| (f64::from(head_dim) * factor) as u32;
    match (family, partial) {
        (ModelFamily::Glm, None) => Noted::inferred(
            share(0.5),
            "half of head_dim: no partial_rotary_factor means 0.5 for glm",
        ),
        (_, Some(factor)) if !(factor > 0.0 && factor <= 1.0) => {
            top.refuse(
                "partial_rotary_factor",
                format!("{factor} is not a share of the head"),
            );
            Noted::said(head_dim)
        }
        (ModelFamily::Glm | ModelFamily::Phi3, Some(factor)) if factor < 1.0 => Noted::inferred(
            share(factor),
            format!("head_dim * partial_rotary_factor {factor}"),
        ),
        (_, Some(factor)) if factor < 1.0 => {
            top.refuse(
                "partial_rotary_factor",
                format!("{factor} is not read by this family's model code"),
            );
            Noted::said(head_dim)
        }
        _ => Noted::said(head_dim),
    }
}

/// longrope's factor follows from the lengths of the config, also where fewer positions are used.
fn keep_attention_factor(scaling: &mut Scaling, positions: u32, max_position: u32) {
    if let Scaling::LongRope {
        original,
        attention: attention @ None,
        ..
    } = scaling
        && positions != max_position
    {
        let (max, original) = (f64::from(positions), f64::from(*original));
        *attention = Some((1.0 + (max / original).ln() / original.ln()).sqrt());
    }
}

fn warnings(model_type: &str, base: f64) -> Vec<String> {
    if model_type == "glm" && base <= 10_000.0 {
        let text = "rope_theta is 10000: published conversions of GLM-4 dropped the original's rope_ratio; \
                    compare with 10000 * rope_ratio of the original config";
        return vec![text.to_owned()];
    }
    Vec::new()
}
