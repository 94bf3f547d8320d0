//! The operations of `ShadowKV`: one kernel each.

use super::loaded::{Name, To};
use super::memory::{decode, element_bytes, encode};
use super::places::Run;
use super::{KernelBuffer, KernelDevice, KernelHostBuffer, KernelSequences};
use crate::device::sparse::{
    PromptRows, Selection, SparseDevice, SparseLayer, SparseSequences, SparseSizes,
};
use crate::device::{Activation, DeviceError, Element};
use crate::gpu::{EigenBasis, Gpu, GpuMemory as _, HostMemory as _};

/// Elements of one entry's part of each state.
pub(super) struct Strides {
    pub(super) kv_heads: u64,
    pub(super) scores: u64,
    pub(super) span_softmax: u64,
    pub(super) selected: u64,
    pub(super) slots: u64,
    pub(super) slot_rows: u64,
    pub(super) outliers: u64,
    pub(super) outlier_rows: u64,
    pub(super) basis: u64,
    pub(super) queries: u64,
}

impl<G: Gpu> KernelDevice<G> {
    pub(super) fn strides(&self, layer: &SparseLayer<Self>) -> Strides {
        let (attention, method) = (&self.spec.attention, &self.spec.shadowkv);
        let kv_heads = u64::from(attention.kv_heads);
        let dim = u64::from(attention.head_dim);
        let queries = kv_heads * u64::from(attention.gqa_ratio);
        let chunk = u64::from(method.chunk_size) * dim;
        let stride = layer.sizes.score_stride as u64;
        let slots = kv_heads * u64::from(method.resident_chunks);
        let outliers = kv_heads * layer.sizes.outlier_capacity as u64;
        Strides {
            kv_heads,
            scores: queries * stride,
            span_softmax: queries * stride.div_ceil(64) * 2,
            selected: kv_heads * u64::from(method.selected_chunks()),
            slots,
            slot_rows: slots * chunk,
            outliers,
            outlier_rows: outliers * chunk,
            basis: kv_heads * dim * u64::from(method.rank),
            queries: queries * dim,
        }
    }

    /// Launches a kernel for the sequences of a run.
    pub(super) fn by_run(
        &self,
        stream: &G::Stream,
        name: Name,
        run: &Run<G>,
        layer: Option<&SparseLayer<Self>>,
        arguments: &[(&str, u64)],
    ) -> Result<(), DeviceError> {
        let store = layer.map_or_else(SparseSizes::default, |layer| layer.sizes);
        let sizes = || run.sizes(self.sizes(), &store);
        // SAFETY: the buffers have the shapes that `SparseDevice` documents, which are the manifest's; the arrays are as long as
        // the batch, and live until later work of the stream takes their place.
        unsafe {
            let to = To {
                gpu: &self.gpu,
                stream,
                replay: &self.replay,
            };
            self.kernels
                .launch(&to, name, &run.launches, &sizes, arguments)
        }
    }
}

impl<G: Gpu> SparseDevice for KernelDevice<G> {
    type HostBuffer<T: Element> = KernelHostBuffer<T, G>;
    type Sequences = KernelSequences<G>;

    fn allocate_host<T: Element>(
        &self,
        name: &str,
        elements: usize,
    ) -> Result<KernelHostBuffer<T, G>, DeviceError> {
        let bytes = (elements as u64).saturating_mul(element_bytes::<T>());
        let memory = self.gpu.allocate_host(name, bytes)?;
        Ok(KernelHostBuffer::new(memory, &self.host_account))
    }

    fn allocated_host_bytes(&self) -> u64 {
        self.host_account.bytes()
    }

    fn read_host<T: Element>(
        &self,
        buffer: &KernelHostBuffer<T, G>,
        at: usize,
        values: &mut [T::Host],
    ) -> Result<(), DeviceError> {
        self.synchronise()?;
        let element = element_bytes::<T>();
        let mut bytes = vec![0; values.len() * element as usize];
        buffer.memory.get(at as u64 * element, &mut bytes)?;
        decode::<T>(&bytes, values);
        Ok(())
    }

    fn write_host<T: Element>(
        &self,
        buffer: &mut KernelHostBuffer<T, G>,
        at: usize,
        values: &[T::Host],
    ) -> Result<(), DeviceError> {
        self.synchronise()?;
        let offset = at as u64 * element_bytes::<T>();
        Ok(buffer.memory.set(offset, &encode::<T>(values))?)
    }

    fn copy_within<T: Element>(
        &self,
        buffer: &mut KernelBuffer<T, G>,
        from: usize,
        to: usize,
        elements: usize,
    ) -> Result<(), DeviceError> {
        let part = |at: usize| buffer.part(at as u64, elements as u64);
        Ok(self.gpu.copy(&self.main, part(from)?, part(to)?)?)
    }

