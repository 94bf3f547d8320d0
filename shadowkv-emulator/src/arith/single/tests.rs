//! Singles against the host's arithmetic, flushing and NaN apart.

#![allow(clippy::many_single_char_names, reason = "a * b + c")]

use super::*;
use crate::arith::testing::Random;

fn two(row: fn(&Lanes32, &Lanes32) -> Lanes32, a: u32, b: u32) -> u32 {
    row(&[a; 32], &[b; 32])[19]
}

fn one(row: fn(&Lanes32) -> Lanes32, a: u32) -> u32 {
    row(&[a; 32])[19]
}

/// Bits, all NaNs being the one.
fn bits(value: f32) -> u32 {
    if value.is_nan() {
        0x7fff_ffff
    } else {
        value.to_bits()
    }
}

/// `exact` rounded to a single without a lowest exponent, and flushed if it is below the least normal number.
fn flushed(exact: f64, rounded: f32) -> u32 {
    let scaled = (exact * 2f64.powi(60)) as f32;
    if scaled.abs() < 2f32.powi(60 - 126) {
        bits(rounded) & 0x8000_0000
    } else {
        bits(rounded)
    }
}

#[test]
fn arithmetic() {
    let mut random = Random(41);
    for round in 0..20_000 {
        let [mut a, b, c] = [0; 3].map(|_| random.single());
        if round % 4 == 0 {
            // Products and quotients near the least normal number.
            a = (b & 0x007f_ffff ^ 0x007f_ffff) | 0x0080_0000;
        }
        let [x, y, z] = [a, b, c].map(f32::from_bits);
        let zero = |bits: u32| {
            if bits & 0x7f80_0000 == 0 {
                bits & 0x8000_0000
            } else {
                bits
            }
        };
        let [u, v, w] = [a, b, c].map(|bits| f32::from_bits(zero(bits)));
        assert_eq!(two(add_rn, a, b), bits(x + y));
        assert_eq!(two(mul_rn, a, b), bits(x * y));
        assert_eq!(two(div_rn, a, b), bits(x / y));
        // Of the magnitude, for the reason that `sqrt` gives.
        let root = |x: f32| match x {
            _ if x.is_nan() || x < 0.0 => 0x7fff_ffff,
            _ if x == 0.0 => x.to_bits(),
            _ => x.abs().sqrt().to_bits(),
        };
        assert_eq!(one(sqrt_rn, a), root(x), "{a:08x}");
        assert_eq!(one(rcp_rn, a), bits(1.0 / x));
        assert_eq!(
            fma_rn(&[a; 32], &[b; 32], &[c; 32])[0],
            bits(x.mul_add(y, z))
        );

        assert_eq!(two(add_rn_ftz, a, b), zero(bits(u + v)), "{a:08x} {b:08x}");
        // A double holds a product, and enough of a quotient.
        assert_eq!(
            two(mul_rn_ftz, a, b),
            flushed(f64::from(u) * f64::from(v), u * v),
            "{a:08x} {b:08x}"
        );
        assert_eq!(
            two(div_rn_ftz, a, b),
            flushed(f64::from(u) / f64::from(v), u / v),
            "{a:08x} {b:08x}"
        );
        assert_eq!(
            one(rcp_rn_ftz, a),
            flushed(1.0 / f64::from(u), 1.0 / u),
            "{a:08x}"
        );
        assert_eq!(one(sqrt_rn_ftz, a), root(u));
        let fused = fma_rn_ftz(&[a; 32], &[b; 32], &[c; 32])[0];
        if u.mul_add(v, w).abs() > 2e-38 || u.mul_add(v, w) == 0.0 {
            assert_eq!(fused, bits(u.mul_add(v, w)), "{a:08x} {b:08x} {c:08x}");
        }
    }
    // What is rounded up to the least normal number: from 24 bits it is flushed, from more it is not.
    let [below, one_up, least] = [0x3f7f_ffff, 0x3f80_0001, 0x0080_0000];
    assert_eq!(two(mul_rn_ftz, below, least), 0);
    assert_eq!(two(mul_rn_ftz, 0x3f7f_fffe, least + 1), least);
    assert_eq!(fma_rn_ftz(&[below; 32], &[least; 32], &[0; 32])[0], 0);
    assert_eq!(two(div_rn_ftz, least, one_up), 0);
}

