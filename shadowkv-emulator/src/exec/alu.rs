//! Rows of registers through a function, and comparisons into predicates.

#![allow(
    clippy::many_single_char_names,
    reason = "d, a, b and c are PTX's own names of an instruction's operands"
)]

use crate::arith::{Lanes32, Lanes64};
use crate::program::{Combine, Compare, CompareType, Inst, SetP};

use super::rows::{Registers, mask_of};

/// The registers of a warp and the lanes that execute.
pub(crate) struct Machine<'a> {
    pub(crate) registers: &'a mut Registers,
    pub(crate) predicates: &'a mut [u32],
    pub(crate) lists: &'a [u16],
    pub(crate) lanes: u32,
}

#[inline(always)]
pub(super) fn f32_of(bits: u32) -> f32 {
    f32::from_bits(bits)
}

/// Subnormals to zero of the same sign.
#[inline(always)]
pub(super) fn flush(bits: u32) -> u32 {
    if bits & 0x7f80_0000 == 0 {
        bits & 0x8000_0000
    } else {
        bits
    }
}

/// Quiet NaN as the GPU's arithmetic returns it.
const NAN: u32 = 0x7fff_ffff;

#[inline(always)]
pub(super) fn canonical(value: f32) -> u32 {
    if value.is_nan() { NAN } else { value.to_bits() }
}

