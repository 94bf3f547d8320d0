//! Launchers and packages that do not belong together.

use shadowkv_codegen::Builder;
use shadowkv_runtime::gpu::emulated::{EmulatedGpu, EmulatedOptions, GpuModel};
use shadowkv_runtime::gpu::{Gpu as _, Kernels, LaunchError, Priority};
use shadowkv_runtime::launch::{KernelArguments, Launch as _};
use shadowkv_runtime::manifest::Sizes;
use shadowkv_runtime::package::{ImageRequest, Package};
use tempfile::TempDir;

const SPEC: &str = include_str!("../../embedding/small-model.yaml");

/// Arguments of a kernel, of a size.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Embed([u64; 3]);
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Short([u64; 8]);
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Right([u64; 9]);

// SAFETY: plain data.
unsafe impl KernelArguments for Embed {
    const KERNEL: &'static str = "embed";
}
// SAFETY: plain data; that it is too short is what is tested, and nothing is launched with it.
unsafe impl KernelArguments for Short {
    const KERNEL: &'static str = "landmark_score";
}
// SAFETY: plain data.
unsafe impl KernelArguments for Right {
    const KERNEL: &'static str = "landmark_score";
}

#[test]
fn nothing_is_launched_that_does_not_fit() {
    let folder = TempDir::new().unwrap();
    let generated = Builder::new()
        .spec_text(SPEC)
        .kernels(["landmark_score"])
        .arch("sm_80")
        .emit_ptx(true)
        .out_dir(folder.path())
        .cargo_directives(false)
        .generate()
        .unwrap();
    let package = Package::open(&generated[0].folder).unwrap();
    let gpu = EmulatedGpu::new(EmulatedOptions::new(GpuModel::a100_80gb()));
    let request = ImageRequest::for_gpu(&gpu).unwrap();
    let mut images = package.images(&request, &|_| {}).unwrap();
    let kernels = Kernels::load(&gpu, &package, &images).unwrap();
    let stream = gpu.stream("main", Priority::Normal).unwrap();
    let mut launcher = kernels.on(&gpu, &stream);
    let sizes = |batch| Sizes::new().with("batch", batch).with("max_chunks", 8);
    // SAFETY: none of these is launched, since the launcher refuses it or there is nothing to do.
    let (unknown, short, unnamed, empty) = unsafe {
        (
            launcher.launch(&sizes(1), &Embed([0; 3])),
            launcher.launch(&sizes(1), &Short([0; 8])),
            launcher.launch(&Sizes::new(), &Right([0; 9])),
            launcher.launch(&sizes(0), &Right([0; 9])),
        )
    };
    assert_eq!(
        unknown.unwrap_err().to_string(),
        "package `small-model` has no kernel `embed`; it has: landmark_score"
    );
    assert_eq!(
        short.unwrap_err().to_string(),
        "`landmark_score` of package `small-model` takes 72 bytes of arguments, and its launcher gives 64: use the launchers that came with the package"
    );
    let unnamed = unnamed.unwrap_err();
    assert!(
        matches!(
            &unnamed,
            LaunchError::Geometry {
                kernel: "landmark_score",
                ..
            }
        ),
        "{unnamed}"
    );
    empty.unwrap();
    assert!(gpu.finish().is_empty());

    images.images[0].ptx = None;
    let error = Kernels::load(&gpu, &package, &images).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("no image of `landmark_score` that emulated A100-80 loads"),
        "{error}"
    );
}
