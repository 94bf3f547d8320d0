//! The approximate functions against the host's, within the bounds that the PTX ISA documents, and their special values.

#![allow(clippy::float_cmp, reason = "infinities are equal")]

use super::*;
use crate::arith::Lanes32;
use crate::arith::testing::Random;

type Row = fn(&Lanes32) -> Lanes32;

/// The function of one number.
fn one(row: Row, x: f32) -> f32 {
    f32::from_bits(row(&[x.to_bits(); 32])[11])
}

/// The largest error of `row` over arguments from `low` to `high`, in units that `unit` gives for an argument and a
/// result.
fn largest_error(
    row: Row,
    exact: impl Fn(f64) -> f64,
    [low, high]: [f32; 2],
    unit: impl Fn(f64, f64) -> f64,
) -> f64 {
    let mut random = Random(31);
    let mut largest: f64 = 0.0;
    for _ in 0..500 {
        let mut x = [0; 32];
        for x in &mut x {
            // Evenly over the bits between, which are in order for numbers of one sign.
            let [low, high] = [low, high].map(|bound| u64::from(bound.to_bits()));
            *x = (low + random.next() % (high - low + 1)) as u32;
        }
        for (&x, &y) in x.iter().zip(&row(&x)) {
            let (x, y) = (f64::from(f32::from_bits(x)), f64::from(f32::from_bits(y)));
            let error = (y - exact(x)).abs() / unit(x, exact(x));
            largest = largest.max(error);
        }
    }
    largest
}

/// `value`'s last place.
fn ulp(_: f64, value: f64) -> f64 {
    2f64.powi(value.abs().log2().floor() as i32 - 23)
}

/// The value itself: relative errors.
fn relative(_: f64, value: f64) -> f64 {
    value.abs()
}

fn absolute(_: f64, _: f64) -> f64 {
    1.0
}

#[test]
fn errors_are_within_the_documented_bounds() {
    let check =
        |name: &str, error: f64, bound: f64| assert!(error <= bound, "{name}: {error} > {bound}");
    let small = f32::MIN_POSITIVE;
    for row in [rcp_approx as Row, rcp_approx_ftz] {
        check(
            "rcp",
            largest_error(row, f64::recip, [small, 8.0e37], ulp),
            1.0,
        );
    }
    for row in [sqrt_approx as Row, sqrt_approx_ftz] {
        check(
            "sqrt",
            largest_error(row, f64::sqrt, [small, f32::MAX], relative),
            2f64.powi(-23),
        );
    }
    for row in [rsqrt_approx as Row, rsqrt_approx_ftz] {
        check(
            "rsqrt",
            largest_error(row, |x| 1.0 / x.sqrt(), [small, f32::MAX], relative),
            2f64.powf(-22.9),
        );
    }
    for row in [ex2_approx as Row, ex2_approx_ftz] {
        check(
            "ex2",
            largest_error(row, f64::exp2, [1e-6, 127.9], relative),
            2f64.powf(-22.4),
        );
        check(
            "ex2",
            largest_error(row, f64::exp2, [-1e-6, -125.9], relative),
            2f64.powf(-22.4),
        );
    }
    for row in [lg2_approx as Row, lg2_approx_ftz] {
        check(
            "lg2",
            largest_error(row, f64::log2, [0.5, 2.0], absolute),
            2f64.powi(-22),
        );
        check(
            "lg2",
            largest_error(row, f64::log2, [2.0, f32::MAX], relative),
            2f64.powi(-22),
        );
        check(
            "lg2",
            largest_error(row, f64::log2, [small, 0.5], relative),
            2f64.powi(-22),
        );
    }
    let pi = std::f32::consts::PI;
    check(
        "sin",
        largest_error(sin_approx, f64::sin, [1e-6, pi], absolute),
        2f64.powf(-20.5),
    );
    check(
        "sin",
        largest_error(sin_approx, f64::sin, [-1e-6, -pi], absolute),
        2f64.powf(-20.5),
    );
    check(
        "cos",
        largest_error(cos_approx, f64::cos, [-1e-6, -pi], absolute),
        2f64.powf(-20.5),
    );
    check(
        "cos",
        largest_error(cos_approx, f64::cos, [1e-6, pi], absolute),
        2f64.powf(-20.5),
    );
    check(
        "tanh",
        largest_error(tanh_approx, f64::tanh, [1e-9, 10.0], relative),
        2f64.powi(-11),
    );
    check(
        "tanh",
        largest_error(tanh_approx, f64::tanh, [-1e-9, -10.0], relative),
        2f64.powi(-11),
    );
}

