//! The model beside what was measured.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use super::counts::kernel_counts;
use super::measured;
use super::paper;
use super::step::{Method, Step, StepTime, sizes as step_sizes, step_time};
use super::{STATED_ERROR, gpu, kernel_time};
use crate::package::Package;

mod launches;

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

fn predicted(gpu_name: &str, spec: &str, step: &Step) -> StepTime {
    let package = package(spec);
    let gpu = gpu(gpu_name).unwrap();
    step_time(gpu, package.spec(), package.manifest(), step).unwrap()
}

/// A step in one graph, 60 % of its selection resident.
fn step(method: Method, context: u64, batch: u64) -> Step {
    Step {
        method,
        context,
        batch,
        hit_rate: 0.6,
        graphs: true,
        turns: Some(false),
    }
}

/// Whole steps on an H100 with made-up weights and 60 % hits.
#[test]
fn steps_measured_on_an_h100() {
    for own in &measured::STEPS {
        let model = predicted("h100", own.spec, &own.step());
        let error = model.tokens_per_second / own.tokens_per_second() - 1.0;
        assert!(error.abs() < 0.11, "{own:?}: {error:+.3}");
    }
}

/// Halves take turns where the decoder lets them, and the weights are then read twice.
#[test]
fn turns_as_the_decoder_takes_them() {
    let count = |time: &StepTime, name| {
        let share = time.breakdown.iter().find(|own| own.name == name);
        share.unwrap().count
    };
    for (batch, wanted, turns) in [
        (4, None, false),
        (24, None, true),
        (24, Some(false), false),
        (3, Some(true), true),
        (1, Some(true), false),
    ] {
        let auto = Step {
            turns: wanted,
            ..step(Method::ShadowKv, 124_928, batch)
        };
        let time = predicted("h100", "llama-3.1-8b", &auto);
        assert_eq!(time.turns, turns, "{auto:?}");
        let times = if turns { 2 } else { 1 };
        for name in ["qkv", "gate_up", "gather_values", "sparse_attention"] {
            assert_eq!(count(&time, name), 32 * times, "{auto:?}: {name}");
        }
        assert_eq!(count(&time, "logits"), 1);
    }
    let full = Step {
        turns: Some(true),
        ..step(Method::Full, 61_440, 8)
    };
    assert!(!predicted("h100", "llama-3.1-8b", &full).turns);
}

/// Kernels of a layer on an H100, microseconds: Llama-3.1-8B at 124928 tokens, 12 sequences, 60 % hits; full attention of 4.
#[test]
fn kernels_measured_on_an_h100() {
    let shadow = step(Method::ShadowKv, 124_928, 12);
    let shadow = predicted("h100", "llama-3.1-8b", &shadow);
    let full = predicted("h100", "llama-3.1-8b", &step(Method::Full, 124_928, 4));
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
        assert!(error.abs() < STATED_ERROR, "{name}: {own:.1} {error:+.2}");
    }
}

/// Single launches on an H200, with what the emulated GPU counts of them.
#[test]
fn launches_measured_on_an_h200() {
    let gpu = gpu("h200").unwrap();
    for (name, counts, microseconds) in launches::launches() {
        let own = kernel_time(gpu, &counts);
        let error = own.seconds * 1e6 / microseconds - 1.0;
        assert!(error.abs() < STATED_ERROR, "{name}: {error:+.2}");
    }
}

/// What is told of launches without running them, beside what the emulated GPU counts of them.
#[test]
fn counts_without_running() {
    let gpu = gpu("h200").unwrap();
    let launches = launches::launches();
    for kernel in ["landmark_score", "select_chunks", "reconstruct_keys"] {
        for (model, spec, batch) in [
            ("GLM-4", "glm4", 1),
            ("Llama-3.1-8B", "llama-3.1-8b", 1),
            ("Llama-3.1-8B x 8", "llama-3.1-8b", 8),
            ("Llama-3.1-8B x 24", "llama-3.1-8b", 24),
        ] {
            let name = format!("{kernel}, {model}");
            let (_, counted, _) = launches.iter().find(|own| own.0 == name).unwrap();
            let package = package(spec);
            let step = step(Method::ShadowKv, 122_880, batch);
            let sizes = step_sizes(package.spec(), &step);
            let told = kernel_counts(gpu, package.manifest(), kernel, &sizes);
            let told = told.unwrap().unwrap();
            assert_eq!(told.blocks, counted.blocks, "{name}");
            assert_eq!(told.blocks_per_sm, counted.blocks_per_sm, "{name}");
            for (told, counted) in [
                (told.l2_sectors, counted.l2_sectors),
                (told.warp_instructions, counted.warp_instructions),
                (told.shared_wavefronts, counted.shared_wavefronts),
            ] {
                let error = (told as f64 - counted as f64) / counted.max(1) as f64;
                assert!(error.abs() < 0.15, "{name}: {told} for {counted}");
            }
        }
    }
}
