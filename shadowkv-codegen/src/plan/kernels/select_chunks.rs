//! `select_chunks`: the exact top-k of the scores, and what is missing from the slots.

use serde::{Deserialize, Serialize};
use shadowkv_runtime::manifest::{Access, Dtype};

use super::super::builder::{Builder, shape};
use super::super::tiles::Limits;
use super::super::{KernelPlan, PlanError, SCORE_SPAN, entry_suffix};
use super::{constant, require};
use crate::spec::Spec;

pub(super) const NAME: &str = "select_chunks";

/// Slots a thread asks for at the start, if it has no more; more would not fit its registers.
const HELD_SLOTS: u32 = 2;

/// Bits of a digit of the radix selection.
const RADIX_BITS: u32 = 11;

/// Two counts of a list, read and written.
const TOTALS_BYTES: u32 = 16;

/// Most keys of a block: far more than shared memory holds.
const MAX_KEYS_SHARED: u32 = 1 << 16;

/// Tile of `select_chunks`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SelectChunksTile {
    /// Warps of a block.
    pub warps: u32,
    /// Fewest chunks of a block where several share a list.
    pub split_chunks: u32,
    /// Keys kept in shared memory; the rest of the last choice, if any, is reread from L2.
    pub keys_shared: u32,
}

impl SelectChunksTile {
    /// Several blocks share a list where that fills an otherwise idle GPU (each then has 2048 chunks and four times what
    /// is selected at least), and where it exceeds the keys in shared memory: 16384, that is 131072 tokens at 8 a chunk,
    /// and fewer where the slots' lists leave less room.
    pub fn heuristic(spec: &Spec, limits: &Limits) -> SelectChunksTile {
        let warps = 16;
        let words = limits.shared_bytes_per_block / 4;
        let others = (1 << RADIX_BITS) + 2 * spec.shadowkv.selected_chunks() + scalars(warps);
        let room = words.saturating_sub(others) / 4 * 4;
        let needed =
            (spec.shadowkv.resident_chunks + spec.shadowkv.selected_chunks()).next_multiple_of(4);
        let keys_shared = 16384.min(room).max(needed);
        SelectChunksTile {
            warps,
            split_chunks: (4 * spec.shadowkv.selected_chunks()).max(2048),
            keys_shared,
        }
    }
}

/// Words that warps and threads tell each other: three values per warp, four of the block.
fn scalars(warps: u32) -> u32 {
    (3 * warps + 4).next_multiple_of(4)
}