#[test]
fn clamping() {
    for (value, expected) in [
        (0.5f32, 0.5f32),
        (-0.5, 0.0),
        (1.5, 1.0),
        (f32::NAN, 0.0),
        (-0.0, 0.0),
        (f32::INFINITY, 1.0),
    ] {
        assert_eq!(
            one(saturate, value.to_bits()),
            expected.to_bits(),
            "{value}"
        );
    }
}

#[test]
fn extremes() {
    let mut random = Random(42);
    for _ in 0..20_000 {
        let [a, b] = [0; 2].map(|_| random.single());
        let [x, y] = [a, b].map(f32::from_bits);
        let nan = x.is_nan() || y.is_nan();
        let lesser = match x.total_cmp(&y) {
            _ if x.is_nan() => y,
            _ if y.is_nan() => x,
            std::cmp::Ordering::Greater => y,
            _ => x,
        };
        // What is not the lesser.
        let greater = if nan || lesser.to_bits() != x.to_bits() {
            if x.is_nan() { y } else { x }
        } else {
            y
        };
        assert_eq!(two(min, a, b), bits(lesser));
        assert_eq!(two(max, a, b), bits(greater));
        assert_eq!(
            two(min_nan, a, b),
            if nan { 0x7fff_ffff } else { bits(lesser) }
        );
        assert_eq!(
            two(max_nan, a, b),
            if nan { 0x7fff_ffff } else { bits(greater) }
        );
        let [p, q] = [x.abs(), y.abs()];
        let sign = (a ^ b) & 0x8000_0000;
        let signed = |value: f32| {
            if value.is_nan() {
                0x7fff_ffff
            } else {
                value.to_bits() | sign
            }
        };
        assert_eq!(two(min_xorsign_abs, a, b), signed(p.min(q)));
        assert_eq!(two(max_xorsign_abs, a, b), signed(p.max(q)));
        assert_eq!(
            two(min_nan_xorsign_abs, a, b),
            if nan { 0x7fff_ffff } else { signed(p.min(q)) }
        );
        assert_eq!(
            two(max_nan_xorsign_abs, a, b),
            if nan { 0x7fff_ffff } else { signed(p.max(q)) }
        );
        assert_eq!(two(copysign, a, b), (a & 0x8000_0000) | (b & 0x7fff_ffff));
        assert_eq!(one(neg, a), bits(-x));
        assert_eq!(one(abs, a), bits(x.abs()));
    }
    assert_eq!(two(min_ftz, 1, 0x8000_0002), 0x8000_0000);
    assert_eq!(two(max_ftz, 1, 2), 0);
    assert_eq!(two(max_ftz_nan, 0x7fc0_0000, 2), 0x7fff_ffff);
    assert_eq!(two(min_ftz_nan, 1, 2), 0);
    assert_eq!(one(neg_ftz, 1), 0x8000_0000);
    assert_eq!(one(abs_ftz, 0x8000_0001), 0);
}

#[test]
fn classes() {
    use Class::{Finite, Infinite, Normal, NotANumber, Number, Subnormal};
    let table: [(f64, &[Class]); 5] = [
        (1.0, &[Finite, Number, Normal]),
        (0.0, &[Finite, Number, Normal]),
        (f64::INFINITY, &[Infinite, Number]),
        (f64::NAN, &[NotANumber]),
        (-f64::INFINITY, &[Infinite, Number]),
    ];
    for name in [
        "finite",
        "infinite",
        "number",
        "notanumber",
        "normal",
        "subnormal",
    ] {
        let class = Class::from_name(name);
        for (value, classes) in table {
            let expected = class.is_some_and(|class| classes.contains(&class));
            let mask = if expected { u32::MAX } else { 0 };
            assert_eq!(
                class.map(|class| testp_f64(&[value.to_bits(); 32], class)),
                Some(mask),
                "{name} {value}"
            );
            let single = (value as f32).to_bits();
            assert_eq!(
                class.map(|class| testp_f32(&[single; 32], class)),
                Some(mask),
                "{name} {value}"
            );
        }
    }
    assert_eq!(testp_f32(&[0x8000_0001; 32], Subnormal), u32::MAX);
    assert_eq!(testp_f32(&[0x8000_0001; 32], Normal), 0);
    assert_eq!(testp_f64(&[1; 32], Subnormal), u32::MAX);
    assert_eq!(Class::from_name("zero"), None);
}
