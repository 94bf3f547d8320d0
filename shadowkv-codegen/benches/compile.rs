//! One compilation: `key_gram` of GLM-4 for `sm_80`.

#![allow(
    missing_docs,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a bench that cannot go on has failed"
)]

use std::path::Path;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use shadowkv_codegen::compile::compile_kernel;
use shadowkv_codegen::emit::emit;
use shadowkv_codegen::plan::Plan;
use shadowkv_codegen::spec::Spec;
use shadowkv_runtime::nvrtc::{Arch, Nvrtc, NvrtcOptions};

fn one_kernel(criterion: &mut Criterion) {
    let nvrtc = match Nvrtc::open(&NvrtcOptions::from_environment(), &|step| {
        eprintln!("{step}");
    }) {
        Ok(nvrtc) => nvrtc,
        Err(error) => {
            eprintln!("skipped, there is no NVRTC: {error}");
            return;
        }
    };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model-specs/glm4.yaml");
    let spec = Spec::load(path, &[]).unwrap_or_else(|error| panic!("{}", error.render(false)));
    let package = emit(&Plan::heuristic(&spec).unwrap()).unwrap();
    let source = package
        .kernels
        .iter()
        .find(|source| source.name == "key_gram.cu")
        .unwrap();
    let compile = || {
        let compiled = compile_kernel(&package, source, Arch::Sm80, &nvrtc, false);
        compiled.unwrap_or_else(|failure| panic!("{failure}"))
    };
    let compiled = compile();
    assert!(compiled.cubin.starts_with(b"\x7fELF"));
    assert_eq!(
        (
            compiled.resources.spill_store_bytes,
            compiled.resources.spill_load_bytes
        ),
        (0, 0)
    );

    let mut group = criterion.benchmark_group("compile");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(15));
    group.bench_function("key_gram sm_80", |bencher| bencher.iter(compile));
    group.finish();
}

criterion_group!(benches, one_kernel);
criterion_main!(benches);
