//! What the emulator finds, each on a kernel of a few lines, and that it keeps still where nothing is wrong.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod barriers;
mod blocks;
mod bounds;
mod copies;
mod counts;
mod kernel;
mod lanes;
mod launches;
mod races;
mod touched;
