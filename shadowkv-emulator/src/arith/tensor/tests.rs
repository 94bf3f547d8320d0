//! Fragment layouts against a plain matrix product, fast rows against the exact model, and both against a GPU.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use super::*;
use crate::arith::testing::Random;

/// Registers of which `word` makes every lane.
fn registers(random: &mut Random, count: usize, mut word: impl FnMut(u64) -> u32) -> Vec<Lanes32> {
    let mut registers = vec![[0; 32]; count];
    for lane in registers.as_flattened_mut() {
        *lane = word(random.next());
    }
    registers
}

fn parse(name: &str) -> MmaKind {
    MmaKind::parse(&name.split('.').collect::<Vec<_>>()).unwrap()
}

/// Tiles that an H100 computed (NVRTC 12.9, driver 580.159): the form, and how many of it the file holds.
const MEASURED: [(&str, usize); 12] = [
    ("sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32", 8),
    ("sync.aligned.m16n8k16.row.col.f32.f16.f16.f32", 4),
    ("sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32", 2),
    ("sync.aligned.m16n8k8.row.col.f32.f16.f16.f32", 2),
    ("sync.aligned.m16n8k16.row.col.f16.f16.f16.f16", 2),
    ("sync.aligned.m16n8k8.row.col.f16.f16.f16.f16", 1),
    ("sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32", 2),
    ("sync.aligned.m16n8k4.row.col.f32.tf32.tf32.f32", 1),
    ("sync.aligned.m16n8k16.row.col.s32.s8.u8.s32", 1),
    ("sync.aligned.m16n8k32.row.col.satfinite.s32.u8.s8.s32", 1),
    ("sync.aligned.m16n8k32.row.col.s32.s8.s8.s32", 1),
    ("sync.aligned.m16n8k16.row.col.satfinite.s32.u8.u8.s32", 1),
];

/// Their registers: those of A, B, C and D of each tile, 32 words of 4 bytes (lower first) each.
const REGISTERS: &[u8] = include_bytes!("../testdata/mma_h100.bin");

#[test]
fn equals_an_h100() {
    let mut registers = REGISTERS.as_chunks::<4>().0.as_chunks::<32>().0.iter();
    let mut take = |count: usize| -> Vec<Lanes32> {
        registers
            .by_ref()
            .take(count)
            .map(|lanes| lanes.map(u32::from_le_bytes))
            .collect()
    };
    for (name, tiles) in MEASURED {
        let kind = parse(name);
        for tile in 0..tiles {
            let [a, b] = [take(kind.a_registers()), take(kind.b_registers())];
            let [c, expected] = [take(kind.c_registers()), take(kind.d_registers())];
            let mut d = vec![[0; 32]; kind.d_registers()];
            mma(kind, TensorModel::Hopper, &a, &b, &c, &mut d);
            assert_eq!(d, expected, "{name}, tile {tile}");
        }
    }
    assert!(take(1).is_empty());
}

