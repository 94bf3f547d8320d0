//! `key_gram`: products of all pairs of key elements, summed over a prompt.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use crate::device::cpu::simd::{MOST_LANES, Shared, with_scratch};
use crate::device::cpu::tile::{self, Panels, Rows};

/// Rows of the matrix that a task computes.
const STRIP: usize = 96;
/// Tokens whose products are summed before they are added to the others: the longer such a sum, the less exact.
const TOKENS: usize = 128;
/// Columns that are in hand at a time.
const PANEL: usize = 2 * MOST_LANES;

/// `keys^T keys` of `keys` `[tokens, width]` -> `gram` `[width, width]`.
pub(super) fn key_gram(keys: &[f32], width: usize, gram: &mut [f32]) {
    let shared = Shared::new(&mut gram[..width * width]);
    let arch = Arch::new();
    let strips: Vec<usize> = (0..width).step_by(STRIP).collect();
    let wide = width.next_multiple_of(PANEL);
    let floats = STRIP * wide + STRIP * TOKENS + TOKENS * PANEL;
    // The first strips are the longest: the matrix is symmetric, and its lower triangle copied.
    strips.into_par_iter().with_max_len(1).for_each(|begin| {
        with_scratch(floats, |scratch| {
            arch.dispatch(Strip {
                keys,
                width,
                begin,
                gram: shared,
                scratch,
            });
        });
    });
    for row in 1..width {
        let (above, rest) = gram.split_at_mut(row * width);
        for (column, element) in rest[..row].iter_mut().enumerate() {
            *element = above[column * width + row];
        }
    }
}

/// Rows `begin..begin + STRIP`, from their diagonal on.
struct Strip<'a> {
    keys: &'a [f32],
    width: usize,
    begin: usize,
    gram: Shared<'a>,
    scratch: &'a mut [f32],
}

impl WithSimd for Strip<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Strip {
            keys,
            width,
            begin,
            gram,
            scratch,
        } = self;
        let rows = STRIP.min(width - begin);
        let first = begin / PANEL * PANEL;
        let wide = (width - first).next_multiple_of(PANEL);
        let (sums, scratch) = scratch.split_at_mut(STRIP * wide);
        let (turned, panel) = scratch.split_at_mut(STRIP * TOKENS);
        sums.fill(0.0);
        for block in keys.chunks(TOKENS * width) {
            let tokens = block.len() / width;
            for (token, key) in block.chunks_exact(width).enumerate() {
                let own = key[begin..begin + rows].iter();
                for (to, element) in turned[token..].iter_mut().step_by(TOKENS).zip(own) {
                    *to = *element;
                }
            }
            for column in (0..wide).step_by(PANEL) {
                let own = PANEL.min(width - first - column);
                for (key, to) in block.chunks_exact(width).zip(panel.chunks_exact_mut(PANEL)) {
                    to[..own].copy_from_slice(&key[first + column..][..own]);
                    to[own..].fill(0.0);
                }
                let left = Rows {
                    begin: turned.as_ptr(),
                    stride: TOKENS,
                };
                let right = Panels {
                    rows: Rows {
                        begin: panel.as_ptr(),
                        stride: PANEL,
                    },
                    step: tile::panel_columns::<S>(),
                };
                let to = Rows {
                    begin: sums[column..].as_mut_ptr(),
                    stride: wide,
                };
                // SAFETY: `[rows, tokens]`, `[tokens, PANEL]` and `[rows, PANEL]` of three different slices.
                unsafe { tile::multiply(simd, (rows, tokens, PANEL), left, right, to, true) };
            }
        }
        for (row, sums) in sums.chunks_exact(wide).take(rows).enumerate() {
            // SAFETY: the rows of this task.
            let to = unsafe { gram.part((begin + row) * width + first, width - first) };
            to.copy_from_slice(&sums[..width - first]);
        }
    }
}
