//! The plan: every decision about the emitted kernels, and nothing of how they are printed.
//!
//! A pure function of the spec and the [`Tiles`]: constants, tile sizes, launch geometry in the manifest's grammar,
//! shared memory, the argument struct, and the least bytes and operations of a launch. Emission only prints it.

use std::collections::BTreeMap;

use shadowkv_runtime::manifest::{Argument, Expr, ExprError, Geometry, Work, argument_bytes};

use crate::spec::{RopeLayout, Spec};

mod arguments;
mod builder;
mod kernels;
mod sizes;
mod tiles;

pub use kernels::KERNELS;
pub use kernels::{
    ChunkLandmarksTile, EmbedTile, FoldChunkTile, GatherValuesTile, KeyGramTile, KeyProjectTile,
    LandmarkScoreTile, OffloadValuesTile, PrefillAttentionTile, ReconstructKeysTile, RmsNormTile,
    RopeAppendTile, SampleTile, SelectChunksTile, SelectOutliersTile, SiluMulTile,
    SpanAttentionTile, StoreExactTile,
};
pub use sizes::SIZES;
pub use tiles::{Limits, Tile, Tiles};

/// Chunks of one softmax partial sum of `landmark_score`. Not a tile: the order of the sums, and with it every score,
/// must not depend on tuning.
pub const SCORE_SPAN: u32 = 64;

/// Bytes of one vector access.
pub(crate) const UNIT_BYTES: u32 = 16;

/// bf16 elements of one vector access.
pub(crate) const UNIT_ELEMENTS: u32 = 8;

/// Everything that will be emitted for one spec.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The spec it was made from.
    pub spec: Spec,
    /// Values that every kernel shares.
    pub constants: Vec<Constant>,
    /// The kernels, in the order in which a decoder first needs them.
    pub kernels: Vec<KernelPlan>,
}

/// A named integer of the emitted source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Constant {
    /// Name in the CUDA source.
    pub name: &'static str,
    /// Value.
    pub value: i64,
    /// Meaning, unit and, for values of the spec, the field.
    pub doc: &'static str,
}

/// Everything that will be emitted for one kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelPlan {
    /// Short name, the same on every side.
    pub name: &'static str,
    /// Symbol of the entry point.
    pub entry: String,
    /// One line on what it does.
    pub summary: &'static str,
    /// Shapes, method and reasons, one line each, for the head of the source.
    pub notes: Vec<String>,
    /// Emitted header it includes, which includes the others it needs.
    pub header: &'static str,
    /// Tiles and what follows from them.
    pub constants: Vec<Constant>,
    /// Parameters in order.
    pub arguments: Vec<Argument>,
    /// Launch geometry.
    pub geometry: Geometry,
    /// The least work any implementation must do.
    pub work: Work,
    /// What the plan asks for instead, where its tiles must read or write something more than once.
    pub requests: Requests,
}

/// Bytes that the loads and stores of a plan ask device memory for: the least and every declared re-read, at most. What
/// several lanes of a request ask for counts once; most of the re-reads come from L1 or L2.
///
/// Not part of the manifest: it follows from the tiles, and judges the plan rather than describes the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requests {
    /// Bytes read.
    pub read_bytes: Expr,
    /// Bytes written.
    pub written_bytes: Expr,
    /// What is read or written more than once, and why.
    pub reuse: &'static str,
}

impl KernelPlan {
    /// Size in bytes of the C argument struct: members at their natural alignment, in order. Scalars are 8 bytes like
    /// pointers, so that there is no padding.
    pub fn argument_bytes(&self) -> u64 {
        argument_bytes(&self.arguments)
    }

    /// Value of one of its constants.
    pub fn constant(&self, name: &str) -> Option<i64> {
        self.constants
            .iter()
            .find(|constant| constant.name == name)
            .map(|constant| constant.value)
    }
}

/// Why no kernel can be planned.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A tile value that the kernel's code cannot honour.
    #[error("tile `{kernel}.{field}` = {value} is not possible: {rule}")]
    Tile {
        /// Kernel whose tile it is.
        kernel: &'static str,
        /// Field of the tile.
        field: &'static str,
        /// Its value.
        value: u32,
        /// What it must satisfy.
        rule: String,
    },
    /// More shared memory than a block may have.
    #[error(
        "`{kernel}` needs {needed} bytes of shared memory per block, and {available} are available; lower {remedy}"
    )]
    SharedMemory {
        /// The kernel.
        kernel: &'static str,
        /// Bytes it needs.
        needed: u32,
        /// Bytes a block may have.
        available: u32,
        /// Spec fields or tile values that lower the need.
        remedy: &'static str,
    },
    /// A kernel of the decoder, and a spec without one.
    #[error("`{kernel}` needs the spec's `decoder` block")]
    NoDecoder {
        /// The kernel.
        kernel: &'static str,
    },
    /// An expression of ours that the manifest's grammar does not read: a defect of the plan, reported rather than hidden.
    #[error("`{kernel}`: the size expression `{text}` is malformed (a defect of shadowkv-codegen)")]
    Expression {
        /// The kernel.
        kernel: &'static str,
        /// The expression.
        text: String,
        /// What the grammar says.
        source: ExprError,
    },
}

