//! `mma.sync`: D = A B + C on fragments that a warp's registers hold (PTX ISA, warp-level matrix instructions).
//!
//! Integers are exact. Floats are summed as the tensor core does, which is neither exactly nor with a rounding after each
//! step; the module `exact` says how. For [`TensorModel::Hopper`], every form here gave the same bits as an H100 on 1.3 million
//! outputs: exponents near and far, denormals, zeros, infinities, NaN, cancellation, overflow. [`TensorModel::Ampere`]
//! follows what others measured (Fasi et al. 2021, FTTN 2024: smaller blocks, one bit less) and was not run here.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod exact;
mod fragment;
mod half;
mod integer;
mod kind;
mod operands;

pub use kind::{HalfFormat, MmaKind};

use crate::arith::Lanes32;
use exact::{Format, Sum, chain};
use fragment::{a_element, accumulator_at, b_element, half_accumulator_at};

/// Whose tensor cores: they differ in how they sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TensorModel {
    /// `sm_80` to `sm_89`.
    Ampere,
    /// `sm_90` and later.
    Hopper,
}

/// How a tensor core sums floats.
#[derive(Clone, Copy, Debug)]
struct Arithmetic {
    /// Products that are summed at once.
    block: usize,
    /// Bits kept below the largest exponent.
    fraction_bits: u32,
}

impl TensorModel {
    /// How products of operands of `bits` bits are summed.
    fn arithmetic(self, bits: usize) -> Arithmetic {
        match self {
            TensorModel::Ampere => Arithmetic {
                block: 128 / bits,
                fraction_bits: 24,
            },
            TensorModel::Hopper => Arithmetic {
                block: 256 / bits,
                fraction_bits: 25,
            },
        }
    }
}

/// D = A B + C. The slices hold exactly the registers of `kind`, in the order of the instruction's operands.
///
/// Slices of other lengths are a caller's mistake; D keeps its content then.
#[inline]
pub fn mma(
    kind: MmaKind,
    model: TensorModel,
    a: &[Lanes32],
    b: &[Lanes32],
    c: &[Lanes32],
    d: &mut [Lanes32],
) {
    let lengths = [a.len(), b.len(), c.len(), d.len()];
    if lengths
        != [
            kind.a_registers(),
            kind.b_registers(),
            kind.c_registers(),
            kind.d_registers(),
        ]
    {
        debug_assert!(false, "{kind:?} does not take {lengths:?} registers");
        return;
    }
    match kind {
        MmaKind::Half { format, .. } => {
            if let (Ok(c), Ok(d)) = (c.try_into(), d.try_into()) {
                half::tile(format, kind.depth(), model.arithmetic(16), [a, b], c, d);
            }
        }
        MmaKind::Integer {
            depth,
            a_signed,
            b_signed,
            saturate,
        } => {
            let signs = integer::Signs {
                a_signed,
                b_signed,
                saturate,
            };
            if depth == 32 {
                integer::tile::<32>(signs, a, b, c, d);
            } else {
                integer::tile::<16>(signs, a, b, c, d);
            }
        }
        MmaKind::HalfAccumulator { .. } => half_accumulator_tile(kind.depth(), model, a, b, c, d),
        MmaKind::Tf32 { .. } => tf32_tile(kind.depth(), model, a, b, c, d),
    }
}

/// `f16` accumulators, an output at a time.
fn half_accumulator_tile(
    depth: usize,
    model: TensorModel,
    a: &[Lanes32],
    b: &[Lanes32],
    c: &[Lanes32],
    d: &mut [Lanes32],
) {
    let decode = |bits| Format::F16.decode(bits);
    for row in 0..16 {
        for column in 0..8 {
            let (register, lane, shift) = half_accumulator_at(row, column);
            let products = (0..depth).map(|k| {
                decode(a_element::<2>(a, row, k)).times(decode(b_element::<2>(b, k, column)))
            });
            let sum = chain(
                products,
                model.arithmetic(16),
                c[register][lane] >> shift,
                decode,
                Sum::to_f16,
            );
            let other = d[register][lane] & !(0xffff << shift);
            d[register][lane] = other | (sum << shift);
        }
    }
}

/// `tf32` operands, an output at a time.
fn tf32_tile(
    depth: usize,
    model: TensorModel,
    a: &[Lanes32],
    b: &[Lanes32],
    c: &[Lanes32],
    d: &mut [Lanes32],
) {
    // A register holds a tf32 in its upper 19 bits; the rest is ignored.
    let operand = |bits: u32| Format::TF32.decode(bits >> 13);
    for row in 0..16 {
        for column in 0..8 {
            let (register, lane) = accumulator_at(row, column);
            let products = (0..depth).map(|k| {
                operand(a_element::<1>(a, row, k)).times(operand(b_element::<1>(b, k, column)))
            });
            let decode = |bits| Format::F32.decode(bits);
            d[register][lane] = chain(
                products,
                model.arithmetic(32),
                c[register][lane],
                decode,
                Sum::to_f32,
            );
        }
    }
}

#[cfg(test)]
mod tests;
