//! One decode step by hand: score the landmarks, select chunks, attend to them. The kernels come with the program.

use std::error::Error;
use std::process::ExitCode;

use shadowkv_runtime::gpu::Gpu;
use shadowkv_runtime::gpu::emulated::{EmulatedGpu, EmulatedOptions, GpuModel};
use shadowkv_runtime::package::{ImageRequest, ImageSource, Images, Package};

mod reference;
mod step;

/// With binaries: such a program needs no compiler.
mod small_model {
    shadowkv_runtime::include_package!("small-model");
}

/// Sources alone: compiled where the program runs, into the cache.
mod sources {
    shadowkv_runtime::include_package!("small-model-sources");
}

fn main() -> ExitCode {
    match mode() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn mode() -> Result<(), Box<dyn Error>> {
    match std::env::args().nth(1).as_deref() {
        None | Some("emulated") => {
            let gpu = EmulatedGpu::new(EmulatedOptions::new(GpuModel::a100_80gb()));
            run(&gpu, &small_model::package()?)?;
            findings(&gpu)
        }
        Some("sources") => {
            let gpu = EmulatedGpu::new(EmulatedOptions::new(GpuModel::a100_80gb()));
            run(&gpu, &sources::package()?)?;
            findings(&gpu)
        }
        #[cfg(feature = "cuda")]
        Some("cubin") => cubin(),
        Some(mode) => {
            Err(format!("no mode `{mode}`: there are `emulated`, `sources` and `cubin`").into())
        }
    }
}

/// One step on `gpu`, and how far it is from `f64`.
fn run<G: Gpu>(gpu: &G, package: &Package) -> Result<(), Box<dyn Error>> {
    let request = ImageRequest::for_gpu(gpu).ok_or("a GPU older than sm_80")?;
    let images = package.images(&request, &|step| println!("  {step}"))?;
    describe(package, &images);
    let inputs = reference::Inputs::new();
    let expected = reference::decode(&inputs);
    let found = step::decode(gpu, package, &images, &inputs)?;
    println!("on {}:", gpu.properties().name);
    println!("  selected {:?}", found.selected);
    if found.selected != expected.selected {
        return Err(format!("f64 selects {:?}", expected.selected).into());
    }
    let mut worst = 0.0_f64;
    for (found, expected) in found.output.iter().zip(&expected.output) {
        worst = worst.max((found - expected).abs());
    }
    println!(
        "  {} outputs, at most {worst:.1e} from f64",
        found.output.len()
    );
    // Outputs are below 1 and stored as bf16, whose last place is 2^-8 of that.
    if worst < 4e-3 {
        Ok(())
    } else {
        Err("the outputs are not those of attention".into())
    }
}

/// What the images are and where they come from.
fn describe(package: &Package, images: &Images) {
    println!("package {}, {}:", package.name(), package.origin());
    for image in &images.images {
        let source = match image.source {
            ImageSource::Package => "embedded",
            other => other.name(),
        };
        let cubin = image.cubin.as_ref().map_or(0, Vec::len);
        println!(
            "  {} for {}, {source}: machine code of {cubin} bytes, PTX of {}",
            image.kernel,
            image.arch,
            image.ptx.as_ref().map_or(0, String::len)
        );
    }
}

/// What the emulated GPU objects to.
fn findings(gpu: &EmulatedGpu) -> Result<(), Box<dyn Error>> {
    let findings = gpu.finish();
    for finding in &findings {
        println!("  {finding}");
    }
    if findings.is_empty() {
        Ok(())
    } else {
        Err("the emulated GPU objects".into())
    }
}

/// The same on the first NVIDIA GPU, from machine code alone.
#[cfg(feature = "cuda")]
fn cubin() -> Result<(), Box<dyn Error>> {
    use shadowkv_runtime::gpu::cuda::CudaGpu;
    use shadowkv_runtime::nvrtc::Arch;

    let package = small_model::package()?;
    // Without a GPU this is as far as it goes: the images of each architecture are here, and nothing was compiled.
    for arch in [Arch::Sm80, Arch::Sm90] {
        let images = package.images(&ImageRequest::from_environment(arch), &|_| {})?;
        describe(&package, &images);
    }
    match CudaGpu::open(0) {
        Ok(gpu) => run(&gpu, &package),
        Err(error) => {
            println!("no NVIDIA GPU to launch them on: {error}");
            Ok(())
        }
    }
}
