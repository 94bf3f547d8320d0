//! What a store holds, read back from the device: for tests, and for whoever wants to know what the method does.

use super::ShadowStore;
use crate::device::DeviceError;
use crate::device::sparse::SparseDevice;

/// How often a sequence's chunks were found in their slots, over all steps, layers and KV heads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Statistics {
    /// Chunks selected.
    pub selected: u64,
    /// Of these, chunks that were in a slot.
    pub hits: u64,
    /// Of these, chunks that were fetched.
    pub missing: u64,
    /// Bytes of values that came from the host.
    pub bytes_fetched: u64,
}

impl Statistics {
    /// What came since `before`.
    #[must_use]
    pub fn since(&self, before: &Statistics) -> Statistics {
        Statistics {
            selected: self.selected - before.selected,
            hits: self.hits - before.hits,
            missing: self.missing - before.missing,
            bytes_fetched: self.bytes_fetched - before.bytes_fetched,
        }
    }
}

/// What one layer holds of a sequence.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerContents {
    /// Compressed chunks.
    pub chunk_count: usize,
    /// `[H][chunks, d]`.
    pub landmarks: Vec<Vec<f32>>,
    /// `[H][chunks]`.
    pub min_cosines: Vec<Vec<f32>>,
    /// Outlier chunks of each KV head, `[H][outliers]`.
    pub outlier_chunks: Vec<Vec<i32>>,
    /// `[H][outliers, C, d]`.
    pub outlier_keys: Vec<Vec<f32>>,
    /// `[chunks * C, R]`.
    pub factors: Vec<f32>,
    /// `[H, d, R]`.
    pub key_basis: Vec<f32>,
    /// Values on the host, `[H][chunks, C, d]`.
    pub host_values: Vec<Vec<f32>>,
    /// Chunk in each slot, `[H][r]`.
    pub slot_chunk: Vec<Vec<i32>>,
    /// `[H][r, C, d]`.
    pub key_slots: Vec<Vec<f32>>,
    /// `[H][r, C, d]`.
    pub value_slots: Vec<Vec<f32>>,
}

/// What the last layer of the last step chose for a sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelectionContents {
    /// Selected chunks, ascending, `[H][selected]`.
    pub chunks: Vec<Vec<i32>>,
    /// Their slots.
    pub slots: Vec<Vec<i32>>,
    /// Those that were fetched.
    pub missing: Vec<Vec<i32>>,
}

impl<D: SparseDevice> ShadowStore<D> {
    /// Compressed chunks of a sequence; 0 while all its tokens are exact.
    pub fn chunk_count(&self, sequence: usize) -> usize {
        self.sequence(sequence)
            .map_or(0, |sequence| sequence.chunks)
    }

    /// How often a sequence had to fetch, or the last one of that number if it was released. Waits for all that was called
    /// before.
    ///
    /// # Errors
    ///
    /// The device failed.
    pub fn statistics(&self, device: &D, sequence: usize) -> Result<Statistics, DeviceError> {
        let heads = self.spec.attention.kv_heads as usize;
        let mut counts = vec![0; heads * 2];
        let at = sequence * counts.len();
        if sequence < self.sizes.sparse.entries {
            device.read(&self.memory.selection.counts, at, &mut counts)?;
        }
        let sum = |index: usize| counts.iter().skip(index).step_by(2).sum::<u64>();
        let (selected, missing) = (sum(0), sum(1));
        let chunk_elements = self.spec.shadowkv.chunk_size * self.spec.attention.head_dim;
        Ok(Statistics {
            selected,
            hits: selected - missing,
            missing,
            bytes_fetched: missing * u64::from(chunk_elements) * device.activation_bytes(),
        })
    }

    /// The sum over the last sequence of every number.
    ///
    /// # Errors
    ///
    /// The device failed.
    pub fn total_statistics(&self, device: &D) -> Result<Statistics, DeviceError> {
        let mut total = Statistics::default();
        for sequence in 0..self.sizes.sparse.entries {
            let own = self.statistics(device, sequence)?;
            total.selected += own.selected;
            total.hits += own.hits;
            total.missing += own.missing;
            total.bytes_fetched += own.bytes_fetched;
        }
        Ok(total)
    }

