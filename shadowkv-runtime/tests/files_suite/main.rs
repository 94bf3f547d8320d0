//! Files of models: weights, specs, tokenizers, the hub, the default model.

#![cfg(feature = "decoder")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

#[path = "../common/mod.rs"]
mod common;
mod server;
mod support;

mod corrupt;
mod default_model;
mod gguf;
mod hub;
mod models;
#[cfg(unix)]
mod package;
mod safetensors;
mod tokenizer;
