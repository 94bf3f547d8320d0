//! Many new tokens of a sequence.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::{Heads, Operands, TILE};
use crate::device::NewTokens;
use crate::device::cpu::simd::{MOST_LANES, exp2, load, store, with_scratch};
use crate::device::cpu::tile::{self, Panels, Rows};

/// Query rows of a tile: so many that turning a tile of keys is little beside its products.
const ROWS: usize = 192;

/// Queries `begin..begin + count` of a sequence's new ones, of one KV head.
struct Task {
    sequence: NewTokens,
    head: usize,
    begin: usize,
    count: usize,
}

pub(super) fn attention(operands: &Operands, sequences: &[NewTokens]) {
    let heads = &operands.heads;
    let most = (ROWS / heads.group).max(1);
    let mut tasks = Vec::new();
    for sequence in sequences {
        for begin in (0..sequence.count).step_by(most) {
            tasks.extend((0..heads.kv_heads).map(|head| Task {
                sequence: *sequence,
                head,
                begin,
                count: most.min(sequence.count - begin),
            }));
        }
    }
    let arch = Arch::new();
    let padded = heads.dim.next_multiple_of(MOST_LANES);
    let floats: usize = Scratch::sizes(most * heads.group, heads.dim, padded)
        .iter()
        .sum();
    let work = |task| {
        with_scratch(floats, |scratch| {
            arch.dispatch(Prompt {
                operands,
                task,
                scratch,
            });
        });
    };
    tasks.into_par_iter().with_max_len(1).for_each(work);
}

struct Prompt<'a> {
    operands: &'a Operands<'a>,
    task: Task,
    scratch: &'a mut [f32],
}

/// Parts of this thread's scratch.
struct Scratch<'a> {
    /// Scaled queries, `[rows, d]`.
    queries: &'a mut [f32],
    /// Scores, then weights, `[rows, TILE]`.
    scores: &'a mut [f32],
    /// Sums of values, `[rows, padded d]`.
    sums: &'a mut [f32],
    /// Keys, `[d, TILE]`.
    keys: &'a mut [f32],
    /// Values, `[TILE, padded d]`.
    values: &'a mut [f32],
    /// Highest score of each row.
    highest: &'a mut [f32],
    /// Sum of the weights of each row.
    weights: &'a mut [f32],
}

impl<'a> Scratch<'a> {
    fn sizes(rows: usize, dim: usize, padded: usize) -> [usize; 7] {
        [
            rows * dim,
            rows * TILE,
            rows * padded,
            dim * TILE,
            TILE * padded,
            rows,
            rows,
        ]
    }

    fn new(floats: &'a mut [f32], sizes: [usize; 7]) -> Scratch<'a> {
        let mut rest = floats;
        let [queries, scores, sums, keys, values, highest, weights] =
            sizes.map(|size| rest.split_off_mut(..size).unwrap_or_default());
        Scratch {
            queries,
            scores,
            sums,
            keys,
            values,
            highest,
            weights,
        }
    }
}

impl WithSimd for Prompt<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Prompt {
            operands,
            task,
            scratch,
        } = self;
        let heads = operands.heads;
        let rows = task.count * heads.group;
        let padded = heads.dim.next_multiple_of(S::F32_LANES);
        let mut scratch = Scratch::new(scratch, Scratch::sizes(rows, heads.dim, padded));
        let first = task.sequence.first_position() + task.begin;
        let end = first + task.count;
        let queries = Queries { operands, task };
        queries.begin(&heads, &mut scratch);
        for begin in (0..end).step_by(TILE) {
            queries.pack(&heads, begin, padded, &mut scratch);
            Queries::tile(simd, &heads, (rows, padded), begin, first, &mut scratch);
        }
        queries.end(&heads, padded, &scratch);
    }
}

/// The queries of a task.
struct Queries<'a> {
    operands: &'a Operands<'a>,
    task: Task,
}