/// Every form on matrices of small integers, placed as the PTX ISA's formulas say, against the product.
#[test]
fn fragments_are_where_the_isa_puts_them() {
    let mut random = Random(7);
    let forms = MEASURED.iter().map(|(name, _)| *name);
    for name in forms.chain([
        "sync.aligned.m16n8k16.row.col.s32.u8.u8.s32",
        "sync.aligned.m16n8k32.row.col.s32.s8.u8.s32",
    ]) {
        let kind = parse(name);
        let depth = kind.depth();
        let per_register = 16 * depth / 32 / kind.a_registers();
        let bits = 32 / per_register;
        let encode = |value: i64| -> u32 {
            match kind {
                MmaKind::Half {
                    format: HalfFormat::Bf16,
                    ..
                } => ::half::bf16::from_f64(value as f64).to_bits().into(),
                MmaKind::Half { .. } | MmaKind::HalfAccumulator { .. } => {
                    ::half::f16::from_f64(value as f64).to_bits().into()
                }
                MmaKind::Tf32 { .. } => (value as f32).to_bits(),
                MmaKind::Integer { .. } => u32::from(value as u8),
            }
        };
        let mut value = || (random.next() % 13) as i64;
        let a: Vec<Vec<i64>> = (0..16)
            .map(|_| (0..depth).map(|_| value()).collect())
            .collect();
        let b: Vec<Vec<i64>> = (0..depth)
            .map(|_| (0..8).map(|_| value()).collect())
            .collect();
        let c: Vec<Vec<i64>> = (0..16).map(|_| (0..8).map(|_| value()).collect()).collect();

        // "groupID" and "threadID_in_group" of the ISA; i counts the elements of a thread.
        let mut a_registers = vec![[0u32; 32]; kind.a_registers()];
        let mut b_registers = vec![[0u32; 32]; kind.b_registers()];
        let mut c_registers = vec![[0u32; 32]; kind.c_registers()];
        let mut expected = c_registers.clone();
        for lane in 0..32 {
            let (group, thread) = (lane / 4, lane % 4);
            for i in 0..16 * depth / 32 {
                let (register, within) = (i / per_register, i % per_register);
                let row = if register % 2 == 0 { group } else { group + 8 };
                let k = thread * per_register
                    + within
                    + if register >= 2 { 4 * per_register } else { 0 };
                a_registers[register][lane] |= encode(a[row][k]) << (within * bits);
            }
            for i in 0..8 * depth / 32 {
                let (register, within) = (i / per_register, i % per_register);
                let k = thread * per_register + within + register * 4 * per_register;
                b_registers[register][lane] |= encode(b[k][group]) << (within * bits);
            }
            for i in 0..4 {
                let (row, column) = (if i < 2 { group } else { group + 8 }, thread * 2 + i % 2);
                let sum =
                    c[row][column] + (0..depth).map(|k| a[row][k] * b[k][column]).sum::<i64>();
                for (to, value) in [(&mut c_registers, c[row][column]), (&mut expected, sum)] {
                    match kind {
                        MmaKind::HalfAccumulator { .. } => {
                            let half = ::half::f16::from_f64(value as f64).to_bits();
                            to[i / 2][lane] |= u32::from(half) << (16 * (i % 2));
                        }
                        MmaKind::Integer { .. } => to[i][lane] = value as u32,
                        _ => to[i][lane] = (value as f32).to_bits(),
                    }
                }
            }
        }
        for model in [TensorModel::Ampere, TensorModel::Hopper] {
            let mut d = vec![[0; 32]; kind.d_registers()];
            mma(
                kind,
                model,
                &a_registers,
                &b_registers,
                &c_registers,
                &mut d,
            );
            // Sums beyond 2048 need not be exact in f16; these are below 16 * 144.
            if !matches!(kind, MmaKind::HalfAccumulator { depth: 16 }) {
                assert_eq!(d, expected, "{name} {model:?}");
            }
        }
    }
}

/// One dot product: an accumulator and up to 16 addends, each a product with 1.
fn sum(model: TensorModel, accumulator: f32, addends: &[f32]) -> f32 {
    let kind = parse("sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32");
    let (mut a, mut b, mut c) = ([[0u32; 32]; 4], [[0u32; 32]; 2], [[0u32; 32]; 4]);
    c[0][0] = accumulator.to_bits();
    for (k, addend) in addends.iter().enumerate() {
        let (register, lane, shift) = (k / 8, k % 8 / 2, k % 2 * 16);
        a[2 * register][lane] |= (addend.to_bits() >> 16) << shift;
        b[register][lane] |= (1f32.to_bits() >> 16) << shift;
    }
    let mut d = [[0; 32]; 4];
    mma(kind, model, &a, &b, &c, &mut d);
    f32::from_bits(d[0][0])
}

