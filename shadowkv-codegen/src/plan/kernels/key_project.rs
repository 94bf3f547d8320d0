//! `key_project`: the SVD projection of the keys before RoPE.

use serde::{Deserialize, Serialize};
use shadowkv_runtime::manifest::Access;

use super::super::builder::Builder;
use super::super::{KernelPlan, PlanError, UNIT_ELEMENTS, entry_suffix};
use super::{MAX_WARPS, constant, require};
use crate::spec::Spec;

pub(super) const NAME: &str = "key_project";

/// Widest tile of ranks: the accumulators of a 32-token warp tile stay in registers.
const MAX_TILE_RANK: u32 = 256;

/// Most tokens of a block, and most key elements of a stage: far more than shared memory holds.
const MAX_EXTENT: u32 = 1024;

/// Tile of `key_project`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyProjectTile {
    /// Tokens of a block.
    pub tile_tokens: u32,
    /// Ranks of a block.
    pub tile_rank: u32,
    /// Warps along the tokens.
    pub warps_tokens: u32,
    /// Warps along the ranks.
    pub warps_rank: u32,
    /// Key elements of one pipeline stage.
    pub step: u32,
    /// Pipeline stages.
    pub stages: u32,
}

impl KeyProjectTile {
    /// The whole rank in one tile where it is at most 256, so that the keys are read once; else the fewest equal tiles. 128
    /// tokens; large warp tiles, since shared memory, not the tensor cores, is what a small one waits for.
    pub fn heuristic(spec: &Spec) -> KeyProjectTile {
        let rank = spec.shadowkv.rank;
        let tile_rank = rank
            .div_ceil(rank.div_ceil(MAX_TILE_RANK))
            .next_multiple_of(16);
        // A warp owns 64 tokens and half the ranks where that fits its registers, else fewer tokens.
        let warps_rank = if tile_rank >= 64 { 2 } else { 1 };
        let warps_tokens = if tile_rank / warps_rank <= 80 { 2 } else { 4 };
        KeyProjectTile {
            tile_tokens: 128,
            tile_rank,
            warps_tokens,
            warps_rank,
            step: 64,
            stages: 2,
        }
    }
}

