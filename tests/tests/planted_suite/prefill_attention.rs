//! Bugs of `prefill_attention`.

use crate::bug::{Bug, Price, Sign, bug};
use crate::plant::all_caught;

/// Small heads, whose queries stay in registers.
const HELD: &str = "d64-rotary22-chunk32";
/// Queries read again for every tile of keys; tiles that no token's rows fill evenly.
const READ_AGAIN: &str = "d80-gqa7-full-rank";
/// Rows that end with half a step of zeros.
const HALF_STEP: &str = "d40-interleaved";

#[test]
fn prefill_attention() {
    all_caught("prefill_attention", &bugs());
}

fn bugs() -> Vec<Bug> {
    let mut bugs = synchronisation();
    bugs.extend(softmax());
    bugs.extend(extents());
    bugs.extend(costs());
    bugs
}

fn synchronisation() -> Vec<Bug> {
    vec![
        bug(
            "no barrier before the keys are read",
            HELD,
            &["one long prompt"],
        )
        .without(
            "__syncthreads();",
            "all threads: this tile's keys have landed",
        )
        .caught_by(&[Sign::Finding("race")]),
        bug(
            "no barrier before the values are read",
            HELD,
            &["one long prompt"],
        )
        .without(
            "__syncthreads();",
            "all threads: this tile's values have landed",
        )
        .caught_by(&[Sign::Finding("race")]),
        bug(
            "waits for one copy group too few",
            READ_AGAIN,
            &["one token"],
        )
        .replace_all(
            2,
            "    cp_async_wait<STAGES - 2>();\n    __syncthreads();  // all threads: this tile's",
            "    cp_async_wait<STAGES - 1>();\n    __syncthreads();  // all threads: this tile's",
        )
        .caught_by(&[Sign::Finding("copy in flight")]),
        bug(
            "the output stored before all lanes wrote it",
            HELD,
            &["one token"],
        )
        .without("__syncwarp();", "the warp: its rows are complete")
        .caught_by(&[Sign::Finding("race")]),
        bug(
            "the next stage filled while it is read",
            HELD,
            &["one long prompt"],
        )
        .replace_all(2, "read == 0 ? STAGES - 1 : read - 1", "read")
        .caught_by(&[Sign::Finding("race")]),
    ]
}

fn softmax() -> Vec<Bug> {
    vec![
        bug("the mask off by one", HELD, &["ragged batch"])
            .replace(
                "column * 8 * GQA_RATIO > last",
                "column * 8 * GQA_RATIO >= last",
            )
            .caught_by(&[Sign::Value("output")]),
        bug(
            "the mask blind to the group",
            READ_AGAIN,
            &["one long prompt"],
        )
        .replace(
            "- (tile * TILE_TOKENS + lane % 4 * 2) * GQA_RATIO;",
            "- (tile * TILE_TOKENS + lane % 4 * 2);",
        )
        .caught_by(&[Sign::Value("output")]),
        bug(
            "a tile that the mask cuts taken for a whole one",
            HELD,
            &["one past a tile of tokens"],
        )
        .replace(
            "((tile + 1) * TILE_TOKENS - 1) * GQA_RATIO > own_row",
            "tile * TILE_TOKENS * GQA_RATIO > own_row",
        )
        .caught_by(&[Sign::Value("output")]),
        bug(
            "the sum not scaled with the output",
            HELD,
            &["scores that grow"],
        )
        .remove("            sum[row][half * 2] *= factor;\n")
        .caught_by(&[Sign::Value("output")]),
        bug(
            "the output not scaled with the sum",
            HELD,
            &["scores that grow"],
        )
        .remove("              out[row][column][half * 2 + 1] *= factor;\n")
        .caught_by(&[Sign::Value("output")]),
        bug(
            "the reference never raised again",
            HELD,
            &["scores that grow"],
        )
        .replace(
            "if (raise || !__any_sync(FULL_WARP, bits & AT_LEAST_TWO)) break;",
            "break;",
        )
        .caught_by(&[Sign::Value("output")]),
        bug(
            "weights of the lower rows not looked at",
            HELD,
            &["scores that grow"],
        )
        .replace(
            "or_of_three(bits, upper, lower)",
            "or_of_three(bits, upper, upper)",
        )
        .caught_by(&[Sign::Value("output")]),
        bug(
            "the quarters of the weights swapped",
            READ_AGAIN,
            &["one past a tile of tokens"],
        )
        .replace(
            "a[0], a[1], a[2], a[3], b0, b1);",
            "a[0], a[2], a[1], a[3], b0, b1);",
        )
        .caught_by(&[Sign::Value("output")]),
        bug(
            "the scale of another head_dim",
            READ_AGAIN,
            &["one past a tile of tokens"],
        )
        .replace("(SCORE_SCALE * LOG2_E)", "(0.08838834764f * LOG2_E)")
        .caught_by(&[Sign::Value("output")]),
    ]
}

