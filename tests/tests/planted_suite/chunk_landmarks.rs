//! Bugs of `chunk_landmarks`.

use crate::bug::{Bug, Price, Sign, bug};
use crate::plant::all_caught;

/// Several groups of lanes a warp, and chunks shorter than a group.
const SMALL: &str = "d32-chunk4-rank16";
/// Heads rotated in part.
const PARTIAL: &str = "d64-rotary22-chunk32";
/// Two tables of frequencies.
const TWO_TABLES: &str = "d104-longrope";

#[test]
fn chunk_landmarks() {
    all_caught("chunk_landmarks", &bugs());
}

fn bugs() -> Vec<Bug> {
    let mut bugs = rotations();
    bugs.extend(means());
    bugs.extend(threads());
    bugs
}

fn rotations() -> Vec<Bug> {
    vec![
        bug("positions one too high", SMALL, &["one token past a chunk"])
            .replace(
                "(first_chunk + tile_begin) * CHUNK_SIZE;",
                "(first_chunk + tile_begin) * CHUNK_SIZE + 1;",
            )
            .caught_by(&[Sign::Value("landmarks")]),
        bug(
            "positions counted from the launch's first chunk",
            SMALL,
            &["ragged batch"],
        )
        .replace(
            "(first_chunk + tile_begin) * CHUNK_SIZE;",
            "tile_begin * CHUNK_SIZE;",
        )
        .caught_by(&[Sign::Value("landmarks")]),
        bug("turned the other way", PARTIAL, &["one token past a chunk"])
            .in_header(
                "rope.cuh",
                "fmaf(x, rotation.x, -y * rotation.y), fmaf(y, rotation.x, x * rotation.y)",
                "fmaf(x, rotation.x, y * rotation.y), fmaf(y, rotation.x, -x * rotation.y)",
            )
            .caught_by(&[Sign::Value("landmarks")]),
        bug(
            "angles rounded to bfloat16",
            SMALL,
            &["the model's last positions"],
        )
        .in_header(
            "rope.cuh",
            "__fmul_rn(float(position), inverse_frequency)",
            "f32_from_bf16(bf16_from_f32(float(position) * inverse_frequency))",
        )
        .caught_by(&[Sign::Value("landmarks"), Sign::Value("min_cosines")]),
        bug(
            "the short table for everybody",
            TWO_TABLES,
            &["one token past a chunk"],
        )
        .replace("ROPE_TABLES > 1 ? args.rope_table[sequence] : 0", "0")
        .caught_by(&[Sign::Value("landmarks")]),
    ]
}

fn means() -> Vec<Bug> {
    vec![
        bug(
            "half of the mean over one token too many",
            SMALL,
            &["one token past a chunk"],
        )
        .in_header(
            "landmark.cuh",
            "mean.pair[i].x += run.pair[i].x * (1.0f / CHUNK_SIZE);",
            "mean.pair[i].x += run.pair[i].x * (1.0f / (CHUNK_SIZE + 1));",
        )
        .caught_by(&[Sign::Value("landmarks")]),
        bug("the highest cosine", SMALL, &["one token past a chunk"])
            .in_header(
                "landmark.cuh",
                "return lanes_min<LANES>(lowest);",
                "return lanes_max<LANES>(lowest);",
            )
            .caught_by(&[Sign::Value("min_cosines")]),
        bug(
            "keys of zeros divided by their length",
            SMALL,
            &["keys of zeros"],
        )
        .in_header("landmark.cuh", "fmaxf(norms[i], 1e-30f)", "norms[i]")
        .caught_by(&[Sign::Value("min_cosines")]),
        bug("the last chunk ignored", SMALL, &["one long sequence"])
            .replace(
                "tile_begin + chunk < chunk_count",
                "tile_begin + chunk + 1 < chunk_count",
            )
            .caught_by(&[
                Sign::NeverWritten("landmarks"),
                Sign::NeverWritten("min_cosines"),
            ]),
        bug("one chunk too many", SMALL, &["ragged batch"])
            .replace(
                "tile_begin + chunk < chunk_count",
                "tile_begin + chunk <= chunk_count",
            )
            .caught_by(&[
                Sign::Overwritten("landmarks"),
                Sign::Overwritten("min_cosines"),
            ]),
    ]
}

fn threads() -> Vec<Bug> {
    vec![
        bug("no wait for the copies", SMALL, &["one token past a chunk"])
            .remove("cp_async_wait<0>();")
            .caught_by(&[Sign::Finding("copy in flight")]),
        bug(
            "no barrier before the keys are read",
            SMALL,
            &["one token past a chunk"],
        )
        .without(
            "__syncthreads();",
            "all threads: keys and rotations are in place",
        )
        .caught_by(&[Sign::Finding("race")]),
        bug(
            "lanes without a chunk left out of a shuffle",
            SMALL,
            &["one token past a chunk"],
        )
        // Those left out go on to other shuffles; had they ended, nobody would wait for them.
        .in_header(
            "landmark.cuh",
            "landmark_norm = lanes_sum",
            "if (landmark != nullptr) landmark_norm = lanes_sum",
        )
        .caught_by(&[Sign::Finding("missing lanes")]),
        bug(
            "chunks of neighbouring groups in the same banks",
            SMALL,
            &["one long sequence"],
        )
        .replace("(unit ^ bank_group)", "unit")
        .caught_by(&[Sign::Cost(Price::Wavefronts, 1.5)]),
        bug(
            "two bytes of a key at a time from memory",
            SMALL,
            &["one long sequence"],
        )
        .replace(
            "    cp_async_16(const_cast<bf16*>(tile_element(tile, token, unit * UNIT_ELEMENTS)), \
                 args.k_pre + element, valid);",
            "    u16* const to = (u16*)tile_element(tile, token, unit * UNIT_ELEMENTS);
    const volatile u16* const from = (const volatile u16*)(args.k_pre + element);
    for (int i = 0; i < UNIT_ELEMENTS; ++i) to[i] = valid ? from[i] : u16(0);",
        )
        .caught_by(&[Sign::Cost(Price::Sectors, 2.0)]),
    ]
}
