//! `decode_attention`: one query token over a full cache.

use shadowkv_runtime::manifest::Access;

use super::super::builder::Builder;
use super::super::{KernelPlan, PlanError, entry_suffix};
use super::attention::{SpanAttentionTile, Spans, notes, one_per_sequence, query_bytes, workspace};
use crate::spec::Spec;

pub(super) const NAME: &str = "decode_attention";

pub(super) fn plan(spec: &Spec, tile: SpanAttentionTile) -> Result<KernelPlan, PlanError> {
    let build = Builder { kernel: NAME };
    let kv_heads = spec.attention.kv_heads;
    let spans = Spans::new(NAME, spec, tile)?;
    let count = spans.of("max_tokens");
    let mut arguments = vec![
        one_per_sequence(
            build,
            "queries",
            spec,
            Access::Read,
            "this step's queries after RoPE",
        )?,
        build.cache(
            "keys",
            spec,
            Access::Read,
            "rotated keys; position p lies in row row_begin + p",
        )?,
        build.cache(
            "values",
            spec,
            Access::Read,
            "values, in the rows of their keys",
        )?,
        build.token_count()?,
        build.row_begin()?,
        one_per_sequence(
            build,
            "output",
            spec,
            Access::Write,
            "weighted sums of the values",
        )?,
    ];
    arguments.extend(workspace(build, spec, &count)?);
    let queries = query_bytes(spec);
    let partials = spans.partial_bytes(spec, &count);
    let mut text = vec![
        "Full attention, the last token of each sequence over all of its tokens, itself included:".into(),
        "output = sum_t softmax_t(q . k_t / sqrt(head_dim)) v_t, exact softmax; no token gives zeros.".into(),
        String::new(),
        "queries [batch, kv_heads, gqa_ratio, head_dim] bf16, keys and values [rows, kv_heads, head_dim] bf16".into(),
        "-> output [batch, kv_heads, gqa_ratio, head_dim] bf16.".into(),
    ];
    text.extend(notes());
    Ok(KernelPlan {
        name: NAME,
        entry: format!("{NAME}_{}", entry_suffix(spec)),
        summary: "Attention of each sequence's newest token over its full cache.",
        notes: text,
        header: "attention.cuh",
        constants: spans.constants(),
        arguments,
        geometry: build.geometry([&count, &kv_heads.to_string(), "batch"], spans.threads, spans.shared)?,
        work: build.work(
            &format!("total_tokens * {} + batch * {queries}", spec.attention.key_width() * 4),
            &format!("batch * {queries}"),
            "0",
            &format!("total_tokens * {}", spec.attention.key_width() * spec.attention.gqa_ratio * 4),
        )?,
        requests: build.requests(
            &format!(
                "total_tokens * {} + batch * {count} * {} + {partials}",
                spec.attention.key_width() * 4,
                // 12 of where the sequence lies.
                queries + kv_heads * 12
            ),
            &format!("batch * {queries} + {partials}"),
            "the group's queries once per span; where a list has several spans, their partial results, written and read once",
        )?,
    })
}