impl Plan {
    /// Plans all kernels of `spec` with the tiles `tiles` within the `limits` of the GPUs it must run on.
    ///
    /// # Errors
    ///
    /// [`PlanError`] if a tile is impossible or needs more than a block may have.
    pub fn new(spec: &Spec, tiles: &Tiles, limits: &Limits) -> Result<Plan, PlanError> {
        let kernels = KERNELS
            .iter()
            .filter(|definition| spec.decoder.is_some() || !definition.of_decoder)
            .map(|definition| (definition.plan)(spec, tiles))
            .collect::<Result<Vec<_>, _>>()?;
        for kernel in &kernels {
            limits.check(kernel)?;
        }
        Ok(Plan {
            spec: spec.clone(),
            constants: spec_constants(spec),
            kernels,
        })
    }

    /// Plans the kernel called `name` alone: what [`Plan::new`] would say of it, whatever the tiles of the others. A plan
    /// without kernels if `spec` has none of that name.
    ///
    /// # Errors
    ///
    /// [`PlanError`] if its tile is impossible or needs more than a block may have.
    pub fn of_kernel(
        spec: &Spec,
        tiles: &Tiles,
        limits: &Limits,
        name: &str,
    ) -> Result<Plan, PlanError> {
        let kernels = KERNELS
            .iter()
            .filter(|definition| definition.name == name)
            .filter(|definition| spec.decoder.is_some() || !definition.of_decoder)
            .map(|definition| (definition.plan)(spec, tiles))
            .collect::<Result<Vec<_>, _>>()?;
        for kernel in &kernels {
            limits.check(kernel)?;
        }
        Ok(Plan {
            spec: spec.clone(),
            constants: spec_constants(spec),
            kernels,
        })
    }

    /// Plans with the default tiles for every architecture this version compiles for.
    ///
    /// # Errors
    ///
    /// [`PlanError`] if the spec's sizes need more shared memory than a block may have.
    pub fn heuristic(spec: &Spec) -> Result<Plan, PlanError> {
        let limits = Limits::portable();
        Plan::new(spec, &Tiles::heuristic(spec, &limits), &limits)
    }

    /// The kernel called `name`.
    pub fn kernel(&self, name: &str) -> Option<&KernelPlan> {
        self.kernels.iter().find(|kernel| kernel.name == name)
    }

    /// Meaning and unit of every size that the plan's expressions name.
    pub fn sizes(&self) -> BTreeMap<String, String> {
        SIZES
            .iter()
            .map(|(name, doc)| ((*name).to_owned(), (*doc).to_owned()))
            .collect()
    }
}

/// The values that every kernel of the package shares.
fn spec_constants(spec: &Spec) -> Vec<Constant> {
    let attention = &spec.attention;
    let shadowkv = &spec.shadowkv;
    let constant = |name, value: u32, doc| Constant {
        name,
        value: i64::from(value),
        doc,
    };
    vec![
        constant(
            "HEAD_DIM",
            attention.head_dim,
            "attention.head_dim: elements of one head",
        ),
        constant(
            "KV_HEADS",
            attention.kv_heads,
            "attention.kv_heads: key/value heads",
        ),
        constant(
            "GQA_RATIO",
            attention.gqa_ratio,
            "attention.gqa_ratio: query heads that share a KV head",
        ),
        constant(
            "KEY_WIDTH",
            attention.key_width(),
            "elements of one token's keys over all KV heads",
        ),
        constant(
            "RANK",
            shadowkv.rank,
            "shadowkv.rank: columns of the factors of the keys",
        ),
        constant(
            "CHUNK_SIZE",
            shadowkv.chunk_size,
            "shadowkv.chunk_size: tokens of a chunk",
        ),
        constant(
            "SELECTED_CHUNKS",
            shadowkv.selected_chunks(),
            "shadowkv.sparse_budget / chunk_size: chunks selected per step and KV head",
        ),
        constant(
            "RESIDENT_CHUNKS",
            shadowkv.resident_chunks,
            "shadowkv.resident_chunks: chunk slots per KV head",
        ),
        constant(
            "OUTLIER_CHUNKS",
            shadowkv.outlier_chunks,
            "shadowkv.outlier_chunks: chunks per KV head kept exact",
        ),
        constant(
            "SCORE_SPAN",
            SCORE_SPAN,
            "chunks of one partial softmax sum, whatever the tiles",
        ),
    ]
}

/// The shapes a kernel was specialised for: the end of its entry point's name. Packages that agree in these have the
/// same names, each in modules of its own.
pub(crate) fn entry_suffix(spec: &Spec) -> String {
    let layout = match spec.rope.layout {
        RopeLayout::HalfSplit => "half",
        RopeLayout::Interleaved => "interleaved",
    };
    format!(
        "bf16_d{}_h{}_g{}_r{}_c{}_{layout}{}",
        spec.attention.head_dim,
        spec.attention.kv_heads,
        spec.attention.gqa_ratio,
        spec.shadowkv.rank,
        spec.shadowkv.chunk_size,
        spec.rope.rotary_dim,
    )
}
