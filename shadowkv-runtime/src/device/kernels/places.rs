//! Which tokens of which sequences a call is about, in the GPU's memory.

use super::KernelDevice;
use super::arrays::Arrays;
use super::loaded::Launches;
use super::staging::Staged;
use crate::device::sparse::{SparseSequence, SparseSequences, SparseSizes};
use crate::device::{DeviceError, NewTokens, Tokens};
use crate::gpu::Gpu;
use crate::manifest::Sizes;

/// New tokens where kernels see them.
pub struct KernelTokens<G: Gpu> {
    staged: Staged<G>,
    at: TokenArrays,
    pub(super) launches: Launches,
    batch: u64,
    rows: u64,
    max_queries: u64,
    max_tokens: u64,
    /// Every sequence has one.
    pub(super) is_step: bool,
}

/// Where each array begins, bytes.
struct TokenArrays {
    query_begin: u64,
    query_count: u64,
    token_count: u64,
    row_begin: u64,
    row_capacity: u64,
    rope_table: u64,
}

macro_rules! addresses {
    ($($name:ident),+) => {
        $(
            /// Address of the array of the kernels' argument of that name.
            pub(super) fn $name(&self) -> u64 {
                self.staged.address(self.at.$name)
            }
        )+
    };
}

impl<G: Gpu> KernelTokens<G> {
    addresses!(
        query_begin,
        query_count,
        token_count,
        row_begin,
        row_capacity,
        rope_table
    );

    /// What the manifest calls sizes, beside `always`.
    pub(super) fn sizes(&self, always: Sizes) -> Sizes {
        always
            .with("batch", self.batch)
            .with("query_rows", self.rows)
            .with("max_queries", self.max_queries)
            .with("max_tokens", self.max_tokens)
    }

    pub(super) fn new(
        device: &KernelDevice<G>,
        tokens: &Tokens,
    ) -> Result<KernelTokens<G>, DeviceError> {
        let mut arrays = Arrays::default();
        let sequences = &tokens.sequences;
        let each = |field: fn(&NewTokens) -> usize| sequences.iter().map(field);
        let small = |field| each(field).map(|value| value as i32);
        let large = |field| each(field).map(|value| value as i64);
        let at = TokenArrays {
            query_begin: arrays.push(large(|own| own.begin)),
            query_count: arrays.push(small(|own| own.count)),
            token_count: arrays.push(small(|own| own.total)),
            row_begin: arrays.push(large(|own| own.row_begin)),
            row_capacity: arrays.push(small(|own| own.row_capacity)),
            rope_table: arrays.push(small(|own| own.rope_table)),
        };
        let most = |field| each(field).max().unwrap_or(0) as u64;
        Ok(KernelTokens {
            staged: device.send(arrays.bytes())?,
            at,
            launches: Launches::default(),
            batch: sequences.len() as u64,
            rows: tokens.rows() as u64,
            max_queries: most(|own| own.count),
            max_tokens: most(|own| own.total),
            is_step: sequences.iter().all(|own| own.count == 1),
        })
    }
}

/// Sequences of the stores where kernels see them.
pub struct KernelSequences<G: Gpu> {
    /// Sequences with consecutive entries and query rows: one launch each.
    pub(super) runs: Vec<Run<G>>,
}

/// Sequences with consecutive entries and query rows.
pub(super) struct Run<G: Gpu> {
    staged: Staged<G>,
    at: SequenceArrays,
    pub(super) launches: Launches,
    pub(super) batch: u64,
    max_tokens: u64,
    max_chunks: u64,
    max_window: u64,
    /// Entry of the first.
    pub(super) entry: u64,
    /// Query row of the first.
    pub(super) query_row: u64,
    /// Place of the first among all sequences of the call.
    pub(super) first: u64,
}

struct SequenceArrays {
    step: u64,
    sequence_epoch: u64,
    token_begin: u64,
    token_count: u64,
    projected_count: u64,
    first_chunk: u64,
    chunk_count: u64,
    fold_count: u64,
    row_begin: u64,
    row_capacity: u64,
    store_begin: u64,
    store_capacity: u64,
    rope_table: u64,
}

