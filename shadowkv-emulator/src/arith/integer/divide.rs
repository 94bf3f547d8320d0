//! Division. PTX leaves division by zero open; on an H100 quotients and remainders are all ones.

use super::rows;

rows! {
    /// `div.u16`
    fn div_u16(a: u32, b: u32) -> u32 { (a & 0xffff).checked_div(b & 0xffff).unwrap_or(0xffff) }
    /// `rem.u16`
    fn rem_u16(a: u32, b: u32) -> u32 { (a & 0xffff).checked_rem(b & 0xffff).unwrap_or(0xffff) }
    /// `div.s16`
    fn div_s16(a: u32, b: u32) -> u32 { if b as i16 == 0 { 0xffff } else { u32::from((a as i16).wrapping_div(b as i16) as u16) } }
    /// `rem.s16`
    fn rem_s16(a: u32, b: u32) -> u32 { if b as i16 == 0 { 0xffff } else { u32::from((a as i16).wrapping_rem(b as i16) as u16) } }
    /// `div.u32`
    fn div_u32(a: u32, b: u32) -> u32 { a.checked_div(b).unwrap_or(u32::MAX) }
    /// `rem.u32`
    fn rem_u32(a: u32, b: u32) -> u32 { a.checked_rem(b).unwrap_or(u32::MAX) }
    /// `div.s32`
    fn div_s32(a: u32, b: u32) -> u32 { if b == 0 { u32::MAX } else { (a as i32).wrapping_div(b as i32) as u32 } }
    /// `rem.s32`
    fn rem_s32(a: u32, b: u32) -> u32 { if b == 0 { u32::MAX } else { (a as i32).wrapping_rem(b as i32) as u32 } }
    /// `div.u64`
    fn div_u64(a: u64, b: u64) -> u64 { a.checked_div(b).unwrap_or(u64::MAX) }
    /// `rem.u64`
    fn rem_u64(a: u64, b: u64) -> u64 { a.checked_rem(b).unwrap_or(u64::MAX) }
    /// `div.s64`
    fn div_s64(a: u64, b: u64) -> u64 { if b == 0 { u64::MAX } else { (a as i64).wrapping_div(b as i64) as u64 } }
    /// `rem.s64`
    fn rem_s64(a: u64, b: u64) -> u64 { if b == 0 { u64::MAX } else { (a as i64).wrapping_rem(b as i64) as u64 } }
}