    fn copy<T: Element>(
        &self,
        from: (&KernelBuffer<T, G>, usize),
        to: (&mut KernelBuffer<T, G>, usize),
        elements: usize,
    ) -> Result<(), DeviceError> {
        if self.replay.breaks() {
            return Ok(());
        }
        let elements = elements as u64;
        let from = from.0.part(from.1 as u64, elements)?;
        let to = to.0.part(to.1 as u64, elements)?;
        Ok(self.gpu.copy(&self.main, from, to)?)
    }

    fn sequences(&self, sequences: &SparseSequences) -> Result<KernelSequences<G>, DeviceError> {
        KernelSequences::new(self, sequences)
    }

    fn key_gram(
        &self,
        sequences: &KernelSequences<G>,
        prompt: &PromptRows<Self>,
        gram: &mut KernelBuffer<f32, G>,
    ) -> Result<(), DeviceError> {
        let width = self.key_width();
        for run in &sequences.runs {
            let arguments = [
                ("k_pre", prompt.k_pre.address(0)),
                ("token_begin", run.token_begin()),
                ("token_count", run.token_count()),
                ("gram", gram.address(run.first * width * width)),
            ];
            self.by_run(&self.main, Name::KeyGram, run, None, &arguments)?;
        }
        Ok(())
    }

    fn eigen_basis(
        &self,
        sequences: &KernelSequences<G>,
        gram: &mut KernelBuffer<f32, G>,
        layer: &mut SparseLayer<Self>,
    ) -> Result<(), DeviceError> {
        if self.replay.breaks() {
            return Ok(());
        }
        let width = self.key_width();
        let rank = u64::from(self.spec.shadowkv.rank);
        for run in &sequences.runs {
            for own in 0..run.batch {
                let problem = EigenBasis {
                    gram: gram.part((run.first + own) * width * width, width * width)?,
                    basis: layer
                        .key_basis
                        .part((run.entry + own) * width * rank, width * rank)?,
                    width,
                    rank,
                };
                self.gpu.eigen_basis(&self.main, &problem)?;
            }
        }
        Ok(())
    }

    fn key_project(
        &self,
        sequences: &KernelSequences<G>,
        prompt: &PromptRows<Self>,
        layer: &mut SparseLayer<Self>,
    ) -> Result<(), DeviceError> {
        let strides = self.strides(layer);
        for run in &sequences.runs {
            let arguments = [
                ("k_pre", prompt.k_pre.address(0)),
                ("token_begin", run.token_begin()),
                ("token_count", run.projected_count()),
                ("first_chunk", run.first_chunk()),
                (
                    "key_basis",
                    layer.key_basis.address(run.entry * strides.basis),
                ),
                ("store_begin", run.store_begin()),
                ("store_capacity", run.store_capacity()),
                ("factors", layer.factors.address(0)),
            ];
            self.by_run(&self.main, Name::KeyProject, run, Some(layer), &arguments)?;
        }
        Ok(())
    }

    fn chunk_landmarks(
        &self,
        sequences: &KernelSequences<G>,
        prompt: &PromptRows<Self>,
        layer: &mut SparseLayer<Self>,
    ) -> Result<(), DeviceError> {
        for run in &sequences.runs {
            let arguments = [
                ("k_pre", prompt.k_pre.address(0)),
                ("token_begin", run.token_begin()),
                ("first_chunk", run.first_chunk()),
                ("chunk_count", run.chunk_count()),
                ("store_begin", run.store_begin()),
                ("store_capacity", run.store_capacity()),
                ("rope_table", run.rope_table()),
                ("landmarks", layer.landmarks.address(0)),
                ("min_cosines", layer.min_cosines.address(0)),
            ];
            self.by_run(
                &self.main,
                Name::ChunkLandmarks,
                run,
                Some(layer),
                &arguments,
            )?;
        }
        Ok(())
    }

    fn select_outliers(
        &self,
        sequences: &KernelSequences<G>,
        layer: &mut SparseLayer<Self>,
    ) -> Result<(), DeviceError> {
        let strides = self.strides(layer);
        for run in &sequences.runs {
            let lists = run.entry * strides.kv_heads;
            let arguments = [
                ("min_cosines", layer.min_cosines.address(0)),
                ("chunk_count", run.chunk_count()),
                ("store_begin", run.store_begin()),
                ("store_capacity", run.store_capacity()),
                (
                    "outlier_chunks",
                    layer.outlier_chunks.address(run.entry * strides.outliers),
                ),
                ("outlier_count", layer.outlier_count.address(lists)),
                ("outlier_threshold", layer.outlier_threshold.address(lists)),
                ("outlier_mask", layer.outlier_mask.address(0)),
                ("outlier_capacity", layer.sizes.outlier_capacity as u64),
            ];
            self.by_run(
                &self.main,
                Name::SelectOutliers,
                run,
                Some(layer),
                &arguments,
            )?;
        }
        Ok(())
    }

