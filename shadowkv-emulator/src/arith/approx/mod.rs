//! The approximate functions, bit for bit as an H100 gives them.
//!
//! Checked on every significand of `ex2`, `lg2`, `rcp`, `rsqrt` and `sqrt`, on 20 million arguments each of `sin`, `cos` and
//! `tanh`, on all 16-bit floats, and on 16 thousand singles with every special value. Other chips may differ in bits;
//! within the bounds that the PTX ISA documents they do not.

mod half;
mod rows;
mod tables;
mod unit;

pub use half::{
    ex2_approx_f16, ex2_approx_f16x2, ex2_approx_ftz_bf16, ex2_approx_ftz_bf16x2, tanh_approx_bf16,
    tanh_approx_bf16x2, tanh_approx_f16, tanh_approx_f16x2,
};
pub use rows::{
    cos_approx, div_approx, div_approx_ftz, div_full, div_full_ftz, ex2_approx, ex2_approx_ftz,
    lg2_approx, lg2_approx_ftz, rcp_approx, rcp_approx_ftz, rsqrt_approx, rsqrt_approx_ftz,
    sin_approx, sqrt_approx, sqrt_approx_ftz, tanh_approx,
};

#[cfg(test)]
mod recorded;
#[cfg(test)]
mod tests;
