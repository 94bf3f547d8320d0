//! Which `mma` an instruction's modifiers name, and how many registers its fragments take.

/// A 16-bit float format of operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HalfFormat {
    /// IEEE binary16.
    F16,
    /// The upper half of a single.
    Bf16,
}

/// A form of `mma.sync.aligned.m16n8kK.row.col` (PTX ISA, warp-level matrix instructions).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MmaKind {
    /// 16-bit float operands, `f32` accumulators.
    Half {
        /// Format of A and B.
        format: HalfFormat,
        /// K: 8 or 16.
        depth: u8,
    },
    /// `f16` operands and accumulators.
    HalfAccumulator {
        /// K: 8 or 16.
        depth: u8,
    },
    /// `tf32` operands, `f32` accumulators.
    Tf32 {
        /// K: 4 or 8.
        depth: u8,
    },
    /// 8-bit integer operands, `s32` accumulators.
    Integer {
        /// K: 16 or 32.
        depth: u8,
        /// A is `s8`, else `u8`.
        a_signed: bool,
        /// B is `s8`, else `u8`.
        b_signed: bool,
        /// `.satfinite`: clamps to the range of `s32` instead of wrapping.
        saturate: bool,
    },
}

impl MmaKind {
    /// The form that `modifiers` (everything after `mma`, without dots) name; `None` for one not modelled.
    pub fn parse(modifiers: &[&str]) -> Option<MmaKind> {
        let ["sync", "aligned", shape, "row", "col", types @ ..] = modifiers else {
            return None;
        };
        let depth: u8 = shape.strip_prefix("m16n8k")?.parse().ok()?;
        let (saturate, types) = match types {
            ["satfinite", rest @ ..] => (true, rest),
            _ => (false, types),
        };
        let [d, a, b, c] = types else { return None };
        match (*d, *a, *b, *c, depth, saturate) {
            ("f32", "bf16", "bf16", "f32", 8 | 16, false) => Some(MmaKind::Half {
                format: HalfFormat::Bf16,
                depth,
            }),
            ("f32", "f16", "f16", "f32", 8 | 16, false) => Some(MmaKind::Half {
                format: HalfFormat::F16,
                depth,
            }),
            ("f16", "f16", "f16", "f16", 8 | 16, false) => Some(MmaKind::HalfAccumulator { depth }),
            ("f32", "tf32", "tf32", "f32", 4 | 8, false) => Some(MmaKind::Tf32 { depth }),
            ("s32", "s8" | "u8", "s8" | "u8", "s32", 16 | 32, _) => Some(MmaKind::Integer {
                depth,
                a_signed: *a == "s8",
                b_signed: *b == "s8",
                saturate,
            }),
            _ => None,
        }
    }

    /// K: how many products make one output.
    pub fn depth(self) -> usize {
        match self {
            MmaKind::Half { depth, .. }
            | MmaKind::HalfAccumulator { depth }
            | MmaKind::Tf32 { depth }
            | MmaKind::Integer { depth, .. } => usize::from(depth),
        }
    }

    /// Registers a thread gives for A.
    pub fn a_registers(self) -> usize {
        2 * self.b_registers()
    }

    /// Registers a thread gives for B: its 32nd of 8 columns.
    pub fn b_registers(self) -> usize {
        let per_register = match self {
            MmaKind::Half { .. } | MmaKind::HalfAccumulator { .. } => 2,
            MmaKind::Tf32 { .. } => 1,
            MmaKind::Integer { .. } => 4,
        };
        self.depth() * 8 / 32 / per_register
    }

    /// Registers a thread gives for C.
    pub fn c_registers(self) -> usize {
        match self {
            MmaKind::HalfAccumulator { .. } => 2,
            _ => 4,
        }
    }

    /// Registers a thread receives for D.
    pub fn d_registers(self) -> usize {
        self.c_registers()
    }

    /// Operations of one instruction, a multiplication and an addition counting as two.
    pub fn flops(self) -> u64 {
        2 * 16 * 8 * self.depth() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &str) -> Option<MmaKind> {
        MmaKind::parse(&name.split('.').collect::<Vec<_>>())
    }

    #[test]
    fn names_the_forms() {
        let bf16 = MmaKind::Half {
            format: HalfFormat::Bf16,
            depth: 16,
        };
        assert_eq!(
            parse("sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32"),
            Some(bf16)
        );
        assert_eq!(
            (
                bf16.a_registers(),
                bf16.b_registers(),
                bf16.c_registers(),
                bf16.flops()
            ),
            (4, 2, 4, 4096)
        );
        let short = MmaKind::HalfAccumulator { depth: 8 };
        assert_eq!(
            parse("sync.aligned.m16n8k8.row.col.f16.f16.f16.f16"),
            Some(short)
        );
        assert_eq!(
            (
                short.a_registers(),
                short.b_registers(),
                short.d_registers()
            ),
            (2, 1, 2)
        );
        let bytes = MmaKind::Integer {
            depth: 32,
            a_signed: false,
            b_signed: true,
            saturate: true,
        };
        assert_eq!(
            parse("sync.aligned.m16n8k32.row.col.satfinite.s32.u8.s8.s32"),
            Some(bytes)
        );
        assert_eq!(
            (bytes.a_registers(), bytes.b_registers(), bytes.flops()),
            (4, 2, 8192)
        );
        let tf32 = MmaKind::Tf32 { depth: 8 };
        assert_eq!(
            parse("sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32"),
            Some(tf32)
        );
        assert_eq!(
            (tf32.a_registers(), tf32.b_registers(), tf32.c_registers()),
            (4, 2, 4)
        );
    }

    #[test]
    fn refuses_what_is_not_modelled() {
        for name in [
            "sync.aligned.m16n8k16.row.row.f32.bf16.bf16.f32",
            "sync.aligned.m16n8k32.row.col.f32.bf16.bf16.f32",
            "sync.aligned.m8n8k4.row.col.f32.f16.f16.f32",
            "sync.aligned.m16n8k16.row.col.f32.bf16.f16.f32",
            "sync.aligned.m16n8k16.row.col.satfinite.f32.f16.f16.f32",
            "sync.aligned.m16n8k16.row.col.f32.f16.f16.f16",
            "",
        ] {
            assert_eq!(parse(name), None, "{name}");
        }
    }
}
