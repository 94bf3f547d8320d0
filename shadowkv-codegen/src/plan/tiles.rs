//! Tile choices as data, and the limits they must fit.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::kernels::{
    ChunkLandmarksTile, EmbedTile, FoldChunkTile, GatherValuesTile, KeyGramTile, KeyProjectTile,
    LandmarkScoreTile, OffloadValuesTile, PrefillAttentionTile, ReconstructKeysTile, RmsNormTile,
    RopeAppendTile, SampleTile, SelectChunksTile, SelectOutliersTile, SiluMulTile,
    SpanAttentionTile, StoreExactTile,
};
use super::{KernelPlan, PlanError};
use crate::spec::Spec;

/// What a block may use on every GPU the kernels must run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Dynamic shared memory of a block, bytes.
    pub shared_bytes_per_block: u32,
    /// Threads of a block.
    pub threads_per_block: u32,
}

impl Limits {
    /// The least of all architectures this version compiles for: 99 KiB (`sm_86`, `sm_89`, `sm_120`), less what a kernel
    /// may declare statically. Sources planned within it run everywhere.
    pub fn portable() -> Limits {
        Limits {
            shared_bytes_per_block: 97 * 1024,
            threads_per_block: 1024,
        }
    }

    pub(super) fn check(self, kernel: &KernelPlan) -> Result<(), PlanError> {
        if kernel.geometry.shared_bytes > self.shared_bytes_per_block {
            return Err(PlanError::SharedMemory {
                kernel: kernel.name,
                needed: kernel.geometry.shared_bytes,
                available: self.shared_bytes_per_block,
                remedy: if kernel.name == "select_chunks" {
                    "shadowkv.sparse_budget or shadowkv.resident_chunks"
                } else {
                    "the kernel's tile sizes"
                },
            });
        }
        if kernel.geometry.threads > self.threads_per_block {
            return Err(PlanError::Tile {
                kernel: kernel.name,
                field: "warps",
                value: kernel.geometry.threads / 32,
                rule: format!("at most {} threads per block", self.threads_per_block),
            });
        }
        Ok(())
    }
}

/// The tile of one kernel, by field: what its own type says, as data.
pub type Tile = BTreeMap<String, u32>;

/// One tile choice per kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tiles {
    /// Tile of `embed`.
    pub embed: EmbedTile,
    /// Tile of `rms_norm`.
    pub rms_norm: RmsNormTile,
    /// Tile of `rope_append`.
    pub rope_append: RopeAppendTile,
    /// Tile of `prefill_attention`.
    pub prefill_attention: PrefillAttentionTile,
    /// Tile of `silu_mul`.
    pub silu_mul: SiluMulTile,
    /// Tile of `key_gram`.
    pub key_gram: KeyGramTile,
    /// Tile of `key_project`.
    pub key_project: KeyProjectTile,
    /// Tile of `chunk_landmarks`.
    pub chunk_landmarks: ChunkLandmarksTile,
    /// Tile of `select_outliers`.
    pub select_outliers: SelectOutliersTile,
    /// Tile of `store_exact`.
    pub store_exact: StoreExactTile,
    /// Tile of `offload_values`.
    pub offload_values: OffloadValuesTile,
    /// Tile of `decode_attention`.
    pub decode_attention: SpanAttentionTile,
    /// Tile of `landmark_score`.
    pub landmark_score: LandmarkScoreTile,
    /// Tile of `select_chunks`.
    pub select_chunks: SelectChunksTile,
    /// Tile of `gather_values`.
    pub gather_values: GatherValuesTile,
    /// Tile of `reconstruct_keys`.
    pub reconstruct_keys: ReconstructKeysTile,
    /// Tile of `sparse_attention`.
    pub sparse_attention: SpanAttentionTile,
    /// Tile of `fold_chunk`.
    pub fold_chunk: FoldChunkTile,
    /// Tile of `sample`.
    pub sample: SampleTile,
}

impl Tiles {
    /// The default tiles: each kernel's module says by which rule.
    pub fn heuristic(spec: &Spec, limits: &Limits) -> Tiles {
        Tiles {
            embed: EmbedTile::heuristic(spec),
            rms_norm: RmsNormTile::heuristic(spec),
            rope_append: RopeAppendTile::heuristic(spec),
            prefill_attention: PrefillAttentionTile::heuristic(spec, limits),
            silu_mul: SiluMulTile::heuristic(spec),
            key_gram: KeyGramTile::heuristic(spec),
            key_project: KeyProjectTile::heuristic(spec),
            chunk_landmarks: ChunkLandmarksTile::heuristic(spec),
            select_outliers: SelectOutliersTile::heuristic(limits),
            store_exact: StoreExactTile::heuristic(spec),
            offload_values: OffloadValuesTile::heuristic(),
            decode_attention: SpanAttentionTile::heuristic(spec),
            landmark_score: LandmarkScoreTile::heuristic(),
            select_chunks: SelectChunksTile::heuristic(spec, limits),
            gather_values: GatherValuesTile::heuristic(),
            reconstruct_keys: ReconstructKeysTile::heuristic(spec, limits),
            sparse_attention: SpanAttentionTile::heuristic(spec),
            fold_chunk: FoldChunkTile::heuristic(spec),
            sample: SampleTile::heuristic(spec),
        }
    }

    /// The tile of the kernel called `kernel`, by field; `None` if there is no such kernel.
    pub fn tile(&self, kernel: &str) -> Option<Tile> {
        let mut tiles = serde_json::to_value(self).ok()?;
        serde_json::from_value(tiles.get_mut(kernel)?.take()).ok()
    }

    /// These tiles with another one for the kernel called `kernel`; `None` if there is no such kernel, or its tile has other
    /// fields. Whether the kernel can honour the values, [`Plan::new`](super::Plan::new) says.
    pub fn with_tile(&self, kernel: &str, tile: &Tile) -> Option<Tiles> {
        let Ok(Value::Object(mut tiles)) = serde_json::to_value(self) else {
            return None;
        };
        *tiles.get_mut(kernel)? = serde_json::to_value(tile).ok()?;
        serde_json::from_value(tiles.into()).ok()
    }
}
