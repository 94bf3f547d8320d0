//! Images of kernels: from a package's binaries, from the cache, from the compiler; and what becomes of a cache that is shared,
//! damaged, full of others' entries or not to be written to.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod binaries;
mod cache;
mod failures;
mod races;
mod support;
