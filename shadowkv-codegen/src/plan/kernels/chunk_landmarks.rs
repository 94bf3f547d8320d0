//! `chunk_landmarks`: rotated chunk means and how badly they represent their chunk.

use serde::{Deserialize, Serialize};
use shadowkv_runtime::manifest::Access;

use super::super::builder::Builder;
use super::super::{KernelPlan, PlanError, UNIT_BYTES, UNIT_ELEMENTS, entry_suffix};
use super::{MAX_WARPS, constant, require};
use crate::spec::{RopeLayout, Spec};

pub(super) const NAME: &str = "chunk_landmarks";

/// Most chunks of a block: far more than shared memory holds.
const MAX_TILE_CHUNKS: u32 = 1024;

/// Tile of `chunk_landmarks`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChunkLandmarksTile {
    /// Chunks of a block.
    pub tile_chunks: u32,
    /// KV heads of a block; they share the tile's sines and cosines.
    pub tile_heads: u32,
    /// Warps of a block.
    pub warps: u32,
}

impl ChunkLandmarksTile {
    /// About 16 tokens, and as many heads (a divisor of `kv_heads`) as keep the tile within 32 KiB: several blocks fit a
    /// multiprocessor, and one computes while the others load.
    pub fn heuristic(spec: &Spec) -> ChunkLandmarksTile {
        let chunk = spec.shadowkv.chunk_size;
        let groups_per_warp = 32 / Lanes::of(spec).group;
        let tile_chunks = (16 / chunk).max(1).next_multiple_of(groups_per_warp);
        let head_bytes = tile_chunks * chunk * spec.attention.head_dim * 2;
        let kv_heads = spec.attention.kv_heads;
        let tile_heads = (1..=kv_heads)
            .rev()
            .find(|heads| kv_heads.is_multiple_of(*heads) && heads * head_bytes <= 32 * 1024)
            .unwrap_or(1);
        // Every lane of a warp must have an item: as many groups as divide the items, four warps at least if possible.
        let items = tile_chunks * tile_heads;
        let warps = (1..=8)
            .rev()
            .find(|warps| items.is_multiple_of(warps * groups_per_warp))
            .unwrap_or(1);
        ChunkLandmarksTile {
            tile_chunks,
            tile_heads,
            warps,
        }
    }
}

/// How the pairs of a head are spread over lanes.
#[derive(Clone, Copy)]
pub(super) struct Lanes {
    /// Neighbouring pairs a lane owns: two where their elements are whole words.
    pub(super) run: u32,
    /// Lanes of a group, a power of two.
    pub(super) group: u32,
    /// Runs a lane owns one after the other.
    pub(super) steps: u32,
    /// Keys of a chunk that a lane keeps in registers between their mean and their cosines: all, where they are few.
    pub(super) held: u32,
}

impl Lanes {
    pub(super) fn of(spec: &Spec) -> Lanes {
        let pairs = spec.attention.head_dim / 2;
        let whole_words = spec.rope.layout == RopeLayout::Interleaved
            || (spec.rope.rotary_dim / 2).is_multiple_of(2);
        let run = if whole_words { 2 } else { 1 };
        let runs = pairs / run;
        let lanes = runs.next_power_of_two().min(32);
        let chunk = spec.shadowkv.chunk_size;
        Lanes {
            run,
            group: lanes,
            steps: runs.div_ceil(lanes),
            held: if chunk * run <= 32 { chunk } else { 1 },
        }
    }
}

