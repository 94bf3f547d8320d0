//! Every kernel of every spec, shipped and odd, does on an emulated GPU what its oracle says, and nothing else.
//!
//! A failure names spec, kernel and case; `shadowkv-codegen verify SPEC --kernel K --case CASE` runs it alone.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed, and the figures are for whoever looks"
)]

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use shadowkv_codegen::compile::{CompileOptions, compile, kernel_name};
use shadowkv_codegen::plan::KERNELS;
use shadowkv_codegen::report::case_failure;
use shadowkv_codegen::spec::{RopeLayout, RopeScaling};
use shadowkv_codegen::verify::oracle::rope::Rotary;
use shadowkv_codegen::verify::{EmulatedGpu, VerifyOptions, verify};
use shadowkv_runtime::nvrtc::Arch;
use shadowkv_tests::{Case, nvrtc, specs};

/// Fewest cases of a kernel and spec that prove anything.
const FEWEST_CASES: usize = 2;

macro_rules! kernels {
    ($($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                conforms(stringify!($name));
            }
        )*

        #[test]
        fn every_kernel_has_its_test() {
            let planned: Vec<&str> = KERNELS.iter().map(|kernel| kernel.name).collect();
            assert_eq!(planned, [$(stringify!($name)),*]);
        }
    };
}

kernels![
    embed,
    rms_norm,
    rope_append,
    prefill_attention,
    silu_mul,
    key_gram,
    key_project,
    chunk_landmarks,
    select_outliers,
    store_exact,
    offload_values,
    decode_attention,
    landmark_score,
    select_chunks,
    gather_values,
    reconstruct_keys,
    sparse_attention,
    fold_chunk,
    sample,
];

/// Verifies one kernel of every spec.
fn conforms(kernel: &str) {
    // Each takes all processors, and gigabytes for the widest keys.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let started = Instant::now();
    let gpu = EmulatedGpu::for_arch(Arch::Sm80);
    let options = VerifyOptions {
        kernels: vec![kernel.to_owned()],
        ..VerifyOptions::default()
    };
    let (mut cases, mut instructions) = (0, 0);
    let mut offences = Vec::new();
    for (case, compiled) in compiled(kernel) {
        let plan = case.plan();
        if plan.kernel(kernel).is_none() {
            assert!(
                case.spec.decoder.is_none(),
                "{}: {kernel} is not planned",
                case.file
            );
            continue;
        }
        let verification = verify(&plan, &compiled, &gpu, &options, &|_| {}, &|_, _| {});
        let verification = verification.unwrap_or_else(|error| panic!("{}: {error}", case.file));
        for verified in &verification.kernels {
            if let Some(error) = &verified.error {
                offences.push(format!("{}: {error}", case.file));
                continue;
            }
            assert!(
                verified.cases.len() >= FEWEST_CASES,
                "{}: too few cases",
                case.file
            );
            cases += verified.cases.len();
            instructions += verified
                .counters()
                .map_or(0, |counters| counters.warp_instructions);
            for failed in verified.cases.iter().filter(|case| !case.passed()) {
                let again = format!(
                    "verify {} --kernel {kernel} --case '{}'",
                    case.file, failed.case
                );
                offences.push(format!(
                    "{}: {}",
                    case.file,
                    case_failure(kernel, failed, &again)
                ));
            }
        }
    }
    println!(
        "{kernel}: {cases} cases, {instructions} warp instructions in {:.0} s, {} offences",
        started.elapsed().as_secs_f64(),
        offences.len()
    );
    assert!(
        offences.is_empty(),
        "{} offences:\n{}",
        offences.len(),
        offences.join("\n")
    );
}

/// The kernel of every spec, compiled with what findings need to name source lines.
fn compiled(
    kernel: &str,
) -> Vec<(
    &'static Case,
    Vec<shadowkv_codegen::compile::CompiledKernel>,
)> {
    let cases: Vec<&Case> = specs().collect();
    let packages: Vec<_> = cases
        .iter()
        .map(|case| {
            let mut package = case.package();
            package
                .kernels
                .retain(|source| kernel_name(source) == kernel);
            package
        })
        .collect();
    let references: Vec<_> = packages.iter().collect();
    let options = CompileOptions {
        line_info: true,
        ..CompileOptions::new(&[Arch::Sm80])
    };
    let compilations = compile(&references, nvrtc(), &options, &|_, _| {}).unwrap();
    for compilation in &compilations {
        assert!(
            compilation.failures.is_empty(),
            "{:?}",
            compilation.failures
        );
    }
    let kernels = compilations
        .into_iter()
        .map(|compilation| compilation.kernels);
    cases.into_iter().zip(kernels).collect()
}

/// The oracle computes the frequencies of `RoPE` by itself; a difference in the last bit would turn late positions.
#[test]
fn the_rope_tables_are_the_oracle_s_bit_for_bit() {
    for case in specs() {
        let emitted = case.spec.rope.tables();
        let rotary = Rotary::new(&case.spec.rope);
        let bits = |tables: &[Vec<f32>]| -> Vec<Vec<u32>> {
            let table = |table: &Vec<f32>| table.iter().map(|value| value.to_bits()).collect();
            tables.iter().map(table).collect()
        };
        assert_eq!(
            bits(&emitted.inverse_frequencies),
            bits(&rotary.frequencies),
            "{}",
            case.file
        );
        let factor = rotary.factor as f32;
        assert_eq!(
            emitted.attention_factor.to_bits(),
            factor.to_bits(),
            "{}",
            case.file
        );
    }
}

/// What the specs must have among them, for the cases to prove what they are said to.
#[test]
fn the_specs_cover_the_method() {
    let mut seen = BTreeSet::new();
    for Case { spec, .. } in specs() {
        seen.insert(match spec.rope.scaling {
            RopeScaling::None => "no scaling",
            RopeScaling::Llama3 { .. } => "llama3",
            RopeScaling::Yarn { .. } => "yarn",
            RopeScaling::LongRope { .. } => "longrope",
        });
        seen.insert(match spec.rope.layout {
            RopeLayout::HalfSplit => "half-split",
            RopeLayout::Interleaved => "interleaved",
        });
        seen.insert(match spec.shadowkv.chunk_size {
            4 => "chunk 4",
            8 => "chunk 8",
            16 => "chunk 16",
            _ => "chunk 32",
        });
        let (attention, shadowkv) = (&spec.attention, &spec.shadowkv);
        for (what, is) in [
            ("partial rotary", spec.rope.rotary_dim < attention.head_dim),
            ("a million positions", spec.rope.max_position >= 1 << 20),
            ("one KV head", attention.kv_heads == 1),
            ("one query head a KV head", attention.gqa_ratio == 1),
            ("16 query heads a KV head", attention.gqa_ratio == 16),
            ("full rank", shadowkv.rank == attention.key_width()),
            ("no outliers", shadowkv.outlier_chunks == 0),
            ("no decoder", spec.decoder.is_none()),
            ("decoder", spec.decoder.is_some()),
        ] {
            if is {
                seen.insert(what);
            }
        }
    }
    assert_eq!(seen.len(), 19, "{seen:?}");
}
