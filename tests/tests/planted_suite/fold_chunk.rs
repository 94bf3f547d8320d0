//! Bugs of `fold_chunk`.

use crate::bug::{Bug, Price, Sign, bug};
use crate::plant::all_caught;

/// Four heads, chunks of four tokens.
const SMALL: &str = "d32-chunk4-rank16";
/// Neither width nor rank fill their tiles.
const RAGGED: &str = "d72-rotary36";
/// Several stages, whole tiles.
const STAGES: &str = "d80-gqa7-full-rank";

#[test]
fn fold_chunk() {
    all_caught("fold_chunk", &bugs());
}

fn bugs() -> Vec<Bug> {
    let mut bugs = outliers();
    bugs.extend(places());
    bugs.extend(products());
    bugs.extend(threads());
    bugs
}

fn outliers() -> Vec<Bug> {
    vec![
        bug(
            "as low as the threshold counts as below",
            SMALL,
            &["keys of zeros"],
        )
        .replace(
            "lowest < args.outlier_threshold[list]",
            "lowest <= args.outlier_threshold[list]",
        )
        .caught_by(&[Sign::Value("outlier_mask")]),
        bug(
            "one outlier more than there is room for",
            SMALL,
            &["many chunks"],
        )
        .replace(
            "outliers < args.outlier_capacity",
            "outliers <= args.outlier_capacity",
        )
        .caught_by(&[Sign::Value("outlier_mask")]),
        bug("the count not raised", SMALL, &["many chunks"])
            .replace("= outliers + 1;", "= outliers;")
            .caught_by(&[Sign::Value("outlier_count")]),
        bug(
            "bits never cleared",
            SMALL,
            &["ragged batch", "many chunks"],
        )
        .replace("*word & ~bit;", "*word;")
        .caught_by(&[Sign::Value("outlier_mask")]),
        bug("the rest of a new span undefined", SMALL, &["first chunk"])
            .replace("chunk % SCORE_SPAN == 0) {", "chunk % SCORE_SPAN == 1) {")
            .caught_by(&[Sign::NeverWritten("outlier_mask")]),
        bug(
            "a new span's bits read before anybody wrote them",
            SMALL,
            &["first chunk"],
        )
        .replace("chunk % SCORE_SPAN == 0 ? 0 : ", "")
        .caught_by(&[Sign::Finding("uninitialised read")]),
        bug("values where keys belong", SMALL, &["many chunks"])
            .replace(
                "load_16_once(args.keys + element)",
                "load_16_once(args.values + element)",
            )
            .caught_by(&[Sign::Value("outlier_keys")]),
    ]
}

fn places() -> Vec<Bug> {
    vec![
        bug(
            "the ring not wrapped",
            SMALL,
            &["ragged batch", "many chunks"],
        )
        .replace("row < row_capacity ? row : row - row_capacity", "row")
        .caught_by(&[Sign::Finding("uninitialised read")]),
        bug(
            "positions in the ring, not in the sequence",
            SMALL,
            &["ragged batch"],
        )
        .replace(
            "position = chunk * CHUNK_SIZE + j / ROTATION_PITCH;",
            "position = fold.first_row + i * CHUNK_SIZE + j / ROTATION_PITCH;",
        )
        .caught_by(&[Sign::Value("landmarks")]),
        bug(
            "factor rows from the store's beginning",
            SMALL,
            &["ragged batch"],
        )
        .replace("fold.first_chunk * CHUNK_SIZE + tile_token;", "tile_token;")
        .caught_by(&[Sign::NeverWritten("factors"), Sign::Overwritten("factors")]),
        bug("one chunk for all heads", SMALL, &["ragged batch"])
            .replace("* KEY_WIDTH + kv_head * HEAD_DIM;", "* KEY_WIDTH;")
            .caught_by(&[Sign::Value("host_values"), Sign::Value("landmarks")]),
    ]
}

fn products() -> Vec<Bug> {
    vec![
        bug(
            "no zeros beyond the rank and the width",
            RAGGED,
            &["first chunk"],
        )
        .replace(
            "valid = step * STEP + row < KEY_WIDTH && tile_rank + unit * UNIT_ELEMENTS < RANK",
            "valid = true",
        )
        .caught_by(&[Sign::Finding("out of bounds")]),
        bug("rows beyond the last token stored", SMALL, &["first chunk"])
            .replace("if (token < tokens && tile_rank", "if (tile_rank")
            .caught_by(&[Sign::Overwritten("factors")]),
        bug(
            "the columns of two fragments swapped",
            SMALL,
            &["ragged batch"],
        )
        .replace("a[3], b[2], b[3]);", "a[3], b[0], b[1]);")
        .caught_by(&[Sign::Value("factors")]),
        bug("the last tile's tokens left out", SMALL, &["many chunks"])
            .replace(
                "tile_token < token_count; tile_token",
                "tile_token + TILE_TOKENS < token_count; tile_token",
            )
            .caught_by(&[Sign::NeverWritten("factors")]),
    ]
}

fn threads() -> Vec<Bug> {
    vec![
        bug("no barrier in the pipeline", STAGES, &["first chunk"])
            .without("__syncthreads();", "all threads: this step's copies")
            .caught_by(&[Sign::Finding("race")]),
        bug("waits for one copy group too few", STAGES, &["first chunk"])
            .replace("cp_async_wait<STAGES - 2>()", "cp_async_wait<STAGES - 1>()")
            .caught_by(&[Sign::Finding("copy in flight")]),
        bug(
            "no barrier between two tiles of tokens",
            SMALL,
            &["many chunks"],
        )
        .without("__syncthreads();", "all threads: the output tile is read")
        .caught_by(&[Sign::Finding("race")]),
        bug(
            "no barrier before the keys are read",
            SMALL,
            &["first chunk"],
        )
        .without(
            "__syncthreads();",
            "all threads: keys and rotations are in place",
        )
        .caught_by(&[Sign::Finding("race")]),
        bug(
            "no barrier before the place is read",
            SMALL,
            &["many chunks"],
        )
        .without(
            "__syncthreads();",
            "all threads: the chunk's place is known",
        )
        .caught_by(&[Sign::Finding("race")]),
        bug("the stages not swizzled", STAGES, &["many chunks"])
            .in_header(
                "prelude.cuh",
                "(unit ^ ((row / (8 / SPREAD)) & (SPREAD - 1)))",
                "unit",
            )
            .caught_by(&[Sign::Cost(Price::Wavefronts, 1.5)]),
    ]
}
