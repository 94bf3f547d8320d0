//! `offload_values`: a prompt's values into host memory, chunk by chunk.

use serde::{Deserialize, Serialize};
use shadowkv_runtime::manifest::{Access, Dtype};

use super::super::builder::Builder;
use super::super::{KernelPlan, PlanError, UNIT_BYTES, entry_suffix};
use super::{MAX_WARPS, constant, require};
use crate::spec::Spec;

pub(super) const NAME: &str = "offload_values";

/// Tile of `offload_values`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OffloadValuesTile {
    /// Blocks of the launch.
    pub blocks: u32,
    /// Warps of a block.
    pub warps: u32,
    /// 16-byte loads a thread has in flight.
    pub loads: u32,
}

impl OffloadValuesTile {
    /// As `gather_values` in the other direction: 16 blocks of 256 threads with four units each, 256 KiB in flight, keep
    /// `PCIe` busy and leave the GPU to the rest of the layer.
    pub fn heuristic() -> OffloadValuesTile {
        OffloadValuesTile {
            blocks: 16,
            warps: 8,
            loads: 4,
        }
    }
}

pub(super) fn plan(spec: &Spec, tile: &OffloadValuesTile) -> Result<KernelPlan, PlanError> {
    let build = Builder { kernel: NAME };
    let row_bytes =
        spec.shadowkv.chunk_size * spec.attention.head_dim * spec.shadowkv.storage.values.bytes();
    let token_bytes = spec.attention.key_width() * spec.shadowkv.storage.values.bytes();
    let OffloadValuesTile {
        blocks,
        warps,
        loads,
    } = *tile;
    require((1..=1024).contains(&blocks), NAME, "blocks", blocks, || {
        "from 1 to 1024".into()
    })?;
    require(
        (1..=MAX_WARPS).contains(&warps),
        NAME,
        "warps",
        warps,
        || format!("from 1 to {MAX_WARPS}"),
    )?;
    require((1..=16).contains(&loads), NAME, "loads", loads, || {
        "from 1 to 16".into()
    })?;

    let row_units = row_bytes / UNIT_BYTES;
    let tile_rows = (warps * 32 * loads / row_units).max(1);
    let mut arguments = vec![
        build.prompt("values", spec, "values, the sequences one after the other")?,
        build.token_begin()?,
        build.first_chunk()?,
        build.chunk_count("whole chunks of each sequence in `values`, from `token_begin` on")?,
    ];
    arguments.extend(build.store()?);
    arguments.push(build.host_values(spec, Access::Write)?);
    arguments.push(build.scalar("batch", Dtype::I64, "sequences of the launch"));
    let chunk_bytes = token_bytes * spec.shadowkv.chunk_size;
    let work = build.work(&format!("total_chunks * {chunk_bytes}"), "0", "0", "0")?;
    Ok(KernelPlan {
        name: NAME,
        entry: format!("{NAME}_{}", entry_suffix(spec)),
        summary: "A prompt's values into pinned host memory, one chunk of one KV head in one row.",
        notes: vec![
            "ShadowKV, section 4.1: values leave the GPU at prefill; gather_values brings back those of chosen chunks.".into(),
            String::new(),
            "values [tokens, kv_heads, head_dim] bf16".into(),
            "-> host_values [kv_heads, capacity, chunk_size, head_dim] bf16 in mapped host memory, per sequence.".into(),
            format!("Rows of {row_bytes} bytes, written whole and in the order of their addresses, {tile_rows} by a block at a time."),
        ],
        header: "spec.cuh",
        constants: vec![
            constant("THREADS", warps * 32, "threads of a block"),
            constant("LOADS", loads, "16-byte loads a thread has in flight"),
            constant("ROW_UNITS", row_units, "16-byte units of one chunk's values of one KV head"),
            constant("TILE_ROWS", tile_rows, "rows a block moves at a time"),
            constant("TILE_UNITS", tile_rows * row_units, "16-byte units of those"),
        ],
        arguments,
        geometry: build.geometry([&blocks.to_string(), "1", "1"], warps * 32, 0)?,
        work: build.writing_host(work, &format!("total_chunks * {chunk_bytes}"))?,
        requests: build.requests(
            &format!("total_chunks * {chunk_bytes} + batch * {}", blocks * warps * 28),
            "0",
            "the sequence's numbers once per warp",
        )?,
    })
}
