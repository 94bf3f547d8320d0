//! Every function against what an H100 gave (NVRTC 12.9, driver 580.159).
//!
//! `testdata/instructions_h100.txt` holds sources by class (`in CLASS a b c d`) and, for each instruction, the types of its
//! sources, their class and a result for each source line of that class. A type `C:u32` is of the third source, `D:u32`
//! of the fourth; `b32x` is the upper half of the first.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::many_single_char_names, reason = "the ISA's names of operands")]

use super::*;

const RECORDED: &str = include_str!("testdata/instructions_h100.txt");

fn narrow(a: &Lanes64) -> Lanes32 {
    a.map(|a| a as u32)
}

fn widen(a: Lanes32) -> Lanes64 {
    a.map(u64::from)
}

fn mask(mask: u32) -> Lanes64 {
    std::array::from_fn(|lane| u64::from((mask >> lane) & 1))
}

/// The sources of an instruction as the types say.
fn source(types: &[&str], index: usize, words: &[u64; 4]) -> u64 {
    let Some(&ty) = types.get(index) else {
        return 0;
    };
    let (word, ty) = match ty.split_once(':') {
        Some(("C", ty)) => (words[2], ty),
        Some((_, ty)) => (words[3], ty),
        None if ty == "b32x" => (words[0] >> 32, ty),
        None => (words[index], ty),
    };
    let bits = match ty {
        "u8" | "s8" => 8,
        "u16" | "s16" | "f16" | "bf16" | "e4m3x2" | "e5m2x2" => 16,
        "u64" | "s64" | "b64" | "f64" => 64,
        _ => 32,
    };
    word & (u64::MAX >> (64 - bits))
}

#[test]
fn instructions_equal_an_h100() {
    let mut inputs: Vec<(&str, [u64; 4])> = Vec::new();
    let (mut checked, mut instructions) = (0, 0);
    for line in RECORDED.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let hex = |word: &&str| u64::from_str_radix(word, 16).unwrap();
        if words[0] == "in" {
            let values: Vec<u64> = words[2..].iter().map(hex).collect();
            inputs.push((words[1], values.try_into().unwrap()));
            continue;
        }
        let (name, class) = (words[0], words[2]);
        let types: Vec<&str> = words[1].split(',').collect();
        let of_class = inputs.iter().filter(|(other, _)| *other == class);
        for ((_, input), expected) in of_class.zip(words[3..].iter().map(hex)) {
            let sources: [Lanes64; 4] =
                std::array::from_fn(|index| [source(&types, index, input); 32]);
            let result = evaluate(name, types.len(), &sources);
            assert_eq!(
                result.map(|lanes| lanes[13]),
                Some(expected),
                "{name} of {input:x?}"
            );
            checked += 1;
        }
        instructions += 1;
    }
    assert!(
        instructions > 400 && checked == 8 * instructions,
        "{instructions} {checked}"
    );
}

/// What this crate makes of the instruction `name`, `None` if nothing.
fn evaluate(name: &str, sources: usize, x: &[Lanes64; 4]) -> Option<Lanes64> {
    let (name, immediate) = name.split_once('#').unwrap_or((name, ""));
    let parts: Vec<&str> = name.split('.').collect();
    let rows = [narrow(&x[0]), narrow(&x[1]), narrow(&x[2])];
    match parts[0] {
        "cvt" => Some(convert::Conversion::parse(&parts[1..])?.apply(&x[0], &x[1])),
        "setp" => Some(mask(
            half::HalfComparison::parse(&parts[1..])?
                .apply(&rows[0], &rows[1])
                .0,
        )),
        "testp" => {
            let class = single::Class::from_name(parts[1])?;
            let double = parts[2] == "f64";
            Some(mask(if double {
                single::testp_f64(&x[0], class)
            } else {
                single::testp_f32(&rows[0], class)
            }))
        }
        "prmt" => {
            let mode = parts
                .get(2)
                .map_or(Some(integer::PermuteMode::Default), |mode| {
                    integer::PermuteMode::from_name(mode)
                })?;
            Some(widen(integer::prmt_b32(&rows[0], &rows[1], &rows[2], mode)))
        }
        "lop3" => Some(widen(integer::lop3_b32(
            &rows[0],
            &rows[1],
            &rows[2],
            immediate.parse().ok()?,
        ))),
        "dp4a" => Some(widen(integer::dp4a(
            &rows[0],
            &rows[1],
            &rows[2],
            parts[1] == "s32",
            parts[2] == "s32",
        ))),
        "dp2a" => {
            let [a_signed, b_signed] = [parts[2], parts[3]].map(|ty| ty == "s32");
            Some(widen(integer::dp2a(
                &rows[0],
                &rows[1],
                &rows[2],
                a_signed,
                b_signed,
                parts[1] == "hi",
            )))
        }
        "bfind" => {
            let shiftamt = parts[1] == "shiftamt";
            Some(widen(match *parts.last()? {
                "u32" => integer::bfind_u32(&rows[0], shiftamt),
                "s32" => integer::bfind_s32(&rows[0], shiftamt),
                "u64" => integer::bfind_u64(&x[0], shiftamt),
                _ => integer::bfind_s64(&x[0], shiftamt),
            }))
        }
        opcode => match half::HalfOperation::parse(opcode, &parts[1..]) {
            Some(operation) => Some(widen(operation.apply(&rows[..sources]))),
            None => by_name(&parts.join("_").replace("NaN", "nan"), &rows, x),
        },
    }
}

