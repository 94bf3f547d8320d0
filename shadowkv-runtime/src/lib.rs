//! Runtime of `ShadowKV`: kernel packages, NVRTC, devices and a minimal long-context decoder.
//!
//! The runtime never depends on the code generator; it reads what the generator wrote.
//!
//! | notion | here | feature |
//! | --- | --- | --- |
//! | what a model is: heads, `RoPE`, the method's parameters | [`spec::Spec`] | |
//! | kernels of a model, in a folder or in the program | [`package::Package`], [`include_package!`] | |
//! | what a launch takes: arguments, sizes, geometry | [`manifest::Manifest`], [`launch`] | |
//! | the compiler, found or fetched | [`nvrtc::Nvrtc`] | |
//! | memory, streams, events, launches | `gpu::Gpu`, `gpu::Kernels` | `gpu` |
//! | an NVIDIA GPU | `gpu::cuda::CudaGpu` | `cuda` |
//! | a GPU on the CPU that checks what kernels do | `gpu::emulated::EmulatedGpu` | `emulator` |
//! | the operations of a layer, on a GPU by kernels or on a CPU | `device::Device`, `device::sparse::SparseDevice` | `gpu`; `cpu` |
//! | where past keys and values are, and attention over them | `kv::KvStore` | `gpu` |
//! | that attention for other models, on their own tensors | `attention::ShadowKvAttention` | `gpu` |
//! | weights, tokenizers, whole models, text | `model`, `decoder`, `generate` | `decoder` |
//!
//! A package is generated from a spec by `shadowkv-codegen`, as a program or in a build script; its manifest says how each
//! kernel is launched. Nothing of that needs a GPU:
//!
//! ```
//! use shadowkv_runtime::manifest::{Expr, Sizes};
//! use shadowkv_runtime::spec::Spec;
//!
//! let yaml = "
//! name: my-model
//! attention: { head_dim: 128, kv_heads: 8, gqa_ratio: 4 }
//! rope: { base: 500000.0 }
//! shadowkv: { rank: 160, chunk_size: 8, sparse_budget: 2048 }
//! ";
//! let spec = Spec::parse("my-model.yaml", yaml, &[])?;
//! assert_eq!(spec.shadowkv.selected_chunks(), 256);
//!
//! // Geometry in a manifest is text with one meaning.
//! let blocks: Expr = "ceil_div(max_chunks, 64) * batch".parse()?;
//! let sizes = Sizes::new().with("max_chunks", 15_250).with("batch", 4);
//! assert_eq!(blocks.eval(&sizes)?, 956);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A program that embeds kernels opens a GPU, takes an image of every kernel, and launches:
//!
#![cfg_attr(feature = "emulator", doc = "```no_run")]
#![cfg_attr(not(feature = "emulator"), doc = "```ignore")]
//! use shadowkv_runtime::gpu::emulated::{EmulatedGpu, EmulatedOptions, GpuModel};
//! use shadowkv_runtime::gpu::{Gpu, Kernels, Priority};
//! use shadowkv_runtime::package::{ImageRequest, Package};
//!
//! let gpu = EmulatedGpu::new(EmulatedOptions::new(GpuModel::a100_80gb()));
//! // Or that of a build script: `my_model::package()`.
//! let package = Package::open("kernels-generated/glm4")?;
//! let request = ImageRequest::for_gpu(&gpu).ok_or("a GPU older than sm_80")?;
//! let images = package.images(&request, &|step| eprintln!("{step}"))?;
//! let kernels = Kernels::load(&gpu, &package, &images)?;
//! let stream = gpu.stream("main", Priority::Normal)?;
//! let mut launcher = kernels.on(&gpu, &stream);
//! // unsafe { my_model::landmark_score(&mut launcher, sizes, &arguments) }?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Features
//!
//! `default = ["cli"]` is the program `shadowkv-runtime`. A library takes `default-features = false` and what it needs: the
//! table above, and besides `packages` (those of the shipped specs within the library), `gguf` (weights in blocks) and `hub`
//! (models of a hub). `decoder` is all of these but `cuda` and `emulator`.

#[cfg(feature = "gpu")]
pub mod attention;
pub mod cache;
pub(crate) mod command;
pub mod cost;
#[cfg(feature = "decoder")]
pub mod decoder;
#[cfg(feature = "gpu")]
pub mod device;
pub mod digest;
pub mod doctor;
pub mod env;
pub mod files;
#[cfg(feature = "decoder")]
pub mod generate;
#[cfg(feature = "gpu")]
pub mod gpu;
#[cfg(feature = "hub")]
pub mod hub;
mod include;
#[cfg(feature = "gpu")]
pub mod kv;
pub mod launch;
pub mod manifest;
#[cfg(feature = "decoder")]
pub mod model;
pub mod nvdisasm;
pub mod nvrtc;
pub mod package;
pub mod sampling;
pub mod spec;
#[cfg(feature = "decoder")]
pub mod tokenizer;
#[cfg(feature = "gpu")]
pub mod weights;
pub mod wheel;
