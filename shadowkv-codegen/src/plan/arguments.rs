//! Arguments that several kernels share, so that they mean the same everywhere.

use shadowkv_runtime::manifest::{Access, Argument, Dtype, MemoryKind};

use super::builder::{Builder, shape};
use super::{PlanError, SCORE_SPAN};
use crate::spec::Spec;

impl Builder {
    pub(super) fn k_pre(self, spec: &Spec) -> Result<Argument, PlanError> {
        self.pointer(
            "k_pre",
            Dtype::Bf16,
            Access::Read,
            shape![
                "token_rows",
                spec.attention.kv_heads,
                spec.attention.head_dim
            ],
            "keys before RoPE, the sequences one after the other",
        )
    }

    /// Keys or values of prompts after RoPE, token by token.
    pub(super) fn prompt(self, name: &str, spec: &Spec, doc: &str) -> Result<Argument, PlanError> {
        self.pointer(
            name,
            Dtype::Bf16,
            Access::Read,
            shape![
                "token_rows",
                spec.attention.kv_heads,
                spec.attention.head_dim
            ],
            doc,
        )
    }

    pub(super) fn min_cosines(self, spec: &Spec, access: Access) -> Result<Argument, PlanError> {
        self.pointer(
            "min_cosines",
            Dtype::F32,
            access,
            shape![store_rows(spec)],
            "lowest cosine between a chunk's keys and their mean, [kv_heads, capacity] within a sequence",
        )
    }

    /// Room for outliers per sequence and KV head.
    pub(super) fn outlier_capacity(self) -> Argument {
        self.scalar(
            "outlier_capacity",
            Dtype::I64,
            "outlier chunks that each sequence and KV head has room for",
        )
    }

    pub(super) fn token_begin(self) -> Result<Argument, PlanError> {
        self.per_sequence(
            "token_begin",
            Dtype::I64,
            "packed row at which each sequence's prompt begins",
        )
    }

    pub(super) fn token_count(self) -> Result<Argument, PlanError> {
        self.per_sequence("token_count", Dtype::I32, "tokens of each sequence")
    }

    pub(super) fn first_chunk(self) -> Result<Argument, PlanError> {
        self.per_sequence(
            "first_chunk",
            Dtype::I32,
            "chunk of each sequence that its first packed row begins; 0 for a whole prompt",
        )
    }

    pub(super) fn chunk_count(self, doc: &str) -> Result<Argument, PlanError> {
        self.per_sequence("chunk_count", Dtype::I32, doc)
    }

    /// Where each sequence's compressed stores begin and how far they reach.
    pub(super) fn store(self) -> Result<[Argument; 2], PlanError> {
        Ok([
            self.per_sequence(
                "store_begin",
                Dtype::I64,
                "chunks per KV head that the stores of all sequences before each one hold; a multiple of 64",
            )?,
            self.per_sequence(
                "store_capacity",
                Dtype::I32,
                "chunks per KV head that each sequence's stores can hold; a multiple of 64",
            )?,
        ])
    }

    pub(super) fn rope_table(self) -> Result<Argument, PlanError> {
        self.per_sequence(
            "rope_table",
            Dtype::I32,
            "RoPE table of each sequence: 0, or 1 for longrope's long table",
        )
    }

    /// The new tokens' queries, or what attention makes of them.
    pub(super) fn query_rows(
        self,
        name: &str,
        spec: &Spec,
        access: Access,
        doc: &str,
    ) -> Result<Argument, PlanError> {
        self.pointer(
            name,
            Dtype::Bf16,
            access,
            shape![
                "query_rows",
                spec.attention.kv_heads,
                spec.attention.gqa_ratio,
                spec.attention.head_dim
            ],
            doc,
        )
    }

    /// Where each sequence's new tokens lie among the packed ones. They are its last: the first of them has the position
    /// `token_count - query_count`.
    pub(super) fn new_tokens(self) -> Result<[Argument; 2], PlanError> {
        Ok([
            self.per_sequence(
                "query_begin",
                Dtype::I64,
                "packed row of each sequence's first new token",
            )?,
            self.per_sequence(
                "query_count",
                Dtype::I32,
                "new tokens of each sequence, the last of its tokens",
            )?,
        ])
    }

    /// Exact keys or values, token by token: a whole cache, or the window of a compressed sequence.
    pub(super) fn cache(
        self,
        name: &str,
        spec: &Spec,
        access: Access,
        doc: &str,
    ) -> Result<Argument, PlanError> {
        self.pointer(
            name,
            Dtype::Bf16,
            access,
            shape![
                "cache_rows",
                spec.attention.kv_heads,
                spec.attention.head_dim
            ],
            doc,
        )
    }

    /// Where each sequence's rows of the exact keys and values begin.
    pub(super) fn row_begin(self) -> Result<Argument, PlanError> {
        self.per_sequence(
            "row_begin",
            Dtype::I64,
            "first row of each sequence in the exact keys and values",
        )
    }

    /// How many rows each sequence has there: a ring, where it has more tokens.
    pub(super) fn row_capacity(self) -> Result<Argument, PlanError> {
        self.per_sequence(
            "row_capacity",
            Dtype::I32,
            "rows of each sequence, whole chunks: position p lies in row row_begin + p % row_capacity",
        )
    }

    /// Exact keys or values of the outlier chunks.
    pub(super) fn outliers(
        self,
        name: &str,
        spec: &Spec,
        access: Access,
        doc: &str,
    ) -> Result<Argument, PlanError> {
        self.pointer(
            name,
            Dtype::Bf16,
            access,
            shape![
                "batch",
                spec.attention.kv_heads,
                "outlier_capacity",
                spec.shadowkv.chunk_size,
                spec.attention.head_dim
            ],
            doc,
        )
    }

