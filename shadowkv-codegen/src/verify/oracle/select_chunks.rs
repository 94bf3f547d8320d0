//! `select_chunks`: the best chunks of a KV head, and the slots they get.

use super::landmark_score::SpanSoftmax;

/// `ln(sum(exp(score)))` of one query head over all its spans; 0 where nothing but outliers was scored.
pub fn logsumexp(spans: &[SpanSoftmax]) -> f64 {
    let largest = spans
        .iter()
        .map(|span| span.largest)
        .fold(f64::NEG_INFINITY, f64::max);
    if largest == f64::NEG_INFINITY {
        return 0.0;
    }
    let term = |span: &SpanSoftmax| span.sum * (span.largest - largest).exp();
    largest + spans.iter().map(term).sum::<f64>().ln()
}

/// What chunks are ordered by: the largest `score - logsumexp` over the query heads of the group, whose `scores` are
/// `[query heads][chunks]`. Minus infinity for outliers.
pub fn keys(scores: &[Vec<f64>], logsumexps: &[f64]) -> Vec<f64> {
    let chunks = scores.first().map_or(0, Vec::len);
    let key = |chunk: usize| {
        let of_heads = scores
            .iter()
            .zip(logsumexps)
            .map(|(head, sum)| head[chunk] - sum);
        of_heads.fold(f64::NEG_INFINITY, f64::max)
    };
    (0..chunks).map(key).collect()
}

/// The `wanted` chunks of the largest keys, ascending; among equal keys the lower chunk. All candidates if there are
/// fewer: a key of minus infinity is none.
pub fn choose(keys: &[f64], wanted: usize) -> Vec<u32> {
    let mut candidates: Vec<u32> = (0..keys.len() as u32)
        .filter(|chunk| keys[*chunk as usize] != f64::NEG_INFINITY)
        .collect();
    candidates.sort_by(|a, b| {
        let (left, right) = (keys[*a as usize], keys[*b as usize]);
        right.total_cmp(&left).then(a.cmp(b))
    });
    candidates.truncate(wanted);
    candidates.sort_unstable();
    candidates
}

/// The slots of one KV head of one batch entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slots {
    /// Chunk in each slot, -1 = empty.
    pub chunk: Vec<i32>,
    /// Step in which each slot was last used, 0 = never.
    pub stamp: Vec<u32>,
    /// Epoch in which they were last filled; of another epoch than the batch entry's they are empty.
    pub epoch: u32,
}

impl Slots {
    /// `count` empty slots.
    pub fn empty(count: usize, epoch: u32) -> Slots {
        Slots {
            chunk: vec![-1; count],
            stamp: vec![0; count],
            epoch,
        }
    }
}

/// The lists of one KV head, each `[selected_chunks]` and padded with -1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lists {
    /// The selected chunks, ascending.
    pub selected_chunks: Vec<i32>,
    /// Slot of each selected chunk.
    pub selected_slots: Vec<i32>,
    /// Selected chunks that were in no slot, ascending.
    pub missing_chunks: Vec<i32>,
    /// Slot each missing chunk goes to, ascending.
    pub missing_slots: Vec<i32>,
    /// How many are missing.
    pub missing_count: i32,
}

/// What the steps so far asked for of one KV head of one batch entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FetchTotals {
    /// Chunks selected.
    pub selected: i64,
    /// Of them, chunks that were in no slot.
    pub missing: i64,
}

impl FetchTotals {
    /// The totals after one more step, which left `lists`.
    #[must_use]
    pub fn after(self, lists: &Lists) -> FetchTotals {
        let selected = lists.selected_chunks.iter().filter(|chunk| **chunk >= 0);
        FetchTotals {
            selected: self.selected + selected.count() as i64,
            missing: self.missing + i64::from(lists.missing_count),
        }
    }

    /// As they lie in memory.
    pub fn pair(self) -> [i64; 2] {
        [self.selected, self.missing]
    }
}

