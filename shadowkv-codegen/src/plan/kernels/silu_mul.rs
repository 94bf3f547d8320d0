//! `silu_mul`: the gated activation of the MLP.

use serde::{Deserialize, Serialize};
use shadowkv_runtime::manifest::{Access, Dtype};

use super::super::builder::{Builder, shape};
use super::super::{KernelPlan, PlanError, UNIT_ELEMENTS};
use super::{MAX_WARPS, constant, require};
use crate::spec::{Decoder, Spec};

pub(super) const NAME: &str = "silu_mul";

/// Tile of `silu_mul`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiluMulTile {
    /// Warps of a block.
    pub warps: u32,
    /// 16-byte units of the output that a thread computes: twice as many loads are in flight.
    pub units: u32,
}

impl SiluMulTile {
    /// Four loads of a thread in flight; no more threads than half a row has units, so that narrow rows leave none idle.
    pub fn heuristic(spec: &Spec) -> SiluMulTile {
        let ffn = spec.decoder.as_ref().map_or(0, |decoder| decoder.ffn);
        SiluMulTile {
            warps: (ffn / UNIT_ELEMENTS).div_ceil(64).clamp(1, 4),
            units: 2,
        }
    }
}

pub(super) fn plan(decoder: &Decoder, tile: SiluMulTile) -> Result<KernelPlan, PlanError> {
    let build = Builder { kernel: NAME };
    let ffn = decoder.ffn;
    let row_units = ffn / UNIT_ELEMENTS;
    let SiluMulTile { warps, units } = tile;
    require(
        (1..=MAX_WARPS).contains(&warps),
        NAME,
        "warps",
        warps,
        || format!("from 1 to {MAX_WARPS}"),
    )?;
    require((1..=4).contains(&units), NAME, "units", units, || {
        "from 1 to 4".into()
    })?;
    let threads = warps * 32;
    let blocks = row_units.div_ceil(threads * units);
    let bytes = u64::from(ffn) * 2;
    Ok(KernelPlan {
        name: NAME,
        entry: format!("{NAME}_bf16_ffn{ffn}"),
        summary: "The MLP's gated activation: silu(gate) * up.",
        notes: vec![
            "silu(x) = x / (1 + exp(-x)), in f32; the product is rounded once.".into(),
            String::new(),
            "gate_up [query_rows, 2, ffn] bf16, gates first -> output [query_rows, ffn] bf16."
                .into(),
            format!(
                "Blocks of {} elements, {blocks} to a row.",
                threads * units * UNIT_ELEMENTS
            ),
        ],
        header: "spec.cuh",
        constants: vec![
            constant("THREADS", threads, "threads of a block"),
            constant("FFN", ffn, "decoder.ffn: elements of a row of the output"),
            constant("UNITS", row_units, "16-byte units of a row of the output"),
            constant(
                "UNITS_PER_THREAD",
                units,
                "units of the output that a thread computes",
            ),
            constant(
                "TILE_UNITS",
                threads * units,
                "units of the output that a block computes",
            ),
        ],
        arguments: vec![
            build.pointer(
                "gate_up",
                Dtype::Bf16,
                Access::Read,
                shape!["query_rows", 2, ffn],
                "gates and what they multiply",
            )?,
            build.pointer(
                "output",
                Dtype::Bf16,
                Access::Write,
                shape!["query_rows", ffn],
                "silu(gate) * up",
            )?,
        ],
        geometry: build.geometry(["query_rows", &blocks.to_string(), "1"], threads, 0)?,
        work: build.work(
            &format!("query_rows * {}", bytes * 2),
            &format!("query_rows * {bytes}"),
            "0",
            &format!("query_rows * {}", u64::from(ffn) * 6),
        )?,
        requests: build.requests(
            &format!("query_rows * {}", bytes * 2),
            &format!("query_rows * {bytes}"),
            "nothing",
        )?,
    })
}
