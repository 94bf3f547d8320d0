//! `shadowkv:`: rank, chunks, budget, windows.

use super::super::limits as l;
use super::super::raw::RawShadowKv;
use super::super::resolved::{Attention, ShadowKv, Storage, StorageType};
use super::finding::Findings;

pub(super) fn resolve(
    raw: &RawShadowKv,
    attention: &Attention,
    findings: &mut Findings,
) -> ShadowKv {
    rank(raw.rank, attention, findings);
    let chunk_right = l::CHUNK_SIZES.contains(&raw.chunk_size);
    if !chunk_right {
        findings
            .range(
                "shadowkv.chunk_size",
                format!("`shadowkv.chunk_size` cannot be {}", raw.chunk_size),
            )
            .allowed("4, 8, 16 or 32")
            .help("the paper uses 8");
    }
    let sparse_budget = raw.sparse_budget.unwrap_or(l::DEFAULT_SPARSE_BUDGET);
    // A wrong chunk size is reported once, not again through everything that is divided by it.
    let chunk_size = if chunk_right { raw.chunk_size } else { 4 };
    let selected = sparse_budget / chunk_size;
    let budget_right = !chunk_right || budget(sparse_budget, chunk_size, findings);

    let resident_chunks = raw
        .resident_chunks
        .unwrap_or_else(|| selected.saturating_mul(2));
    if let Some(resident) = raw.resident_chunks {
        let path = "shadowkv.resident_chunks";
        let help = "each slot holds one chunk's K and V on the GPU; twice the selected chunks is the default";
        let right = findings.within(path, resident, 1, l::RESIDENT_CHUNKS_MAX, help);
        if right && chunk_right && budget_right && resident < selected {
            findings
                .clash(path, format!("{resident} resident chunks cannot hold the {selected} selected ones"))
                .allowed(format!("at least `sparse_budget / chunk_size` = {selected}"))
                .help("raise `resident_chunks`, lower `sparse_budget`, or remove `resident_chunks` for its default");
        }
    }

    let outlier_chunks = raw.outlier_chunks.unwrap_or(l::DEFAULT_OUTLIER_CHUNKS);
    let help = "the paper keeps 48 chunks of 8 tokens";
    findings.within(
        "shadowkv.outlier_chunks",
        outlier_chunks,
        0,
        l::EXACT_CHUNKS_MAX,
        help,
    );
    let local_chunks = raw.local_chunks.unwrap_or(l::DEFAULT_LOCAL_CHUNKS);
    let help = "the newest tokens are attended exactly; the default is 4";
    findings.within(
        "shadowkv.local_chunks",
        local_chunks,
        1,
        l::EXACT_CHUNKS_MAX,
        help,
    );
    let generated_window = raw.generated_window.unwrap_or(l::DEFAULT_GENERATED_WINDOW);
    let help = "older generated tokens are compressed, not dropped; the default is 128";
    findings.within(
        "shadowkv.generated_window",
        generated_window,
        0,
        l::GENERATED_WINDOW_MAX,
        help,
    );

    let storage = raw.storage.clone().unwrap_or_default();
    ShadowKv {
        rank: raw.rank,
        chunk_size: raw.chunk_size,
        sparse_budget,
        outlier_chunks,
        local_chunks,
        generated_window,
        resident_chunks,
        storage: Storage {
            values: storage.values.unwrap_or(StorageType::Bf16),
            landmarks: storage.landmarks.unwrap_or(StorageType::Bf16),
            factors: storage.factors.unwrap_or(StorageType::Bf16),
        },
    }
}

fn rank(rank: u32, attention: &Attention, findings: &mut Findings) {
    let path = "shadowkv.rank";
    let width = u64::from(attention.kv_heads) * u64::from(attention.head_dim);
    let largest = width / u64::from(l::RANK_STEP) * u64::from(l::RANK_STEP);
    if rank == 0 || !rank.is_multiple_of(l::RANK_STEP) {
        findings
            .range(path, format!("`{path}` cannot be {rank}"))
            .allowed(format!(
                "a multiple of {} from {} to {largest}",
                l::RANK_STEP,
                l::RANK_STEP
            ))
            .help("the paper uses 160");
    } else if u64::from(rank) > width {
        findings
            .clash(
                path,
                format!("rank {rank} is more than the {width} elements of a token's keys"),
            )
            .allowed(format!(
                "at most `kv_heads * head_dim` = {} * {} = {width}",
                attention.kv_heads, attention.head_dim
            ))
            .help(format!("use {largest} or less"));
    }
}

fn budget(sparse_budget: u32, chunk_size: u32, findings: &mut Findings) -> bool {
    let path = "shadowkv.sparse_budget";
    let written = findings.is_written(path);
    let largest = l::SELECTED_CHUNKS_MAX * chunk_size;
    let which = if written { "" } else { " (the default)" };
    if sparse_budget == 0 || !sparse_budget.is_multiple_of(chunk_size) {
        let near = (sparse_budget / chunk_size).clamp(1, l::SELECTED_CHUNKS_MAX) * chunk_size;
        findings
            .clash(
                path,
                format!(
                    "`{path}` cannot be {sparse_budget}{which} with chunks of {chunk_size} tokens"
                ),
            )
            .allowed(format!(
                "a multiple of `chunk_size` = {chunk_size}, greater than 0"
            ))
            .help(format!("use {near}"));
        return false;
    }
    if sparse_budget > largest {
        findings
            .range(
                path,
                format!(
                    "`{path}` of {sparse_budget} tokens selects {} chunks",
                    sparse_budget / chunk_size
                ),
            )
            .allowed(format!(
                "at most {} chunks of {chunk_size} tokens = {largest}",
                l::SELECTED_CHUNKS_MAX
            ))
            .help("lower the budget or use larger chunks");
        return false;
    }
    true
}