fn extents() -> Vec<Bug> {
    vec![
        bug("the keys of another head", HELD, &["one past a tile of tokens"])
            .replace(
                "((args.row_begin[sequence] + load_row) * KV_HEADS + kv_head) * HEAD_DIM",
                "((args.row_begin[sequence] + load_row) * KV_HEADS + (kv_head + 1) % KV_HEADS) * HEAD_DIM",
            )
            .caught_by(&[Sign::Value("output")]),
        bug("the heads of a group in reverse", READ_AGAIN, &["one token"])
            .replace(
                "* GQA_RATIO + row % GQA_RATIO) * HEAD_DIM;\n  };",
                "* GQA_RATIO + row / GQA_RATIO % GQA_RATIO) * HEAD_DIM;\n  };",
            )
            .caught_by(&[Sign::NeverWritten("output")]),
        bug("new tokens taken for the first", HELD, &["one new token"])
            .replace(
                "args.query_begin[sequence] - (end_row - rows) / GQA_RATIO;",
                "args.query_begin[sequence];",
            )
            .caught_by(&[Sign::Finding("out of bounds"), Sign::NeverWritten("output")]),
        bug("one token too many", HELD, &["one past a tile of tokens"])
            .replace("valid = (token + i) * GQA_RATIO < block_end", "valid = (token + i - 1) * GQA_RATIO < block_end")
            .caught_by(&[Sign::Finding("out of bounds")]),
        bug("no zeros where a step is half empty", HALF_STEP, &["one token"])
            .remove("      queries[swizzled_unit<PITCH>(row, HEAD_UNITS)] = make_uint4(0, 0, 0, 0);")
            .replace("row += THREADS)\n", "row += THREADS);\n")
            .caught_by(&[Sign::Finding("uninitialised read")]),
        bug("rows beyond the last token stored", HELD, &["ragged batch"])
            .replace("if (own_row + row < own_end) {", "{")
            .caught_by(&[Sign::Overwritten("output")]),
        bug("the last tile of rows left out", READ_AGAIN, &["one past a tile of rows"])
            .replace("(rows + TILE_ROWS - 1) / TILE_ROWS", "(rows + TILE_ROWS / 2) / TILE_ROWS")
            .caught_by(&[Sign::NeverWritten("output")]),
        bug(
            "a warp that stops a tile early",
            READ_AGAIN,
            &["one long prompt"],
        )
        .replace(
            "    if (tile * TILE_TOKENS * GQA_RATIO < own_end) {",
            "    if ((tile + 1) * TILE_TOKENS * GQA_RATIO < own_end) {",
        )
        .caught_by(&[Sign::Value("output")]),
    ]
}

fn costs() -> Vec<Bug> {
    vec![
        bug(
            "tiles beyond the diagonal loaded",
            HELD,
            &["one long prompt"],
        )
        .replace("min_of(first_row + TILE_ROWS, end_row);", "end_row;")
        .caught_by(&[Sign::Cost(Price::ReadBytes, 1.3)]),
        bug("the tiles not swizzled", HELD, &["one long prompt"])
            .in_header(
                "prelude.cuh",
                "(unit ^ ((row / (8 / SPREAD)) & (SPREAD - 1)))",
                "unit",
            )
            .replace(
                "(address ^ pairs % SWIZZLE_PAIRS * 32)",
                "(address + pairs % SWIZZLE_PAIRS * 32)",
            )
            .caught_by(&[Sign::Cost(Price::Wavefronts, 2.0)]),
    ]
}
