//! Every family of models on the CPU computes what other people's software computes: logits, keys, values, continuations.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod golden;
mod real_model;
mod tiny_models;
