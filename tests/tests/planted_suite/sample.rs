//! Bugs of `sample`.

use crate::bug::{Bug, Sign, bug};
use crate::plant::all_caught;

/// A vocabulary of 97: rows begin anywhere within 16 bytes.
const ODD_ROWS: &str = "d40-interleaved";
/// A vocabulary of 12346, three times what shared memory keeps.
const MANY: &str = "d88-heads7";

#[test]
fn sample() {
    let mut bugs = filters();
    bugs.extend(draws());
    bugs.extend(memory());
    all_caught("sample", &bugs);
}

fn filters() -> Vec<Bug> {
    vec![
        bug("the temperature ignored", MANY, &["any token"])
            .replace("fminf(__fdiv_rn(1.0f, temperature), LARGEST_FLOAT)", "1.0f")
            .caught_by(&[Sign::Choice("token_ids")]),
        bug(
            "the share of all tokens, not of the top k",
            MANY,
            &["top k, then top p"],
        )
        .replace(
            "share_of(share.total, top_p) : most",
            "share_of(sum, top_p) : most",
        )
        .caught_by(&[Sign::Choice("token_ids")]),
        bug("top p before top k", MANY, &["top k, then top p"])
            .replace(
                "for (bool by_weight = top_k <= 0;;",
                "for (bool by_weight = top_k <= 0 || top_p < 1.0f;;",
            )
            .caught_by(&[Sign::Choice("token_ids")]),
        bug("ties of the last token left out", MANY, &["top k"])
            .replace("return {top, ties};", "return {top, 0};")
            .caught_by(&[Sign::Choice("token_ids")]),
        bug("one token short of the share", MANY, &["top p"])
            .replace("u32 ties = 1;", "u32 ties = 0;")
            .caught_by(&[Sign::Choice("token_ids")]),
        bug("carries lost in the bins", MANY, &["top p"])
            .remove(" + (sum < low ? 1 : 0)")
            .caught_by(&[Sign::Choice("token_ids")]),
    ]
}

fn draws() -> Vec<Bug> {
    vec![
        bug("one seed for all sequences", MANY, &["any token"])
            .replace("args.seed[sequence]", "args.seed[0]")
            .caught_by(&[Sign::Choice("token_ids")]),
        bug(
            "a place in the list taken for a token",
            MANY,
            &["top k, then top p"],
        )
        .replace("ids ? ids[i] : i;", "i;")
        .caught_by(&[Sign::Choice("token_ids")]),
        bug("nine rounds of Philox", MANY, &["any token"])
            .replace("round < 10", "round < 9")
            .caught_by(&[Sign::Choice("token_ids")]),
        bug(
            "the last of the most probable tokens",
            MANY,
            &["the most probable"],
        )
        .replace(
            "min_of(first_highest, u32(four.first + i))",
            "u32(four.first + i)",
        )
        .caught_by(&[Sign::Choice("token_ids")]),
        bug(
            "products and sums fused",
            MANY,
            &["token", "top", "one sequence"],
        )
        .replace("return __fadd_rn(a, b);", "return a + b;")
        .replace("return __fmul_rn(a, b);", "return a * b;")
        .caught_by(&[Sign::Value("logprob")]),
        bug("the probability at the temperature", MANY, &["any token"])
            .replace(
                "ln_of(block_sum(unmodified_sum, scratch))",
                "ln_of(block_sum(sum, scratch))",
            )
            .caught_by(&[Sign::Choice("logprob")]),
    ]
}

fn memory() -> Vec<Bug> {
    vec![
        bug("rows taken for aligned", ODD_ROWS, &["any token"])
            .replace("int(sequence * VOCAB % 4)}", "0}")
            .caught_by(&[Sign::Finding("misaligned")]),
        bug("the row's end not looked at", ODD_ROWS, &["one sequence"])
            .replace(
                "four.first + 4 <= tokens.count",
                "four.first < tokens.count",
            )
            .caught_by(&[Sign::Finding("out of bounds")]),
        bug("bins that are not empty yet", MANY, &["top p"])
            .without("__syncthreads();", "all threads: the bins are empty")
            .caught_by(&[Sign::Finding("race")]),
        bug("kept tokens read too early", MANY, &["top k"])
            .without("__syncthreads();", "all warps: what they kept is in place")
            .caught_by(&[Sign::Finding("race")]),
        bug("shares of warps read too early", MANY, &["any token"])
            .without("__syncthreads();", "all warps: their shares are known")
            .caught_by(&[Sign::Finding("race")]),
    ]
}
