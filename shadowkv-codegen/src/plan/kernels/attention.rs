//! What `decode_attention` and `sparse_attention` share: attention of one token, split into spans.

use serde::{Deserialize, Serialize};
use shadowkv_runtime::manifest::{Access, Argument, Dtype};

use super::super::builder::{Builder, shape};
use super::super::{Constant, PlanError, UNIT_BYTES};
use super::{constant, require};
use crate::spec::Spec;

/// Tokens of one mma row tile: what a warp multiplies at a time.
const TILE_TOKENS: u32 = 16;

/// mma steps over 8 query heads and 16 elements whose queries a warp holds in registers.
const HELD_STEPS: u32 = 16;

/// Shared memory that the default tile stays within: two blocks of any GPU's multiprocessor.
const SHARED_AIM: u32 = 48 * 1024;

/// Query heads per span above which partial results would be more than 3 % of the keys and values of 122K tokens: a span
/// of T tokens moves `2 G / T` of them.
const SPAN_HEADS: u32 = 1792;

/// Tile of `decode_attention` or `sparse_attention`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpanAttentionTile {
    /// Warps of a block, 16 tokens each.
    pub warps: u32,
    /// Tiles of keys or of values that a warp has room for; all but one are in flight.
    pub slots: u32,
    /// Fewest tokens of a span where several blocks share a list.
    pub span_tokens: u32,
    /// Most spans of a list.
    pub max_spans: u32,
}

impl SpanAttentionTile {
    /// Four warps, or two where heads are so wide that a warp could not have three tiles; as many slots as fill 48 KiB, so
    /// that an SM has twice that in flight. Spans of 128 tokens for small groups and of 512 for large ones, whose partial
    /// results weigh more; as many as give four blocks per multiprocessor of a large GPU to a single sequence.
    pub fn heuristic(spec: &Spec) -> SpanAttentionTile {
        let gqa_ratio = spec.attention.gqa_ratio;
        let slots = |warps: u32| SHARED_AIM / slot_bytes(spec, warps);
        let warps = if slots(4) >= 3 { 4 } else { 2 };
        SpanAttentionTile {
            warps,
            slots: slots(warps).clamp(3, 8),
            span_tokens: match gqa_ratio {
                1..=2 => 128,
                3..=8 => 256,
                _ => 512,
            },
            max_spans: 512_u32
                .div_ceil(spec.attention.kv_heads)
                .clamp(16, 128.min(SPAN_HEADS / gqa_ratio)),
        }
    }
}

/// 16-byte units between two rows in shared memory: whole 32-byte sectors.
fn pitch_units(spec: &Spec) -> u32 {
    (spec.attention.head_dim / 8).next_multiple_of(2)
}

/// Bytes of one slot of every warp.
fn slot_bytes(spec: &Spec, warps: u32) -> u32 {
    warps * TILE_TOKENS * pitch_units(spec) * UNIT_BYTES
}

/// Bytes of the queries that stay in shared memory: where heads are wide and many, registers hold the sums alone. The
/// header's `STAYING_ROWS` follows the same rule.
fn staying_bytes(spec: &Spec) -> u32 {
    let tiles = spec.attention.gqa_ratio.div_ceil(8);
    if tiles * spec.attention.head_dim.div_ceil(16) > HELD_STEPS {
        tiles * 8 * pitch_units(spec) * UNIT_BYTES
    } else {
        0
    }
}

/// Bytes of the ring of tiles and of the queries that stay; later, in their place, of the warps' sums, then of the spans'
/// weights.
fn shared_bytes(spec: &Spec, tile: SpanAttentionTile) -> u32 {
    let group = spec.attention.gqa_ratio;
    let sums = tile.warps * group * spec.attention.head_dim.next_multiple_of(32) * 4;
    let weights = tile.max_spans * group * 4;
    (tile.slots * slot_bytes(spec, tile.warps) + staying_bytes(spec))
        .max(sums)
        .max(weights)
}

/// f32 of a span's partial result: weighted sums, then largest logit and sum of weights of every query head.
fn span_floats(spec: &Spec) -> u32 {
    let group = spec.attention.gqa_ratio;
    group * spec.attention.head_dim + (2 * group).next_multiple_of(8)
}

/// A plan's tile, checked, and what follows from it.
pub(super) struct Spans {
    tile: SpanAttentionTile,
    /// Threads of a block.
    pub(super) threads: u32,
    /// Dynamic shared memory, bytes.
    pub(super) shared: u32,
    span_bytes: u32,
}

