//! Bugs of `landmark_score`.

use crate::bug::{Bug, Price, Sign, bug};
use crate::plant::all_caught;

/// Seven query heads a KV head, which leave columns of a fragment empty.
const SEVEN_HEADS: &str = "d80-gqa7-full-rank";
/// The instruction that loads 16 bytes.
const LOAD_16_ONCE: &str = r#"  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(address));"#;

#[test]
fn landmark_score() {
    all_caught("landmark_score", &bugs());
}

fn bugs() -> Vec<Bug> {
    let mut bugs = products();
    bugs.extend(masks());
    bugs.extend(softmax());
    bugs.extend(prices());
    bugs
}

fn products() -> Vec<Bug> {
    vec![
        bug(
            "the query heads of another KV head",
            SEVEN_HEADS,
            &["one span"],
        )
        .replace(
            "(i64(sequence) * KV_HEADS + kv_head) * GQA_RATIO * HEAD_DIM;",
            "(i64(sequence) * KV_HEADS * GQA_RATIO + kv_head) * HEAD_DIM;",
        )
        .caught_by(&[Sign::Value("scores")]),
        bug(
            "rows and columns of a fragment swapped",
            SEVEN_HEADS,
            &["one span"],
        )
        .replace(
            "upper[step].x, lower[step].x, upper[step].y, lower[step].y",
            "upper[step].x, upper[step].y, lower[step].x, lower[step].y",
        )
        .caught_by(&[Sign::Value("scores")]),
        bug(
            "the wrong columns of the result",
            SEVEN_HEADS,
            &["one span"],
        )
        .replace_all(
            2,
            "const int head = heads * 8 + quarter * 2 + column;",
            "const int head = heads * 8 + quarter + column * 4;",
        )
        .caught_by(&[Sign::Value("scores"), Sign::Value("span_softmax")]),
        bug("scores not scaled", SEVEN_HEADS, &["one span"])
            .replace_all(2, " * SCORE_SCALE", "")
            .caught_by(&[Sign::Value("scores")]),
    ]
}

fn masks() -> Vec<Bug> {
    vec![
        bug("outliers ignored", SEVEN_HEADS, &["one past a span"])
            .replace(
                "first_bits(chunks_left) & ~outliers.x",
                "first_bits(chunks_left)",
            )
            .caught_by(&[Sign::Value("scores"), Sign::Value("span_softmax")]),
        bug(
            "the words of the mask swapped",
            SEVEN_HEADS,
            &["one past a span"],
        )
        .replace(
            "first_bits(chunks_left) & ~outliers.x",
            "first_bits(chunks_left) & ~outliers.y",
        )
        .caught_by(&[Sign::Value("scores")]),
        bug(
            "the mask shifted by one word",
            SEVEN_HEADS,
            &["one past a span"],
        )
        .replace(
            "args.outlier_mask + first_row / 32",
            "args.outlier_mask + first_row / 32 + 1",
        )
        .caught_by(&[Sign::Finding("misaligned")]),
        bug(
            "one chunk beyond the last a candidate",
            SEVEN_HEADS,
            &["one past a span"],
        )
        .replace(
            "first_bits(chunks_left) & ~",
            "first_bits(chunks_left + 1) & ~",
        )
        .caught_by(&[Sign::Value("scores")]),
        bug(
            "the last landmark not read",
            SEVEN_HEADS,
            &["one past a span"],
        )
        .replace(
            "if (upper_chunk < chunks_left)",
            "if (upper_chunk + 1 < chunks_left)",
        )
        .caught_by(&[Sign::Value("scores")]),
        bug(
            "landmarks read beyond the last",
            SEVEN_HEADS,
            &["one past a span"],
        )
        .replace(
            "if (upper_chunk < chunks_left)",
            "if (upper_chunk <= chunks_left)",
        )
        .caught_by(&[Sign::Finding("uninitialised read")]),
        bug(
            "query heads beyond the last stored",
            SEVEN_HEADS,
            &["ragged batch"],
        )
        .replace("if (head < GQA_RATIO) {", "if (head <= GQA_RATIO) {")
        .caught_by(&[Sign::Finding("race"), Sign::Overwritten("scores")]),
    ]
}

fn softmax() -> Vec<Bug> {
    vec![
        bug("lanes left out of the softmax", SEVEN_HEADS, &["one span"])
            .replace_all(
                2,
                "for (int offset = 4; offset < 32; offset *= 2)",
                "for (int offset = 8; offset < 32; offset *= 2)",
            )
            .caught_by(&[Sign::Value("span_softmax")]),
        bug(
            "a span of outliers subtracted from infinity",
            SEVEN_HEADS,
            &["a span of outliers"],
        )
        .replace_all(2, "largest == MINUS_INFINITY ? 0.0f : largest", "largest")
        .caught_by(&[Sign::Value("span_softmax")]),
        bug(
            "no score below zero the largest",
            SEVEN_HEADS,
            &["one chunk"],
        )
        .replace(
            "highest[heads][0] = highest[heads][1] = MINUS_INFINITY;",
            "highest[heads][0] = highest[heads][1] = 0.0f;",
        )
        .caught_by(&[Sign::Value("span_softmax")]),
        bug(
            "spans placed by the chunks, not the stride",
            SEVEN_HEADS,
            &["ragged batch"],
        )
        .replace(
            "(list * GQA_RATIO + head) * (args.score_stride / SCORE_SPAN) + span",
            "(list * GQA_RATIO + head) * ceil_div(chunk_count, SCORE_SPAN) + span",
        )
        .caught_by(&[
            Sign::NeverWritten("span_softmax"),
            Sign::Overwritten("span_softmax"),
        ]),
    ]
}

fn prices() -> Vec<Bug> {
    vec![
        bug("landmarks read again", SEVEN_HEADS, &["one long sequence"])
            .replace(
                "if (upper_chunk < chunks_left) upper[step] =",
                "for (int again = 0; again < 2; ++again) if (upper_chunk < chunks_left) upper[step] =",
            )
            .caught_by(&[Sign::Cost(Price::ReadBytes, 1.4)]),
        bug("four bytes at a time", SEVEN_HEADS, &["one long sequence"])
            .in_header(
                "prelude.cuh",
                LOAD_16_ONCE,
                "  const volatile u32* const words = (const volatile u32*)address;
  v = make_uint4(words[0], words[1], words[2], words[3]);",
            )
            .caught_by(&[Sign::Cost(Price::Sectors, 2.0)]),
    ]
}
