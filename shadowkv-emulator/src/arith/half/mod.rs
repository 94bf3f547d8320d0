//! Arithmetic of `f16`, `f16x2`, `bf16` and `bf16x2` (PTX ISA, half precision floating-point instructions).

mod compare;
mod lane;

pub use compare::{HalfComparison, Relation};

use super::Lanes32;
use lane::{NAN, fused, is_nan, load, store};

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
            Function::Add => self.arithmetic::<BF16>([a, b, c], |[a, b, _]| a + b),
            Function::Sub => self.arithmetic::<BF16>([a, b, c], |[a, b, _]| a - b),
            Function::Mul => self.arithmetic::<BF16>([a, b, c], |[a, b, _]| a * b),
            Function::Fma => self.arithmetic::<BF16>([a, b, c], fused),
            Function::Neg => {
                self.halves::<BF16>(
                    [a, b, c],
                    |[a, ..]| if is_nan::<BF16>(a) { NAN } else { a ^ 0x8000 },
                )
            }
            Function::Abs => {
                self.halves::<BF16>(
                    [a, b, c],
                    |[a, ..]| if is_nan::<BF16>(a) { NAN } else { a & 0x7fff },
                )
            }
            Function::Min => {
                self.halves::<BF16>([a, b, c], |[a, b, _]| self.extreme::<BF16>(a, b, 0xffff))
            }
            Function::Max => {
                self.halves::<BF16>([a, b, c], |[a, b, _]| self.extreme::<BF16>(a, b, 0))
            }
        }
    }

    /// `function` of every half, its sources flushed if so asked.
    #[inline(always)]
    fn halves<const BF16: bool>(
        self,
        sources: [&Lanes32; 3],
        function: impl Fn([u32; 3]) -> u32,
    ) -> Lanes32 {
        let upper = if self.ty.is_packed() { 0xffff_0000 } else { 0 };
        let flush = |bits: u32| {
            if self.ftz && bits & 0x7c00 == 0 {
                bits & 0x8000
            } else {
                bits
            }
        };
        let mut d = [0; 32];
        for (lane, d) in d.iter_mut().enumerate() {
            let [a, b, c] = [sources[0][lane], sources[1][lane], sources[2][lane]];
            let low = function([flush(a & 0xffff), flush(b & 0xffff), flush(c & 0xffff)]);
            let high = function([flush(a >> 16), flush(b >> 16), flush(c >> 16)]);
            *d = low | ((high << 16) & upper);
        }
        d
    }

    /// `function` in singles of every half, rounded once more to 16 bits: with at least 24 bits for 11, twice is as
    /// good as once.
    #[inline(always)]
    fn arithmetic<const BF16: bool>(
        self,
        sources: [&Lanes32; 3],
        function: impl Fn([f32; 3]) -> f32,
    ) -> Lanes32 {
        self.halves::<BF16>(sources, |bits| {
            let bits = store::<BF16>(function([
                load::<BF16>(bits[0]),
                load::<BF16>(bits[1]),
                load::<BF16>(bits[2]),
            ]));
            let bits = if self.ftz && bits & 0x7c00 == 0 {
                bits & 0x8000
            } else {
                bits
            };
            let negative = bits & 0x8000 != 0;
            let clamped = if negative || is_nan::<BF16>(bits) {
                0
            } else {
                bits.min(0x3c00)
            };
            let bits = if self.sat { clamped } else { bits };
            if self.relu && negative { 0 } else { bits }
        })
    }

    /// The lesser of two if `flip` is all ones, the greater if it is 0; -0 is less than 0.
    #[inline(always)]
    fn extreme<const BF16: bool>(self, a: u32, b: u32, flip: u32) -> u32 {
        let sign = (a ^ b) & 0x8000;
        let (a, b) = if self.xorsign_abs {
            (a & 0x7fff, b & 0x7fff)
        } else {
            (a, b)
        };
        // Bits as an integer that orders as the number does.
        let key = |bits: u32| {
            (if bits & 0x8000 == 0 {
                bits | 0x8000
            } else {
                !bits & 0xffff
            }) ^ flip
        };
        let greater = if key(a) >= key(b) { a } else { b };
        let (a_nan, b_nan) = (is_nan::<BF16>(a), is_nan::<BF16>(b));
        let number = if a_nan {
            b
        } else if b_nan {
            a
        } else {
            greater
        };
        let none = (a_nan && b_nan) || (self.nan && (a_nan || b_nan));
        let signed = if self.xorsign_abs {
            number | sign
        } else {
            number
        };
        if none { NAN } else { signed }
    }
}

#[cfg(test)]
mod tests;
