//! A GPU of the runtime behind the verifier and the measured judge: the emulated one, whose face is that of a real one.

#![cfg(all(feature = "cli", feature = "cuda"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use shadowkv_codegen::compile::{CompileOptions, CompiledKernel, compile};
use shadowkv_codegen::emit::emit;
use shadowkv_codegen::plan::{Limits, Plan, Tiles};
use shadowkv_codegen::spec::Spec;
use shadowkv_codegen::tune::judge::Compiled;
use shadowkv_codegen::tune::{Judge as _, JudgeKind, Measured};
use shadowkv_codegen::verify::kernels::Layer;
use shadowkv_codegen::verify::{Hardware, VerifyOptions, verify};
use shadowkv_runtime::gpu::emulated::{EmulatedGpu, EmulatedOptions, GpuModel};
use shadowkv_runtime::nvrtc::{Arch, Nvrtc, NvrtcOptions};

const SPEC: &str = "\
name: small
attention: { head_dim: 64, kv_heads: 2, gqa_ratio: 4 }
rope: { base: 10000 }
shadowkv: { rank: 32, chunk_size: 8, sparse_budget: 256 }
";

fn landmark_score() -> (Plan, Vec<CompiledKernel>) {
    let spec = Spec::parse("small.yaml", SPEC, &[]).unwrap();
    let limits = Limits::portable();
    let tiles = Tiles::heuristic(&spec, &limits);
    let plan = Plan::of_kernel(&spec, &tiles, &limits, "landmark_score").unwrap();
    let nvrtc = Nvrtc::open(&NvrtcOptions::from_environment(), &|step| {
        eprintln!("{step}");
    });
    let options = CompileOptions::new(&[Arch::Sm80]);
    let package = emit(&plan).unwrap();
    let compiled = compile(&[&package], &nvrtc.unwrap(), &options, &|_, _| {});
    let compiled = compiled.unwrap().remove(0);
    assert!(compiled.failures.is_empty());
    (plan, compiled.kernels)
}

fn hardware() -> Hardware<EmulatedGpu> {
    let model = GpuModel::for_target("sm_80");
    Hardware::new(EmulatedGpu::new(EmulatedOptions::new(model)), 1 << 20)
}

#[test]
fn a_kernel_is_verified_on_a_gpu_of_the_runtime() {
    let (plan, compiled) = landmark_score();
    let options = VerifyOptions::default();
    let verified = verify(&plan, &compiled, &hardware(), &options, &|_| {}, &|_, _| {}).unwrap();
    assert!(
        verified.device.starts_with("emulated A100"),
        "{}",
        verified.device
    );
    let kernel = &verified.kernels[0];
    assert!(kernel.passed(), "{kernel:?}");
    assert!(kernel.cases.len() > 5);
}

#[test]
fn a_wrong_kernel_is_objected_to_and_a_right_one_timed() {
    let (plan, compiled) = landmark_score();
    let judge = Measured::new(hardware());
    assert_eq!(judge.kind(), JudgeKind::Measured);
    let right = Compiled {
        plan: &plan,
        kernel: &plan.kernels[0],
        binary: &compiled[0],
    };
    assert_eq!(judge.objection(&right), None);
    let layer = |context| Layer {
        batch: 1,
        context,
        misses: 40,
    };
    let seconds = |context| judge.judge(&right, &layer(context)).unwrap().seconds;
    // So many that reading them takes longer than a launch.
    let (few, many) = (seconds(4096), seconds(524_288));
    assert!(few > 0.0 && many > few, "{few} {many}");

    // Half of the blocks that it needs.
    let mut halved = plan.clone();
    let geometry = &mut halved.kernels[0].geometry;
    geometry.threads /= 2;
    let wrong = Compiled {
        plan: &halved,
        kernel: &halved.kernels[0],
        binary: &compiled[0],
    };
    let objection = judge.objection(&wrong);
    assert!(objection.is_some_and(|objection| objection.contains("case")));
}