#[test]
fn denormals_count_without_ftz_alone() {
    let tiny = f32::from_bits(0x0012_3456);
    let close = |found: f32, exact: f64| {
        assert!(
            (f64::from(found) / exact - 1.0).abs() < 1e-6,
            "{found:e} {exact:e}"
        );
    };
    close(one(rsqrt_approx, tiny), 1.0 / f64::from(tiny).sqrt());
    close(one(sqrt_approx, tiny), f64::from(tiny).sqrt());
    close(one(lg2_approx, tiny), f64::from(tiny).log2());
    close(
        one(rcp_approx, f32::from_bits(0x0070_0000)),
        1.0 / f64::from(f32::from_bits(0x0070_0000)),
    );
    close(one(ex2_approx, -126.5), (-126.5f64).exp2());
    close(one(rcp_approx, 2e38), 1.0 / f64::from(2e38f32));
    assert_eq!(one(rsqrt_approx_ftz, tiny), f32::INFINITY);
    assert_eq!(one(sqrt_approx_ftz, tiny).to_bits(), 0);
    assert_eq!(one(lg2_approx_ftz, -tiny), f32::NEG_INFINITY);
    assert_eq!(one(rcp_approx_ftz, tiny), f32::INFINITY);
    assert_eq!(one(ex2_approx_ftz, -126.5).to_bits(), 0);
    assert_eq!(one(rcp_approx_ftz, -2e38).to_bits(), 0x8000_0000);
}

/// The tables of the PTX ISA.
#[test]
fn special_values() {
    const INF: f32 = f32::INFINITY;
    let rows: [(Row, &[(f32, f32)]); 8] = [
        (
            rcp_approx,
            &[(0.0, INF), (-0.0, -INF), (INF, 0.0), (-INF, -0.0)],
        ),
        (
            sqrt_approx,
            &[(0.0, 0.0), (-0.0, -0.0), (INF, INF), (4.0, 2.0)],
        ),
        (
            rsqrt_approx,
            &[
                (0.0, INF),
                (-0.0, -INF),
                (INF, 0.0),
                (4.0, 0.5),
                (0.25, 2.0),
            ],
        ),
        (
            ex2_approx,
            &[
                (0.0, 1.0),
                (-0.0, 1.0),
                (INF, INF),
                (-INF, 0.0),
                (128.0, INF),
                (-1.0, 0.5),
                (10.0, 1024.0),
            ],
        ),
        (
            lg2_approx,
            &[
                (0.0, -INF),
                (-0.0, -INF),
                (INF, INF),
                (1.0, 0.0),
                (1024.0, 10.0),
            ],
        ),
        (sin_approx, &[(0.0, 0.0), (-0.0, -0.0)]),
        (cos_approx, &[(0.0, 1.0), (-0.0, 1.0)]),
        (
            tanh_approx,
            &[
                (0.0, 0.0),
                (-0.0, -0.0),
                (INF, 1.0),
                (-INF, -1.0),
                (1e-40, 1e-40),
            ],
        ),
    ];
    for (index, (row, pairs)) in rows.into_iter().enumerate() {
        for &(x, expected) in pairs {
            assert_eq!(
                one(row, x).to_bits(),
                expected.to_bits(),
                "function {index} of {x}"
            );
        }
        assert_eq!(one(row, f32::NAN).to_bits(), 0x7fff_ffff);
    }
    for row in [sqrt_approx as Row, rsqrt_approx, lg2_approx] {
        assert_eq!(one(row, -1.0).to_bits(), 0x7fff_ffff);
    }
    for row in [sin_approx as Row, cos_approx] {
        assert_eq!(one(row, -INF).to_bits(), 0x7fff_ffff);
    }
}