impl Queries<'_> {
    fn begin(&self, heads: &Heads, scratch: &mut Scratch) {
        let width = heads.group * heads.dim;
        for (token, queries) in scratch.queries.chunks_exact_mut(width).enumerate() {
            let row = self.task.sequence.begin + self.task.begin + token;
            let from = &self.operands.queries[heads.query_at(row, self.task.head)..][..width];
            for (query, from) in queries.iter_mut().zip(from) {
                *query = from * heads.scale;
            }
        }
        scratch.sums.fill(0.0);
        scratch.highest.fill(f32::NEG_INFINITY);
        scratch.weights.fill(0.0);
    }

    /// Keys and values from position `begin` on; zeros after the last token that this task sees, which may not be there yet.
    #[inline(always)]
    fn pack(&self, heads: &Heads, begin: usize, padded: usize, scratch: &mut Scratch) {
        const SIDE: usize = 8;
        let sequence = &self.task.sequence;
        let end = sequence.first_position() + self.task.begin + self.task.count;
        let tokens = TILE.min(end - begin);
        let d = heads.dim;
        if tokens < TILE {
            scratch.keys.fill(0.0);
            scratch.values.fill(0.0);
        }
        // Squares, so that neither side is read or written a float at a time; `d` is a multiple of 8.
        for token in (0..tokens).step_by(SIDE) {
            let side = SIDE.min(tokens - token);
            for k in (0..d).step_by(SIDE) {
                let mut square = [[0.0; SIDE]; SIDE];
                for i in 0..side {
                    let at = heads.key_at(sequence, begin + token + i, self.task.head) + k;
                    let from = &self.operands.keys[at..][..SIDE];
                    for j in 0..SIDE {
                        square[j][i] = from[j];
                    }
                }
                for (j, line) in square.iter().enumerate() {
                    scratch.keys[(k + j) * TILE + token..][..SIDE].copy_from_slice(line);
                }
            }
        }
        for (token, values) in scratch
            .values
            .chunks_exact_mut(padded)
            .take(tokens)
            .enumerate()
        {
            let at = heads.key_at(sequence, begin + token, self.task.head);
            values[..d].copy_from_slice(&self.operands.values[at..][..d]);
            values[d..].fill(0.0);
        }
    }

    /// Scores, weights and sums over the tile of tokens from position `begin` on. Query `token` has position `first + token`.
    #[inline(always)]
    fn tile<S: Simd>(
        simd: S,
        heads: &Heads,
        (rows, padded): (usize, usize),
        begin: usize,
        first: usize,
        scratch: &mut Scratch,
    ) {
        let panel = tile::panel_columns::<S>();
        let row_of = |begin: *const f32, stride| Rows { begin, stride };
        let panels = |rows| Panels { rows, step: panel };
        // SAFETY: `[rows, d]`, `[d, TILE]` and `[rows, TILE]` of three different slices.
        unsafe {
            tile::multiply(
                simd,
                (rows, heads.dim, TILE),
                row_of(scratch.queries.as_ptr(), heads.dim),
                panels(row_of(scratch.keys.as_ptr(), TILE)),
                Rows {
                    begin: scratch.scores.as_mut_ptr(),
                    stride: TILE,
                },
                false,
            );
        }
        let each = scratch
            .scores
            .chunks_exact_mut(TILE)
            .zip(scratch.sums.chunks_exact_mut(padded));
        let running = scratch.highest.iter_mut().zip(&mut *scratch.weights);
        for (row, ((scores, sums), (highest, weights))) in each.zip(running).enumerate() {
            let seen = (first + row / heads.group + 1).saturating_sub(begin);
            if seen < TILE {
                scores[seen..].fill(f32::NEG_INFINITY);
            }
            soften(simd, scores, sums, highest, weights);
        }
        // SAFETY: `[rows, TILE]`, `[TILE, padded]` and `[rows, padded]` of three different slices.
        unsafe {
            tile::multiply(
                simd,
                (rows, TILE, padded),
                row_of(scratch.scores.as_ptr(), TILE),
                panels(row_of(scratch.values.as_ptr(), padded)),
                Rows {
                    begin: scratch.sums.as_mut_ptr(),
                    stride: padded,
                },
                true,
            );
        }
    }

    fn end(&self, heads: &Heads, padded: usize, scratch: &Scratch) {
        let width = heads.group * heads.dim;
        for token in 0..self.task.count {
            let row = self.task.sequence.begin + self.task.begin + token;
            // SAFETY: the queries of this task, which no other has.
            let output = unsafe {
                let at = heads.query_at(row, self.task.head);
                self.operands.output.part(at, width)
            };
            for (query, output) in output.chunks_exact_mut(heads.dim).enumerate() {
                let row = token * heads.group + query;
                let inverse = 1.0 / scratch.weights[row];
                for (output, sum) in output.iter_mut().zip(&scratch.sums[row * padded..]) {
                    *output = sum * inverse;
                }
            }
        }
    }
}

/// Scores become weights, and what was summed so far is scaled to the highest score.
#[inline(always)]
pub(super) fn soften<S: Simd>(
    simd: S,
    scores: &mut [f32],
    sums: &mut [f32],
    highest: &mut f32,
    weights: &mut f32,
) {
    let vectors = TILE / S::F32_LANES;
    let scores = &mut scores[..TILE];
    let at = |scores: &[f32], vector: usize| {
        // SAFETY: `vector` is below `TILE / F32_LANES`.
        unsafe { load::<S>(scores.as_ptr().add(vector * S::F32_LANES)) }
    };
    let mut most = at(scores, 0);
    for vector in 1..vectors {
        most = simd.max_f32s(most, at(scores, vector));
    }
    let most = simd.reduce_max_f32s(most).max(*highest);
    if most > *highest {
        let factor = exp2(simd, simd.splat_f32s(*highest - most));
        let (vectors, _) = S::as_mut_simd_f32s(sums);
        for sum in vectors {
            *sum = simd.mul_f32s(*sum, factor);
        }
        let first: [f32; 1] = [bytemuck::cast_slice::<S::f32s, f32>(&[factor])[0]];
        *weights *= first[0];
        *highest = most;
    }
    let most = simd.splat_f32s(most);
    let mut sum = simd.splat_f32s(0.0);
    for vector in 0..vectors {
        let weight = exp2(simd, simd.sub_f32s(at(scores, vector), most));
        sum = simd.add_f32s(sum, weight);
        // SAFETY: as above.
        unsafe { store::<S>(scores.as_mut_ptr().add(vector * S::F32_LANES), weight) };
    }
    *weights += simd.reduce_sum_f32s(sum);
}
