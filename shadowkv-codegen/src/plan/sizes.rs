//! The runtime sizes that geometry, shapes and work are expressed in.

/// Name and meaning of every size a launch may be asked for.
///
/// Geometry uses only what the host knows without waiting for the device;
/// `folding_sequences` and the totals that the device decides appear in work alone.
pub const SIZES: &[(&str, &str)] = &[
    ("batch", "sequences of the launch"),
    (
        "cache_rows",
        "rows of the exact keys and values of all sequences: whole caches, or the windows of what is compressed",
    ),
    ("folding_sequences", "sequences that fold a chunk or more"),
    (
        "max_chunks",
        "most whole chunks of a sequence, or an upper bound",
    ),
    (
        "max_queries",
        "most new tokens of a sequence, or an upper bound",
    ),
    ("max_tokens", "most tokens of a sequence, or an upper bound"),
    (
        "max_window",
        "most tokens in the exact window of a sequence, or an upper bound",
    ),
    (
        "outlier_capacity",
        "outlier chunks that each sequence and KV head has room for",
    ),
    (
        "query_rows",
        "rows of the packed queries: the new tokens of all sequences",
    ),
    (
        "score_stride",
        "chunks between the scores of two heads: at least max_chunks, a multiple of 64",
    ),
    ("sm_count", "multiprocessors of the GPU"),
    (
        "store_chunks",
        "chunks that the stores of all sequences can hold per KV head",
    ),
    ("token_rows", "rows of the packed prompt keys"),
    (
        "total_attended",
        "tokens of outliers, selected chunks and exact windows, over all sequences and KV heads",
    ),
    ("total_chunks", "whole chunks of all sequences"),
    ("total_folds", "chunks to be folded, of all sequences"),
    (
        "total_missing",
        "missing chunks over all sequences and KV heads",
    ),
    (
        "total_outliers",
        "outlier chunks over all sequences and KV heads",
    ),
    (
        "total_pairs",
        "pairs of a new token and a token that it attends to, of all sequences",
    ),
    ("total_queries", "new tokens of all sequences"),
    ("total_tokens", "tokens of all sequences"),
    ("total_window", "tokens of all exact windows"),
];
