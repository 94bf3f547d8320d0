//! What moves as it is: outliers and windows to their places, values to the host's memory.

use rayon::prelude::*;

use super::Method;
use crate::device::cpu::simd::Shared;
use crate::device::sparse::{SparseSequence, SparseSizes};

/// Rows of one KV head of a chunk of `[rows, H, d]`, from row `row` on -> `[C, d]`.
pub(super) fn copy_chunk(method: &Method, from: &[f32], row: usize, head: usize, to: &mut [f32]) {
    for (token, to) in to.chunks_exact_mut(method.dim).enumerate() {
        let at = ((row + token) * method.heads + head) * method.dim;
        to.copy_from_slice(&from[at..at + method.dim]);
    }
}

/// Outliers of a prompt, `[rows, H, d]` -> `[entries, H, outlier_capacity, C, d]`.
pub(super) fn outliers(
    method: &Method,
    sizes: &SparseSizes,
    sequence: &SparseSequence,
    (outlier_chunks, outlier_count): (&[i32], &[i32]),
    prompt: &[f32],
    to: &mut [f32],
) {
    let elements = method.chunk * method.dim;
    for head in 0..method.heads {
        let list = sequence.entry * method.heads + head;
        let places = list * sizes.outlier_capacity;
        for place in places..places + outlier_count[list] as usize {
            let row = sequence.token_begin + outlier_chunks[place] as usize * method.chunk;
            let to = &mut to[place * elements..][..elements];
            copy_chunk(method, prompt, row, head, to);
        }
    }
}

/// The exact window of a prompt, `[rows, H, d]` both.
pub(super) fn window(method: &Method, sequence: &SparseSequence, prompt: &[f32], to: &mut [f32]) {
    let width = method.width();
    for position in sequence.chunk_count * method.chunk..sequence.token_count {
        let from = (sequence.token_begin + position) * width;
        let row = sequence.row_begin + position % sequence.row_capacity;
        to[row * width..][..width].copy_from_slice(&prompt[from..from + width]);
    }
}

/// Values of a prompt's compressed chunks, `[rows, H, d]` -> `[H, capacity, C, d]` of the sequence.
pub(super) fn offload(
    method: &Method,
    sequence: &SparseSequence,
    values: &[f32],
    host_values: &mut [f32],
) {
    let elements = method.chunk * method.dim;
    let to = Shared::new(host_values);
    (0..sequence.chunk_count).into_par_iter().for_each(|chunk| {
        for head in 0..method.heads {
            // SAFETY: every chunk and head has its own place.
            let to = unsafe {
                let at = (method.store_row(sequence, head) + chunk) * elements;
                to.part(at, elements)
            };
            let row = sequence.token_begin + chunk * method.chunk;
            copy_chunk(method, values, row, head, to);
        }
    });
}
