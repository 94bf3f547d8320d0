//! Bit fields, counts and masks. Positions and lengths of 32-bit fields are the lowest 8 bits of their operands; those
//! of 64-bit fields are whole words on an H100, which has no instruction for them.

use super::rows;

/// The lowest `length` bits (all, from 32 up).
#[inline(always)]
fn mask32(length: u32) -> u32 {
    if length >= 32 {
        u32::MAX
    } else {
        (1 << (length & 31)) - 1
    }
}

/// The lowest `length` bits (all, from 64 up).
#[inline(always)]
fn mask64(length: u32) -> u64 {
    if length >= 64 {
        u64::MAX
    } else {
        (1 << (length & 63)) - 1
    }
}

#[inline(always)]
fn shift_right32(a: u32, places: u32) -> u32 {
    if places >= 32 { 0 } else { a >> (places & 31) }
}

#[inline(always)]
fn shift_left32(a: u32, places: u32) -> u32 {
    if places >= 32 { 0 } else { a << (places & 31) }
}

#[inline(always)]
fn shift_right64(a: u64, places: u32) -> u64 {
    if places >= 64 { 0 } else { a >> (places & 63) }
}

#[inline(always)]
fn shift_left64(a: u64, places: u32) -> u64 {
    if places >= 64 { 0 } else { a << (places & 63) }
}

#[inline(always)]
fn field_s32(a: u32, pos: u32, len: u32) -> u32 {
    let (pos, len) = (pos & 0xff, len & 0xff);
    // The sign is the field's last bit, or the word's if the field ends beyond it.
    let last = (pos + len.max(1) - 1).min(31);
    let sign = if len != 0 && (a >> last) & 1 == 1 {
        u32::MAX
    } else {
        0
    };
    // Bits of the field that the word has.
    let present = mask32(len) & if pos >= 32 { 0 } else { u32::MAX >> (pos & 31) };
    (shift_right32(a, pos) & present) | (sign & !present)
}

#[inline(always)]
fn field_s64(a: u64, pos: u32, len: u32) -> u64 {
    let last = pos.saturating_add(len.max(1) - 1).min(63);
    let sign = if len != 0 && (a >> last) & 1 == 1 {
        u64::MAX
    } else {
        0
    };
    let present = mask64(len) & if pos >= 64 { 0 } else { u64::MAX >> (pos & 63) };
    (shift_right64(a, pos) & present) | (sign & !present)
}

#[inline(always)]
fn sign_extend32(a: u32, len: u32) -> u32 {
    let unused = 32 - len.clamp(1, 32);
    if len == 0 {
        0
    } else {
        ((a << unused) as i32 >> unused) as u32
    }
}

rows! {
    /// `bfe.u32`
    fn bfe_u32(a: u32, pos: u32, len: u32) -> u32 { shift_right32(a, pos & 0xff) & mask32(len & 0xff) }
    /// `bfe.s32`
    fn bfe_s32(a: u32, pos: u32, len: u32) -> u32 { field_s32(a, pos, len) }
    /// `bfe.u64`
    fn bfe_u64(a: u64, pos: u32, len: u32) -> u64 { shift_right64(a, pos) & mask64(len) }
    /// `bfe.s64`
    fn bfe_s64(a: u64, pos: u32, len: u32) -> u64 { field_s64(a, pos, len) }
    /// `bfi.b32`: `a`'s lowest bits into `b`
    fn bfi_b32(a: u32, b: u32, pos: u32, len: u32) -> u32 {{
        let field = shift_left32(mask32(len & 0xff), pos & 0xff);
        (b & !field) | (shift_left32(a, pos & 0xff) & field)
    }}
    /// `bfi.b64`: `a`'s lowest bits into `b`
    fn bfi_b64(a: u64, b: u64, pos: u32, len: u32) -> u64 {{
        let field = shift_left64(mask64(len), pos);
        (b & !field) | (shift_left64(a, pos) & field)
    }}
    /// `brev.b32`
    fn brev_b32(a: u32) -> u32 { a.reverse_bits() }
    /// `brev.b64`
    fn brev_b64(a: u64) -> u64 { a.reverse_bits() }
    /// `clz.b32`
    fn clz_b32(a: u32) -> u32 { a.leading_zeros() }
    /// `clz.b64`
    fn clz_b64(a: u64) -> u32 { a.leading_zeros() }
    /// `popc.b32`
    fn popc_b32(a: u32) -> u32 { a.count_ones() }
    /// `popc.b64`
    fn popc_b64(a: u64) -> u32 { a.count_ones() }
    /// `bmsk.clamp.b32`: `b` ones from bit `a` up
    fn bmsk_clamp_b32(a: u32, b: u32) -> u32 { shift_left32(mask32(b), a) }
    /// `bmsk.wrap.b32`: `b` ones from bit `a` up, both modulo 32
    fn bmsk_wrap_b32(a: u32, b: u32) -> u32 { shift_left32(mask32(b & 31), a & 31) }
    /// `szext.clamp.u32`: `a`'s lowest `b` bits
    fn szext_clamp_u32(a: u32, b: u32) -> u32 { a & mask32(b) }
    /// `szext.wrap.u32`: `a`'s lowest `b` bits, modulo 32
    fn szext_wrap_u32(a: u32, b: u32) -> u32 { a & mask32(b & 31) }
    /// `szext.clamp.s32`: `a`'s lowest `b` bits, sign-extended
    fn szext_clamp_s32(a: u32, b: u32) -> u32 { sign_extend32(a, b) }
    /// `szext.wrap.s32`: `a`'s lowest `b` bits, modulo 32, sign-extended
    fn szext_wrap_s32(a: u32, b: u32) -> u32 { sign_extend32(a, b & 31) }
}

/// `bfind`: the highest bit that is not a copy of the sign, or all ones; how far it is from the top if `shiftamt`.
macro_rules! find {
    ($($(#[$doc:meta])* $name:ident: $from:ty = $magnitude:expr;)*) => {$(
        $(#[$doc])*
        #[inline(always)]
        pub fn $name(a: &[$from; 32], shiftamt: bool) -> [u32; 32] {
            let mut d = [0; 32];
            for (d, &a) in d.iter_mut().zip(a) {
                let magnitude: $from = $magnitude(a);
                let zeros = magnitude.leading_zeros();
                let found = if shiftamt { zeros } else { (<$from>::BITS - 1).wrapping_sub(zeros) };
                *d = if magnitude == 0 { u32::MAX } else { found };
            }
            d
        }
    )*};
}

find! {
    /// `bfind.u32`, `bfind.shiftamt.u32`
    bfind_u32: u32 = |a: u32| a;
    /// `bfind.s32`, `bfind.shiftamt.s32`
    bfind_s32: u32 = |a: u32| a ^ (a as i32 >> 31) as u32;
    /// `bfind.u64`, `bfind.shiftamt.u64`
    bfind_u64: u64 = |a: u64| a;
    /// `bfind.s64`, `bfind.shiftamt.s64`
    bfind_s64: u64 = |a: u64| a ^ (a as i64 >> 63) as u64;
}
