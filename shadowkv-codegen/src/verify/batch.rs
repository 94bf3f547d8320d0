//! Batches: the sequences of a launch, and where their parts of the shared memory lie.

use super::case::Content;
use super::random::Stream;
use crate::spec::{RopeScaling, Spec};

/// Granule of the stores: begins and capacities are multiples of it.
const STORE_STEP: u32 = 64;

/// One sequence's place in the compressed stores, in chunks per KV head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Store {
    /// Chunks that the stores of all sequences before it hold.
    pub begin: u64,
    /// Chunks it can hold.
    pub capacity: u32,
}

impl Store {
    /// Row of a store `[kv_heads, capacity]` within each sequence.
    pub fn row(&self, kv_heads: u32, kv_head: u32, chunk: u32) -> u64 {
        self.begin * u64::from(kv_heads)
            + u64::from(kv_head) * u64::from(self.capacity)
            + u64::from(chunk)
    }
}

/// Stores of at least the given capacities, one per sequence, with gaps between them that belong to nobody in the launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stores {
    /// The stores, in the order of the sequences.
    pub stores: Vec<Store>,
    /// Chunks that all of them and the gaps hold per KV head.
    pub chunks: u64,
}

impl Stores {
    /// Stores for sequences of `chunks` chunks each. A single one begins at 0 and is no larger than it must be; several
    /// have room to spare, and gaps between them.
    pub fn new(chunks: &[u32]) -> Stores {
        let alone = chunks.len() == 1;
        let mut end = 0;
        let mut stores = Vec::new();
        for (index, needed) in chunks.iter().enumerate() {
            let spare = if alone {
                0
            } else {
                index as u32 % 2 * STORE_STEP
            };
            let capacity = (*needed).max(1).next_multiple_of(STORE_STEP) + spare;
            let gap = if alone { 0 } else { u64::from(STORE_STEP) };
            stores.push(Store {
                begin: end + gap,
                capacity,
            });
            end += gap + u64::from(capacity);
        }
        Stores {
            stores,
            chunks: end,
        }
    }

    /// The two arguments that place the stores.
    pub fn arguments(&self) -> [(&'static str, Content); 2] {
        let stores = &self.stores;
        [
            (
                "store_begin",
                Content::i64s(stores.iter().map(|store| store.begin as i64)),
            ),
            (
                "store_capacity",
                Content::i32s(stores.iter().map(|store| store.capacity as i32)),
            ),
        ]
    }
}

/// The packed rows of a batch's prompt tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows {
    /// Row at which each sequence begins.
    pub begin: Vec<u64>,
    /// Rows of all sequences and of the gaps between them.
    pub total: u64,
}

impl Rows {
    /// Rows for sequences of `tokens` tokens each. Every third sequence follows the one before it at once, so that reading
    /// too far finds somebody else's keys; the others have a gap of rows that nobody has written.
    pub fn new(tokens: &[u32]) -> Rows {
        let mut end = 0;
        let mut begin = Vec::new();
        for (index, tokens) in tokens.iter().enumerate() {
            if index % 3 == 1 {
                end += 3;
            }
            begin.push(end);
            end += u64::from(*tokens);
        }
        Rows { begin, total: end }
    }

    /// The argument that places the sequences.
    pub fn argument(&self) -> (&'static str, Content) {
        (
            "token_begin",
            Content::i64s(self.begin.iter().map(|row| *row as i64)),
        )
    }
}

/// A named list of lengths, one per sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lengths {
    /// What is special about them.
    pub name: &'static str,
    /// Tokens, or chunks, of each sequence.
    pub each: Vec<u32>,
}

impl Lengths {
    /// Lengths under a name.
    pub fn new(name: &'static str, each: &[u32]) -> Lengths {
        Lengths {
            name,
            each: each.to_vec(),
        }
    }

    /// Length of all sequences together.
    pub fn total(&self) -> u64 {
        self.each.iter().map(|length| u64::from(*length)).sum()
    }

