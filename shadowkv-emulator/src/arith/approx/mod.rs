//! The approximate functions, bit for bit as an H100 gives them.

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
mod tests;
