//! The operations of the method on the CPU, in f32.
//!
//! Like the other operations, sums are in an order that depends on neither the number of threads nor the other sequences of a
//! call.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::memory::CpuBuffer;
use super::simd::Shared;
use super::{CpuDevice, Element};
use crate::device::sparse::{
    PromptRows, Selection, SparseDevice, SparseLayer, SparseSequence, SparseSequences, SparseSizes,
};
use crate::device::{Activation, Device as _, DeviceError};
use crate::spec::Spec;

mod attention;
mod basis;
mod exact;
mod fetch;
mod gram;
mod landmarks;
mod product;
mod rotation;
mod score;
mod select;

use attention::Places;
use product::{Right, padded};
use rotation::Angles;

/// What the operations need of a spec.
#[derive(Clone, Debug)]
pub(super) struct Method {
    heads: usize,
    group: usize,
    dim: usize,
    chunk: usize,
    rank: usize,
    selected: usize,
    resident: usize,
    outliers: usize,
    angles: Angles,
}

impl Method {
    pub(super) fn new(spec: &Spec) -> Method {
        let (attention, method) = (&spec.attention, &spec.shadowkv);
        Method {
            heads: attention.kv_heads as usize,
            group: attention.gqa_ratio as usize,
            dim: attention.head_dim as usize,
            chunk: method.chunk_size as usize,
            rank: method.rank as usize,
            selected: method.selected_chunks() as usize,
            resident: method.resident_chunks as usize,
            outliers: method.outlier_chunks as usize,
            angles: Angles::new(spec),
        }
    }

    /// Elements of a token's keys.
    fn width(&self) -> usize {
        self.heads * self.dim
    }

    /// Row of a KV head's first chunk in stores `[store chunks * H, ...]`.
    fn store_row(&self, sequence: &SparseSequence, head: usize) -> usize {
        sequence.store_begin * self.heads + head * sequence.store_capacity
    }

    /// Floats of a prompt in `[token rows, H, d]`.
    fn prompt<'a>(&self, sequence: &SparseSequence, rows: &'a [f32], tokens: usize) -> &'a [f32] {
        &rows[sequence.token_begin * self.width()..][..tokens * self.width()]
    }

    /// The parts of an entry, of lists with `each` elements per KV head.
    fn lists(&self, sequence: &SparseSequence, each: usize) -> std::ops::Range<usize> {
        let first = sequence.entry * self.heads * each;
        first..first + self.heads * each
    }
}

impl SparseDevice for CpuDevice {
    type HostBuffer<T: Element> = CpuBuffer<T>;
    type Sequences = SparseSequences;

    fn allocate_host<T: Element>(
        &self,
        name: &str,
        elements: usize,
    ) -> Result<CpuBuffer<T>, DeviceError> {
        CpuBuffer::zeroed(&self.host_account, name, elements)
    }

    fn allocated_host_bytes(&self) -> u64 {
        self.host_account.bytes()
    }

    fn read_host<T: Element>(
        &self,
        buffer: &CpuBuffer<T>,
        at: usize,
        values: &mut [T::Host],
    ) -> Result<(), DeviceError> {
        self.read(buffer, at, values)
    }

    fn write_host<T: Element>(
        &self,
        buffer: &mut CpuBuffer<T>,
        at: usize,
        values: &[T::Host],
    ) -> Result<(), DeviceError> {
        self.write(buffer, at, values)
    }

    fn copy_within<T: Element>(
        &self,
        buffer: &mut CpuBuffer<T>,
        from: usize,
        to: usize,
        elements: usize,
    ) -> Result<(), DeviceError> {
        buffer.values.copy_within(from..from + elements, to);
        Ok(())
    }

    fn copy<T: Element>(
        &self,
        (from, from_at): (&CpuBuffer<T>, usize),
        (to, to_at): (&mut CpuBuffer<T>, usize),
        elements: usize,
    ) -> Result<(), DeviceError> {
        let from = &from.values[from_at..from_at + elements];
        to.values[to_at..to_at + elements].copy_from_slice(from);
        Ok(())
    }

