//! temporary
use super::Lanes32;
fn f(a: u32) -> f32 {
    f32::from_bits(a)
}
macro_rules! one {
    ($n:ident, $f:expr) => {
        #[inline(always)]
        pub fn $n(a: &Lanes32, _ftz: bool) -> Lanes32 {
            let mut d = [0; 32];
            let g = $f;
            for i in 0..32 {
                let v: f32 = g(f(a[i]));
                d[i] = v.to_bits();
            }
            d
        }
    };
}
one!(sqrt_rn_f32, |x: f32| x.sqrt());
one!(sqrt_approx_f32, |x: f32| x.sqrt());
one!(rcp_rn_f32, |x: f32| 1.0 / x);
one!(rcp_approx_f32, |x: f32| 1.0 / x);
one!(rsqrt_approx_f32, |x: f32| 1.0 / x.sqrt());
one!(ex2_approx_f32, |x: f32| x.exp2());
one!(lg2_approx_f32, |x: f32| x.log2());
one!(sin_approx_f32, |x: f32| x.sin());
one!(cos_approx_f32, |x: f32| x.cos());
pub fn tanh_approx_f32(a: &Lanes32) -> Lanes32 {
    a.map(|a| f(a).tanh().to_bits())
}
macro_rules! two {
    ($n:ident, $f:expr) => {
        #[inline(always)]
        pub fn $n(a: &Lanes32, b: &Lanes32, _ftz: bool) -> Lanes32 {
            let mut d = [0; 32];
            let g = $f;
            for i in 0..32 {
                let v: f32 = g(f(a[i]), f(b[i]));
                d[i] = v.to_bits();
            }
            d
        }
    };
}
two!(div_rn_f32, |x: f32, y: f32| x / y);
two!(div_approx_f32, |x: f32, y: f32| x / y);
#[inline(always)]
pub fn min_f32(a: &Lanes32, b: &Lanes32, _ftz: bool, _n: bool) -> Lanes32 {
    let mut d = [0; 32];
    for i in 0..32 {
        let (x, y) = (f(a[i]), f(b[i]));
        d[i] = if x.is_nan() {
            b[i]
        } else if y.is_nan() {
            a[i]
        } else if x < y || (x == y && a[i] >> 31 == 1) {
            a[i]
        } else {
            b[i]
        };
    }
    d
}
#[inline(always)]
pub fn max_f32(a: &Lanes32, b: &Lanes32, _ftz: bool, _n: bool) -> Lanes32 {
    let mut d = [0; 32];
    for i in 0..32 {
        let (x, y) = (f(a[i]), f(b[i]));
        d[i] = if x.is_nan() {
            b[i]
        } else if y.is_nan() {
            a[i]
        } else if x > y || (x == y && a[i] >> 31 == 0) {
            a[i]
        } else {
            b[i]
        };
    }
    d
}
