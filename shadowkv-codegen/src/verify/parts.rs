//! Parts of an argument: what a launch must write, and what is left.

use super::case::Segment;

/// What an output holds where a launch must not write. No kernel leaves such numbers: -1.6e6 as `f32` and as bfloat16, a
/// negative index.
const CANARY: u8 = 0xc9;

/// Largest output that is filled with the canary as a whole; of larger ones, only what lies beside the launch's part.
const WHOLE_BYTES: u64 = 32 << 20;

/// Bytes beside each region of a large output that are filled with the canary.
const MARGIN_BYTES: u64 = 4096;

/// The parts of `begin..end` that `owned` (in order) leaves.
pub(super) fn gaps(owned: &[(u64, u64)], begin: u64, end: u64) -> Vec<(u64, u64)> {
    let first = owned.partition_point(|(_, behind)| *behind <= begin);
    let mut gaps = Vec::new();
    let mut from = begin;
    for (own_begin, own_end) in owned[first..].iter().take_while(|(own, _)| *own < end) {
        if *own_begin > from {
            gaps.push((from, *own_begin));
        }
        from = *own_end;
    }
    if from < end {
        gaps.push((from, end));
    }
    gaps
}

/// Canaries wherever an output of `bytes` bytes is not the launch's to write, or beside what is.
pub(super) fn canaries(owned: &[(u64, u64)], bytes: u64) -> Vec<Segment> {
    let all = gaps(owned, 0, bytes);
    if bytes <= WHOLE_BYTES {
        return all
            .into_iter()
            .map(|(begin, end)| canary(begin, end))
            .collect();
    }
    let beside = |(begin, end): (u64, u64)| {
        if end - begin <= 2 * MARGIN_BYTES {
            vec![canary(begin, end)]
        } else {
            vec![
                canary(begin, begin + MARGIN_BYTES),
                canary(end - MARGIN_BYTES, end),
            ]
        }
    };
    all.into_iter().flat_map(beside).collect()
}

pub(super) fn canary(begin: u64, end: u64) -> Segment {
    Segment {
        offset: begin,
        bytes: vec![CANARY; (end - begin) as usize],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_what_is_left() {
        let owned = [(4, 8), (12, 16)];
        assert_eq!(gaps(&owned, 0, 20), [(0, 4), (8, 12), (16, 20)]);
        assert_eq!(gaps(&owned, 5, 13), [(8, 12)]);
        assert_eq!(gaps(&owned, 4, 8), []);
        assert_eq!(gaps(&owned, 8, 10), [(8, 10)]);
        assert_eq!(gaps(&[], 3, 4), [(3, 4)]);
    }

    #[test]
    fn of_large_outputs_only_the_margins_are_canaries() {
        let small = canaries(&[(100, 200)], 1000);
        let bytes: Vec<(u64, usize)> = small.iter().map(|s| (s.offset, s.bytes.len())).collect();
        assert_eq!(bytes, [(0, 100), (200, 800)]);
        let large = canaries(&[(20 << 20, 21 << 20)], 100 << 20);
        assert_eq!(large.iter().map(|s| s.bytes.len()).sum::<usize>(), 4 * 4096);
    }
}
