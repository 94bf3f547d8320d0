//! Bugs of `decode_attention`, most of them in what it shares with `sparse_attention`.

use crate::bug::{Bug, Price, Sign, bug};
use crate::plant::all_caught;

/// Rows of an odd number of 16-byte units, and a query group that fills no tile.
const ODD_ROWS: &str = "d72-rotary36";
/// Two tiles of query heads.
const TWO_TILES: &str = "d168-yarn";
/// Rows whose units meet in the same banks unless they are swizzled.
const EVEN_ROWS: &str = "smollm2-135m";

const HEADER: &str = "attention.cuh";

#[test]
fn decode_attention() {
    all_caught("decode_attention", &bugs());
}

fn bugs() -> Vec<Bug> {
    let mut bugs = pipeline();
    bugs.extend(joining());
    bugs.extend(softmax());
    bugs.extend(places());
    bugs
}

/// A bug of the header: a barrier that is not there, told by its comment.
fn without(name: &'static str, case: &'static str, call: &str, comment: &str) -> Bug {
    let (from, to) = (format!("{call}  // {comment}"), format!("// {comment}"));
    bug(name, ODD_ROWS, &[case])
        .in_header(HEADER, &from, &to)
        .caught_by(&[Sign::Finding("race")])
}

fn pipeline() -> Vec<Bug> {
    let wait = |comment: &str, groups: &str| {
        format!("cp_async_wait<{groups}>();\n    __syncwarp();  // the warp's lanes: {comment}")
    };
    vec![
        bug(
            "keys before they have landed",
            ODD_ROWS,
            &["one past a step"],
        )
        .in_header(
            HEADER,
            &wait("the keys have landed", "SLOTS - 2"),
            &wait("the keys have landed", "SLOTS - 1"),
        )
        .caught_by(&[Sign::Finding("copy in flight")]),
        bug(
            "values before they have landed",
            ODD_ROWS,
            &["one past a step"],
        )
        .in_header(
            HEADER,
            &wait("the values have landed", "SLOTS - 2"),
            &wait("the values have landed", "SLOTS - 1"),
        )
        .caught_by(&[Sign::Finding("copy in flight")]),
        without(
            "lanes read keys that others still copy",
            "one span",
            "__syncwarp();",
            "the warp's lanes: the keys have landed",
        ),
        without(
            "lanes read values that others still copy",
            "one span",
            "__syncwarp();",
            "the warp's lanes: the values have landed",
        ),
        without(
            "queries that other warps still copy",
            "one token",
            "__syncthreads();",
            "all threads: the queries and the zeros are in place",
        ),
        without(
            "tiles over queries that others still read",
            "one long sequence",
            "__syncthreads();",
            "all warps: nobody reads the queries any more",
        ),
        bug("no zeros behind an odd row", ODD_ROWS, &["one token"])
            .in_header(
                HEADER,
                "ring[swizzled_unit<PITCH_UNITS>(row, HEAD_UNITS)] = make_uint4(0, 0, 0, 0);",
                "continue;",
            )
            .caught_by(&[Sign::Finding("uninitialised read")]),
        bug("tiles that are not swizzled", EVEN_ROWS, &["one span"])
            .in_header(
                "prelude.cuh",
                "unit ^ ((row / (8 / SPREAD)) & (SPREAD - 1))",
                "unit ^ ((row / (8 / SPREAD)) & (SPREAD - 1) & 0)",
            )
            .caught_by(&[Sign::Cost(Price::Wavefronts, 3.0)]),
    ]
}

