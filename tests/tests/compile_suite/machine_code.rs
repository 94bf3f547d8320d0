//! What ptxas made of the kernels, read by a disassembler.

use rayon::prelude::*;
use shadowkv_codegen::compile::CompiledKernel;
use shadowkv_codegen::sass::{KernelSass, disassembled};
use shadowkv_runtime::nvrtc::Arch;
use shadowkv_tests::nvdisasm;

/// Architectures whose machine code is read: the two that the kernels are tuned on.
pub(crate) const ARCHS: [Arch; 2] = [Arch::Sm80, Arch::Sm90];

/// Kernels that choose: they work on single words by their nature, keys of a sort and places in lists.
const OF_WORDS: [&str; 3] = ["select_chunks", "select_outliers", "sample"];

/// How many words a thread moves with one wide access.
const WIDE_WORDS: u32 = 4;

/// What is wrong with the machine code of `kernels`, those of [`ARCHS`] among them; and how many were read.
pub(crate) fn offences(package: &str, kernels: &[CompiledKernel]) -> (Vec<String>, usize) {
    let read: Vec<(&CompiledKernel, KernelSass)> = kernels
        .par_iter()
        .filter(|compiled| ARCHS.contains(&compiled.arch))
        .map(|compiled| {
            let sass = disassembled(nvdisasm(), compiled);
            (compiled, sass.unwrap_or_else(|error| panic!("{error}")))
        })
        .collect();
    let each = read.iter().flat_map(|(compiled, sass)| {
        let name = format!("{package} {} {}", compiled.kernel, compiled.arch);
        let own = of_kernel(compiled, sass).into_iter();
        own.map(move |offence| format!("{name}: {offence}"))
    });
    (each.collect(), read.len())
}

fn of_kernel(compiled: &CompiledKernel, sass: &KernelSass) -> Vec<String> {
    let facts = &sass.facts;
    let mut offences = Vec::new();
    let mut note = |wrong: bool, offence: String| {
        if wrong {
            offences.push(offence);
        }
    };
    note(facts.instructions == 0, "no machine code".to_owned());
    note(
        facts.local > 0,
        format!("{} instructions access local memory", facts.local),
    );
    // Loops of products are unrolled in the source as far as they are meant to be: ptxas neither copies nor drops any.
    let products = compiled.ptx.matches("mma.sync").count();
    note(
        facts.tensor as usize != products,
        format!(
            "{} tensor instructions of {products} in the PTX",
            facts.tensor
        ),
    );
    note(
        facts.copies.narrow > 0,
        format!(
            "{} asynchronous copies of less than 16 bytes",
            facts.copies.narrow
        ),
    );
    let widths = [facts.loads, facts.copies, facts.stores];
    let wide: u32 = widths.iter().map(|own| own.wide).sum();
    let narrow: u32 = widths.iter().map(|own| own.narrow).sum();
    note(
        !OF_WORDS.contains(&sass.kernel.as_str()) && wide * WIDE_WORDS < narrow,
        format!("{wide} accesses of 16 bytes beside {narrow} narrower ones"),
    );
    offences
}
