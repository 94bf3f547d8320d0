//! Integer rows bit by bit, from the definitions in the PTX ISA.

#![allow(
    clippy::precedence,
    clippy::many_single_char_names,
    reason = "formulas as the ISA writes them"
)]

use super::*;
use crate::arith::testing::Random;

/// A word with long runs of equal bits, as often as not.
pub(super) fn word(random: &mut Random) -> u64 {
    let r = random.next();
    let shifted = random.next() >> (r % 64);
    if r & 64 == 0 { shifted } else { !shifted }
}

/// The function of one lane.
pub(super) fn one<const N: usize>(
    row: impl Fn([&[u32; 32]; N]) -> [u32; 32],
    sources: [u32; N],
) -> u32 {
    let rows = sources.map(|source| [source; 32]);
    row(rows.each_ref())[21]
}

#[test]
fn bit_fields() {
    let mut random = Random(21);
    for _ in 0..4_000 {
        let (a, b) = (word(&mut random), word(&mut random));
        let (pos, len) = ((random.next() % 70) as u32, (random.next() % 70) as u32);
        for width in [32u32, 64] {
            let bit = |word: u64, index: u32| (word >> index) & 1;
            // The ISA's pseudocode.
            let last = (pos + len).saturating_sub(1).min(width - 1);
            let sign = if len == 0 { 0 } else { bit(a, last) };
            let (mut unsigned, mut signed, mut inserted) =
                (0u64, 0u64, if width == 32 { b & 0xffff_ffff } else { b });
            for index in 0..width {
                let inside = index < len && pos + index < width;
                unsigned |= if inside { bit(a, pos + index) } else { 0 } << index;
                signed |= if inside { bit(a, pos + index) } else { sign } << index;
                if inside {
                    inserted = inserted & !(1 << (pos + index)) | bit(a, index) << (pos + index);
                }
            }
            let (pos, len) = ([pos; 32], [len; 32]);
            let found = if width == 32 {
                let (a, b) = ([a as u32; 32], [b as u32; 32]);
                [
                    bfe_u32(&a, &pos, &len)[3],
                    bfe_s32(&a, &pos, &len)[3],
                    bfi_b32(&a, &b, &pos, &len)[3],
                ]
                .map(u64::from)
            } else {
                let (a, b) = ([a; 32], [b; 32]);
                [
                    bfe_u64(&a, &pos, &len)[3],
                    bfe_s64(&a, &pos, &len)[3],
                    bfi_b64(&a, &b, &pos, &len)[3],
                ]
            };
            assert_eq!(
                found,
                [unsigned, signed, inserted],
                "{width} {a:x} {b:x} {pos:?} {len:?}"
            );
        }
    }
    // Only 8 bits of a 32-bit field's position count.
    assert_eq!(bfe_u32(&[0xff00; 32], &[0x108; 32], &[0x204; 32])[0], 0xf);
    assert_eq!(bfe_u64(&[0xff00; 32], &[0x108; 32], &[4; 32])[0], 0);
}

#[test]
fn finding_counting_and_masking() {
    let mut random = Random(22);
    for _ in 0..4_000 {
        let a = word(&mut random);
        for (width, a) in [(32u32, a & 0xffff_ffff), (64, a)] {
            let highest = |word: u64| (0..width).rev().find(|&index| (word >> index) & 1 == 1);
            let inverted = if width == 32 { !a & 0xffff_ffff } else { !a };
            let magnitude = if (a >> (width - 1)) & 1 == 1 {
                inverted
            } else {
                a
            };
            for shiftamt in [false, true] {
                let expected = [a, magnitude].map(|word| match highest(word) {
                    None => u32::MAX,
                    Some(index) if shiftamt => width - 1 - index,
                    Some(index) => index,
                });
                let found = if width == 32 {
                    let row = [a as u32; 32];
                    [bfind_u32(&row, shiftamt)[9], bfind_s32(&row, shiftamt)[9]]
                } else {
                    [
                        bfind_u64(&[a; 32], shiftamt)[9],
                        bfind_s64(&[a; 32], shiftamt)[9],
                    ]
                };
                assert_eq!(found, expected, "{width} {a:x} {shiftamt}");
            }
            let reversed: u64 = (0..width)
                .map(|index| ((a >> index) & 1) << (width - 1 - index))
                .sum();
            let ones = (0..width).filter(|&index| (a >> index) & 1 == 1).count() as u32;
            let zeros = highest(a).map_or(width, |index| width - 1 - index);
            let found = if width == 32 {
                let row = [a as u32; 32];
                (
                    u64::from(brev_b32(&row)[0]),
                    popc_b32(&row)[0],
                    clz_b32(&row)[0],
                )
            } else {
                (
                    brev_b64(&[a; 32])[0],
                    popc_b64(&[a; 32])[0],
                    clz_b64(&[a; 32])[0],
                )
            };
            assert_eq!(found, (reversed, ones, zeros));
        }
        let (start, length) = ((random.next() % 40) as u32, (random.next() % 40) as u32);
        let mask = |start: u32, length: u32| -> u32 {
            (0..32)
                .filter(|&i| i >= start && i < start + length)
                .map(|i| 1u32 << i)
                .sum::<u32>()
        };
        assert_eq!(
            one(|[a, b]| bmsk_clamp_b32(a, b), [start, length]),
            mask(start, length)
        );
        assert_eq!(
            one(|[a, b]| bmsk_wrap_b32(a, b), [start, length]),
            mask(start % 32, length % 32)
        );
        let a = a as u32;
        for (length, wraps) in [(length, false), (length % 32, true)] {
            let unsigned = a & mask(0, length);
            let negative = length > 0 && (a >> (length.min(32) - 1)) & 1 == 1;
            let signed = if negative {
                unsigned | !mask(0, length)
            } else {
                unsigned
            };
            let found = if wraps {
                [
                    one(|[a, b]| szext_wrap_u32(a, b), [a, length + 32]),
                    one(|[a, b]| szext_wrap_s32(a, b), [a, length + 32]),
                ]
            } else {
                [
                    one(|[a, b]| szext_clamp_u32(a, b), [a, length]),
                    one(|[a, b]| szext_clamp_s32(a, b), [a, length]),
                ]
            };
            assert_eq!(found, [unsigned, signed], "{a:x} {length}");
        }
    }
}

