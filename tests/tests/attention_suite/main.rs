//! Attention as a library: what the decoder's own store computes, on anybody's tensors, and sequences that are copied, saved and
//! restored.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

#[path = "../emulated_suite/setup.rs"]
#[allow(dead_code, reason = "the emulated decoders' suite uses all of it")]
mod setup;

#[path = "../decoder_suite/golden.rs"]
#[allow(dead_code, reason = "the decoder's suite uses all of it")]
mod golden;

mod decoder;
mod driver;
mod misuse;
mod sequences;
mod tensors;
