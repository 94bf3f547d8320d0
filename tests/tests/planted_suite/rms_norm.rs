//! Bugs of `rms_norm`.

use crate::bug::{Bug, Sign, bug};
use crate::plant::all_caught;

/// Rows of 225 units in four warps.
const SMALL: &str = "d72-rotary36";

#[test]
fn rms_norm() {
    all_caught("rms_norm", &bugs());
}

fn bugs() -> Vec<Bug> {
    vec![
        bug(
            "the other warps' sums read too early",
            SMALL,
            &["many rows"],
        )
        .without("__syncthreads();", "all warps: their sums are known")
        .caught_by(&[Sign::Finding("race")]),
        bug("the last warp's sum left out", SMALL, &["many rows"])
            .replace("other < WARPS; ++other", "other < WARPS - 1; ++other")
            .caught_by(&[Sign::Value("output")]),
        bug(
            "the mean over what the block could hold",
            SMALL,
            &["many rows"],
        )
        .replace(
            "sum / float(HIDDEN)",
            "sum / float(UNITS_PER_THREAD * THREADS * UNIT_ELEMENTS)",
        )
        .caught_by(&[Sign::Value("output")]),
        bug("epsilon left out", SMALL, &["zeros"])
            .remove(" + NORM_EPS")
            .caught_by(&[Sign::Value("output")]),
        bug("a word of each unit counted twice", SMALL, &["many rows"])
            .replace(
                "sum += squares(held[i].x)",
                "sum += 2.0f * squares(held[i].x)",
            )
            .caught_by(&[Sign::Value("output")]),
        bug("the sum not stored", SMALL, &["many rows"])
            .remove("store_16(residual + unit * UNIT_ELEMENTS, held[i]);")
            .caught_by(&[Sign::Value("residual")]),
        bug("what is not there added", SMALL, &["nothing to add"])
            .replace("if (args.add_x)", "if (true)")
            .caught_by(&[Sign::Finding("uninitialised read")]),
        bug("a unit of the next row", SMALL, &["one row"])
            .replace_all(3, "unit < UNITS", "unit <= UNITS")
            .caught_by(&[Sign::Finding("out of bounds")]),
    ]
}
