//! `gather_values`: missing chunks' values from host memory into their slots.

use serde::{Deserialize, Serialize};
use shadowkv_runtime::manifest::{Access, Dtype};

use super::super::builder::Builder;
use super::super::{KernelPlan, PlanError, UNIT_BYTES, entry_suffix};
use super::{constant, require};
use crate::spec::Spec;

pub(super) const NAME: &str = "gather_values";

/// Tile of `gather_values`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatherValuesTile {
    /// Blocks of the launch.
    pub blocks: u32,
    /// Warps of a block.
    pub warps: u32,
    /// 16-byte loads a thread has in flight.
    pub loads: u32,
}

impl GatherValuesTile {
    /// 16 blocks of 256 threads with four loads each: 256 KiB in flight, which saturates PCIe gen 5 (51 GB/s measured on an
    /// H200), on few multiprocessors.
    pub fn heuristic() -> GatherValuesTile {
        GatherValuesTile {
            blocks: 16,
            warps: 8,
            loads: 4,
        }
    }
}

pub(super) fn plan(spec: &Spec, tile: &GatherValuesTile) -> Result<KernelPlan, PlanError> {
    let build = Builder { kernel: NAME };
    let row_bytes =
        spec.shadowkv.chunk_size * spec.attention.head_dim * spec.shadowkv.storage.values.bytes();
    let selected = spec.shadowkv.selected_chunks();
    let GatherValuesTile {
        blocks,
        warps,
        loads,
    } = *tile;
    require((1..=1024).contains(&blocks), NAME, "blocks", blocks, || {
        "from 1 to 1024".into()
    })?;
    require(
        warps.is_power_of_two() && warps <= 32,
        NAME,
        "warps",
        warps,
        || "a power of two up to 32".into(),
    )?;
    // All lists of a group may be missing everything: their units are counted in 32 bits.
    let row_units = row_bytes / UNIT_BYTES;
    let most_units = u64::from(warps) * 32 * u64::from(selected) * u64::from(row_units);
    require(most_units < 1 << 31, NAME, "warps", warps, || {
        format!("32 lists per warp of {selected} chunks of {row_units} units must stay below 2^31")
    })?;
    require((1..=16).contains(&loads), NAME, "loads", loads, || {
        "from 1 to 16".into()
    })?;

    let mut arguments = vec![build.host_values(spec, Access::Read)?];
    arguments.extend(build.store()?);
    arguments.extend(build.missing(spec, Access::Read)?);
    arguments.push(build.slots(
        "value_slots",
        spec,
        Access::Write,
        "values of the chunks in the slots",
    )?);
    arguments.push(build.scalar("batch", Dtype::I64, "sequences of the launch"));
    Ok(KernelPlan {
        name: NAME,
        entry: format!("{NAME}_{}", entry_suffix(spec)),
        summary: "Values of the missing chunks from pinned host memory into their slots.",
        notes: vec![
            "ShadowKV, section 4.2: values stay in host memory, and only those of chosen chunks cross PCIe.".into(),
            String::new(),
            "host_values [kv_heads, capacity, chunk_size, head_dim] bf16 in mapped host memory, per sequence".into(),
            "-> value_slots [batch, kv_heads, resident_chunks, chunk_size, head_dim] bf16.".into(),
            format!("Rows of {row_bytes} bytes, taken by (sequence, KV head), then chunk: neighbours share address translations."),
        ],
        header: "spec.cuh",
        constants: vec![
            constant("THREADS", warps * 32, "threads of a block"),
            constant("LOADS", loads, "16-byte loads a thread has in flight"),
            constant("TILE_UNITS", warps * 32 * loads, "16-byte units a block moves at a time"),
            constant("ROW_UNITS", row_units, "16-byte units of one chunk's values of one KV head"),
        ],
        arguments,
        geometry: build.geometry([&blocks.to_string(), "1", "1"], warps * 32, 0)?,
        work: build.work(
            "total_missing * 8",
            &format!("total_missing * {row_bytes}"),
            &format!("total_missing * {row_bytes}"),
            "0",
        )?,
        requests: build.requests(
            // Of the list an entry of 8 bytes, of the sequence 12; a row that is no whole number of warps begins in one more.
            &format!(
                "total_missing * {}",
                (row_units.div_ceil(32) + u32::from(!row_units.is_multiple_of(32))) * (8 + 12)
            ),
            &format!("total_missing * {row_bytes}"),
            "a chunk's entry of the lists, and where its sequence lies, by every warp that handles some of its 16-byte units",
        )?,
    })
}