    fn sequences(&self, sequences: &SparseSequences) -> Result<SparseSequences, DeviceError> {
        Ok(sequences.clone())
    }

    fn key_gram(
        &self,
        sequences: &SparseSequences,
        prompt: &PromptRows<CpuDevice>,
        gram: &mut CpuBuffer<f32>,
    ) -> Result<(), DeviceError> {
        let width = self.method.width();
        let grams = gram.values.chunks_exact_mut(width * width);
        for (own, gram) in sequences.sequences.iter().zip(grams) {
            let keys = self
                .method
                .prompt(own, &prompt.k_pre.values, own.token_count);
            gram::key_gram(keys, width, gram);
        }
        Ok(())
    }

    fn eigen_basis(
        &self,
        sequences: &SparseSequences,
        gram: &mut CpuBuffer<f32>,
        layer: &mut SparseLayer<CpuDevice>,
    ) -> Result<(), DeviceError> {
        let Method { dim, rank, .. } = self.method;
        let width = self.method.width();
        let grams = gram.values.chunks_exact(width * width);
        for (own, gram) in sequences.sequences.iter().zip(grams) {
            let basis = self.method.lists(own, dim * rank);
            let basis = &mut layer.key_basis.values[basis];
            basis::key_basis(gram, width, rank, basis)
                .ok_or(DeviceError::KeyBasis { entry: own.entry })?;
        }
        Ok(())
    }

    fn key_project(
        &self,
        sequences: &SparseSequences,
        prompt: &PromptRows<CpuDevice>,
        layer: &mut SparseLayer<CpuDevice>,
    ) -> Result<(), DeviceError> {
        let method = &self.method;
        let Method {
            dim, rank, chunk, ..
        } = *method;
        for own in &sequences.sequences {
            let tokens = own.chunk_count * chunk;
            let keys = method.prompt(own, &prompt.k_pre.values, tokens);
            let basis = &layer.key_basis.values[method.lists(own, dim * rank)];
            let to = &mut layer.factors.values[own.store_begin * chunk * rank..][..tokens * rank];
            debug_assert_eq!(rank, padded(rank));
            product::product(keys, Right::Rows(basis), (method.width(), rank), to);
        }
        Ok(())
    }

    fn chunk_landmarks(
        &self,
        sequences: &SparseSequences,
        prompt: &PromptRows<CpuDevice>,
        layer: &mut SparseLayer<CpuDevice>,
    ) -> Result<(), DeviceError> {
        let chunk = self.method.chunk;
        for own in &sequences.sequences {
            // In f32 the keys are what a rotation would make of `k_pre` once more.
            let keys = self
                .method
                .prompt(own, &prompt.keys.values, own.chunk_count * chunk);
            Landmarks {
                method: &self.method,
                sequence: own,
                means: Shared::new(&mut layer.landmarks.values),
                min_cosines: Shared::new(&mut layer.min_cosines.values),
            }
            .all(0..own.chunk_count, |token| token, keys);
        }
        Ok(())
    }

    fn select_outliers(
        &self,
        sequences: &SparseSequences,
        layer: &mut SparseLayer<CpuDevice>,
    ) -> Result<(), DeviceError> {
        for own in &sequences.sequences {
            select_outliers(&self.method, own, layer);
        }
        Ok(())
    }

    fn store_exact(
        &self,
        sequences: &SparseSequences,
        prompt: &PromptRows<CpuDevice>,
        layer: &mut SparseLayer<CpuDevice>,
    ) -> Result<(), DeviceError> {
        let method = &self.method;
        let sizes = &layer.sizes;
        let outliers = (&*layer.outlier_chunks.values, &*layer.outlier_count.values);
        for own in &sequences.sequences {
            for (from, to) in [
                (&prompt.keys, &mut layer.outlier_keys),
                (&prompt.values, &mut layer.outlier_values),
            ] {
                exact::outliers(method, sizes, own, outliers, &from.values, &mut to.values);
            }
            for (from, to) in [
                (&prompt.keys, &mut layer.keys),
                (&prompt.values, &mut layer.values),
                (&prompt.k_pre, &mut layer.k_pre),
            ] {
                exact::window(method, own, &from.values, &mut to.values);
            }
        }
        Ok(())
    }

