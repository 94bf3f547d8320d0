//! The program as its users meet it: every command, every exit code, and what compilation failures look like.

#![cfg(feature = "cli")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod check;
mod commands;
mod compile;
mod compile_failures;
mod environment;
mod generate;
mod output;
mod profile;
mod sass;
mod support;
mod tune;
mod verify;
