//! What a sequence is made of, to be copied to another place or kept in a file.
//!
//! Slots are not part of it: they hold what can be fetched again, and what is selected does not depend on them. So a sequence
//! that comes back goes on as if it had never been away, with fetches in its first step.

mod file;

use std::ops::Range;

pub use file::StateError;

use super::plan::Sequence;
use super::{ShadowStore, SparseLayer};
use crate::device::sparse::SparseDevice;
use crate::device::{Activation, DeviceError, Element};
use crate::kv::{KvError, KvStore as _};

/// One array of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Keys,
    Values,
    KPre,
    KeyBasis,
    Factors,
    Landmarks,
    MinCosines,
    OutlierMask,
    OutlierChunks,
    OutlierCount,
    OutlierThreshold,
    OutlierKeys,
    OutlierValues,
    HostValues,
}

/// All of them. The counts come before what there are so many of.
const FIELDS: [Field; 14] = [
    Field::OutlierCount,
    Field::OutlierChunks,
    Field::OutlierThreshold,
    Field::OutlierMask,
    Field::OutlierKeys,
    Field::OutlierValues,
    Field::MinCosines,
    Field::Landmarks,
    Field::KeyBasis,
    Field::Factors,
    Field::HostValues,
    Field::Keys,
    Field::Values,
    Field::KPre,
];

impl Field {
    /// Its name in [`SparseLayer`], and in files.
    fn name(self) -> &'static str {
        match self {
            Field::Keys => "keys",
            Field::Values => "values",
            Field::KPre => "k_pre",
            Field::KeyBasis => "key_basis",
            Field::Factors => "factors",
            Field::Landmarks => "landmarks",
            Field::MinCosines => "min_cosines",
            Field::OutlierMask => "outlier_mask",
            Field::OutlierChunks => "outlier_chunks",
            Field::OutlierCount => "outlier_count",
            Field::OutlierThreshold => "outlier_threshold",
            Field::OutlierKeys => "outlier_keys",
            Field::OutlierValues => "outlier_values",
            Field::HostValues => "host_values",
        }
    }

    fn array<D: SparseDevice>(self, layer: &mut SparseLayer<D>) -> Array<'_, D> {
        match self {
            Field::Keys => Array::Activation(&mut layer.keys),
            Field::Values => Array::Activation(&mut layer.values),
            Field::KPre => Array::Activation(&mut layer.k_pre),
            Field::KeyBasis => Array::Activation(&mut layer.key_basis),
            Field::Factors => Array::Activation(&mut layer.factors),
            Field::Landmarks => Array::Activation(&mut layer.landmarks),
            Field::MinCosines => Array::F32(&mut layer.min_cosines),
            Field::OutlierMask => Array::U32(&mut layer.outlier_mask),
            Field::OutlierChunks => Array::I32(&mut layer.outlier_chunks),
            Field::OutlierCount => Array::I32(&mut layer.outlier_count),
            Field::OutlierThreshold => Array::F32(&mut layer.outlier_threshold),
            Field::OutlierKeys => Array::Activation(&mut layer.outlier_keys),
            Field::OutlierValues => Array::Activation(&mut layer.outlier_values),
            Field::HostValues => Array::Host(&mut layer.host_values),
        }
    }
}

