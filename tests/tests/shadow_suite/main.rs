//! The store of the method on the CPU in f32: against what its authors' own class computed, against full attention, and
//! against itself: in batches, in pieces, over long continuations.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed, and the figures are for whoever looks"
)]

#[path = "../golden_suite/close.rs"]
mod close;
#[path = "../golden_suite/fixture.rs"]
#[allow(dead_code, reason = "the kernels' suite uses all of it")]
mod fixture;

#[path = "../decoder_suite/golden.rs"]
#[allow(dead_code, reason = "the decoder's suite uses all of it")]
mod golden;

mod authors;
mod driver;
mod long;
mod properties;
mod real;

use fixture::Fixture;

macro_rules! cases {
    ($($function:ident $name:literal),* $(,)?) => {
        /// The authors' cases, through the store.
        mod of_the_authors {
            $(
                #[test]
                fn $function() {
                    let spec = include_str!(concat!("../golden_suite/specs/", $name, ".yaml"));
                    crate::authors::agrees(&crate::Fixture::load($name, spec));
                }
            )*
        }
    };
}

cases![
    llama "llama",
    glm "glm",
    phi3 "phi3",
    qwen2 "qwen2",
    smollm2 "smollm2",
    llama_offload "llama-offload",
];
