//! `landmark_score`: every landmark is read once for all query heads of its group.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::Method;
use crate::device::cpu::simd::{Shared, exp2, load, with_scratch};
use crate::device::sparse::{SparseSequence, SparseSizes};

/// Chunks of a partial softmax.
pub(super) const SPAN: usize = 64;
/// Chunks of a task: whole spans.
const CHUNKS: usize = 8 * SPAN;

/// Scores of some chunks of one KV head.
struct Task {
    sequence: SparseSequence,
    head: usize,
    begin: usize,
}

/// [`crate::device::sparse::SparseDevice::landmark_score`].
pub(super) fn landmark_score(
    method: &Method,
    sizes: &SparseSizes,
    sequences: &[SparseSequence],
    (queries, landmarks, mask): (&[f32], &[f32], &[u32]),
    (scores, span_softmax): (&mut [f32], &mut [f32]),
) {
    let mut tasks = Vec::new();
    for sequence in sequences {
        for head in 0..method.heads {
            let begins = (0..sequence.chunk_count).step_by(CHUNKS);
            tasks.extend(begins.map(|begin| Task {
                sequence: *sequence,
                head,
                begin,
            }));
        }
    }
    let (scores, span_softmax) = (Shared::new(scores), Shared::new(span_softmax));
    let arch = Arch::new();
    let floats = method.group * method.dim;
    tasks.par_iter().with_max_len(1).for_each(|task| {
        with_scratch(floats, |scaled| {
            arch.dispatch(Score {
                method,
                stride: sizes.score_stride,
                task,
                queries,
                landmarks,
                mask,
                scores,
                span_softmax,
                scaled,
            });
        });
    });
}

struct Score<'a> {
    method: &'a Method,
    stride: usize,
    task: &'a Task,
    queries: &'a [f32],
    landmarks: &'a [f32],
    mask: &'a [u32],
    scores: Shared<'a>,
    span_softmax: Shared<'a>,
    scaled: &'a mut [f32],
}

impl WithSimd for Score<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Method {
            heads, group, dim, ..
        } = *self.method;
        let Task {
            sequence,
            head,
            begin,
        } = self.task;
        let end = sequence.chunk_count.min(begin + CHUNKS);
        let row = self.method.store_row(sequence, *head);
        let query = (sequence.query_row * heads + head) * group * dim;
        let scale = (1.0 / f64::from(dim as u32).sqrt()) as f32;
        for (scaled, query) in self.scaled.iter_mut().zip(&self.queries[query..]) {
            *scaled = query * scale;
        }
        let list = (sequence.entry * heads + head) * group;
        for span in (*begin..end).step_by(SPAN) {
            let chunks = SPAN.min(end - span);
            let landmarks = &self.landmarks[(row + span) * dim..][..chunks * dim];
            let words = &self.mask[(row + span) / 32..][..SPAN / 32];
            let is_outlier = |chunk: usize| words[chunk / 32] >> (chunk % 32) & 1 == 1;
            // SAFETY: the scores of this task, which no other has.
            let of_head = |query: usize| unsafe {
                let at = (list + query) * self.stride + span;
                self.scores.part(at, SPAN)
            };
            let mut query = 0;
            while query < group {
                let queries = &self.scaled[query * dim..];
                macro_rules! heads {
                    ($count:literal) => {{
                        let mut to: [&mut [f32]; $count] =
                            std::array::from_fn(|n| of_head(query + n));
                        dots::<S, $count>(simd, landmarks, queries, dim, &mut to);
                        $count
                    }};
                }
                query += match group - query {
                    1 => heads!(1),
                    2 => heads!(2),
                    3 => heads!(3),
                    _ => heads!(4),
                };
            }
            for query in 0..group {
                let scores = of_head(query);
                for chunk in (0..chunks).filter(|chunk| is_outlier(*chunk)) {
                    scores[chunk] = f32::NEG_INFINITY;
                }
                scores[chunks..].fill(f32::NEG_INFINITY);
                // SAFETY: the span of this task.
                let to = unsafe {
                    let at = ((list + query) * (self.stride / SPAN) + span / SPAN) * 2;
                    self.span_softmax.part(at, 2)
                };
                (to[0], to[1]) = softmax(simd, scores);
            }
        }
    }
}

/// Products of every landmark with `N` queries.
#[inline(always)]
fn dots<S: Simd, const N: usize>(
    simd: S,
    landmarks: &[f32],
    queries: &[f32],
    dim: usize,
    to: &mut [&mut [f32]; N],
) {
    let queries: [_; N] = std::array::from_fn(|n| S::as_simd_f32s(&queries[n * dim..][..dim]));
    for (chunk, landmark) in landmarks.chunks_exact(dim).enumerate() {
        let (landmark, tail) = S::as_simd_f32s(landmark);
        let mut sums = [simd.splat_f32s(0.0); N];
        for (vector, landmark) in landmark.iter().enumerate() {
            for n in 0..N {
                sums[n] = simd.mul_add_e_f32s(*landmark, queries[n].0[vector], sums[n]);
            }
        }
        if !tail.is_empty() {
            let landmark = simd.partial_load_f32s(tail);
            for n in 0..N {
                let query = simd.partial_load_f32s(queries[n].1);
                sums[n] = simd.mul_add_e_f32s(landmark, query, sums[n]);
            }
        }
        for n in 0..N {
            to[n][chunk] = simd.reduce_sum_f32s(sums[n]);
        }
    }
}

/// The largest of [`SPAN`] scores, and the sum of `exp(score - largest)`; minus infinity and 0 of outliers alone.
#[inline(always)]
fn softmax<S: Simd>(simd: S, scores: &[f32]) -> (f32, f32) {
    let vector = |index: usize| {
        // SAFETY: whole vectors of the span.
        unsafe { load::<S>(scores[..SPAN].as_ptr().add(index * S::F32_LANES)) }
    };
    let vectors = SPAN / S::F32_LANES;
    let mut most = vector(0);
    for index in 1..vectors {
        most = simd.max_f32s(most, vector(index));
    }
    let largest = simd.reduce_max_f32s(most);
    if largest == f32::NEG_INFINITY {
        return (largest, 0.0);
    }
    let most = simd.splat_f32s(largest);
    let to_powers = simd.splat_f32s(std::f32::consts::LOG2_E);
    let mut sum = simd.splat_f32s(0.0);
    for index in 0..vectors {
        let below = simd.mul_f32s(simd.sub_f32s(vector(index), most), to_powers);
        sum = simd.add_f32s(sum, exp2(simd, below));
    }
    (largest, simd.reduce_sum_f32s(sum))
}
