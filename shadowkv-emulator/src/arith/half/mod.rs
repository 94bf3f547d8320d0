//! Arithmetic of `f16`, `f16x2`, `bf16` and `bf16x2` (PTX ISA, half precision floating-point instructions).

mod compare;
mod lane;

pub use compare::{HalfComparison, Relation};

use super::Lanes32;
use lane::{NAN, fused_bf16, fused_f16, is_nan, load, store};
use std::marker::PhantomData;

/// A type of 16-bit floats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "PTX's own names")]
pub enum HalfType {
    F16,
    F16x2,
    Bf16,
    Bf16x2,
}

impl HalfType {
    /// The type called `name`, without its dot.
    pub fn from_name(name: &str) -> Option<HalfType> {
        Some(match name {
            "f16" => HalfType::F16,
            "f16x2" => HalfType::F16x2,
            "bf16" => HalfType::Bf16,
            "bf16x2" => HalfType::Bf16x2,
            _ => return None,
        })
    }

    /// Two to a register.
    pub fn is_packed(self) -> bool {
        matches!(self, HalfType::F16x2 | HalfType::Bf16x2)
    }

    fn is_bf16(self) -> bool {
        matches!(self, HalfType::Bf16 | HalfType::Bf16x2)
    }
}

/// What an instruction computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Function {
    Add,
    Sub,
    Mul,
    Fma,
    Neg,
    Abs,
    Min,
    Max,
}

/// An arithmetic instruction on 16-bit floats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::struct_excessive_bools, reason = "each is a modifier of PTX")]
pub struct HalfOperation {
    ty: HalfType,
    function: Function,
    ftz: bool,
    sat: bool,
    relu: bool,
    nan: bool,
    xorsign_abs: bool,
}

impl HalfOperation {
    /// The instruction called `opcode` with `modifiers` (everything after it, without dots); `None` for one that is
    /// illegal or none of this module's.
    pub fn parse(opcode: &str, modifiers: &[&str]) -> Option<HalfOperation> {
        let [modifiers @ .., ty] = modifiers else {
            return None;
        };
        let ty = HalfType::from_name(ty)?;
        let function = match opcode {
            "add" => Function::Add,
            "sub" => Function::Sub,
            "mul" => Function::Mul,
            "fma" => Function::Fma,
            "neg" => Function::Neg,
            "abs" => Function::Abs,
            "min" => Function::Min,
            "max" => Function::Max,
            _ => return None,
        };
        let mut operation = HalfOperation {
            ty,
            function,
            ftz: false,
            sat: false,
            relu: false,
            nan: false,
            xorsign_abs: false,
        };
        let rounds = matches!(
            function,
            Function::Add | Function::Sub | Function::Mul | Function::Fma
        );
        let mut rest = modifiers;
        match rest {
            ["rn", after @ ..] if rounds => rest = after,
            // Only `fma` must say how it rounds.
            _ if function == Function::Fma => return None,
            _ => {}
        }
        if let ["ftz", after @ ..] = rest {
            (operation.ftz, rest) = (!ty.is_bf16(), after);
            if ty.is_bf16() {
                return None;
            }
        }
        match (rest, function) {
            ([], _) => {}
            (["sat"], Function::Add | Function::Sub | Function::Mul | Function::Fma)
                if !ty.is_bf16() =>
            {
                operation.sat = true;
            }
            (["relu"], Function::Fma) => operation.relu = true,
            (["NaN"], Function::Min | Function::Max) => operation.nan = true,
            (["xorsign", "abs"], Function::Min | Function::Max) => operation.xorsign_abs = true,
            (["NaN", "xorsign", "abs"], Function::Min | Function::Max) => {
                (operation.nan, operation.xorsign_abs) = (true, true);
            }
            _ => return None,
        }
        Some(operation)
    }

    /// How many sources it takes.
    pub fn sources(&self) -> usize {
        match self.function {
            Function::Neg | Function::Abs => 1,
            Function::Fma => 3,
            _ => 2,
        }
    }

    /// Computes. A scalar is in the lower half of a lane; the upper half of the result is 0 then. Sources that
    /// `sources` lacks count as zeros.
    #[inline(always)]
    pub fn apply(&self, sources: &[Lanes32]) -> Lanes32 {
        const ZEROS: Lanes32 = [0; 32];
        let source = |index: usize| sources.get(index).unwrap_or(&ZEROS);
        let (a, b, c) = (source(0), source(1), source(2));
        if self.ty.is_bf16() {
            self.rows::<true>(a, b, c)
        } else {
            self.rows::<false>(a, b, c)
        }
    }

    #[inline(always)]
    fn rows<const BF16: bool>(self, a: &Lanes32, b: &Lanes32, c: &Lanes32) -> Lanes32 {
        match self.function {
            Function::Add => self.halves::<BF16, Arithmetic<Add>>(a, b, c),
            Function::Sub => self.halves::<BF16, Arithmetic<Sub>>(a, b, c),
            Function::Mul => self.halves::<BF16, Arithmetic<Mul>>(a, b, c),
            Function::Fma => self.halves::<BF16, Arithmetic<Fma>>(a, b, c),
            Function::Neg => self.halves::<BF16, Sign<0xffff, 0x8000>>(a, b, c),
            Function::Abs => self.halves::<BF16, Sign<0x7fff, 0>>(a, b, c),
            Function::Min => self.halves::<BF16, Extreme<0xffff>>(a, b, c),
            Function::Max => self.halves::<BF16, Extreme<0>>(a, b, c),
        }
    }