impl Machine<'_> {
    #[inline(always)]
    pub(super) fn one(&mut self, inst: &Inst, f: impl Fn(u32) -> u32) {
        let a = *self.registers.get32(inst.a);
        let mut d = [0; 32];
        for lane in 0..32 {
            d[lane] = f(a[lane]);
        }
        self.registers.put32(inst.d, &d, self.lanes);
    }

    #[inline(always)]
    pub(super) fn two(&mut self, inst: &Inst, f: impl Fn(u32, u32) -> u32) {
        let a = *self.registers.get32(inst.a);
        let b = *self.registers.get32(inst.b);
        let mut d = [0; 32];
        for lane in 0..32 {
            d[lane] = f(a[lane], b[lane]);
        }
        self.registers.put32(inst.d, &d, self.lanes);
    }

    #[inline(always)]
    pub(super) fn three(&mut self, inst: &Inst, f: impl Fn(u32, u32, u32) -> u32) {
        let a = *self.registers.get32(inst.a);
        let b = *self.registers.get32(inst.b);
        let c = *self.registers.get32(inst.c);
        let mut d = [0; 32];
        for lane in 0..32 {
            d[lane] = f(a[lane], b[lane], c[lane]);
        }
        self.registers.put32(inst.d, &d, self.lanes);
    }

    #[inline(always)]
    pub(super) fn wide_one(&mut self, inst: &Inst, f: impl Fn(u64) -> u64) {
        let a = *self.registers.get64(inst.a);
        let mut d = [0; 32];
        for lane in 0..32 {
            d[lane] = f(a[lane]);
        }
        self.registers.put64(inst.d, &d, self.lanes);
    }

    #[inline(always)]
    pub(super) fn wide_two(&mut self, inst: &Inst, f: impl Fn(u64, u64) -> u64) {
        let a = *self.registers.get64(inst.a);
        let b = *self.registers.get64(inst.b);
        let mut d = [0; 32];
        for lane in 0..32 {
            d[lane] = f(a[lane], b[lane]);
        }
        self.registers.put64(inst.d, &d, self.lanes);
    }

    #[inline(always)]
    pub(super) fn wide_three(&mut self, inst: &Inst, f: impl Fn(u64, u64, u64) -> u64) {
        let a = *self.registers.get64(inst.a);
        let b = *self.registers.get64(inst.b);
        let c = *self.registers.get64(inst.c);
        let mut d = [0; 32];
        for lane in 0..32 {
            d[lane] = f(a[lane], b[lane], c[lane]);
        }
        self.registers.put64(inst.d, &d, self.lanes);
    }

    /// A shift of 64 bits by 32.
    #[inline(always)]
    pub(super) fn wide_shift(&mut self, inst: &Inst, f: impl Fn(u64, u32) -> u64) {
        let a = *self.registers.get64(inst.a);
        let b = *self.registers.get32(inst.b);
        let mut d = [0; 32];
        for lane in 0..32 {
            d[lane] = f(a[lane], b[lane]);
        }
        self.registers.put64(inst.d, &d, self.lanes);
    }

    /// 32 bits to 64.
    #[inline(always)]
    pub(super) fn widening(&mut self, inst: &Inst, f: impl Fn(u32, u32) -> u64) {
        let a = *self.registers.get32(inst.a);
        let b = *self.registers.get32(inst.b);
        let mut d = [0; 32];
        for lane in 0..32 {
            d[lane] = f(a[lane], b[lane]);
        }
        self.registers.put64(inst.d, &d, self.lanes);
    }

    #[inline(always)]
    pub(super) fn widening_add(&mut self, inst: &Inst, f: impl Fn(u32, u32) -> u64) {
        let a = *self.registers.get32(inst.a);
        let b = *self.registers.get32(inst.b);
        let c = *self.registers.get64(inst.c);
        let mut d = [0; 32];
        for lane in 0..32 {
            d[lane] = f(a[lane], b[lane]).wrapping_add(c[lane]);
        }
        self.registers.put64(inst.d, &d, self.lanes);
    }

    /// 64 bits to 32.
    #[inline(always)]
    pub(super) fn narrowing(&mut self, inst: &Inst, f: impl Fn(u64) -> u32) {
        let a = *self.registers.get64(inst.a);
        let mut d = [0; 32];
        for lane in 0..32 {
            d[lane] = f(a[lane]);
        }
        self.registers.put32(inst.d, &d, self.lanes);
    }

    #[inline(always)]
    pub(super) fn row_one(&mut self, inst: &Inst, f: impl Fn(&Lanes32) -> Lanes32) {
        let d = f(self.registers.get32(inst.a));
        self.registers.put32(inst.d, &d, self.lanes);
    }

    #[inline(always)]
    pub(super) fn row_two(&mut self, inst: &Inst, f: impl Fn(&Lanes32, &Lanes32) -> Lanes32) {
        let d = f(self.registers.get32(inst.a), self.registers.get32(inst.b));
        self.registers.put32(inst.d, &d, self.lanes);
    }

    #[inline(always)]
    pub(super) fn row_three(
        &mut self,
        inst: &Inst,
        f: impl Fn(&Lanes32, &Lanes32, &Lanes32) -> Lanes32,
    ) {
        let d = f(
            self.registers.get32(inst.a),
            self.registers.get32(inst.b),
            self.registers.get32(inst.c),
        );
        self.registers.put32(inst.d, &d, self.lanes);
    }

    #[inline(always)]
    pub(super) fn f64_two(&mut self, inst: &Inst, f: impl Fn(f64, f64) -> f64) {
        self.wide_two(inst, |a, b| {
            let value = f(f64::from_bits(a), f64::from_bits(b));
            value.to_bits()
        });
    }

    /// Value of a predicate, negated where the flag says so.
    #[inline(always)]
    pub(crate) fn predicate(&self, number: u16, negated: bool) -> u32 {
        let value = self.predicates[usize::from(number)];
        if negated { !value } else { value }
    }

    /// Sets a predicate for the executing lanes; number 0 takes nothing.
    #[inline(always)]
    pub(crate) fn set_predicate(&mut self, number: u16, value: u32) {
        if number != 0 {
            let slot = &mut self.predicates[usize::from(number)];
            *slot = *slot & !self.lanes | value & self.lanes;
        }
    }

    /// Lanes for which the comparison holds.
    #[inline(always)]
    #[allow(
        clippy::float_cmp,
        clippy::neg_cmp_op_on_partial_ord,
        reason = "the unordered comparisons are the negations of the ordered ones, NaN included"
    )]
    pub(super) fn compare(&self, inst: &Inst, compare: Compare, ty: CompareType) -> u32 {
        macro_rules! over {
            ($a:expr, $b:expr, $convert:expr) => {{
                let (a, b) = ($a, $b);
                let mut result = [0_u8; 32];
                let convert = $convert;
                macro_rules! each {
                    ($test:expr) => {{
                        let test = $test;
                        for lane in 0..32 {
                            result[lane] = u8::from(test(convert(a[lane]), convert(b[lane])));
                        }
                    }};
                }
                #[allow(clippy::eq_op, reason = "a number equals itself, a NaN does not")]
                match compare {
                    Compare::Eq => each!(|x, y| x == y),
                    Compare::Ne => each!(|x, y| x == x && y == y && x != y),
                    Compare::Lt => each!(|x, y| x < y),
                    Compare::Le => each!(|x, y| x <= y),
                    Compare::Gt => each!(|x, y| x > y),
                    Compare::Ge => each!(|x, y| x >= y),
                    Compare::Num => each!(|x, y| x == x && y == y),
                    Compare::Nan => each!(|x, y| x != x || y != y),
                    Compare::Equ => each!(|x, y| x != x || y != y || x == y),
                    Compare::Neu => each!(|x, y| x != y),
                    Compare::Ltu => each!(|x, y| !(x >= y)),
                    Compare::Leu => each!(|x, y| !(x > y)),
                    Compare::Gtu => each!(|x, y| !(x <= y)),
                    Compare::Geu => each!(|x, y| !(x < y)),
                }
                mask_of(&result)
            }};
        }
        let r = &*self.registers;
        match ty {
            CompareType::S32 => over!(r.get32(inst.a), r.get32(inst.b), |x: u32| x as i32),
            CompareType::U32 | CompareType::U16 => {
                over!(r.get32(inst.a), r.get32(inst.b), |x: u32| x)
            }
            CompareType::S16 => over!(r.get32(inst.a), r.get32(inst.b), |x: u32| x as u16 as i16),
            CompareType::S64 => over!(r.get64(inst.a), r.get64(inst.b), |x: u64| x as i64),
            CompareType::U64 => over!(r.get64(inst.a), r.get64(inst.b), |x: u64| x),
            CompareType::F32 => over!(r.get32(inst.a), r.get32(inst.b), f32_of),
            CompareType::F32Ftz => {
                over!(r.get32(inst.a), r.get32(inst.b), |x: u32| f32_of(flush(x)))
            }
            CompareType::F64 => over!(r.get64(inst.a), r.get64(inst.b), f64::from_bits),
            CompareType::F16 => {
                over!(r.get32(inst.a), r.get32(inst.b), |x: u32| {
                    half::f16::from_bits(x as u16).to_f32()
                })
            }
            CompareType::Bf16 => {
                over!(r.get32(inst.a), r.get32(inst.b), |x: u32| f32_of(x << 16))
            }
        }
    }

    #[inline(always)]
    pub(super) fn setp(&mut self, inst: &Inst, setp: SetP) {
        let result = self.compare(inst, setp.compare, setp.ty);
        match setp.combine {
            None => {
                self.set_predicate(inst.p, result);
                self.set_predicate(inst.q, !result);
            }
            Some((combine, negated)) => {
                let other = self.predicate(inst.listed, negated);
                let join = |value: u32| match combine {
                    Combine::And => value & other,
                    Combine::Or => value | other,
                    Combine::Xor => value ^ other,
                };
                self.set_predicate(inst.p, join(result));
                self.set_predicate(inst.q, join(!result));
            }
        }
    }

    #[inline(always)]
    pub(super) fn row_wide(&mut self, inst: &Inst, f: impl Fn(&Lanes64, &Lanes64) -> Lanes64) {
        let d = f(self.registers.get64(inst.a), self.registers.get64(inst.b));
        self.registers.put64(inst.d, &d, self.lanes);
    }

    #[inline(always)]
    pub(super) fn unpack(&mut self, inst: &Inst) {
        let a: Lanes64 = if inst.q == 1 {
            *self.registers.get64(inst.a)
        } else {
            self.registers.get32(inst.a).map(u64::from)
        };
        let bits = inst.imm as u32;
        for part in 0..u32::from(inst.listed) {
            let row = self.lists[(inst.list + part) as usize];
            let mut d = [0_u32; 32];
            for lane in 0..32 {
                d[lane] = (a[lane] >> (part * bits)) as u32 & (u32::MAX >> (32 - bits.min(32)));
            }
            self.registers.put32(row, &d, self.lanes);
        }
    }

    #[inline(always)]
    pub(super) fn pack(&mut self, inst: &Inst, wide: bool) {
        let bits = inst.imm as u32;
        let mut d = [0_u64; 32];
        for part in 0..u32::from(inst.listed) {
            let row = self
                .registers
                .get32(self.lists[(inst.list + part) as usize]);
            for lane in 0..32 {
                let value = u64::from(row[lane] & (u32::MAX >> (32 - bits.min(32))));
                d[lane] |= value << (part * bits);
            }
        }
        if wide {
            self.registers.put64(inst.d, &d, self.lanes);
        } else {
            self.registers
                .put32(inst.d, &d.map(|value| value as u32), self.lanes);
        }
    }
}
