//! The limits of a spec's numbers, in one place for the checks, the schema and the texts.

/// Largest `max_position` and largest angle in radians: up to 2^21 an `f32` angle is reduced exactly.
pub const MAX_POSITION: u32 = 1 << 21;
/// Smallest `head_dim`, elements.
pub const HEAD_DIM_MIN: u32 = 32;
/// Largest `head_dim`, elements.
pub const HEAD_DIM_MAX: u32 = 256;
/// `head_dim` is a multiple of this: 16 bytes of bf16.
pub const HEAD_DIM_STEP: u32 = 8;
/// Most KV heads.
pub const KV_HEADS_MAX: u32 = 512;
/// Most query heads per KV head.
pub const GQA_RATIO_MAX: u32 = 16;
/// Widest key of one token over all KV heads, `D = kv_heads * head_dim` elements.
pub const KEY_WIDTH_MAX: u32 = 16_384;
/// `rank` is a multiple of this: the depth of one tensor-core step.
pub const RANK_STEP: u32 = 16;
/// The chunk sizes there are, tokens.
pub const CHUNK_SIZES: [u32; 4] = [4, 8, 16, 32];
/// Most chunks selected per step and KV head: with the slots' ages, their lists fit the shared memory of one block on every
/// architecture.
pub const SELECTED_CHUNKS_MAX: u32 = 4096;
/// Most chunk slots per KV head, for the same reason.
pub const RESIDENT_CHUNKS_MAX: u32 = 8192;
/// Most outlier chunks and most local chunks per KV head.
pub const EXACT_CHUNKS_MAX: u32 = 16_384;
/// Longest generated part of the exact window, tokens.
pub const GENERATED_WINDOW_MAX: u32 = 65_536;
/// Longest `name`, characters.
pub const NAME_LENGTH_MAX: usize = 64;
/// Most decoder layers.
pub const LAYERS_MAX: u32 = 4096;
/// Widest `hidden`, elements: the norm keeps a row in the registers of one block.
pub const HIDDEN_MAX: u32 = 1 << 15;
/// Widest `ffn`, elements.
pub const FFN_MAX: u32 = 1 << 20;
/// `hidden` and `ffn` are multiples of this: 16 bytes of bf16.
pub const WIDTH_STEP: u32 = 8;
/// Largest vocabulary, tokens.
pub const VOCAB_MAX: u32 = 1 << 24;

/// Largest spec file, bytes.
pub const SPEC_BYTES_MAX: u64 = 1 << 20;
/// Deepest nesting of mappings and lists in a spec; a valid one needs 4.
pub const NESTING_MAX: usize = 16;

/// Default of `rope.max_position`, tokens.
pub const DEFAULT_MAX_POSITION: u32 = 131_072;
/// Default of `shadowkv.sparse_budget`, tokens.
pub const DEFAULT_SPARSE_BUDGET: u32 = 2048;
/// Default of `shadowkv.outlier_chunks`.
pub const DEFAULT_OUTLIER_CHUNKS: u32 = 48;
/// Default of `shadowkv.local_chunks`.
pub const DEFAULT_LOCAL_CHUNKS: u32 = 4;
/// Default of `shadowkv.generated_window`, tokens.
pub const DEFAULT_GENERATED_WINDOW: u32 = 128;
/// Default of `rope.scaling.beta_fast` (yarn), rotations.
pub const DEFAULT_BETA_FAST: f64 = 32.0;
/// Default of `rope.scaling.beta_slow` (yarn), rotations.
pub const DEFAULT_BETA_SLOW: f64 = 1.0;
