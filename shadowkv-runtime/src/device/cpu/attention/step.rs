//! One new token of a sequence: as fast as keys and values come from memory.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::prompt::soften;
use super::{Heads, Operands, TILE};
use crate::device::NewTokens;
use crate::device::cpu::simd::with_scratch;

/// Tokens of a task. It decides where partial results are merged, and so depends on nothing.
const SPAN: usize = 4 * TILE;

/// Tokens `begin..begin + SPAN` of one KV head of one sequence.
struct Task {
    sequence: NewTokens,
    head: usize,
    begin: usize,
}

pub(super) fn attention(operands: &Operands, sequences: &[NewTokens]) {
    let heads = &operands.heads;
    let mut tasks = Vec::new();
    for sequence in sequences {
        for head in 0..heads.kv_heads {
            tasks.extend((0..sequence.total).step_by(SPAN).map(|begin| Task {
                sequence: *sequence,
                head,
                begin,
            }));
        }
    }
    // Of each task and query head: the sums of values, the highest score, the sum of weights.
    let partial = heads.group * (heads.dim + 2);
    let arch = Arch::new();
    with_scratch(tasks.len() * partial, |partials| {
        tasks
            .par_iter()
            .zip(partials.par_chunks_exact_mut(partial))
            .for_each(|(task, partial)| {
                with_scratch(heads.group * heads.dim + 4 * TILE, |scratch| {
                    arch.dispatch(Step {
                        operands,
                        task,
                        partial,
                        scratch,
                    });
                });
            });
        merge(operands, &tasks, partials);
    });
}

/// Merges the partial results of each head, in the order of its tokens.
fn merge(operands: &Operands, tasks: &[Task], partials: &[f32]) {
    let heads = &operands.heads;
    let d = heads.dim;
    let partial = heads.group * (d + 2);
    let mut rest = partials.chunks_exact(partial);
    let mut place = 0;
    while let Some(task) = tasks.get(place) {
        let count = task.sequence.total.div_ceil(SPAN);
        let ours: Vec<&[f32]> = rest.by_ref().take(count).collect();
        place += count;
        for query in 0..heads.group {
            let part = |partial: &'_ [f32]| {
                let at = query * (d + 2);
                (partial[at + d], partial[at + d + 1])
            };
            let most = ours
                .iter()
                .map(|p| part(p).0)
                .fold(f32::NEG_INFINITY, f32::max);
            // SAFETY: no task runs any longer.
            let output = unsafe {
                let at = heads.query_at(task.sequence.begin, task.head) + query * d;
                operands.output.part(at, d)
            };
            output.fill(0.0);
            let mut weights = 0.0;
            for partial in &ours {
                let (highest, weight) = part(partial);
                let factor = (highest - most).exp2();
                weights += factor * weight;
                for (output, sum) in output.iter_mut().zip(&partial[query * (d + 2)..]) {
                    *output += factor * sum;
                }
            }
            for output in output {
                *output /= weights;
            }
        }
    }
}

struct Step<'a> {
    operands: &'a Operands<'a>,
    task: &'a Task,
    partial: &'a mut [f32],
    scratch: &'a mut [f32],
}

impl WithSimd for Step<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Step {
            operands,
            task,
            partial,
            scratch,
        } = self;
        let heads = operands.heads;
        let (d, group) = (heads.dim, heads.group);
        let queries = heads.query_at(task.sequence.begin, task.head);
        let queries = &operands.queries[queries..][..group * d];
        let end = task.sequence.total.min(task.begin + SPAN);
        partial.fill(0.0);
        for partial in partial.chunks_exact_mut(d + 2) {
            partial[d] = f32::NEG_INFINITY;
        }
        let (scaled, scores) = scratch.split_at_mut(group * d);
        for (scaled, query) in scaled.iter_mut().zip(queries) {
            *scaled = query * heads.scale;
        }
        for begin in (task.begin..end).step_by(TILE) {
            let tile = Tile {
                operands,
                heads,
                first: heads.key_at(&task.sequence, begin, task.head),
                tokens: TILE.min(end - begin),
            };
            let mut query = 0;
            while query < group {
                let queries = &scaled[query * d..];
                let partial = &mut partial[query * (d + 2)..];
                query += match group - query {
                    1 => tile.attend::<S, 1>(simd, queries, scores, partial),
                    2 => tile.attend::<S, 2>(simd, queries, scores, partial),
                    3 => tile.attend::<S, 3>(simd, queries, scores, partial),
                    _ => tile.attend::<S, 4>(simd, queries, scores, partial),
                };
            }
        }
    }
}