    /// `L` of every half, its sources flushed if so asked.
    #[inline(always)]
    fn halves<const BF16: bool, L: Lane>(self, a: &Lanes32, b: &Lanes32, c: &Lanes32) -> Lanes32 {
        let upper = if self.ty.is_packed() { 0xffff_0000 } else { 0 };
        let mut d = [0; 32];
        for (lane, d) in d.iter_mut().enumerate() {
            let (a, b, c) = (a[lane], b[lane], c[lane]);
            let low = [
                self.flush(a & 0xffff),
                self.flush(b & 0xffff),
                self.flush(c & 0xffff),
            ];
            let high = [
                self.flush(a >> 16),
                self.flush(b >> 16),
                self.flush(c >> 16),
            ];
            *d = L::compute::<BF16>(self, low) | ((L::compute::<BF16>(self, high) << 16) & upper);
        }
        d
    }

    /// An `f16`, its denormals as zeros if so asked.
    #[inline(always)]
    fn flush(self, bits: u32) -> u32 {
        if self.ftz && bits & 0x7c00 == 0 {
            bits & 0x8000
        } else {
            bits
        }
    }
}

/// What an instruction computes of one half of a lane. Types, not closures, which would not be inlined for sure.
trait Lane {
    fn compute<const BF16: bool>(operation: HalfOperation, sources: [u32; 3]) -> u32;
}

/// A function in singles, rounded once more to 16 bits: with at least 24 bits for 11, twice is as good as once.
struct Arithmetic<S>(PhantomData<S>);

/// A function of singles.
trait Singles {
    fn compute<const BF16: bool>(sources: [f32; 3]) -> f32;
}

struct Add;
struct Sub;
struct Mul;
struct Fma;

impl Singles for Add {
    #[inline(always)]
    fn compute<const BF16: bool>([a, b, _]: [f32; 3]) -> f32 {
        a + b
    }
}

impl Singles for Sub {
    #[inline(always)]
    fn compute<const BF16: bool>([a, b, _]: [f32; 3]) -> f32 {
        a - b
    }
}

impl Singles for Mul {
    #[inline(always)]
    fn compute<const BF16: bool>([a, b, _]: [f32; 3]) -> f32 {
        a * b
    }
}

impl Singles for Fma {
    #[inline(always)]
    fn compute<const BF16: bool>(sources: [f32; 3]) -> f32 {
        if BF16 {
            fused_bf16(sources)
        } else {
            fused_f16(sources)
        }
    }
}

impl<S: Singles> Lane for Arithmetic<S> {
    #[inline(always)]
    fn compute<const BF16: bool>(operation: HalfOperation, [a, b, c]: [u32; 3]) -> u32 {
        let result = S::compute::<BF16>([load::<BF16>(a), load::<BF16>(b), load::<BF16>(c)]);
        let bits = operation.flush(store::<BF16>(result));
        let negative = bits & 0x8000 != 0;
        let clamped = if negative || is_nan::<BF16>(bits) {
            0
        } else {
            bits.min(0x3c00)
        };
        let bits = if operation.sat { clamped } else { bits };
        if operation.relu && negative { 0 } else { bits }
    }
}

/// Keeps the bits of `KEEP` and flips those of `FLIP`.
struct Sign<const KEEP: u32, const FLIP: u32>;

impl<const KEEP: u32, const FLIP: u32> Lane for Sign<KEEP, FLIP> {
    #[inline(always)]
    fn compute<const BF16: bool>(_: HalfOperation, [a, ..]: [u32; 3]) -> u32 {
        if is_nan::<BF16>(a) {
            NAN
        } else {
            (a & KEEP) ^ FLIP
        }
    }
}

/// The lesser of two if `FLIP` is all ones, the greater if it is 0; -0 is less than 0.
struct Extreme<const FLIP: u32>;

impl<const FLIP: u32> Lane for Extreme<FLIP> {
    #[inline(always)]
    fn compute<const BF16: bool>(operation: HalfOperation, [a, b, _]: [u32; 3]) -> u32 {
        let sign = (a ^ b) & 0x8000;
        let kept = if operation.xorsign_abs {
            0x7fff
        } else {
            0xffff
        };
        let (a, b) = (a & kept, b & kept);
        let greater = if ordered(a) ^ FLIP >= ordered(b) ^ FLIP {
            a
        } else {
            b
        };
        let (a_nan, b_nan) = (is_nan::<BF16>(a), is_nan::<BF16>(b));
        let number = if b_nan { a } else { greater };
        let number = if a_nan { b } else { number };
        let signed = if operation.xorsign_abs {
            number | sign
        } else {
            number
        };
        let none = if operation.nan {
            a_nan | b_nan
        } else {
            a_nan & b_nan
        };
        if none { NAN } else { signed }
    }
}

/// Bits as an integer of 16 bits that orders as the number does.
#[inline(always)]
fn ordered(bits: u32) -> u32 {
    if bits & 0x8000 == 0 {
        bits | 0x8000
    } else {
        !bits & 0xffff
    }
}

#[cfg(test)]
mod tests;