#[test]
fn sums_are_cut_not_rounded() {
    use TensorModel::{Ampere, Hopper};
    let tiny = |exponent: i32| 2f32.powi(exponent);
    for model in [Ampere, Hopper] {
        assert_eq!(
            sum(model, 1.0, &[1.5 * tiny(-24)]).to_bits(),
            1f32.to_bits()
        );
        assert_eq!(
            sum(model, 1.0, &[tiny(-24), tiny(-24)]).to_bits(),
            (1.0 + tiny(-23)).to_bits()
        );
        assert_eq!(sum(model, 1.0, &[-tiny(-26)]).to_bits(), 1f32.to_bits());
    }
    // Four quarters of the last place: one bit more is kept below the cut on the later chips.
    let quarters = [tiny(-25); 4];
    assert_eq!(
        sum(Hopper, 1.0, &quarters).to_bits(),
        (1.0 + tiny(-23)).to_bits()
    );
    assert_eq!(sum(Ampere, 1.0, &quarters).to_bits(), 1f32.to_bits());
    // Halves in two blocks: each block's result is cut.
    let mut apart = [0.0; 16];
    (apart[0], apart[8]) = (tiny(-24), tiny(-24));
    assert_eq!(
        sum(Hopper, 1.0, &apart).to_bits(),
        (1.0 + tiny(-23)).to_bits()
    );
    assert_eq!(sum(Ampere, 1.0, &apart).to_bits(), 1f32.to_bits());
}

/// The portable rows, the rows of this machine, and the slow model give the same bits, in every range of exponents.
#[test]
fn fast_rows_equal_the_exact_model() {
    let mut random = Random(2);
    for round in 0..160u64 {
        for (format, model) in [
            (HalfFormat::Bf16, TensorModel::Hopper),
            (HalfFormat::Bf16, TensorModel::Ampere),
            (HalfFormat::F16, TensorModel::Hopper),
            (HalfFormat::F16, TensorModel::Ampere),
        ] {
            for depth in [8u8, 16] {
                let kind = MmaKind::Half { format, depth };
                let [spread, centre] = [1 + random.next() % 60, random.next() % 200 + 20];
                let halves = |r: u64| {
                    let one = |r: u64| {
                        let (sign, fraction) = ((r & 1) << 15, r >> 1 & 0x7f);
                        let special = r >> 40 & 0xff;
                        match (format, special, round % 4) {
                            (_, 0..20, _) => sign,
                            (_, 20, 0) => {
                                sign | [0x7f80, 0x7c00, 0x7fff, 1, 0x40][(r >> 50) as usize % 5]
                            }
                            (HalfFormat::Bf16, ..) => {
                                sign | fraction
                                    | ((centre + (r >> 8 & 0xff) % spread).min(254) << 7)
                            }
                            _ => {
                                sign | (r >> 8 & 0x3ff)
                                    | (((r >> 20 & 0x1f) % (1 + spread / 2)).min(30) << 10)
                            }
                        }
                    };
                    (one(r) | one(r.rotate_left(31)) << 16) as u32
                };
                let a = registers(&mut random, kind.a_registers(), halves);
                let b = registers(&mut random, kind.b_registers(), halves);
                let shift = (2 * centre).saturating_sub(127).clamp(0, 230);
                let c = registers(&mut random, 4, |r| match r >> 40 & 0xff {
                    0..50 => (r & 1) as u32 * 0x8000_0000,
                    50 if round % 4 == 0 => 0x7f80_0000,
                    51 if round % 4 == 0 => 0x7fc0_0000,
                    _ if round % 4 == 1 => r as u32 & 0xbfff_ffff,
                    _ => {
                        ((r as u32) & 0x807f_ffff)
                            | ((shift + (r >> 32 & 0x1f) % spread) << 23) as u32
                    }
                });
                let mut d = vec![[0; 32]; 4];
                mma(kind, model, &a, &b, &c, &mut d);
                let mut portable = [[0; 32]; 4];
                let c4: &[Lanes32; 4] = c.as_slice().try_into().unwrap();
                half::portable_tile(
                    format,
                    kind.depth(),
                    model.arithmetic(16),
                    [&a, &b],
                    c4,
                    &mut portable,
                );
                assert_eq!(d, portable, "{kind:?} {model:?} round {round}");
                for row in 0..16 {
                    for column in 0..8 {
                        let (register, lane) = accumulator_at(row, column);
                        let c = c[register][lane];
                        let expected = half::exact_output(
                            format,
                            kind.depth(),
                            model.arithmetic(16),
                            [&a, &b],
                            c,
                            (row, column),
                        );
                        assert_eq!(
                            d[register][lane], expected,
                            "{kind:?} {model:?} round {round} {row} {column}"
                        );
                    }
                }
            }
        }
    }
}
