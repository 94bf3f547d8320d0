//! `store_exact`: what of a prompt stays exact, to its places.

use serde::{Deserialize, Serialize};
use shadowkv_runtime::manifest::Access;

use super::super::builder::Builder;
use super::super::{KernelPlan, PlanError, UNIT_ELEMENTS, entry_suffix};
use super::{MAX_WARPS, constant, require};
use crate::spec::Spec;

pub(super) const NAME: &str = "store_exact";

/// Most chunks of a block: more than any list has.
const MAX_TILE_CHUNKS: u32 = 1024;

/// Tile of `store_exact`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreExactTile {
    /// Outlier chunks of a block.
    pub tile_chunks: u32,
    /// Warps of a block.
    pub warps: u32,
    /// 16-byte units that a thread has in flight, of keys and of values each.
    pub loads: u32,
}

impl StoreExactTile {
    /// 256 threads with two units in flight, and as many chunks as they move in one go.
    pub fn heuristic(spec: &Spec) -> StoreExactTile {
        let chunk_units = spec.shadowkv.chunk_size * spec.attention.head_dim / UNIT_ELEMENTS;
        StoreExactTile {
            tile_chunks: (512 / chunk_units).max(1),
            warps: 8,
            loads: 2,
        }
    }
}

#[expect(
    clippy::too_many_lines,
    reason = "one list of constants, arguments and texts"
)]
pub(super) fn plan(spec: &Spec, tile: &StoreExactTile) -> Result<KernelPlan, PlanError> {
    let build = Builder { kernel: NAME };
    let chunk = spec.shadowkv.chunk_size;
    let head_dim = spec.attention.head_dim;
    let kv_heads = spec.attention.kv_heads;
    let width = spec.attention.key_width();
    let StoreExactTile {
        tile_chunks,
        warps,
        loads,
    } = *tile;
    require(
        (1..=MAX_TILE_CHUNKS).contains(&tile_chunks),
        NAME,
        "tile_chunks",
        tile_chunks,
        || format!("from 1 to {MAX_TILE_CHUNKS}"),
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

    let chunk_units = chunk * head_dim / UNIT_ELEMENTS;
    let arguments = vec![
        build.k_pre(spec)?,
        build.prompt("keys", spec, "keys after RoPE, as `k_pre`")?,
        build.prompt("values", spec, "values, as `k_pre`")?,
        build.token_begin()?,
        build.token_count()?,
        build.chunk_count(
            "compressed chunks of each sequence: what lies behind them is its exact window",
        )?,
        build.outlier_chunks(spec, Access::Read)?,
        build.outlier_count(spec, Access::Read)?,
        build.row_begin()?,
        build.row_capacity()?,
        build.outliers(
            "outlier_keys",
            spec,
            Access::Write,
            "keys of the outlier chunks after RoPE",
        )?,
        build.outliers(
            "outlier_values",
            spec,
            Access::Write,
            "values of the outlier chunks",
        )?,
        build.cache(
            "window_keys",
            spec,
            Access::Write,
            "keys of the exact windows after RoPE",
        )?,
        build.cache(
            "window_values",
            spec,
            Access::Write,
            "values of the exact windows",
        )?,
        build.cache(
            "window_k_pre",
            spec,
            Access::Write,
            "keys of the exact windows before RoPE",
        )?,
        build.outlier_capacity(),
    ];
    let outlier_bytes = 2 * chunk * head_dim * 2;
    let window_bytes = 3 * width * 2;
    let moved = format!("total_outliers * {outlier_bytes} + total_window * {window_bytes}");
    // The tiles of a list that exist, or one block for the window where there is no room for outliers.
    let tiles = format!("ceil_div(max(outlier_capacity, 1), {tile_chunks})");
    let chunk_warps = chunk_units.div_ceil(32) + u32::from(!chunk_units.is_multiple_of(32));
    Ok(KernelPlan {
        name: NAME,
        entry: format!("{NAME}_{}", entry_suffix(spec)),
        summary: "Outlier chunks and the exact window of a prompt to the places where they stay.",
        notes: vec![
            "ShadowKV, section 4.1: chunks that their landmark represents badly, and the prompt's end, are never compressed."
                .into(),
            String::new(),
            "keys, values [tokens, kv_heads, head_dim] bf16, of the outlier chunks".into(),
            "-> outlier_keys, outlier_values [batch, kv_heads, outlier_capacity, chunk_size, head_dim] bf16".into(),
            "k_pre, keys, values [tokens, kv_heads, head_dim] bf16, from the last compressed chunk on".into(),
            "-> window_k_pre, window_keys, window_values [rows, kv_heads, head_dim] bf16, a ring per sequence.".into(),
            format!("A block owns {tile_chunks} outlier chunk(s) of a KV head, or a share of the window."),
        ],
        header: "spec.cuh",
        constants: vec![
            constant("TILE_CHUNKS", tile_chunks, "outlier chunks of a block"),
            constant("THREADS", warps * 32, "threads of a block"),
            constant("LOADS", loads, "16-byte units a thread has in flight, of keys and of values each"),
            constant("CHUNK_UNITS", chunk_units, "16-byte units of one chunk of one KV head"),
            constant("TOKEN_UNITS", width / UNIT_ELEMENTS, "16-byte units of one token over all KV heads"),
        ],
        arguments,
        geometry: build.geometry([&tiles, &(kv_heads + 1).to_string(), "batch"], warps * 32, 0)?,
        work: build.work(
            &format!("{moved} + total_outliers * 4"),
            &moved,
            "0",
            "0",
        )?,
        requests: build.requests(
            &format!(
                "{moved} + total_outliers * {} + batch * {tiles} * {}",
                chunk_warps * 4,
                (kv_heads * 12 + 28) * warps
            ),
            &moved,
            "the number of an outlier chunk by every warp that moves some of it, the sequence's numbers once per warp",
        )?,
    })
}