impl Spans {
    pub(super) fn new(
        kernel: &'static str,
        spec: &Spec,
        tile: SpanAttentionTile,
    ) -> Result<Spans, PlanError> {
        let SpanAttentionTile {
            warps,
            slots,
            span_tokens,
            max_spans,
        } = tile;
        require((1..=8).contains(&warps), kernel, "warps", warps, || {
            "from 1 to 8".into()
        })?;
        require((3..=16).contains(&slots), kernel, "slots", slots, || {
            "from 3 to 16".into()
        })?;
        let step = warps * TILE_TOKENS;
        require(
            (1..=1 << 16).contains(&span_tokens) && span_tokens % step == 0,
            kernel,
            "span_tokens",
            span_tokens,
            || format!("a multiple of {step}, 16 per warp, up to 65536"),
        )?;
        require(
            (1..=256).contains(&max_spans),
            kernel,
            "max_spans",
            max_spans,
            || "from 1 to 256".into(),
        )?;
        Ok(Spans {
            tile,
            threads: warps * 32,
            shared: shared_bytes(spec, tile),
            span_bytes: span_floats(spec) * 4,
        })
    }

    pub(super) fn constants(&self) -> Vec<Constant> {
        let SpanAttentionTile {
            warps,
            slots,
            span_tokens,
            max_spans,
        } = self.tile;
        vec![
            constant("WARPS", warps, "warps of a block"),
            constant("THREADS", self.threads, "threads of a block"),
            constant(
                "SLOTS",
                slots,
                "tiles of 16 tokens' keys or values that a warp has room for",
            ),
            constant(
                "SPAN_TOKENS",
                span_tokens,
                "fewest tokens of a span where a list has several",
            ),
            constant("MAX_SPANS", max_spans, "most spans of a list"),
            constant("SHARED_BYTES", self.shared, "dynamic shared memory"),
        ]
    }

    /// Spans of a list of `tokens` tokens, and blocks of a grid that serves lists of at most so many.
    pub(super) fn of(&self, tokens: &str) -> String {
        format!(
            "min({}, max(ceil_div({tokens}, {}), 1))",
            self.tile.max_spans, self.tile.span_tokens
        )
    }

    /// Bytes of the partial results of all lists, each of `spans` spans, written once and read once: a list of a single span
    /// has none.
    pub(super) fn partial_bytes(&self, spec: &Spec, spans: &str) -> String {
        format!(
            "batch * {} * {spans} * min({spans} - 1, 1)",
            spec.attention.kv_heads * self.span_bytes
        )
    }
}

/// Workspace for `spans` spans of a list, and the arrival counters.
pub(super) fn workspace(
    build: Builder,
    spec: &Spec,
    spans: &str,
) -> Result<[Argument; 2], PlanError> {
    let kv_heads = spec.attention.kv_heads;
    Ok([
        build.pointer(
            "workspace",
            Dtype::F32,
            Access::ReadWrite,
            shape!["batch", kv_heads, spans, span_floats(spec)],
            "partial results of the spans, where a list has several; contents do not matter",
        )?,
        build.pointer(
            "arrivals",
            Dtype::U32,
            Access::ReadWrite,
            shape!["batch", kv_heads],
            "arrival counters: 0 before the first launch, and 0 again after every launch",
        )?,
    ])
}

/// This step's queries of all heads, or what attention makes of them.
pub(super) fn one_per_sequence(
    build: Builder,
    name: &str,
    spec: &Spec,
    access: Access,
    doc: &str,
) -> Result<Argument, PlanError> {
    build.pointer(
        name,
        Dtype::Bf16,
        access,
        shape![
            "batch",
            spec.attention.kv_heads,
            spec.attention.gqa_ratio,
            spec.attention.head_dim
        ],
        doc,
    )
}

/// Bytes of the queries, and of the outputs, of one sequence.
pub(super) fn query_bytes(spec: &Spec) -> u32 {
    spec.attention.key_width() * spec.attention.gqa_ratio * 2
}

/// How both kernels go about it, for the head of their sources.
pub(super) fn notes() -> Vec<String> {
    [
        "A block owns a span of a list of tokens for the whole query group: keys and values are read once. A warp multiplies 16",
        "tokens at a time (tokens are the rows, query heads the columns), on its own, through a ring of tiles in shared memory.",
        "Spans are a function of the list's length alone, and the last block to arrive joins them in their order: a sequence's",
        "result does not depend on the batch.",
    ]
    .map(str::to_owned)
    .to_vec()
}
