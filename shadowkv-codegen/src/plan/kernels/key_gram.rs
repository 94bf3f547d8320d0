//! `key_gram`: the Gram matrix of the keys before RoPE.

use serde::{Deserialize, Serialize};
use shadowkv_runtime::manifest::{Access, Dtype};

use super::super::builder::{Builder, shape};
use super::super::{KernelPlan, PlanError, UNIT_ELEMENTS, entry_suffix};
use super::{MAX_WARPS, constant, require};
use crate::spec::Spec;

pub(super) const NAME: &str = "key_gram";

/// Most tokens one mma accumulator runs over before it is added to an f32 register sum: mma.sync truncates, and 512 terms
/// of one sign are 1e-6 low where 122880 would be 7e-4 low.
const FLUSH_TOKENS: u32 = 512;

/// Tile of `key_gram`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyGramTile {
    /// Rows and columns of the output tile of a block.
    pub tile: u32,
    /// Warps along the tile's rows.
    pub warps_rows: u32,
    /// Warps along the tile's columns.
    pub warps_columns: u32,
    /// Tokens of one pipeline stage.
    pub step: u32,
    /// Pipeline stages.
    pub stages: u32,
    /// Blocks that run on a multiprocessor at a time: the split of the tokens fills whole waves of them.
    pub blocks_per_sm: u32,
    /// Fewest tokens of a split.
    pub split_tokens: u32,
}

impl KeyGramTile {
    /// 128 x 128 (64 x 32 per warp: 16 mma for 6 ldmatrix, all shared-memory bandwidth it needs) unless the width of a key
    /// fills less than three quarters of such tiles; then 64 x 64.
    pub fn heuristic(spec: &Spec) -> KeyGramTile {
        let width = spec.attention.key_width();
        let padded = width.next_multiple_of(128);
        if width * 4 >= padded * 3 {
            KeyGramTile {
                tile: 128,
                warps_rows: 2,
                warps_columns: 4,
                step: 64,
                stages: 3,
                blocks_per_sm: 1,
                split_tokens: 1024,
            }
        } else {
            KeyGramTile {
                tile: 64,
                warps_rows: 2,
                warps_columns: 2,
                step: 32,
                stages: 4,
                blocks_per_sm: 2,
                split_tokens: 1024,
            }
        }
    }
}

