//! `landmark_score`: scores of all landmarks for the queries of a group.

use serde::{Deserialize, Serialize};
use shadowkv_runtime::manifest::{Access, Dtype};

use super::super::builder::{Builder, shape};
use super::super::{KernelPlan, PlanError, SCORE_SPAN, entry_suffix};
use super::{constant, require};
use crate::spec::Spec;

pub(super) const NAME: &str = "landmark_score";

/// Tile of `landmark_score`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LandmarkScoreTile {
    /// Warps of a block, one span of 64 chunks each.
    pub warps: u32,
}

impl LandmarkScoreTile {
    /// Four warps: they share nothing, so small blocks fill the GPU most evenly.
    pub fn heuristic() -> LandmarkScoreTile {
        LandmarkScoreTile { warps: 4 }
    }
}

pub(super) fn plan(spec: &Spec, tile: LandmarkScoreTile) -> Result<KernelPlan, PlanError> {
    let build = Builder { kernel: NAME };
    let head_dim = spec.attention.head_dim;
    let kv_heads = spec.attention.kv_heads;
    let gqa_ratio = spec.attention.gqa_ratio;
    let warps = tile.warps;
    require((1..=16).contains(&warps), NAME, "warps", warps, || {
        "from 1 to 16".into()
    })?;
    let mut arguments = vec![
        build.pointer(
            "queries",
            Dtype::Bf16,
            Access::Read,
            shape!["batch", kv_heads, gqa_ratio, head_dim],
            "this step's queries after RoPE",
        )?,
        build.landmarks(spec, Access::Read)?,
        build.outlier_mask(spec, Access::Read)?,
        build.chunk_count("compressed chunks of each sequence, outliers included")?,
    ];
    arguments.extend(build.store()?);
    arguments.push(build.scores(spec, Access::Write)?);
    arguments.push(build.span_softmax(spec, Access::Write)?);
    arguments.push(build.score_stride());
    Ok(KernelPlan {
        name: NAME,
        entry: format!("{NAME}_{}", entry_suffix(spec)),
        summary: "Score of every landmark for all query heads of its group, and partial softmax sums.",
        notes: vec![
            "ShadowKV, section 4.2: scores[g, j] = q_g . landmark_j / sqrt(head_dim); outliers get minus infinity.".into(),
            String::new(),
            "queries [batch, kv_heads, gqa_ratio, head_dim] bf16, landmarks [kv_heads, capacity, head_dim] bf16".into(),
            "-> scores [batch, kv_heads, gqa_ratio, score_stride] f32, span_softmax [batch, kv_heads, gqa_ratio, spans, 2] f32.".into(),
            "A warp owns a span of 64 landmarks of one head, and scores it for the whole group with one read.".into(),
        ],
        header: "spec.cuh",
        constants: vec![
            constant("THREADS", warps * 32, "threads of a block"),
            constant("SPANS_PER_BLOCK", warps, "spans of 64 chunks of a block, one per warp"),
            constant("LANDMARK_TILES", SCORE_SPAN / 16, "mma tiles of 16 landmarks in a span"),
            constant("HEAD_TILES", gqa_ratio.div_ceil(8), "mma tiles of 8 query heads"),
            constant("STEPS", head_dim.div_ceil(32), "loads of 32 elements over a head"),
        ],
        arguments,
        geometry: build.geometry(
            [&format!("ceil_div(max_chunks, {})", warps * SCORE_SPAN), &kv_heads.to_string(), "batch"],
            warps * 32,
            0,
        )?,
        work: build.work(
            &format!("total_chunks * {} + batch * {}", kv_heads * head_dim * 2, kv_heads * gqa_ratio * head_dim * 2),
            &format!("total_chunks * {}", kv_heads * gqa_ratio * 4),
            "0",
            &format!("total_chunks * {}", kv_heads * gqa_ratio * head_dim * 2),
        )?,
        requests: build.requests(
            &format!(
                "total_chunks * {} + batch * ceil_div(max_chunks, {SCORE_SPAN}) * {}",
                kv_heads * head_dim * 2,
                // 8 bytes of the mask, and 24 of where the sequence lies.
                kv_heads * (gqa_ratio * head_dim * 2 + 32)
            ),
            &format!(
                "batch * ceil_div(max_chunks, {SCORE_SPAN}) * {}",
                kv_heads * gqa_ratio * (SCORE_SPAN * 4 + 8)
            ),
            "the group's queries and the span's mask once per span of 64 chunks; written besides the scores: the spans' partial sums",
        )?,
    })
}
