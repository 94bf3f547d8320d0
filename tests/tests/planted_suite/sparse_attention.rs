//! Bugs of `sparse_attention`: where tokens lie. What it shares with `decode_attention` is tried there.

use crate::bug::{Bug, Sign, bug};
use crate::plant::all_caught;

/// A query group that fills no tile, five KV heads.
const ODD_ROWS: &str = "d72-rotary36";
/// Chunks of four tokens, one query head a KV head.
const SMALL: &str = "d32-chunk4-rank16";

#[test]
fn sparse_attention() {
    all_caught("sparse_attention", &bugs());
}

fn bugs() -> Vec<Bug> {
    let mut bugs = lists();
    bugs.extend(places());
    bugs
}

fn lists() -> Vec<Bug> {
    vec![
        bug(
            "the first KV head's outliers for all",
            ODD_ROWS,
            &["a full step"],
        )
        .replace(
            "args.outlier_count[list]",
            "args.outlier_count[sequence * KV_HEADS]",
        )
        .caught_by(&[Sign::Finding("uninitialised read")]),
        bug("outliers counted as candidates", SMALL, &["fewer chunks"])
            .replace(
                "min_of(max_of(chunk_count - outliers, 0), int(SELECTED_CHUNKS))",
                "min_of(chunk_count - outliers / 2, 2)",
            )
            .caught_by(&[Sign::Value("output")]),
        bug(
            "the padding of a list as a slot",
            SMALL,
            &["last positions"],
        )
        .remove("if (slot < 0) return false;")
        .caught_by(&[Sign::Finding("out of bounds")]),
        bug("tokens behind the end", SMALL, &["all window"])
            .replace("token < end && locate(token)", "locate(token)")
            .caught_by(&[Sign::Finding("uninitialised read")]),
        bug(
            "the window without its last token",
            ODD_ROWS,
            &["all window"],
        )
        .replace(
            "max_of(args.token_count[sequence] - first_position, 0)",
            "max_of(args.token_count[sequence] - first_position - 1, 0)",
        )
        .caught_by(&[Sign::Value("output")]),
        bug(
            "the window from the chunk before",
            ODD_ROWS,
            &["a full step"],
        )
        .replace(
            "first_position = chunk_count * CHUNK_SIZE;",
            "first_position = (chunk_count - 1) * CHUNK_SIZE;",
        )
        .caught_by(&[Sign::Finding("uninitialised read")]),
    ]
}

fn places() -> Vec<Bug> {
    vec![
        bug("no ring", ODD_ROWS, &["last positions"])
            .replace("i64(position % row_capacity)", "i64(position)")
            .caught_by(&[Sign::Finding("out of bounds")]),
        bug(
            "the ring from the window's begin",
            ODD_ROWS,
            &["a full step"],
        )
        .replace(
            "i64(position % row_capacity)",
            "i64((token - window_begin) % row_capacity)",
        )
        .caught_by(&[Sign::Finding("uninitialised read")]),
        bug(
            "the first KV head's window for all",
            ODD_ROWS,
            &["one token"],
        )
        .replace("* KEY_WIDTH + kv_head * HEAD_DIM", "* KEY_WIDTH")
        .caught_by(&[Sign::Value("output")]),
        bug(
            "a chunk's first token for all of it",
            SMALL,
            &["no outliers"],
        )
        .replace("+ place % CHUNK_SIZE;", "+ place % CHUNK_SIZE * 0;")
        .caught_by(&[Sign::Value("output")]),
        bug("slots as many as are selected", SMALL, &["no outliers"])
            .replace("list * RESIDENT_CHUNKS", "list * SELECTED_CHUNKS")
            .caught_by(&[Sign::Finding("uninitialised read")]),
        bug(
            "room for as many outliers as there are",
            ODD_ROWS,
            &["a full step"],
        )
        .replace(
            "list * args.outlier_capacity * (CHUNK_SIZE * HEAD_DIM)",
            "list * (selected_begin / CHUNK_SIZE) * (CHUNK_SIZE * HEAD_DIM)",
        )
        .caught_by(&[Sign::Finding("uninitialised read")]),
        bug("values from the slots of keys", ODD_ROWS, &["no outliers"])
            .replace("args.value_slots + element", "args.key_slots + element")
            .caught_by(&[Sign::Value("output")]),
        bug("values of another lane's token", SMALL, &["no outliers"])
            .replace("of_lane(own_value, i)", "of_lane(own_value, i ^ 1)")
            .caught_by(&[Sign::Value("output")]),
    ]
}
