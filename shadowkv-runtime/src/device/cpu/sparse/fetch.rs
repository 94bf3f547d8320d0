//! `gather_values` and `reconstruct_keys`: the slots of missing chunks.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::Method;
use super::product::{Right, multiply, pack, packed_floats, padded};
use crate::device::cpu::simd::{Shared, with_scratch};
use crate::device::cpu::tile::Rows;
use crate::device::sparse::SparseSequence;

/// Rows of keys of a task: so many that packing the basis is little beside its products.
const ROWS: usize = 384;

/// Copy lists of all sequences.
pub(super) struct Missing<'a> {
    pub(super) chunks: &'a [i32],
    pub(super) slots: &'a [i32],
    pub(super) count: &'a [i32],
}

/// What slots are filled from.
pub(super) struct Sources<'a> {
    pub(super) host_values: &'a [f32],
    pub(super) factors: &'a [f32],
    pub(super) key_basis: &'a [f32],
}

/// Some missing chunks of one KV head.
struct Task<'a> {
    sequence: SparseSequence,
    head: usize,
    chunks: &'a [i32],
    slots: &'a [i32],
}

/// [`crate::device::sparse::SparseDevice::begin_fetch`].
pub(super) fn fetch_missing(
    method: &Method,
    sequences: &[SparseSequence],
    missing: &Missing,
    sources: &Sources,
    (key_slots, value_slots): (&mut [f32], &mut [f32]),
) {
    let most = (ROWS / method.chunk).max(1);
    let mut tasks = Vec::new();
    for sequence in sequences {
        for head in 0..method.heads {
            let list = sequence.entry * method.heads + head;
            let count = missing.count[list] as usize;
            let at = list * method.selected;
            let chunks = missing.chunks[at..at + count].chunks(most);
            let slots = missing.slots[at..at + count].chunks(most);
            tasks.extend(chunks.zip(slots).map(|(chunks, slots)| Task {
                sequence: *sequence,
                head,
                chunks,
                slots,
            }));
        }
    }
    let (keys, values) = (Shared::new(key_slots), Shared::new(value_slots));
    let arch = Arch::new();
    let rows = most * method.chunk;
    let floats = packed_floats(method.rank, method.dim)
        + rows * (method.rank + padded(method.dim))
        + method.angles.floats();
    tasks.par_iter().with_max_len(1).for_each(|task| {
        task.gather(method, sources, values);
        with_scratch(floats, |scratch| {
            arch.dispatch(Rebuild {
                method,
                task,
                sources,
                keys,
                scratch,
            });
        });
    });
}

impl Task<'_> {
    fn slot<'a>(&self, method: &Method, index: usize, slots: Shared<'a>) -> &'a mut [f32] {
        let elements = method.chunk * method.dim;
        let list = self.sequence.entry * method.heads + self.head;
        let slot = list * method.resident + self.slots[index] as usize;
        // SAFETY: no two missing chunks have the same slot.
        unsafe { slots.part(slot * elements, elements) }
    }

    fn gather(&self, method: &Method, sources: &Sources, values: Shared) {
        let elements = method.chunk * method.dim;
        let row = method.store_row(&self.sequence, self.head);
        for (index, chunk) in self.chunks.iter().enumerate() {
            let from = (row + *chunk as usize) * elements;
            let to = self.slot(method, index, values);
            to.copy_from_slice(&sources.host_values[from..from + elements]);
        }
    }
}

struct Rebuild<'a> {
    method: &'a Method,
    task: &'a Task<'a>,
    sources: &'a Sources<'a>,
    keys: Shared<'a>,
    scratch: &'a mut [f32],
}

impl WithSimd for Rebuild<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Rebuild {
            method,
            task,
            sources,
            keys,
            scratch,
        } = self;
        let (dim, rank, chunk) = (method.dim, method.rank, method.chunk);
        let (wide, rows) = (padded(dim), task.chunks.len() * chunk);
        let (packed, scratch) = scratch.split_at_mut(packed_floats(rank, dim));
        let (factors, scratch) = scratch.split_at_mut(rows * rank);
        let (rebuilt, turned) = scratch.split_at_mut(rows * wide);
        let list = task.sequence.entry * method.heads + task.head;
        let basis = &sources.key_basis[list * dim * rank..][..dim * rank];
        pack::<S>(Right::Turned(basis), rank, dim, packed);
        let first = task.sequence.store_begin * chunk;
        let each = factors.chunks_exact_mut(chunk * rank).zip(task.chunks);
        for (to, own) in each {
            let at = (first + *own as usize * chunk) * rank;
            to.copy_from_slice(&sources.factors[at..at + chunk * rank]);
        }
        let left = Rows {
            begin: factors.as_ptr(),
            stride: rank,
        };
        let to = Rows {
            begin: rebuilt.as_mut_ptr(),
            stride: wide,
        };
        // SAFETY: `[rows, rank]` and `[rows, wide]` of two different slices.
        unsafe { multiply(simd, (rows, rank, dim), left, packed, to) };
        let table = task.sequence.rope_table;
        for (index, own) in task.chunks.iter().enumerate() {
            let slot = task.slot(method, index, keys);
            for (token, to) in slot.chunks_exact_mut(dim).enumerate() {
                let position = *own as usize * chunk + token;
                method.angles.turn(simd, table, position, turned);
                let key = &rebuilt[(index * chunk + token) * wide..][..dim];
                method.angles.rotate(turned, key, to);
            }
        }
    }
}
