//! `rms_norm`: adds a block's output to the residual stream and norms the sum.

use serde::{Deserialize, Serialize};
use shadowkv_runtime::manifest::{Access, Dtype};

use super::super::builder::{Builder, shape};
use super::super::{KernelPlan, PlanError, UNIT_ELEMENTS};
use super::{MAX_WARPS, constant, require};
use crate::spec::{Decoder, Spec};

pub(super) const NAME: &str = "rms_norm";

/// 16-byte units of a row that a thread's registers hold.
const MOST_UNITS_PER_THREAD: u32 = 4;

/// Tile of `rms_norm`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RmsNormTile {
    /// Warps of a block, which norms a row.
    pub warps: u32,
}

impl RmsNormTile {
    /// Two 16-byte units a thread, so that each has some loads in flight and the sum over the warps stays short.
    pub fn heuristic(spec: &Spec) -> RmsNormTile {
        let hidden = spec.decoder.as_ref().map_or(0, |decoder| decoder.hidden);
        RmsNormTile {
            warps: (hidden / UNIT_ELEMENTS).div_ceil(64).clamp(1, MAX_WARPS),
        }
    }
}

pub(super) fn plan(decoder: &Decoder, tile: RmsNormTile) -> Result<KernelPlan, PlanError> {
    let build = Builder { kernel: NAME };
    let hidden = decoder.hidden;
    let units = hidden / UNIT_ELEMENTS;
    let RmsNormTile { warps } = tile;
    require(
        (1..=MAX_WARPS).contains(&warps) && units.div_ceil(warps * 32) <= MOST_UNITS_PER_THREAD,
        NAME,
        "warps",
        warps,
        || {
            let least = units.div_ceil(32 * MOST_UNITS_PER_THREAD);
            format!("from {least} to {MAX_WARPS}, so that a row fits the block's registers")
        },
    )?;
    let threads = warps * 32;
    let row = |name, access, doc| {
        build.pointer(name, Dtype::Bf16, access, shape!["query_rows", hidden], doc)
    };
    Ok(KernelPlan {
        name: NAME,
        entry: format!("{NAME}_bf16_hidden{hidden}"),
        summary: "Adds a block's output to the residual stream, and norms the sum for the next block.",
        notes: vec![
            "residual += x, rounded to bf16 as it is stored; output = residual / sqrt(mean(residual^2) + eps) * weight in f32,".into(),
            "rounded once. The first norm of a model has nothing to add: `add_x` is 0, and neither x is read nor the".into(),
            "residual written.".into(),
            String::new(),
            "x, residual, output [query_rows, hidden] bf16, weight [hidden] bf16.".into(),
            format!("One block per row, which its registers hold: {} 16-byte units a thread.", units.div_ceil(threads)),
        ],
        header: "spec.cuh",
        constants: vec![
            constant("WARPS", warps, "warps of a block"),
            constant("THREADS", threads, "threads of a block"),
            constant("HIDDEN", hidden, "decoder.hidden: elements of a row"),
            constant("UNITS", units, "16-byte units of a row"),
            constant("UNITS_PER_THREAD", units.div_ceil(threads), "of them, units a thread holds"),
        ],
        arguments: vec![
            row("x", Access::Read, "the last block's output; not looked at where `add_x` is 0")?,
            row("residual", Access::ReadWrite, "residual stream")?,
            build.pointer("weight", Dtype::Bf16, Access::Read, shape![hidden], "weight of each element")?,
            row("output", Access::Write, "the normed rows")?,
            build.scalar("add_x", Dtype::I64, "whether `x` is added to the residual first: 0 or 1"),
        ],
        geometry: build.geometry(["query_rows", "1", "1"], threads, 0)?,
        work: build.work(
            &format!("query_rows * {} + {}", hidden * 4, hidden * 2),
            &format!("query_rows * {}", hidden * 4),
            "0",
            &format!("query_rows * {}", u64::from(hidden) * 5),
        )?,
        requests: build.requests(
            &format!("query_rows * {}", hidden * 6),
            &format!("query_rows * {}", hidden * 4),
            "the weights by every row",
        )?,
    })
}
