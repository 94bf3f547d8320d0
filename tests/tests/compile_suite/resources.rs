//! Every kernel of every spec compiles, without a word from the compiler, and keeps to what a block may have.

use std::time::Instant;

use shadowkv_codegen::compile::{Compilation, CompileOptions, CompiledKernel, compile};
use shadowkv_codegen::emit::Package;
use shadowkv_codegen::plan::{KERNELS, KernelPlan, Plan};
use shadowkv_runtime::nvrtc::Arch;
use shadowkv_tests::{Case, nvrtc, odd, shipped};

use crate::machine_code;

/// What the odd specs are compiled for: the architectures of the data centre GPUs the kernels are tuned on.
const ARCHS_OF_ODD: [Arch; 2] = [Arch::Sm80, Arch::Sm90];

/// The kernels of the design; later ones come on top.
const FEWEST_KERNELS: usize = 19;

/// What all compilations came to.
#[derive(Default)]
struct Tally {
    compiled: usize,
    disassembled: usize,
    most_registers: u32,
    offences: Vec<String>,
}

#[test]
fn nothing_spills_and_everything_fits() {
    assert!(
        KERNELS.len() >= FEWEST_KERNELS,
        "only {} kernels are planned",
        KERNELS.len()
    );
    let started = Instant::now();
    let mut tally = Tally::default();
    let shipped_ones = look(shipped(), &Arch::ALL, &mut tally);
    look(odd(), &ARCHS_OF_ODD, &mut tally);
    for (case, compilation) in shipped().iter().zip(&shipped_ones) {
        let (offences, read) = machine_code::offences(case.name(), &compilation.kernels);
        tally.offences.extend(offences);
        tally.disassembled += read;
    }

    // Kernels of a decoder are left out where the spec has none.
    let planned = |cases: &[Case]| -> usize {
        let kernels = cases.iter().map(|case| case.plan().kernels.len());
        kernels.sum()
    };
    let expected = planned(shipped()) * Arch::ALL.len() + planned(odd()) * ARCHS_OF_ODD.len();
    assert_eq!(
        planned(shipped()),
        KERNELS.len() * shipped().len(),
        "every shipped spec has a decoder"
    );
    println!(
        "{} specs, {} compilations, {} disassembled, in {:.0} s: at most {} registers, {} offences",
        shipped().len() + odd().len(),
        tally.compiled,
        tally.disassembled,
        started.elapsed().as_secs_f64(),
        tally.most_registers,
        tally.offences.len()
    );
    assert!(
        tally.offences.is_empty(),
        "{} offences:\n{}",
        tally.offences.len(),
        tally.offences.join("\n")
    );
    assert_eq!(tally.compiled, expected, "some kernels were not looked at");
    let expected = KERNELS.len() * shipped().len() * machine_code::ARCHS.len();
    assert_eq!(tally.disassembled, expected, "some were not disassembled");
}

/// Compiles every kernel of the cases for every one of the architectures, and notes what is wrong with any.
fn look(cases: &[Case], archs: &[Arch], tally: &mut Tally) -> Vec<Compilation> {
    let plans: Vec<Plan> = cases.iter().map(Case::plan).collect();
    let packages: Vec<Package> = cases.iter().map(Case::package).collect();
    let references: Vec<&Package> = packages.iter().collect();
    let compilations = compile(
        &references,
        nvrtc(),
        &CompileOptions::new(archs),
        &|_, _| {},
    )
    .unwrap();
    assert_eq!(
        compilations.len(),
        cases.len(),
        "one compilation per package"
    );
    for (plan, compilation) in plans.iter().zip(&compilations) {
        tally
            .offences
            .extend(compilation.failures.iter().map(ToString::to_string));
        for compiled in &compilation.kernels {
            let kernel = plan
                .kernel(&compiled.kernel)
                .expect("every source has its plan");
            let name = format!("{} {} {}", plan.spec.name, compiled.kernel, compiled.arch);
            tally.offences.extend(
                offences(kernel, compiled)
                    .into_iter()
                    .map(|offence| format!("{name}: {offence}")),
            );
            tally.compiled += 1;
            tally.most_registers = tally.most_registers.max(compiled.resources.registers);
        }
    }
    compilations
}

/// What is wrong with one compiled kernel.
pub(crate) fn offences(kernel: &KernelPlan, compiled: &CompiledKernel) -> Vec<String> {
    let CompiledKernel {
        arch,
        resources,
        warnings,
        ..
    } = compiled;
    let limits = arch.limits();
    let threads = kernel.geometry.threads;
    let shared = resources.static_shared_bytes + kernel.geometry.shared_bytes;
    let registers = resources
        .registers
        .next_multiple_of(limits.register_unit / 32)
        * threads;
    let mut offences = Vec::new();
    let mut note = |wrong: bool, offence: String| {
        if wrong {
            offences.push(offence);
        }
    };
    note(
        resources.spill_store_bytes > 0 || resources.spill_load_bytes > 0,
        format!(
            "spills {} bytes of stores and {} bytes of loads at {} registers",
            resources.spill_store_bytes, resources.spill_load_bytes, resources.registers
        ),
    );
    note(
        resources.stack_bytes > 0,
        format!("{} bytes of stack", resources.stack_bytes),
    );
    note(
        shared > limits.shared_bytes_per_block,
        format!(
            "{} static and {} dynamic bytes of shared memory, {} are available",
            resources.static_shared_bytes,
            kernel.geometry.shared_bytes,
            limits.shared_bytes_per_block
        ),
    );
    note(
        resources.registers == 0 || registers > limits.registers_per_sm,
        format!(
            "{} registers for each of {threads} threads, {} are available",
            resources.registers, limits.registers_per_sm
        ),
    );
    note(
        arch.occupancy(resources.registers, threads, shared)
            .blocks_per_sm
            == 0,
        "no block fits a multiprocessor".to_owned(),
    );
    note(
        resources.entry != kernel.entry,
        format!(
            "the entry point is called `{}`, not `{}`",
            resources.entry, kernel.entry
        ),
    );
    let warnings: Vec<_> = warnings
        .iter()
        .map(|warning| warning.render(false))
        .collect();
    note(
        !warnings.is_empty(),
        format!("the compiler says\n{}", warnings.join("\n")),
    );
    note(
        compiled.log.to_lowercase().contains("warning"),
        format!("the compiler's log warns\n{}", compiled.log.trim()),
    );
    offences
}
