//! `reconstruct_keys`: missing chunks' keys from the factors, rotated, into their slots.

use serde::{Deserialize, Serialize};
use shadowkv_runtime::manifest::Access;

use super::super::builder::Builder;
use super::super::tiles::Limits;
use super::super::{KernelPlan, PlanError, UNIT_BYTES, UNIT_ELEMENTS, entry_suffix};
use super::{constant, require};
use crate::spec::{RopeLayout, Spec};

pub(super) const NAME: &str = "reconstruct_keys";

/// Tokens of one mma row tile: what a warp multiplies at a time.
const WARP_TOKENS: u32 = 16;

/// Tile of `reconstruct_keys`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReconstructKeysTile {
    /// Warps of a block, 16 tokens each.
    pub warps: u32,
    /// Ranks of the basis kept in shared memory at a time.
    pub panel: u32,
    /// Blocks per multiprocessor that the split of the missing chunks aims at.
    pub blocks_per_sm: u32,
}

impl ReconstructKeysTile {
    /// Four warps, and the whole rank as one panel if it fits: then the basis is read once per block, and the warps never
    /// wait for each other. Else the fewest panels of one size that do.
    pub fn heuristic(spec: &Spec, limits: &Limits) -> ReconstructKeysTile {
        let rank = spec.shadowkv.rank;
        let warps = 4;
        let most = (1..=rank / 16)
            .rev()
            .map(|steps| steps * 16)
            .find(|panel| shared_bytes(spec, warps, *panel) <= limits.shared_bytes_per_block)
            .unwrap_or(16);
        let panel = rank.div_ceil(rank.div_ceil(most)).next_multiple_of(16);
        ReconstructKeysTile {
            warps,
            panel,
            blocks_per_sm: 2,
        }
    }
}

/// 16-byte units of a row of the output buffer: whole 32-byte sectors.
fn output_units(spec: &Spec) -> u32 {
    (spec.attention.head_dim / UNIT_ELEMENTS).next_multiple_of(2)
}

fn buffer_units(spec: &Spec, panel: u32) -> u32 {
    WARP_TOKENS * (panel / UNIT_ELEMENTS).max(output_units(spec))
}

fn shared_bytes(spec: &Spec, warps: u32, panel: u32) -> u32 {
    (spec.attention.head_dim * panel / UNIT_ELEMENTS + warps * 2 * buffer_units(spec, panel))
        * UNIT_BYTES
}

/// Neighbouring pairs a lane stores together: as many as the layout aligns and the column tiles divide.
fn run(spec: &Spec) -> u32 {
    let tiles = spec.attention.head_dim / 8;
    let rotary_pairs = spec.rope.rotary_dim / 2;
    let aligned =
        |run: u32| spec.rope.layout == RopeLayout::Interleaved || rotary_pairs.is_multiple_of(run);
    [4, 2]
        .into_iter()
        .find(|run| aligned(*run) && tiles.is_multiple_of(*run))
        .unwrap_or(1)
}