    /// What layer `layer` holds of a sequence.
    ///
    /// # Errors
    ///
    /// The device failed.
    pub fn read_layer(
        &self,
        device: &D,
        layer: usize,
        sequence: usize,
    ) -> Result<LayerContents, DeviceError> {
        let (attention, method) = (&self.spec.attention, &self.spec.shadowkv);
        let (heads, dim) = (attention.kv_heads as usize, attention.head_dim as usize);
        let (chunk, rank) = (method.chunk_size as usize, method.rank as usize);
        let resident = method.resident_chunks as usize;
        let (chunks, (begin, capacity)) = self
            .sequence(sequence)
            .map_or((0, (0, 0)), |own| (own.chunks, own.store));
        let own = &self.memory.layers[layer];
        let most_outliers = own.sizes.outlier_capacity;
        let list = |head: usize| sequence * heads + head;
        let row = |head: usize| heads * begin + head * capacity;
        let mut counts = vec![0; heads];
        device.read(&own.outlier_count, list(0), &mut counts)?;
        let floats = |buffer: &D::Buffer<_>, at: usize, count: usize| {
            let mut values = vec![0.0; count];
            device.read(buffer, at, &mut values)?;
            Ok::<_, DeviceError>(values)
        };
        let integers = |buffer: &D::Buffer<i32>, at: usize, count: usize| {
            let mut values = vec![0; count];
            device.read(buffer, at, &mut values)?;
            Ok::<_, DeviceError>(values)
        };
        let mut contents = LayerContents {
            chunk_count: chunks,
            landmarks: Vec::new(),
            min_cosines: Vec::new(),
            outlier_chunks: Vec::new(),
            outlier_keys: Vec::new(),
            factors: floats(&own.factors, begin * chunk * rank, chunks * chunk * rank)?,
            key_basis: floats(&own.key_basis, list(0) * dim * rank, heads * dim * rank)?,
            host_values: Vec::new(),
            slot_chunk: Vec::new(),
            key_slots: Vec::new(),
            value_slots: Vec::new(),
        };
        for (head, outliers) in counts.iter().enumerate() {
            let outliers = *outliers as usize;
            let slots = list(head) * resident;
            let elements = resident * chunk * dim;
            let places = list(head) * most_outliers;
            let landmarks = floats(&own.landmarks, row(head) * dim, chunks * dim)?;
            contents.landmarks.push(landmarks);
            let mut cosines = vec![0.0; chunks];
            device.read(&own.min_cosines, row(head), &mut cosines)?;
            contents.min_cosines.push(cosines);
            let list = integers(&own.outlier_chunks, places, outliers)?;
            contents.outlier_chunks.push(list);
            let per_chunk = chunk * dim;
            let keys = floats(&own.outlier_keys, places * per_chunk, outliers * per_chunk)?;
            contents.outlier_keys.push(keys);
            let mut values = vec![0.0; chunks * per_chunk];
            device.read_host(&own.host_values, row(head) * per_chunk, &mut values)?;
            contents.host_values.push(values);
            let held = integers(&own.slot_chunk, slots, resident)?;
            contents.slot_chunk.push(held);
            let keys = floats(&own.key_slots, slots * per_chunk, elements)?;
            contents.key_slots.push(keys);
            let values = floats(&own.value_slots, slots * per_chunk, elements)?;
            contents.value_slots.push(values);
        }
        Ok(contents)
    }

    /// What the last layer of the last step chose for a sequence.
    ///
    /// # Errors
    ///
    /// The device failed.
    pub fn read_selection(
        &self,
        device: &D,
        sequence: usize,
    ) -> Result<SelectionContents, DeviceError> {
        let heads = self.spec.attention.kv_heads as usize;
        let wanted = self.spec.shadowkv.selected_chunks() as usize;
        let selection = &self.memory.selection;
        let lists = |buffer: &D::Buffer<i32>| {
            let mut values = vec![0; heads * wanted];
            device.read(buffer, sequence * heads * wanted, &mut values)?;
            let of_head = |list: &[i32]| list.iter().copied().filter(|own| *own >= 0).collect();
            Ok::<Vec<Vec<i32>>, DeviceError>(values.chunks_exact(wanted).map(of_head).collect())
        };
        Ok(SelectionContents {
            chunks: lists(&selection.selected_chunks)?,
            slots: lists(&selection.selected_slots)?,
            missing: lists(&selection.missing_chunks)?,
        })
    }
}