    /// The lengths as the argument `name`.
    pub fn argument(&self, name: &'static str) -> (&'static str, Content) {
        (
            name,
            Content::i32s(self.each.iter().map(|length| *length as i32)),
        )
    }

    /// Longest length.
    pub fn longest(&self) -> u32 {
        self.each.iter().copied().max().unwrap_or(0)
    }
}

/// Token counts that break what only works for round ones, none of them above `most`.
pub fn prompts(spec: &Spec, most: u32) -> Vec<Lengths> {
    let chunk = spec.shadowkv.chunk_size;
    // A prompt that stays exact as a whole.
    let within_window = spec.shadowkv.local_chunks * chunk + chunk / 2;
    let long = most / 2 + 1;
    let mut prompts = vec![
        Lengths::new("one token", &[1]),
        Lengths::new("one token past a chunk", &[chunk + 1]),
        Lengths::new("no token", &[0]),
        Lengths::new("within the exact window", &[within_window]),
        Lengths::new("one long sequence", &[most]),
        Lengths::new(
            "ragged batch",
            &[
                long,
                0,
                chunk - 1,
                2 * chunk,
                3 * chunk + 1,
                most / 4 + 1,
                1,
            ],
        ),
    ];
    for lengths in &mut prompts {
        for length in &mut lengths.each {
            *length = (*length).min(most);
        }
    }
    // Where little is affordable, several names would mean the same lengths.
    let mut seen: Vec<Vec<u32>> = Vec::new();
    prompts.retain(|lengths| {
        let new = !seen.contains(&lengths.each);
        seen.push(lengths.each.clone());
        new
    });
    prompts
}

/// How much of something costly `budget` pays for, at `each` apiece: from `least` to `most`.
pub fn affordable(budget: u64, each: u64, least: u32, most: u32) -> u32 {
    let count = budget / each.max(1);
    u32::try_from(count)
        .unwrap_or(u32::MAX)
        .clamp(least, most.max(least))
}

/// `RoPE` table of each of `count` sequences: both, by turns, where there are two.
pub fn rope_tables(spec: &Spec, count: usize) -> Vec<i32> {
    let two = matches!(spec.rope.scaling, RopeScaling::LongRope { .. });
    // Sequence 0 has the long table, so that a single one proves that the argument is read.
    (0..count)
        .map(|sequence| i32::from(two && sequence % 2 == 0))
        .collect()
}

/// First chunk of each of a batch's sequences, as if the tokens before had been processed earlier: 0 for the first,
/// anything for the others.
pub fn first_chunks(count: usize, stream: &mut Stream) -> Vec<u32> {
    (0..count)
        .map(|sequence| {
            if sequence == 0 {
                0
            } else {
                stream.below(100) as u32
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_are_aligned_and_apart() {
        let Stores { stores, chunks } = Stores::new(&[70, 0, 64]);
        assert_eq!(
            stores[0],
            Store {
                begin: 64,
                capacity: 128
            }
        );
        assert_eq!(
            stores[1],
            Store {
                begin: 256,
                capacity: 128
            }
        );
        assert_eq!(
            stores[2],
            Store {
                begin: 448,
                capacity: 64
            }
        );
        assert_eq!(chunks, 512);
        assert_eq!(stores[1].row(4, 2, 5), 256 * 4 + 2 * 128 + 5);
        assert_eq!(
            Stores::new(&[64]).stores[0],
            Store {
                begin: 0,
                capacity: 64
            }
        );
    }

    #[test]
    fn rows_have_gaps_that_nobody_writes() {
        let rows = Rows::new(&[5, 2, 0, 4]);
        assert_eq!(rows.begin, [0, 8, 10, 10]);
        assert_eq!(rows.total, 14);
    }

    #[test]
    fn what_is_affordable() {
        assert_eq!(affordable(1000, 10, 1, 600), 100);
        assert_eq!(affordable(1000, 10, 1, 60), 60);
        assert_eq!(affordable(5, 10, 1, 60), 1);
    }
}
