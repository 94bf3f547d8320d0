//! What `ShadowKV` needs of a device beyond a decoder: its stores, and the operations on them, each of which is one generated
//! kernel.
//!
//! Sizes in the docs: `H` KV heads, `G` query heads each, `d` elements each, `D = H d`, chunks of `C` tokens, rank `R`, `k`
//! selected chunks, `r` resident chunks. Names and layouts are those of the kernels' arguments.
//!
//! | notion | here |
//! | --- | --- |
//! | a place for one sequence; index of `entries` in all layouts | [`SparseSequence::entry`] |
//! | which sequences a call is about, and where they are | [`SparseSequences`], prepared as [`SparseDevice::Sequences`] |
//! | memory of the host that the device reads and writes by itself | [`SparseDevice::HostBuffer`] |
//! | exact keys and values of a prompt while its layer runs | [`PromptRows`] |
//! | everything a layer keeps | [`SparseLayer`] |
//! | what a step chooses, layer after layer in the same memory | [`Selection`] |
//!
//! A step, per layer: [`Device::rope_append`] to the exact windows, [`SparseDevice::landmark_score`],
//! [`SparseDevice::select_chunks`], [`SparseDevice::begin_fetch`], [`SparseDevice::sparse_attention`], and at times
//! [`SparseDevice::fold_chunk`]. Nothing in it needs the host: all numbers that change from step to step are in
//! [`SparseDevice::Sequences`], prepared once for all layers.

use std::fmt::Debug;

use super::{Activation, Device, DeviceError, Element};

/// Sequences of calls to come, and where all that is theirs lies.
///
/// Entries ascend. A device whose kernels take states `[batch, ...]` and packed rows in the same order launches once for each
/// run of sequences whose entries and rows are consecutive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SparseSequences {
    /// Number of the decode step, from 1; of two calls of [`SparseDevice::select_chunks`] in one layer the later one has the
    /// higher number.
    pub step: u32,
    /// The sequences.
    pub sequences: Vec<SparseSequence>,
}

/// One sequence of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SparseSequence {
    /// Its entry: the index of its states in all layouts that begin with `entries`.
    pub entry: usize,
    /// Packed row of its one new token: of its query and of what attention makes of it.
    pub query_row: usize,
    /// Its tokens, the new one included.
    pub token_count: usize,
    /// Its compressed chunks, from the first on, outliers included: positions from `chunk_count * C` on are its exact window.
    /// Of [`SparseDevice::fold_chunk`], before the call.
    pub chunk_count: usize,
    /// Chunks that [`SparseDevice::fold_chunk`] folds.
    pub fold_count: usize,
    /// Row of [`PromptRows`] at which its prompt begins, where a call reads one.
    pub token_begin: usize,
    /// First row of its exact window.
    pub row_begin: usize,
    /// Rows of its exact window, whole chunks: position `p` lies in row `row_begin + p % row_capacity`.
    pub row_capacity: usize,
    /// Chunks per KV head of the stores before its own, a multiple of 64.
    pub store_begin: usize,
    /// Chunks per KV head that its stores can hold, a multiple of 64.
    pub store_capacity: usize,
    /// Rotary table: 0, or 1 for longrope's long one.
    pub rope_table: usize,
    /// Its epoch, from 1: slots filled in another one are empty.
    pub epoch: u32,
}

/// Sizes of the stores that the spec does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SparseSizes {
    /// Sequences there is room for.
    pub entries: usize,
    /// Rows of the exact windows of all of them.
    pub window_rows: usize,
    /// Chunks per KV head of all stores, a multiple of 64.
    pub store_chunks: usize,
    /// Outlier chunks per entry and KV head; at least the spec's.
    pub outlier_capacity: usize,
    /// Chunks from the scores of one head to those of the next: the largest `store_capacity`.
    pub score_stride: usize,
}

/// Keys and values of prompts, all exact, while one layer runs: `[token rows, H, d]`.
#[derive(Debug)]
pub struct PromptRows<D: Device + ?Sized> {
    /// Rotated keys.
    pub keys: D::Buffer<Activation>,
    /// Values.
    pub values: D::Buffer<Activation>,
    /// Keys before the rotation.
    pub k_pre: D::Buffer<Activation>,
}

