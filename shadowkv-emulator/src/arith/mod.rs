//! What the arithmetic instructions compute, as plain functions over the 32 lanes of a warp.

#![allow(
    clippy::inline_always,
    reason = "a row vectorises with the features of the caller it is inlined into"
)]

/// One 32-bit value per lane.
pub type Lanes32 = [u32; 32];

/// One 64-bit value per lane.
pub type Lanes64 = [u64; 32];

pub mod approx;
pub(crate) mod atomic;
pub mod convert;
mod float;
pub mod half;
pub mod integer;
pub mod single;
pub mod tensor;

pub use float::Direction;

#[cfg(test)]
mod recorded;
#[cfg(test)]
mod testing;
