//! `cvt` (PTX ISA, data movement and conversion instructions: `cvt`).

mod lane;
mod legal;
mod rows;

pub use rows::{
    bf16_from_f32, bf16x2_from_f32, f16_from_f32, f16x2_from_f32, f32_from_bf16, f32_from_f16,
    f32_from_s32, f32_from_u32, rint_f32, s32_from_f32_rni, s32_from_f32_rzi, s64_from_s32,
    u64_from_u32,
};

use super::Lanes64;
use super::float::Direction;
use crate::ptx::ast::ScalarType;

/// A rounding modifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rounding {
    /// `.rn`, `.rz`, `.rm`, `.rp`, `.rna`: to a representable number.
    Number(Direction),
    /// `.rni`, `.rzi`, `.rmi`, `.rpi`: to an integer.
    Integer(Direction),
}

impl Rounding {
    /// The modifier called `name`, without its dot.
    pub fn from_name(name: &str) -> Option<Rounding> {
        use Direction::{Down, NearestAway, NearestEven, Up, Zero};
        Some(match name {
            "rn" => Rounding::Number(NearestEven),
            "rna" => Rounding::Number(NearestAway),
            "rz" => Rounding::Number(Zero),
            "rm" => Rounding::Number(Down),
            "rp" => Rounding::Number(Up),
            "rni" => Rounding::Integer(NearestEven),
            "rzi" => Rounding::Integer(Zero),
            "rmi" => Rounding::Integer(Down),
            "rpi" => Rounding::Integer(Up),
            _ => return None,
        })
    }

    /// Which way.
    pub fn direction(self) -> Direction {
        match self {
            Rounding::Number(direction) | Rounding::Integer(direction) => direction,
        }
    }
}

/// A form of `cvt`.
#[allow(clippy::struct_excessive_bools, reason = "each is a modifier of PTX")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Conversion {
    /// Type of the result.
    pub to: ScalarType,
    /// Type of the source or sources.
    pub from: ScalarType,
    /// Its rounding modifier.
    pub rounding: Option<Rounding>,
    /// `.ftz`: denormal singles count and come out as zeros.
    pub ftz: bool,
    /// `.sat`: floats are clamped to 0 to 1, integers to the range of the result.
    pub sat: bool,
    /// `.satfinite`: what would overflow becomes the largest finite number.
    pub satfinite: bool,
    /// `.relu`: negative numbers become zero.
    pub relu: bool,
}

impl Conversion {
    /// The form that `modifiers` (everything after `cvt`, without dots) name; `None` for one that is illegal or not
    /// modelled.
    pub fn parse(modifiers: &[&str]) -> Option<Conversion> {
        let [modifiers @ .., to, from] = modifiers else {
            return None;
        };
        let mut conversion = Conversion {
            to: ScalarType::from_name(to)?,
            from: ScalarType::from_name(from)?,
            rounding: None,
            ftz: false,
            sat: false,
            satfinite: false,
            relu: false,
        };
        for &modifier in modifiers {
            let flag = match modifier {
                "ftz" => &mut conversion.ftz,
                "sat" => &mut conversion.sat,
                "satfinite" => &mut conversion.satfinite,
                "relu" => &mut conversion.relu,
                _ if conversion.rounding.is_none() => {
                    conversion.rounding = Some(Rounding::from_name(modifier)?);
                    continue;
                }
                _ => return None,
            };
            if std::mem::replace(flag, true) {
                return None;
            }
        }
        legal::is_legal(conversion).then_some(conversion)
    }

    /// Whether the instruction has two sources, the first for the upper half.
    pub fn has_two_sources(&self) -> bool {
        use ScalarType::{Bf16x2, E4m3x2, E5m2x2, F16x2, F32};
        self.from == F32 && matches!(self.to, F16x2 | Bf16x2 | E4m3x2 | E5m2x2)
    }

    /// Converts. Sources are read from the lowest bits of `a` (and `b`, if there are two), sign-extended from their
    /// type's width where that matters. Results have zeros above their type's width, save that `s8` is extended to the
    /// 16 bits of the smallest register.
    #[inline(always)]
    pub fn apply(&self, a: &Lanes64, b: &Lanes64) -> Lanes64 {
        let mut d = [0; 32];
        if !rows::convert(*self, a, b, &mut d) {
            for ((d, &a), &b) in d.iter_mut().zip(a).zip(b) {
                *d = lane::convert(*self, a, b);
            }
        }
        d
    }
}

#[cfg(test)]
mod tests;
