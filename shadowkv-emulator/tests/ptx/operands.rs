//! Operands, guards and modifiers.

use super::kernel;
use shadowkv_emulator::ptx::ast::{
    AddressBase, Guard, Instruction, Operand, Position, RegisterId, Symbol,
};

const DECLARATIONS: &str =
    ".reg .b32 %r<4>; .reg .b64 %rd<4>; .reg .pred %p<2>, p; .shared .b32 _s, $s;";
const R: [RegisterId; 4] = [RegisterId(0), RegisterId(1), RegisterId(2), RegisterId(3)];
const RD: [RegisterId; 4] = [RegisterId(4), RegisterId(5), RegisterId(6), RegisterId(7)];
const P: [RegisterId; 3] = [RegisterId(8), RegisterId(9), RegisterId(10)];

fn instruction(text: &str) -> Instruction {
    kernel(&format!("{DECLARATIONS}\n{text}"))
        .instructions
        .remove(0)
}

/// The operand of an instruction that has no other.
fn operand(text: &str) -> Operand {
    let mut operands = instruction(&format!("test {text};")).operands;
    assert_eq!(operands.len(), 1, "{text}");
    operands.remove(0)
}

fn register(id: RegisterId) -> Operand {
    Operand::Register(id)
}

#[test]
fn values() {
    assert_eq!(operand("%r1"), register(R[1]));
    assert_eq!(operand("!%p1"), Operand::Negated(P[1]));
    assert_eq!(operand("p"), register(P[2]));
    assert_eq!(operand("_"), Operand::Sink);
    for (text, value) in [
        ("7", 7),
        ("-1", u64::MAX),
        ("-9223372036854775808", 1 << 63),
        ("0xffffffff", 0xFFFF_FFFF),
        ("0x10U", 16),
        ("017", 15),
        ("0b11", 3),
        ("WARP_SZ", 32),
    ] {
        assert_eq!(operand(text), Operand::Integer(value), "{text}");
    }
    assert_eq!(operand("0f3F800000"), Operand::Float32(0x3F80_0000));
    assert_eq!(operand("-0f3F800000"), Operand::Float32(0xBF80_0000));
    assert_eq!(
        operand("0dBFF0000000000000"),
        Operand::Float64((-1f64).to_bits())
    );
    assert_eq!(operand("0.25"), Operand::Float64(0.25f64.to_bits()));
    assert_eq!(operand("-1e-3"), Operand::Float64((-1e-3f64).to_bits()));
}

#[test]
fn special_registers() {
    for name in [
        "tid.x",
        "nctaid.z",
        "laneid",
        "globaltimer",
        "lanemask_lt",
        "cluster_ctaid.y",
        "pm3_64",
        "envreg31",
    ] {
        assert_eq!(
            operand(&format!("%{name}")),
            Operand::Special(name.to_owned())
        );
    }
}

#[test]
fn vectors_and_pairs() {
    assert_eq!(
        operand("{%r0,_, 3}"),
        Operand::Vector(vec![register(R[0]), Operand::Sink, Operand::Integer(3)])
    );
    let pair = |a, b| Operand::Pair(Box::new(a), Box::new(b));
    assert_eq!(operand("%r1|%p0"), pair(register(R[1]), register(P[0])));
    assert_eq!(operand("_|p"), pair(Operand::Sink, register(P[2])));
}

#[test]
fn addresses() {
    let address = |base, offset| Operand::Address { base, offset };
    let by_register = |offset| address(AddressBase::Register(RD[1]), offset);
    let by_symbol = |symbol, offset| address(AddressBase::Symbol(symbol), offset);
    assert_eq!(operand("[%rd1]"), by_register(0));
    assert_eq!(operand("[%rd1+4]"), by_register(4));
    assert_eq!(operand("[ %rd1 + 0x10 ]"), by_register(16));
    assert_eq!(operand("[%rd1+-24]"), by_register(-24));
    assert_eq!(operand("[%rd1-4]"), by_register(-4));
    assert_eq!(operand("[_s]"), by_symbol(Symbol::KernelVariable(0), 0));
    assert_eq!(operand("[$s+8]"), by_symbol(Symbol::KernelVariable(1), 8));
    assert_eq!(operand("[second+2]"), by_symbol(Symbol::Parameter(1), 2));
    assert_eq!(operand("[0x10]"), address(AddressBase::Absolute, 16));
    assert_eq!(
        operand("[%rd2, {%r0, -1}]"),
        Operand::TensorAddress {
            base: AddressBase::Register(RD[2]),
            coordinates: vec![register(R[0]), Operand::Integer(u64::MAX)],
        }
    );
}

#[test]
fn symbols() {
    assert_eq!(operand("_s"), Operand::Symbol(Symbol::KernelVariable(0), 0));
    assert_eq!(
        operand("_s+8"),
        Operand::Symbol(Symbol::KernelVariable(0), 8)
    );
    assert_eq!(
        operand("generic($s)+-4"),
        Operand::Symbol(Symbol::KernelVariable(1), -4)
    );
    assert_eq!(operand("first"), Operand::Symbol(Symbol::Parameter(0), 0));
}

#[test]
fn guards() {
    let guard = |negated| {
        Some(Guard {
            register: P[1],
            negated,
        })
    };
    assert_eq!(instruction("@%p1 ret;").guard, guard(false));
    assert_eq!(instruction("@!%p1 ret;").guard, guard(true));
    assert_eq!(instruction("ret;").guard, None);
    assert_eq!(
        instruction("  @%p1 ret;").position,
        Position { line: 7, column: 3 }
    );
}

#[test]
fn modifiers() {
    let load =
        instruction("ld.global.nc.L1::no_allocate.v4.u32 {%r0, %r1, %r2, %r3}, [%rd0], %rd1;");
    assert_eq!(load.opcode, "ld");
    assert_eq!(
        load.modifiers,
        ["global", "nc", "L1::no_allocate", "v4", "u32"]
    );
    assert_eq!(load.operands.len(), 3);
    assert!(load.has("L1::no_allocate") && !load.has("L1"));
    let copy =
        instruction("cp.async.bulk.tensor.2d.shared::cluster.mbarrier::complete_tx::bytes [%r0];");
    assert_eq!(
        copy.modifiers[3..],
        ["2d", "shared::cluster", "mbarrier::complete_tx::bytes"]
    );
}
