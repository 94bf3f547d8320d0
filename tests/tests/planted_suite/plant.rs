//! Planting bugs, and what must come of it.
//!
//! The kernel as emitted must pass the very cases that catch a bug in it; a bug must show in all the ways it is said
//! to.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use shadowkv_codegen::compile::{CompiledKernel, compile_kernel, kernel_name};
use shadowkv_codegen::emit::Package;
use shadowkv_codegen::plan::Plan;
use shadowkv_codegen::verify::{CaseReport, EmulatedGpu, VerifyOptions, verify};
use shadowkv_runtime::nvrtc::Arch;
use shadowkv_tests::{Case, nvrtc, specs};

use crate::bug::{Bug, Change, Edit, Sign};
use crate::judge::{judge, prices, seen};

/// Findings of one kind and case that a failure shows in full.
const MOST_SHOWN: usize = 3;

/// Fails unless every one of `bugs` in `kernel` is caught by what it is said to be caught by, and the kernel without
/// them passes.
pub(crate) fn all_caught(kernel: &'static str, bugs: &[Bug]) {
    let mut offences = Vec::new();
    let mut clean: BTreeMap<(&str, &str), Vec<CaseReport>> = BTreeMap::new();
    let mut controls: BTreeMap<&str, CompiledKernel> = BTreeMap::new();
    for bug in bugs {
        let case = spec(bug.spec);
        let plan = case.plan();
        let control = controls
            .entry(bug.spec)
            .or_insert_with(|| compiled(&case.package(), kernel, "the kernel as emitted"));
        for name in &bug.cases {
            clean.entry((bug.spec, name)).or_insert_with(|| {
                let reports = run(&plan, control, name);
                for report in reports.iter().filter(|report| !report.passed()) {
                    let at = format!("{kernel} of {}, `{}`", bug.spec, report.case);
                    offences.push(format!("{at} without a bug:\n{}", shown(report)));
                }
                reports
            });
        }
        offences.extend(offence(kernel, bug, &plan, &case.package(), &clean));
    }
    assert!(
        offences.is_empty(),
        "{} offences:\n\n{}",
        offences.len(),
        offences.join("\n\n")
    );
}

/// What is wrong with how `bug` shows, if anything.
fn offence(
    kernel: &'static str,
    bug: &Bug,
    plan: &Plan,
    package: &Package,
    clean: &BTreeMap<(&str, &str), Vec<CaseReport>>,
) -> Option<String> {
    let (mut plan, mut package) = (plan.clone(), package.clone());
    for change in &bug.changes {
        let at = format!("{kernel} of {}, `{}`", bug.spec, bug.name);
        match change {
            Change::Kernel(edit) => {
                let mut sources = package.kernels.iter_mut();
                let source = sources.find(|source| kernel_name(source) == kernel);
                apply(&mut source.unwrap().text, edit, &at);
            }
            Change::Header(file, edit) => {
                let mut headers = package.headers.iter_mut();
                let header = headers.find(|header| header.name == *file);
                apply(&mut header.unwrap().text, edit, &at);
            }
            Change::SharedBytes(bytes) => {
                let mut kernels = plan.kernels.iter_mut();
                let planned = kernels.find(|planned| planned.name == kernel).unwrap();
                planned.geometry.shared_bytes = *bytes;
            }
        }
    }
    let compiled = compiled(&package, kernel, bug.name);
    let mut reports = Vec::new();
    let mut controls = Vec::new();
    for name in &bug.cases {
        reports.extend(run(&plan, &compiled, name));
        controls.extend(&clean[&(bug.spec, *name)]);
    }
    let missed = judge(&bug.signs, &reports, &controls);
    let mut showed = seen(&reports);
    for sign in &bug.signs {
        if let Sign::Cost(price, _) = sign {
            let (planted, clean) = prices(*price, &reports, &controls);
            showed.push(format!("{price:?} {planted:.2} from {clean:.2}"));
        }
    }
    let seconds: f64 = reports.iter().map(|report| report.seconds).sum();
    println!(
        "{kernel}: {}: {} ({seconds:.2} s)",
        bug.name,
        showed.join(", ")
    );
    if missed.is_empty() {
        return None;
    }
    let found: Vec<String> = reports.iter().map(shown).collect();
    Some(format!(
        "{kernel} of {}, `{}` is not caught as it must be; missing: {}\nfound:\n{}",
        bug.spec,
        bug.name,
        missed.join("; "),
        found.join("\n")
    ))
}

/// The spec called `name`.
fn spec(name: &str) -> &'static Case {
    let found = specs().find(|case| case.name() == name);
    found.unwrap_or_else(|| panic!("there is no spec `{name}`"))
}

/// Makes `edit` in `text`, which must be there as often as it says: another text would be another bug, or none.
fn apply(text: &mut String, edit: &Edit, at: &str) {
    let Edit { from, to, times } = edit;
    let there = text.matches(from.as_str()).count();
    assert_eq!(
        there, *times,
        "{at}: the text to replace must be there {times} times and is {there} times; the source has \
         changed, and the bug must be planted anew:\n{from}"
    );
    *text = text.replace(from.as_str(), to);
}

fn compiled(package: &Package, kernel: &str, what: &str) -> CompiledKernel {
    let mut sources = package.kernels.iter();
    let source = sources.find(|source| kernel_name(source) == kernel);
    // With line information, findings name lines of the source.
    compile_kernel(package, source.unwrap(), Arch::Sm80, nvrtc(), true)
        .unwrap_or_else(|failure| panic!("{kernel}, {what} does not compile:\n{}", failure.log))
}

/// The reports of the cases whose names contain `name`.
fn run(plan: &Plan, compiled: &CompiledKernel, name: &str) -> Vec<CaseReport> {
    let gpu = EmulatedGpu::for_arch(Arch::Sm80);
    let options = VerifyOptions {
        kernels: vec![compiled.kernel.clone()],
        case: Some(name.to_owned()),
        // The kernels' tests run side by side already.
        jobs: NonZeroUsize::new(1),
        ..VerifyOptions::default()
    };
    let compiled = std::slice::from_ref(compiled);
    let verification = verify(plan, compiled, &gpu, &options, &|_| {}, &|_, _| {}).unwrap();
    let mut kernels = verification.kernels.into_iter();
    let verified = kernels.next().unwrap();
    if let Some(error) = verified.error {
        panic!("{}: {error}", verified.kernel);
    }
    verified.cases
}

/// Everything that was seen in a case.
fn shown(report: &CaseReport) -> String {
    let mut lines = vec![format!("  case `{}`:", report.case)];
    lines.extend(report.error.iter().map(|error| format!("  - {error}")));
    let mismatches = report.mismatches.iter();
    lines.extend(mismatches.map(|mismatch| format!("  - {mismatch}")));
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for finding in &report.findings {
        let same = kinds.entry(&finding.kind).or_default();
        *same += 1;
        if *same <= MOST_SHOWN {
            lines.push(format!("  - {}", finding.text.replace('\n', "\n  ")));
        }
    }
    let left_out = kinds.iter().filter(|(_, count)| **count > MOST_SHOWN);
    lines.extend(left_out.map(|(kind, count)| format!("  - {kind}: {count} in all")));
    if report.passed() {
        lines.push("  - nothing".to_owned());
    }
    lines.extend(
        report
            .counters
            .iter()
            .map(|counters| format!("  {counters:?}")),
    );
    lines.join("\n")
}
