//! A kernel made ready to execute.

pub mod allocate;
