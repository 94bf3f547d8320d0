//! Whole kernels as NVRTC made them.

use shadowkv_emulator::ptx::ast::{AddressBase, Operand, Position, ScalarType, Space};
use shadowkv_emulator::ptx::parse;

/// Tensor copies, mbarriers, an inline-assembly block with names of its own.
pub(crate) const TMA: &str = include_str!("tma.ptx");
/// Local memory, a table, atomics.
pub(crate) const TOUCH: &str = include_str!("touch.ptx");

#[test]
fn tma() {
    let module = parse(TMA).unwrap();
    assert_eq!(module.version, (8, 8));
    assert_eq!(module.target, "sm_90");
    assert_eq!(module.files, [(1, "tma_sm90.cu".to_owned())]);
    assert!(module.variables.is_empty());
    assert_eq!(module.kernels.len(), 1);
    let kernel = &module.kernels[0];
    assert_eq!(kernel.name, "tma_scale");
    assert_eq!(kernel.instructions.len(), 189);
    assert_eq!(kernel.labels.len(), 11);
    assert_eq!(kernel.registers.len(), 171);
    assert_eq!(kernel.locations.len(), 102);
    assert_eq!(kernel.max_threads, Some([128, 1, 1]));
    assert_eq!(kernel.required_threads, None);

    let layout: Vec<_> = kernel
        .parameters
        .iter()
        .map(|parameter| (parameter.offset, parameter.bytes))
        .collect();
    assert_eq!(layout, [(0, 128), (128, 128), (256, 4), (260, 4)]);
    assert_eq!(kernel.parameter_bytes, 264);

    let shared: Vec<_> = kernel
        .variables
        .iter()
        .map(|variable| (variable.space, variable.bytes, variable.align))
        .collect();
    assert_eq!(
        shared,
        [
            (Space::Shared, Some(16384), 128),
            (Space::Shared, Some(16), 8)
        ]
    );

    let copy = kernel
        .instructions
        .iter()
        .find(|instruction| instruction.full_name().starts_with("cp.async.bulk.tensor"))
        .unwrap();
    assert_eq!(
        copy.full_name(),
        "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
    );
    assert!(matches!(
        &copy.operands[..],
        [
            Operand::Address { offset: 0, .. },
            Operand::TensorAddress { base: AddressBase::Register(_), coordinates },
            Operand::Address { .. },
        ] if coordinates.len() == 2
    ));
}

/// Every operand that is a label points at a label of the kernel.
#[test]
fn labels_are_resolved() {
    for text in [TMA, TOUCH] {
        for kernel in parse(text).unwrap().kernels {
            for instruction in &kernel.instructions {
                for operand in &instruction.operands {
                    if let Operand::Label(label) = operand {
                        let (_, target) = &kernel.labels[label.0 as usize];
                        assert!(*target as usize <= kernel.instructions.len());
                    }
                }
                assert_eq!(
                    instruction.opcode == "bra",
                    matches!(instruction.operands[..], [Operand::Label(_)])
                );
            }
        }
    }
}

#[test]
fn touch() {
    let module = parse(TOUCH).unwrap();
    assert_eq!(module.variables.len(), 1);
    let table = &module.variables[0];
    assert_eq!(table.name, "__cudart_i2opi_f");
    assert_eq!(table.bytes, Some(24));
    assert_eq!(table.align, 4);
    assert_eq!(table.init.len(), 24);
    assert_eq!(table.init[..4], [65, 144, 67, 60]);
    assert_eq!(module.kernels.len(), 1);
    let kernel = &module.kernels[0];
    assert_eq!(kernel.instructions.len(), 276);
    assert_eq!(kernel.labels.len(), 5);
    assert_eq!(kernel.registers.len(), 349);
    assert_eq!(kernel.locations.len(), 122);
    assert_eq!(kernel.max_threads, None);
    assert_eq!(
        kernel.position,
        Position {
            line: 16,
            column: 10
        }
    );
    let stack_pointer = &kernel.registers[0];
    assert_eq!(
        (stack_pointer.name.as_str(), stack_pointer.ty),
        ("%SP", ScalarType::B64)
    );
    assert!(
        kernel
            .variables
            .iter()
            .any(|variable| variable.space == Space::Local && variable.bytes == Some(28))
    );
}