/// One step: gives every chunk of `selected` (ascending, different) a slot. `wanted` is the length of the lists.
///
/// Slots of another epoch are emptied first. A slot that holds a selected chunk is a hit and is stamped before any victim
/// is chosen; the missing chunks go to the slots that were used longest ago, the lower slot first among equals, and both
/// lists are ascending.
pub fn place(slots: &mut Slots, selected: &[u32], wanted: usize, step: u32, epoch: u32) -> Lists {
    if slots.epoch != epoch {
        *slots = Slots::empty(slots.chunk.len(), epoch);
    }
    let mut missing = Vec::new();
    for chunk in selected {
        match slots.chunk.iter().position(|held| *held == *chunk as i32) {
            Some(slot) => slots.stamp[slot] = step,
            None => missing.push(*chunk),
        }
    }
    let mut victims: Vec<usize> = (0..slots.chunk.len())
        .filter(|slot| slots.stamp[*slot] < step)
        .collect();
    victims.sort_by_key(|slot| (slots.stamp[*slot], *slot));
    victims.truncate(missing.len());
    victims.sort_unstable();
    for (slot, chunk) in victims.iter().zip(&missing) {
        slots.chunk[*slot] = *chunk as i32;
        slots.stamp[*slot] = step;
    }
    let slot_of = |chunk: &u32| {
        let slot = slots.chunk.iter().position(|held| *held == *chunk as i32);
        slot.map_or(-1, |slot| slot as i32)
    };
    let padded = |list: Vec<i32>| {
        let padding = wanted - list.len();
        list.into_iter()
            .chain(std::iter::repeat_n(-1, padding))
            .collect()
    };
    Lists {
        selected_chunks: padded(selected.iter().map(|chunk| *chunk as i32).collect()),
        selected_slots: padded(selected.iter().map(slot_of).collect()),
        missing_chunks: padded(missing.iter().map(|chunk| *chunk as i32).collect()),
        missing_slots: padded(victims.iter().map(|slot| *slot as i32).collect()),
        missing_count: missing.len() as i32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_head_decides_and_ties_go_to_the_lower_chunk() {
        let spans = |largest, sum| SpanSoftmax { largest, sum };
        let flat = logsumexp(&[spans(0.0, 2.0), spans(f64::NEG_INFINITY, 0.0)]);
        assert_eq!(flat, 2.0_f64.ln());
        assert_eq!(logsumexp(&[spans(f64::NEG_INFINITY, 0.0)]), 0.0);
        // The weight of 700 would be the only one left without the logarithm.
        let peaked = logsumexp(&[spans(700.0, 1.0), spans(0.0, 1.0)]);
        assert_eq!(peaked, 700.0);

        let outlier = f64::NEG_INFINITY;
        let scores = [
            vec![3.0, 1.0, outlier, 2.0, 2.0],
            vec![0.0, 5.0, outlier, 4.0, 4.0],
        ];
        let keys = keys(&scores, &[0.0, 2.0]);
        assert_eq!(keys, [3.0, 3.0, outlier, 2.0, 2.0]);
        assert_eq!(choose(&keys, 3), [0, 1, 3]);
        assert_eq!(choose(&keys, 9), [0, 1, 3, 4]);
        assert!(choose(&[], 2).is_empty());
    }

    #[test]
    fn slots_are_refilled_by_least_recent_use() {
        let mut slots = Slots::empty(4, 7);
        // An epoch begins: all slots are empty and equal, the lowest are taken.
        let lists = place(&mut slots, &[5, 9], 3, 1, 8);
        assert_eq!(lists.selected_slots, [0, 1, -1]);
        assert_eq!(lists.missing_chunks, [5, 9, -1]);
        assert_eq!(lists.missing_slots, [0, 1, -1]);
        assert_eq!((lists.missing_count, slots.epoch), (2, 8));
        // 9 is a hit; 2 goes to the first empty slot.
        let lists = place(&mut slots, &[2, 9], 3, 2, 8);
        assert_eq!(lists.selected_slots, [2, 1, -1]);
        assert_eq!(lists.missing_slots, [2, -1, -1]);
        assert_eq!(slots.chunk, [5, 9, 2, -1]);
        assert_eq!(slots.stamp, [1, 2, 2, 0]);
        // The empty slot first, then the one of step 1; the copies' slots ascend with their chunks.
        let lists = place(&mut slots, &[1, 3, 9], 3, 3, 8);
        assert_eq!(lists.missing_chunks, [1, 3, -1]);
        assert_eq!(lists.missing_slots, [0, 3, -1]);
        assert_eq!(lists.selected_slots, [0, 3, 1]);
        assert_eq!(slots.chunk, [1, 9, 2, 3]);
    }

    #[test]
    fn totals_count_the_selected_and_of_them_the_missing() {
        let mut slots = Slots::empty(4, 8);
        let before = FetchTotals {
            selected: i64::from(u32::MAX),
            missing: 7,
        };
        let both_missing = before.after(&place(&mut slots, &[5, 9], 3, 1, 8));
        assert_eq!(both_missing.pair(), [(1 << 32) + 1, 9]);
        // 9 is a hit.
        let one_missing = both_missing.after(&place(&mut slots, &[2, 9], 3, 2, 8));
        assert_eq!(one_missing.pair(), [(1 << 32) + 3, 10]);
        let nothing_selected = one_missing.after(&place(&mut slots, &[], 3, 3, 8));
        assert_eq!(nothing_selected, one_missing);
    }

    #[test]
    fn slots_of_another_epoch_hold_nothing() {
        let mut slots = Slots {
            chunk: vec![4, 5],
            stamp: vec![9, 9],
            epoch: 1,
        };
        let lists = place(&mut slots, &[5], 2, 10, 2);
        assert_eq!(lists.missing_count, 1);
        assert_eq!(slots.chunk, [5, -1]);
        assert_eq!((slots.stamp, slots.epoch), (vec![10, 0], 2));
    }
}
