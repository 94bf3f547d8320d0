//! Comparisons of 16-bit floats (`setp`, `set`).

use super::HalfType;
use super::lane::{is_nan, load};
use crate::arith::Lanes32;

/// A comparison of floats; the unordered ones hold for NaNs too (PTX ISA, comparisons).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "PTX's own names")]
pub enum Relation {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Equ,
    Neu,
    Ltu,
    Leu,
    Gtu,
    Geu,
    /// Neither is NaN.
    Num,
    /// One is NaN.
    Nan,
}

impl Relation {
    /// The relation called `name`, without its dot.
    pub fn from_name(name: &str) -> Option<Relation> {
        Some(match name {
            "eq" => Relation::Eq,
            "ne" => Relation::Ne,
            "lt" => Relation::Lt,
            "le" => Relation::Le,
            "gt" => Relation::Gt,
            "ge" => Relation::Ge,
            "equ" => Relation::Equ,
            "neu" => Relation::Neu,
            "ltu" => Relation::Ltu,
            "leu" => Relation::Leu,
            "gtu" => Relation::Gtu,
            "geu" => Relation::Geu,
            "num" => Relation::Num,
            "nan" => Relation::Nan,
            _ => return None,
        })
    }

    /// Whether it holds for numbers in the order given by these bits, and for unordered ones.
    #[inline(always)]
    fn table(self) -> Table {
        let (less, equal, greater, unordered) = match self {
            Relation::Eq => (false, true, false, false),
            Relation::Ne => (true, false, true, false),
            Relation::Lt => (true, false, false, false),
            Relation::Le => (true, true, false, false),
            Relation::Gt => (false, false, true, false),
            Relation::Ge => (false, true, true, false),
            Relation::Equ => (false, true, false, true),
            Relation::Neu => (true, false, true, true),
            Relation::Ltu => (true, false, false, true),
            Relation::Leu => (true, true, false, true),
            Relation::Gtu => (false, false, true, true),
            Relation::Geu => (false, true, true, true),
            Relation::Num => (true, true, true, false),
            Relation::Nan => (false, false, false, true),
        };
        Table {
            less,
            equal,
            greater,
            unordered,
        }
    }

    /// Whether it holds.
    #[allow(clippy::float_cmp, reason = "PTX's own equality")]
    #[inline(always)]
    pub fn holds(self, a: f32, b: f32) -> bool {
        let table = self.table();
        (a < b && table.less)
            || (a == b && table.equal)
            || (a > b && table.greater)
            || ((a.is_nan() || b.is_nan()) && table.unordered)
    }
}

/// For which orders of its operands a relation holds.
#[derive(Clone, Copy)]
#[allow(clippy::struct_excessive_bools, reason = "a row of a truth table")]
struct Table {
    less: bool,
    equal: bool,
    greater: bool,
    unordered: bool,
}

/// A comparison of 16-bit floats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HalfComparison {
    /// Type of the operands.
    pub ty: HalfType,
    /// What is asked.
    pub relation: Relation,
    /// `.ftz`: denormals count as zeros.
    pub ftz: bool,
}

impl HalfComparison {
    /// The comparison among `modifiers` (everything after `setp`, without dots and without a Boolean operator); `None`
    /// if it is illegal or none of 16-bit floats.
    pub fn parse(modifiers: &[&str]) -> Option<HalfComparison> {
        let (relation, ftz, ty) = match modifiers {
            [relation, ty] => (relation, false, ty),
            [relation, "ftz", ty] => (relation, true, ty),
            _ => return None,
        };
        let ty = HalfType::from_name(ty)?;
        let relation = Relation::from_name(relation)?;
        (!ftz || !ty.is_bf16()).then_some(HalfComparison { ty, relation, ftz })
    }

    /// Compares the lower and the upper halves: a bit for each lane. The second is 0 for scalars.
    #[inline(always)]
    pub fn apply(&self, a: &Lanes32, b: &Lanes32) -> (u32, u32) {
        if self.ty.is_bf16() {
            self.halves::<true>(a, b)
        } else {
            self.halves::<false>(a, b)
        }
    }

    #[inline(always)]
    fn halves<const BF16: bool>(self, a: &Lanes32, b: &Lanes32) -> (u32, u32) {
        let flush = |bits: u32| {
            if self.ftz && bits & 0x7c00 == 0 {
                bits & 0x8000
            } else {
                bits
            }
        };
        let value = |bits: u32| {
            let nan = is_nan::<BF16>(bits);
            if nan {
                f32::NAN
            } else {
                load::<BF16>(flush(bits))
            }
        };
        let (mut low, mut high) = (0, 0);
        for (lane, (&a, &b)) in a.iter().zip(b).enumerate() {
            low |= u32::from(self.relation.holds(value(a & 0xffff), value(b & 0xffff))) << lane;
            high |= u32::from(self.relation.holds(value(a >> 16), value(b >> 16))) << lane;
        }
        (low, if self.ty.is_packed() { high } else { 0 })
    }
}
