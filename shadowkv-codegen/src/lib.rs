//! Ahead-of-time generator of `ShadowKV` CUDA kernels and Rust launchers from a YAML model spec.
//!
//! Data flows one way: [`spec`] -> [`plan`] -> [`emit`] -> [`compile`], and [`output`] puts the results on disk.
//!
//! | notion | here |
//! | --- | --- |
//! | what a model is: heads, `RoPE`, the method's parameters | [`spec::Spec`] |
//! | every decision: tiles, geometry, arguments, least bytes | [`plan::Plan`] |
//! | a package: CUDA sources, launchers, `manifest.json` | [`emit::Package`] |
//! | PTX and machine code, with what they take | [`compile::compile`] |
//! | the whole of it in a build script | [`Builder`] |
//! | what a kernel's machine code holds | [`sass`] |
//! | better tiles than the default ones | `tune` |
//! | proof on an emulated GPU, and counts | `verify`, `profile` (feature `verify`) |
//! | what people and programs are told | `report` (feature `cli`) |
//!
//! To put kernels into a program of yours, use a [`Builder`] in its build script. To see what comes out, from a spec to a kernel:
//!
//! ```
//! use shadowkv_codegen::emit::emit;
//! use shadowkv_codegen::plan::Plan;
//! use shadowkv_codegen::spec::Spec;
//!
//! let yaml = "
//! name: my-model
//! attention: { head_dim: 128, kv_heads: 8, gqa_ratio: 4 }
//! rope: { base: 500000.0 }
//! shadowkv: { rank: 160, chunk_size: 8 }
//! ";
//! let spec = Spec::parse("my-model.yaml", yaml, &[])?;
//! let plan = Plan::heuristic(&spec)?;
//! let score = plan.kernel("landmark_score").ok_or("no such kernel")?;
//! println!("{}: {} threads", score.summary, score.geometry.threads);
//!
//! let package = emit(&plan)?;
//! let source = package.kernels.iter().find(|file| file.name == "landmark_score.cu");
//! assert!(source.is_some_and(|file| file.text.contains(&score.entry)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Features
//!
//! `default = ["cli"]` is the program `shadowkv-codegen`; a build script says `default-features = false`.
//!
//! | feature | adds |
//! | --- | --- |
//! | `verify` | `verify` and `profile`, and with them the emulator |
//! | `cli` | the program, `report`, `tune`, and `verify` |

pub use builder::{BuildError, Builder, Generated};
pub use shadowkv_runtime::spec;

mod builder;
pub mod compile;
pub mod emit;
pub mod output;
pub mod plan;
#[cfg(feature = "verify")]
pub mod profile;
#[cfg(feature = "cli")]
pub mod report;
pub mod sass;
#[cfg(feature = "cli")]
pub mod tune;
#[cfg(feature = "verify")]
pub mod verify;