/// A layer's buffer.
enum Array<'a, D: SparseDevice> {
    Activation(&'a mut D::Buffer<Activation>),
    F32(&'a mut D::Buffer<f32>),
    I32(&'a mut D::Buffer<i32>),
    U32(&'a mut D::Buffer<u32>),
    Host(&'a mut D::HostBuffer<Activation>),
}

/// Where a sequence lies.
#[derive(Clone, Copy, Debug)]
struct Place {
    entry: usize,
    sequence: Sequence,
}

impl<D: SparseDevice> ShadowStore<D> {
    fn place(&self, entry: usize) -> Option<Place> {
        let sequence = self.sequence(entry).copied()?;
        Some(Place { entry, sequence })
    }

    /// Elements of `field` that belong to a sequence: in the same order and of the same lengths wherever it lies. Of the
    /// outliers of each KV head, as many as `outliers` has it.
    fn spans(&self, field: Field, place: Place, outliers: &[usize]) -> Vec<Range<usize>> {
        let (attention, method) = (&self.spec.attention, &self.spec.shadowkv);
        let (heads, dim) = (attention.kv_heads as usize, attention.head_dim as usize);
        let (chunk, rank) = (method.chunk_size as usize, method.rank as usize);
        let Sequence {
            chunks,
            store: (begin, capacity),
            ..
        } = place.sequence;
        let most_outliers = self.sizes.sparse.outlier_capacity;
        let list = place.entry * heads;
        // A sequence's part of `[entries, H, each]`.
        let lists = |each: usize| one(list * each..(list + heads) * each);
        // The first `count` of `each` elements per chunk of every KV head, of `[store chunks * H, each]`.
        let rows = |count: usize, each: usize| {
            let of_head = |head: usize| {
                let row = heads * begin + head * capacity;
                row * each..(row + count) * each
            };
            (0..heads).map(of_head).collect::<Vec<_>>()
        };
        match field {
            Field::Keys | Field::Values | Field::KPre => self.window(place),
            // What belongs to chunks is undefined without any.
            Field::KeyBasis if chunks == 0 => Vec::new(),
            Field::KeyBasis => lists(dim * rank),
            Field::Factors => {
                let first = begin * chunk;
                one(first * rank..(first + chunks * chunk) * rank)
            }
            Field::Landmarks => rows(chunks, dim),
            Field::HostValues => rows(chunks, chunk * dim),
            Field::MinCosines => rows(chunks, 1),
            Field::OutlierMask => {
                // A bit per row; stores are whole spans, and so begin with a word.
                let words = chunks.next_multiple_of(super::SPAN) / 32;
                let of_head = |head: usize| {
                    let word = (heads * begin + head * capacity) / 32;
                    word..word + words
                };
                (0..heads).map(of_head).collect()
            }
            Field::OutlierChunks => lists(most_outliers),
            Field::OutlierCount | Field::OutlierThreshold => lists(1),
            Field::OutlierKeys | Field::OutlierValues => {
                let each = chunk * dim;
                let of_head = |(head, count): (usize, &usize)| {
                    let first = (list + head) * most_outliers;
                    first * each..(first + count) * each
                };
                outliers.iter().enumerate().map(of_head).collect()
            }
        }
    }

    /// The rows of the exact window, the first position first.
    fn window(&self, place: Place) -> Vec<Range<usize>> {
        let width = self.spec.attention.key_width() as usize;
        let ring = self.sizes.ring;
        let Sequence { tokens, chunks, .. } = place.sequence;
        let first = chunks * self.spec.shadowkv.chunk_size as usize;
        let count = tokens - first;
        let begin = first % ring;
        let before_wrap = count.min(ring - begin);
        let row = place.entry * ring;
        [(begin, before_wrap), (0, count - before_wrap)]
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .map(|(from, count)| (row + from) * width..(row + from + count) * width)
            .collect()
    }

    /// A copy of `sequence`, of up to `capacity` tokens or as many as it has, which from now on is independent of it; its number.
    /// The values on the host are copied by the host: it waits for all that was called before.
    ///
    /// # Errors
    ///
    /// [`KvError`]: no room, no such sequence, a sequence in a step that failed, the device.
    pub fn fork(&mut self, device: &D, sequence: usize, capacity: usize) -> Result<usize, KvError> {
        let from = self.whole(sequence)?;
        let tokens = from.sequence.tokens;
        let entry = self.admit(device, tokens, capacity.max(tokens))?;
        self.take_on(entry, &from.sequence);
        let copied = self.copy_state(device, from, entry);
        if copied.is_err() {
            self.release(entry);
        }
        copied?;
        Ok(entry)
    }

    /// The place of a sequence that is in no step.
    fn whole(&self, sequence: usize) -> Result<Place, KvError> {
        let place = self.place(sequence).ok_or(KvError::Unknown { sequence })?;
        if place.sequence.running {
            return Err(KvError::Broken { sequence });
        }
        Ok(place)
    }

    /// Lets `entry`, new and without tokens, have as many as another sequence.
    fn take_on(&mut self, entry: usize, other: &Sequence) {
        if let Some(Some(sequence)) = self.sequences.get_mut(entry) {
            sequence.tokens = other.tokens;
            sequence.chunks = other.chunks;
            sequence.rope_table = other.rope_table;
        }
    }

    fn copy_state(&mut self, device: &D, from: Place, entry: usize) -> Result<(), DeviceError> {
        let Some(to) = self.place(entry) else {
            return Ok(());
        };
        // Places of outliers that are not in use are copied along: to know them would be to wait for the device.
        let heads = self.spec.attention.kv_heads as usize;
        let outliers = vec![self.sizes.sparse.outlier_capacity; heads];
        for layer in 0..self.memory.layers.len() {
            for field in FIELDS {
                let froms = self.spans(field, from, &outliers);
                let tos = self.spans(field, to, &outliers);
                let mut array = field.array(&mut self.memory.layers[layer]);
                for (from, to) in froms.into_iter().zip(tos) {
                    array.copy(device, from, to.start)?;
                }
            }
        }
        Ok(())
    }
}

fn one(span: Range<usize>) -> Vec<Range<usize>> {
    std::iter::once(span).collect()
}

impl<D: SparseDevice> Array<'_, D> {
    fn copy(&mut self, device: &D, from: Range<usize>, to: usize) -> Result<(), DeviceError> {
        let (begin, count) = (from.start, from.len());
        match self {
            Array::Activation(buffer) => device.copy_within(buffer, begin, to, count),
            Array::F32(buffer) => device.copy_within(buffer, begin, to, count),
            Array::I32(buffer) => device.copy_within(buffer, begin, to, count),
            Array::U32(buffer) => device.copy_within(buffer, begin, to, count),
            Array::Host(buffer) => {
                let mut values = vec![0.0; count];
                device.read_host(buffer, begin, &mut values)?;
                device.write_host(buffer, to, &values)
            }
        }
    }

    /// Elements `from` as bytes, the lower byte first.
    fn read(&self, device: &D, from: Range<usize>) -> Result<Vec<u8>, DeviceError> {
        fn read<D: SparseDevice, T: Element>(
            device: &D,
            buffer: &D::Buffer<T>,
            from: Range<usize>,
        ) -> Result<Vec<T::Host>, DeviceError> {
            let mut values = vec![T::Host::default(); from.len()];
            device.read(buffer, from.start, &mut values)?;
            Ok(values)
        }
        let activations = |values: &[f32]| encode(values, device.activation_bytes());
        Ok(match self {
            Array::Activation(buffer) => activations(&read(device, buffer, from)?),
            Array::Host(buffer) => {
                let mut values = vec![0.0; from.len()];
                device.read_host(buffer, from.start, &mut values)?;
                activations(&values)
            }
            Array::F32(buffer) => encode(&read(device, buffer, from)?, 4),
            Array::I32(buffer) => bytemuck::cast_slice(&read(device, buffer, from)?).to_vec(),
            Array::U32(buffer) => bytemuck::cast_slice(&read(device, buffer, from)?).to_vec(),
        })
    }

    /// Overwrites the elements from `to` on.
    fn write(&mut self, device: &D, to: usize, bytes: &[u8]) -> Result<(), DeviceError> {
        let activations = || decode(bytes, device.activation_bytes());
        match self {
            Array::Activation(buffer) => device.write(buffer, to, &activations()),
            Array::Host(buffer) => device.write_host(buffer, to, &activations()),
            Array::F32(buffer) => device.write(buffer, to, &decode(bytes, 4)),
            Array::I32(buffer) => device.write(buffer, to, &bytemuck::pod_collect_to_vec(bytes)),
            Array::U32(buffer) => device.write(buffer, to, &bytemuck::pod_collect_to_vec(bytes)),
        }
    }

    /// Bytes of an element in a file.
    fn element_bytes(&self, device: &D) -> usize {
        match self {
            Array::Activation(_) | Array::Host(_) => device.activation_bytes() as usize,
            _ => 4,
        }
    }
}

/// `values` in `element_bytes` bytes each: f32, or bf16, which they are then. The lower byte first.
fn encode(values: &[f32], element_bytes: u64) -> Vec<u8> {
    if element_bytes == 4 {
        return bytemuck::cast_slice(values).to_vec();
    }
    let halves = values
        .iter()
        .map(|value| half::bf16::from_f32(*value).to_le_bytes());
    halves.flatten().collect()
}

fn decode(bytes: &[u8], element_bytes: u64) -> Vec<f32> {
    if element_bytes == 4 {
        return bytemuck::pod_collect_to_vec(bytes);
    }
    let halves = bytes.as_chunks::<2>().0.iter();
    halves
        .map(|bytes| half::bf16::from_le_bytes(*bytes).to_f32())
        .collect()
}
