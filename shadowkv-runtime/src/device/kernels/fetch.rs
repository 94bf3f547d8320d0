//! Missing chunks: values over PCIe on a stream of their own, keys from their factors beside them.

use std::sync::atomic::Ordering;

use super::loaded::Name;
use super::{KernelDevice, KernelSequences};
use crate::device::DeviceError;
use crate::device::sparse::{Selection, SparseLayer};
use crate::gpu::{Gpu, GpuError, GpuMemory as _};

impl<G: Gpu> KernelDevice<G> {
    /// Begins to fill the slots of the missing chunks.
    pub(super) fn fork_fetch(
        &self,
        sequences: &KernelSequences<G>,
        selection: &Selection<Self>,
        layer: &SparseLayer<Self>,
        turn: usize,
    ) -> Result<(), DeviceError> {
        let fetched = &self.fetched[turn];
        // The slots' last readers and the values' last writers came before on the main stream.
        self.ordered(|gpu| {
            gpu.record(&self.main, &self.selected)?;
            gpu.wait(&self.fetch, &self.selected)
        })?;
        let gathered = self.gather_values(sequences, selection, layer);
        // To be joined even where a launch was refused: what is fetched would else race with whatever the caller does next.
        self.ordered(|gpu| {
            fetched.pending.store(true, Ordering::Relaxed);
            gpu.record(&self.fetch, &fetched.event)
        })?;
        gathered?;
        self.reconstruct_keys(sequences, selection, layer)
    }

    /// The main stream waits for what was forked in that turn.
    pub(super) fn join_fetch(&self, turn: usize) -> Result<(), DeviceError> {
        let fetched = &self.fetched[turn];
        let noted = self.replay.notes(|words| words.push(turn as u64));
        if !noted && fetched.pending.swap(false, Ordering::Relaxed) {
            self.gpu.wait(&self.main, &fetched.event)?;
        }
        Ok(())
    }

    /// Does what orders streams, where their work is enqueued and not only noted: it is the same in all steps.
    fn ordered(&self, order: impl FnOnce(&G) -> Result<(), GpuError>) -> Result<(), DeviceError> {
        if !self.replay.notes(|_| {}) {
            order(&self.gpu)?;
        }
        Ok(())
    }

    /// Missing values from the host to their slots, on a stream of their own.
    fn gather_values(
        &self,
        sequences: &KernelSequences<G>,
        selection: &Selection<Self>,
        layer: &SparseLayer<Self>,
    ) -> Result<(), DeviceError> {
        let strides = self.strides(layer);
        for run in &sequences.runs {
            let selected = run.entry * strides.selected;
            let lists = run.entry * strides.kv_heads;
            let arguments = [
                ("host_values", layer.host_values.memory.address()),
                ("store_begin", run.store_begin()),
                ("store_capacity", run.store_capacity()),
                ("missing_chunks", selection.missing_chunks.address(selected)),
                ("missing_slots", selection.missing_slots.address(selected)),
                ("missing_count", selection.missing_count.address(lists)),
                (
                    "value_slots",
                    layer.value_slots.address(run.entry * strides.slot_rows),
                ),
                ("batch", run.batch),
            ];
            self.by_run(
                &self.fetch,
                Name::GatherValues,
                run,
                Some(layer),
                &arguments,
            )?;
        }
        Ok(())
    }

    /// Missing keys from their factors to their slots.
    fn reconstruct_keys(
        &self,
        sequences: &KernelSequences<G>,
        selection: &Selection<Self>,
        layer: &SparseLayer<Self>,
    ) -> Result<(), DeviceError> {
        let strides = self.strides(layer);
        for run in &sequences.runs {
            let selected = run.entry * strides.selected;
            let lists = run.entry * strides.kv_heads;
            let arguments = [
                ("factors", layer.factors.address(0)),
                (
                    "key_basis",
                    layer.key_basis.address(run.entry * strides.basis),
                ),
                ("store_begin", run.store_begin()),
                ("store_capacity", run.store_capacity()),
                ("rope_table", run.rope_table()),
                ("missing_chunks", selection.missing_chunks.address(selected)),
                ("missing_slots", selection.missing_slots.address(selected)),
                ("missing_count", selection.missing_count.address(lists)),
                (
                    "key_slots",
                    layer.key_slots.address(run.entry * strides.slot_rows),
                ),
            ];
            self.by_run(
                &self.main,
                Name::ReconstructKeys,
                run,
                Some(layer),
                &arguments,
            )?;
        }
        Ok(())
    }
}