#[expect(
    clippy::too_many_lines,
    reason = "one list of constants, arguments and texts"
)]
pub(super) fn plan(spec: &Spec, tile: &KeyProjectTile) -> Result<KernelPlan, PlanError> {
    let build = Builder { kernel: NAME };
    let width = spec.attention.key_width();
    let rank = spec.shadowkv.rank;
    let KeyProjectTile {
        tile_tokens,
        tile_rank,
        warps_tokens,
        warps_rank,
        step,
        stages,
    } = *tile;
    require(
        tile_tokens > 0 && tile_tokens % 16 == 0 && tile_tokens <= MAX_EXTENT,
        NAME,
        "tile_tokens",
        tile_tokens,
        || format!("a multiple of 16 up to {MAX_EXTENT}"),
    )?;
    require(
        warps_tokens > 0 && (tile_tokens / 16).is_multiple_of(warps_tokens),
        NAME,
        "warps_tokens",
        warps_tokens,
        || format!("tokens of a warp, {tile_tokens} / warps_tokens, must be a multiple of 16"),
    )?;
    require(
        tile_rank > 0 && tile_rank % 16 == 0 && tile_rank <= MAX_TILE_RANK,
        NAME,
        "tile_rank",
        tile_rank,
        || format!("a multiple of 16 up to {MAX_TILE_RANK}"),
    )?;
    require(
        warps_rank > 0 && (tile_rank / 8).is_multiple_of(warps_rank),
        NAME,
        "warps_rank",
        warps_rank,
        || format!("ranks of a warp, {tile_rank} / warps_rank, must be a multiple of 8"),
    )?;
    require(
        warps_tokens * warps_rank <= MAX_WARPS,
        NAME,
        "warps_rank",
        warps_rank,
        || format!("at most {MAX_WARPS} warps in all, and warps_tokens is {warps_tokens}"),
    )?;
    require(
        step > 0 && step % 16 == 0 && step <= MAX_EXTENT,
        NAME,
        "step",
        step,
        || format!("a multiple of 16 up to {MAX_EXTENT}"),
    )?;
    require((2..=8).contains(&stages), NAME, "stages", stages, || {
        "from 2 to 8".into()
    })?;

    let threads = warps_tokens * warps_rank * 32;
    let stage_units = (tile_tokens * step + step * tile_rank) / UNIT_ELEMENTS;
    let shared = (stages * stage_units * 16).max(tile_tokens * tile_rank * 2);
    let rank_tiles = rank.div_ceil(tile_rank);
    let mut arguments = vec![
        build.k_pre(spec)?,
        build.token_begin()?,
        build.token_count()?,
        build.first_chunk()?,
        build.key_basis(spec)?,
    ];
    arguments.extend(build.store()?);
    arguments.push(build.factors(spec, Access::Write)?);
    Ok(KernelPlan {
        name: NAME,
        entry: format!("{NAME}_{}", entry_suffix(spec)),
        summary: "A = K_pre V_R, the low-rank factor of every token's keys (the SVD projection).",
        notes: vec![
            "ShadowKV, section 4.1: K_pre is about A V_R^T, and A is all of the keys that stays on the GPU.".into(),
            String::new(),
            "k_pre [tokens, kv_heads * head_dim] bf16, key_basis [batch, kv_heads * head_dim, rank] bf16".into(),
            "-> factors [tokens, rank] bf16, f32 accumulation.".into(),
            format!("A block owns {tile_tokens} tokens and {tile_rank} of {rank} ranks: the keys are requested {rank_tiles} time(s), and the basis"),
            "once per block, from L2 where it fits.".into(),
        ],
        header: "spec.cuh",
        constants: vec![
            constant("TILE_TOKENS", tile_tokens, "tokens of a block"),
            constant("TILE_RANK", tile_rank, "ranks of a block"),
            constant("TILE_RANK_UNITS", tile_rank / UNIT_ELEMENTS, "16-byte units of a row of the output tile"),
            constant("WARPS_TOKENS", warps_tokens, "warps along the tokens"),
            constant("WARPS_RANK", warps_rank, "warps along the ranks"),
            constant("WARP_TOKENS", tile_tokens / warps_tokens, "tokens of a warp"),
            constant("WARP_RANK", tile_rank / warps_rank, "ranks of a warp"),
            constant("MMA_ROWS", tile_tokens / warps_tokens / 16, "mma tiles along a warp's tokens"),
            constant("MMA_COLUMNS", tile_rank / warps_rank / 8, "mma tiles along a warp's ranks"),
            constant("THREADS", threads, "threads of a block"),
            constant("STEP", step, "key elements of one pipeline stage"),
            constant("STEP_UNITS", step / UNIT_ELEMENTS, "16-byte units of one stage's row of keys"),
            constant("STEPS", width.div_ceil(step), "stages over the width of a key"),
            constant("STAGES", stages, "pipeline stages"),
            constant("STAGE_UNITS", stage_units, "16-byte units of one stage"),
            constant("SHARED_BYTES", shared, "dynamic shared memory"),
        ],
        arguments,
        geometry: build.geometry(
            [&rank_tiles.to_string(), &format!("ceil_div(max_tokens, {tile_tokens})"), "batch"],
            threads,
            shared,
        )?,
        work: build.work(
            &format!("total_tokens * {} + batch * {}", width * 2, u64::from(width) * u64::from(rank) * 2),
            &format!("total_tokens * {}", rank * 2),
            "0",
            &format!("total_tokens * {}", u64::from(width) * u64::from(rank) * 2),
        )?,
        requests: build.requests(
            &format!(
                "total_tokens * {} + batch * ceil_div(max_tokens, {tile_tokens}) * {}",
                width * 2 * rank_tiles,
                u64::from(width) * u64::from(rank) * 2
            ),
            &format!("total_tokens * {}", rank * 2),
            "the keys once per tile of ranks, the basis once per tile of tokens",
        )?,
    })
}