/// Up to [`TILE`] tokens of one KV head.
struct Tile<'a> {
    operands: &'a Operands<'a>,
    heads: Heads,
    /// Where the first one's key begins.
    first: usize,
    tokens: usize,
}

impl Tile<'_> {
    /// `N` queries; says so.
    #[inline(always)]
    fn attend<S: Simd, const N: usize>(
        &self,
        simd: S,
        queries: &[f32],
        scores: &mut [f32],
        partial: &mut [f32],
    ) -> usize {
        let d = self.heads.dim;
        self.scores::<S, N>(simd, queries, scores);
        for n in 0..N {
            let scores = &mut scores[n * TILE..][..TILE];
            scores[self.tokens..].fill(f32::NEG_INFINITY);
            let (sums, rest) = partial[n * (d + 2)..].split_at_mut(d);
            let [highest, weights, ..] = rest else {
                return N;
            };
            soften_any(simd, scores, sums, highest, weights);
        }
        self.sums::<S, N>(simd, scores, partial);
        N
    }

    /// Of every token's key and each query.
    #[inline(always)]
    fn scores<S: Simd, const N: usize>(&self, simd: S, queries: &[f32], scores: &mut [f32]) {
        let d = self.heads.dim;
        let queries: [_; N] =
            std::array::from_fn(|n| S::as_simd_f32s(&queries[n * d..(n + 1) * d]));
        let width = self.heads.key_width();
        for token in 0..self.tokens {
            let key = &self.operands.keys[self.first + token * width..][..d];
            let (key, tail) = S::as_simd_f32s(key);
            let mut sums = [simd.splat_f32s(0.0); N];
            for (vector, key) in key.iter().enumerate() {
                for n in 0..N {
                    sums[n] = simd.mul_add_e_f32s(*key, queries[n].0[vector], sums[n]);
                }
            }
            if !tail.is_empty() {
                let key = simd.partial_load_f32s(tail);
                for n in 0..N {
                    let query = simd.partial_load_f32s(queries[n].1);
                    sums[n] = simd.mul_add_e_f32s(key, query, sums[n]);
                }
            }
            for n in 0..N {
                scores[n * TILE + token] = simd.reduce_sum_f32s(sums[n]);
            }
        }
    }

    /// Adds every token's value, times its weight.
    #[inline(always)]
    fn sums<S: Simd, const N: usize>(&self, simd: S, scores: &[f32], partial: &mut [f32]) {
        const WIDE: usize = 4;
        let d = self.heads.dim;
        let lanes = S::F32_LANES;
        let width = self.heads.key_width();
        let weight = |n: usize, token: usize| simd.splat_f32s(scores[n * TILE + token]);
        let mut at = 0;
        while d - at >= WIDE * lanes {
            let mut sums = [[simd.splat_f32s(0.0); WIDE]; N];
            for token in 0..self.tokens {
                let from = self.first + token * width + at;
                let value = &self.operands.values[from..][..WIDE * lanes];
                let value = S::as_simd_f32s(value).0;
                for n in 0..N {
                    let weight = weight(n, token);
                    for i in 0..WIDE {
                        sums[n][i] = simd.mul_add_e_f32s(weight, value[i], sums[n][i]);
                    }
                }
            }
            for (n, sums) in sums.iter().enumerate() {
                let to = &mut partial[n * (d + 2) + at..][..WIDE * lanes];
                for (to, sum) in S::as_mut_simd_f32s(to).0.iter_mut().zip(sums) {
                    *to = simd.add_f32s(*to, *sum);
                }
            }
            at += WIDE * lanes;
        }
        while at < d {
            let count = lanes.min(d - at);
            let mut sums = [simd.splat_f32s(0.0); N];
            for token in 0..self.tokens {
                let from = self.first + token * width + at;
                let value = simd.partial_load_f32s(&self.operands.values[from..][..count]);
                for n in 0..N {
                    sums[n] = simd.mul_add_e_f32s(weight(n, token), value, sums[n]);
                }
            }
            for (n, sum) in sums.iter().enumerate() {
                let to = &mut partial[n * (d + 2) + at..][..count];
                let all = simd.add_f32s(simd.partial_load_f32s(to), *sum);
                simd.partial_store_f32s(to, all);
            }
            at += count;
        }
    }
}

/// [`soften`], of sums that need not be whole vectors.
#[inline(always)]
fn soften_any<S: Simd>(
    simd: S,
    scores: &mut [f32],
    sums: &mut [f32],
    highest: &mut f32,
    weights: &mut f32,
) {
    let before = *highest;
    soften(simd, scores, &mut [], highest, weights);
    if *highest > before {
        let factor = (before - *highest).exp2();
        for sum in sums {
            *sum *= factor;
        }
    }
}
