//! Numbers by others: what the `ShadowKV` authors' own class computed of the same keys, values and queries.
//!
//! `tests/golden/shadowkv/README.md` says how they were made, what is in them and within what they hold. [`method`] puts the
//! oracles one behind the other, as a prompt and the steps after it need them, and meets those numbers: so the oracles are
//! the method's, not only ours. [`prefill`], [`decode`] and [`attention`] give the kernels, stage by stage, what the class had
//! before the stage, and meet what it had after it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed, and the figures are for whoever looks"
)]

mod attention;
mod close;
mod decode;
mod fixture;
mod launch;
mod method;
mod outliers;
mod prefill;

use std::sync::OnceLock;

use fixture::Fixture;

macro_rules! cases {
    ($($function:ident $name:literal),* $(,)?) => {
        $(
            /// The case, read once.
            fn $function() -> &'static Fixture {
                static FIXTURE: OnceLock<Fixture> = OnceLock::new();
                FIXTURE.get_or_init(|| {
                    Fixture::load($name, include_str!(concat!("specs/", $name, ".yaml")))
                })
            }

            mod $function {
                #[test]
                fn the_method() {
                    crate::method::agrees(super::$function());
                }

                #[test]
                fn the_kernels_of_a_prompt() {
                    crate::prefill::agree(super::$function());
                }

                #[test]
                fn the_kernel_of_outliers() {
                    crate::outliers::agree(super::$function());
                }

                #[test]
                fn the_kernels_of_a_step() {
                    crate::decode::agree(super::$function());
                }

                #[test]
                fn the_kernels_of_attention() {
                    crate::attention::agree(super::$function());
                }
            }
        )*
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
