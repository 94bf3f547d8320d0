//! What the tests of this module share.

/// splitmix64: the same numbers on every machine.
pub(super) struct Random(pub(super) u64);

impl Random {
    /// The next 64 bits.
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Bits of a single: any, or near 1, or a special one.
    pub(super) fn single(&mut self) -> u32 {
        const SPECIAL: [u32; 12] = [
            0,
            0x7f80_0000,
            0x7fc0_0000,
            0x7f80_0001,
            1,
            0x007f_ffff,
            0x0080_0000,
            0x7f7f_ffff,
            0x3f80_0000,
            0x3f00_0000,
            0x4f00_0000,
            0x4f80_0000,
        ];
        let r = self.next();
        let sign = (r as u32) & 0x8000_0000;
        match r >> 60 {
            0..6 => r as u32,
            6..14 => {
                sign | (((r >> 32) as u32 & 0x00ff_ffff) + (0x3c + (r as u32 & 15)) * 0x0080_0000)
            }
            _ => sign | SPECIAL[(r >> 32) as usize % SPECIAL.len()],
        }
    }
}
