//! Bugs of `key_project`.

use crate::bug::{Bug, Price, Sign, bug};
use crate::plant::all_caught;

/// Neither width nor rank fill their tiles.
const RAGGED: &str = "d72-rotary36";
/// Small keys.
const SMALL: &str = "d64-rotary22-chunk32";
/// An odd number of steps through two stages, so that the last stage lies where the output goes.
const THREE_STEPS: &str = "d80-gqa7-full-rank";

#[test]
fn key_project() {
    all_caught("key_project", &bugs());
}

fn bugs() -> Vec<Bug> {
    vec![
        bug(
            "no barrier in the pipeline",
            SMALL,
            &["one token past a chunk"],
        )
        .without("__syncthreads();", "all threads: this step's copies")
        .caught_by(&[Sign::Finding("race")]),
        bug(
            "waits for one copy group too few",
            RAGGED,
            &["one token past a chunk"],
        )
        .replace("cp_async_wait<STAGES - 2>()", "cp_async_wait<STAGES - 1>()")
        .caught_by(&[Sign::Finding("copy in flight")]),
        bug(
            "no barrier between the pipeline and the output",
            THREE_STEPS,
            &["one token past a chunk"],
        )
        .without(
            "__syncthreads();",
            "all threads: the pipeline is empty and its memory free for the output tile",
        )
        .caught_by(&[Sign::Finding("race")]),
        bug(
            "no zeros beyond the rank and the width",
            RAGGED,
            &["one token"],
        )
        .replace(
            "valid = step * STEP + row < KEY_WIDTH && tile_rank + unit * UNIT_ELEMENTS < RANK",
            "valid = true",
        )
        .caught_by(&[Sign::Finding("out of bounds")]),
        bug("no zeros beyond the last token", SMALL, &["one token"])
            .replace(
                "token < tokens_left && column < KEY_WIDTH",
                "column < KEY_WIDTH",
            )
            .caught_by(&[Sign::Finding("out of bounds")]),
        bug(
            "the columns of two fragments swapped",
            SMALL,
            &["one token past a chunk"],
        )
        .replace("a[row][3], b[2], b[3]);", "a[row][3], b[0], b[1]);")
        .caught_by(&[Sign::Value("factors")]),
        bug("the first chunk ignored", SMALL, &["ragged batch"])
            .replace(
                "args.first_chunk[sequence] * CHUNK_SIZE + tile_token",
                "tile_token",
            )
            .caught_by(&[Sign::NeverWritten("factors"), Sign::Overwritten("factors")]),
        bug(
            "rows beyond the last token stored",
            SMALL,
            &["ragged batch"],
        )
        .replace("if (token < tokens_left && tile_rank", "if (tile_rank")
        .caught_by(&[Sign::Overwritten("factors")]),
        bug("the stages not swizzled", SMALL, &["one long sequence"])
            .in_header(
                "prelude.cuh",
                "(unit ^ ((row / (8 / SPREAD)) & (SPREAD - 1)))",
                "unit",
            )
            .caught_by(&[Sign::Cost(Price::Wavefronts, 2.0)]),
    ]
}
