//! `fold_chunk`: the oldest exact chunks into the compressed stores.

use serde::{Deserialize, Serialize};
use shadowkv_runtime::manifest::{Access, Dtype};

use super::super::builder::{Builder, shape};
use super::super::{KernelPlan, PlanError, UNIT_BYTES, UNIT_ELEMENTS, entry_suffix};
use super::chunk_landmarks::Lanes;
use super::{MAX_WARPS, constant, require};
use crate::spec::Spec;

pub(super) const NAME: &str = "fold_chunk";

/// Widest tile of ranks: its accumulators stay in registers.
const MAX_TILE_RANK: u32 = 128;

/// Most key elements of a stage: far more than shared memory holds.
const MAX_STEP: u32 = 1024;

/// Tile of `fold_chunk`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FoldChunkTile {
    /// Warps of a block: each multiplies 16 tokens.
    pub warps: u32,
    /// Ranks of a block.
    pub tile_rank: u32,
    /// Key elements of one pipeline stage.
    pub step: u32,
    /// Pipeline stages.
    pub stages: u32,
}

impl FoldChunkTile {
    /// 128 tokens together, so that a basis is read once for as many as a window hardly holds, and few ranks, so that many
    /// blocks share that reading.
    pub fn heuristic(spec: &Spec) -> FoldChunkTile {
        FoldChunkTile {
            warps: 8,
            tile_rank: spec.shadowkv.rank.min(32),
            step: 64,
            stages: 3,
        }
    }
}

fn check(tile: &FoldChunkTile) -> Result<(), PlanError> {
    let FoldChunkTile {
        warps,
        tile_rank,
        step,
        stages,
    } = *tile;
    require(
        (1..=MAX_WARPS).contains(&warps),
        NAME,
        "warps",
        warps,
        || format!("from 1 to {MAX_WARPS}"),
    )?;
    require(
        tile_rank > 0 && tile_rank.is_multiple_of(16) && tile_rank <= MAX_TILE_RANK,
        NAME,
        "tile_rank",
        tile_rank,
        || format!("a multiple of 16 up to {MAX_TILE_RANK}"),
    )?;
    require(
        step > 0 && step.is_multiple_of(16) && step <= MAX_STEP,
        NAME,
        "step",
        step,
        || format!("a multiple of 16 up to {MAX_STEP}"),
    )?;
    require((2..=8).contains(&stages), NAME, "stages", stages, || {
        "from 2 to 8".into()
    })
}

