//! One module per kernel: its tile, the rule for the default tile, and its plan.

use super::tiles::Tiles;
use super::{Constant, KernelPlan, PlanError};
use crate::spec::{Decoder, Spec};

mod attention;
mod chunk_landmarks;
mod decode_attention;
mod embed;
mod fold_chunk;
mod gather_values;
mod key_gram;
mod key_project;
mod landmark_score;
mod offload_values;
mod prefill_attention;
mod reconstruct_keys;
mod rms_norm;
mod rope_append;
mod sample;
mod select_chunks;
mod select_outliers;
mod silu_mul;
mod sparse_attention;
mod store_exact;

pub use attention::SpanAttentionTile;
pub use chunk_landmarks::ChunkLandmarksTile;
pub use embed::EmbedTile;
pub use fold_chunk::FoldChunkTile;
pub use gather_values::GatherValuesTile;
pub use key_gram::KeyGramTile;
pub use key_project::KeyProjectTile;
pub use landmark_score::LandmarkScoreTile;
pub use offload_values::OffloadValuesTile;
pub use prefill_attention::PrefillAttentionTile;
pub use reconstruct_keys::ReconstructKeysTile;
pub use rms_norm::RmsNormTile;
pub use rope_append::RopeAppendTile;
pub use sample::SampleTile;
pub use select_chunks::SelectChunksTile;
pub use select_outliers::SelectOutliersTile;
pub use silu_mul::SiluMulTile;
pub use store_exact::StoreExactTile;

/// One kernel of the package: its name is also that of its template, launcher, oracle, test and bench.
#[derive(Clone, Copy, Debug)]
pub struct KernelDefinition {
    /// Short name.
    pub name: &'static str,
    /// Whether it needs the spec's `decoder` block, and is left out without one.
    pub of_decoder: bool,
    /// Makes its plan.
    pub plan: fn(&Spec, &Tiles) -> Result<KernelPlan, PlanError>,
}

/// All kernels, in the order in which a decoder first needs them: prefill, then the steps of one decode.
pub const KERNELS: &[KernelDefinition] = &[
    KernelDefinition {
        name: embed::NAME,
        of_decoder: true,
        plan: |spec, tiles| embed::plan(decoder(spec, embed::NAME)?, tiles.embed),
    },
    KernelDefinition {
        name: rms_norm::NAME,
        of_decoder: true,
        plan: |spec, tiles| rms_norm::plan(decoder(spec, rms_norm::NAME)?, tiles.rms_norm),
    },
    KernelDefinition {
        name: rope_append::NAME,
        of_decoder: false,
        plan: |spec, tiles| rope_append::plan(spec, &tiles.rope_append),
    },
    KernelDefinition {
        name: prefill_attention::NAME,
        of_decoder: false,
        plan: |spec, tiles| prefill_attention::plan(spec, &tiles.prefill_attention),
    },
    KernelDefinition {
        name: silu_mul::NAME,
        of_decoder: true,
        plan: |spec, tiles| silu_mul::plan(decoder(spec, silu_mul::NAME)?, tiles.silu_mul),
    },
    KernelDefinition {
        name: key_gram::NAME,
        of_decoder: false,
        plan: |spec, tiles| key_gram::plan(spec, &tiles.key_gram),
    },
    KernelDefinition {
        name: key_project::NAME,
        of_decoder: false,
        plan: |spec, tiles| key_project::plan(spec, &tiles.key_project),
    },
    KernelDefinition {
        name: chunk_landmarks::NAME,
        of_decoder: false,
        plan: |spec, tiles| chunk_landmarks::plan(spec, &tiles.chunk_landmarks),
    },
    KernelDefinition {
        name: select_outliers::NAME,
        of_decoder: false,
        plan: |spec, tiles| select_outliers::plan(spec, tiles.select_outliers),
    },
    KernelDefinition {
        name: store_exact::NAME,
        of_decoder: false,
        plan: |spec, tiles| store_exact::plan(spec, &tiles.store_exact),
    },
    KernelDefinition {
        name: offload_values::NAME,
        of_decoder: false,
        plan: |spec, tiles| offload_values::plan(spec, &tiles.offload_values),
    },
    KernelDefinition {
        name: decode_attention::NAME,
        of_decoder: false,
        plan: |spec, tiles| decode_attention::plan(spec, tiles.decode_attention),
    },
    KernelDefinition {
        name: landmark_score::NAME,
        of_decoder: false,
        plan: |spec, tiles| landmark_score::plan(spec, tiles.landmark_score),
    },
    KernelDefinition {
        name: select_chunks::NAME,
        of_decoder: false,
        plan: |spec, tiles| select_chunks::plan(spec, &tiles.select_chunks),
    },
    KernelDefinition {
        name: gather_values::NAME,
        of_decoder: false,
        plan: |spec, tiles| gather_values::plan(spec, &tiles.gather_values),
    },
    KernelDefinition {
        name: reconstruct_keys::NAME,
        of_decoder: false,
        plan: |spec, tiles| reconstruct_keys::plan(spec, &tiles.reconstruct_keys),
    },
    KernelDefinition {
        name: sparse_attention::NAME,
        of_decoder: false,
        plan: |spec, tiles| sparse_attention::plan(spec, tiles.sparse_attention),
    },
    KernelDefinition {
        name: fold_chunk::NAME,
        of_decoder: false,
        plan: |spec, tiles| fold_chunk::plan(spec, &tiles.fold_chunk),
    },
    KernelDefinition {
        name: sample::NAME,
        of_decoder: true,
        plan: |spec, tiles| sample::plan(decoder(spec, sample::NAME)?, tiles.sample),
    },
];

/// The part of the spec that the kernels of a decoder need.
fn decoder<'a>(spec: &'a Spec, kernel: &'static str) -> Result<&'a Decoder, PlanError> {
    let decoder = spec.decoder.as_ref();
    decoder.ok_or(PlanError::NoDecoder { kernel })
}

/// The rule a tile value must satisfy, checked with the kernel and the field in the error.
fn require(
    satisfied: bool,
    kernel: &'static str,
    field: &'static str,
    value: u32,
    rule: impl FnOnce() -> String,
) -> Result<(), PlanError> {
    if satisfied {
        Ok(())
    } else {
        Err(PlanError::Tile {
            kernel,
            field,
            value,
            rule: rule(),
        })
    }
}

/// Most warps of a block on any GPU.
const MAX_WARPS: u32 = 32;

fn constant(name: &'static str, value: u32, doc: &'static str) -> Constant {
    Constant {
        name,
        value: i64::from(value),
        doc,
    }
}
