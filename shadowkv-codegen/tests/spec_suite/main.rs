//! Tests of the model spec: reading, errors, schema, import, rotary tables, and the shipped specs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod errors;
mod files;
mod fuzz;
mod import;
mod pairs;
mod parsing;
mod rope;
mod schema;
mod shipped;
