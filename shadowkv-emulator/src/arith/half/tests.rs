//! 16-bit arithmetic against exact integers.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(
    clippy::float_cmp,
    clippy::many_single_char_names,
    reason = "results are exact, and a * b + c"
)]

use super::*;
use crate::arith::testing::Random;

fn parse(name: &str) -> Option<HalfOperation> {
    let parts: Vec<&str> = name.split('.').collect();
    HalfOperation::parse(parts[0], &parts[1..])
}

/// The same three sources in every lane; the lower half of the result.
fn apply(name: &str, sources: [u16; 3]) -> u16 {
    parse(name)
        .unwrap()
        .apply(&sources.map(|bits| [u32::from(bits); 32]))[5] as u16
}

#[test]
fn refuses_what_ptxas_refuses() {
    for name in [
        "add.ftz.bf16",
        "add.sat.bf16x2",
        "fma.f16",
        "fma.rn.sat.bf16",
        "neg.ftz.bf16",
        "min.ftz.bf16",
        "add.relu.f16",
        "add.rz.f16",
        "min.sat.f16",
        "add.f32",
        "div.f16",
        "add",
    ] {
        assert_eq!(parse(name), None, "{name}");
    }
    assert_eq!(parse("fma.rn.ftz.relu.f16x2").unwrap().sources(), 3);
    assert_eq!(parse("neg.bf16").unwrap().sources(), 1);
    assert_eq!(parse("max.NaN.xorsign.abs.bf16x2").unwrap().sources(), 2);
}

/// A format as integers: values are multiples of `2^-SCALE`.
struct Exact {
    bf16: bool,
    /// Every finite number's bits, in order, and its value.
    numbers: Vec<(i128, u16)>,
}

const SCALE: i32 = 60;

impl Exact {
    fn new(bf16: bool) -> Exact {
        let mut numbers: Vec<(i128, u16)> = (0..=u16::MAX)
            .filter_map(|bits| Some((Exact::value(bf16, bits)?, bits)))
            .collect();
        numbers.sort_unstable_by_key(|&(value, _)| value);
        Exact { bf16, numbers }
    }

    /// The value, if it is a number of moderate size.
    fn value(bf16: bool, bits: u16) -> Option<i128> {
        let value = if bf16 {
            ::half::bf16::from_bits(bits).to_f64()
        } else {
            ::half::f16::from_bits(bits).to_f64()
        };
        let scaled = value * 2f64.powi(SCALE);
        // Without -0, whose value is that of 0.
        (value.abs() < 1e6 && scaled == scaled.trunc() && bits != 0x8000).then_some(scaled as i128)
    }

    /// The number nearest to `whole` and a remainder below its unit, ties to even; `None` if it is too large, or is
    /// zero, whose sign follows other rules.
    fn nearest(&self, whole: i128, rest: i128) -> Option<u16> {
        // Lower numbers of bf16 are not all multiples of the unit.
        if self.bf16 && whole.abs() < 1 << 12 {
            return None;
        }
        // Doubling makes room for a half unit, which stands for any remainder.
        let doubled = 2 * whole + rest.signum();
        let at = self
            .numbers
            .partition_point(|&(number, _)| 2 * number < doubled);
        let (above, below) = (self.numbers.get(at)?, self.numbers[at.checked_sub(1)?]);
        let (up, down) = (2 * above.0 - doubled, doubled - 2 * below.0);
        let bits = match up.cmp(&down) {
            std::cmp::Ordering::Less => above.1,
            std::cmp::Ordering::Greater => below.1,
            std::cmp::Ordering::Equal => {
                [above.1, below.1].into_iter().find(|bits| bits & 1 == 0)?
            }
        };
        (bits != 0).then_some(bits)
    }

    fn random(&self, random: &mut Random) -> u16 {
        let r = random.next();
        let near = if self.bf16 {
            0x3f80 - 0x200 + (r as u16 & 0x3ff)
        } else {
            0x3c00 - 0x1000 + (r as u16 & 0x1fff)
        };
        if r >> 62 == 0 {
            self.numbers[(r >> 20) as usize % self.numbers.len()].1
        } else {
            near | (r >> 32) as u16 & 0x8000
        }
    }
}

#[test]
fn rounds_once() {
    let mut random = Random(11);
    for (bf16, ty) in [(false, "f16"), (true, "bf16")] {
        let exact = Exact::new(bf16);
        let mut checked = 0;
        for _ in 0..20_000 {
            let [a, b, c] = [0; 3].map(|_| exact.random(&mut random));
            let Some([x, y, z]) = [a, b, c]
                .iter()
                .map(|&bits| Exact::value(bf16, bits))
                .collect::<Option<Vec<_>>>()
                .and_then(|values| <[i128; 3]>::try_from(values).ok())
            else {
                continue;
            };
            // At twice the scale, where products are exact.
            let Some(product) = x.checked_mul(y) else {
                continue;
            };
            let unit = 1i128 << SCALE;
            let sums = [
                (format!("add.{ty}"), x + y, 0),
                (format!("sub.rn.{ty}"), x - y, 0),
                (format!("mul.{ty}"), product / unit, product % unit),
                (format!("fma.rn.{ty}"), product / unit + z, product % unit),
            ];
            for (name, whole, rest) in sums {
                let Some(expected) = exact.nearest(whole, rest) else {
                    continue;
                };
                assert_eq!(
                    apply(&name, [a, b, c]),
                    expected,
                    "{name} {a:04x} {b:04x} {c:04x}"
                );
                checked += 1;
            }
        }
        assert!(checked > 30_000, "{checked}");
    }
}

