//! `sparse_attention`: one query token over outliers, selected chunks and the exact window.

use shadowkv_runtime::manifest::{Access, Dtype};

use super::super::builder::{Builder, shape};
use super::super::{KernelPlan, PlanError, entry_suffix};
use super::attention::{SpanAttentionTile, Spans, notes, one_per_sequence, query_bytes, workspace};
use crate::spec::Spec;

pub(super) const NAME: &str = "sparse_attention";

pub(super) fn plan(spec: &Spec, tile: SpanAttentionTile) -> Result<KernelPlan, PlanError> {
    let build = Builder { kernel: NAME };
    let kv_heads = spec.attention.kv_heads;
    let head_dim = spec.attention.head_dim;
    let chunk = spec.shadowkv.chunk_size;
    let selected = spec.shadowkv.selected_chunks();
    let spans = Spans::new(NAME, spec, tile)?;
    let count = spans.of(&format!(
        "outlier_capacity * {chunk} + max_window + {}",
        selected * chunk
    ));
    let slots = |name, doc| build.slots(name, spec, Access::Read, doc);
    let mut arguments = vec![
        one_per_sequence(build, "queries", spec, Access::Read, "this step's queries after RoPE")?,
        build.outliers("outlier_keys", spec, Access::Read, "rotated keys of the outlier chunks")?,
        build.outliers("outlier_values", spec, Access::Read, "values of the outlier chunks")?,
        build.outlier_count(spec, Access::Read)?,
        slots("key_slots", "rotated keys of the chunks in the slots")?,
        slots("value_slots", "values of the chunks in the slots")?,
        build.pointer(
            "selected_slots",
            Dtype::I32,
            Access::Read,
            shape!["batch", kv_heads, selected],
            "slot of each selected chunk, padded with -1",
        )?,
        build.cache("keys", spec, Access::Read, "rotated keys of the exact windows")?,
        build.cache("values", spec, Access::Read, "values, in the rows of their keys")?,
        build.row_begin()?,
        build.row_capacity()?,
        build.chunk_count("compressed chunks of each sequence, outliers included; what follows them is the exact window")?,
        build.token_count()?,
        one_per_sequence(build, "output", spec, Access::Write, "weighted sums of the values")?,
    ];
    arguments.extend(workspace(build, spec, &count)?);
    arguments.push(build.scalar(
        "outlier_capacity",
        Dtype::I64,
        "outlier chunks that each sequence and KV head has room for",
    ));
    let queries = query_bytes(spec);
    let partials = spans.partial_bytes(spec, &count);
    let mut text = vec![
        "ShadowKV, section 4.2: the last token of each sequence over its outlier chunks, its selected chunks and its exact window,".into(),
        "itself included: output = sum_t softmax_t(q . k_t / sqrt(head_dim)) v_t, exact softmax; no token gives zeros.".into(),
        String::new(),
        "outliers [batch, kv_heads, outlier_capacity, chunk_size, head_dim], slots [batch, kv_heads, resident_chunks, chunk_size,".into(),
        "head_dim], window [rows, kv_heads, head_dim] bf16 -> output [batch, kv_heads, gqa_ratio, head_dim] bf16.".into(),
        "One index over the three classes tells where a token's key and value lie.".into(),
    ];
    text.extend(notes());
    Ok(KernelPlan {
        name: NAME,
        entry: format!("{NAME}_{}", entry_suffix(spec)),
        summary: "Attention of each sequence's newest token over outliers, selected chunks and the exact window.",
        notes: text,
        header: "attention.cuh",
        constants: spans.constants(),
        arguments,
        geometry: build.geometry([&count, &kv_heads.to_string(), "batch"], spans.threads, spans.shared)?,
        work: build.work(
            &format!("total_attended * {} + batch * {queries}", head_dim * 4),
            &format!("batch * {queries}"),
            "0",
            &format!("total_attended * {}", head_dim * spec.attention.gqa_ratio * 4),
        )?,
        requests: build.requests(
            &format!(
                "total_attended * {} + batch * {count} * {} + batch * {} + {partials}",
                head_dim * 4,
                // 28 of where the sequence's parts lie.
                queries + kv_heads * 28,
                // A warp's half asks for the slot of each of its tiles' chunks.
                kv_heads * selected * 4 * 2
            ),
            &format!("batch * {queries} + {partials}"),
            "the group's queries once per span; where a list has several spans, their partial results, written and read once; slots of the selected chunks by every tile that holds one",
        )?,
    })
}