#[test]
fn bytes_and_bits_are_picked() {
    let mut random = Random(23);
    for _ in 0..4_000 {
        let [a, b, c] = [0; 3].map(|_| word(&mut random) as u32);
        let bytes: Vec<u8> = a.to_le_bytes().into_iter().chain(b.to_le_bytes()).collect();
        let permute =
            |mode: PermuteMode| one(|[a, b, c]| prmt_b32(a, b, c, mode), [a, b, c]).to_le_bytes();
        let picked = |choose: &dyn Fn(usize) -> usize| -> [u8; 4] {
            std::array::from_fn(|i| bytes[choose(i) % 8])
        };
        let number = c as usize & 3;
        let default: [u8; 4] = std::array::from_fn(|i| {
            let choice = (c as usize) >> (4 * i);
            let byte = bytes[choice & 7];
            if choice & 8 == 0 {
                byte
            } else {
                ((byte as i8) >> 7) as u8
            }
        });
        assert_eq!(permute(PermuteMode::Default), default);
        assert_eq!(permute(PermuteMode::Forward4), picked(&|i| number + i));
        assert_eq!(permute(PermuteMode::Backward4), picked(&|i| 8 + number - i));
        assert_eq!(permute(PermuteMode::Replicate8), picked(&|_| number));
        assert_eq!(
            permute(PermuteMode::EdgeClampLeft),
            picked(&|i| i.max(number))
        );
        assert_eq!(
            permute(PermuteMode::EdgeClampRight),
            picked(&|i| i.min(number))
        );
        assert_eq!(
            permute(PermuteMode::Replicate16),
            picked(&|i| 2 * (number & 1) + (i & 1))
        );

        let table = random.next() as u8;
        let logic: u32 = (0..32)
            .map(|i| {
                let index = ((a >> i) & 1) << 2 | ((b >> i) & 1) << 1 | (c >> i) & 1;
                u32::from((table >> index) & 1) << i
            })
            .sum();
        assert_eq!(one(|[a, b, c]| lop3_b32(a, b, c, table), [a, b, c]), logic);

        for shift in [c % 33, c % 64] {
            let joined = u128::from(a) | u128::from(b) << 32;
            let [wrapped, clamped] = [shift & 31, shift.min(32)];
            let [left, right] = [
                |joined: u128, s: u32| (joined << s >> 32) as u32,
                |joined: u128, s: u32| (joined >> s) as u32,
            ];
            assert_eq!(
                one(|[a, b, c]| shf_l_wrap_b32(a, b, c), [a, b, shift]),
                left(joined, wrapped)
            );
            assert_eq!(
                one(|[a, b, c]| shf_l_clamp_b32(a, b, c), [a, b, shift]),
                left(joined, clamped)
            );
            assert_eq!(
                one(|[a, b, c]| shf_r_wrap_b32(a, b, c), [a, b, shift]),
                right(joined, wrapped)
            );
            assert_eq!(
                one(|[a, b, c]| shf_r_clamp_b32(a, b, c), [a, b, shift]),
                right(joined, clamped)
            );
        }
    }
    assert_eq!(
        PermuteMode::from_name("rc16"),
        Some(PermuteMode::Replicate16)
    );
    assert_eq!(PermuteMode::from_name("b32"), None);
}
