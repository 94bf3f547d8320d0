//! Sums and products: saturating, high halves, 24 bits, dot products, differences.

use super::rows;
use crate::arith::Lanes32;

#[inline(always)]
fn unsigned24(a: u32) -> u64 {
    u64::from(a & 0x00ff_ffff)
}

#[inline(always)]
fn signed24(a: u32) -> i64 {
    i64::from((a << 8) as i32 >> 8)
}

#[inline(always)]
fn extend16(a: u32) -> i32 {
    i32::from(a as i16)
}

rows! {
    /// `add.sat.s32`
    fn add_sat_s32(a: u32, b: u32) -> u32 { (a as i32).saturating_add(b as i32) as u32 }
    /// `sub.sat.s32`
    fn sub_sat_s32(a: u32, b: u32) -> u32 { (a as i32).saturating_sub(b as i32) as u32 }
    /// `abs.s16`
    fn abs_s16(a: u32) -> u32 { u32::from((a as i16).unsigned_abs()) }
    /// `abs.s32`
    fn abs_s32(a: u32) -> u32 { (a as i32).unsigned_abs() }
    /// `abs.s64`
    fn abs_s64(a: u64) -> u64 { (a as i64).unsigned_abs() }
    /// `neg.s16`
    fn neg_s16(a: u32) -> u32 { a.wrapping_neg() & 0xffff }
    /// `neg.s32`
    fn neg_s32(a: u32) -> u32 { a.wrapping_neg() }
    /// `neg.s64`
    fn neg_s64(a: u64) -> u64 { a.wrapping_neg() }
    /// `mul.hi.u16`
    fn mul_hi_u16(a: u32, b: u32) -> u32 { ((a & 0xffff) * (b & 0xffff)) >> 16 }
    /// `mul.hi.s16`
    fn mul_hi_s16(a: u32, b: u32) -> u32 { ((extend16(a) * extend16(b)) >> 16) as u32 & 0xffff }
    /// `mul.hi.u32`
    fn mul_hi_u32(a: u32, b: u32) -> u32 { ((u64::from(a) * u64::from(b)) >> 32) as u32 }
    /// `mul.hi.s32`
    fn mul_hi_s32(a: u32, b: u32) -> u32 { ((i64::from(a as i32) * i64::from(b as i32)) >> 32) as u32 }
    /// `mul.hi.u64`
    fn mul_hi_u64(a: u64, b: u64) -> u64 { ((u128::from(a) * u128::from(b)) >> 64) as u64 }
    /// `mul.hi.s64`
    fn mul_hi_s64(a: u64, b: u64) -> u64 { ((i128::from(a as i64) * i128::from(b as i64)) >> 64) as u64 }
    /// `mad.hi.sat.s32`
    fn mad_hi_sat_s32(a: u32, b: u32, c: u32) -> u32 {{
        let high = ((i64::from(a as i32) * i64::from(b as i32)) >> 32) as i32;
        high.saturating_add(c as i32) as u32
    }}
    /// `mul24.lo.u32`
    fn mul24_lo_u32(a: u32, b: u32) -> u32 { (unsigned24(a) * unsigned24(b)) as u32 }
    /// `mul24.hi.u32`: bits 16 to 47
    fn mul24_hi_u32(a: u32, b: u32) -> u32 { ((unsigned24(a) * unsigned24(b)) >> 16) as u32 }
    /// `mul24.lo.s32`
    fn mul24_lo_s32(a: u32, b: u32) -> u32 { (signed24(a) * signed24(b)) as u32 }
    /// `mul24.hi.s32`: bits 16 to 47
    fn mul24_hi_s32(a: u32, b: u32) -> u32 { ((signed24(a) * signed24(b)) >> 16) as u32 }
    /// `mad24.lo.u32`
    fn mad24_lo_u32(a: u32, b: u32, c: u32) -> u32 { ((unsigned24(a) * unsigned24(b)) as u32).wrapping_add(c) }
    /// `mad24.hi.u32`
    fn mad24_hi_u32(a: u32, b: u32, c: u32) -> u32 { (((unsigned24(a) * unsigned24(b)) >> 16) as u32).wrapping_add(c) }
    /// `mad24.lo.s32`
    fn mad24_lo_s32(a: u32, b: u32, c: u32) -> u32 { ((signed24(a) * signed24(b)) as u32).wrapping_add(c) }
    /// `mad24.hi.s32`
    fn mad24_hi_s32(a: u32, b: u32, c: u32) -> u32 { (((signed24(a) * signed24(b)) >> 16) as u32).wrapping_add(c) }
    /// `mad24.hi.sat.s32`
    fn mad24_hi_sat_s32(a: u32, b: u32, c: u32) -> u32 {
        (((signed24(a) * signed24(b)) >> 16) as i32).saturating_add(c as i32) as u32
    }
    /// `sad.u16`
    fn sad_u16(a: u32, b: u32, c: u32) -> u32 { (a as u16).abs_diff(b as u16).wrapping_add(c as u16).into() }
    /// `sad.s16`
    fn sad_s16(a: u32, b: u32, c: u32) -> u32 { (a as i16).abs_diff(b as i16).wrapping_add(c as u16).into() }
    /// `sad.u32`
    fn sad_u32(a: u32, b: u32, c: u32) -> u32 { a.abs_diff(b).wrapping_add(c) }
    /// `sad.s32`
    fn sad_s32(a: u32, b: u32, c: u32) -> u32 { (a as i32).abs_diff(b as i32).wrapping_add(c) }
    /// `sad.u64`
    fn sad_u64(a: u64, b: u64, c: u64) -> u64 { a.abs_diff(b).wrapping_add(c) }
    /// `sad.s64`
    fn sad_s64(a: u64, b: u64, c: u64) -> u64 { (a as i64).abs_diff(b as i64).wrapping_add(c) }
}

#[inline(always)]
fn byte(word: u32, index: u32, signed: bool) -> i32 {
    let bits = (word >> (8 * index)) & 0xff;
    if signed {
        i32::from(bits as u8 as i8)
    } else {
        bits as i32
    }
}

#[inline(always)]
fn half(word: u32, index: u32, signed: bool) -> i32 {
    let bits = (word >> (16 * index)) & 0xffff;
    if signed {
        i32::from(bits as u16 as i16)
    } else {
        bits as i32
    }
}

/// `dp4a`: four products of bytes and `c`; `a` and `b` are `s32` or `u32` on their own.
#[inline(always)]
pub fn dp4a(a: &Lanes32, b: &Lanes32, c: &Lanes32, a_signed: bool, b_signed: bool) -> Lanes32 {
    let mut d = *c;
    for (lane, d) in d.iter_mut().enumerate() {
        for index in 0..4 {
            let product = byte(a[lane], index, a_signed) * byte(b[lane], index, b_signed);
            *d = d.wrapping_add(product as u32);
        }
    }
    d
}

/// `dp2a.lo`, or `dp2a.hi` if `high`: two products of `a`'s halves and two bytes of `b`, and `c`.
#[inline(always)]
pub fn dp2a(
    a: &Lanes32,
    b: &Lanes32,
    c: &Lanes32,
    a_signed: bool,
    b_signed: bool,
    high: bool,
) -> Lanes32 {
    let first = if high { 2 } else { 0 };
    let mut d = *c;
    for (lane, d) in d.iter_mut().enumerate() {
        for index in 0..2 {
            let product =
                half(a[lane], index, a_signed).wrapping_mul(byte(b[lane], first + index, b_signed));
            *d = d.wrapping_add(product as u32);
        }
    }
    d
}
