//! Registers, variables and labels in nested blocks.

use super::{kernel, module};
use shadowkv_emulator::ptx::ast::{LabelId, Operand, RegisterId, ScalarType, Symbol};

#[test]
fn registers_are_numbered_in_order() {
    let kernel = kernel(".reg .b32 %r<3>, x;\n.reg .pred p, q<1>;\n.reg .b128 %rq;");
    let found: Vec<_> = kernel
        .registers
        .iter()
        .map(|register| (register.name.as_str(), register.ty))
        .collect();
    assert_eq!(
        found,
        [
            ("%r0", ScalarType::B32),
            ("%r1", ScalarType::B32),
            ("%r2", ScalarType::B32),
            ("x", ScalarType::B32),
            ("p", ScalarType::Pred),
            ("q0", ScalarType::Pred),
            ("%rq", ScalarType::B128),
        ]
    );
}

#[test]
fn an_inner_block_shadows() {
    let kernel = kernel(
        ".reg .b32 x;\n.shared .b32 s;\n{\n.reg .b64 x;\n.shared .b64 s;\nmov.b64 x, s;\n}\n{ .reg .f32 x; { neg.f32 \
         x, x; } }\nmov.b32 x, s;",
    );
    let first = |index: usize| kernel.instructions[index].operands[0].clone();
    assert_eq!(first(0), Operand::Register(RegisterId(1)));
    assert_eq!(
        kernel.instructions[0].operands[1],
        Operand::Symbol(Symbol::KernelVariable(1), 0)
    );
    assert_eq!(first(1), Operand::Register(RegisterId(2)));
    assert_eq!(first(2), Operand::Register(RegisterId(0)));
    assert_eq!(kernel.registers.len(), 3);
    assert_eq!(kernel.variables.len(), 2);
}

#[test]
fn labels_belong_to_their_block() {
    let kernel = kernel(
        "W:\n{ bra W; W: bra W; bra D; }\n{ W: bra W; { bra W; } D: bra D; }\nbra W;\nbra D;\nD:",
    );
    let targets: Vec<_> = kernel
        .instructions
        .iter()
        .filter_map(|instruction| match instruction.operands[..] {
            [Operand::Label(LabelId(label))] => Some(kernel.labels[label as usize].1),
            _ => None,
        })
        .collect();
    assert_eq!(targets, [1, 1, 8, 3, 3, 5, 0, 8]);
    assert_eq!(kernel.labels.len(), 5);
}

/// Inline assembly calls its labels what it likes.
#[test]
fn a_branch_goes_to_a_label_whatever_else_has_its_name() {
    let kernel = kernel(".reg .pred D;\n{ @D bra D; D: }\n");
    assert_eq!(
        kernel.instructions[0].operands,
        [Operand::Label(LabelId(0))]
    );
}

#[test]
fn branch_tables() {
    let kernel = kernel(".reg .b32 i;\nA:\nT: .branchtargets A, B;\nbrx.idx i, T;\nB:");
    assert_eq!(
        kernel.instructions[0].operands,
        [Operand::Register(RegisterId(0)), Operand::Label(LabelId(1))]
    );
}

#[test]
fn kernels_share_module_names_only() {
    let module = module(
        ".global .u32 g;\n.entry a(.param .u32 p) { .reg .b64 r; mov.u64 r, g; mov.u64 r, p; }\n\
         .entry b(.param .u32 p) { .reg .b64 r; A: mov.u64 r, p+4; bra A; }\n",
    );
    assert_eq!(
        module.kernels[0].instructions[0].operands[1],
        Operand::Symbol(Symbol::ModuleVariable(0), 0)
    );
    assert_eq!(
        module.kernels[1].instructions[0].operands[1],
        Operand::Symbol(Symbol::Parameter(0), 4)
    );
}
