//! `mma` of 8-bit integers: exact, and wrapping or clamped at the end.

use super::fragment::{a_element, accumulator_at, b_element};
use crate::arith::Lanes32;

/// How 8-bit operands and the sum are read.
#[derive(Clone, Copy)]
pub(super) struct Signs {
    pub(super) a_signed: bool,
    pub(super) b_signed: bool,
    pub(super) saturate: bool,
}

#[inline(always)]
fn widen(byte: u32, signed: bool) -> i32 {
    if signed {
        i32::from(byte as u8 as i8)
    } else {
        byte as i32
    }
}

/// D = A B + C over `DEPTH` products an output.
pub(super) fn tile<const DEPTH: usize>(
    signs: Signs,
    a: &[Lanes32],
    b: &[Lanes32],
    c: &[Lanes32],
    d: &mut [Lanes32],
) {
    let mut columns = [[0i32; DEPTH]; 8];
    for (n, column) in columns.iter_mut().enumerate() {
        for (k, value) in column.iter_mut().enumerate() {
            *value = widen(b_element::<4>(b, k, n), signs.b_signed);
        }
    }
    for row in 0..16 {
        let mut values = [0i32; DEPTH];
        for (k, value) in values.iter_mut().enumerate() {
            *value = widen(a_element::<4>(a, row, k), signs.a_signed);
        }
        for (n, column) in columns.iter().enumerate() {
            // 32 products of at most 2^16 stay far from the end of an i32.
            let dot: i32 = values.iter().zip(column).map(|(x, y)| x * y).sum();
            let (register, lane) = accumulator_at(row, n);
            let accumulator = c[register][lane] as i32;
            let sum = if signs.saturate {
                accumulator.saturating_add(dot)
            } else {
                accumulator.wrapping_add(dot)
            };
            d[register][lane] = sum as u32;
        }
    }
}
