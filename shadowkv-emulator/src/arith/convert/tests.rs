//! Conversions against the host's own arithmetic and against their definitions.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::float_cmp, reason = "results are exact")]

use super::*;
use crate::arith::testing::Random;

fn parse(name: &str) -> Option<Conversion> {
    Conversion::parse(&name.split('.').collect::<Vec<_>>())
}

fn convert(name: &str, a: u64, b: u64) -> u64 {
    parse(name).unwrap().apply(&[a; 32], &[b; 32])[17]
}

#[test]
fn refuses_what_ptxas_refuses() {
    for name in [
        "sat.u8.u8",
        "sat.s64.u32",
        "rn.bf16.u8",
        "u32.f32",
        "rn.u32.f32",
        "rni.f16.f32",
        "f16.f32",
        "rn.ftz.f16.f64",
        "rm.relu.f16.f32",
        "rn.sat.bf16.f32",
        "rna.relu.tf32.f32",
        "rn.satfinite.tf32.f32",
        "rn.e4m3x2.f32",
        "rm.bf16x2.f32",
        "rn.rn.f16.f32",
        "rn.ftz.ftz.f16.f32",
        "rn.f32.f32",
        "ftz.f64.f64",
        "rn.f32",
        "f32.pred",
        "",
    ] {
        assert_eq!(parse(name), None, "{name}");
    }
    let conversion = parse("rn.relu.satfinite.bf16x2.f32").unwrap();
    assert!(
        conversion.has_two_sources() && conversion.relu && conversion.satfinite && !conversion.ftz
    );
    assert_eq!(
        conversion.rounding,
        Some(Rounding::Number(Direction::NearestEven))
    );
}

/// Every pair of integer types, against Rust's casts.
#[allow(
    clippy::cast_lossless,
    reason = "the same casts serve wider and narrower types"
)]
#[test]
fn integers_wrap_and_clamp() {
    macro_rules! pairs {
        ($value:ident; $($from:ident $from_name:literal)*) => {$(
            pairs!(@to $value as $from, $from_name; u8 "u8" u16 "u16" u32 "u32" u64 "u64" i16 "s16" i32 "s32" i64 "s64");
        )*};
        (@to $value:ident as $from:ident, $from_name:literal; $($to:ident $to_name:literal)*) => {$(
            let source = $value as $from;
            let wrapped = source as $to as u64 & (u64::MAX >> (64 - $to::BITS));
            assert_eq!(convert(concat!($to_name, ".", $from_name), $value, 0), wrapped, concat!($to_name, $from_name));
            if let Some(conversion) = parse(concat!("sat.", $to_name, ".", $from_name)) {
                let clamped = (source as i128).clamp($to::MIN as i128, $to::MAX as i128) as $to;
                let clamped = clamped as u64 & (u64::MAX >> (64 - $to::BITS));
                assert_eq!(conversion.apply(&[$value; 32], &[0; 32])[0], clamped, concat!($to_name, $from_name));
            }
        )*};
    }
    let mut random = Random(3);
    for _ in 0..2000 {
        let value = random.next() >> (random.next() % 64);
        let value = if random.next().is_multiple_of(2) {
            value
        } else {
            !value
        };
        pairs!(value; u8 "u8" i8 "s8" u16 "u16" i16 "s16" u32 "u32" i32 "s32" u64 "u64" i64 "s64");
    }
    // s8 fills the 16 bits of the smallest register.
    assert_eq!(convert("s8.s32", 0x80, 0), 0xff80);
    assert_eq!(convert("sat.s8.s32", 0x1_0000, 0), 0x7f);
}

/// Floats to integers in every direction, against f64's own.
#[test]
fn floats_to_integers() {
    let mut random = Random(4);
    for _ in 0..5_000 {
        let bits = random.single();
        let value = f64::from(f32::from_bits(bits));
        let rounded = [
            ("rni", value.round_ties_even()),
            ("rzi", value.trunc()),
            ("rmi", value.floor()),
            ("rpi", value.ceil()),
        ];
        for (name, expected) in rounded {
            let from_f32 = |to: &str| convert(&format!("{name}.{to}.f32"), bits.into(), 0);
            // As recorded: NaN is 0 for these, and the sign bit for wider types.
            assert_eq!(
                from_f32("s32"),
                u64::from(expected as i32 as u32),
                "{name} {value:?}"
            );
            assert_eq!(
                from_f32("u32"),
                u64::from(expected as u32),
                "{name} {value:?}"
            );
            assert_eq!(
                from_f32("s16"),
                u64::from(expected as i16 as u16),
                "{name} {value:?}"
            );
            assert_eq!(
                from_f32("u8"),
                u64::from(expected as u8),
                "{name} {value:?}"
            );
            let wide = if value.is_nan() {
                1 << 63
            } else {
                expected as i64 as u64
            };
            assert_eq!(from_f32("s64"), wide, "{name} {value:?}");
            let wide = if value.is_nan() {
                1 << 63
            } else {
                expected as u64
            };
            assert_eq!(from_f32("u64"), wide, "{name} {value:?}");
            if !value.is_nan() {
                let bits = value.to_bits();
                assert_eq!(
                    convert(&format!("{name}.s32.f64"), bits, 0),
                    from_f32("s32"),
                    "{name} {value:?}"
                );
                assert_eq!(
                    convert(&format!("{name}.u64.f64"), bits, 0),
                    from_f32("u64"),
                    "{name} {value:?}"
                );
                let single = (expected as f32).to_bits();
                assert_eq!(from_f32("f32"), u64::from(single), "{name} {value:?}");
            }
        }
    }
}

