//! `sparse_attention`: one query token over rows that lie in several places.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::Method;
use crate::device::cpu::simd::{exp2, load, store, with_scratch};
use crate::device::sparse::{SparseSequence, SparseSizes};

/// Tokens whose scores are in hand at a time.
const TILE: usize = 64;
/// Tokens of a task. It decides where partial results are merged, and so depends on nothing.
const SPAN: usize = 4 * TILE;

/// Where keys and values are.
pub(super) struct Places<'a> {
    pub(super) outlier_keys: &'a [f32],
    pub(super) outlier_values: &'a [f32],
    pub(super) outlier_count: &'a [i32],
    pub(super) key_slots: &'a [f32],
    pub(super) value_slots: &'a [f32],
    pub(super) selected_slots: &'a [i32],
    pub(super) keys: &'a [f32],
    pub(super) values: &'a [f32],
}

/// The tokens that one KV head of a sequence attends to, in order: outliers, selected chunks, exact window.
#[derive(Clone, Copy)]
struct Attended<'a> {
    sequence: SparseSequence,
    head: usize,
    outliers: usize,
    slots: &'a [i32],
}

struct Task<'a> {
    attended: Attended<'a>,
    begin: usize,
}

struct Operands<'a> {
    method: &'a Method,
    sizes: &'a SparseSizes,
    queries: &'a [f32],
    places: &'a Places<'a>,
}

impl<'a> Attended<'a> {
    fn new(
        method: &Method,
        places: &'a Places,
        sequence: &SparseSequence,
        head: usize,
    ) -> Attended<'a> {
        let list = sequence.entry * method.heads + head;
        let slots = &places.selected_slots[list * method.selected..][..method.selected];
        let selected = slots.iter().position(|slot| *slot < 0);
        Attended {
            sequence: *sequence,
            head,
            outliers: places.outlier_count[list] as usize,
            slots: &slots[..selected.unwrap_or(method.selected)],
        }
    }

    fn tokens(&self, method: &Method) -> usize {
        let window = self.sequence.token_count - self.sequence.chunk_count * method.chunk;
        (self.outliers + self.slots.len()) * method.chunk + window
    }

    /// Key and value of token `token` of the list.
    #[inline(always)]
    fn row(&self, operands: &Operands<'a>, token: usize) -> (&'a [f32], &'a [f32]) {
        let Method {
            heads,
            dim,
            chunk,
            resident,
            ..
        } = *operands.method;
        let places = operands.places;
        let list = self.sequence.entry * heads + self.head;
        let outliers = self.outliers * chunk;
        let compressed = outliers + self.slots.len() * chunk;
        let (keys, values, at) = if token < outliers {
            let at = list * operands.sizes.outlier_capacity * chunk + token;
            (places.outlier_keys, places.outlier_values, at * dim)
        } else if token < compressed {
            let token = token - outliers;
            let slot = self.slots[token / chunk] as usize;
            let at = (list * resident + slot) * chunk + token % chunk;
            (places.key_slots, places.value_slots, at * dim)
        } else {
            let position = self.sequence.chunk_count * chunk + token - compressed;
            let row = self.sequence.row_begin + position % self.sequence.row_capacity;
            (places.keys, places.values, (row * heads + self.head) * dim)
        };
        (&keys[at..at + dim], &values[at..at + dim])
    }
}

/// [`crate::device::sparse::SparseDevice::sparse_attention`].
pub(super) fn sparse_attention(
    method: &Method,
    sizes: &SparseSizes,
    sequences: &[SparseSequence],
    queries: &[f32],
    places: &Places,
    output: &mut [f32],
) {
    let mut tasks = Vec::new();
    for sequence in sequences {
        for head in 0..method.heads {
            let attended = Attended::new(method, places, sequence, head);
            let begins = (0..attended.tokens(method)).step_by(SPAN);
            tasks.extend(begins.map(|begin| Task { attended, begin }));
        }
    }
    let operands = Operands {
        method,
        sizes,
        queries,
        places,
    };
    // Of each task and query head: the sums of values, the highest score, the sum of weights.
    let partial = method.group * (method.dim + 2);
    let arch = Arch::new();
    with_scratch(tasks.len() * partial, |partials| {
        tasks
            .par_iter()
            .zip(partials.par_chunks_exact_mut(partial))
            .with_max_len(1)
            .for_each(|(task, partial)| {
                with_scratch(method.group * method.dim + 4 * TILE, |scratch| {
                    arch.dispatch(Step {
                        operands: &operands,
                        task,
                        partial,
                        scratch,
                    });
                });
            });
        merge(method, &tasks, partials, output);
    });
}

