//! What the compiler makes of the emitted sources.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed, and the figures are for whoever looks"
)]

mod machine_code;
mod random;
mod resources;
mod spec_values;