    fn store_exact(
        &self,
        sequences: &KernelSequences<G>,
        prompt: &PromptRows<Self>,
        layer: &mut SparseLayer<Self>,
    ) -> Result<(), DeviceError> {
        let strides = self.strides(layer);
        for run in &sequences.runs {
            let outliers = run.entry * strides.outliers;
            let outlier_rows = run.entry * strides.outlier_rows;
            let arguments = [
                ("k_pre", prompt.k_pre.address(0)),
                ("keys", prompt.keys.address(0)),
                ("values", prompt.values.address(0)),
                ("token_begin", run.token_begin()),
                ("token_count", run.token_count()),
                ("chunk_count", run.chunk_count()),
                ("outlier_chunks", layer.outlier_chunks.address(outliers)),
                (
                    "outlier_count",
                    layer.outlier_count.address(run.entry * strides.kv_heads),
                ),
                ("row_begin", run.row_begin()),
                ("row_capacity", run.row_capacity()),
                ("outlier_keys", layer.outlier_keys.address(outlier_rows)),
                ("outlier_values", layer.outlier_values.address(outlier_rows)),
                ("window_keys", layer.keys.address(0)),
                ("window_values", layer.values.address(0)),
                ("window_k_pre", layer.k_pre.address(0)),
                ("outlier_capacity", layer.sizes.outlier_capacity as u64),
            ];
            self.by_run(&self.main, Name::StoreExact, run, Some(layer), &arguments)?;
        }
        Ok(())
    }

    fn offload_values(
        &self,
        sequences: &KernelSequences<G>,
        prompt: &PromptRows<Self>,
        layer: &mut SparseLayer<Self>,
    ) -> Result<(), DeviceError> {
        for run in &sequences.runs {
            let arguments = [
                ("values", prompt.values.address(0)),
                ("token_begin", run.token_begin()),
                ("first_chunk", run.first_chunk()),
                ("chunk_count", run.chunk_count()),
                ("store_begin", run.store_begin()),
                ("store_capacity", run.store_capacity()),
                ("host_values", layer.host_values.memory.address()),
                ("batch", run.batch),
            ];
            self.by_run(
                &self.main,
                Name::OffloadValues,
                run,
                Some(layer),
                &arguments,
            )?;
        }
        Ok(())
    }

    fn landmark_score(
        &self,
        sequences: &KernelSequences<G>,
        queries: &KernelBuffer<Activation, G>,
        layer: &SparseLayer<Self>,
        selection: &mut Selection<Self>,
    ) -> Result<(), DeviceError> {
        let strides = self.strides(layer);
        for run in &sequences.runs {
            let arguments = [
                ("queries", queries.address(run.query_row * strides.queries)),
                ("landmarks", layer.landmarks.address(0)),
                ("outlier_mask", layer.outlier_mask.address(0)),
                ("chunk_count", run.chunk_count()),
                ("store_begin", run.store_begin()),
                ("store_capacity", run.store_capacity()),
                (
                    "scores",
                    selection.scores.address(run.entry * strides.scores),
                ),
                (
                    "span_softmax",
                    selection
                        .span_softmax
                        .address(run.entry * strides.span_softmax),
                ),
                ("score_stride", layer.sizes.score_stride as u64),
            ];
            self.by_run(
                &self.main,
                Name::LandmarkScore,
                run,
                Some(layer),
                &arguments,
            )?;
        }
        Ok(())
    }

    fn select_chunks(
        &self,
        sequences: &KernelSequences<G>,
        layer: &mut SparseLayer<Self>,
        selection: &mut Selection<Self>,
    ) -> Result<(), DeviceError> {
        let strides = self.strides(layer);
        for run in &sequences.runs {
            let lists = run.entry * strides.kv_heads;
            let selected = run.entry * strides.selected;
            let slots = run.entry * strides.slots;
            let arguments = [
                (
                    "scores",
                    selection.scores.address(run.entry * strides.scores),
                ),
                (
                    "span_softmax",
                    selection
                        .span_softmax
                        .address(run.entry * strides.span_softmax),
                ),
                ("chunk_count", run.chunk_count()),
                ("step", run.step()),
                ("sequence_epoch", run.sequence_epoch()),
                ("slot_epoch", layer.slot_epoch.address(lists)),
                ("slot_chunk", layer.slot_chunk.address(slots)),
                ("slot_stamp", layer.slot_stamp.address(slots)),
                (
                    "selected_chunks",
                    selection.selected_chunks.address(selected),
                ),
                ("selected_slots", selection.selected_slots.address(selected)),
                ("missing_chunks", selection.missing_chunks.address(selected)),
                ("missing_slots", selection.missing_slots.address(selected)),
                ("missing_count", selection.missing_count.address(lists)),
                ("fetch_totals", selection.counts.address(2 * lists)),
                ("score_stride", layer.sizes.score_stride as u64),
            ];
            self.by_run(&self.main, Name::SelectChunks, run, Some(layer), &arguments)?;
        }
        Ok(())
    }

