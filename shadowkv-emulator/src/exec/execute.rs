//! Instructions that only registers and predicates take part in.

use crate::arith::{Lanes64, approx, convert, integer, single};
use crate::program::{Code, Inst};

use super::alu::Machine;

impl Machine<'_> {
    /// Executes an instruction of registers and predicates; `false` if it is of another kind.
    #[inline(always)]
    #[expect(
        clippy::too_many_lines,
        clippy::match_same_arms,
        clippy::cast_lossless,
        reason = "one table of instructions, in the order of the ISA; casts mirror its types"
    )]
    pub(crate) fn execute(&mut self, inst: &Inst) -> bool {
        match inst.code {
            Code::Mov32 => self.one(inst, |a| a),
            Code::Mov64 => self.wide_one(inst, |a| a),
            Code::MovPred => {
                let value = self.predicate(inst.q, inst.imm & 1 == 1);
                self.set_predicate(inst.p, value);
            }
            Code::Unpack => self.unpack(inst),
            Code::Pack { wide } => self.pack(inst, wide),

            Code::Add32 => self.two(inst, u32::wrapping_add),
            Code::Sub32 => self.two(inst, u32::wrapping_sub),
            Code::MulLo32 => self.two(inst, u32::wrapping_mul),
            Code::MulHiS32 => self.two(inst, |a, b| {
                ((i64::from(a as i32) * i64::from(b as i32)) >> 32) as u32
            }),
            Code::MulHiU32 => {
                self.two(inst, |a, b| ((u64::from(a) * u64::from(b)) >> 32) as u32);
            }
            Code::MadLo32 => self.three(inst, |a, b, c| a.wrapping_mul(b).wrapping_add(c)),
            Code::MadHiS32 => self.three(inst, |a, b, c| {
                (((i64::from(a as i32) * i64::from(b as i32)) >> 32) as u32).wrapping_add(c)
            }),
            Code::MadHiU32 => self.three(inst, |a, b, c| {
                (((u64::from(a) * u64::from(b)) >> 32) as u32).wrapping_add(c)
            }),
            Code::And32 => self.two(inst, |a, b| a & b),
            Code::Or32 => self.two(inst, |a, b| a | b),
            Code::Xor32 => self.two(inst, |a, b| a ^ b),
            Code::Not32 => self.one(inst, |a| !a),
            Code::Shl32 => self.two(inst, |a, b| if b > 31 { 0 } else { a << (b & 31) }),
            Code::ShrU32 => self.two(inst, |a, b| if b > 31 { 0 } else { a >> (b & 31) }),
            Code::ShrS32 => self.two(inst, |a, b| ((a as i32) >> b.min(31)) as u32),
            Code::MinS32 => self.two(inst, |a, b| (a as i32).min(b as i32) as u32),
            Code::MinU32 => self.two(inst, u32::min),
            Code::MaxS32 => self.two(inst, |a, b| (a as i32).max(b as i32) as u32),
            Code::MaxU32 => self.two(inst, u32::max),
            Code::Neg32 => self.one(inst, u32::wrapping_neg),
            Code::Abs32 => self.one(inst, |a| (a as i32).wrapping_abs() as u32),
            Code::DivS32 => self.row_two(inst, integer::div_s32),
            Code::DivU32 => self.row_two(inst, integer::div_u32),
            Code::RemS32 => self.row_two(inst, integer::rem_s32),
            Code::RemU32 => self.row_two(inst, integer::rem_u32),
            Code::Sel32 => {
                let select = self.predicate(inst.q, inst.imm & 1 == 1);
                let a = *self.registers.get32(inst.a);
                let mut d = *self.registers.get32(inst.b);
                let select = super::rows::spread(select);
                for lane in 0..32 {
                    d[lane] = d[lane] & !select[lane] | a[lane] & select[lane];
                }
                self.registers.put32(inst.d, &d, self.lanes);
            }
            Code::Popc32 => self.one(inst, u32::count_ones),
            Code::Clz32 => self.one(inst, u32::leading_zeros),
            Code::Brev32 => self.one(inst, u32::reverse_bits),
            Code::Bfi32 => {
                let length = *self.registers.get32(self.lists[inst.list as usize]);
                self.row_three(inst, |a, b, c| integer::bfi_b32(a, b, c, &length));
            }
            Code::BfeU32 => self.row_three(inst, integer::bfe_u32),
            Code::BfeS32 => self.row_three(inst, integer::bfe_s32),
            Code::Prmt(mode) => self.row_three(inst, |a, b, c| integer::prmt_b32(a, b, c, mode)),
            Code::Lop3 => {
                let table = inst.imm as u8;
                self.row_three(inst, |a, b, c| integer::lop3_b32(a, b, c, table));
            }
            Code::FunnelLeft { clamp: true } => self.row_three(inst, integer::shf_l_clamp_b32),
            Code::FunnelLeft { clamp: false } => self.row_three(inst, integer::shf_l_wrap_b32),
            Code::FunnelRight { clamp: true } => self.row_three(inst, integer::shf_r_clamp_b32),
            Code::FunnelRight { clamp: false } => self.row_three(inst, integer::shf_r_wrap_b32),
            Code::SadS32 => self.row_three(inst, integer::sad_s32),
            Code::SadU32 => self.row_three(inst, integer::sad_u32),
            Code::Mul24LoS => self.row_two(inst, integer::mul24_lo_s32),
            Code::Mul24LoU => self.row_two(inst, integer::mul24_lo_u32),
            Code::FindU32 { shift } => self.row_one(inst, |a| integer::bfind_u32(a, shift)),
            Code::FindS32 { shift } => self.row_one(inst, |a| integer::bfind_s32(a, shift)),
            Code::Dp4a { a_signed, b_signed } => {
                self.row_three(inst, |a, b, c| integer::dp4a(a, b, c, a_signed, b_signed));
            }
            Code::Dp2a {
                a_signed,
                b_signed,
                high,
            } => {
                self.row_three(inst, |a, b, c| {
                    integer::dp2a(a, b, c, a_signed, b_signed, high)
                });
            }
            Code::AddSatS32 => {
                self.two(inst, |a, b| (a as i32).saturating_add(b as i32) as u32);
            }
            Code::SubSatS32 => {
                self.two(inst, |a, b| (a as i32).saturating_sub(b as i32) as u32);
            }

            Code::Add64 => self.wide_two(inst, u64::wrapping_add),
            Code::Sub64 => self.wide_two(inst, u64::wrapping_sub),
            Code::MulLo64 => self.wide_two(inst, u64::wrapping_mul),
            Code::MulHiU64 => {
                self.wide_two(inst, |a, b| ((u128::from(a) * u128::from(b)) >> 64) as u64);
            }
            Code::MulHiS64 => self.wide_two(inst, |a, b| {
                ((i128::from(a as i64) * i128::from(b as i64)) >> 64) as u64
            }),
            Code::MadLo64 => self.wide_three(inst, |a, b, c| a.wrapping_mul(b).wrapping_add(c)),
            Code::MulWideS32 => self.widening(inst, |a, b| {
                (i64::from(a as i32) * i64::from(b as i32)) as u64
            }),
            Code::MulWideU32 => self.widening(inst, |a, b| u64::from(a) * u64::from(b)),
            Code::MadWideS32 => self.widening_add(inst, |a, b| {
                (i64::from(a as i32) * i64::from(b as i32)) as u64
            }),
            Code::MadWideU32 => self.widening_add(inst, |a, b| u64::from(a) * u64::from(b)),
            Code::And64 => self.wide_two(inst, |a, b| a & b),
            Code::Or64 => self.wide_two(inst, |a, b| a | b),
            Code::Xor64 => self.wide_two(inst, |a, b| a ^ b),
            Code::Not64 => self.wide_one(inst, |a| !a),
            Code::Shl64 => {
                self.wide_shift(inst, |a, b| if b > 63 { 0 } else { a << (b & 63) });
            }
            Code::ShrU64 => {
                self.wide_shift(inst, |a, b| if b > 63 { 0 } else { a >> (b & 63) });
            }
            Code::ShrS64 => self.wide_shift(inst, |a, b| ((a as i64) >> b.min(63)) as u64),
            Code::MinS64 => self.wide_two(inst, |a, b| (a as i64).min(b as i64) as u64),
            Code::MinU64 => self.wide_two(inst, u64::min),
            Code::MaxS64 => self.wide_two(inst, |a, b| (a as i64).max(b as i64) as u64),
            Code::MaxU64 => self.wide_two(inst, u64::max),
            Code::Neg64 => self.wide_one(inst, u64::wrapping_neg),
            Code::Abs64 => self.wide_one(inst, |a| (a as i64).wrapping_abs() as u64),
            Code::DivS64 => self.row_wide(inst, integer::div_s64),
            Code::DivU64 => self.row_wide(inst, integer::div_u64),
            Code::RemS64 => self.row_wide(inst, integer::rem_s64),
            Code::RemU64 => self.row_wide(inst, integer::rem_u64),
            Code::Sel64 => {
                let select = self.predicate(inst.q, inst.imm & 1 == 1);
                let a = *self.registers.get64(inst.a);
                let mut d = *self.registers.get64(inst.b);
                for lane in 0..32 {
                    let select = 0_u64.wrapping_sub(u64::from(select >> lane & 1));
                    d[lane] = d[lane] & !select | a[lane] & select;
                }
                self.registers.put64(inst.d, &d, self.lanes);
            }
            Code::Popc64 => self.narrowing(inst, u64::count_ones),
            Code::Clz64 => self.narrowing(inst, u64::leading_zeros),
            Code::Brev64 => self.wide_one(inst, u64::reverse_bits),
            Code::Bfi64 => {
                let position = *self.registers.get32(inst.c);
                let length = *self.registers.get32(self.lists[inst.list as usize]);
                self.row_wide(inst, |a, b| integer::bfi_b64(a, b, &position, &length));
            }
            Code::BfeU64 | Code::BfeS64 => {
                let position = *self.registers.get32(inst.b);
                let length = *self.registers.get32(inst.c);
                let a = self.registers.get64(inst.a);
                let d = if inst.code == Code::BfeU64 {
                    integer::bfe_u64(a, &position, &length)
                } else {
                    integer::bfe_s64(a, &position, &length)
                };
                self.registers.put64(inst.d, &d, self.lanes);
            }

            Code::Add16 => self.two(inst, |a, b| a.wrapping_add(b) & 0xffff),
            Code::Sub16 => self.two(inst, |a, b| a.wrapping_sub(b) & 0xffff),
            Code::MulLo16 => self.two(inst, |a, b| a.wrapping_mul(b) & 0xffff),
            Code::MulHiS16 => self.two(inst, |a, b| {
                ((i32::from(a as i16) * i32::from(b as i16)) >> 16) as u32 & 0xffff
            }),
            Code::MulHiU16 => self.two(inst, |a, b| a.wrapping_mul(b) >> 16),
            Code::MadLo16 => {
                self.three(inst, |a, b, c| a.wrapping_mul(b).wrapping_add(c) & 0xffff);
            }
            Code::MulWideS16 => self.two(inst, |a, b| {
                (i32::from(a as i16) * i32::from(b as i16)) as u32
            }),
            Code::MulWideU16 => self.two(inst, u32::wrapping_mul),
            Code::MadWideS16 => self.three(inst, |a, b, c| {
                ((i32::from(a as i16) * i32::from(b as i16)) as u32).wrapping_add(c)
            }),
            Code::MadWideU16 => self.three(inst, |a, b, c| a.wrapping_mul(b).wrapping_add(c)),
            Code::And16 => self.two(inst, |a, b| a & b),
            Code::Or16 => self.two(inst, |a, b| a | b),
            Code::Xor16 => self.two(inst, |a, b| a ^ b),
            Code::Not16 => self.one(inst, |a| !a & 0xffff),
            Code::Shl16 => self.two(inst, |a, b| if b > 15 { 0 } else { (a << b) & 0xffff }),
            Code::ShrU16 => self.two(inst, |a, b| if b > 15 { 0 } else { a >> b }),
            Code::ShrS16 => {
                self.two(inst, |a, b| ((a as i16) >> b.min(15)) as u16 as u32);
            }
            Code::MinS16 => self.two(inst, |a, b| (a as i16).min(b as i16) as u16 as u32),
            Code::MinU16 => self.two(inst, u32::min),
            Code::MaxS16 => self.two(inst, |a, b| (a as i16).max(b as i16) as u16 as u32),
            Code::MaxU16 => self.two(inst, u32::max),
            Code::Neg16 => self.one(inst, |a| a.wrapping_neg() & 0xffff),
            Code::Abs16 => self.one(inst, |a| (a as i16).wrapping_abs() as u16 as u32),
            Code::DivS16 => self.two(inst, |a, b| {
                if b.trailing_zeros() >= 16 {
                    0xffff
                } else {
                    (a as i16).wrapping_div(b as i16) as u16 as u32
                }
            }),
            Code::DivU16 => self.two(inst, |a, b| a.checked_div(b).unwrap_or(0xffff)),
            Code::RemS16 => self.two(inst, |a, b| {
                if b.trailing_zeros() >= 16 {
                    0xffff // as the quotient's, measured on an H100
                } else {
                    (a as i16).wrapping_rem(b as i16) as u16 as u32
                }
            }),
            Code::RemU16 => self.two(inst, |a, b| a.checked_rem(b).unwrap_or(0xffff)),

            Code::AndPred | Code::OrPred | Code::XorPred | Code::NotPred => {
                let a = self.predicate(inst.q, inst.imm & 1 == 1);
                let b = self.predicate(inst.listed, inst.imm & 2 == 2);
                let value = match inst.code {
                    Code::AndPred => a & b,
                    Code::OrPred => a | b,
                    Code::XorPred => a ^ b,
                    _ => !a,
                };
                self.set_predicate(inst.p, value);
            }
            Code::SetP(setp) => self.setp(inst, setp),
            Code::Set { compare, ty, float } => {
                let result = self.compare(inst, compare, ty);
                let truth = if float { 1.0_f32.to_bits() } else { u32::MAX };
                let mut d = super::rows::spread(result);
                for lane in &mut d {
                    *lane &= truth;
                }
                self.registers.put32(inst.d, &d, self.lanes);
            }

            Code::AddF32 => self.row_two(inst, single::add_rn),
            Code::SubF32 => self.row_two(inst, |a, b| single::add_rn(a, &single::neg(b))),
            Code::MulF32 => self.row_two(inst, single::mul_rn),
            Code::FmaF32 => self.row_three(inst, single::fma_rn),
            Code::AddF32Ftz => self.row_two(inst, single::add_rn_ftz),
            Code::SubF32Ftz => {
                self.row_two(inst, |a, b| single::add_rn_ftz(a, &single::neg(b)));
            }
            Code::MulF32Ftz => self.row_two(inst, single::mul_rn_ftz),
            Code::FmaF32Ftz => self.row_three(inst, single::fma_rn_ftz),
            Code::SatF32(operation, ftz) => {
                let saturated = |row| single::saturate(&row);
                match (operation, ftz) {
                    (0, false) => self.row_two(inst, |a, b| saturated(single::add_rn(a, b))),
                    (0, true) => self.row_two(inst, |a, b| saturated(single::add_rn_ftz(a, b))),
                    (1, false) => {
                        self.row_two(inst, |a, b| saturated(single::add_rn(a, &single::neg(b))));
                    }
                    (1, true) => self.row_two(inst, |a, b| {
                        saturated(single::add_rn_ftz(a, &single::neg(b)))
                    }),
                    (2, false) => self.row_two(inst, |a, b| saturated(single::mul_rn(a, b))),
                    (2, true) => self.row_two(inst, |a, b| saturated(single::mul_rn_ftz(a, b))),
                    (_, false) => {
                        self.row_three(inst, |a, b, c| saturated(single::fma_rn(a, b, c)));
                    }
                    (_, true) => {
                        self.row_three(inst, |a, b, c| saturated(single::fma_rn_ftz(a, b, c)));
                    }
                }
            }
            Code::MinF32 { ftz, nan } => match (ftz, nan) {
                (false, false) => self.row_two(inst, single::min),
                (true, false) => self.row_two(inst, single::min_ftz),
                (false, true) => self.row_two(inst, single::min_nan),
                (true, true) => self.row_two(inst, single::min_ftz_nan),
            },
            Code::MaxF32 { ftz, nan } => match (ftz, nan) {
                (false, false) => self.row_two(inst, single::max),
                (true, false) => self.row_two(inst, single::max_ftz),
                (false, true) => self.row_two(inst, single::max_nan),
                (true, true) => self.row_two(inst, single::max_ftz_nan),
            },
            Code::NegF32 { ftz: false } => self.row_one(inst, single::neg),
            Code::NegF32 { ftz: true } => self.row_one(inst, single::neg_ftz),
            Code::AbsF32 { ftz: false } => self.row_one(inst, single::abs),
            Code::AbsF32 { ftz: true } => self.row_one(inst, single::abs_ftz),
            Code::DivF32 { ftz: false } => self.row_two(inst, single::div_rn),
            Code::DivF32 { ftz: true } => self.row_two(inst, single::div_rn_ftz),
            Code::DivApproxF32 { ftz: false } => self.row_two(inst, approx::div_approx),
            Code::DivApproxF32 { ftz: true } => self.row_two(inst, approx::div_approx_ftz),
            Code::DivFullF32 { ftz: false } => self.row_two(inst, approx::div_full),
            Code::DivFullF32 { ftz: true } => self.row_two(inst, approx::div_full_ftz),
            Code::SqrtF32 { ftz: false } => self.row_one(inst, single::sqrt_rn),
            Code::SqrtF32 { ftz: true } => self.row_one(inst, single::sqrt_rn_ftz),
            Code::SqrtApproxF32 { ftz: false } => self.row_one(inst, approx::sqrt_approx),
            Code::SqrtApproxF32 { ftz: true } => self.row_one(inst, approx::sqrt_approx_ftz),
            Code::RcpF32 { ftz: false } => self.row_one(inst, single::rcp_rn),
            Code::RcpF32 { ftz: true } => self.row_one(inst, single::rcp_rn_ftz),
            Code::RcpApproxF32 { ftz: false } => self.row_one(inst, approx::rcp_approx),
            Code::RcpApproxF32 { ftz: true } => self.row_one(inst, approx::rcp_approx_ftz),
            Code::RsqrtApproxF32 { ftz: false } => self.row_one(inst, approx::rsqrt_approx),
            Code::RsqrtApproxF32 { ftz: true } => self.row_one(inst, approx::rsqrt_approx_ftz),
            Code::Ex2ApproxF32 { ftz: false } => self.row_one(inst, approx::ex2_approx),
            Code::Ex2ApproxF32 { ftz: true } => self.row_one(inst, approx::ex2_approx_ftz),
            Code::Lg2ApproxF32 { ftz: false } => self.row_one(inst, approx::lg2_approx),
            Code::Lg2ApproxF32 { ftz: true } => self.row_one(inst, approx::lg2_approx_ftz),
            // The unit flushes denormals either way.
            Code::SinApproxF32 { .. } => self.row_one(inst, approx::sin_approx),
            // The unit flushes denormals either way.
            Code::CosApproxF32 { .. } => self.row_one(inst, approx::cos_approx),
            Code::TanhApproxF32 => self.row_one(inst, approx::tanh_approx),
            Code::CopysignF32 => self.row_two(inst, single::copysign),
            Code::AddF64 => self.f64_two(inst, |a, b| a + b),
            Code::SubF64 => self.f64_two(inst, |a, b| a - b),
            Code::MulF64 => self.f64_two(inst, |a, b| a * b),
            Code::DivF64 => self.f64_two(inst, |a, b| a / b),
            Code::MinF64 => self.f64_two(inst, f64::min),
            Code::MaxF64 => self.f64_two(inst, f64::max),
            Code::FmaF64 => self.wide_three(inst, |a, b, c| {
                f64::from_bits(a)
                    .mul_add(f64::from_bits(b), f64::from_bits(c))
                    .to_bits()
            }),
            Code::SqrtF64 => self.wide_one(inst, |a| f64::from_bits(a).sqrt().to_bits()),
            Code::RcpF64 => self.wide_one(inst, |a| f64::from_bits(a).recip().to_bits()),
            Code::NegF64 => self.wide_one(inst, |a| a ^ 1 << 63),
            Code::AbsF64 => self.wide_one(inst, |a| a & !(1 << 63)),

            Code::Half(operation) => {
                let sources = [
                    *self.registers.get32(inst.a),
                    *self.registers.get32(inst.b),
                    *self.registers.get32(inst.c),
                ];
                let d = operation.apply(&sources);
                self.registers.put32(inst.d, &d, self.lanes);
            }

            Code::CvtS64FromS32 => {
                let d = convert::s64_from_s32(self.registers.get32(inst.a));
                self.registers.put64(inst.d, &d, self.lanes);
            }
            Code::CvtU64FromU32 => {
                let d = convert::u64_from_u32(self.registers.get32(inst.a));
                self.registers.put64(inst.d, &d, self.lanes);
            }
            Code::CvtLow32 => self.narrowing(inst, |a| a as u32),
            Code::CvtLow16 => self.one(inst, |a| a & 0xffff),
            Code::CvtF32FromS32 => self.row_one(inst, convert::f32_from_s32),
            Code::CvtF32FromU32 => self.one(inst, |a| (a as f32).to_bits()),
            Code::CvtS32FromF32 { nearest } => {
                if nearest {
                    self.row_one(inst, convert::s32_from_f32_rni);
                } else {
                    self.row_one(inst, convert::s32_from_f32_rzi);
                }
            }
            Code::CvtRintF32 => self.row_one(inst, convert::rint_f32),
            Code::CvtBf16x2 => self.row_two(inst, convert::bf16x2_from_f32),
            Code::Cvt {
                conversion,
                from_wide,
                to_wide,
            } => {
                let widen = |row: u16| -> Lanes64 {
                    if from_wide {
                        *self.registers.get64(row)
                    } else {
                        self.registers.get32(row).map(u64::from)
                    }
                };
                let (a, b) = (widen(inst.a), widen(inst.b));
                let d = conversion.apply(&a, &b);
                if to_wide {
                    self.registers.put64(inst.d, &d, self.lanes);
                } else {
                    self.registers
                        .put32(inst.d, &d.map(|value| value as u32), self.lanes);
                }
            }
            _ => return false,
        }
        true
    }
}