/// What one layer keeps. A sequence's part of a store is `[H, store_capacity, ...]`, beginning at chunk
/// `H * store_begin` of `[store chunks * H, ...]`; of [`SparseLayer::factors`] at row `store_begin * C`.
#[derive(Debug)]
pub struct SparseLayer<D: SparseDevice> {
    /// Sizes of what follows.
    pub sizes: SparseSizes,
    /// Rotated keys of the exact windows, `[window rows, H, d]`.
    pub keys: D::Buffer<Activation>,
    /// Values of the exact windows.
    pub values: D::Buffer<Activation>,
    /// Keys of the exact windows before the rotation.
    pub k_pre: D::Buffer<Activation>,
    /// `V_R`, leading eigenvectors of the keys, a column each, the largest eigenvalue first: `[entries, H, d, R]`.
    pub key_basis: D::Buffer<Activation>,
    /// `A = K_pre V_R`, a row per compressed token: `[store chunks * C, R]`.
    pub factors: D::Buffer<Activation>,
    /// Means of chunks' rotated keys, `[store chunks * H, d]`.
    pub landmarks: D::Buffer<Activation>,
    /// Lowest cosine between a chunk's keys and their mean, `[store chunks * H]`.
    pub min_cosines: D::Buffer<f32>,
    /// Bit `row % 32` of word `row / 32` is set for outliers, `[store chunks * H / 32]`. Bits of a span of 64 chunks mean
    /// something once the span has a chunk.
    pub outlier_mask: D::Buffer<u32>,
    /// Outlier chunks in the order of their places, padded with -1: `[entries, H, outlier_capacity]`.
    pub outlier_chunks: D::Buffer<i32>,
    /// How many there are, `[entries, H]`.
    pub outlier_count: D::Buffer<i32>,
    /// Highest cosine among the prompt's outliers, minus infinity if there are none: `[entries, H]`.
    pub outlier_threshold: D::Buffer<f32>,
    /// Rotated keys of the outliers, `[entries, H, outlier_capacity, C, d]`.
    pub outlier_keys: D::Buffer<Activation>,
    /// Values of the outliers.
    pub outlier_values: D::Buffer<Activation>,
    /// Values of the compressed chunks in the host's memory, `[store chunks * H, C, d]`.
    pub host_values: D::HostBuffer<Activation>,
    /// Chunk in each slot, -1 for none: `[entries, H, r]`.
    pub slot_chunk: D::Buffer<i32>,
    /// Step in which each slot was last used, 0 for never.
    pub slot_stamp: D::Buffer<u32>,
    /// Epoch in which the slots were last filled, `[entries, H]`.
    pub slot_epoch: D::Buffer<u32>,
    /// Rotated keys of the chunks in the slots, `[entries, H, r, C, d]`.
    pub key_slots: D::Buffer<Activation>,
    /// Values of the chunks in the slots.
    pub value_slots: D::Buffer<Activation>,
}

/// What a step chooses in one layer, and how often it had to fetch.
#[derive(Debug)]
pub struct Selection<D: Device + ?Sized> {
    /// `q . landmark / sqrt(d)`, minus infinity for outliers and from the last chunk to the end of its span of 64:
    /// `[entries, H, G, score_stride]`.
    pub scores: D::Buffer<f32>,
    /// Of each span of 64 scores the largest, and the sum of `exp(score - largest)`: `[entries, H, G, score_stride / 64, 2]`.
    pub span_softmax: D::Buffer<f32>,
    /// The best chunks, ascending, padded with -1: `[entries, H, k]`.
    pub selected_chunks: D::Buffer<i32>,
    /// Slot of each selected chunk, padded with -1.
    pub selected_slots: D::Buffer<i32>,
    /// Selected chunks that were in no slot, ascending, padded with -1.
    pub missing_chunks: D::Buffer<i32>,
    /// Slot that each missing chunk goes to, ascending, padded with -1.
    pub missing_slots: D::Buffer<i32>,
    /// Missing chunks of each list, `[entries, H]`.
    pub missing_count: D::Buffer<i32>,
    /// Chunks selected so far, and how many of them were missing, over all steps and layers: `[entries, H, 2]`.
    pub counts: D::Buffer<u64>,
}

/// Fetches that may be under way at a time.
pub const TURNS: usize = 2;

