//! Bugs of `silu_mul`.

use crate::bug::{Bug, Sign, bug};
use crate::plant::all_caught;

/// Rows of 603 units, in blocks of 256.
const SMALL: &str = "d72-rotary36";

#[test]
fn silu_mul() {
    all_caught("silu_mul", &bugs());
}

fn bugs() -> Vec<Bug> {
    vec![
        bug("gates taken for what they multiply", SMALL, &["one row"])
            .replace(
                "silu_times(bf16_high(gates), bf16_high(ups))",
                "silu_times(bf16_high(ups), bf16_high(gates))",
            )
            .caught_by(&[Sign::Value("output")]),
        bug("the exponent's sign", SMALL, &["one row"])
            .replace("exp2_approx(-gate * LOG2_E)", "exp2_approx(gate * LOG2_E)")
            .caught_by(&[Sign::Value("output")]),
        bug("a power of 2 for one of e", SMALL, &["small gates"])
            .replace("exp2_approx(-gate * LOG2_E)", "exp2_approx(-gate)")
            .caught_by(&[Sign::Value("output")]),
        bug("rows half as far apart", SMALL, &["many rows"])
            .replace("row * 2 * FFN", "row * FFN")
            .caught_by(&[Sign::Value("output")]),
        bug("a unit of the next row", SMALL, &["one row"])
            .replace_all(2, "unit < UNITS", "unit <= UNITS")
            .caught_by(&[Sign::Finding("out of bounds")]),
    ]
}
