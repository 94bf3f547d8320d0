//! Rows on their way from the caller's tensors through the store and back, as many at a time as there is room for.

use std::ops::Range;

use super::{AttentionError, KeysValues, NewTokens, ShadowKvAttention};
use crate::device::Activation;
use crate::device::tensors::{Columns, Layout, TensorDevice, TensorView, TensorViewMut};
use crate::kv::{Append, KvStore as _};

impl<D: TensorDevice> ShadowKvAttention<D> {
    /// One layer of all tiles. Keys and values that were appended are in their rows already.
    pub(super) fn run_tiles(
        &mut self,
        layer: usize,
        keys_values: Option<&KeysValues<'_>>,
        mut attended: Option<(&TensorView<'_>, &mut TensorViewMut<'_>)>,
    ) -> Result<(), AttentionError> {
        let count = self.step.as_ref().map_or(0, |step| step.tiles.len());
        for index in 0..count {
            let Some(step) = &self.step else { break };
            let rows = step.tiles[index].rows.clone();
            let q = attended.as_ref().map(|(q, _)| *q);
            let fused = self.fused(rows.start, q, keys_values)?;
            if fused.is_none() {
                self.gather(rows.clone(), q, keys_values)?;
            }
            let Some(step) = &self.step else { break };
            let tile = &step.tiles[index].prepared;
            let qkv = fused.as_ref().unwrap_or(&self.qkv);
            let Some((_, output)) = &mut attended else {
                self.store.take_in(&self.device, layer, tile, qkv)?;
                continue;
            };
            if let Some(mut lent) = self.lent(output, rows.start)? {
                self.store
                    .attend(&self.device, layer, tile, qkv, &mut lent)?;
            } else {
                let own = &mut self.output;
                self.store.attend(&self.device, layer, tile, qkv, own)?;
                self.device.scatter(own, output, rows)?;
            }
        }
        Ok(self.store.end_layer(&self.device, layer)?)
    }

    /// Brings rows of the caller's tensors to their columns.
    pub(super) fn gather(
        &mut self,
        rows: Range<usize>,
        q: Option<&TensorView<'_>>,
        keys_values: Option<&KeysValues<'_>>,
    ) -> Result<(), AttentionError> {
        let shape = self.shape;
        let (queries, width) = (shape.query_width(), shape.key_width());
        let parts = [
            (q, 0),
            (keys_values.map(|own| &own.k_pre), queries),
            (keys_values.map(|own| &own.v), queries + width),
        ];
        for (tensor, begin) in parts {
            let pitch = shape.row_width();
            let Some(tensor) = tensor else { continue };
            let columns = Columns { begin, pitch };
            self.device
                .gather(tensor, rows.clone(), &mut self.qkv, columns)?;
        }
        Ok(())
    }

    /// The caller's tensors from row `row` on where they are the columns of one on the device, as a fused projection writes
    /// them: nothing is copied then.
    fn fused(
        &self,
        row: usize,
        q: Option<&TensorView<'_>>,
        keys_values: Option<&KeysValues<'_>>,
    ) -> Result<Option<D::Buffer<Activation>>, AttentionError> {
        let (Some(q), Some(KeysValues { k_pre, v })) = (q, keys_values) else {
            return Ok(None);
        };
        let shape = self.shape;
        let pitch = shape.row_width();
        let parts = [q, k_pre, v].map(|tensor| tensor.device_part(row));
        let [Some((q_at, _)), Some((k_at, _)), Some((v_at, v_bytes))] = parts else {
            return Ok(None);
        };
        let bytes = self.device.activation_bytes();
        let (queries, width) = (shape.query_width() as u64, shape.key_width() as u64);
        let are_columns = k_at == q_at + queries * bytes
            && v_at == k_at + width * bytes
            && [q, k_pre, v].iter().all(|own| own.has_pitch(pitch));
        if !are_columns {
            return Ok(None);
        }
        let rows = (v_bytes / bytes).div_ceil(pitch as u64) as usize;
        let layout = Layout {
            shape: [rows, 1, pitch],
            strides: [pitch, pitch, 1],
        };
        // SAFETY: the rows of three tensors whose maker vouches for them, and which leave no gap.
        let whole = unsafe { TensorView::on_device(q_at, q.kind().1, layout) };
        Ok(self.device.lent(&whole, 0)?)
    }

    /// The rows of an output from `row` on, where kernels can write them in place.
    fn lent(
        &self,
        output: &TensorViewMut<'_>,
        row: usize,
    ) -> Result<Option<D::Buffer<Activation>>, AttentionError> {
        match output.device_view() {
            Some(view) if view.has_pitch(self.shape.query_width()) => {
                Ok(self.device.lent(&view, row)?)
            }
            _ => Ok(None),
        }
    }
}

/// Rows that go through a layer together, up to `most` at a time, and whose they are.
pub(super) fn tiles(new: &[NewTokens], most: usize) -> Vec<(Range<usize>, Vec<Append>)> {
    let mut tiles: Vec<(Range<usize>, Vec<Append>)> = Vec::new();
    let mut row = 0;
    for own in new {
        let mut offset = 0;
        while offset < own.count {
            let full = tiles.last().is_none_or(|(rows, _)| rows.len() == most);
            if full {
                tiles.push((row..row, Vec::new()));
            }
            let Some((rows, appends)) = tiles.last_mut() else {
                break;
            };
            let count = (most - rows.len()).min(own.count - offset);
            appends.push(Append {
                sequence: own.sequence,
                count,
                offset,
            });
            rows.end += count;
            offset += count;
            row += count;
        }
    }
    tiles
}
