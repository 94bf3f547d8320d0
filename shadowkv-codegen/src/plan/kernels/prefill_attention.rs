//! `prefill_attention`: causal attention of a prompt's new tokens.

use serde::{Deserialize, Serialize};
use shadowkv_runtime::manifest::Access;

use super::super::builder::Builder;
use super::super::tiles::Limits;
use super::super::{KernelPlan, PlanError, UNIT_ELEMENTS, entry_suffix};
use super::{MAX_WARPS, constant, require};
use crate::spec::Spec;

pub(super) const NAME: &str = "prefill_attention";

/// Largest head of which a warp keeps the output of 32 rows in registers.
const MAX_WIDE_HEAD: u32 = 128;

/// Most tokens of a stage: far more than registers hold scores of.
const MAX_TOKENS: u32 = 256;

/// Tile of `prefill_attention`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrefillAttentionTile {
    /// Warps of a block.
    pub warps: u32,
    /// Rows of a warp: pairs of a token and a query head of the group.
    pub warp_rows: u32,
    /// Tokens whose keys, or values, make one pipeline stage.
    pub tile_tokens: u32,
    /// Pipeline stages.
    pub stages: u32,
    /// Steps of 16 elements over a head whose queries stay in registers: all, or 1, and then each is read again for every
    /// tile of keys.
    pub held_steps: u32,
    /// Blocks that are to run on a multiprocessor at a time.
    pub blocks_per_sm: u32,
}

impl PrefillAttentionTile {
    /// 128 rows a block. A warp owns 32 of them where their output fits its registers, so that a fragment of keys or values
    /// serves two mma: with one, shared memory could not keep up with the tensor cores. Wider heads leave room for 16.
    pub fn heuristic(spec: &Spec, limits: &Limits) -> PrefillAttentionTile {
        let head_dim = spec.attention.head_dim;
        let steps = head_dim.div_ceil(16);
        if head_dim <= MAX_WIDE_HEAD {
            PrefillAttentionTile {
                warps: 4,
                warp_rows: 32,
                // 64 beside an output of 128 columns leave too few registers for addresses.
                tile_tokens: if head_dim > 96 { 48 } else { 64 },
                stages: if head_dim > 96 { 4 } else { 3 },
                held_steps: if steps <= 4 { steps } else { 1 },
                blocks_per_sm: 2,
            }
        } else {
            // Beside the queries, the last head sizes leave no room for two stages of 64 tokens.
            let tile_tokens = if head_dim <= 192 { 64 } else { 32 };
            let row_bytes = steps * 32;
            let room = limits
                .shared_bytes_per_block
                .saturating_sub(128 * row_bytes);
            PrefillAttentionTile {
                warps: 8,
                warp_rows: 16,
                tile_tokens,
                stages: (room / (tile_tokens * row_bytes)).clamp(2, 3),
                held_steps: if steps < 15 { steps } else { 1 },
                blocks_per_sm: 1,
            }
        }
    }
}

/// Refuses tiles that the kernel's code cannot honour.
fn check(tile: &PrefillAttentionTile, head_dim: u32) -> Result<(), PlanError> {
    let PrefillAttentionTile {
        warps,
        warp_rows,
        tile_tokens,
        stages,
        held_steps,
        blocks_per_sm,
    } = *tile;
    let steps = head_dim.div_ceil(16);
    // Threads copy 8 whole rows at a time, so that they are swizzled alike each time.
    let least = head_dim.div_ceil(32);
    require(
        (least..=MAX_WARPS).contains(&warps),
        NAME,
        "warps",
        warps,
        || format!("from {least}, whose threads copy 8 rows at a time, to {MAX_WARPS}"),
    )?;
    require(
        warp_rows == 16 || warp_rows == 32,
        NAME,
        "warp_rows",
        warp_rows,
        || "16 or 32".into(),
    )?;
    require(
        tile_tokens > 0 && tile_tokens % 16 == 0 && tile_tokens <= MAX_TOKENS,
        NAME,
        "tile_tokens",
        tile_tokens,
        || format!("a multiple of 16 up to {MAX_TOKENS}"),
    )?;
    require((2..=8).contains(&stages), NAME, "stages", stages, || {
        "from 2 to 8".into()
    })?;
    require(
        held_steps == 1 || held_steps == steps,
        NAME,
        "held_steps",
        held_steps,
        || format!("1, or all {steps} steps over a head"),
    )?;
    require(
        (1..=32).contains(&blocks_per_sm),
        NAME,
        "blocks_per_sm",
        blocks_per_sm,
        || "from 1 to 32".into(),
    )
}

