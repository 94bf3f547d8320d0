//! What a step does to each sequence, decided from counts of tokens alone: the same in all layers.

use std::collections::BTreeMap;

use super::room::Sizes;
use crate::device::sparse::{SparseSequence, SparseSequences};
use crate::device::{NewTokens, Tokens};
use crate::kv::{Append, KvError};
use crate::spec::ShadowKv;

/// A sequence of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sequence {
    pub(super) tokens: usize,
    /// Compressed chunks; 0 while everything is exact.
    pub(super) chunks: usize,
    /// Most tokens.
    pub(super) capacity: usize,
    /// Chunks of the stores before its own, and of its own.
    pub(super) store: (usize, usize),
    pub(super) rope_table: usize,
    pub(super) epoch: u32,
    /// In a step that has not come to its end.
    pub(super) running: bool,
}

impl Sequence {
    /// Nothing, nowhere.
    pub(super) const EMPTY: Sequence = Sequence {
        tokens: 0,
        chunks: 0,
        capacity: 0,
        store: (0, 0),
        rope_table: 0,
        epoch: 0,
        running: false,
    };
}

/// What becomes of sequences whose windows a round has filled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// The oldest chunks of some windows are folded.
    Fold(SparseSequences),
    /// A sequence that was exact so far is compressed, out of its window.
    Compress(SparseSequences),
}

/// One new token of some sequences.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Round {
    /// Where its keys and values go.
    pub(super) tokens: Tokens,
    pub(super) sequences: SparseSequences,
    pub(super) then: Vec<Then>,
}

/// New tokens of a tile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TilePlan {
    /// Tokens of prompts: attention is full, and their keys and values stay with the prompts'.
    pub(super) prompts: Tokens,
    /// The others, one by one.
    pub(super) rounds: Vec<Round>,
}

/// A step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct StepPlan {
    pub(super) tiles: Vec<TilePlan>,
    /// Prompts, to be compressed at the end of each layer.
    pub(super) prompts: Vec<SparseSequences>,
    /// Tokens and chunks of each sequence after the step.
    pub(super) after: BTreeMap<usize, (usize, usize)>,
    /// Number of the last round.
    pub(super) last_round: u32,
}

/// Plans steps.
pub(super) struct Planner<'a> {
    pub(super) method: &'a ShadowKv,
    pub(super) sizes: &'a Sizes,
    pub(super) sequences: &'a [Option<Sequence>],
}

/// A sequence in the course of a step.
#[derive(Clone, Copy)]
struct Course {
    sequence: Sequence,
    /// Where its prompt lies, if this is it, and how many tokens it has.
    prompt: Option<(usize, usize)>,
    /// Number of its last round in this step.
    last_round: Option<u32>,
}