    fn offload_values(
        &self,
        sequences: &SparseSequences,
        prompt: &PromptRows<CpuDevice>,
        layer: &mut SparseLayer<CpuDevice>,
    ) -> Result<(), DeviceError> {
        let to = &mut layer.host_values.values;
        for own in &sequences.sequences {
            exact::offload(&self.method, own, &prompt.values.values, to);
        }
        Ok(())
    }

    fn landmark_score(
        &self,
        sequences: &SparseSequences,
        queries: &CpuBuffer<Activation>,
        layer: &SparseLayer<CpuDevice>,
        selection: &mut Selection<CpuDevice>,
    ) -> Result<(), DeviceError> {
        score::landmark_score(
            &self.method,
            &layer.sizes,
            &sequences.sequences,
            (
                &queries.values,
                &layer.landmarks.values,
                &layer.outlier_mask.values,
            ),
            (
                &mut selection.scores.values,
                &mut selection.span_softmax.values,
            ),
        );
        Ok(())
    }

    fn select_chunks(
        &self,
        sequences: &SparseSequences,
        layer: &mut SparseLayer<CpuDevice>,
        selection: &mut Selection<CpuDevice>,
    ) -> Result<(), DeviceError> {
        select_chunks(&self.method, sequences, layer, selection);
        Ok(())
    }

    fn begin_fetch(
        &self,
        sequences: &SparseSequences,
        selection: &Selection<CpuDevice>,
        layer: &mut SparseLayer<CpuDevice>,
        _turn: usize,
    ) -> Result<(), DeviceError> {
        fetch::fetch_missing(
            &self.method,
            &sequences.sequences,
            &fetch::Missing {
                chunks: &selection.missing_chunks.values,
                slots: &selection.missing_slots.values,
                count: &selection.missing_count.values,
            },
            &fetch::Sources {
                host_values: &layer.host_values.values,
                factors: &layer.factors.values,
                key_basis: &layer.key_basis.values,
            },
            (&mut layer.key_slots.values, &mut layer.value_slots.values),
        );
        Ok(())
    }

    fn end_fetch(&self, _turn: usize) -> Result<(), DeviceError> {
        Ok(())
    }

    fn sparse_attention(
        &self,
        sequences: &SparseSequences,
        queries: &CpuBuffer<Activation>,
        layer: &SparseLayer<CpuDevice>,
        selection: &Selection<CpuDevice>,
        output: &mut CpuBuffer<Activation>,
    ) -> Result<(), DeviceError> {
        let places = Places {
            outlier_keys: &layer.outlier_keys.values,
            outlier_values: &layer.outlier_values.values,
            outlier_count: &layer.outlier_count.values,
            key_slots: &layer.key_slots.values,
            value_slots: &layer.value_slots.values,
            selected_slots: &selection.selected_slots.values,
            keys: &layer.keys.values,
            values: &layer.values.values,
        };
        attention::sparse_attention(
            &self.method,
            &layer.sizes,
            &sequences.sequences,
            &queries.values,
            &places,
            &mut output.values,
        );
        Ok(())
    }

    fn fold_chunk(
        &self,
        sequences: &SparseSequences,
        layer: &mut SparseLayer<CpuDevice>,
    ) -> Result<(), DeviceError> {
        for own in &sequences.sequences {
            fold(&self.method, own, layer);
        }
        Ok(())
    }
}