/// A device that has the operations of `ShadowKV`.
///
/// Like [`Device`]: operations take effect in the order of the calls, whenever they run, and what a call is not said to write
/// it leaves alone. A call touches the states of its own sequences only.
pub trait SparseDevice: Device + Sized {
    /// Memory of the host that operations of the device read and write: pinned and mapped where there is a GPU.
    type HostBuffer<T: Element>: Debug + Send + Sync;
    /// [`SparseSequences`] where the device can see them. Made in every step: a device keeps the memory of those dropped.
    type Sequences: Debug + Send + Sync;

    /// A buffer of `elements` zeros in the host's memory. `name` is for messages.
    ///
    /// # Errors
    ///
    /// [`DeviceError::OutOfMemory`].
    fn allocate_host<T: Element>(
        &self,
        name: &str,
        elements: usize,
    ) -> Result<Self::HostBuffer<T>, DeviceError>;

    /// Bytes of host buffers alive.
    fn allocated_host_bytes(&self) -> u64;

    /// Copies from a host buffer, from element `at` on, after everything called before.
    ///
    /// # Errors
    ///
    /// The device failed.
    fn read_host<T: Element>(
        &self,
        buffer: &Self::HostBuffer<T>,
        at: usize,
        values: &mut [T::Host],
    ) -> Result<(), DeviceError>;

    /// Copies `elements` elements on the device: from element `from.1` of `from.0` on to element `to.1` of `to.0` on.
    ///
    /// # Errors
    ///
    /// The device failed.
    fn copy<T: Element>(
        &self,
        from: (&Self::Buffer<T>, usize),
        to: (&mut Self::Buffer<T>, usize),
        elements: usize,
    ) -> Result<(), DeviceError>;

    /// Copies `values` to a host buffer, from element `at` on, after everything called before.
    ///
    /// # Errors
    ///
    /// The device failed.
    fn write_host<T: Element>(
        &self,
        buffer: &mut Self::HostBuffer<T>,
        at: usize,
        values: &[T::Host],
    ) -> Result<(), DeviceError>;

    /// Copies `elements` elements from one place of a buffer to another; the two do not overlap.
    ///
    /// # Errors
    ///
    /// The device failed.
    fn copy_within<T: Element>(
        &self,
        buffer: &mut Self::Buffer<T>,
        from: usize,
        to: usize,
        elements: usize,
    ) -> Result<(), DeviceError>;

    /// The sequences of calls to come.
    ///
    /// # Errors
    ///
    /// The device failed.
    fn sequences(&self, sequences: &SparseSequences) -> Result<Self::Sequences, DeviceError>;

    /// `K_pre^T K_pre` of each sequence's prompt, the tokens `token_begin..token_begin + token_count` of `prompt` -> `gram`
    /// `[sequences, D, D]`, summed in f32, both triangles.
    ///
    /// # Errors
    ///
    /// The device failed.
    fn key_gram(
        &self,
        sequences: &Self::Sequences,
        prompt: &PromptRows<Self>,
        gram: &mut Self::Buffer<f32>,
    ) -> Result<(), DeviceError>;

    /// Leading eigenvectors of each `gram` `[sequences, D, D]`, which is overwritten -> `key_basis` of its entry.
    ///
    /// # Errors
    ///
    /// The device failed; no convergence, which takes something other than numbers.
    fn eigen_basis(
        &self,
        sequences: &Self::Sequences,
        gram: &mut Self::Buffer<f32>,
        layer: &mut SparseLayer<Self>,
    ) -> Result<(), DeviceError>;

    /// `key_basis` and the first `chunk_count * C` tokens of each prompt -> `factors`.
    ///
    /// # Errors
    ///
    /// The device failed.
    fn key_project(
        &self,
        sequences: &Self::Sequences,
        prompt: &PromptRows<Self>,
        layer: &mut SparseLayer<Self>,
    ) -> Result<(), DeviceError>;

    /// The first `chunk_count` chunks of each prompt -> `landmarks`, `min_cosines`, from keys rotated in f32.
    ///
    /// # Errors
    ///
    /// The device failed.
    fn chunk_landmarks(
        &self,
        sequences: &Self::Sequences,
        prompt: &PromptRows<Self>,
        layer: &mut SparseLayer<Self>,
    ) -> Result<(), DeviceError>;

