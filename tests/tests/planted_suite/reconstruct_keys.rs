//! Bugs of `reconstruct_keys`.

use crate::bug::{Bug, Price, Sign, bug};
use crate::plant::all_caught;

/// One panel of ranks, and chunks of four tokens.
const SMALL: &str = "d32-chunk4-rank16";
/// Heads rotated in part, an odd number of column tiles.
const PARTIAL: &str = "d72-rotary36";
/// Two panels of ranks, the second of them not full.
const TWO_PANELS: &str = "d88-heads7";
/// So many KV heads that a block multiplies several tiles of a list.
const LONG_LISTS: &str = "d96-chunk32";

#[test]
fn reconstruct_keys() {
    all_caught("reconstruct_keys", &bugs());
}

fn bugs() -> Vec<Bug> {
    let mut bugs = warps();
    bugs.extend(blocks());
    bugs.extend(rotations());
    bugs.extend(places());
    bugs
}

fn warps() -> Vec<Bug> {
    vec![
        bug(
            "lanes read rows that others still copy",
            LONG_LISTS,
            &["much missing"],
        )
        .without(
            "__syncwarp();",
            "the warp's lanes: their copies of these rows have landed",
        )
        .caught_by(&[Sign::Finding("race")]),
        bug(
            "keys over rows that others still read",
            SMALL,
            &["one chunk"],
        )
        .without(
            "__syncwarp();",
            "the warp's lanes: nobody reads the rows any more",
        )
        .caught_by(&[Sign::Finding("race")]),
        bug(
            "lanes store keys that are not complete",
            SMALL,
            &["one chunk"],
        )
        .without("__syncwarp();", "the warp's lanes: the keys are complete")
        .caught_by(&[Sign::Finding("race")]),
        bug(
            "rows over keys that others still store",
            LONG_LISTS,
            &["much missing"],
        )
        .without(
            "__syncwarp();",
            "the warp's lanes: the buffer may be filled again",
        )
        .caught_by(&[Sign::Finding("race")]),
    ]
}

fn blocks() -> Vec<Bug> {
    vec![
        bug(
            "no barrier after the basis has landed",
            SMALL,
            &["much missing"],
        )
        .without(
            "__syncthreads();",
            "all threads: the basis is in place for good",
        )
        .caught_by(&[Sign::Finding("race")]),
        bug(
            "no barrier after a panel has landed",
            TWO_PANELS,
            &["one chunk"],
        )
        .without("__syncthreads();", "all threads: the panel is in place")
        .caught_by(&[Sign::Finding("race")]),
        bug(
            "no barrier before a panel is replaced",
            TWO_PANELS,
            &["one chunk"],
        )
        .without(
            "__syncthreads();",
            "all warps: nobody multiplies with the last panel any more",
        )
        .caught_by(&[Sign::Finding("race")]),
        bug(
            "waits for one copy group too few",
            TWO_PANELS,
            &["one chunk"],
        )
        .replace("cp_async_wait<1>();", "cp_async_wait<2>();")
        .caught_by(&[Sign::Finding("copy in flight")]),
    ]
}

