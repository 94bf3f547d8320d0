//! Every key and value, exact: full attention.

use super::rows::Rows;
use super::{Append, KvError, KvStore};
use crate::device::{Activation, CacheRows, Device, DeviceError, NewTokens, Tokens};
use crate::spec::Spec;

/// Keys and values of whole sequences, `[rows, kv_heads, head_dim]` per layer; a sequence has consecutive rows.
#[derive(Debug)]
pub struct FullCache<D: Device> {
    spec: Spec,
    rows: Rows,
    layers: Vec<Layer<D>>,
    sequences: Vec<Option<Sequence>>,
    /// Rotated queries of a call.
    queries: D::Buffer<Activation>,
    bytes: u64,
}

#[derive(Debug)]
struct Layer<D: Device> {
    keys: D::Buffer<Activation>,
    values: D::Buffer<Activation>,
}

#[derive(Clone, Copy, Debug)]
struct Sequence {
    begin: usize,
    capacity: usize,
    tokens: usize,
    rope_table: usize,
}

impl<D: Device> FullCache<D> {
    /// A cache of `layers` layers with room for `tokens` tokens over all sequences, for calls of up to `most_rows` new
    /// tokens.
    ///
    /// # Errors
    ///
    /// [`DeviceError::OutOfMemory`].
    pub fn new(
        device: &D,
        spec: &Spec,
        layers: usize,
        tokens: usize,
        most_rows: usize,
    ) -> Result<FullCache<D>, DeviceError> {
        let key_width = spec.attention.key_width() as usize;
        let elements = tokens * key_width;
        let layer = |index: usize| {
            Ok(Layer {
                keys: device.allocate(&format!("keys of layer {index}"), elements)?,
                values: device.allocate(&format!("values of layer {index}"), elements)?,
            })
        };
        let query_width = key_width * spec.attention.gqa_ratio as usize;
        let all = 2 * layers * elements + most_rows * query_width;
        Ok(FullCache {
            bytes: all as u64 * device.activation_bytes(),
            spec: spec.clone(),
            rows: Rows::new(tokens),
            layers: (0..layers).map(layer).collect::<Result<_, DeviceError>>()?,
            sequences: Vec::new(),
            queries: device.allocate("queries", most_rows * query_width)?,
        })
    }

    /// Rotated keys and values of a sequence in one layer, `[tokens, kv_heads, head_dim]` each.
    ///
    /// # Errors
    ///
    /// The device failed.
    pub fn read(
        &self,
        device: &D,
        layer: usize,
        sequence: usize,
    ) -> Result<(Vec<f32>, Vec<f32>), DeviceError> {
        let key_width = self.spec.attention.key_width() as usize;
        let (begin, tokens) = self
            .sequence(sequence)
            .map_or((0, 0), |sequence| (sequence.begin, sequence.tokens));
        let mut keys = vec![0.0; tokens * key_width];
        let mut values = keys.clone();
        let layer = &self.layers[layer];
        device.read(&layer.keys, begin * key_width, &mut keys)?;
        device.read(&layer.values, begin * key_width, &mut values)?;
        Ok((keys, values))
    }

    /// Takes `sequence` for one of `tokens` tokens, no more than its capacity, of which nothing was taken in: for measurements.
    pub fn assume(&mut self, sequence: usize, tokens: usize) {
        if let Some(Some(own)) = self.sequences.get_mut(sequence) {
            own.tokens = tokens.min(own.capacity);
        }
    }

    fn sequence(&self, number: usize) -> Option<&Sequence> {
        self.sequences.get(number)?.as_ref()
    }

    /// Where new tokens will lie, their rows packed in the order given.
    fn place(&self, new: &[Append]) -> Tokens {
        let mut begin = 0;
        let place = |append: &Append| {
            let sequence = self.sequence(append.sequence)?;
            let placed = NewTokens {
                begin,
                count: append.count,
                total: sequence.tokens + append.offset + append.count,
                row_begin: sequence.begin,
                row_capacity: sequence.capacity,
                rope_table: sequence.rope_table,
            };
            begin += append.count;
            Some(placed)
        };
        Tokens {
            sequences: new.iter().filter_map(place).collect(),
        }
    }
}

impl<D: Device> KvStore<D> for FullCache<D> {
    type Tile = D::Tokens;

    fn admit(&mut self, _device: &D, prompt: usize, capacity: usize) -> Result<usize, KvError> {
        let begin = self.rows.take(capacity).ok_or(KvError::Full {
            wanted: capacity,
            free: self.rows.largest_free(),
            total: self.rows.total(),
        })?;
        let sequence = Sequence {
            begin,
            capacity,
            tokens: 0,
            rope_table: self.spec.rope.table_of(prompt),
        };
        let free = self.sequences.iter().position(Option::is_none);
        let number = free.unwrap_or(self.sequences.len());
        if free.is_none() {
            self.sequences.push(None);
        }
        self.sequences[number] = Some(sequence);
        Ok(number)
    }

    fn release(&mut self, sequence: usize) {
        if let Some(released) = self.sequences.get_mut(sequence).and_then(Option::take) {
            self.rows.give_back(released.begin);
        }
    }

    fn token_count(&self, sequence: usize) -> usize {
        self.sequence(sequence)
            .map_or(0, |sequence| sequence.tokens)
    }

    fn capacity(&self, sequence: usize) -> usize {
        self.sequence(sequence)
            .map_or(0, |sequence| sequence.capacity)
    }

    fn prepare(&mut self, device: &D, tiles: &[&[Append]]) -> Result<Vec<D::Tokens>, KvError> {
        let tokens = tiles.iter().map(|new| device.tokens(&self.place(new)));
        Ok(tokens.collect::<Result<_, DeviceError>>()?)
    }

    fn begin_attend(
        &mut self,
        device: &D,
        layer: usize,
        (tokens, _): (&D::Tokens, usize),
        qkv: &D::Buffer<Activation>,
    ) -> Result<(), DeviceError> {
        let Layer { keys, values } = &mut self.layers[layer];
        let cache = CacheRows {
            keys,
            values,
            k_pre: None,
        };
        device.rope_append(tokens, qkv, &mut self.queries, cache)
    }

    fn end_attend(
        &mut self,
        device: &D,
        layer: usize,
        (tokens, _): (&D::Tokens, usize),
        _qkv: &D::Buffer<Activation>,
        output: &mut D::Buffer<Activation>,
    ) -> Result<(), DeviceError> {
        let Layer { keys, values } = &self.layers[layer];
        device.attention(tokens, &self.queries, keys, values, output)
    }

    fn end_layer(&mut self, _device: &D, _layer: usize) -> Result<(), DeviceError> {
        Ok(())
    }

    fn advance(&mut self, new: &[Append]) {
        for append in new {
            if let Some(Some(sequence)) = self.sequences.get_mut(append.sequence) {
                sequence.tokens += append.count;
            }
        }
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }
}
