//! An emulated GPU: loads the PTX that NVRTC makes and executes it on the CPU, warp by warp, with the strictness of a
//! sanitizer and the counters of a profiler.
//!
//! PTX text -> [`ptx`] (parsed) -> `program` (decoded, registers in slots) -> `exec` (32 lanes an instruction).

pub mod arith;
pub mod program;
pub mod ptx;
