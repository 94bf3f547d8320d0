//! Plans and packages, without a compiler.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod checked_in;
mod coverage;
mod emission;
mod launchers;
mod mock;
mod plans;
mod template_lines;
mod tiles;
