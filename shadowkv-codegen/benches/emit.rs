//! From the text of a spec to all sources of its package.

#![allow(
    missing_docs,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a bench that cannot go on has failed"
)]

use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use shadowkv_codegen::emit::{Package, emit};
use shadowkv_codegen::plan::Plan;
use shadowkv_codegen::spec::Spec;

/// Name and text of every shipped spec, by name.
fn specs() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model-specs");
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut specs: Vec<_> = entries
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .map(|path| {
            (
                path.file_stem().unwrap().to_string_lossy().into_owned(),
                std::fs::read_to_string(path).unwrap(),
            )
        })
        .collect();
    specs.sort();
    specs
}

fn sources((name, text): &(String, String)) -> Package {
    let spec =
        Spec::parse(name, text, &[]).unwrap_or_else(|error| panic!("{}", error.render(false)));
    let plan = Plan::heuristic(&spec).unwrap_or_else(|error| panic!("{name}: {error}"));
    emit(&plan).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Bytes of a package; checks that it is whole, and the same every time.
fn checked(spec: &(String, String)) -> u64 {
    let package = sources(spec);
    assert_eq!(package.name, spec.0);
    assert_eq!((package.kernels.len(), package.headers.len()), (7, 3));
    assert!(package.files().all(|file| file.text.ends_with('\n')));
    assert_eq!(package, sources(spec), "the same spec gives the same bytes");
    package.files().map(|file| file.text.len() as u64).sum()
}

fn spec_to_sources(criterion: &mut Criterion) {
    let specs = specs();
    let glm4 = specs.iter().find(|(name, _)| name == "glm4").unwrap();
    let mut group = criterion.benchmark_group("spec_to_sources");
    group.throughput(Throughput::Bytes(checked(glm4)));
    group.bench_function("glm4", |bencher| bencher.iter(|| sources(black_box(glm4))));
    assert_eq!(specs.len(), 7);
    group.throughput(Throughput::Bytes(specs.iter().map(checked).sum()));
    group.bench_function("all seven specs", |bencher| {
        bencher.iter(|| {
            specs
                .iter()
                .map(|spec| sources(black_box(spec)))
                .collect::<Vec<_>>()
        });
    });
    group.finish();
}

criterion_group!(benches, spec_to_sources);
criterion_main!(benches);
