//! From the spec as written to the spec as meant: defaults filled in, every limit checked, every problem reported.

mod decoder;
mod finding;
mod rope;
mod shadowkv;

pub(super) use self::decoder::{family_name, names_name};
use self::finding::Findings;
use super::limits as l;
use super::node::Node;
use super::problem::Problem;
use super::raw::{RawAttention, RawSpec};
use super::resolved::{Attention, Spec};

/// Resolves `raw`. The spec is only to be used if there are no problems.
pub(super) fn resolve(raw: RawSpec, root: &Node) -> (Spec, Vec<Problem>) {
    let mut findings = Findings::new(root);
    name(&raw.name, &mut findings);
    let attention = attention(&raw.attention, &mut findings);
    let rope = rope::resolve(raw.rope, attention.head_dim, &mut findings);
    let shadowkv = shadowkv::resolve(&raw.shadowkv, &attention, &mut findings);
    let decoder = raw
        .decoder
        .map(|decoder| decoder::resolve(decoder, &rope, &mut findings));
    let spec = Spec {
        name: raw.name,
        attention,
        rope,
        shadowkv,
        decoder,
    };
    (spec, findings.into_problems())
}

/// Names that Windows gives to devices, with or without an extension.
const DEVICES: [&str; 4] = ["con", "prn", "aux", "nul"];

fn name(name: &str, findings: &mut Findings) {
    let shown: String = name.chars().take(l::NAME_LENGTH_MAX).collect();
    let first = name.bytes().next().unwrap_or_default();
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
    let word = (first.is_ascii_lowercase() || first.is_ascii_digit()) && name.bytes().all(inner);
    if !word || name.len() > l::NAME_LENGTH_MAX {
        findings
            .range("name", format!("`name` is not a package name: {shown:?}"))
            .allowed(format!(
                "lower-case letters, digits, `.`, `_` and `-`, beginning with a letter or digit, at most {} characters",
                l::NAME_LENGTH_MAX
            ))
            .help("it names the output folder, for example `llama-3.1-8b`");
        return;
    }
    let stem = name.split('.').next().unwrap_or_default();
    let port = |prefix| {
        stem.strip_prefix(prefix)
            .is_some_and(|rest: &str| rest.len() == 1 && rest.as_bytes()[0].is_ascii_digit())
    };
    if DEVICES.contains(&stem) || port("com") || port("lpt") || name.ends_with('.') {
        findings
            .range("name", format!("`name` cannot be a folder on every system: {shown:?}"))
            .help("Windows keeps `con`, `prn`, `aux`, `nul`, `com0`-`com9` and `lpt0`-`lpt9`, and drops a final dot: choose another name");
    }
}

fn attention(raw: &RawAttention, findings: &mut Findings) -> Attention {
    let head_dim = raw.head_dim;
    if !(l::HEAD_DIM_MIN..=l::HEAD_DIM_MAX).contains(&head_dim)
        || !head_dim.is_multiple_of(l::HEAD_DIM_STEP)
    {
        findings
            .range(
                "attention.head_dim",
                format!("`attention.head_dim` cannot be {head_dim}"),
            )
            .allowed(format!(
                "a multiple of {} from {} to {}",
                l::HEAD_DIM_STEP,
                l::HEAD_DIM_MIN,
                l::HEAD_DIM_MAX
            ))
            .help("use the model's `head_dim`, or its `hidden_size / num_attention_heads`");
    }
    let kv_heads_right = findings.within(
        "attention.kv_heads",
        raw.kv_heads,
        1,
        l::KV_HEADS_MAX,
        "use the model's `num_key_value_heads`",
    );
    findings.within(
        "attention.gqa_ratio",
        raw.gqa_ratio,
        1,
        l::GQA_RATIO_MAX,
        "it is the model's `num_attention_heads / num_key_value_heads`",
    );
    let width = u64::from(raw.kv_heads) * u64::from(head_dim);
    if kv_heads_right && head_dim <= l::HEAD_DIM_MAX && width > u64::from(l::KEY_WIDTH_MAX) {
        findings
            .clash("attention.kv_heads", format!("{} KV heads of {head_dim} elements make keys of {width} elements", raw.kv_heads))
            .allowed(format!("`kv_heads * head_dim` of at most {}", l::KEY_WIDTH_MAX))
            .help("the joint factorisation works on keys of all KV heads at once; split the heads over several specs");
    }
    Attention {
        head_dim,
        kv_heads: raw.kv_heads,
        gqa_ratio: raw.gqa_ratio,
    }
}