impl Planner<'_> {
    /// The step that brings `tiles`, after round `last_round`.
    pub(super) fn plan(&self, tiles: &[&[Append]], last_round: u32) -> Result<StepPlan, KvError> {
        let mut courses = self.begin(tiles)?;
        let mut plan = StepPlan {
            last_round,
            ..StepPlan::default()
        };
        for tile in tiles {
            let planned = self.tile(tile, &mut courses, last_round);
            let rounds = planned.rounds.iter();
            let last = rounds.map(|round| round.sequences.step).max();
            plan.last_round = plan.last_round.max(last.unwrap_or(last_round));
            plan.tiles.push(planned);
        }
        for (entry, course) in &mut courses {
            if let Some((token_begin, tokens)) = course.prompt {
                course.sequence.tokens = tokens;
                if tokens > self.sizes.most_window {
                    course.sequence.chunks = self.compressed(tokens);
                }
                let placed = self.placed(*entry, &course.sequence);
                plan.prompts.push(one(SparseSequence {
                    token_begin,
                    ..placed
                }));
            }
            let Sequence { tokens, chunks, .. } = course.sequence;
            plan.after.insert(*entry, (tokens, chunks));
        }
        Ok(plan)
    }

    /// The sequences of a step, and where the prompts among them lie.
    fn begin(&self, tiles: &[&[Append]]) -> Result<BTreeMap<usize, Course>, KvError> {
        let mut courses = BTreeMap::new();
        let mut room = 0;
        for append in tiles.iter().copied().flatten() {
            let Some(Some(sequence)) = self.sequences.get(append.sequence) else {
                continue;
            };
            if sequence.running {
                return Err(KvError::Broken {
                    sequence: append.sequence,
                });
            }
            courses.entry(append.sequence).or_insert(Course {
                sequence: *sequence,
                prompt: None,
                last_round: None,
            });
        }
        for (entry, course) in &mut courses {
            if course.sequence.tokens == 0 {
                let all = tiles.iter().copied().flatten();
                let own = all.filter(|append| append.sequence == *entry);
                let tokens = own.map(|append| append.count).sum();
                course.prompt = Some((room, tokens));
                room += tokens;
            }
        }
        if room > self.sizes.prompt_rows {
            return Err(KvError::Prompt {
                tokens: room,
                room: self.sizes.prompt_rows,
            });
        }
        Ok(courses)
    }

    fn tile(
        &self,
        tile: &[Append],
        courses: &mut BTreeMap<usize, Course>,
        last_round: u32,
    ) -> TilePlan {
        let mut planned = TilePlan::default();
        let mut begin = 0;
        let mut singles = Vec::new();
        for append in tile {
            if let Some(course) = courses.get(&append.sequence) {
                match course.prompt {
                    Some((token_begin, tokens)) => planned.prompts.sequences.push(NewTokens {
                        begin,
                        count: append.count,
                        total: append.offset + append.count,
                        row_begin: token_begin,
                        row_capacity: tokens,
                        rope_table: course.sequence.rope_table,
                    }),
                    None => singles.push((append.sequence, begin, append.count)),
                }
            }
            begin += append.count;
        }
        // Ascending entries: launches of a device are over neighbours.
        singles.sort_unstable();
        let rounds = singles.iter().map(|(_, _, count)| *count).max();
        for round in 0..rounds.unwrap_or(0) {
            let rows = singles
                .iter()
                .filter(|(_, _, count)| round < *count)
                .map(|(entry, begin, _)| (*entry, begin + round));
            let planned_round = self.round(rows, courses, last_round);
            planned.rounds.push(planned_round);
        }
        planned
    }

    /// One token for each of the entries `rows`, which are given with the packed rows. Its number is one more than those of
    /// their rounds before, whatever other sequences did: a step in two tiles of different sequences is one round.
    fn round(
        &self,
        rows: impl Iterator<Item = (usize, usize)> + Clone,
        courses: &mut BTreeMap<usize, Course>,
        last_round: u32,
    ) -> Round {
        let own = rows.clone().filter_map(|(entry, _)| courses.get(&entry));
        let before = own.filter_map(|course| course.last_round).max();
        let step = before.unwrap_or(last_round) + 1;
        let mut round = Round {
            tokens: Tokens::default(),
            sequences: SparseSequences {
                step,
                sequences: Vec::new(),
            },
            then: Vec::new(),
        };
        let mut folds = Vec::new();
        for (entry, query_row) in rows {
            let Some(course) = courses.get_mut(&entry) else {
                continue;
            };
            course.last_round = Some(step);
            let sequence = &mut course.sequence;
            sequence.tokens += 1;
            let placed = SparseSequence {
                query_row,
                ..self.placed(entry, sequence)
            };
            round.sequences.sequences.push(placed);
            round.tokens.sequences.push(NewTokens {
                begin: query_row,
                count: 1,
                total: sequence.tokens,
                row_begin: placed.row_begin,
                row_capacity: placed.row_capacity,
                rope_table: placed.rope_table,
            });
            let window = sequence.tokens - sequence.chunks * self.method.chunk_size as usize;
            let overflows = window > self.sizes.most_window;
            let fold_count = usize::from(overflows && sequence.chunks > 0);
            folds.push(SparseSequence {
                fold_count,
                ..placed
            });
            sequence.chunks += fold_count;
            if overflows && fold_count == 0 {
                sequence.chunks = self.compressed(sequence.tokens);
                round.then.push(Then::Compress(one(SparseSequence {
                    chunk_count: sequence.chunks,
                    // Its window is copied to the rows behind all prompts first.
                    token_begin: self.sizes.prompt_rows,
                    ..placed
                })));
            }
        }
        // All sequences or none, so that steps differ as little as can be, whichever of them folds.
        if folds.iter().any(|own| own.fold_count > 0) {
            round.then.push(Then::Fold(SparseSequences {
                step,
                sequences: folds,
            }));
        }
        round
    }

    /// Chunks that are compressed when a sequence is for the first time.
    fn compressed(&self, tokens: usize) -> usize {
        let chunks = tokens / self.method.chunk_size as usize;
        chunks.saturating_sub(self.method.local_chunks as usize)
    }

    fn placed(&self, entry: usize, sequence: &Sequence) -> SparseSequence {
        SparseSequence {
            entry,
            query_row: 0,
            token_count: sequence.tokens,
            chunk_count: sequence.chunks,
            fold_count: 0,
            token_begin: 0,
            row_begin: entry * self.sizes.ring,
            row_capacity: self.sizes.ring,
            store_begin: sequence.store.0,
            store_capacity: sequence.store.1,
            rope_table: sequence.rope_table,
            epoch: sequence.epoch,
        }
    }
}

fn one(sequence: SparseSequence) -> SparseSequences {
    SparseSequences {
        step: 0,
        sequences: vec![sequence],
    }
}
