//! The program as its users meet it: commands, exit codes, and what it says when something is wrong.

#![cfg(feature = "cli")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod commands;
#[path = "../common/mod.rs"]
mod common;
mod generate;
mod logits;
mod support;
mod unusable;
