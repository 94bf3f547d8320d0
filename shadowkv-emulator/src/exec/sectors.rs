//! 32-byte sectors of global memory that one request touches.

/// Distinct sectors, and as few as the bytes could fill.
#[inline(always)]
pub(crate) fn sectors(addresses: &[u64; 32], lanes: u32, bytes: u32) -> (u32, u32) {
    let count = lanes.count_ones();
    if count == 0 {
        return (0, 0);
    }
    let fill = (count * bytes).div_ceil(32);
    let distinct = if lanes == u32::MAX {
        let mut ascending = true;
        let mut changes = 1;
        for lane in 1..32 {
            let (before, here) = (addresses[lane - 1] >> 5, addresses[lane] >> 5);
            ascending &= before <= here;
            changes += u32::from(before != here);
        }
        if ascending {
            changes
        } else {
            scattered(addresses, lanes)
        }
    } else {
        scattered(addresses, lanes)
    };
    (distinct, fill.min(distinct))
}

fn scattered(addresses: &[u64; 32], lanes: u32) -> u32 {
    let mut found = [0_u64; 32];
    let mut count = 0;
    let mut left = lanes;
    let mut ascending = true;
    while left != 0 {
        let lane = left.trailing_zeros() as usize;
        left &= left - 1;
        let sector = addresses[lane] >> 5;
        if count > 0 {
            if found[count - 1] == sector {
                continue;
            }
            ascending &= found[count - 1] < sector;
        }
        found[count] = sector;
        count += 1;
    }
    if !ascending {
        let found = &mut found[..count];
        found.sort_unstable();
        let mut distinct = 1;
        for pair in found.windows(2) {
            distinct += u32::from(pair[0] != pair[1]);
        }
        return distinct;
    }
    count as u32
}

/// Sectors that an asynchronous copy of 16 bytes per lane touches in L1 and fetches from L2.
///
/// A run of lanes that are neighbours on both sides and whose shared destination starts at an odd multiple of 16 bytes costs
/// one sector more in L1, and each of its sectors is fetched twice (measured on Hopper against the hardware's counters).
pub(crate) fn copy_sectors(addresses: &[u64; 32], shared: &[u32; 32], lanes: u32) -> (u32, u32) {
    let (distinct, _) = sectors(addresses, lanes, 16);
    let (mut touched, mut fetched) = (distinct, distinct);
    let mut lane = 0_usize;
    while lane < 32 {
        if lanes >> lane & 1 == 0 {
            lane += 1;
            continue;
        }
        let start = lane;
        while lane + 1 < 32
            && lanes >> (lane + 1) & 1 == 1
            && addresses[lane + 1] == addresses[lane] + 16
            && shared[lane + 1] == shared[lane].wrapping_add(16)
        {
            lane += 1;
        }
        if shared[start] % 32 == 16 {
            let run = (addresses[lane] >> 5) - (addresses[start] >> 5) + 1;
            touched += 1;
            fetched += run as u32;
        }
        lane += 1;
    }
    (touched, fetched)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: u32, lanes: u32, address: impl Fn(u64) -> u64) -> (u32, u32) {
        let mut addresses = [0; 32];
        for lane in 0..32 {
            addresses[lane as usize] = address(lane);
        }
        sectors(&addresses, lanes, bytes)
    }

    #[test]
    fn known_patterns() {
        let all = u32::MAX;
        assert_eq!(of(4, all, |lane| lane * 4), (4, 4));
        assert_eq!(of(16, all, |lane| lane * 16), (16, 16));
        assert_eq!(of(4, all, |lane| lane * 32), (32, 4));
        assert_eq!(of(4, all, |_| 4096), (1, 1));
        assert_eq!(of(4, all, |lane| 4 * (31 - lane)), (4, 4), "backwards");
        assert_eq!(of(4, all, |lane| lane * 4 + 16), (5, 4), "not aligned to a sector");
        assert_eq!(of(16, 0x0000_ffff, |lane| lane * 64), (16, 8));
        assert_eq!(of(4, 0, |lane| lane), (0, 0));
    }

    #[test]
    fn odd_rows_split_sectors() {
        let mut addresses = [0; 32];
        let mut shared = [0; 32];
        for lane in 0..32 {
            addresses[lane as usize] = 16 * lane;
            shared[lane as usize] = 16 * lane as u32;
        }
        assert_eq!(copy_sectors(&addresses, &shared, u32::MAX), (16, 16));
        let odd = shared.map(|address| address + 16);
        assert_eq!(copy_sectors(&addresses, &odd, u32::MAX), (17, 32));
    }
}
