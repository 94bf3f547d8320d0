//! A few specs that nobody chose compile as well as those that somebody did.

use shadowkv_codegen::compile::{CompileOptions, compile};
use shadowkv_codegen::emit::{Package, emit};
use shadowkv_codegen::plan::Plan;
use shadowkv_runtime::nvrtc::Arch;
use shadowkv_tests::{nvrtc, random};

use crate::resources::offences;

/// How many; a test takes a second or two for each.
const SPECS: usize = 6;

#[test]
fn specs_at_random_do_not_spill() {
    let specs = random::fixed(SPECS);
    let plans: Vec<Plan> = specs
        .iter()
        .map(|random| Plan::heuristic(&random.spec).unwrap())
        .collect();
    let packages: Vec<Package> = plans.iter().map(|plan| emit(plan).unwrap()).collect();
    let references: Vec<&Package> = packages.iter().collect();
    let compilations = compile(
        &references,
        nvrtc(),
        &CompileOptions::new(&[Arch::Sm80]),
        &|_, _| {},
    )
    .unwrap();
    let mut wrong = Vec::new();
    for ((random, plan), compilation) in specs.iter().zip(&plans).zip(&compilations) {
        assert_eq!(
            compilation.kernels.len() + compilation.failures.len(),
            plan.kernels.len()
        );
        let mut found: Vec<String> = compilation
            .failures
            .iter()
            .map(ToString::to_string)
            .collect();
        for compiled in &compilation.kernels {
            let offences = offences(plan.kernel(&compiled.kernel).unwrap(), compiled);
            found.extend(
                offences
                    .iter()
                    .map(|offence| format!("{} {}: {offence}", compiled.kernel, compiled.arch)),
            );
        }
        if !found.is_empty() {
            wrong.push(format!("{random:?}{}", found.join("\n")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
