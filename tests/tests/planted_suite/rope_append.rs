//! Bugs of `rope_append`.

use crate::bug::{Bug, Price, Sign, bug};
use crate::plant::all_caught;

/// Half-split pairs, four heads, whole units.
const SMALL: &str = "d32-chunk4-rank16";
/// Seven query heads a KV head, so that heads mixed up show.
const GROUPS: &str = "d80-gqa7-full-rank";
/// Eight runs a head.
const WIDE: &str = "d128-single-head";
/// Interleaved pairs.
const INTERLEAVED: &str = "d40-interleaved";
/// Heads rotated in part, in runs of one pair.
const PARTIAL: &str = "d64-rotary22-chunk32";
/// Two tables of frequencies.
const TWO_TABLES: &str = "d104-longrope";

#[test]
fn rope_append() {
    all_caught("rope_append", &bugs());
}

fn bugs() -> Vec<Bug> {
    let mut bugs = rotations();
    bugs.extend(places());
    bugs.extend(threads());
    bugs
}

fn rotations() -> Vec<Bug> {
    vec![
        bug("positions one too low", SMALL, &["one token each"])
            .replace(
                "args.token_count[sequence] - query_count + first_token;",
                "args.token_count[sequence] - query_count + first_token - 1;",
            )
            .caught_by(&[Sign::Value("queries"), Sign::NeverWritten("keys")]),
        bug(
            "new tokens counted from position 0",
            SMALL,
            &["ragged batch"],
        )
        .replace(
            "args.token_count[sequence] - query_count + first_token;",
            "first_token;",
        )
        .caught_by(&[Sign::Value("queries")]),
        bug("values turned too", SMALL, &["a prompt"])
            .replace("head < VALUE_HEAD && run", "run")
            .caught_by(&[Sign::Value("values")]),
        bug("keys not turned", GROUPS, &["ragged batch"])
            .replace("head < VALUE_HEAD && run", "head < KEY_HEAD && run")
            .caught_by(&[Sign::Value("keys")]),
        bug("keys kept after RoPE", SMALL, &["ragged batch"])
            .replace(
                "store_item(args.k_pre + place, run, loaded[i])",
                "store_item(args.k_pre + place, run, result)",
            )
            .caught_by(&[Sign::Value("k_pre")]),
        bug(
            "the rotations of a run in the order of its pairs",
            INTERLEAVED,
            &["ragged batch"],
        )
        .replace(
            "rotations + i * ROTATED_RUNS * RUN_ROTATIONS;",
            "rotations + i * RUN_ROTATIONS;",
        )
        .caught_by(&[Sign::Value("queries")]),
        bug("the rest of a head turned", PARTIAL, &["ragged batch"])
            .replace("run < ROTATED_RUNS)", "run < RUNS)")
            .caught_by(&[Sign::Value("queries")]),
        bug(
            "the short table for everybody",
            TWO_TABLES,
            &["first token", "ragged batch"],
        )
        .replace("ROPE_TABLES > 1 ? args.rope_table[sequence] : 0", "0")
        .caught_by(&[Sign::Value("queries"), Sign::Value("keys")]),
    ]
}

fn places() -> Vec<Bug> {
    vec![
        bug("the ring not wrapped", SMALL, &["one token each"])
            .replace(
                "(first_position + token) % row_capacity",
                "first_position + token",
            )
            .caught_by(&[Sign::NeverWritten("keys")]),
        bug(
            "tokens stored that later ones overwrite",
            SMALL,
            &["more tokens than the ring holds"],
        )
        .replace("} else if (token >= first_kept) {", "} else {")
        .caught_by(&[Sign::Finding("race")]),
        bug(
            "the oldest token that the ring holds left out",
            SMALL,
            &["more tokens than the ring holds"],
        )
        .replace("token >= first_kept", "token > first_kept")
        .caught_by(&[Sign::NeverWritten("keys"), Sign::NeverWritten("values")]),
        bug("a query head too many a group", GROUPS, &["ragged batch"])
            .replace(
                "((first_row + token) * KEY_HEAD + head)",
                "((first_row + token) * (KEY_HEAD + KV_HEADS) + head)",
            )
            .caught_by(&[Sign::NeverWritten("queries")]),
        bug(
            "keys before RoPE written where nobody keeps them",
            SMALL,
            &["full attention"],
        )
        .replace(
            "head < VALUE_HEAD && args.keep_k_pre != 0",
            "head < VALUE_HEAD",
        )
        .caught_by(&[Sign::Overwritten("k_pre")]),
        bug("one token too many", SMALL, &["ragged batch"])
            .replace(
                "query_count - first_token) * TOKEN_ITEMS",
                "query_count - first_token + 1) * TOKEN_ITEMS",
            )
            .caught_by(&[Sign::Overwritten("queries")]),
    ]
}

fn threads() -> Vec<Bug> {
    vec![
        bug(
            "no barrier before the rotations are read",
            SMALL,
            &["a prompt"],
        )
        .without("__syncthreads();", "all threads: the rotations are in place")
        .caught_by(&[Sign::Finding("race")]),
        bug("four bytes stored at a time", SMALL, &["a prompt"])
            .in_header(
                "prelude.cuh",
                "asm volatile(\"st.global.v4.u32 [%0], {%1, %2, %3, %4};\" ::\"l\"(address), \"r\"(value.x), \
                 \"r\"(value.y), \"r\"(value.z),\n               \"r\"(value.w)\n               : \"memory\");",
                "volatile u32* const words = (volatile u32*)address;
  words[0] = value.x, words[1] = value.y, words[2] = value.z, words[3] = value.w;",
            )
            .caught_by(&[Sign::Cost(Price::Sectors, 2.0)]),
        bug("rotations in the order of pairs", WIDE, &["a prompt"])
            .replace(
                "        const int run = place / RUN_ROTATIONS % ROTATED_RUNS;
        const int pair =
            run * RUN + place / (RUN_ROTATIONS * ROTATED_RUNS) * RUN_ROTATIONS + place % RUN_ROTATIONS;",
                "        const int pair = place;",
            )
            .replace(
                "rotations + i * ROTATED_RUNS * RUN_ROTATIONS;",
                "rotations + i * RUN_ROTATIONS;",
            )
            .replace(
                "token * TOKEN_ROTATIONS + run * RUN_ROTATIONS);",
                "token * TOKEN_ROTATIONS + run * RUN);",
            )
            .caught_by(&[Sign::Cost(Price::Wavefronts, 1.2)]),
    ]
}
