//! Bugs of `offload_values`.

use crate::bug::{Bug, Price, Sign, bug};
use crate::plant::all_caught;

/// Rows of 256 bytes.
const SMALL: &str = "d32-chunk4-rank16";

#[test]
fn offload_values() {
    all_caught("offload_values", &bugs());
}

fn bugs() -> Vec<Bug> {
    vec![
        bug("the first chunk ignored", SMALL, &["ragged batch"])
            .replace(
                "store_row(store, kv_head, first_chunk + chunk)",
                "store_row(store, kv_head, chunk)",
            )
            .caught_by(&[Sign::Overwritten("host_values")]),
        bug("the head of another row", SMALL, &["one long sequence"])
            .replace("kv_head = row / chunk_count;", "kv_head = row % KV_HEADS;")
            .caught_by(&[Sign::NeverWritten("host_values")]),
        bug("one head's values for all", SMALL, &["one long sequence"])
            .replace(
                "(token * KV_HEADS + kv_head) * HEAD_DIM",
                "(token * KV_HEADS) * HEAD_DIM",
            )
            .caught_by(&[Sign::Value("host_values")]),
        bug("the last row left out", SMALL, &["ragged batch"])
            .replace("row < rows) {", "row + 1 < rows) {")
            .caught_by(&[Sign::NeverWritten("host_values")]),
        bug("one row too many", SMALL, &["ragged batch"])
            .replace("row < rows) {", "row <= rows) {")
            .caught_by(&[Sign::Overwritten("host_values")]),
        bug(
            "the sequences' stores all at the beginning",
            SMALL,
            &["ragged batch"],
        )
        .replace("{args.store_begin[sequence], ", "{0, ")
        .caught_by(&[
            Sign::NeverWritten("host_values"),
            Sign::Overwritten("host_values"),
        ]),
        bug("every value twice over PCIe", SMALL, &["one long sequence"])
            .replace(
                "if (destination[i] != nullptr) store_16(destination[i], data[i]);",
                "if (destination[i] != nullptr) store_16(destination[i], data[i]);
          __syncwarp();
          if (destination[i] != nullptr) store_16(destination[i], data[i]);",
            )
            .caught_by(&[Sign::Cost(Price::HostBytes, 1.9)]),
    ]
}
