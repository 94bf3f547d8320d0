//! `rope_append`: the new tokens' queries turned, and their keys and values appended to the exact ones.

use serde::{Deserialize, Serialize};
use shadowkv_runtime::manifest::{Access, Dtype};

use super::super::builder::{Builder, shape};
use super::super::{KernelPlan, PlanError, UNIT_ELEMENTS, entry_suffix};
use super::{MAX_WARPS, constant, require};
use crate::spec::{RopeLayout, Spec};

pub(super) const NAME: &str = "rope_append";

/// Bytes of rotations that a block may keep: what every GPU gives a kernel statically.
const ROTATION_BYTES: u32 = 48 * 1024;

/// Tile of `rope_append`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RopeAppendTile {
    /// New tokens of a block.
    pub tile_tokens: u32,
    /// Warps of a block.
    pub warps: u32,
    /// Runs of pairs that a thread has in flight.
    pub loads: u32,
}

impl RopeAppendTile {
    /// As many tokens as give each of 256 threads one rotation to compute; 64 bytes in flight per thread.
    pub fn heuristic(spec: &Spec) -> RopeAppendTile {
        let warps: u32 = 8;
        RopeAppendTile {
            tile_tokens: (warps * 32).div_ceil(spec.rope.rotary_dim / 2).min(16),
            warps,
            loads: if spec.rope.layout == RopeLayout::Interleaved {
                4
            } else {
                2
            },
        }
    }
}

/// Neighbouring pairs that are loaded and turned together: whole 16-byte units where head and rotary dimension allow it.
fn run(spec: &Spec) -> u32 {
    let pairs = spec.attention.head_dim / 2;
    let rotary_pairs = spec.rope.rotary_dim / 2;
    match spec.rope.layout {
        RopeLayout::Interleaved => UNIT_ELEMENTS / 2,
        RopeLayout::HalfSplit => [8, 4, 2]
            .into_iter()
            .find(|run| pairs.is_multiple_of(*run) && rotary_pairs.is_multiple_of(*run))
            .unwrap_or(1),
    }
}

#[expect(
    clippy::too_many_lines,
    reason = "one list of constants, arguments and texts"
)]
pub(super) fn plan(spec: &Spec, tile: &RopeAppendTile) -> Result<KernelPlan, PlanError> {
    let build = Builder { kernel: NAME };
    let width = spec.attention.key_width();
    let gqa_ratio = spec.attention.gqa_ratio;
    let heads = (gqa_ratio + 2) * spec.attention.kv_heads;
    let run = run(spec);
    let runs = spec.attention.head_dim / 2 / run;
    let rotated_runs = (spec.rope.rotary_dim / 2).div_ceil(run);
    let token_rotations = rotated_runs * run;
    let RopeAppendTile {
        tile_tokens,
        warps,
        loads,
    } = *tile;
    let most_tokens = ROTATION_BYTES / (token_rotations * 8);
    require(
        (1..=most_tokens).contains(&tile_tokens),
        NAME,
        "tile_tokens",
        tile_tokens,
        || format!("from 1 to {most_tokens}, whose rotations are 48 KiB"),
    )?;
    require(
        (1..=MAX_WARPS).contains(&warps),
        NAME,
        "warps",
        warps,
        || format!("from 1 to {MAX_WARPS}"),
    )?;
    require((1..=8).contains(&loads), NAME, "loads", loads, || {
        "from 1 to 8".into()
    })?;

    let mut arguments = vec![build.pointer(
        "qkv",
        Dtype::Bf16,
        Access::Read,
        shape!["query_rows", heads, spec.attention.head_dim],
        "of each new token all query heads, then all key heads, then all value heads, before RoPE",
    )?];
    arguments.extend(build.new_tokens()?);
    arguments.extend([
        build.token_count()?,
        build.row_begin()?,
        build.row_capacity()?,
        build.rope_table()?,
        build.query_rows(
            "queries",
            spec,
            Access::Write,
            "queries of the new tokens after RoPE",
        )?,
        build.cache("keys", spec, Access::Write, "exact keys after RoPE")?,
        build.cache("values", spec, Access::Write, "exact values")?,
        build.cache(
            "k_pre",
            spec,
            Access::Write,
            "exact keys before RoPE; not touched unless `keep_k_pre` is 1",
        )?,
        build.scalar(
            "keep_k_pre",
            Dtype::I64,
            "1: keys before RoPE are kept for the compressed stores; 0: they are not",
        ),
    ]);
    Ok(KernelPlan {
        name: NAME,
        entry: format!("{NAME}_{}", entry_suffix(spec)),
        summary: "RoPE of the new tokens' queries and keys; keys and values appended to the exact ones.",
        notes: vec![
            "qkv [tokens, (gqa_ratio + 2) * kv_heads, head_dim] bf16, the row of a fused projection".into(),
            "-> queries [tokens, kv_heads, gqa_ratio, head_dim] bf16".into(),
            "-> keys, values, k_pre [rows, kv_heads, head_dim] bf16, the token at position p in row p % row_capacity of its"
                .into(),
            "sequence. Angles and products are f32, rounded once.".into(),
            format!("A block owns {tile_tokens} token(s), and computes the rotation of a token and pair once for all {} heads.", heads - spec.attention.kv_heads),
        ],
        header: "rope.cuh",
        constants: vec![
            constant("TILE_TOKENS", tile_tokens, "new tokens of a block"),
            constant("THREADS", warps * 32, "threads of a block"),
            constant("LOADS", loads, "runs of pairs that a thread has in flight"),
            constant("HEADS", heads, "heads of a token: queries, keys and values"),
            constant("RUN", run, "neighbouring pairs that are loaded and turned together"),
            constant("RUNS", runs, "runs of a head"),
            constant("ROTATED_RUNS", rotated_runs, "runs of a head that hold a rotated pair"),
            constant(
                "VECTOR",
                if spec.rope.layout == RopeLayout::Interleaved { 2 * run } else { run },
                "neighbouring elements of one load or store",
            ),
            constant("TOKEN_ITEMS", (heads * runs).next_multiple_of(32), "runs of a token, rounded up to whole warps"),
            constant("TOKEN_ROTATIONS", token_rotations, "rotations of a token"),
        ],
        arguments,
        geometry: build.geometry(
            [&format!("ceil_div(max_queries, {tile_tokens})"), "batch", "1"],
            warps * 32,
            0,
        )?,
        work: build.work(
            &format!("total_queries * {}", (gqa_ratio + 2) * width * 2),
            &format!("total_queries * {}", (gqa_ratio + 2) * width * 2),
            "0",
            "0",
        )?,
        requests: build.requests(
            // Frequencies are read by whole warps; every warp reads the 40 bytes that place its sequence.
            &format!(
                "total_queries * {} + (ceil_div(total_queries, {tile_tokens}) + batch) * {}",
                (gqa_ratio + 2) * width * 2 + token_rotations * 4,
                warps * 40
            ),
            &format!("total_queries * {}", (gqa_ratio + 3) * width * 2),
            "the frequencies once per token, the sequence's numbers once per warp; keys before RoPE are written besides where they are kept",
        )?,
    })
}
