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
/// A sector whose halves go to different 32-byte slots of shared memory is fetched once for each; and L1 is asked for as many
/// sectors as there are slots, if those are more (measured on Hopper against the hardware's counters, rows that begin at an
/// odd multiple of 16 bytes: one sector more for each row, every sector of it fetched twice).
#[inline(always)]
pub(crate) fn copy_sectors(addresses: &[u64; 32], shared: &[u32; 32], lanes: u32) -> (u32, u32) {
    let (distinct, _) = sectors(addresses, lanes, 16);
    if lanes == u32::MAX {
        let mut whole = true;
        for pair in 0..16 {
            let (a, b) = (pair * 2, pair * 2 + 1);
            whole &= addresses[a] >> 5 == addresses[b] >> 5 && shared[a] >> 5 == shared[b] >> 5;
        }
        if whole {
            return (distinct, distinct);
        }
    }
    split_sectors(addresses, shared, lanes, distinct)
}

fn split_sectors(
    addresses: &[u64; 32],
    shared: &[u32; 32],
    lanes: u32,
    distinct: u32,
) -> (u32, u32) {
    let mut pairs = [(0_u64, 0_u32); 32];
    let mut slots = [0_u32; 32];
    let mut count = 0;
    for lane in 0..32 {
        if lanes >> lane & 1 == 1 {
            pairs[count] = (addresses[lane] >> 5, shared[lane] >> 5);
            slots[count] = shared[lane] >> 5;
            count += 1;
        }
    }
    let (pairs, slots) = (&mut pairs[..count], &mut slots[..count]);
    pairs.sort_unstable();
    slots.sort_unstable();
    let fetched = runs(pairs);
    (distinct.max(runs(slots)), fetched)
}

/// Distinct members of a sorted slice.
fn runs<T: PartialEq>(sorted: &[T]) -> u32 {
    let changes = sorted.windows(2).filter(|pair| pair[0] != pair[1]).count() as u32;
    changes + u32::from(!sorted.is_empty())
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
        assert_eq!(
            of(4, all, |lane| lane * 4 + 16),
            (5, 4),
            "not aligned to a sector"
        );
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
        // 16 sectors over 17 slots: each but the outer two slots takes halves of two sectors.
        assert_eq!(copy_sectors(&addresses, &odd, u32::MAX), (17, 32));
        let swizzled = shared.map(|address| address ^ 16);
        assert_eq!(copy_sectors(&addresses, &swizzled, u32::MAX), (16, 16));
    }
}
