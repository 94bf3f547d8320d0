//! What the machine code holds, for people.

use super::{grouped, table};
use crate::sass::{KernelSass, Widths};

/// One line per kernel.
pub fn sass_table(kernels: &[KernelSass]) -> String {
    let header = [
        "kernel",
        "instructions",
        "tensor",
        "loads 16 B",
        "narrower",
        "copies 16 B",
        "narrower",
        "stores 16 B",
        "narrower",
        "local",
        "matrix loads",
        "special functions",
        "barriers",
        "atomics",
    ];
    let row = |kernel: &KernelSass| {
        let facts = &kernel.facts;
        let widths = [facts.loads, facts.copies, facts.stores];
        let widths = widths.map(|Widths { wide, narrow }| [wide, narrow]);
        let numbers = [facts.instructions, facts.tensor]
            .into_iter()
            .chain(widths.into_iter().flatten())
            .chain([
                facts.local,
                facts.matrix_loads,
                facts.special_functions,
                facts.barriers,
                facts.atomics,
            ]);
        let numbers = numbers.map(|number| grouped(number.into()));
        std::iter::once(kernel.kernel.clone())
            .chain(numbers)
            .collect::<Vec<_>>()
    };
    table(&[0], &header, kernels.iter().map(row))
}