/// Landmarks and cosines of one sequence.
struct Landmarks<'a> {
    method: &'a Method,
    sequence: &'a SparseSequence,
    means: Shared<'a>,
    min_cosines: Shared<'a>,
}

impl Landmarks<'_> {
    /// Of `chunks`, whose first tokens have the rows `row` of `keys` `[rows, H, d]`.
    fn all(
        &self,
        chunks: std::ops::Range<usize>,
        row: impl Fn(usize) -> usize + Sync,
        keys: &[f32],
    ) {
        let arch = Arch::new();
        let method = self.method;
        chunks.into_par_iter().for_each(|chunk| {
            let first = row(chunk * method.chunk) * method.width();
            let keys = &keys[first..first + method.chunk * method.width()];
            arch.dispatch(OfChunk {
                landmarks: self,
                chunk,
                keys,
            });
        });
    }
}

/// One chunk, all KV heads.
struct OfChunk<'a> {
    landmarks: &'a Landmarks<'a>,
    chunk: usize,
    keys: &'a [f32],
}

impl WithSimd for OfChunk<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Landmarks {
            method,
            sequence,
            means,
            min_cosines,
        } = self.landmarks;
        let dim = method.dim;
        for head in 0..method.heads {
            let row = method.store_row(sequence, head) + self.chunk;
            // SAFETY: every chunk and head has its own row.
            let (mean, lowest) = unsafe { (means.part(row * dim, dim), min_cosines.part(row, 1)) };
            let keys = &self.keys[head * dim..];
            lowest[0] = landmarks::chunk_landmark(simd, keys, method.width(), method.chunk, mean);
        }
    }
}

/// One sequence of [`SparseDevice::select_outliers`].
fn select_outliers(method: &Method, own: &SparseSequence, layer: &mut SparseLayer<CpuDevice>) {
    let capacity = layer.sizes.outlier_capacity;
    let mut scratch = Vec::new();
    for head in 0..method.heads {
        let list = own.entry * method.heads + head;
        let row = method.store_row(own, head);
        let cosines = &layer.min_cosines.values[row..row + own.chunk_count];
        let chosen = select::lowest(cosines.iter().copied(), method.outliers, &mut scratch);
        let words = own.chunk_count.div_ceil(score::SPAN) * (score::SPAN / 32);
        let words = &mut layer.outlier_mask.values[row / 32..][..words];
        words.fill(0);
        for chunk in &chosen {
            words[*chunk as usize / 32] |= 1 << (chunk % 32);
        }
        let highest = chosen.iter().map(|chunk| cosines[*chunk as usize]);
        layer.outlier_threshold.values[list] = highest.fold(f32::NEG_INFINITY, f32::max);
        layer.outlier_count.values[list] = chosen.len() as i32;
        let places = &mut layer.outlier_chunks.values[list * capacity..][..capacity];
        places.fill(-1);
        places[..chosen.len()].copy_from_slice(&chosen);
    }
}

