//! Bugs of `gather_values`.

use crate::bug::{Bug, Price, Sign, bug};
use crate::plant::all_caught;

/// Rows of 256 bytes.
const SMALL: &str = "d32-chunk4-rank16";

#[test]
fn gather_values() {
    all_caught("gather_values", &bugs());
}

fn bugs() -> Vec<Bug> {
    let mut bugs = places();
    bugs.extend(lists());
    bugs.extend(prices());
    bugs
}

fn places() -> Vec<Bug> {
    vec![
        bug(
            "another stride between the host's rows",
            SMALL,
            &["ragged batch"],
        )
        .replace("source_row * ROW_UNITS", "source_row * (ROW_UNITS - 1)")
        .caught_by(&[
            Sign::Finding("uninitialised read"),
            Sign::Value("value_slots"),
        ]),
        bug(
            "the sequences' stores all at the beginning",
            SMALL,
            &["ragged batch"],
        )
        .replace("{args.store_begin[sequence], ", "{0, ")
        .caught_by(&[Sign::Value("value_slots")]),
        bug("one slot too few a list", SMALL, &["ragged batch"])
            .replace(
                "i64(from_list) * RESIDENT_CHUNKS",
                "i64(from_list) * (RESIDENT_CHUNKS - 1)",
            )
            .caught_by(&[
                Sign::NeverWritten("value_slots"),
                Sign::Overwritten("value_slots"),
            ]),
        bug("the slots of the neighbour", SMALL, &["ragged batch"])
            .replace(
                "args.missing_slots[entry];",
                "args.missing_slots[entry] + RESIDENT_CHUNKS;",
            )
            .caught_by(&[
                Sign::NeverWritten("value_slots"),
                Sign::Overwritten("value_slots"),
            ]),
    ]
}

fn lists() -> Vec<Bug> {
    vec![
        bug("one unit too few", SMALL, &["one chunk"])
            .replace("if (unit < units)", "if (unit + 1 < units)")
            .caught_by(&[Sign::NeverWritten("value_slots")]),
        bug(
            "one unit too many",
            SMALL,
            &["ragged batch", "everything missing"],
        )
        .replace("if (unit < units)", "if (unit <= units)")
        .caught_by(&[Sign::Finding("out of bounds")]),
        bug(
            "the list before the one that holds a row",
            SMALL,
            &["everything missing"],
        )
        .replace(
            "row_begin[holder + half] <= row",
            "row_begin[holder + half] < row",
        )
        .caught_by(&[Sign::NeverWritten("value_slots")]),
        bug(
            "a sum over the lanes without one of them",
            SMALL,
            &["everything missing"],
        )
        .in_header(
            "prelude.cuh",
            "if (lane >= offset) sum += below;",
            "if (lane > offset) sum += below;",
        )
        .caught_by(&[Sign::NeverWritten("value_slots")]),
        bug(
            "no barrier before the warps' sums are read",
            SMALL,
            &["everything missing"],
        )
        .without("__syncthreads();", "all warps: the rows per warp are known")
        .caught_by(&[Sign::Finding("race")]),
        bug(
            "no barrier before the table is read",
            SMALL,
            &["everything missing"],
        )
        .without("__syncthreads();", "all threads: the table is complete")
        .caught_by(&[Sign::Finding("race")]),
    ]
}

fn prices() -> Vec<Bug> {
    vec![
        bug(
            "every value twice over PCIe",
            SMALL,
            &["everything missing"],
        )
        .replace(
            "data[i] = load_16_once(",
            "for (int again = 0; again < 2; ++again) data[i] = load_16_once(",
        )
        .caught_by(&[Sign::Cost(Price::HostBytes, 1.9)]),
        bug(
            "four bytes stored at a time",
            SMALL,
            &["everything missing"],
        )
        .in_header(
            "prelude.cuh",
            "*reinterpret_cast<uint4*>(address) = value;",
            "volatile u32* const words = (volatile u32*)address;
  words[0] = value.x, words[1] = value.y, words[2] = value.z, words[3] = value.w;",
        )
        .caught_by(&[Sign::Cost(Price::Sectors, 2.0)]),
    ]
}
