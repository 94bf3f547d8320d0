//! Where the elements of a matrix sit among the registers of a warp (PTX ISA, matrix fragments for `mma.m16n8kK`).
//!
//! All forms share one rule. A register of a thread holds `P` consecutive elements along K (1, 2 or 4 of 32, 16 or 8
//! bits). Four neighbouring threads span `4 P` along K, and the eight groups of four span rows of A or columns of B.

use crate::arith::Lanes32;

/// Element of A at (`row`, `k`), `PER_REGISTER` of them a register.
#[inline(always)]
pub(super) fn a_element<const PER_REGISTER: usize>(a: &[Lanes32], row: usize, k: usize) -> u32 {
    let (part, within) = (k / (4 * PER_REGISTER), k % (4 * PER_REGISTER));
    let word = a[2 * part + row / 8][(row % 8) * 4 + within / PER_REGISTER];
    element::<PER_REGISTER>(word, within)
}

/// Element of B at (`k`, `column`).
#[inline(always)]
pub(super) fn b_element<const PER_REGISTER: usize>(b: &[Lanes32], k: usize, column: usize) -> u32 {
    let (part, within) = (k / (4 * PER_REGISTER), k % (4 * PER_REGISTER));
    element::<PER_REGISTER>(b[part][column * 4 + within / PER_REGISTER], within)
}

#[inline(always)]
fn element<const PER_REGISTER: usize>(word: u32, index: usize) -> u32 {
    let bits = 32 / PER_REGISTER;
    (word >> ((index % PER_REGISTER) * bits)) & (u32::MAX >> (32 - bits))
}

/// Register and lane of the 32-bit element of C or D at (`row`, `column`).
#[inline(always)]
pub(super) fn accumulator_at(row: usize, column: usize) -> (usize, usize) {
    (2 * (row / 8) + column % 2, (row % 8) * 4 + column / 2)
}

/// Register, lane and shift of the 16-bit element of C or D at (`row`, `column`).
#[inline(always)]
pub(super) fn half_accumulator_at(row: usize, column: usize) -> (usize, usize, u32) {
    (
        row / 8,
        (row % 8) * 4 + column / 2,
        16 * (column % 2) as u32,
    )
}