    /// Which chunks are outliers, as a list.
    pub(super) fn outlier_chunks(self, spec: &Spec, access: Access) -> Result<Argument, PlanError> {
        self.pointer(
            "outlier_chunks",
            Dtype::I32,
            access,
            shape!["batch", spec.attention.kv_heads, "outlier_capacity"],
            "outlier chunks of each sequence and KV head, in the order of their places, padded with -1",
        )
    }

    /// How many outliers there are.
    pub(super) fn outlier_count(self, spec: &Spec, access: Access) -> Result<Argument, PlanError> {
        self.pointer(
            "outlier_count",
            Dtype::I32,
            access,
            shape!["batch", spec.attention.kv_heads],
            "outlier chunks of each sequence and KV head",
        )
    }

    /// Which chunks are outliers, as bits.
    pub(super) fn outlier_mask(self, spec: &Spec, access: Access) -> Result<Argument, PlanError> {
        self.pointer(
            "outlier_mask",
            Dtype::U32,
            access,
            shape![format!("ceil_div({}, 32)", store_rows(spec))],
            "bit row % 32 of word row / 32 is set for outliers, [kv_heads, capacity] bits within a sequence",
        )
    }

    pub(super) fn per_sequence(
        self,
        name: &str,
        dtype: Dtype,
        doc: &str,
    ) -> Result<Argument, PlanError> {
        self.pointer(name, dtype, Access::Read, shape!["batch"], doc)
    }

    pub(super) fn key_basis(self, spec: &Spec) -> Result<Argument, PlanError> {
        self.pointer(
            "key_basis",
            Dtype::Bf16,
            Access::Read,
            shape![
                "batch",
                spec.attention.kv_heads,
                spec.attention.head_dim,
                spec.shadowkv.rank
            ],
            "V_R, the leading right singular vectors of each sequence's keys",
        )
    }

    pub(super) fn factors(self, spec: &Spec, access: Access) -> Result<Argument, PlanError> {
        self.pointer(
            "factors",
            Dtype::Bf16,
            access,
            shape![
                format!("store_chunks * {}", spec.shadowkv.chunk_size),
                spec.shadowkv.rank
            ],
            "A = K_pre V_R, one row per compressed token, shared by the KV heads",
        )
    }

    pub(super) fn landmarks(self, spec: &Spec, access: Access) -> Result<Argument, PlanError> {
        self.pointer(
            "landmarks",
            Dtype::Bf16,
            access,
            shape![store_rows(spec), spec.attention.head_dim],
            "mean of each chunk's keys after RoPE, [kv_heads, capacity, head_dim] within a sequence",
        )
    }

    pub(super) fn scores(self, spec: &Spec, access: Access) -> Result<Argument, PlanError> {
        self.pointer(
            "scores",
            Dtype::F32,
            access,
            shape![
                "batch",
                spec.attention.kv_heads,
                spec.attention.gqa_ratio,
                "score_stride"
            ],
            "q . landmark / sqrt(head_dim), minus infinity for outliers and beyond the last chunk",
        )
    }

    pub(super) fn span_softmax(self, spec: &Spec, access: Access) -> Result<Argument, PlanError> {
        self.pointer(
            "span_softmax",
            Dtype::F32,
            access,
            shape![
                "batch",
                spec.attention.kv_heads,
                spec.attention.gqa_ratio,
                format!("ceil_div(score_stride, {SCORE_SPAN})"),
                2
            ],
            "largest score of each span of 64 chunks, and the sum of exp(score - largest)",
        )
    }

    pub(super) fn score_stride(self) -> Argument {
        self.scalar(
            "score_stride",
            Dtype::I64,
            "chunks between the scores of two heads; a multiple of 64",
        )
    }

    /// The copy lists that `select_chunks` leaves for the kernels that fill the slots.
    pub(super) fn missing(self, spec: &Spec, access: Access) -> Result<[Argument; 3], PlanError> {
        let per_list = shape![
            "batch",
            spec.attention.kv_heads,
            spec.shadowkv.selected_chunks()
        ];
        Ok([
            self.pointer(
                "missing_chunks",
                Dtype::I32,
                access,
                per_list,
                "selected chunks that are in no slot yet, ascending, padded with -1",
            )?,
            self.pointer(
                "missing_slots",
                Dtype::I32,
                access,
                per_list,
                "slot each missing chunk goes to, ascending, padded with -1",
            )?,
            self.pointer(
                "missing_count",
                Dtype::I32,
                access,
                shape!["batch", spec.attention.kv_heads],
                "missing chunks of each list",
            )?,
        ])
    }

    /// Slots on the GPU for chunks' keys or values.
    pub(super) fn slots(
        self,
        name: &str,
        spec: &Spec,
        access: Access,
        doc: &str,
    ) -> Result<Argument, PlanError> {
        self.pointer(
            name,
            Dtype::Bf16,
            access,
            shape![
                "batch",
                spec.attention.kv_heads,
                spec.shadowkv.resident_chunks,
                spec.shadowkv.chunk_size,
                spec.attention.head_dim
            ],
            doc,
        )
    }

    pub(super) fn host_values(self, spec: &Spec, access: Access) -> Result<Argument, PlanError> {
        let mut argument = self.pointer(
            "host_values",
            Dtype::Bf16,
            access,
            shape![store_rows(spec), spec.shadowkv.chunk_size, spec.attention.head_dim],
            "all values in pinned host memory, [kv_heads, capacity, chunk_size, head_dim] within a sequence",
        )?;
        argument.memory = Some(MemoryKind::MappedHost);
        Ok(argument)
    }
}

/// Rows of a store that keeps chunks per KV head.
pub(super) fn store_rows(spec: &Spec) -> String {
    format!("store_chunks * {}", spec.attention.kv_heads)
}
