//! `select_outliers`: the chunks whose mean represents their keys worst.

use serde::{Deserialize, Serialize};
use shadowkv_runtime::manifest::{Access, Dtype};

use super::super::arguments::store_rows;
use super::super::builder::{Builder, shape};
use super::super::tiles::Limits;
use super::super::{KernelPlan, PlanError, entry_suffix};
use super::{constant, require};
use crate::spec::Spec;

pub(super) const NAME: &str = "select_outliers";

/// Bits of a digit of the radix selection.
const RADIX_BITS: u32 = 11;

/// Most keys of a block: far more than shared memory holds.
const MAX_KEYS_SHARED: u32 = 1 << 16;

/// Times that each key beyond those in shared memory is read: once for the range, in every pass of a selection over 32
/// bits, twice for the list, once for the mask.
const READS_BEYOND: u32 = 1 + 32_u32.div_ceil(RADIX_BITS) + 2 + 1;

/// Tile of `select_outliers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SelectOutliersTile {
    /// Warps of a block.
    pub warps: u32,
    /// Keys kept in shared memory; the rest, if any, is read again from L2.
    pub keys_shared: u32,
}

impl SelectOutliersTile {
    /// 16384 chunks are 131072 tokens at 8 a chunk; two such blocks share a multiprocessor of 164 KiB.
    pub fn heuristic(limits: &Limits) -> SelectOutliersTile {
        let warps = 16;
        let others = (1 << RADIX_BITS) + scalars(warps);
        let room = (limits.shared_bytes_per_block / 4).saturating_sub(others) / 4 * 4;
        SelectOutliersTile {
            warps,
            keys_shared: room.clamp(4, 16_384),
        }
    }
}

/// Words that warps and threads tell each other: three values per warp, four of the block.
fn scalars(warps: u32) -> u32 {
    (3 * warps + 4).next_multiple_of(4)
}

pub(super) fn plan(spec: &Spec, tile: SelectOutliersTile) -> Result<KernelPlan, PlanError> {
    let build = Builder { kernel: NAME };
    let kv_heads = spec.attention.kv_heads;
    let SelectOutliersTile { warps, keys_shared } = tile;
    require(
        warps.is_power_of_two() && warps <= 16,
        NAME,
        "warps",
        warps,
        || "1, 2, 4, 8 or 16".into(),
    )?;
    require(
        keys_shared % 4 == 0 && (4..=MAX_KEYS_SHARED).contains(&keys_shared),
        NAME,
        "keys_shared",
        keys_shared,
        || format!("a multiple of 4 from 4 to {MAX_KEYS_SHARED}"),
    )?;
    let threads = warps * 32;
    let bins = 1 << RADIX_BITS;
    let shared = (keys_shared + bins + scalars(warps)) * 4;
    let mut arguments = vec![
        build.pointer(
            "min_cosines",
            Dtype::F32,
            Access::Read,
            shape![store_rows(spec)],
            "lowest cosine of a chunk's keys with its landmark, [kv_heads, capacity] within a sequence",
        )?,
        build.chunk_count("compressed chunks of each sequence")?,
    ];
    arguments.extend(build.store()?);
    arguments.extend([
        build.outlier_chunks(spec, Access::Write)?,
        build.outlier_count(spec, Access::Write)?,
        build.pointer(
            "outlier_threshold",
            Dtype::F32,
            Access::Write,
            shape!["batch", kv_heads],
            "highest cosine among the outliers, minus infinity if there are none",
        )?,
        build.outlier_mask(spec, Access::Write)?,
        build.scalar(
            "outlier_capacity",
            Dtype::I64,
            "outlier chunks there is room for; at least shadowkv.outlier_chunks",
        ),
    ]);
    let written = format!(
        "batch * {kv_heads} * (outlier_capacity * 4 + 8) + ceil_div(total_chunks * {kv_heads}, 8)"
    );
    Ok(KernelPlan {
        name: NAME,
        entry: format!("{NAME}_{}", entry_suffix(spec)),
        summary: "The chunks of every KV head whose mean represents their keys worst: its outliers.",
        notes: vec![
            "ShadowKV, section 4.1: the chunks with the lowest cosine between a key and the landmark stay exact, and their".into(),
            "landmarks are masked out of the scores. Equal cosines: the lower chunk first; all chunks if there are no more.".into(),
            String::new(),
            "min_cosines [kv_heads, capacity] f32 per sequence -> outlier_chunks [batch, kv_heads, outlier_capacity] i32,".into(),
            "and a bit per chunk. One block per sequence and KV head: an exact radix selection over keys in shared memory.".into(),
        ],
        header: "spec.cuh",
        constants: vec![
            constant("WARPS", warps, "warps of a block"),
            constant("THREADS", threads, "threads of a block"),
            constant("KEYS_SHARED", keys_shared, "keys kept in shared memory"),
            constant("RADIX_BITS", RADIX_BITS, "bits of a digit of the radix selection"),
            constant("RADIX_BINS", bins, "values of a digit"),
            constant("BINS_PER_THREAD", bins / threads, "bins a thread sums"),
            constant("SCALARS", scalars(warps), "words that warps and threads tell each other"),
            constant("SHARED_BYTES", shared, "dynamic shared memory"),
        ],
        arguments,
        geometry: build.geometry([&kv_heads.to_string(), "batch", "1"], threads, shared)?,
        work: build.work(
            &format!("total_chunks * {}", kv_heads * 4),
            &written,
            "0",
            "0",
        )?,
        requests: build.requests(
            &format!(
                "total_chunks * {} + batch * {} * (max(max_chunks, {keys_shared}) - {keys_shared})",
                kv_heads * 4,
                kv_heads * 4 * (READS_BEYOND - 1),
            ),
            // A list's mask ends with a whole span of 64 chunks.
            &format!("{written} + batch * {}", kv_heads * 8),
            "the cosines of a list beyond those that shared memory holds, by every pass of the selection",
        )?,
    })
}
