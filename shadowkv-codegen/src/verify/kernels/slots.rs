//! Copy lists: what `select_chunks` leaves for the kernels that fill the slots.

use super::Target;
use crate::verify::case::{Content, bytes_of};
use crate::verify::random::Stream;

/// How many chunks of a list are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// None of any list.
    None,
    /// All that a list can hold, of every list.
    All,
    /// Anything, none and all of some lists.
    Mixed,
    /// So many of every list, or all that it can hold.
    Exactly(u32),
}

/// The copy lists of a launch.
#[derive(Debug)]
pub(super) struct CopyLists {
    /// Chunks of each list, ascending; a list per sequence and KV head.
    pub(super) chunks: Vec<Vec<u32>>,
    /// Slot of each of those chunks, ascending.
    pub(super) slots: Vec<Vec<u32>>,
    selected: usize,
}

impl CopyLists {
    /// Lists for sequences whose chunks are those of `ranges` (first, and the one behind the last). No list holds more
    /// than `most` chunks.
    pub(super) fn new(
        target: &Target,
        ranges: &[(u32, u32)],
        missing: Missing,
        most: u32,
        stream: &mut Stream,
    ) -> CopyLists {
        let selected = target.spec.shadowkv.selected_chunks() as usize;
        let resident = target.spec.shadowkv.resident_chunks as usize;
        let (mut chunks, mut slots) = (Vec::new(), Vec::new());
        for (first, end) in ranges {
            let there = (end - first) as usize;
            let most = there.min(selected).min(most as usize);
            for kv_head in 0..target.kv_heads() {
                let count = match missing {
                    Missing::None => 0,
                    Missing::All => most,
                    Missing::Exactly(count) => most.min(count as usize),
                    // The second list is empty, the first full, so that one KV head shows both.
                    Missing::Mixed if kv_head % 4 == 1 => 0,
                    Missing::Mixed if kv_head == 0 => most,
                    Missing::Mixed => stream.below(most as u64 + 1) as usize,
                };
                let own = stream.sample(count, there);
                chunks.push(own.into_iter().map(|chunk| first + chunk as u32).collect());
                let own = stream.sample(count, resident);
                slots.push(own.into_iter().map(|slot| slot as u32).collect());
            }
        }
        CopyLists {
            chunks,
            slots,
            selected,
        }
    }

    /// Missing chunks over all lists.
    pub(super) fn total(&self) -> u64 {
        self.chunks.iter().map(|list| list.len() as u64).sum()
    }

    /// The three arguments, lists padded with -1.
    pub(super) fn arguments(&self) -> [(&'static str, Content); 3] {
        let padded = |lists: &[Vec<u32>]| {
            let list = |list: &Vec<u32>| -> Vec<i32> {
                let padding = std::iter::repeat_n(-1, self.selected - list.len());
                list.iter()
                    .map(|entry| *entry as i32)
                    .chain(padding)
                    .collect()
            };
            let entries = lists.iter().flat_map(list);
            Content::whole(bytes_of(entries.map(i32::to_le_bytes)))
        };
        [
            ("missing_chunks", padded(&self.chunks)),
            ("missing_slots", padded(&self.slots)),
            (
                "missing_count",
                Content::i32s(self.chunks.iter().map(|list| list.len() as i32)),
            ),
        ]
    }
}
