//! `embed`: the tokens' rows of the embedding.

use serde::{Deserialize, Serialize};
use shadowkv_runtime::manifest::{Access, Dtype};

use super::super::builder::{Builder, shape};
use super::super::{KernelPlan, PlanError, UNIT_ELEMENTS};
use super::{MAX_WARPS, constant, require};
use crate::spec::{Decoder, Spec};

pub(super) const NAME: &str = "embed";

/// Tile of `embed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbedTile {
    /// Warps of a block, which copies a row.
    pub warps: u32,
}

impl EmbedTile {
    /// Two 16-byte units a thread, up to 8 warps.
    pub fn heuristic(spec: &Spec) -> EmbedTile {
        let hidden = spec.decoder.as_ref().map_or(0, |decoder| decoder.hidden);
        EmbedTile {
            warps: (hidden / UNIT_ELEMENTS).div_ceil(64).clamp(1, 8),
        }
    }
}

pub(super) fn plan(decoder: &Decoder, tile: EmbedTile) -> Result<KernelPlan, PlanError> {
    let build = Builder { kernel: NAME };
    let Decoder { hidden, vocab, .. } = *decoder;
    let units = hidden / UNIT_ELEMENTS;
    let EmbedTile { warps } = tile;
    require(
        (1..=MAX_WARPS).contains(&warps),
        NAME,
        "warps",
        warps,
        || format!("from 1 to {MAX_WARPS}"),
    )?;
    let threads = warps * 32;
    Ok(KernelPlan {
        name: NAME,
        entry: format!("{NAME}_bf16_hidden{hidden}_vocab{vocab}"),
        summary: "The embedding of every token.",
        notes: vec![
            "A token that is not in the vocabulary gets a row of what is not a number: nothing is read outside the table, and the".into(),
            "mistake shows in whatever is computed from it.".into(),
            String::new(),
            "token_ids [query_rows] i32, table [vocab, hidden] bf16 -> output [query_rows, hidden] bf16. One block per row.".into(),
        ],
        header: "spec.cuh",
        constants: vec![
            constant("THREADS", threads, "threads of a block"),
            constant("HIDDEN", hidden, "decoder.hidden: elements of a row"),
            constant("VOCAB", vocab, "decoder.vocab: rows of the table"),
            constant("UNITS", units, "16-byte units of a row"),
            constant("UNITS_PER_THREAD", units.div_ceil(threads), "of them, units a thread copies"),
        ],
        arguments: vec![
            build.pointer("token_ids", Dtype::I32, Access::Read, shape!["query_rows"], "the tokens")?,
            build.pointer("table", Dtype::Bf16, Access::Read, shape![vocab, hidden], "the embedding")?,
            build.pointer(
                "output",
                Dtype::Bf16,
                Access::Write,
                shape!["query_rows", hidden],
                "the tokens' rows of it",
            )?,
        ],
        geometry: build.geometry(["query_rows", "1", "1"], threads, 0)?,
        work: build.work(
            &format!("query_rows * {}", hidden * 2 + 4),
            &format!("query_rows * {}", hidden * 2),
            "0",
            "0",
        )?,
        requests: build.requests(
            &format!("query_rows * {}", hidden * 2 + warps * 4),
            &format!("query_rows * {}", hidden * 2),
            "a row's token by every warp of its block",
        )?,
    })
}
