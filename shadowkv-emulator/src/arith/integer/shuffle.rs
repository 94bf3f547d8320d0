//! Bytes and bits picked from several words: `prmt`, `shf`, `lop3`.

use super::rows;
use crate::arith::Lanes32;

/// How `prmt` reads its selector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum PermuteMode {
    /// Four bits for each byte: which, and whether to spread its sign.
    #[default]
    Default,
    /// `.f4e`: four consecutive bytes from the one selected up.
    Forward4,
    /// `.b4e`: from the one selected down.
    Backward4,
    /// `.rc8`: one byte four times.
    Replicate8,
    /// `.ecl`: the byte selected by each position's own number or a greater one.
    EdgeClampLeft,
    /// `.ecr`: the byte selected by each position's own number or a lesser one.
    EdgeClampRight,
    /// `.rc16`: one half twice.
    Replicate16,
}

impl PermuteMode {
    /// The mode called `name`, without its dot.
    pub fn from_name(name: &str) -> Option<PermuteMode> {
        Some(match name {
            "f4e" => PermuteMode::Forward4,
            "b4e" => PermuteMode::Backward4,
            "rc8" => PermuteMode::Replicate8,
            "ecl" => PermuteMode::EdgeClampLeft,
            "ecr" => PermuteMode::EdgeClampRight,
            "rc16" => PermuteMode::Replicate16,
            _ => return None,
        })
    }

    /// The default mode's selector that does the same.
    #[inline(always)]
    fn selector(self, c: u32) -> u32 {
        let number = c & 3;
        match self {
            PermuteMode::Default => c & 0xffff,
            PermuteMode::Forward4 => [0x3210, 0x4321, 0x5432, 0x6543][number as usize],
            PermuteMode::Backward4 => [0x5670, 0x6701, 0x7012, 0x0123][number as usize],
            PermuteMode::Replicate8 => number * 0x1111,
            PermuteMode::EdgeClampLeft => [0x3210, 0x3211, 0x3222, 0x3333][number as usize],
            PermuteMode::EdgeClampRight => [0x0000, 0x1110, 0x2210, 0x3210][number as usize],
            PermuteMode::Replicate16 => [0x1010, 0x3232, 0x1010, 0x3232][number as usize],
        }
    }
}

/// `prmt.b32`: bytes 0 to 3 are `a`'s, 4 to 7 `b`'s.
#[inline(always)]
pub fn prmt_b32(a: &Lanes32, b: &Lanes32, c: &Lanes32, mode: PermuteMode) -> Lanes32 {
    let mut d = [0; 32];
    for (lane, d) in d.iter_mut().enumerate() {
        let bytes = u64::from(a[lane]) | (u64::from(b[lane]) << 32);
        let selector = mode.selector(c[lane]);
        for position in 0..4 {
            let choice = selector >> (4 * position);
            let byte = (bytes >> (8 * (choice & 7))) as u32 & 0xff;
            let sign = if byte >= 0x80 { 0xff } else { 0 };
            *d |= (if choice & 8 == 0 { byte } else { sign }) << (8 * position);
        }
    }
    d
}

/// `lop3.b32`: bit 4 a + 2 b + c of `table` for each bit.
#[inline(always)]
pub fn lop3_b32(a: &Lanes32, b: &Lanes32, c: &Lanes32, table: u8) -> Lanes32 {
    // All ones where the table has a one.
    let row = |index: u32| {
        if (table >> index) & 1 == 1 {
            u32::MAX
        } else {
            0
        }
    };
    let rows = [
        row(0),
        row(1),
        row(2),
        row(3),
        row(4),
        row(5),
        row(6),
        row(7),
    ];
    let mut d = [0; 32];
    for (lane, d) in d.iter_mut().enumerate() {
        let (a, b, c) = (a[lane], b[lane], c[lane]);
        *d = (rows[0] & !a & !b & !c)
            | (rows[1] & !a & !b & c)
            | (rows[2] & !a & b & !c)
            | (rows[3] & !a & b & c)
            | (rows[4] & a & !b & !c)
            | (rows[5] & a & !b & c)
            | (rows[6] & a & b & !c)
            | (rows[7] & a & b & c);
    }
    d
}

/// The two words as one, `b` above.
#[inline(always)]
fn join(a: u32, b: u32) -> u64 {
    u64::from(a) | (u64::from(b) << 32)
}

rows! {
    /// `shf.l.wrap.b32`: the upper word of `b:a` shifted left by `c` modulo 32
    fn shf_l_wrap_b32(a: u32, b: u32, c: u32) -> u32 { ((join(a, b) << (c & 31)) >> 32) as u32 }
    /// `shf.l.clamp.b32`: the upper word of `b:a` shifted left by `c`, at most 32
    fn shf_l_clamp_b32(a: u32, b: u32, c: u32) -> u32 { ((join(a, b) << c.min(32)) >> 32) as u32 }
    /// `shf.r.wrap.b32`: the lower word of `b:a` shifted right by `c` modulo 32
    fn shf_r_wrap_b32(a: u32, b: u32, c: u32) -> u32 { (join(a, b) >> (c & 31)) as u32 }
    /// `shf.r.clamp.b32`: the lower word of `b:a` shifted right by `c`, at most 32
    fn shf_r_clamp_b32(a: u32, b: u32, c: u32) -> u32 { (join(a, b) >> c.min(32)) as u32 }
}
