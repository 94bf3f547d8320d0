//! Integer rows of numbers, against wider arithmetic.

#![allow(
    clippy::precedence,
    clippy::many_single_char_names,
    reason = "formulas as the ISA writes them"
)]

use super::tests::{one, word};
use super::*;
use crate::arith::testing::Random;

#[test]
fn sums_and_products() {
    let mut random = Random(24);
    for _ in 0..4_000 {
        let wide = [0; 3].map(|_| word(&mut random));
        let words = wide.map(|word| word as u32);
        let signed = words.map(|word| i128::from(word as i32));
        let unsigned = words.map(i128::from);
        let clamp = |value: i128| value.clamp(i128::from(i32::MIN), i128::from(i32::MAX)) as u32;
        let [a, b, c] = signed;
        assert_eq!(one(|[a, b, _]| add_sat_s32(a, b), words), clamp(a + b));
        assert_eq!(one(|[a, b, _]| sub_sat_s32(a, b), words), clamp(a - b));
        assert_eq!(
            one(|[a, b, _]| mul_hi_s32(a, b), words),
            (a * b >> 32) as u32
        );
        assert_eq!(
            one(|[a, b, c]| mad_hi_sat_s32(a, b, c), words),
            clamp((a * b >> 32) + c)
        );
        assert_eq!(
            one(|[a, b, c]| sad_s32(a, b, c), words),
            (c + (a - b).abs()) as u32
        );
        assert_eq!(one(|[a, ..]| abs_s32(a), words), a.unsigned_abs() as u32);
        assert_eq!(one(|[a, ..]| neg_s32(a), words), -a as u32);
        let [a, b, c] = unsigned;
        assert_eq!(
            one(|[a, b, _]| mul_hi_u32(a, b), words),
            (a * b >> 32) as u32
        );
        assert_eq!(
            one(|[a, b, c]| sad_u32(a, b, c), words),
            (c + (a - b).abs()) as u32
        );
        let product = (a & 0xff_ffff) * (b & 0xff_ffff);
        assert_eq!(one(|[a, b, _]| mul24_lo_u32(a, b), words), product as u32);
        assert_eq!(
            one(|[a, b, _]| mul24_hi_u32(a, b), words),
            (product >> 16) as u32
        );
        assert_eq!(
            one(|[a, b, c]| mad24_lo_u32(a, b, c), words),
            (product + c) as u32
        );
        assert_eq!(
            one(|[a, b, c]| mad24_hi_u32(a, b, c), words),
            ((product >> 16) + c) as u32
        );
        let [x, y] = [a, b].map(|word| (word & 0xff_ffff) - ((word & 0x80_0000) << 1));
        assert_eq!(one(|[a, b, _]| mul24_lo_s32(a, b), words), (x * y) as u32);
        assert_eq!(
            one(|[a, b, _]| mul24_hi_s32(a, b), words),
            (x * y >> 16) as u32
        );
        assert_eq!(
            one(|[a, b, c]| mad24_lo_s32(a, b, c), words),
            (x * y + c) as u32
        );
        assert_eq!(
            one(|[a, b, c]| mad24_hi_s32(a, b, c), words),
            ((x * y >> 16) + c) as u32
        );
        assert_eq!(
            one(|[a, b, c]| mad24_hi_sat_s32(a, b, c), words),
            clamp((x * y >> 16) + signed[2])
        );
    }
}

#[test]
fn narrow_and_wide_sums_and_products() {
    let mut random = Random(27);
    for _ in 0..4_000 {
        let wide = [0; 3].map(|_| word(&mut random));
        let words = wide.map(|word| word as u32);
        let [a, b, c] = words.map(|word| i128::from(word as i16));
        assert_eq!(
            one(|[a, b, _]| mul_hi_s16(a, b), words),
            u32::from((a * b >> 16) as u16)
        );
        assert_eq!(
            one(|[a, b, c]| sad_s16(a, b, c), words),
            u32::from((c + (a - b).abs()) as u16)
        );
        assert_eq!(
            one(|[a, ..]| abs_s16(a), words),
            u32::from(a.unsigned_abs() as u16)
        );
        assert_eq!(one(|[a, ..]| neg_s16(a), words), u32::from(-a as u16));
        let [a, b, c] = words.map(|word| i128::from(word as u16));
        assert_eq!(
            one(|[a, b, _]| mul_hi_u16(a, b), words),
            u32::from((a * b >> 16) as u16)
        );
        assert_eq!(
            one(|[a, b, c]| sad_u16(a, b, c), words),
            u32::from((c + (a - b).abs()) as u16)
        );

        // Products of 64 bits by halves.
        let [a, b, c] = wide;
        let [low, high] = [
            |word: u64| u128::from(word & 0xffff_ffff),
            |word: u64| u128::from(word >> 32),
        ];
        let middle = low(a) * high(b) + (low(a) * low(b) >> 32);
        let upper =
            high(a) * high(b) + (high(a) * low(b) + (middle & 0xffff_ffff) >> 32) + (middle >> 32);
        assert_eq!(mul_hi_u64(&[a; 32], &[b; 32])[0], upper as u64);
        let minus = |cond: bool, word: u64| if cond { word } else { 0 };
        let signed = (upper as u64)
            .wrapping_sub(minus((a as i64) < 0, b))
            .wrapping_sub(minus((b as i64) < 0, a));
        assert_eq!(mul_hi_s64(&[a; 32], &[b; 32])[0], signed);
        let difference = (i128::from(a as i64) - i128::from(b as i64)).unsigned_abs() as u64;
        assert_eq!(
            sad_s64(&[a; 32], &[b; 32], &[c; 32])[0],
            c.wrapping_add(difference)
        );
        assert_eq!(
            sad_u64(&[a; 32], &[b; 32], &[c; 32])[0],
            c.wrapping_add(a.max(b) - a.min(b))
        );
        assert_eq!(
            abs_s64(&[a; 32])[0],
            i128::from(a as i64).unsigned_abs() as u64
        );
        assert_eq!(neg_s64(&[a; 32])[0], (!a).wrapping_add(1));
    }
}