#[expect(
    clippy::too_many_lines,
    reason = "one list of constants, arguments and texts"
)]
pub(super) fn plan(spec: &Spec, tile: &ReconstructKeysTile) -> Result<KernelPlan, PlanError> {
    let build = Builder { kernel: NAME };
    let head_dim = spec.attention.head_dim;
    let kv_heads = spec.attention.kv_heads;
    let rank = spec.shadowkv.rank;
    let chunk = spec.shadowkv.chunk_size;
    let selected = spec.shadowkv.selected_chunks();
    let ReconstructKeysTile {
        warps,
        panel,
        blocks_per_sm,
    } = *tile;
    require((1..=16).contains(&warps), NAME, "warps", warps, || {
        "from 1 to 16".into()
    })?;
    require(
        panel > 0 && panel % 16 == 0 && panel <= rank,
        NAME,
        "panel",
        panel,
        || format!("a multiple of 16 up to the rank, {rank}"),
    )?;
    require(
        (1..=32).contains(&blocks_per_sm),
        NAME,
        "blocks_per_sm",
        blocks_per_sm,
        || "from 1 to 32".into(),
    )?;

    let shared = shared_bytes(spec, warps, panel);
    let tile_tokens = warps * WARP_TOKENS;
    let most_tiles = (selected * chunk).div_ceil(tile_tokens);
    let mut arguments = vec![build.factors(spec, Access::Read)?, build.key_basis(spec)?];
    arguments.extend(build.store()?);
    arguments.push(build.rope_table()?);
    arguments.extend(build.missing(spec, Access::Read)?);
    arguments.push(build.slots(
        "key_slots",
        spec,
        Access::Write,
        "rotated keys of the chunks in the slots",
    )?);
    let grid_x = format!(
        "min({most_tiles}, max(ceil_div(sm_count * {blocks_per_sm}, max(batch, 1) * {kv_heads}), 1))"
    );
    // Lists are taken to miss alike.
    let tiles_of_list = format!(
        "ceil_div(ceil_div(total_missing, max(batch, 1) * {kv_heads}) * {chunk}, {tile_tokens})"
    );
    let panel_loads = if panel >= rank {
        format!("min({grid_x}, {tiles_of_list})")
    } else {
        tiles_of_list
    };
    Ok(KernelPlan {
        name: NAME,
        entry: format!("{NAME}_{}", entry_suffix(spec)),
        summary: "Keys of the missing chunks, rebuilt from the factors and rotated, into their slots.",
        notes: vec![
            "ShadowKV, section 4.2: K = A V_R^T for the chosen chunks only, RoPE at absolute positions in the epilogue: no".into(),
            "pass over memory between product and rotation, and the product is rounded once, after it.".into(),
            String::new(),
            "factors [tokens, rank] bf16, key_basis [batch, kv_heads, head_dim, rank] bf16".into(),
            "-> key_slots [batch, kv_heads, resident_chunks, chunk_size, head_dim] bf16.".into(),
            format!("A warp multiplies 16 gathered rows of A at a time with the head's basis, which stays in shared memory {panel}"),
            format!("of {rank} ranks at a time; the next rows travel meanwhile. Blocks beyond the missing chunks leave at once."),
        ],
        header: "rope.cuh",
        constants: vec![
            constant("WARPS", warps, "warps of a block"),
            constant("THREADS", warps * 32, "threads of a block"),
            constant("TILE_TOKENS", tile_tokens, "tokens a block multiplies at a time, 16 per warp"),
            constant("PANEL", panel, "ranks of the basis in shared memory at a time"),
            constant("PANELS", rank.div_ceil(panel), "panels over the rank"),
            constant("PANEL_UNITS", panel / UNIT_ELEMENTS, "16-byte units of a panel's row"),
            constant("COLUMN_TILES", head_dim / 8, "mma tiles of 8 columns over a head"),
            constant("RUN", run(spec), "neighbouring pairs a lane stores together"),
            constant("OUTPUT_UNITS", output_units(spec), "16-byte units between two keys of the output buffer"),
            constant("BUFFER_UNITS", buffer_units(spec, panel), "16-byte units of a warp's row buffer"),
            constant("SHARED_BYTES", shared, "dynamic shared memory"),
        ],
        arguments,
        geometry: build.geometry([&grid_x, &kv_heads.to_string(), "batch"], warps * 32, shared)?,
        work: build.work(
            &format!(
                "total_missing * {} + batch * {}",
                chunk * rank * 2 + 8,
                u64::from(spec.attention.key_width()) * u64::from(rank) * 2
            ),
            &format!("total_missing * {}", chunk * head_dim * 2),
            "0",
            &format!("total_missing * {}", u64::from(chunk) * u64::from(rank) * u64::from(head_dim) * 2),
        )?,
        requests: build.requests(
            &format!(
                "total_missing * {} + batch * {kv_heads} * {panel_loads} * {}",
                // A lane of each half of a warp asks for the token's chunk and slot, the lanes of a row for its position.
                chunk * (rank * 2 + 16),
                u64::from(head_dim) * u64::from(rank) * 2
            ),
            &format!("total_missing * {}", chunk * head_dim * 2),
            "the head's rows of the basis once per block with work (per tile of tokens where they are several panels); a chunk's entry of the lists by every lane that handles one of its tokens",
        )?,
    })
}
