//! Whole decoders on the emulated GPU, through the generated kernels: what they compute, in every order that events permit,
//! and that an order which is missing is found.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod faults;
#[expect(dead_code, reason = "another suite compares more closely")]
#[path = "../decoder_suite/golden.rs"]
mod golden;
mod graphs;
mod real_model;
mod sabotage;
mod setup;
mod steps;
mod tiny_models;