#[expect(
    clippy::too_many_lines,
    reason = "one list of constants, arguments and texts"
)]
pub(super) fn plan(spec: &Spec, tile: &FoldChunkTile) -> Result<KernelPlan, PlanError> {
    let build = Builder { kernel: NAME };
    check(tile)?;
    let FoldChunkTile {
        warps,
        tile_rank,
        step,
        stages,
    } = *tile;
    let chunk = spec.shadowkv.chunk_size;
    let head_dim = spec.attention.head_dim;
    let kv_heads = spec.attention.kv_heads;
    let width = spec.attention.key_width();
    let rank = spec.shadowkv.rank;
    let lanes = Lanes::of(spec);

    let tile_tokens = warps * 16;
    let chunk_units = chunk * head_dim / UNIT_ELEMENTS;
    let rotation_pitch = (spec.rope.rotary_dim / 2).next_multiple_of(2);
    let stage_units = (tile_tokens * step + step * tile_rank) / UNIT_ELEMENTS;
    let output_units = tile_tokens * tile_rank / UNIT_ELEMENTS;
    let of_head = chunk_units * UNIT_BYTES + chunk * rotation_pitch * 8;
    let of_factors = (stages * stage_units).max(output_units) * UNIT_BYTES;
    let rank_tiles = rank.div_ceil(tile_rank);
    let blocks = kv_heads + rank_tiles;

    let mut arguments = vec![
        build.cache("k_pre", spec, Access::Read, "exact keys before RoPE")?,
        build.cache("keys", spec, Access::Read, "exact keys after RoPE")?,
        build.cache("values", spec, Access::Read, "exact values")?,
        build.row_begin()?,
        build.row_capacity()?,
        build.chunk_count(
            "compressed chunks of each sequence before the launch: the first of those folded",
        )?,
        build.per_sequence(
            "fold_count",
            Dtype::I32,
            "chunks of each sequence to fold, no more than its ring holds",
        )?,
        build.key_basis(spec)?,
        build.rope_table()?,
    ];
    arguments.extend(build.store()?);
    arguments.extend([
        build.pointer(
            "outlier_threshold",
            Dtype::F32,
            Access::Read,
            shape!["batch", kv_heads],
            "highest lowest cosine of the prompt's outliers: a chunk below it stays exact; minus infinity for none",
        )?,
        build.factors(spec, Access::Write)?,
        build.landmarks(spec, Access::Write)?,
        build.min_cosines(spec, Access::Write)?,
        build.outlier_mask(spec, Access::ReadWrite)?,
        build.host_values(spec, Access::Write)?,
        build.outlier_chunks(spec, Access::ReadWrite)?,
        build.outlier_count(spec, Access::ReadWrite)?,
        build.outliers("outlier_keys", spec, Access::Write, "keys of the outlier chunks after RoPE")?,
        build.outliers("outlier_values", spec, Access::Write, "values of the outlier chunks")?,
        build.outlier_capacity(),
    ]);
    let chunk_bytes = chunk * width * 2;
    let basis_bytes = u64::from(width) * u64::from(rank) * 2;
    // Factors, landmarks, cosines and the mask's words.
    let written = chunk * rank * 2 + width * 2 + kv_heads * 8;
    let work = build.work(
        &format!(
            "total_folds * {} + folding_sequences * {basis_bytes}",
            chunk_bytes * 2
        ),
        &format!("total_folds * {written}"),
        "0",
        &format!("total_folds * {}", u64::from(chunk) * basis_bytes),
    )?;
    Ok(KernelPlan {
        name: NAME,
        entry: format!("{NAME}_{}", entry_suffix(spec)),
        summary: "The oldest chunks of exact windows that overflow, into the compressed stores.",
        notes: vec![
            "ShadowKV keeps generated tokens exact; here their oldest chunks join the prompt's once the window is full.".into(),
            String::new(),
            "k_pre, keys, values [rows, kv_heads, head_dim] bf16, fold_count chunks from chunk_count on in each ring".into(),
            "-> factors [tokens, rank] = k_pre key_basis, landmarks and min_cosines as chunk_landmarks makes them,".into(),
            "host_values in mapped host memory, outlier_mask. A chunk whose lowest cosine is below the head's threshold stays".into(),
            "exact where there is room: its keys and values to outlier_keys and outlier_values, its bit in the mask set.".into(),
            "The host raises chunk_count afterwards.".into(),
            format!("Of a sequence's blocks, {kv_heads} own a KV head and {rank_tiles} own {tile_rank} of {rank} ranks: these read the basis once for"),
            format!("{tile_tokens} tokens, and the keys before RoPE once each."),
        ],
        header: "landmark.cuh",
        constants: vec![
            constant("WARPS", warps, "warps of a block"),
            constant("THREADS", warps * 32, "threads of a block"),
            constant("TILE_TOKENS", tile_tokens, "tokens that are multiplied together"),
            constant("TILE_RANK", tile_rank, "ranks of a block"),
            constant("TILE_RANK_UNITS", tile_rank / UNIT_ELEMENTS, "16-byte units of a row of the output tile"),
            constant("MMA_COLUMNS", tile_rank / 8, "mma tiles along a block's ranks"),
            constant("STEP", step, "key elements of one pipeline stage"),
            constant("STEP_UNITS", step / UNIT_ELEMENTS, "16-byte units of one stage's row of keys"),
            constant("STEPS", width.div_ceil(step), "stages over the width of a key"),
            constant("STAGES", stages, "pipeline stages"),
            constant("STAGE_UNITS", stage_units, "16-byte units of one stage"),
            constant("CHUNK_UNITS", chunk_units, "16-byte units of one chunk of one KV head"),
            constant("ROTATION_PITCH", rotation_pitch, "pairs between two tokens' rotations"),
            constant("LANES", lanes.group, "lanes that share one chunk of one head"),
            constant("RUN", lanes.run, "neighbouring pairs a lane owns at a time"),
            constant("RUN_STEPS", lanes.steps, "runs a lane owns one after the other"),
            constant("HELD_TOKENS", lanes.held, "rotated tokens kept in registers between mean and cosine; 1 = rotated again"),
            constant("SHARED_BYTES", of_head.max(of_factors), "dynamic shared memory"),
        ],
        arguments,
        geometry: build.geometry([&blocks.to_string(), "batch", "1"], warps * 32, of_head.max(of_factors))?,
        work: build.writing_host(work, &format!("total_folds * {chunk_bytes}"))?,
        requests: build.requests(
            &format!(
                "total_folds * {} + folding_sequences * {} + ceil_div(total_folds * {chunk}, {tile_tokens}) * {basis_bytes}",
                // Keys before RoPE by every block of ranks and those of the heads; values; keys of outliers; what is noted.
                chunk_bytes * (rank_tiles + 3) + kv_heads * (rotation_pitch * chunk * 4 + 16),
                blocks * warps * 40,
            ),
            &format!("total_folds * {}", written + kv_heads * 12 + 2 * chunk_bytes),
            "the keys before RoPE once per tile of ranks, the basis once per tile of tokens, frequencies per head, the sequence's \
             numbers per warp; all chunks may be outliers",
        )?,
    })
}