    /// The spec's number of outliers among the first `chunk_count` chunks, by `min_cosines` -> `outlier_chunks`
    /// (ascending), `outlier_count`, `outlier_threshold`, `outlier_mask`. A sequence without chunks then has none.
    ///
    /// # Errors
    ///
    /// The device failed.
    fn select_outliers(
        &self,
        sequences: &Self::Sequences,
        layer: &mut SparseLayer<Self>,
    ) -> Result<(), DeviceError>;

    /// Exact keys and values of each prompt's outliers -> `outlier_keys`, `outlier_values`; of the positions from
    /// `chunk_count * C` to `token_count` -> `keys`, `values`, `k_pre` of the exact window.
    ///
    /// # Errors
    ///
    /// The device failed.
    fn store_exact(
        &self,
        sequences: &Self::Sequences,
        prompt: &PromptRows<Self>,
        layer: &mut SparseLayer<Self>,
    ) -> Result<(), DeviceError>;

    /// Values of the first `chunk_count` chunks of each prompt -> `host_values`.
    ///
    /// # Errors
    ///
    /// The device failed.
    fn offload_values(
        &self,
        sequences: &Self::Sequences,
        prompt: &PromptRows<Self>,
        layer: &mut SparseLayer<Self>,
    ) -> Result<(), DeviceError>;

    /// `queries` `[packed rows, H, G, d]` against `landmarks` -> `scores`, `span_softmax`.
    ///
    /// # Errors
    ///
    /// The device failed.
    fn landmark_score(
        &self,
        sequences: &Self::Sequences,
        queries: &Self::Buffer<Activation>,
        layer: &SparseLayer<Self>,
        selection: &mut Selection<Self>,
    ) -> Result<(), DeviceError>;

    /// `scores`, `span_softmax` -> the lists of `selection`, and the slot tables of `layer`; adds to `counts`.
    ///
    /// # Errors
    ///
    /// The device failed.
    fn select_chunks(
        &self,
        sequences: &Self::Sequences,
        layer: &mut SparseLayer<Self>,
        selection: &mut Selection<Self>,
    ) -> Result<(), DeviceError>;

    /// Bytes of its own memory that the device reads in the time in which one comes from the host; 0 where nothing is gained by
    /// other work beside the fetches.
    fn host_byte_cost(&self) -> u64 {
        0
    }

    /// Fills the slots of the missing chunks: `host_values` -> `value_slots` (`gather_values`), and `factors`, `key_basis` ->
    /// `key_slots` (`reconstruct_keys`). The two may run side by side, and beside what is called next: only after
    /// [`SparseDevice::end_fetch`] of the same `turn`, one of [`TURNS`], are both done. What is called before may touch
    /// nothing of these sequences. After an error, too, it is to be ended.
    ///
    /// # Errors
    ///
    /// The device failed.
    fn begin_fetch(
        &self,
        sequences: &Self::Sequences,
        selection: &Selection<Self>,
        layer: &mut SparseLayer<Self>,
        turn: usize,
    ) -> Result<(), DeviceError>;

    /// What is called next finds done what [`SparseDevice::begin_fetch`] began with `turn`, if anything.
    ///
    /// # Errors
    ///
    /// The device failed.
    fn end_fetch(&self, turn: usize) -> Result<(), DeviceError>;

    /// Attention of each sequence's one query `[packed rows, H, G, d]` over its outliers, selected chunks and exact window ->
    /// `output` `[packed rows, H, G, d]`.
    ///
    /// # Errors
    ///
    /// The device failed.
    fn sparse_attention(
        &self,
        sequences: &Self::Sequences,
        queries: &Self::Buffer<Activation>,
        layer: &SparseLayer<Self>,
        selection: &Selection<Self>,
        output: &mut Self::Buffer<Activation>,
    ) -> Result<(), DeviceError>;

    /// The `fold_count` oldest chunks of each exact window, those from `chunk_count` on -> `factors`, `landmarks`,
    /// `min_cosines`, `outlier_mask`, `host_values`; those below `outlier_threshold`, while there is room, also to the
    /// outliers.
    ///
    /// # Errors
    ///
    /// The device failed.
    fn fold_chunk(
        &self,
        sequences: &Self::Sequences,
        layer: &mut SparseLayer<Self>,
    ) -> Result<(), DeviceError>;
}
