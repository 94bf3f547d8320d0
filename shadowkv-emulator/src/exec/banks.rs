//! Shared-memory wavefronts: how often the 32 banks of 4 bytes must be asked for one access.
//!
//! An access of 8 bytes or less is one pass over all lanes, one of 16 bytes four passes of 8 lanes. In a pass, lanes that ask
//! for the same word share it; a bank that is asked for several words takes that many wavefronts.

use crate::arith::Lanes32;

use super::shared::Wavefronts;

/// Wavefronts of an access of `bytes` bytes per lane.
#[inline(always)]
pub(crate) fn wavefronts(addresses: &Lanes32, lanes: u32, bytes: u32) -> Wavefronts {
    match bytes {
        16 => passes::<4>(addresses, lanes),
        8 => pairs(addresses, lanes),
        _ => passes::<1>(addresses, lanes),
    }
}

/// One pass over all lanes, each of which asks for two neighbouring words: two wavefronts if all are different and evenly
/// spread, whichever lanes meet in them.
#[inline(always)]
fn pairs(addresses: &Lanes32, lanes: u32) -> Wavefronts {
    let mut seen = 0_u32;
    let mut twice = 0_u32;
    let mut more = false;
    let mut left = lanes;
    while left != 0 {
        let lane = left.trailing_zeros() as usize;
        left &= left - 1;
        let group = 1 << (addresses[lane] >> 3 & 15);
        more |= twice & group != 0;
        twice |= seen & group;
        seen |= group;
    }
    let ideal = if lanes == 0 {
        0
    } else {
        lanes.count_ones().div_ceil(16)
    };
    let actual = if more || twice != 0 {
        crowded(addresses, lanes, 0, 2)
    } else {
        u32::from(lanes != 0)
    };
    Wavefronts {
        actual,
        ideal: ideal.min(actual),
    }
}

/// Passes of 32 / WORDS lanes, each of which asks for WORDS neighbouring words.
#[inline(always)]
fn passes<const WORDS: usize>(addresses: &Lanes32, lanes: u32) -> Wavefronts {
    let mut total = Wavefronts::default();
    let per_pass = 32 / WORDS;
    for pass in 0..WORDS {
        let members = if WORDS == 1 {
            lanes
        } else {
            lanes >> (pass * per_pass) & ((1 << per_pass) - 1)
        };
        if members == 0 {
            continue;
        }
        // Groups of WORDS banks; lanes of a pass are aligned to them.
        let mut seen = 0_u32;
        let mut twice = false;
        let mut left = members;
        while left != 0 {
            let lane = left.trailing_zeros() as usize + pass * per_pass;
            left &= left - 1;
            let group = (addresses[lane] >> 2) as usize / WORDS % (32 / WORDS);
            twice |= seen >> group & 1 == 1;
            seen |= 1 << group;
        }
        let wavefronts = if twice {
            crowded(addresses, members, pass * per_pass, WORDS)
        } else {
            1
        };
        total.actual += wavefronts.max(1);
        total.ideal += 1;
    }
    total
}

/// Wavefronts of a pass in which a bank is asked more than once: the most distinct words of any bank.
#[cold]
fn crowded(addresses: &Lanes32, members: u32, first: usize, words: usize) -> u32 {
    let mut asked = [0_u32; 32];
    let mut count = 0;
    for lane in (0..32 - first).filter(|lane| members >> lane & 1 == 1) {
        asked[count] = (addresses[lane + first] >> 2) / words as u32;
        count += 1;
    }
    let asked = &mut asked[..count];
    asked.sort_unstable();
    let mut per_bank = [0_u8; 32];
    let mut before = None;
    for &group in asked.iter() {
        if before != Some(group) {
            per_bank[group as usize % (32 / words)] += 1;
        }
        before = Some(group);
    }
    u32::from(per_bank.iter().copied().max().unwrap_or(0))
}

/// Wavefronts of reading 8 rows of 16 bytes: one matrix of ldmatrix.
#[inline(always)]
pub(crate) fn matrix(rows: &[u32]) -> u32 {
    let mut seen = 0_u32;
    let mut twice = false;
    for row in rows {
        let group = row >> 4 & 7;
        twice |= seen >> group & 1 == 1;
        seen |= 1 << group;
    }
    if !twice {
        return 1;
    }
    let mut addresses = [0; 32];
    for (lane, row) in rows.iter().enumerate() {
        addresses[lane] = *row;
    }
    crowded(&addresses, (1 << rows.len()) - 1, 0, 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: u32, address: impl Fn(u32) -> u32) -> (u32, u32) {
        let mut addresses = [0; 32];
        for lane in 0..32 {
            addresses[lane as usize] = address(lane);
        }
        let found = wavefronts(&addresses, u32::MAX, bytes);
        (found.actual, found.ideal)
    }

    #[test]
    fn known_patterns() {
        assert_eq!(of(4, |lane| lane * 4), (1, 1));
        assert_eq!(of(4, |_| 64), (1, 1), "a broadcast");
        assert_eq!(of(4, |lane| lane * 8), (2, 1));
        assert_eq!(of(4, |lane| lane * 128), (32, 1));
        assert_eq!(of(2, |lane| lane * 2), (1, 1), "halves of words");
        assert_eq!(of(8, |lane| lane * 8), (2, 2));
        assert_eq!(of(16, |lane| lane * 16), (4, 4));
        assert_eq!(of(16, |lane| lane * 32), (8, 4));
        assert_eq!(of(16, |lane| lane * 128), (32, 4));
    }

    #[test]
    fn rows_of_a_matrix() {
        assert_eq!(matrix(&[0, 16, 32, 48, 64, 80, 96, 112]), 1);
        assert_eq!(matrix(&[0, 128, 256, 384, 512, 640, 768, 896]), 8);
        assert_eq!(
            matrix(&[0, 144, 288, 432, 576, 720, 864, 1008]),
            1,
            "padded"
        );
    }
}