impl<G: Gpu> Run<G> {
    addresses!(
        step,
        sequence_epoch,
        token_begin,
        token_count,
        first_chunk,
        chunk_count,
        fold_count,
        row_begin,
        row_capacity,
        store_begin,
        store_capacity,
        rope_table
    );

    /// Address of the tokens of the compressed chunks, for kernels that take them as token counts.
    pub(super) fn projected_count(&self) -> u64 {
        self.staged.address(self.at.projected_count)
    }

    /// What the manifest calls sizes, beside `always`, of a store of the sizes `store`.
    pub(super) fn sizes(&self, always: Sizes, store: &SparseSizes) -> Sizes {
        always
            .with("batch", self.batch)
            .with("max_tokens", self.max_tokens)
            .with("max_chunks", self.max_chunks)
            .with("max_window", self.max_window)
            .with("outlier_capacity", store.outlier_capacity as u64)
            .with("score_stride", store.score_stride as u64)
            .with("store_chunks", store.store_chunks as u64)
    }

    fn new(
        device: &KernelDevice<G>,
        step: u32,
        (first, sequences): (usize, &[SparseSequence]),
    ) -> Result<Run<G>, DeviceError> {
        let chunk = device.chunk_size();
        let mut arrays = Arrays::default();
        let each = |field: fn(&SparseSequence) -> usize| sequences.iter().map(field);
        let small = |field| each(field).map(|value| value as i32);
        let large = |field| each(field).map(|value| value as i64);
        let compressed = |own: &SparseSequence| (own.chunk_count * chunk) as i32;
        let at = SequenceArrays {
            step: arrays.push(std::iter::once(step)),
            sequence_epoch: arrays.push(sequences.iter().map(|own| own.epoch)),
            token_begin: arrays.push(large(|own| own.token_begin)),
            token_count: arrays.push(small(|own| own.token_count)),
            projected_count: arrays.push(sequences.iter().map(compressed)),
            first_chunk: arrays.push(small(|_| 0)),
            chunk_count: arrays.push(small(|own| own.chunk_count)),
            fold_count: arrays.push(small(|own| own.fold_count)),
            row_begin: arrays.push(large(|own| own.row_begin)),
            row_capacity: arrays.push(small(|own| own.row_capacity)),
            store_begin: arrays.push(large(|own| own.store_begin)),
            store_capacity: arrays.push(small(|own| own.store_capacity)),
            rope_table: arrays.push(small(|own| own.rope_table)),
        };
        let most = |field| each(field).max().unwrap_or(0) as u64;
        let window = |own: &SparseSequence| own.token_count - own.chunk_count * chunk;
        Ok(Run {
            staged: device.send(arrays.bytes())?,
            at,
            launches: Launches::default(),
            batch: sequences.len() as u64,
            max_tokens: most(|own| own.token_count),
            max_chunks: most(|own| own.chunk_count),
            max_window: sequences.iter().map(window).max().unwrap_or(0) as u64,
            entry: sequences[0].entry as u64,
            query_row: sequences[0].query_row as u64,
            first: first as u64,
        })
    }
}

impl<G: Gpu> KernelSequences<G> {
    pub(super) fn new(
        device: &KernelDevice<G>,
        sequences: &SparseSequences,
    ) -> Result<KernelSequences<G>, DeviceError> {
        let follows = |one: &SparseSequence, next: &SparseSequence| {
            next.entry == one.entry + 1 && next.query_row == one.query_row + 1
        };
        let mut first = 0;
        let mut runs = Vec::new();
        for run in sequences.sequences.chunk_by(follows) {
            runs.push(Run::new(device, sequences.step, (first, run))?);
            first += run.len();
        }
        Ok(KernelSequences { runs })
    }
}

impl<G: Gpu> std::fmt::Debug for KernelTokens<G> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KernelTokens({} rows)", self.rows)
    }
}

impl<G: Gpu> std::fmt::Debug for KernelSequences<G> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KernelSequences({} runs)", self.runs.len())
    }
}