/// Functions that are called what their instruction is called.
fn by_name(name: &str, rows: &[Lanes32; 3], x: &[Lanes64; 4]) -> Option<Lanes64> {
    use {approx::*, integer::*, single::*};
    let [a, b, c] = rows;
    let d = &narrow(&x[3]);
    let name = name.strip_suffix("_f32").unwrap_or(name);
    // These two do the same with `.ftz`.
    let name = match name {
        "sin_approx_ftz" => "sin_approx",
        "cos_approx_ftz" => "cos_approx",
        name => name,
    };
    if let Some(name) = name.strip_suffix("_sat")
        && let Some(unclamped) = by_name(name, rows, x)
    {
        return Some(widen(saturate(&narrow(&unclamped))));
    }
    macro_rules! words {
        ($($function:ident($($source:ident),+))*) => {
            match name { $(stringify!($function) => return Some(widen($function($($source),+))),)* _ => {} }
        };
    }
    macro_rules! wide {
        ($($function:ident($($source:expr),+))*) => {
            match name { $(stringify!($function) => return Some($function($($source),+)),)* _ => {} }
        };
    }
    words! {
        ex2_approx(a) ex2_approx_ftz(a) lg2_approx(a) lg2_approx_ftz(a) rcp_approx(a) rcp_approx_ftz(a) rsqrt_approx(a)
        rsqrt_approx_ftz(a) sqrt_approx(a) sqrt_approx_ftz(a) sin_approx(a) cos_approx(a) tanh_approx(a) div_approx(a, b)
        div_approx_ftz(a, b) div_full(a, b) div_full_ftz(a, b) ex2_approx_f16(a) ex2_approx_f16x2(a) ex2_approx_ftz_bf16(a)
        ex2_approx_ftz_bf16x2(a) tanh_approx_f16(a) tanh_approx_f16x2(a) tanh_approx_bf16(a) tanh_approx_bf16x2(a)
        add_rn(a, b) add_rn_ftz(a, b) mul_rn(a, b) mul_rn_ftz(a, b) fma_rn(a, b, c) fma_rn_ftz(a, b, c) sqrt_rn(a)
        sqrt_rn_ftz(a) rcp_rn(a) rcp_rn_ftz(a) div_rn(a, b) div_rn_ftz(a, b) neg(a) neg_ftz(a) abs(a) abs_ftz(a) min(a, b)
        min_ftz(a, b) min_nan(a, b) min_ftz_nan(a, b) min_xorsign_abs(a, b) min_nan_xorsign_abs(a, b) max(a, b)
        max_ftz(a, b) max_nan(a, b) max_ftz_nan(a, b) max_xorsign_abs(a, b) max_nan_xorsign_abs(a, b) copysign(a, b)
        bfe_u32(a, b, c) bfe_s32(a, b, c) bfi_b32(a, b, c, d) brev_b32(a) clz_b32(a) popc_b32(a) bmsk_clamp_b32(a, b)
        bmsk_wrap_b32(a, b) szext_clamp_u32(a, b) szext_wrap_u32(a, b) szext_clamp_s32(a, b) szext_wrap_s32(a, b)
        shf_l_wrap_b32(a, b, c) shf_l_clamp_b32(a, b, c) shf_r_wrap_b32(a, b, c) shf_r_clamp_b32(a, b, c)
        add_sat_s32(a, b) sub_sat_s32(a, b) abs_s16(a) abs_s32(a) neg_s16(a) neg_s32(a) mul_hi_u16(a, b) mul_hi_s16(a, b)
        mul_hi_u32(a, b) mul_hi_s32(a, b) mad_hi_sat_s32(a, b, c) mul24_lo_u32(a, b) mul24_hi_u32(a, b) mul24_lo_s32(a, b)
        mul24_hi_s32(a, b) mad24_lo_u32(a, b, c) mad24_hi_u32(a, b, c) mad24_lo_s32(a, b, c) mad24_hi_s32(a, b, c)
        mad24_hi_sat_s32(a, b, c) sad_u16(a, b, c) sad_s16(a, b, c) sad_u32(a, b, c) sad_s32(a, b, c) div_u16(a, b)
        rem_u16(a, b) div_s16(a, b) rem_s16(a, b) div_u32(a, b) rem_u32(a, b) div_s32(a, b) rem_s32(a, b)
    }
    let [a, b, c, _] = x;
    wide! {
        bfe_u64(a, &narrow(b), &narrow(c)) bfe_s64(a, &narrow(b), &narrow(c)) bfi_b64(a, b, &narrow(c), d) brev_b64(a) abs_s64(a) neg_s64(a)
        mul_hi_u64(a, b) mul_hi_s64(a, b) sad_u64(a, b, c) sad_s64(a, b, c) div_u64(a, b) rem_u64(a, b) div_s64(a, b)
        rem_s64(a, b)
    }
    words! { clz_b64(a) popc_b64(a) }
    None
}
