//! `select_chunks` and `select_outliers`: the best of many, and their places.

use std::collections::HashMap;

/// A float as an integer of the same order.
fn ordered(value: f32) -> u32 {
    let bits = value.to_bits();
    if bits >> 31 == 0 {
        bits | 1 << 31
    } else {
        !bits
    }
}

/// The `count` items of the lowest keys, ascending; of equal keys the earlier. Keys of plus infinity are no items.
pub(super) fn lowest(
    keys: impl Iterator<Item = f32>,
    count: usize,
    scratch: &mut Vec<u64>,
) -> Vec<i32> {
    scratch.clear();
    let items = keys.enumerate().filter(|(_, key)| *key < f32::INFINITY);
    // Zero has one sign: a key orders as it compares.
    scratch.extend(items.map(|(item, key)| u64::from(ordered(key + 0.0)) << 32 | item as u64));
    if count == 0 {
        return Vec::new();
    }
    if scratch.len() > count {
        scratch.select_nth_unstable(count - 1);
        scratch.truncate(count);
    }
    let mut items: Vec<i32> = scratch.iter().map(|item| *item as u32 as i32).collect();
    items.sort_unstable();
    items
}

/// `ln(sum(exp(score)))` over the spans of one query head, `[spans, 2]`; 0 where nothing but outliers was scored.
fn logsumexp(spans: &[f32]) -> f32 {
    let (spans, _) = spans.as_chunks::<2>();
    let largest = spans
        .iter()
        .map(|span| span[0])
        .fold(f32::NEG_INFINITY, f32::max);
    if largest == f32::NEG_INFINITY {
        return 0.0;
    }
    let term = |[most, sum]: &[f32; 2]| f64::from(*sum) * f64::from(most - largest).exp();
    largest + spans.iter().map(term).sum::<f64>().ln() as f32
}

/// What chunks are chosen by: the negated largest `score - logsumexp` over the query heads of the group. `scores` is
/// `[G, stride]`, `spans` `[G, stride / 64, 2]`.
pub(super) fn keys(
    scores: &[f32],
    spans: &[f32],
    (stride, chunks): (usize, usize),
    keys: &mut Vec<f32>,
) {
    keys.clear();
    keys.resize(chunks, f32::INFINITY);
    let heads = scores
        .chunks_exact(stride)
        .zip(spans.chunks_exact(stride / 64 * 2));
    for (scores, spans) in heads {
        let sum = logsumexp(&spans[..chunks.div_ceil(64) * 2]);
        for (key, score) in keys.iter_mut().zip(scores) {
            *key = key.min(sum - score);
        }
    }
}

/// Slots of one KV head.
pub(super) struct Slots<'a> {
    /// Chunk in each slot, -1 = empty.
    pub(super) chunk: &'a mut [i32],
    /// Step in which each slot was last used, 0 = never.
    pub(super) stamp: &'a mut [u32],
    /// Epoch in which they were last filled.
    pub(super) epoch: &'a mut u32,
}

/// Lists of one KV head.
pub(super) struct Lists<'a> {
    pub(super) selected_chunks: &'a mut [i32],
    pub(super) selected_slots: &'a mut [i32],
    pub(super) missing_chunks: &'a mut [i32],
    pub(super) missing_slots: &'a mut [i32],
    pub(super) missing_count: &'a mut i32,
    /// Chunks selected so far, and missing.
    pub(super) counts: &'a mut [u64],
}

/// Gives every chunk of `selected` (ascending) a slot.
///
/// Slots of another epoch are emptied first. A slot that holds a selected chunk is stamped before any victim is chosen; the
/// missing chunks go to the slots that were used longest ago, the lower slot first among equals, and both lists ascend.
pub(super) fn place(slots: &mut Slots, selected: &[i32], step: u32, epoch: u32, lists: &mut Lists) {
    if *slots.epoch != epoch {
        slots.chunk.fill(-1);
        slots.stamp.fill(0);
        *slots.epoch = epoch;
    }
    let mut held: HashMap<i32, usize> = HashMap::with_capacity(slots.chunk.len());
    let full = slots
        .chunk
        .iter()
        .enumerate()
        .filter(|(_, chunk)| **chunk >= 0);
    held.extend(full.map(|(slot, chunk)| (*chunk, slot)));
    let mut missing = Vec::new();
    for chunk in selected {
        match held.get(chunk) {
            Some(slot) => slots.stamp[*slot] = step,
            None => missing.push(*chunk),
        }
    }
    let mut victims: Vec<(u32, usize)> = slots.stamp.iter().copied().zip(0..).collect();
    victims.retain(|(stamp, _)| *stamp < step);
    if victims.len() > missing.len() && !missing.is_empty() {
        victims.select_nth_unstable(missing.len() - 1);
    }
    victims.truncate(missing.len());
    victims.sort_unstable_by_key(|(_, slot)| *slot);
    for ((_, slot), chunk) in victims.iter().zip(&missing) {
        slots.chunk[*slot] = *chunk;
        slots.stamp[*slot] = step;
        held.insert(*chunk, *slot);
    }
    let fill = |list: &mut [i32], items: &mut dyn Iterator<Item = i32>| {
        for to in list {
            *to = items.next().unwrap_or(-1);
        }
    };
    let slot_of = |chunk: &i32| held.get(chunk).map_or(-1, |slot| *slot as i32);
    fill(lists.selected_chunks, &mut selected.iter().copied());
    fill(lists.selected_slots, &mut selected.iter().map(slot_of));
    fill(lists.missing_chunks, &mut missing.iter().copied());
    let victims = victims.iter().map(|(_, slot)| *slot as i32);
    fill(lists.missing_slots, &mut victims.take(missing.len()));
    *lists.missing_count = missing.len() as i32;
    lists.counts[0] += selected.len() as u64;
    lists.counts[1] += missing.len() as u64;
}
