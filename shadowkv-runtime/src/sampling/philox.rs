//! Random numbers of a counter.

/// Philox4x32-10: four random words of a counter and a key, the lower half of the key first.
///
/// Salmon, Moraes, Dror and Shaw, *Parallel random numbers: as easy as 1, 2, 3*, SC 2011.
pub fn philox4x32(counter: [u32; 4], key: u64) -> [u32; 4] {
    let mut words = counter;
    let mut keys = [key as u32, (key >> 32) as u32];
    for _ in 0..10 {
        let first = 0xd251_1f53 * u64::from(words[0]);
        let second = 0xcd9e_8d57 * u64::from(words[2]);
        words = [
            (second >> 32) as u32 ^ words[1] ^ keys[0],
            second as u32,
            (first >> 32) as u32 ^ words[3] ^ keys[1],
            first as u32,
        ];
        keys[0] = keys[0].wrapping_add(0x9e37_79b9);
        keys[1] = keys[1].wrapping_add(0xbb67_ae85);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers that come with the authors' library, Random123.
    #[test]
    fn known_answers() {
        for (counter, key, words) in [
            (
                [0; 4],
                0,
                [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8],
            ),
            (
                [u32::MAX; 4],
                u64::MAX,
                [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd],
            ),
            (
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                0x299f_31d0_a409_3822,
                [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
            ),
        ] {
            assert_eq!(philox4x32(counter, key), words);
        }
    }
}