    fn host_byte_cost(&self) -> u64 {
        crate::cost::turns::HOST_BYTE_COST
    }

    fn begin_fetch(
        &self,
        sequences: &KernelSequences<G>,
        selection: &Selection<Self>,
        layer: &mut SparseLayer<Self>,
        turn: usize,
    ) -> Result<(), DeviceError> {
        self.fork_fetch(sequences, selection, layer, turn)
    }

    fn end_fetch(&self, turn: usize) -> Result<(), DeviceError> {
        self.join_fetch(turn)
    }

    fn sparse_attention(
        &self,
        sequences: &KernelSequences<G>,
        queries: &KernelBuffer<Activation, G>,
        layer: &SparseLayer<Self>,
        selection: &Selection<Self>,
        output: &mut KernelBuffer<Activation, G>,
    ) -> Result<(), DeviceError> {
        let strides = self.strides(layer);
        for run in &sequences.runs {
            let outlier_rows = run.entry * strides.outlier_rows;
            let slot_rows = run.entry * strides.slot_rows;
            let lists = run.entry * strides.kv_heads;
            let arguments = [
                ("queries", queries.address(run.query_row * strides.queries)),
                ("outlier_keys", layer.outlier_keys.address(outlier_rows)),
                ("outlier_values", layer.outlier_values.address(outlier_rows)),
                ("outlier_count", layer.outlier_count.address(lists)),
                ("key_slots", layer.key_slots.address(slot_rows)),
                ("value_slots", layer.value_slots.address(slot_rows)),
                (
                    "selected_slots",
                    selection
                        .selected_slots
                        .address(run.entry * strides.selected),
                ),
                ("keys", layer.keys.address(0)),
                ("values", layer.values.address(0)),
                ("row_begin", run.row_begin()),
                ("row_capacity", run.row_capacity()),
                ("chunk_count", run.chunk_count()),
                ("token_count", run.token_count()),
                ("output", output.address(run.query_row * strides.queries)),
                ("outlier_capacity", layer.sizes.outlier_capacity as u64),
            ];
            self.by_run(
                &self.main,
                Name::SparseAttention,
                run,
                Some(layer),
                &arguments,
            )?;
        }
        Ok(())
    }

    fn fold_chunk(
        &self,
        sequences: &KernelSequences<G>,
        layer: &mut SparseLayer<Self>,
    ) -> Result<(), DeviceError> {
        let strides = self.strides(layer);
        for run in &sequences.runs {
            let lists = run.entry * strides.kv_heads;
            let outlier_rows = run.entry * strides.outlier_rows;
            let arguments = [
                ("k_pre", layer.k_pre.address(0)),
                ("keys", layer.keys.address(0)),
                ("values", layer.values.address(0)),
                ("row_begin", run.row_begin()),
                ("row_capacity", run.row_capacity()),
                ("chunk_count", run.chunk_count()),
                ("fold_count", run.fold_count()),
                (
                    "key_basis",
                    layer.key_basis.address(run.entry * strides.basis),
                ),
                ("rope_table", run.rope_table()),
                ("store_begin", run.store_begin()),
                ("store_capacity", run.store_capacity()),
                ("outlier_threshold", layer.outlier_threshold.address(lists)),
                ("factors", layer.factors.address(0)),
                ("landmarks", layer.landmarks.address(0)),
                ("min_cosines", layer.min_cosines.address(0)),
                ("outlier_mask", layer.outlier_mask.address(0)),
                ("host_values", layer.host_values.memory.address()),
                (
                    "outlier_chunks",
                    layer.outlier_chunks.address(run.entry * strides.outliers),
                ),
                ("outlier_count", layer.outlier_count.address(lists)),
                ("outlier_keys", layer.outlier_keys.address(outlier_rows)),
                ("outlier_values", layer.outlier_values.address(outlier_rows)),
                ("outlier_capacity", layer.sizes.outlier_capacity as u64),
            ];
            self.by_run(&self.main, Name::FoldChunk, run, Some(layer), &arguments)?;
        }
        Ok(())
    }
}