#[test]
fn dot_products() {
    let mut random = Random(25);
    let number = |bits: u32, width: u32, signed: bool| {
        let value = i64::from(bits) & ((1 << width) - 1);
        if signed && value >> (width - 1) == 1 {
            value - (1 << width)
        } else {
            value
        }
    };
    for _ in 0..5000 {
        let [a, b, c] = [0; 3].map(|_| word(&mut random) as u32);
        for (a_signed, b_signed) in [(false, false), (false, true), (true, false), (true, true)] {
            let four: i64 = (0..4)
                .map(|i| number(a >> (8 * i), 8, a_signed) * number(b >> (8 * i), 8, b_signed))
                .sum();
            assert_eq!(
                one(|[a, b, c]| dp4a(a, b, c, a_signed, b_signed), [a, b, c]),
                (four + i64::from(c)) as u32
            );
            for high in [false, true] {
                let shifted = if high { b >> 16 } else { b };
                let two: i64 = (0..2)
                    .map(|i| {
                        number(a >> (16 * i), 16, a_signed)
                            * number(shifted >> (8 * i), 8, b_signed)
                    })
                    .sum();
                let found = one(
                    |[a, b, c]| dp2a(a, b, c, a_signed, b_signed, high),
                    [a, b, c],
                );
                assert_eq!(found, (two + i64::from(c)) as u32);
            }
        }
    }
}

/// Quotients by their definition, and an H100's answers to questions that have none.
#[test]
fn division() {
    let mut random = Random(26);
    for _ in 0..4_000 {
        let [a, b] = [0; 2].map(|_| word(&mut random));
        let (x, y) = ([a as u32; 32], [b as u32; 32]);
        let expect = |a: i128, b: i128| if b == 0 { (-1, -1) } else { (a / b, a % b) };
        let found = (
            div_u64(&[a; 32], &[b; 32])[0],
            rem_u64(&[a; 32], &[b; 32])[0],
        );
        let (quotient, rest) = expect(a.into(), b.into());
        assert_eq!(found, (quotient as u64, rest as u64));
        let found = (
            div_s64(&[a; 32], &[b; 32])[0],
            rem_s64(&[a; 32], &[b; 32])[0],
        );
        let (quotient, rest) = expect((a as i64).into(), (b as i64).into());
        assert_eq!(found, (quotient as u64, rest as u64));
        let (quotient, rest) = expect((a as u32).into(), (b as u32).into());
        assert_eq!(
            (div_u32(&x, &y)[0], rem_u32(&x, &y)[0]),
            (quotient as u32, rest as u32)
        );
        let (quotient, rest) = expect((a as i32).into(), (b as i32).into());
        assert_eq!(
            (div_s32(&x, &y)[0], rem_s32(&x, &y)[0]),
            (quotient as u32, rest as u32)
        );
        let narrow =
            |(quotient, rest): (i128, i128)| (u32::from(quotient as u16), u32::from(rest as u16));
        assert_eq!(
            (div_u16(&x, &y)[0], rem_u16(&x, &y)[0]),
            narrow(expect((a as u16).into(), (b as u16).into()))
        );
        assert_eq!(
            (div_s16(&x, &y)[0], rem_s16(&x, &y)[0]),
            narrow(expect((a as i16).into(), (b as i16).into()))
        );
    }
    let least = [i32::MIN as u32; 32];
    let minus_one = [u32::MAX; 32];
    assert_eq!(
        (
            div_s32(&least, &minus_one)[0],
            rem_s32(&least, &minus_one)[0]
        ),
        (i32::MIN as u32, 0)
    );
    assert_eq!(
        (div_u32(&least, &[0; 32])[0], rem_s32(&least, &[0; 32])[0]),
        (u32::MAX, u32::MAX)
    );
}
