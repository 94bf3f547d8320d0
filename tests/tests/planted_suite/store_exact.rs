//! Bugs of `store_exact`.

use crate::bug::{Bug, Sign, bug};
use crate::plant::all_caught;

/// Outliers for more than one block, which then share the window.
const MANY_BLOCKS: &str = "d40-interleaved";
/// Four heads, chunks of four tokens.
const SMALL: &str = "d32-chunk4-rank16";

#[test]
fn store_exact() {
    all_caught("store_exact", &bugs());
}

fn bugs() -> Vec<Bug> {
    vec![
        bug("keys in the place of values", SMALL, &["all outliers"])
            .replace(
                "values[i] = load_16_once(args.values + element);",
                "values[i] = load_16_once(args.keys + element);",
            )
            .caught_by(&[Sign::Value("outlier_values")]),
        bug(
            "the outliers of the first head for all",
            SMALL,
            &["all outliers"],
        )
        .replace(
            "const int list = sequence * KV_HEADS + kv_head;",
            "const int list = sequence * KV_HEADS;",
        )
        .caught_by(&[Sign::NeverWritten("outlier_keys")]),
        bug("padding taken for an outlier", SMALL, &["ragged batch"])
            .replace(
                "args.outlier_count[list] - first_place);",
                "args.outlier_count[list] + 1 - first_place);",
            )
            .caught_by(&[Sign::Finding("uninitialised read")]),
        bug("places without room to spare", SMALL, &["all outliers"])
            .replace(
                "i64(list) * args.outlier_capacity",
                "i64(list) * (args.outlier_capacity - 1)",
            )
            .caught_by(&[
                Sign::NeverWritten("outlier_keys"),
                Sign::Overwritten("outlier_keys"),
            ]),
        bug("the window one token late", SMALL, &["ragged batch"])
            .replace(
                "max_of(args.chunk_count[sequence] * CHUNK_SIZE,",
                "max_of(args.chunk_count[sequence] * CHUNK_SIZE + 1,",
            )
            .caught_by(&[Sign::NeverWritten("window_keys")]),
        bug("the ring not wrapped", SMALL, &["ragged batch"])
            .replace(
                "row_begin + position % row_capacity",
                "row_begin + position",
            )
            .caught_by(&[Sign::NeverWritten("window_k_pre")]),
        bug(
            "every block stores the whole window",
            MANY_BLOCKS,
            &["ragged batch"],
        )
        .replace(
            "store_window(args, sequence, blockIdx.x, gridDim.x);",
            "store_window(args, sequence, 0, 1);",
        )
        .caught_by(&[Sign::Finding("race")]),
    ]
}