/// Sums that rounding twice gets wrong.
#[test]
fn fma_is_not_a_multiplication_and_an_addition() {
    // 1 + 2^-11 + 2^-22: just above the tie.
    let [one, tiny, small] =
        [1.0, 2f64.powi(-24), 1.0 / 2048.0].map(|value| ::half::f16::from_f64(value).to_bits());
    assert_eq!(apply("fma.rn.f16", [small, one, one]), one);
    assert_eq!(apply("fma.rn.f16", [small, one + 1, one]), one + 1);
    // 2048 + 1 + 2^-48, whose last bit is beyond a double's.
    let big = ::half::f16::from_f64(2048.0).to_bits();
    assert_eq!(apply("fma.rn.f16", [tiny, tiny, big]), big);
    let [big, odd] = [1024.0, 0.5].map(|value| ::half::bf16::from_f64(value).to_bits());
    assert_eq!(apply("fma.rn.bf16", [odd, odd, big]), big);
}

#[test]
fn special_values() {
    let (nan, infinity, one, zero, minus_zero, least) = (0x7e01, 0x7c00, 0x3c00, 0, 0x8000, 1);
    assert_eq!(apply("add.f16", [nan, one, 0]), 0x7fff);
    assert_eq!(apply("mul.f16", [infinity, zero, 0]), 0x7fff);
    assert_eq!(apply("neg.f16", [nan, 0, 0]), 0x7fff);
    assert_eq!(apply("add.f16", [0x7bff, 0x7bff, 0]), infinity);
    assert_eq!(apply("add.sat.f16", [one, one, 0]), one);
    assert_eq!(apply("add.sat.f16", [nan, one, 0]), 0);
    assert_eq!(apply("fma.rn.relu.f16", [one, one | 0x8000, zero]), 0);
    assert_eq!(apply("fma.rn.relu.f16", [nan, one, zero]), 0x7fff);
    assert_eq!(apply("min.f16", [nan, one, 0]), one);
    assert_eq!(apply("min.NaN.f16", [nan, one, 0]), 0x7fff);
    assert_eq!(apply("max.f16", [nan, nan, 0]), 0x7fff);
    assert_eq!(apply("min.f16", [zero, minus_zero, 0]), minus_zero);
    assert_eq!(apply("max.f16", [minus_zero, zero, 0]), zero);
    assert_eq!(apply("max.xorsign.abs.f16", [0xc000, one, 0]), 0xc000);
    assert_eq!(apply("min.xorsign.abs.f16", [0xc000, one, 0]), 0xbc00);
    assert_eq!(apply("add.f16", [least, least, 0]), 2);
    assert_eq!(apply("add.ftz.f16", [least, least, 0]), 0);
    assert_eq!(apply("abs.ftz.f16", [least | 0x8000, 0, 0]), 0);
    // Far below the least number: zero, with the product's sign.
    assert_eq!(apply("fma.rn.bf16", [least, least, zero]), 0);
    assert_eq!(
        apply("fma.rn.bf16", [least, 0x8001, minus_zero]),
        minus_zero
    );
    assert_eq!(apply("fma.rn.bf16", [least, 0x8001, least]), least);
    assert_eq!(apply("add.bf16", [0x7f80, 0xff80, 0]), 0x7fff);
}

#[test]
fn packed_halves_are_apart() {
    let d = parse("add.f16x2")
        .unwrap()
        .apply(&[[0x3c00_4000; 32], [0x4000_4000; 32]]);
    assert_eq!(d, [0x4200_4400; 32]);
    let d = parse("fma.rn.bf16x2").unwrap().apply(&[
        [0x3f80_4000; 32],
        [0x4000_4000; 32],
        [0x0000_3f80; 32],
    ]);
    assert_eq!(d, [0x4000_40a0; 32]);
    // A scalar leaves the upper half clear.
    assert_eq!(
        parse("neg.bf16").unwrap().apply(&[[0x1234_3f80; 32]]),
        [0xbf80; 32]
    );
}

#[test]
fn comparisons() {
    let compare = |name: &str, a: u32, b: u32| {
        let comparison = HalfComparison::parse(&name.split('.').collect::<Vec<_>>()).unwrap();
        let (low, high) = comparison.apply(&[a; 32], &[b; 32]);
        assert!([0, u32::MAX].contains(&low) && [0, u32::MAX].contains(&high));
        (low != 0, high != 0)
    };
    assert_eq!(compare("lt.f16x2", 0x3c00_4000, 0x4000_3c00), (false, true));
    assert_eq!(compare("lt.f16", 0x3c00_3c00, 0x4000_4000), (true, false));
    assert_eq!(compare("ltu.f16", 0x7fff, 0), (true, false));
    assert_eq!(compare("ne.f16", 0x7fff, 0), (false, false));
    assert_eq!(compare("neu.bf16", 0x7f81, 0), (true, false));
    assert_eq!(compare("num.bf16", 0x7f80, 0), (true, false));
    assert_eq!(compare("eq.f16", 0x8000, 0), (true, false));
    assert_eq!(compare("eq.ftz.f16", 1, 0), (true, false));
    assert_eq!(compare("gt.f16", 1, 0), (true, false));
    assert_eq!(HalfComparison::parse(&["eq", "ftz", "bf16"]), None);
    assert_eq!(HalfComparison::parse(&["eq", "f32"]), None);
}
