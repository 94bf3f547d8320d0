//! Bugs of `key_gram`.

use crate::bug::{Bug, Price, Sign, bug};
use crate::plant::all_caught;

/// Two tiles a side, the second of them mostly beyond the keys' width.
const TWO_TILES: &str = "d80-gqa7-full-rank";
/// One tile.
const ONE_TILE: &str = "d32-chunk4-rank16";

#[test]
fn key_gram() {
    all_caught("key_gram", &bugs());
}

fn bugs() -> Vec<Bug> {
    let mut bugs = synchronisation();
    bugs.extend(sums());
    bugs.extend(extents());
    bugs
}

fn synchronisation() -> Vec<Bug> {
    vec![
        bug(
            "no barrier in the pipeline",
            TWO_TILES,
            &["one long sequence"],
        )
        .without("__syncthreads();", "all threads: this step's copies")
        .caught_by(&[Sign::Finding("race")]),
        bug(
            "waits for one copy group too few",
            TWO_TILES,
            &["one long sequence"],
        )
        .replace("cp_async_wait<STAGES - 2>()", "cp_async_wait<STAGES - 1>()")
        .caught_by(&[Sign::Finding("copy in flight")]),
        bug(
            "no barrier before the arrival",
            TWO_TILES,
            &["several shares of the tokens"],
        )
        .without(
            "__syncthreads();",
            "all threads: the block's sums are written before it counts as arrived",
        )
        .caught_by(&[Sign::Finding("race")]),
        bug(
            "no barrier between the arrival and its readers",
            TWO_TILES,
            &["several shares of the tokens"],
        )
        .without(
            "__syncthreads();",
            "thread 0: the arrival is known, and with it the other blocks' sums",
        )
        .caught_by(&[Sign::Finding("race")]),
        bug(
            "no barrier between the pipeline, the tile and its mirror image",
            TWO_TILES,
            &["one token past a chunk"],
        )
        .without(
            "__syncthreads();",
            "all threads: nobody reads the pipeline or the unmirrored tile any more",
        )
        .caught_by(&[Sign::Finding("race")]),
        bug(
            "half the warps skip a barrier",
            TWO_TILES,
            &["one token past a chunk"],
        )
        .replace(
            "__syncthreads();  // all threads: the tile is complete",
            "if (threadIdx.x < THREADS / 2) __syncthreads();",
        )
        .caught_by(&[Sign::Finding("race")]),
        bug(
            "half the lanes skip a barrier",
            TWO_TILES,
            &["one token past a chunk"],
        )
        .replace(
            "__syncthreads();  // all threads: the tile is complete",
            "if (threadIdx.x % 32 < 16) __syncthreads();",
        )
        .caught_by(&[Sign::Finding("barrier divergence")]),
    ]
}

fn sums() -> Vec<Bug> {
    vec![
        bug("the tensor cores' sums never flushed", ONE_TILE, &["a long sum of one sign"])
            .remove("(step + 1) % (FLUSH_TOKENS / STEP) == 0 || ")
            .caught_by(&[Sign::Value("gram")]),
        bug("the halves of a factor swapped", ONE_TILE, &["one token past a chunk"])
            .replace(
                "b[column / 2][column % 2 * 2],\n                       b[column / 2][column % 2 * 2 + 1]",
                "b[column / 2][column % 2 * 2 + 1],\n                       b[column / 2][column % 2 * 2]",
            )
            .caught_by(&[Sign::Value("gram")]),
        bug("the mirror image not transposed", TWO_TILES, &["one token past a chunk"])
            .replace("if (mirrored) {", "if (false) {")
            .caught_by(&[Sign::Value("gram")]),
        bug("the sum of the shares without the first", TWO_TILES, &["several shares of the tokens"])
            .replace("int other = 0; other < splits", "int other = 1; other < splits")
            .caught_by(&[Sign::Value("gram")]),
        bug("the counter of arrivals not reset", TWO_TILES, &["several shares of the tokens"])
            .replace("+ tile_index, splits - 1)", "+ tile_index, splits)")
            .caught_by(&[Sign::Value("arrivals")]),
    ]
}

fn extents() -> Vec<Bug> {
    vec![
        bug(
            "one token too many",
            ONE_TILE,
            &["one token past a chunk", "ragged batch"],
        )
        .replace(
            "i * LOAD_ROWS < tokens_left",
            "i * LOAD_ROWS <= tokens_left",
        )
        .caught_by(&[
            Sign::Finding("out of bounds"),
            Sign::Finding("uninitialised read"),
            Sign::Value("gram"),
        ]),
        bug(
            "less shared memory than the pipeline takes",
            ONE_TILE,
            &["one token past a chunk"],
        )
        .shared_bytes(16 << 10)
        .caught_by(&[Sign::Finding("out of bounds")]),
        bug(
            "more shared memory than a block may have",
            ONE_TILE,
            &["one token past a chunk"],
        )
        .shared_bytes(200 << 10)
        .caught_by(&[Sign::Error("shared memory")]),
        bug("the stages not swizzled", TWO_TILES, &["one long sequence"])
            .in_header(
                "prelude.cuh",
                "(unit ^ ((row / (8 / SPREAD)) & (SPREAD - 1)))",
                "unit",
            )
            .caught_by(&[Sign::Cost(Price::Wavefronts, 2.0)]),
    ]
}
