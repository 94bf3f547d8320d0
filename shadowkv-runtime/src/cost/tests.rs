//! The model beside what was measured.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use super::paper;
use super::step::{Method, Step, StepTime, step_time};
use super::{STATED_ERROR, gpu, kernel_time};
use crate::package::Package;

mod measured;

fn package(name: &str) -> Package {
    let packages = concat!(env!("CARGO_MANIFEST_DIR"), "/kernels-generated");
    Package::open(std::path::Path::new(packages).join(name)).unwrap()
}

#[test]
fn the_papers_throughput() {
    let gpu = gpu("a100-80").unwrap();
    for row in &paper::ROWS {
        let own = [
            (row.full.1, paper::full(gpu, &paper::PARAMETERS, row)),
            (row.shadow.1, paper::shadow(gpu, &paper::PARAMETERS, row)),
        ];
        for (theirs, own) in own {
            let error = own.tokens_per_second / theirs - 1.0;
            let (name, context) = (row.shape.name, row.context);
            println!(
                "{name} {context}: {theirs} {:.2} {error:+.3}",
                own.tokens_per_second
            );
            assert!(error.abs() < 0.1, "{name} {context}: {error:+.3}");
        }
    }
}

#[test]
fn shapes_are_those_of_the_specs() {
    for row in &paper::ROWS {
        let package = package(row.shape.spec);
        let (attention, decoder) = (package.spec().attention, package.spec().decoder.clone());
        let decoder = decoder.unwrap();
        let text = format!("{:?}", row.shape);
        for part in [
            format!("layers: {}", decoder.layers),
            format!("hidden: {}", decoder.hidden),
            format!("ffn: {}", decoder.ffn),
            format!("vocab: {}", decoder.vocab),
            format!("kv_heads: {}", attention.kv_heads),
            format!("gqa_ratio: {}", attention.gqa_ratio),
        ] {
            assert!(text.contains(&part), "{text}: {part}");
        }
    }
}

fn predicted(gpu_name: &str, spec: &str, (method, context, batch): (Method, u64, u64)) -> StepTime {
    let package = package(spec);
    let step = Step {
        method,
        context,
        batch,
        hit_rate: 0.6,
    };
    let gpu = gpu(gpu_name).unwrap();
    step_time(gpu, package.spec(), package.manifest(), &step).unwrap()
}

/// Whole steps on an H100 with made-up weights and 60 % hits, tokens/s.
#[test]
fn steps_measured_on_an_h100() {
    use Method::{Full, ShadowKv};
    for (spec, method, context, batch, measured) in [
        ("llama-3.1-8b", Full, 61_440, 8, 284.0),
        ("llama-3.1-8b", ShadowKv, 61_440, 8, 398.0),
        ("llama-3.1-8b", ShadowKv, 61_440, 24, 529.0),
        ("llama-3.1-8b", Full, 124_928, 1, 82.0),
        ("llama-3.1-8b", Full, 124_928, 4, 142.0),
        ("llama-3.1-8b", ShadowKv, 124_928, 1, 107.0),
        ("llama-3.1-8b", ShadowKv, 124_928, 8, 371.0),
        ("llama-3.1-8b", ShadowKv, 124_928, 12, 413.0),
        ("glm4", Full, 124_928, 6, 206.0),
        ("glm4", ShadowKv, 124_928, 6, 365.0),
        ("glm4", ShadowKv, 124_928, 12, 517.0),
        ("glm4", ShadowKv, 124_928, 24, 646.0),
    ] {
        let own = predicted("h100", spec, (method, context, batch));
        let error = own.tokens_per_second / measured - 1.0;
        println!(
            "{spec} {method:?} {context} x {batch}: {measured} {:.1} {error:+.3}",
            own.tokens_per_second
        );
        assert!(
            error.abs() < 0.125,
            "{spec} {method:?} {context} x {batch}: {error:+.3}"
        );
    }
}

/// Kernels of a layer on an H100, microseconds: Llama-3.1-8B at 124928 tokens, 12 sequences, 60 % hits; full attention of 4.
#[test]
fn kernels_measured_on_an_h100() {
    let shadow = predicted("h100", "llama-3.1-8b", (Method::ShadowKv, 124_928, 12));
    let full = predicted("h100", "llama-3.1-8b", (Method::Full, 124_928, 4));
    for (step, name, measured) in [
        (&shadow, "gather_values", 430.0),
        (&shadow, "landmark_score", 140.0),
        (&shadow, "select_chunks", 28.0),
        (&shadow, "reconstruct_keys", 44.0),
        (&shadow, "sparse_attention", 49.0),
        (&full, "decode_attention", 679.0),
    ] {
        let share = step.breakdown.iter().find(|own| own.name == name).unwrap();
        let own = share.seconds / share.count as f64 * 1e6;
        let error = own / measured - 1.0;
        println!(
            "{name}: {measured} {own:.1} {error:+.2} {:?}",
            share.limiter
        );
        assert!(error.abs() < STATED_ERROR, "{name}: {own:.1} {error:+.2}");
    }
}

/// Single launches on an H200, with what the emulated GPU counts of them.
#[test]
fn launches_measured_on_an_h200() {
    let gpu = gpu("h200").unwrap();
    for (name, counts, microseconds) in measured::launches() {
        let own = kernel_time(gpu, &counts);
        let error = own.seconds * 1e6 / microseconds - 1.0;
        println!(
            "{name}: {microseconds} {:.1} {error:+.2} {:?}",
            own.seconds * 1e6,
            own.limiter
        );
        assert!(error.abs() < STATED_ERROR, "{name}: {error:+.2}");
    }
}