fn joining() -> Vec<Bug> {
    vec![
        without(
            "sums over tiles that others still read",
            "one span",
            "__syncthreads();",
            "all warps: every warp's softmax is there",
        ),
        without(
            "the warps' sums before they are complete",
            "one span",
            "__syncthreads();",
            "all threads: the sums of all warps are complete",
        ),
        without(
            "no barrier before the arrival",
            "one past a span",
            "__syncthreads();",
            "all threads: the span's partial result is written",
        ),
        without(
            "no barrier between the arrival and its readers",
            "one past a span",
            "__syncthreads();",
            "thread 0: the arrival is known",
        ),
        without(
            "the spans' weights before they are complete",
            "one past a span",
            "__syncthreads();",
            "all warps: the weights of the spans are complete",
        ),
        bug("the arrivals not reset", ODD_ROWS, &["one past a span"])
            .in_header(
                HEADER,
                "arrive_and_wrap(arrivals + list, spans - 1)",
                "arrive_and_wrap(arrivals + list, spans)",
            )
            .caught_by(&[Sign::Overwritten("arrivals")]),
        bug(
            "the first block to arrive joins",
            ODD_ROWS,
            &["one past a span"],
        )
        .in_header(
            HEADER,
            "if (arrival == spans - 1) join_spans",
            "if (arrival == 0) join_spans",
        )
        .caught_by(&[Sign::Finding("race")]),
        bug("spans that weigh alike", ODD_ROWS, &["one long sequence"])
            .in_header(
                HEADER,
                "softmax[i].x = exp2_approx(softmax[i].x - reference);",
                "softmax[i].x = softmax[i].x > MINUS_INFINITY ? 1.0f : 0.0f;",
            )
            .caught_by(&[Sign::Value("output")]),
        bug("warps that weigh alike", ODD_ROWS, &["one span"])
            .in_header(
                HEADER,
                "exp2_approx(running.largest[tile][column] - softmax_reference(largest_of(head)))",
                "1.0f",
            )
            .caught_by(&[Sign::Value("output")]),
        bug("the last steps dropped", ODD_ROWS, &["one long sequence"])
            .in_header(
                HEADER,
                "int(steps * (span + 1) / spans)",
                "int(steps / spans * (span + 1))",
            )
            .caught_by(&[Sign::Value("output")]),
    ]
}

fn softmax() -> Vec<Bug> {
    vec![
        bug("no mask at the end", ODD_ROWS, &["one past a step"])
            .in_header(
                HEADER,
                "const u32 own = present >> (lane / 4);",
                "const u32 own = FULL_WARP << (lane / 4 + present * 0);",
            )
            .caught_by(&[Sign::Value("output")]),
        bug(
            "the mask of the lower half one off",
            ODD_ROWS,
            &["ragged batch"],
        )
        .in_header(HEADER, "own & 0x100 ?", "own & 0x80 ?")
        .caught_by(&[Sign::Value("output")]),
        bug("the sum not shrunk", ODD_ROWS, &["one span"])
            .in_header(HEADER, "running.sum[tile][column] *= shrink[column];", "")
            .caught_by(&[Sign::Value("output")]),
        bug("half of the output not shrunk", TWO_TILES, &["one span"])
            .in_header(
                HEADER,
                "running.output[step][tile][column + 2] *= shrink[column];",
                "",
            )
            .caught_by(&[Sign::Value("output")]),
        bug("powers of two for those of e", ODD_ROWS, &["one span"])
            .in_header(
                HEADER,
                "#define LOGIT_SCALE (SCORE_SCALE * LOG2_E)",
                "#define LOGIT_SCALE SCORE_SCALE",
            )
            .caught_by(&[Sign::Value("output")]),
        bug("no largest logit", ODD_ROWS, &["logits far apart"])
            .in_header(
                HEADER,
                "return largest == MINUS_INFINITY ? 0.0f : largest;",
                "return largest * 0.0f;",
            )
            .caught_by(&[Sign::Value("output")]),
        bug("the heads of a pair swapped", ODD_ROWS, &["one span"])
            .in_header(HEADER, "0x7632 : 0x5410", "0x5410 : 0x7632")
            .caught_by(&[Sign::Value("output")]),
    ]
}

fn places() -> Vec<Bug> {
    vec![
        bug("the first KV head for all", ODD_ROWS, &["one token"])
            .replace(
                "args.row_begin[sequence] * KEY_WIDTH + kv_head * HEAD_DIM",
                "args.row_begin[sequence] * KEY_WIDTH + kv_head * 0",
            )
            .caught_by(&[Sign::Value("output")]),
        bug(
            "the first group's queries for all",
            TWO_TILES,
            &["one span"],
        )
        .in_header(
            HEADER,
            "queries + list * GROUP_ELEMENTS, begin",
            "queries + list * 0, begin",
        )
        .caught_by(&[Sign::Value("output")]),
        bug("queries behind the group", ODD_ROWS, &["one token"])
            .in_header(
                HEADER,
                "const bool valid = head < GQA_RATIO;",
                "const bool valid = true;",
            )
            .caught_by(&[Sign::Finding("out of bounds")]),
        bug("a token too many", ODD_ROWS, &["one past a step"])
            .replace("(1u << (end - first)) - 1", "(2u << (end - first)) - 1")
            .caught_by(&[Sign::Finding("out of bounds")]),
        bug("values from the rows of keys", ODD_ROWS, &["one span"])
            .replace(
                "return values + (first_element",
                "return keys + (first_element",
            )
            .caught_by(&[Sign::Value("output")]),
    ]
}
