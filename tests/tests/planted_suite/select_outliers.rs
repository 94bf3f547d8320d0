//! Bugs of `select_outliers`.

use crate::bug::{Bug, Sign, bug};
use crate::plant::all_caught;

const SMALL: &str = "d72-rotary36";

#[test]
fn select_outliers() {
    let mut bugs = choice();
    bugs.extend(outputs());
    all_caught("select_outliers", &bugs);
}

fn choice() -> Vec<Bug> {
    vec![
        bug("the highest cosines", SMALL, &["ragged batch"])
            .replace(
                "max_of(~ordered_key(min_cosine)",
                "max_of(ordered_key(min_cosine)",
            )
            .caught_by(&[Sign::Value("outlier_chunks"), Sign::Value("outlier_mask")]),
        bug("ties go to the higher chunk", SMALL, &["exact ties"])
            .replace(
                "    if (is_above || (is_tied && tied_rank < u32(cut.ties)))
      emit(i + lane, int(above_rank + min_of(tied_rank, u32(cut.ties))));",
                "    const u32 skipped = tied_total - min_of(tied_total, u32(cut.ties));
    if (is_above || (is_tied && tied_rank >= skipped))
      emit(i + lane, int(above_rank + max_of(tied_rank, skipped) - skipped));",
            )
            .caught_by(&[Sign::Value("outlier_chunks")]),
        bug("chunks behind the last four ignored", SMALL, &["one chunk"])
            .replace("for (int i = 0; i < 3; ++i)", "for (int i = 0; i < 0; ++i)")
            .caught_by(&[Sign::Value("outlier_count")]),
        bug("what nobody wrote looked at", SMALL, &["ragged batch"])
            .replace("if (chunk + 4 <= chunk_count) {", "if (true) {")
            .caught_by(&[Sign::Finding("uninitialised read")]),
        bug("another head's cosines", SMALL, &["ragged batch"])
            .replace("store_row(store, kv_head, 0)", "store_row(store, 0, 0)")
            .caught_by(&[Sign::Value("outlier_chunks")]),
        bug(
            "bins taken for the keys behind them",
            SMALL,
            &["more chunks than shared memory holds"],
        )
        .replace("i < KEYS_SHARED ? shared[i]", "true ? shared[i]")
        .caught_by(&[Sign::Finding("race")]),
        bug("bins that are not empty yet", SMALL, &["exact ties"])
            .without("__syncthreads();", "all threads: the bins are empty")
            .caught_by(&[Sign::Finding("race")]),
    ]
}

fn outputs() -> Vec<Bug> {
    vec![
        bug("the list not padded", SMALL, &["one chunk"])
            .replace(
                "for (i64 i = outliers + threadIdx.x;",
                "for (i64 i = args.outlier_capacity;",
            )
            .caught_by(&[Sign::NeverWritten("outlier_chunks")]),
        bug(
            "the lowest cosine for the highest",
            SMALL,
            &["ragged batch"],
        )
        .replace("cosine_of(chosen.low)", "cosine_of(range.high)")
        .caught_by(&[Sign::Value("outlier_threshold")]),
        bug(
            "a threshold where there is no outlier",
            SMALL,
            &["no chunk"],
        )
        .replace(
            "outliers > 0 ? cosine_of(chosen.low) : MINUS_INFINITY",
            "cosine_of(chosen.low)",
        )
        .caught_by(&[Sign::Value("outlier_threshold")]),
        bug("all ties masked", SMALL, &["all equal"])
            .remove(" && u32(chunk) < chosen.high")
            .caught_by(&[Sign::Value("outlier_mask")]),
        bug("half of the mask's last span", SMALL, &["ragged batch"])
            .replace(
                "int(ceil_div(chunk_count, SCORE_SPAN)) * (SCORE_SPAN / 32)",
                "int(ceil_div(chunk_count, 32))",
            )
            .caught_by(&[Sign::NeverWritten("outlier_mask")]),
    ]
}
