//! Rotary positions: the rotations of a call's tokens, and keys and values to their rows.

use rayon::prelude::*;

use super::elementwise::rows_of_task;
use crate::device::{NewTokens, Tokens};
use crate::spec::{Attention, RopeLayout, RopeTables, Spec};

/// Rotations of a spec.
#[derive(Clone, Debug)]
pub(super) struct Rotary {
    tables: RopeTables,
    layout: RopeLayout,
    /// Pairs that turn, from the head's first element on.
    pairs: usize,
}

/// A call's tokens, and how far each is turned: computed once for all heads and layers.
#[derive(Debug)]
pub struct CpuTokens {
    pub(super) tokens: Tokens,
    /// `[rows, 2, pairs]`: cosines, then sines.
    rotations: Vec<f32>,
}

impl Rotary {
    pub(super) fn new(spec: &Spec) -> Rotary {
        Rotary {
            tables: spec.rope.tables(),
            layout: spec.rope.layout,
            pairs: spec.rope.rotary_dim as usize / 2,
        }
    }

    pub(super) fn tokens(&self, tokens: &Tokens) -> CpuTokens {
        let end = |sequence: &NewTokens| sequence.begin + sequence.count;
        let rows = tokens.sequences.iter().map(end).max().unwrap_or(0);
        let mut rotations = vec![0.0; rows * 2 * self.pairs];
        for sequence in &tokens.sequences {
            let frequencies = &self.tables.inverse_frequencies[sequence.rope_table];
            let first = sequence.first_position();
            let turned = &mut rotations[sequence.begin * 2 * self.pairs..];
            let turned = &mut turned[..sequence.count * 2 * self.pairs];
            turned
                .par_chunks_mut(2 * self.pairs)
                .with_min_len(32)
                .enumerate()
                .for_each(|(token, row)| self.turn(first + token, frequencies, row));
        }
        CpuTokens {
            tokens: tokens.clone(),
            rotations,
        }
    }

    /// Cosines and sines of `position`, `[2, pairs]`.
    fn turn(&self, position: usize, frequencies: &[f32], row: &mut [f32]) {
        let factor = self.tables.attention_factor;
        let (cosines, sines) = row.split_at_mut(self.pairs);
        for ((cosine, sine), frequency) in cosines.iter_mut().zip(sines).zip(frequencies) {
            // Rounded to f32 before it is reduced, as the models' own code does.
            let angle = position as f32 * frequency;
            let (s, c) = f64::from(angle).sin_cos();
            *cosine = c as f32 * factor;
            *sine = s as f32 * factor;
        }
    }

    /// `head` turned by `rotation` -> `output`.
    fn rotate(&self, head: &[f32], rotation: &[f32], output: &mut [f32]) {
        let (cosines, sines) = rotation.split_at(self.pairs);
        let rotary = 2 * self.pairs;
        match self.layout {
            RopeLayout::HalfSplit => {
                let (first, second) = head[..rotary].split_at(self.pairs);
                let (out_first, out_second) = output[..rotary].split_at_mut(self.pairs);
                for pair in 0..self.pairs {
                    let (a, b, c, s) = (first[pair], second[pair], cosines[pair], sines[pair]);
                    out_first[pair] = a * c - b * s;
                    out_second[pair] = b * c + a * s;
                }
            }
            RopeLayout::Interleaved => {
                let (pairs, _) = head[..rotary].as_chunks::<2>();
                let (outs, _) = output[..rotary].as_chunks_mut::<2>();
                for (pair, (&[a, b], out)) in pairs.iter().zip(outs).enumerate() {
                    let (c, s) = (cosines[pair], sines[pair]);
                    *out = [a * c - b * s, b * c + a * s];
                }
            }
        }
        output[rotary..].copy_from_slice(&head[rotary..]);
    }

    /// [`crate::device::Device::rope_append`].
    pub(super) fn append(
        &self,
        shape: &Attention,
        tokens: &CpuTokens,
        qkv: &[f32],
        queries: &mut [f32],
        (keys, values, k_pre): (&mut [f32], &mut [f32], Option<&mut [f32]>),
    ) {
        let d = shape.head_dim as usize;
        let width = shape.key_width() as usize;
        let query_width = width * shape.gqa_ratio as usize;
        let qkv_width = query_width + 2 * width;
        let rotation_width = 2 * self.pairs;
        let rotate_row = |heads: &[f32], row: usize, output: &mut [f32]| {
            let rotation = &tokens.rotations[row * rotation_width..][..rotation_width];
            for (head, output) in heads.chunks_exact(d).zip(output.chunks_exact_mut(d)) {
                self.rotate(head, rotation, output);
            }
        };
        for sequence in &tokens.tokens.sequences {
            let new = &mut queries[sequence.begin * query_width..][..sequence.count * query_width];
            new.par_chunks_mut(query_width)
                .with_min_len(rows_of_task(query_width))
                .enumerate()
                .for_each(|(token, output)| {
                    let row = sequence.begin + token;
                    rotate_row(&qkv[row * qkv_width..][..query_width], row, output);
                });
        }
        let mut k_pre = k_pre;
        for run in runs(&tokens.tokens) {
            let places = run.place * width..(run.place + run.count) * width;
            let to_keys = keys[places.clone()].par_chunks_mut(width);
            let to_values = values[places.clone()].par_chunks_mut(width);
            to_keys
                .zip(to_values)
                .with_min_len(rows_of_task(2 * width))
                .enumerate()
                .for_each(|(token, (key, value))| {
                    let row = run.row + token;
                    let new = &qkv[row * qkv_width + query_width..][..2 * width];
                    rotate_row(&new[..width], row, key);
                    value.copy_from_slice(&new[width..]);
                });
            if let Some(k_pre) = &mut k_pre {
                for (token, key) in k_pre[places].chunks_exact_mut(width).enumerate() {
                    let at = (run.row + token) * qkv_width + query_width;
                    key.copy_from_slice(&qkv[at..at + width]);
                }
            }
        }
    }
}

/// New tokens whose rows in the cache are consecutive.
struct Run {
    /// Packed row of the first.
    row: usize,
    /// Row of the first in the cache.
    place: usize,
    count: usize,
}

/// The new tokens in runs, in order: later ones may take the rows of earlier ones.
fn runs(tokens: &Tokens) -> Vec<Run> {
    let mut runs = Vec::with_capacity(tokens.sequences.len());
    for sequence in &tokens.sequences {
        let mut token = 0;
        while token < sequence.count {
            let place = (sequence.first_position() + token) % sequence.row_capacity;
            let count = (sequence.count - token).min(sequence.row_capacity - place);
            runs.push(Run {
                row: sequence.begin + token,
                place: sequence.row_begin + place,
                count,
            });
            token += count;
        }
    }
    runs
}
