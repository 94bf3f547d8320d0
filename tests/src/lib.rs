//! Helpers shared by the tests across the shadowkv crates.
