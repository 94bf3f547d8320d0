//! An emulated GPU: loads the PTX that NVRTC makes and executes it on the CPU, warp by warp, with the strictness of a
//! sanitizer and the counters of a profiler.
//!
//! | notion | here |
//! | --- | --- |
//! | [`Module`], [`Kernel`] | PTX, parsed and decoded once |
//! | [`Device`] | a GPU: memory by allocation, launches that run to their end |
//! | [`LaunchReport`] | what a launch did: [`Finding`]s and [`Counters`] |
//! | [`GpuModel`] | whose limits apply |
//!
//! ```
//! use shadowkv_emulator::{Device, GpuModel, LaunchConfig, Module};
//!
//! let ptx = r"
//! .version 8.0
//! .target sm_80
//! .address_size 64
//! .visible .entry twice(.param .u64 twice_param_0) {
//!   .reg .b32 %r<3>;
//!   .reg .b64 %rd<4>;
//!   ld.param.u64 %rd1, [twice_param_0];
//!   mov.u32 %r1, %tid.x;
//!   mul.wide.u32 %rd2, %r1, 4;
//!   add.s64 %rd3, %rd1, %rd2;
//!   ld.global.u32 %r2, [%rd3];
//!   add.s32 %r2, %r2, %r2;
//!   st.global.u32 [%rd3], %r2;
//!   ret;
//! }";
//! let module = Module::load(ptx)?;
//! let mut device = Device::new(GpuModel::a100_80gb());
//! let numbers = device.allocate("numbers", 128)?;
//! device.write(numbers, &[1; 128])?;
//! let config = LaunchConfig::new([1, 1, 1], 32);
//! let report = device.launch(&module.kernel("twice")?, &config, &numbers.to_le_bytes())?;
//! assert!(report.findings.is_empty());
//! let mut after = [0; 128];
//! device.read(numbers, &mut after)?;
//! assert_eq!(after, [2; 128]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! PTX text -> [`ptx`] (parsed) -> `program` (decoded, registers in rows) -> `exec` (32 lanes an instruction) over `memory`
//! (who wrote and read what).

#[cfg(not(target_endian = "little"))]
compile_error!("a GPU is little-endian, and registers are moved to memory as they are");

pub mod arith;
pub mod counters;
mod device;
mod exec;
mod finding;
mod memory;
mod model;
mod module;
mod program;
pub mod ptx;
mod report;
mod tensor_map;

pub use counters::Counters;
pub use device::{Device, DeviceError, LaunchConfig, LaunchError, LaunchReport};
pub use finding::{Finding, FindingKind, Party};
pub use memory::{MemoryKind, Touched};
pub use model::GpuModel;
pub use module::{Kernel, LoadError, Module};
pub use program::DecodeError;
pub use report::LineCounters;
pub use tensor_map::{Swizzle, TensorMap, TensorMapBuilder, TensorMapError};