#[test]
fn integers_to_floats() {
    let mut random = Random(5);
    for _ in 0..5_000 {
        let value = random.next() >> (random.next() % 64);
        assert_eq!(
            convert("rn.f32.u64", value, 0),
            u64::from((value as f32).to_bits())
        );
        assert_eq!(
            convert("rn.f32.s64", value, 0),
            u64::from((value as i64 as f32).to_bits())
        );
        assert_eq!(
            convert("rn.f64.s64", value, 0),
            (value as i64 as f64).to_bits()
        );
        assert_eq!(
            convert("rn.f64.u32", value, 0),
            f64::from(value as u32).to_bits()
        );
        assert_eq!(
            convert("rn.f32.s32", value, 0),
            u64::from((value as i32 as f32).to_bits())
        );
        assert_eq!(
            convert("rn.f32.u16", value, 0),
            u64::from(f32::from(value as u16).to_bits())
        );
        let half = half::f16::from_f64(f64::from(value as i32)).to_bits();
        assert_eq!(convert("rn.f16.s32", value, 0), u64::from(half));
        // Directed: never on the wrong side, and the nearest is one of the two.
        let [down, up] =
            ["rm.f32.s64", "rp.f32.s64"].map(|name| f32::from_bits(convert(name, value, 0) as u32));
        let exact = i128::from(value as i64);
        assert!(down as i128 <= exact && exact <= up as i128);
        assert!([down, up].contains(&(value as i64 as f32)));
        let toward_zero = if exact < 0 { up } else { down };
        assert_eq!(
            convert("rz.f32.s64", value, 0) as u32,
            toward_zero.to_bits()
        );
    }
}

/// Rounding of singles to 16 bits, against the `half` crate, and in the other directions against the nearest.
#[test]
fn floats_to_narrower_floats() {
    let mut random = Random(6);
    for _ in 0..10_000 {
        let bits = random.single();
        let value = f32::from_bits(bits);
        let name = |direction: &str, to: &str| {
            convert(&format!("{direction}.{to}.f32"), bits.into(), 0) as u16
        };
        if value.is_nan() {
            assert_eq!([name("rn", "f16"), name("rz", "bf16")], [0x7fff; 2]);
            continue;
        }
        assert_eq!(
            name("rn", "f16"),
            half::f16::from_f32(value).to_bits(),
            "{value:?}"
        );
        assert_eq!(
            name("rn", "bf16"),
            half::bf16::from_f32(value).to_bits(),
            "{value:?}"
        );
        for to in ["f16", "bf16"] {
            let back = |bits: u16| match to {
                "f16" => half::f16::from_bits(bits).to_f32(),
                _ => half::bf16::from_bits(bits).to_f32(),
            };
            let [near, down, up, zero] =
                ["rn", "rm", "rp", "rz"].map(|direction| name(direction, to));
            assert!(back(down) <= value && value <= back(up), "{to} {value:?}");
            assert!(near == down || near == up, "{to} {value:?}");
            assert_eq!(
                zero,
                if value.is_sign_negative() { up } else { down },
                "{to} {value:?}"
            );
            // Neighbours, or the same.
            let apart = (i32::from(down & 0x7fff) - i32::from(up & 0x7fff)).abs();
            assert!(apart <= 1, "{to} {value:?}");
        }
        let positive = if value.is_sign_negative() { 0.0 } else { value };
        assert_eq!(
            convert("rn.relu.f16.f32", bits.into(), 0) as u16,
            half::f16::from_f32(positive).to_bits()
        );
        let clamped = half::f16::from_f32(value.clamp(-65504.0, 65504.0)).to_bits();
        assert_eq!(
            convert("rn.satfinite.f16.f32", bits.into(), 0) as u16,
            clamped
        );
        let wide = f64::from(value) * 1.000_000_01;
        assert_eq!(
            convert("rn.f32.f64", wide.to_bits(), 0),
            u64::from((wide as f32).to_bits())
        );
        assert_eq!(
            convert("f64.f32", bits.into(), 0),
            f64::from(value).to_bits()
        );
    }
}