#[expect(
    clippy::too_many_lines,
    reason = "one list of constants, arguments and texts"
)]
pub(super) fn plan(spec: &Spec, tile: &ChunkLandmarksTile) -> Result<KernelPlan, PlanError> {
    let build = Builder { kernel: NAME };
    let chunk = spec.shadowkv.chunk_size;
    let head_dim = spec.attention.head_dim;
    let width = spec.attention.key_width();
    let kv_heads = spec.attention.kv_heads;
    let Lanes {
        run,
        group: lanes,
        steps,
        held,
    } = Lanes::of(spec);
    let groups_per_warp = 32 / lanes;
    let ChunkLandmarksTile {
        tile_chunks,
        tile_heads,
        warps,
    } = *tile;
    require(
        tile_chunks > 0 && tile_chunks % groups_per_warp == 0 && tile_chunks <= MAX_TILE_CHUNKS,
        NAME,
        "tile_chunks",
        tile_chunks,
        || {
            format!(
                "a multiple of {groups_per_warp}, the lane groups of a warp at this head_dim, up to {MAX_TILE_CHUNKS}"
            )
        },
    )?;
    require(
        tile_heads > 0 && tile_heads <= kv_heads,
        NAME,
        "tile_heads",
        tile_heads,
        || format!("from 1 to kv_heads = {kv_heads}"),
    )?;
    let items = tile_chunks * tile_heads;
    require(
        (1..=MAX_WARPS).contains(&warps),
        NAME,
        "warps",
        warps,
        || format!("from 1 to {MAX_WARPS}"),
    )?;
    require(
        items.is_multiple_of(warps * groups_per_warp),
        NAME,
        "warps",
        warps,
        || {
            format!(
                "from 1 to 32, and tile_chunks * tile_heads = {items} a multiple of {groups_per_warp} per warp"
            )
        },
    )?;

    let tokens = tile_chunks * chunk;
    let tile_units = tile_heads * head_dim / UNIT_ELEMENTS;
    // Groups of a warp are kept apart by an XOR within 8 units; rows then start at whole rows of banks.
    let pitch = tile_units.next_multiple_of(if groups_per_warp > 1 { 8 } else { 2 });
    let rotation_pitch = (spec.rope.rotary_dim / 2).next_multiple_of(2);
    let shared = tokens * (pitch * UNIT_BYTES + rotation_pitch * 8);
    let mut arguments = vec![
        build.k_pre(spec)?,
        build.token_begin()?,
        build.first_chunk()?,
        build.chunk_count("whole chunks of each sequence in `k_pre`, from `token_begin` on")?,
    ];
    arguments.extend(build.store()?);
    arguments.push(build.rope_table()?);
    arguments.push(build.landmarks(spec, Access::Write)?);
    arguments.push(build.min_cosines(spec, Access::Write)?);
    Ok(KernelPlan {
        name: NAME,
        entry: format!("{NAME}_{}", entry_suffix(spec)),
        summary: "Landmark (mean rotated key) and lowest cosine of every chunk, in one pass over K_pre.",
        notes: vec![
            "ShadowKV, section 4.1: landmarks stand for their chunk when chunks are chosen; chunks whose lowest cosine is".into(),
            "lowest are outliers. Means and cosines are f32 of f32 rotated keys; only the stored landmark is rounded.".into(),
            String::new(),
            "k_pre [tokens, kv_heads, head_dim] bf16".into(),
            "-> landmarks [kv_heads, capacity, head_dim] bf16, min_cosines [kv_heads, capacity] f32, per sequence.".into(),
            format!("A block owns {tile_chunks} chunk(s) of {tile_heads} head(s), and computes their sines and cosines while the keys travel."),
        ],
        header: "landmark.cuh",
        constants: vec![
            constant("TILE_CHUNKS", tile_chunks, "chunks of a block"),
            constant("TILE_HEADS", tile_heads, "KV heads of a block"),
            constant("TILE_TOKENS", tokens, "tokens of a block"),
            constant("TILE_UNITS", tile_units, "16-byte units of a token's keys in the tile"),
            constant("TILE_PITCH", pitch, "16-byte units between two tokens of the tile"),
            constant("ROTATION_PITCH", rotation_pitch, "pairs between two tokens' rotations"),
            constant("THREADS", warps * 32, "threads of a block"),
            constant("LANES", lanes, "lanes that share one chunk of one head"),
            constant("GROUPS_PER_WARP", groups_per_warp, "such groups of lanes in a warp"),
            constant("GROUPS", warps * groups_per_warp, "such groups of lanes in a block"),
            constant("ITEMS", items, "chunks times heads of a block"),
            constant("RUN", run, "neighbouring pairs a lane owns at a time"),
            constant("RUN_STEPS", steps, "runs a lane owns one after the other"),
            constant("HELD_TOKENS", held, "rotated tokens kept in registers between mean and cosine; 1 = rotated again"),
            constant("SHARED_BYTES", shared, "dynamic shared memory"),
        ],
        arguments,
        geometry: build.geometry(
            [
                &format!("ceil_div(max_chunks, {tile_chunks})"),
                &kv_heads.div_ceil(tile_heads).to_string(),
                "batch",
            ],
            warps * 32,
            shared,
        )?,
        work: build.work(
            &format!("total_chunks * {}", chunk * width * 2),
            &format!("total_chunks * {}", width * 2 + kv_heads * 4),
            "0",
            "0",
        )?,
        requests: build.requests(
            &format!(
                "total_chunks * {} + (ceil_div(total_chunks, {tile_chunks}) + batch) * {}",
                chunk * width * 2,
                kv_heads.div_ceil(tile_heads) * warps * (32 * 4 + 40)
            ),
            &format!("total_chunks * {}", width * 2 + kv_heads * 4),
            "the frequencies and the sequence's numbers once per warp",
        )?,
    })
}
