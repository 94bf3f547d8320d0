//! Bugs of `embed`.

use crate::bug::{Bug, Sign, bug};
use crate::plant::all_caught;

/// Rows of 225 units, which no number of warps divides.
const SMALL: &str = "d72-rotary36";

#[test]
fn embed() {
    all_caught("embed", &bugs());
}

fn bugs() -> Vec<Bug> {
    vec![
        bug("one token too many known", SMALL, &["tokens that are none"])
            .replace("token < VOCAB;", "token <= VOCAB;")
            .caught_by(&[Sign::Finding("out of bounds")]),
        bug("negative tokens known", SMALL, &["tokens that are none"])
            .remove("token >= 0 && ")
            .caught_by(&[Sign::Finding("out of bounds")]),
        bug(
            "zeros for tokens that are none",
            SMALL,
            &["tokens that are none"],
        )
        .replace("0x7fc07fc0u", "0u")
        .caught_by(&[Sign::Value("output")]),
        bug("the end of a row left out", SMALL, &["one token"])
            .replace("if (unit < UNITS) {", "if (unit < UNITS - 1) {")
            .caught_by(&[Sign::NeverWritten("output")]),
        bug("the first token for all", SMALL, &["many tokens"])
            .replace("args.token_ids[blockIdx.x]", "args.token_ids[0]")
            .caught_by(&[Sign::Value("output")]),
    ]
}