#[test]
fn packed_conversions_put_the_first_source_above() {
    let [one, two] = [1f32, -2f32].map(|value| u64::from(value.to_bits()));
    assert_eq!(convert("rn.bf16x2.f32", one, two), 0x3f80_c000);
    assert_eq!(convert("rz.f16x2.f32", one, two), 0x3c00_c000);
    assert_eq!(convert("rn.relu.bf16x2.f32", one, two), 0x3f80_0000);
    assert_eq!(convert("rn.satfinite.e4m3x2.f32", one, two), 0x38c0);
    assert_eq!(convert("rn.satfinite.e5m2x2.f32", one, two), 0x3cc0);
    assert_eq!(convert("rn.f16x2.e4m3x2", 0x38c0, 0), 0x3c00_c000);
    assert_eq!(convert("rn.satfinite.e5m2x2.f16x2", 0x3c00_c000, 0), 0x3cc0);
    assert_eq!(
        bf16x2_from_f32(&[one as u32; 32], &[two as u32; 32])[31],
        0x3f80_c000
    );
    assert_eq!(
        f16x2_from_f32(&[one as u32; 32], &[two as u32; 32])[0],
        0x3c00_c000
    );
}

/// 8-bit floats there and back, and the nearest of them by search.
#[test]
fn eight_bit_floats() {
    let mut random = Random(8);
    for (name, largest) in [("e4m3", 448f32), ("e5m2", 57344.0)] {
        let values: Vec<f32> = (0..256)
            .map(|bits| {
                half::f16::from_bits(convert(&format!("rn.f16x2.{name}x2"), bits, 0) as u16)
                    .to_f32()
            })
            .collect();
        assert_eq!(
            values
                .iter()
                .copied()
                .filter(|value| value.is_finite())
                .fold(0.0, f32::max),
            largest
        );
        for _ in 0..5000 {
            let bits = random.single();
            let value = f32::from_bits(bits);
            let result = convert(&format!("rn.satfinite.{name}x2.f32"), 0, bits.into()) as usize;
            if value.is_nan() {
                assert_eq!(result, 0x7f);
                continue;
            }
            let clamped = f64::from(value.clamp(-largest, largest));
            let distance = |at: usize| (f64::from(values[at]) - clamped).abs();
            let least = (0..256)
                .map(distance)
                .filter(|d| !d.is_nan())
                .fold(f64::INFINITY, f64::min);
            assert!(
                distance(result) <= least,
                "{name} {value:?} gives {:?}",
                values[result]
            );
            let tied = distance(result) == least && (result & 1 == 1);
            let other = (0..256)
                .any(|at| at & 1 == 0 && distance(at) == least && values[at] != values[result]);
            assert!(!(tied && other), "{name} {value:?}: ties go to even");
        }
    }
}

#[test]
fn tf32_rounds_half_away() {
    assert_eq!(convert("rna.tf32.f32", 0x3f80_1000, 0), 0x3f80_2000);
    assert_eq!(convert("rna.tf32.f32", 0xbf80_0fff, 0), 0xbf80_0000);
    assert_eq!(convert("rn.tf32.f32", 0x3f80_1000, 0), 0x3f80_0000);
}

/// The straight loops give what the slow lanes give.
#[test]
fn rows_equal_lanes() {
    let mut random = Random(9);
    let names = [
        "rn.f32.s32",
        "rn.f32.u32",
        "rni.s32.f32",
        "rzi.s32.f32",
        "rni.ftz.s32.f32",
        "rni.f32.f32",
        "rni.ftz.f32.f32",
        "rn.bf16x2.f32",
        "rn.bf16.f32",
        "rn.f16.f32",
        "f32.bf16",
        "f32.f16",
        "f64.f32",
        "rn.f32.f64",
        "s64.s32",
        "u64.u32",
        "u16.s8",
        "s8.s64",
        "s32.u16",
    ];
    for conversion in names.map(|name| parse(name).unwrap()) {
        for round in 0..300 {
            let mut value = || match (conversion.from, round % 2) {
                (ScalarType::F64, 0) => {
                    (f64::from(f32::from_bits(random.single())) * 1.000_000_01).to_bits()
                }
                (ScalarType::F64, _) => random.next() | 0x3800_0000,
                (ScalarType::F16 | ScalarType::Bf16, _) => random.next() & 0xffff,
                (ScalarType::F32, _) => random.single().into(),
                (from, _) => random.next() & (u64::MAX >> (64 - 8 * from.bytes())),
            };
            let [a, b]: [Lanes64; 2] = std::array::from_fn(|_| std::array::from_fn(|_| value()));
            let d = conversion.apply(&a, &b);
            for lane in 0..32 {
                let expected = lane::convert(conversion, a[lane], b[lane]);
                assert_eq!(
                    d[lane], expected,
                    "{conversion:?} of {:x} {:x}",
                    a[lane], b[lane]
                );
            }
        }
    }
}