#[test]
fn divisions() {
    let divide = |row: fn(&Lanes32, &Lanes32) -> Lanes32, a: f32, b: f32| {
        f32::from_bits(row(&[a.to_bits(); 32], &[b.to_bits(); 32])[0])
    };
    let mut random = Random(32);
    for _ in 0..20_000 {
        let number =
            |r: u64| f32::from_bits((r as u32 & 0x807f_ffff) | (90 + (r >> 32) as u32 % 70) << 23);
        let (a, b) = (number(random.next()), number(random.next()));
        for row in [div_approx, div_approx_ftz, div_full, div_full_ftz] {
            let exact = f64::from(a) / f64::from(b);
            let error = (f64::from(divide(row, a, b)) - exact).abs() / ulp(0.0, exact);
            // The ISA's 2 ulp count from the nearest single.
            assert!(error <= 2.5, "{a} / {b}: {error} ulp");
        }
    }
    // A divisor whose reciprocal is denormal: only the full range will do.
    assert_eq!(divide(div_approx, 2e38, 1e38).to_bits(), 0);
    assert_eq!(divide(div_full, 2e38, 1e38).to_bits(), 2f32.to_bits());
    assert_eq!(divide(div_full_ftz, 2e38, 1e38).to_bits(), 2f32.to_bits());
    assert_eq!(divide(div_full, 1.0, 0.0), f32::INFINITY);
    assert_eq!(divide(div_full, 0.0, 0.0).to_bits(), 0x7fff_ffff);
}

#[test]
fn halves_are_the_singles_cut() {
    for bits in (0..=0xffffu16).step_by(5) {
        let narrow = ::half::f16::from_bits(bits).to_f32();
        let wide = ::half::bf16::from_bits(bits).to_f32();
        let x = [u32::from(bits) << 16 | 0x3c00; 32];
        if !narrow.is_nan() {
            let exact = one(ex2_approx_ftz, narrow);
            let exact = if exact >= 65536.0 {
                f32::INFINITY
            } else {
                exact
            };
            let found = ::half::f16::from_bits((ex2_approx_f16x2(&x)[3] >> 16) as u16).to_f32();
            assert!(
                found == exact
                    || (found <= exact && exact - found <= (exact / 1024.0).max(2f32.powi(-24))),
                "{narrow}"
            );
            let exact = one(tanh_approx, narrow).abs();
            let found = ::half::f16::from_bits((tanh_approx_f16x2(&x)[3] >> 16) as u16)
                .to_f32()
                .abs();
            assert!(
                found <= exact && exact - found <= (exact / 1024.0).max(2f32.powi(-24)),
                "{narrow}"
            );
        }
        if !wide.is_nan() {
            assert_eq!(
                ex2_approx_ftz_bf16x2(&x)[3] >> 16,
                one(ex2_approx_ftz, wide).to_bits() >> 16
            );
            assert_eq!(
                tanh_approx_bf16x2(&x)[3] >> 16,
                one(tanh_approx, wide).to_bits() >> 16
            );
        }
        assert_eq!(ex2_approx_f16x2(&x)[3] & 0xffff, 0x4000);
    }
    assert_eq!(ex2_approx_f16(&[0x7777_3c00; 32])[0], 0x4000);
    assert_eq!(ex2_approx_ftz_bf16(&[0x7777_3f80; 32])[0], 0x4000);
    assert_eq!(tanh_approx_f16(&[0x7777_7c00; 32])[0], 0x3c00);
    assert_eq!(tanh_approx_bf16(&[0x7777_ff80; 32])[0], 0xbf80);
    assert_eq!(ex2_approx_f16(&[0x7e00; 32])[0], 0x7fff);
}