#[expect(
    clippy::too_many_lines,
    reason = "one list of constants, arguments and texts"
)]
pub(super) fn plan(spec: &Spec, tile: &KeyGramTile) -> Result<KernelPlan, PlanError> {
    let build = Builder { kernel: NAME };
    let width = spec.attention.key_width();
    let KeyGramTile {
        tile: side,
        warps_rows,
        warps_columns,
        step,
        stages,
        blocks_per_sm,
        split_tokens,
    } = *tile;
    require(
        side % 32 == 0 && (32..=256).contains(&side),
        NAME,
        "tile",
        side,
        || "a multiple of 32 from 32 to 256".into(),
    )?;
    require(
        warps_rows > 0 && (side / 16).is_multiple_of(warps_rows),
        NAME,
        "warps_rows",
        warps_rows,
        || format!("rows of a warp, {side} / warps_rows, must be a multiple of 16"),
    )?;
    require(
        warps_columns > 0 && (side / 16).is_multiple_of(warps_columns),
        NAME,
        "warps_columns",
        warps_columns,
        || format!("columns of a warp, {side} / warps_columns, must be a multiple of 16"),
    )?;
    require(
        warps_rows * warps_columns <= MAX_WARPS,
        NAME,
        "warps_columns",
        warps_columns,
        || format!("at most {MAX_WARPS} warps in all, and warps_rows is {warps_rows}"),
    )?;
    require(
        step > 0 && step % 16 == 0 && FLUSH_TOKENS.is_multiple_of(step),
        NAME,
        "step",
        step,
        || format!("a multiple of 16 that divides {FLUSH_TOKENS}"),
    )?;
    require((2..=8).contains(&stages), NAME, "stages", stages, || {
        "from 2 to 8".into()
    })?;
    require(
        (1..=32).contains(&blocks_per_sm),
        NAME,
        "blocks_per_sm",
        blocks_per_sm,
        || "from 1 to 32".into(),
    )?;
    require(
        (step..=1 << 21).contains(&split_tokens),
        NAME,
        "split_tokens",
        split_tokens,
        || "from one step to 2097152 tokens".into(),
    )?;

    let threads = warps_rows * warps_columns * 32;
    let load_rows = threads / (side / UNIT_ELEMENTS);
    require(
        load_rows.is_multiple_of(8)
            && step % load_rows.max(1) == 0
            && threads % (side / UNIT_ELEMENTS) == 0,
        NAME,
        "step",
        step,
        || {
            format!(
                "a multiple of the {load_rows} rows that {threads} threads copy at a time, themselves a multiple of 8"
            )
        },
    )?;
    let tiles = width.div_ceil(side);
    let triangle = tiles * (tiles + 1) / 2;
    let stage_units = 2 * step * side / UNIT_ELEMENTS;
    let shared = (stages * stage_units * 16).max(side * side * 4);
    // As many shares of the tokens as make the last wave of blocks a full one: about four, so that the waves come out
    // nearly even, but one where the tiles alone are many waves; shares cost workspace. ceil_div(a + 1, b) - 1 is the
    // floor of a / b.
    let tiles_of_batch = format!("max(batch, 1) * {triangle}");
    let wave = format!("sm_count * {blocks_per_sm}");
    let shares = format!("min(4, ceil_div({wave} * 8, {tiles_of_batch}))");
    let splits = format!(
        "min(max(ceil_div(max_tokens, {split_tokens}), 1), ceil_div({wave} * ceil_div({tiles_of_batch} * {shares}, {wave}) + 1, {tiles_of_batch}) - 1)"
    );
    // One share leaves nothing in the workspace.
    let shared_sums = format!(
        "batch * {} * ({splits}) * min(({splits}) - 1, 1)",
        triangle * side * side * 4
    );
    Ok(KernelPlan {
        name: NAME,
        entry: format!("{NAME}_{}", entry_suffix(spec)),
        summary: "M = K_pre^T K_pre of every sequence, f32, both halves of the symmetric matrix.",
        notes: vec![
            "ShadowKV, section 4.1: the top eigenvectors of M are the right singular vectors of K_pre, so that no SVD of".into(),
            "the whole key matrix is needed. Never rounded to bf16: that would lose a quarter of the accuracy.".into(),
            String::new(),
            "k_pre [tokens, kv_heads * head_dim] bf16 -> gram [batch, kv_heads * head_dim, kv_heads * head_dim] f32.".into(),
            format!("A block owns one {side} x {side} tile of the upper triangle and one share of the tokens; blocks of one share run"),
            "side by side, so that the columns they have in common come from L2. Shares are added in a fixed order by".into(),
            "the last block to arrive: no float atomics, the same bits every time.".into(),
            format!("Each token's keys are requested {tiles} times by {triangle} tiles; those that run at the same time share one read."),
        ],
        header: "spec.cuh",
        constants: vec![
            constant("TILE", side, "rows and columns of a block's output tile"),
            constant("TILES", tiles, "tiles along a side of the matrix"),
            constant("TILE_UNITS", side / UNIT_ELEMENTS, "16-byte units of a tile's row of keys"),
            constant("WARPS_ROWS", warps_rows, "warps along the rows"),
            constant("WARPS_COLUMNS", warps_columns, "warps along the columns"),
            constant("WARP_ROWS", side / warps_rows, "rows of a warp"),
            constant("WARP_COLUMNS", side / warps_columns, "columns of a warp"),
            constant("MMA_ROWS", side / warps_rows / 16, "mma tiles along a warp's rows"),
            constant("MMA_COLUMNS", side / warps_columns / 8, "mma tiles along a warp's columns"),
            constant("THREADS", threads, "threads of a block"),
            constant("LOAD_ROWS", load_rows, "tokens that the block copies at a time"),
            constant("STEP", step, "tokens of one pipeline stage"),
            constant("STAGES", stages, "pipeline stages"),
            constant("STAGE_UNITS", stage_units, "16-byte units of one stage"),
            constant("FLUSH_TOKENS", FLUSH_TOKENS, "tokens after which the tensor cores' sums move to f32 registers"),
            constant("SHARED_BYTES", shared, "dynamic shared memory"),
        ],
        arguments: vec![
            build.k_pre(spec)?,
            build.token_begin()?,
            build.token_count()?,
            build.pointer("gram", Dtype::F32, Access::Write, shape!["batch", width, width], "K_pre^T K_pre")?,
            build.pointer(
                "workspace",
                Dtype::F32,
                Access::ReadWrite,
                shape!["batch", triangle, splits, side * side],
                "the shares' sums; contents do not matter",
            )?,
            build.pointer(
                "arrivals",
                Dtype::U32,
                Access::ReadWrite,
                shape!["batch", triangle],
                "arrival counters: 0 before the first launch, and 0 again after every launch",
            )?,
        ],
        geometry: build.geometry([&triangle.to_string(), &splits, "batch"], threads, shared)?,
        work: build.work(
            &format!("total_tokens * {}", width * 2),
            &format!("batch * {}", u64::from(width) * u64::from(width) * 4),
            "0",
            &format!("total_tokens * {}", u64::from(width) * u64::from(width + 1)),
        )?,
        requests: build.requests(
            &format!("total_tokens * {} + {shared_sums}", u64::from(width) * 2 * u64::from(tiles)),
            &format!("batch * {} + {shared_sums}", u64::from(width) * u64::from(width) * 4),
            "a token's keys once per tile along a side of the matrix; where several blocks share a tile's tokens, their sums",
        )?,
    })
}