#[expect(
    clippy::too_many_lines,
    reason = "one list of constants, arguments and texts"
)]
pub(super) fn plan(spec: &Spec, tile: &SelectChunksTile) -> Result<KernelPlan, PlanError> {
    let build = Builder { kernel: NAME };
    let kv_heads = spec.attention.kv_heads;
    let gqa_ratio = spec.attention.gqa_ratio;
    let selected = spec.shadowkv.selected_chunks();
    let resident = spec.shadowkv.resident_chunks;
    let SelectChunksTile {
        warps,
        split_chunks,
        keys_shared,
    } = *tile;
    require(
        warps.is_power_of_two() && warps <= 16,
        NAME,
        "warps",
        warps,
        || "1, 2, 4, 8 or 16".into(),
    )?;
    require(
        keys_shared % 4 == 0 && (resident + selected..=MAX_KEYS_SHARED).contains(&keys_shared),
        NAME,
        "keys_shared",
        keys_shared,
        || {
            format!(
                "a multiple of 4 from resident_chunks + selected chunks = {} to {MAX_KEYS_SHARED}",
                resident + selected
            )
        },
    )?;
    require(
        (1..=1 << 20).contains(&split_chunks),
        NAME,
        "split_chunks",
        split_chunks,
        || "from 1 to 1048576".into(),
    )?;

    let threads = warps * 32;
    let slots_per_thread = resident.div_ceil(threads);
    let bins = 1 << RADIX_BITS;
    let shared = (keys_shared + bins + 2 * selected + scalars(warps)) * 4;
    // Enough parts for shared memory, and as many more as fill the GPU once: ceil_div(a + 1, b) - 1 is the floor of a / b.
    let splits = format!(
        "max(max(ceil_div(max_chunks, {keys_shared}), 1), min(ceil_div(max_chunks, {split_chunks}), ceil_div(sm_count + 1, max(batch, 1) * {kv_heads}) - 1))"
    );
    let per_list = shape!["batch", kv_heads, selected];
    let per_slot = shape!["batch", kv_heads, resident];
    let per_head = shape!["batch", kv_heads];
    let mut arguments = vec![
        build.scores(spec, Access::Read)?,
        build.span_softmax(spec, Access::Read)?,
        build.chunk_count("compressed chunks of each sequence, outliers included")?,
        build.pointer(
            "step",
            Dtype::U32,
            Access::Read,
            shape![1],
            "number of this decode step, counted from 1",
        )?,
        build.pointer(
            "sequence_epoch",
            Dtype::U32,
            Access::Read,
            shape!["batch"],
            "epoch of each batch entry; slots of another epoch count as empty",
        )?,
        build.pointer(
            "slot_epoch",
            Dtype::U32,
            Access::ReadWrite,
            per_head,
            "epoch in which the slots were last filled; before the first launch any value but `sequence_epoch`",
        )?,
        build.pointer(
            "slot_chunk",
            Dtype::I32,
            Access::ReadWrite,
            per_slot,
            "chunk in each slot, -1 = empty",
        )?,
        build.pointer(
            "slot_stamp",
            Dtype::U32,
            Access::ReadWrite,
            per_slot,
            "step in which each slot was last used, 0 = never",
        )?,
        build.pointer(
            "selected_chunks",
            Dtype::I32,
            Access::Write,
            per_list,
            "the best chunks, ascending, padded with -1",
        )?,
        build.pointer(
            "selected_slots",
            Dtype::I32,
            Access::Write,
            per_list,
            "slot of each selected chunk, padded with -1",
        )?,
    ];
    arguments.extend(build.missing(spec, Access::Write)?);
    arguments.extend([
        build.pointer(
            "fetch_totals",
            Dtype::I64,
            Access::ReadWrite,
            shape!["batch", kv_heads, 2],
            "chunks selected so far, and how many of them were in no slot; every launch adds its own",
        )?,
        build.pointer(
            "workspace",
            Dtype::U32,
            Access::ReadWrite,
            shape!["batch", kv_heads, splits, 2, selected],
            "best keys and chunks of each block, where several share a list; contents do not matter",
        )?,
        build.pointer(
            "arrivals",
            Dtype::U32,
            Access::ReadWrite,
            per_head,
            "arrival counters: 0 before the first launch, and 0 again after every launch",
        )?,
        build.score_stride(),
    ]);
    // One block leaves no list in the workspace.
    let lists = format!(
        "batch * {} * ({splits}) * min(({splits}) - 1, 1)",
        kv_heads * selected
    );
    Ok(KernelPlan {
        name: NAME,
        entry: format!("{NAME}_{}", entry_suffix(spec)),
        summary: "The k best chunks of every KV head, which of them are missing from the slots, and where they go.",
        notes: vec![
            "ShadowKV, section 4.2: a chunk's score is the largest softmax weight any query head of the group gives it, here as".into(),
            "max_g (scores[g, j] - logsumexp_g), which orders alike and does not underflow into ties.".into(),
            "Equal scores: the lower chunk first. Fewer candidates than k: all of them. Slots are refilled by least recent".into(),
            "use: hits are stamped before victims are chosen, and a victim's stamp is older than this step.".into(),
            String::new(),
            "scores [batch, kv_heads, gqa_ratio, score_stride] f32 -> selected and missing lists [batch, kv_heads, k] i32.".into(),
            "One block per sequence and KV head, or several where lists are few or long: then each leaves its k best, and the".into(),
            "last to arrive chooses among them. The outcome is the same, however many.".into(),
        ],
        header: "spec.cuh",
        constants: vec![
            constant("WARPS", warps, "warps of a block"),
            constant("THREADS", threads, "threads of a block"),
            constant("KEYS_SHARED", keys_shared, "keys kept in shared memory"),
            constant("RADIX_BITS", RADIX_BITS, "bits of a digit of the radix selection"),
            constant("RADIX_BINS", bins, "values of a digit"),
            constant("BINS_PER_THREAD", bins / threads, "bins a thread sums"),
            constant("SLOTS_PER_THREAD", slots_per_thread, "slots a thread looks after"),
            constant(
                "HELD_SLOTS",
                slots_per_thread.min(HELD_SLOTS),
                "of them, slots a thread asks for early",
            ),
            constant("SCALARS", scalars(warps), "words that warps and threads tell each other"),
            constant("SHARED_BYTES", shared, "dynamic shared memory"),
        ],
        arguments,
        geometry: build.geometry(
            [&splits, &kv_heads.to_string(), "batch"],
            threads,
            shared,
        )?,
        work: build.work(
            &format!(
                "total_chunks * {} + batch * {}",
                kv_heads * gqa_ratio * 4,
                kv_heads * (resident * 8 + TOTALS_BYTES),
            ),
            &format!("batch * {}", kv_heads * (selected * 16 + TOTALS_BYTES)),
            "0",
            "0",
        )?,
        requests: build.requests(
            &format!(
                "total_chunks * {} + batch * {kv_heads} * (({splits}) * (ceil_div(max_chunks, {SCORE_SPAN}) * {} + {}) + {TOTALS_BYTES}) + {lists} * 8",
                kv_heads * gqa_ratio * 4,
                gqa_ratio * 8,
                resident * 8,
            ),
            &format!(
                "batch * {} + {lists} * 8",
                kv_heads * (selected * (16 + 8) + TOTALS_BYTES)
            ),
            "the partial softmax sums and the slots' tables by every block of a list; where several blocks share a list, their best keys and chunks; a slot's chunk and stamp where it changes",
        )?,
    })
}
