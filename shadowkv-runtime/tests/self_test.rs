//! The self-test of a GPU on the emulated one: what it asks for is what a correct GPU does, in whatever order work runs.

#![cfg(all(feature = "cli", unix))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use shadowkv_runtime::gpu::emulated::{EmulatedGpu, EmulatedOptions, Faults, GpuModel, Order};
use shadowkv_runtime::gpu::self_test::{Check, Outcome, self_test};
use shadowkv_runtime::nvrtc::Arch;
use shadowkv_runtime::package::{ImageRequest, Images, Package, Target};

fn package() -> Package {
    Package::shipped("smollm2-135m").unwrap()
}

fn images(gpu: &EmulatedGpu, package: &Package) -> Images {
    let target = Target::for_gpu(gpu).unwrap();
    assert_eq!(target.arch, Arch::Sm80);
    let request = ImageRequest {
        target,
        ..ImageRequest::from_environment(target.arch)
    };
    package.images(&request, &|_| {}).unwrap()
}

fn run(options: EmulatedOptions) -> (Vec<Check>, EmulatedGpu) {
    let gpu = EmulatedGpu::new(options);
    let package = package();
    let images = images(&gpu, &package);
    let checks = self_test(&gpu, &package, &images, false, &mut |check| {
        eprintln!("{check}");
    });
    (checks, gpu)
}

#[test]
fn the_emulated_gpu_passes_in_any_order() {
    for order in [Order::Eager, Order::Lazy, Order::Random(7)] {
        let (checks, gpu) = run(EmulatedOptions::new(GpuModel::a100_80gb()).with_order(order));
        for check in &checks {
            assert!(
                matches!(check.outcome, Outcome::Passed(_)),
                "{order:?}: {check}"
            );
        }
        let findings = gpu.finish();
        assert!(findings.is_empty(), "{order:?}: {findings:?}");
    }
}

#[test]
fn what_fails_is_told_and_the_rest_goes_on() {
    let faults = Faults {
        copy: Some(1),
        ..Faults::default()
    };
    let options = EmulatedOptions::new(GpuModel::a100_80gb()).with_faults(faults);
    let (checks, _) = run(options);
    assert!(checks[0].failed(), "{}", checks[0]);
    assert!(checks[1..].iter().all(|check| !check.failed()));
}
