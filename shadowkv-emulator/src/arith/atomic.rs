//! What atomics leave in memory (PTX ISA, atom and red).

use half::{bf16, f16};

use crate::program::{AtomicOperation, AtomicType};

/// The new value, from the old one, the operand and, for `cas`, the value to swap in. Only the low bytes of the type count.
pub(crate) fn update(
    operation: AtomicOperation,
    ty: AtomicType,
    old: u64,
    operand: u64,
    swap: u64,
) -> u64 {
    use AtomicOperation::{Add, And, Cas, Dec, Exch, Inc, Max, Min, Or, Xor};
    let mask = u64::MAX >> (64 - ty.bytes() * 8);
    let (old, operand, swap) = (old & mask, operand & mask, swap & mask);
    match operation {
        Exch => operand,
        Cas => {
            if old == operand {
                swap
            } else {
                old
            }
        }
        And => old & operand,
        Or => old | operand,
        Xor => old ^ operand,
        Inc => {
            if old >= operand {
                0
            } else {
                old + 1
            }
        }
        Dec => {
            if old == 0 || old > operand {
                operand
            } else {
                old - 1
            }
        }
        Add => add(ty, old, operand) & mask,
        Min | Max => {
            let larger = operation == Max;
            let keep_old = match ty {
                AtomicType::S32 => (old as i32 > operand as i32) == larger,
                AtomicType::S64 => (old as i64 > operand as i64) == larger,
                AtomicType::F32 => {
                    (f32::from_bits(old as u32) > f32::from_bits(operand as u32)) == larger
                }
                AtomicType::F64 => (f64::from_bits(old) > f64::from_bits(operand)) == larger,
                AtomicType::F16 => {
                    (f16::from_bits(old as u16) > f16::from_bits(operand as u16)) == larger
                }
                AtomicType::Bf16 => {
                    (bf16::from_bits(old as u16) > bf16::from_bits(operand as u16)) == larger
                }
                AtomicType::F16x2 | AtomicType::Bf16x2 => {
                    let half = if ty == AtomicType::F16x2 {
                        AtomicType::F16
                    } else {
                        AtomicType::Bf16
                    };
                    let low = update(operation, half, old, operand, 0);
                    let high = update(operation, half, old >> 16, operand >> 16, 0);
                    return low | high << 16;
                }
                _ => (old > operand) == larger,
            };
            if keep_old { old } else { operand }
        }
    }
}

fn add(ty: AtomicType, old: u64, operand: u64) -> u64 {
    let halves = |f: fn(u16, u16) -> u16| {
        let low = f(old as u16, operand as u16);
        let high = f((old >> 16) as u16, (operand >> 16) as u16);
        u64::from(low) | u64::from(high) << 16
    };
    let f16_add = |a: u16, b: u16| {
        f16::from_f64(f16::from_bits(a).to_f64() + f16::from_bits(b).to_f64()).to_bits()
    };
    let bf16_add = |a: u16, b: u16| {
        bf16::from_f64(bf16::from_bits(a).to_f64() + bf16::from_bits(b).to_f64()).to_bits()
    };
    match ty {
        AtomicType::F32 => {
            u64::from((f32::from_bits(old as u32) + f32::from_bits(operand as u32)).to_bits())
        }
        AtomicType::F64 => (f64::from_bits(old) + f64::from_bits(operand)).to_bits(),
        AtomicType::F16 => u64::from(f16_add(old as u16, operand as u16)),
        AtomicType::Bf16 => u64::from(bf16_add(old as u16, operand as u16)),
        AtomicType::F16x2 => halves(f16_add),
        AtomicType::Bf16x2 => halves(bf16_add),
        _ => old.wrapping_add(operand),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrapping_counters() {
        let inc = |old| update(AtomicOperation::Inc, AtomicType::U32, old, 3, 0);
        assert_eq!([0, 2, 3, 7].map(inc), [1, 3, 0, 0]);
        let dec = |old| update(AtomicOperation::Dec, AtomicType::U32, old, 3, 0);
        assert_eq!([0, 2, 3, 7].map(dec), [3, 1, 2, 3]);
    }

    #[test]
    fn signs_and_halves() {
        let minus_one = u64::from(u32::MAX);
        assert_eq!(
            update(AtomicOperation::Max, AtomicType::S32, minus_one, 5, 0),
            5
        );
        assert_eq!(
            update(AtomicOperation::Max, AtomicType::U32, minus_one, 5, 0),
            minus_one
        );
        let one_two = 0x3c00 | 0x4000 << 16;
        let sum = update(AtomicOperation::Add, AtomicType::F16x2, one_two, one_two, 0);
        assert_eq!(sum, 0x4000 | 0x4400 << 16);
    }
}