/// Merges the partial results of each head, in the order of its tokens.
fn merge(method: &Method, tasks: &[Task], partials: &[f32], output: &mut [f32]) {
    let (group, dim) = (method.group, method.dim);
    let partial = group * (dim + 2);
    let mut rest = partials.chunks_exact(partial);
    let mut place = 0;
    while let Some(Task { attended, .. }) = tasks.get(place) {
        let count = attended.tokens(method).div_ceil(SPAN);
        let ours: Vec<&[f32]> = rest.by_ref().take(count).collect();
        place += count;
        for query in 0..group {
            let of = |partial: &&[f32]| {
                let at = query * (dim + 2) + dim;
                (partial[at], partial[at + 1])
            };
            let highest = ours.iter().map(|partial| of(partial).0);
            let most = highest.fold(f32::NEG_INFINITY, f32::max);
            let row = attended.sequence.query_row * method.heads + attended.head;
            let output = &mut output[(row * group + query) * dim..][..dim];
            output.fill(0.0);
            let mut weights = 0.0;
            for partial in &ours {
                let (highest, weight) = of(partial);
                let factor = (highest - most).exp2();
                weights += factor * weight;
                for (output, sum) in output.iter_mut().zip(&partial[query * (dim + 2)..]) {
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
    task: &'a Task<'a>,
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
        let method = operands.method;
        let (dim, group) = (method.dim, method.group);
        let attended = task.attended;
        let query = (attended.sequence.query_row * method.heads + attended.head) * group * dim;
        let end = attended.tokens(method).min(task.begin + SPAN);
        partial.fill(0.0);
        for partial in partial.chunks_exact_mut(dim + 2) {
            partial[dim] = f32::NEG_INFINITY;
        }
        let (scaled, scores) = scratch.split_at_mut(group * dim);
        let scale = (f64::from(dim as u32).sqrt().recip() * std::f64::consts::LOG2_E) as f32;
        for (scaled, query) in scaled.iter_mut().zip(&operands.queries[query..]) {
            *scaled = query * scale;
        }
        for begin in (task.begin..end).step_by(TILE) {
            let mut tile = Tile {
                keys: [&[]; TILE],
                values: [&[]; TILE],
                tokens: TILE.min(end - begin),
            };
            for token in 0..tile.tokens {
                (tile.keys[token], tile.values[token]) = attended.row(operands, begin + token);
            }
            let mut query = 0;
            while query < group {
                let queries = &scaled[query * dim..];
                let partial = &mut partial[query * (dim + 2)..];
                query += match group - query {
                    1 => tile.attend::<S, 1>(simd, dim, queries, scores, partial),
                    2 => tile.attend::<S, 2>(simd, dim, queries, scores, partial),
                    3 => tile.attend::<S, 3>(simd, dim, queries, scores, partial),
                    _ => tile.attend::<S, 4>(simd, dim, queries, scores, partial),
                };
            }
        }
    }
}

/// Up to [`TILE`] tokens of one KV head.
struct Tile<'a> {
    keys: [&'a [f32]; TILE],
    values: [&'a [f32]; TILE],
    tokens: usize,
}

impl Tile<'_> {
    /// `N` queries; says so.
    #[inline(always)]
    fn attend<S: Simd, const N: usize>(
        &self,
        simd: S,
        dim: usize,
        queries: &[f32],
        scores: &mut [f32],
        partial: &mut [f32],
    ) -> usize {
        self.scores::<S, N>(simd, dim, queries, scores);
        for n in 0..N {
            let scores = &mut scores[n * TILE..][..TILE];
            scores[self.tokens..].fill(f32::NEG_INFINITY);
            let (sums, rest) = partial[n * (dim + 2)..].split_at_mut(dim);
            let [highest, weights, ..] = rest else {
                return N;
            };
            soften(simd, scores, sums, highest, weights);
        }
        self.sums::<S, N>(simd, dim, scores, partial);
        N
    }

    /// Of every token's key and each query.
    #[inline(always)]
    fn scores<S: Simd, const N: usize>(
        &self,
        simd: S,
        dim: usize,
        queries: &[f32],
        scores: &mut [f32],
    ) {
        let queries: [_; N] = std::array::from_fn(|n| S::as_simd_f32s(&queries[n * dim..][..dim]));
        for (token, key) in self.keys[..self.tokens].iter().enumerate() {
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
    fn sums<S: Simd, const N: usize>(
        &self,
        simd: S,
        dim: usize,
        scores: &[f32],
        partial: &mut [f32],
    ) {
        const WIDE: usize = 4;
        let lanes = S::F32_LANES;
        let weight = |n: usize, token: usize| simd.splat_f32s(scores[n * TILE + token]);
        let mut at = 0;
        while dim - at >= WIDE * lanes {
            let mut sums = [[simd.splat_f32s(0.0); WIDE]; N];
            for (token, value) in self.values[..self.tokens].iter().enumerate() {
                let value = S::as_simd_f32s(&value[at..][..WIDE * lanes]).0;
                for n in 0..N {
                    let weight = weight(n, token);
                    for i in 0..WIDE {
                        sums[n][i] = simd.mul_add_e_f32s(weight, value[i], sums[n][i]);
                    }
                }
            }
            for (n, sums) in sums.iter().enumerate() {
                let to = &mut partial[n * (dim + 2) + at..][..WIDE * lanes];
                for (to, sum) in S::as_mut_simd_f32s(to).0.iter_mut().zip(sums) {
                    *to = simd.add_f32s(*to, *sum);
                }
            }
            at += WIDE * lanes;
        }
        while at < dim {
            let count = lanes.min(dim - at);
            let mut sums = [simd.splat_f32s(0.0); N];
            for (token, value) in self.values[..self.tokens].iter().enumerate() {
                let value = simd.partial_load_f32s(&value[at..][..count]);
                for n in 0..N {
                    sums[n] = simd.mul_add_e_f32s(weight(n, token), value, sums[n]);
                }
            }
            for (n, sum) in sums.iter().enumerate() {
                let to = &mut partial[n * (dim + 2) + at..][..count];
                let all = simd.add_f32s(simd.partial_load_f32s(to), *sum);
                simd.partial_store_f32s(to, all);
            }
            at += count;
        }
    }
}

/// Scores become weights, and what was summed so far is scaled to the highest score.
#[inline(always)]
fn soften<S: Simd>(
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
        let factor = (*highest - most).exp2();
        for sum in sums {
            *sum *= factor;
        }
        *weights *= factor;
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