/// [`SparseDevice::select_chunks`].
fn select_chunks(
    method: &Method,
    sequences: &SparseSequences,
    layer: &mut SparseLayer<CpuDevice>,
    selection: &mut Selection<CpuDevice>,
) {
    let SparseSizes {
        entries,
        score_stride,
        ..
    } = layer.sizes;
    let mut by_entry = vec![None; entries];
    for own in &sequences.sequences {
        by_entry[own.entry] = Some(*own);
    }
    let Method {
        heads,
        group,
        selected,
        resident,
        ..
    } = *method;
    let slots = layer
        .slot_chunk
        .values
        .par_chunks_exact_mut(resident)
        .zip(layer.slot_stamp.values.par_chunks_exact_mut(resident))
        .zip(&mut layer.slot_epoch.values);
    let chosen = selection
        .selected_chunks
        .values
        .par_chunks_exact_mut(selected)
        .zip(
            selection
                .selected_slots
                .values
                .par_chunks_exact_mut(selected),
        );
    let missing = selection
        .missing_chunks
        .values
        .par_chunks_exact_mut(selected)
        .zip(
            selection
                .missing_slots
                .values
                .par_chunks_exact_mut(selected),
        )
        .zip(&mut selection.missing_count.values);
    let counts = selection.counts.values.par_chunks_exact_mut(2);
    let of_list = group * score_stride;
    let scores = selection.scores.values.par_chunks_exact(of_list);
    let spans = selection
        .span_softmax
        .values
        .par_chunks_exact(of_list / score::SPAN * 2);
    let lists = chosen.zip(missing).zip(counts).zip(scores.zip(spans));
    slots.zip(lists).enumerate().with_max_len(1).for_each(
        |(list, (((chunk, stamp), epoch), lists))| {
            let Some(own) = by_entry[list / heads] else {
                return;
            };
            let (((chosen, missing), counts), (scores, spans)) = lists;
            let (mut keys, mut scratch) = (Vec::new(), Vec::new());
            select::keys(scores, spans, (score_stride, own.chunk_count), &mut keys);
            let best = select::lowest(keys.into_iter(), selected, &mut scratch);
            let mut slots = select::Slots {
                chunk,
                stamp,
                epoch,
            };
            let mut lists = select::Lists {
                selected_chunks: chosen.0,
                selected_slots: chosen.1,
                missing_chunks: missing.0.0,
                missing_slots: missing.0.1,
                missing_count: missing.1,
                counts,
            };
            select::place(&mut slots, &best, sequences.step, own.epoch, &mut lists);
        },
    );
}

/// One sequence of [`SparseDevice::fold_chunk`].
fn fold(method: &Method, own: &SparseSequence, layer: &mut SparseLayer<CpuDevice>) {
    let Method {
        heads,
        dim,
        chunk,
        rank,
        ..
    } = *method;
    let capacity = layer.sizes.outlier_capacity;
    let width = method.width();
    let row_of = |position: usize| own.row_begin + position % own.row_capacity;
    let folded = own.chunk_count..own.chunk_count + own.fold_count;
    Landmarks {
        method,
        sequence: own,
        means: Shared::new(&mut layer.landmarks.values),
        min_cosines: Shared::new(&mut layer.min_cosines.values),
    }
    .all(folded.clone(), row_of, &layer.keys.values);
    let elements = chunk * dim;
    for index in folded {
        let row = row_of(index * chunk);
        let basis = &layer.key_basis.values[method.lists(own, dim * rank)];
        let factors = (own.store_begin + index) * chunk * rank;
        let factors = &mut layer.factors.values[factors..][..chunk * rank];
        let keys = &layer.k_pre.values[row * width..][..chunk * width];
        product::product(keys, Right::Rows(basis), (width, rank), factors);
        for head in 0..heads {
            let list = own.entry * heads + head;
            let store_row = method.store_row(own, head) + index;
            let to = &mut layer.host_values.values[store_row * elements..][..elements];
            exact::copy_chunk(method, &layer.values.values, row, head, to);
            let words = &mut layer.outlier_mask.values[store_row / 32..];
            // Whoever scores a span reads all of its bits: its first chunk defines them.
            if index % score::SPAN == 0 {
                words[..score::SPAN / 32].fill(0);
            }
            let count = &mut layer.outlier_count.values[list];
            let place = *count as usize;
            let threshold = layer.outlier_threshold.values[list];
            if layer.min_cosines.values[store_row] >= threshold || place >= capacity {
                words[0] &= !(1 << (store_row % 32));
                continue;
            }
            words[0] |= 1 << (store_row % 32);
            *count += 1;
            let place = list * capacity + place;
            layer.outlier_chunks.values[place] = index as i32;
            for (from, to) in [
                (&layer.keys, &mut layer.outlier_keys),
                (&layer.values, &mut layer.outlier_values),
            ] {
                let to = &mut to.values[place * elements..][..elements];
                exact::copy_chunk(method, &from.values, row, head, to);
            }
        }
    }
}