pub(super) fn plan(spec: &Spec, tile: &PrefillAttentionTile) -> Result<KernelPlan, PlanError> {
    let build = Builder { kernel: NAME };
    let attention = &spec.attention;
    let (kv_heads, group) = (attention.kv_heads, attention.gqa_ratio);
    let steps = attention.head_dim.div_ceil(16);
    check(tile, attention.head_dim)?;
    let PrefillAttentionTile {
        warps,
        warp_rows,
        tile_tokens,
        stages,
        held_steps,
        blocks_per_sm,
    } = *tile;

    let threads = warps * 32;
    let rows = warps * warp_rows;
    let pitch = steps * 2;
    let head_units = attention.head_dim / UNIT_ELEMENTS;
    // The most rows that the threads copy at a time, a power of two that both tiles are multiples of.
    let load_rows =
        (1 << (threads / head_units).ilog2()).min(1 << (rows | tile_tokens).trailing_zeros());
    let shared = (rows + stages * tile_tokens) * pitch * 16;
    let row_bytes = u64::from(attention.head_dim) * 2;
    let query_bytes = row_bytes * u64::from(kv_heads * group);
    let key_value_bytes = row_bytes * u64::from(kv_heads) * 2;
    let mut arguments = vec![
        build.query_rows(
            "queries",
            spec,
            Access::Read,
            "queries of the new tokens after RoPE",
        )?,
        build.cache(
            "keys",
            spec,
            Access::Read,
            "keys after RoPE: the token at position p in row row_begin + p",
        )?,
        build.cache("values", spec, Access::Read, "values, in the same rows")?,
    ];
    arguments.extend(build.new_tokens()?);
    arguments.push(build.token_count()?);
    arguments.push(build.row_begin()?);
    arguments.push(build.query_rows(
        "output",
        spec,
        Access::Write,
        "attention of every new token and query head",
    )?);
    Ok(KernelPlan {
        name: NAME,
        entry: format!("{NAME}_{}", entry_suffix(spec)),
        summary: "causal attention of each sequence's new tokens over all of its tokens.",
        notes: notes(tile),
        header: "spec.cuh",
        constants: vec![
            constant("WARPS", warps, "warps of a block"),
            constant("THREADS", threads, "threads of a block"),
            constant("BLOCKS_PER_SM", blocks_per_sm, "blocks that are to run on a multiprocessor at a time"),
            constant("WARP_ROWS", warp_rows, "rows (token, query head) of a warp"),
            constant("MMA_ROWS", warp_rows / 16, "mma tiles along a warp's rows"),
            constant("TILE_ROWS", rows, "rows of a block"),
            constant("TILE_TOKENS", tile_tokens, "tokens of one pipeline stage, keys or values"),
            constant("STAGES", stages, "pipeline stages"),
            constant("STEPS", steps, "mma steps over a head, the last perhaps half zeros"),
            constant("HELD_STEPS", held_steps, "steps whose queries a warp has in registers at a time"),
            constant("PITCH", pitch, "16-byte units between the rows of a tile"),
            constant("SWIZZLE_PAIRS", swizzle_pairs(pitch), "pairs of units after which the swizzle repeats"),
            constant("LOAD_ROWS", load_rows, "rows that the block copies at a time"),
            constant("SHARED_BYTES", shared, "dynamic shared memory"),
        ],
        arguments,
        geometry: build.geometry(
            [&format!("ceil_div(max_queries * {group}, {rows})"), &kv_heads.to_string(), "batch"],
            threads,
            shared,
        )?,
        work: build.work(
            &format!("total_queries * {query_bytes} + total_tokens * {key_value_bytes}"),
            &format!("total_queries * {query_bytes}"),
            "0",
            &format!("total_pairs * {}", u64::from(attention.head_dim) * u64::from(kv_heads * group) * 4),
        )?,
        // A tile reads up to the position of its last token. On average over its tokens that is half of them more than
        // they attend to; and a sequence's last tile may hold few.
        requests: build.requests(
            &format!(
                "total_queries * {query_bytes} + (ceil_div(total_pairs * {group}, {rows}) + ceil_div(total_queries, 2) + total_tokens) * {key_value_bytes}"
            ),
            &format!("total_queries * {query_bytes}"),
            "keys and values once per tile of query rows, up to its last token",
        )?,
    })
}

/// Pairs of 16-byte units after which the swizzle of rows `pitch` units apart repeats.
fn swizzle_pairs(pitch: u32) -> u32 {
    1 << (pitch.trailing_zeros().min(3) - 1)
}

fn notes(tile: &PrefillAttentionTile) -> Vec<String> {
    let rows = tile.warps * tile.warp_rows;
    let blocks = tile.blocks_per_sm;
    vec![
        "FlashAttention-2 (Dao 2023), of a whole query group at once: softmax state, weights and output stay in".into(),
        "registers, and the accumulator of q k is the operand of p v. A row's weights are taken against a reference that".into(),
        "is far enough above its first scores to stay where it is while they grow by less than 2^60, so that no largest".into(),
        "score is looked for and nothing is rescaled but in the first tile and in one where a weight has become too large.".into(),
        String::new(),
        "queries [tokens, kv_heads, gqa_ratio, head_dim] bf16, keys and values [rows, kv_heads, head_dim] bf16".into(),
        "-> output [tokens, kv_heads, gqa_ratio, head_dim] bf16, f32 accumulation, weights rounded to bf16.".into(),
        format!("A block owns {rows} rows (token, query head) of one KV head and reads keys and values up to its last token. Blocks of"),
        format!("a KV head run side by side, {blocks} on a multiprocessor, the longest first, and share those reads through L2: of a"),
        format!("prompt of S tokens w = ceil(S * gqa_ratio / ({rows} * {blocks} * sm_count)) waves of blocks ask device memory for"),
        "(w + 1) / 2 * S rows of keys and values per KV head, since a wave reads no further than it must.".into(),
    ]
}