fn rotations() -> Vec<Bug> {
    vec![
        bug("the halves of a pair swapped", SMALL, &["one chunk"])
            .replace(
                "column % 2 ? pair_second(pair) : pair_first(pair)",
                "column % 2 ? pair_first(pair) : pair_second(pair)",
            )
            .caught_by(&[Sign::Value("key_slots")]),
        bug("turned the other way", PARTIAL, &["one chunk"])
            .in_header(
                "rope.cuh",
                "fmaf(x, rotation.x, -y * rotation.y), fmaf(y, rotation.x, x * rotation.y)",
                "fmaf(x, rotation.x, y * rotation.y), fmaf(y, rotation.x, -x * rotation.y)",
            )
            .caught_by(&[Sign::Value("key_slots")]),
        bug("positions one too high", SMALL, &["one chunk"])
            .replace(
                "positions[half] = chunk * CHUNK_SIZE + token % CHUNK_SIZE;",
                "positions[half] = chunk * CHUNK_SIZE + token % CHUNK_SIZE + 1;",
            )
            .caught_by(&[Sign::Value("key_slots")]),
        bug(
            "positions rounded to bfloat16",
            SMALL,
            &["the model's last positions"],
        )
        .in_header(
            "rope.cuh",
            "float(position)",
            "f32_from_bf16(bf16_from_f32(float(position)))",
        )
        .caught_by(&[Sign::Value("key_slots")]),
        bug(
            "large angles reduced with pi/2 in one part",
            SMALL,
            &["the model's last positions"],
        )
        .in_header(
            "rope.cuh",
            "  r = fmaf(-quadrant, -4.371138828673793e-8f, r);\n",
            "",
        )
        .caught_by(&[Sign::Value("key_slots")]),
        bug(
            "elements that are not rotated, rotated",
            PARTIAL,
            &["one chunk"],
        )
        .in_header(
            "rope.cuh",
            "if (pair >= ROTARY_PAIRS) return make_float2(1.0f, 0.0f);",
            "if (pair >= ROTARY_PAIRS) inverse_frequency = 1.0f;",
        )
        .caught_by(&[Sign::Value("key_slots")]),
    ]
}

fn places() -> Vec<Bug> {
    vec![
        bug(
            "the basis of the first KV head for all",
            SMALL,
            &["one chunk"],
        )
        .replace(
            "i64(sequence) * KEY_WIDTH + kv_head * HEAD_DIM",
            "i64(sequence) * KEY_WIDTH",
        )
        .caught_by(&[Sign::Value("key_slots")]),
        bug(
            "rows beyond the last missing chunk read",
            SMALL,
            &["one chunk"],
        )
        .replace("row_position >= 0 && rank < RANK", "rank < RANK")
        .caught_by(&[Sign::Finding("out of bounds")]),
        bug(
            "no zeros of the rows beyond the rank",
            TWO_PANELS,
            &["one chunk"],
        )
        .replace("row_position >= 0 && rank < RANK", "row_position >= 0")
        .caught_by(&[Sign::Finding("uninitialised read")]),
        bug(
            "keys beyond the last missing chunk stored",
            SMALL,
            &["one chunk"],
        )
        .replace("if (row < 16 && slot_row >= 0)", "if (row < 16)")
        .caught_by(&[
            Sign::Finding("out of bounds"),
            Sign::Overwritten("key_slots"),
        ]),
        bug(
            "the sums of the last tile kept",
            LONG_LISTS,
            &["much missing"],
        )
        .replace("acc[tile + i][half * 2 + 1] = 0.0f;", "")
        .caught_by(&[Sign::Value("key_slots")]),
        bug(
            "the product rounded before it is turned",
            SMALL,
            &["much missing"],
        )
        .replace(
            "rotate(acc[tile + i][half * 2], acc[tile + i][half * 2 + 1], rotation)",
            "rotate(f32_from_bf16(bf16_from_f32(acc[tile + i][half * 2])),
                 f32_from_bf16(bf16_from_f32(acc[tile + i][half * 2 + 1])), rotation)",
        )
        .caught_by(&[Sign::Value("key_slots")]),
        bug("keys truncated, not rounded", SMALL, &["one chunk"])
            .in_header("prelude.cuh", "cvt.rn.bf16x2.f32", "cvt.rz.bf16x2.f32")
            .caught_by(&[Sign::Value("key_slots")]),
        bug("the last token ignored", SMALL, &["one chunk"])
            .replace("own_token < tokens ?", "own_token + 1 < tokens ?")
            .caught_by(&[Sign::NeverWritten("key_slots")]),
        bug("the rows not swizzled", SMALL, &["much missing"])
            .in_header(
                "prelude.cuh",
                "(unit ^ ((row / (8 / SPREAD)) & (SPREAD - 1)))",
                "unit",
            )
            .caught_by(&[Sign::Cost(Price::Wavefronts, 1.3)]),
    ]
}
