//! The rarer integer instructions (PTX ISA, integer arithmetic and logic and shift instructions), a row of 32 lanes at a
//! time. Types of 16 bits have their values in the lower half of a lane, and results have zeros above.

mod bits;
mod divide;
mod products;
mod shuffle;

pub use bits::{
    bfe_s32, bfe_s64, bfe_u32, bfe_u64, bfi_b32, bfi_b64, bfind_s32, bfind_s64, bfind_u32,
    bfind_u64, bmsk_clamp_b32, bmsk_wrap_b32, brev_b32, brev_b64, clz_b32, clz_b64, popc_b32,
    popc_b64, szext_clamp_s32, szext_clamp_u32, szext_wrap_s32, szext_wrap_u32,
};
pub use divide::{
    div_s16, div_s32, div_s64, div_u16, div_u32, div_u64, rem_s16, rem_s32, rem_s64, rem_u16,
    rem_u32, rem_u64,
};
pub use products::{
    abs_s16, abs_s32, abs_s64, add_sat_s32, dp2a, dp4a, mad_hi_sat_s32, mad24_hi_s32,
    mad24_hi_sat_s32, mad24_hi_u32, mad24_lo_s32, mad24_lo_u32, mul_hi_s16, mul_hi_s32, mul_hi_s64,
    mul_hi_u16, mul_hi_u32, mul_hi_u64, mul24_hi_s32, mul24_hi_u32, mul24_lo_s32, mul24_lo_u32,
    neg_s16, neg_s32, neg_s64, sad_s16, sad_s32, sad_s64, sad_u16, sad_u32, sad_u64, sub_sat_s32,
};
pub use shuffle::{
    PermuteMode, lop3_b32, prmt_b32, shf_l_clamp_b32, shf_l_wrap_b32, shf_r_clamp_b32,
    shf_r_wrap_b32,
};

/// Functions of a lane over 32.
macro_rules! rows {
    ($($(#[$doc:meta])* fn $name:ident($($source:ident: $from:ty),+) -> $to:ty { $lane:expr })*) => {$(
        $(#[$doc])*
        #[inline(always)]
        pub fn $name($($source: &[$from; 32]),+) -> [$to; 32] {
            let mut d = [0; 32];
            for (lane, d) in d.iter_mut().enumerate() {
                $(let $source = $source[lane];)+
                *d = $lane;
            }
            d
        }
    )*};
}
use rows;

#[cfg(test)]
mod number_tests;
#[cfg(test)]
mod tests;
