//! The decoder: from token ids to logits, on any device, with any store of keys and values.
//!
//! All families are one description: RMS norm, fused projection of queries, keys and values (with a bias or without),
//! optionally a norm per head, rotary attention, output projection, RMS norm, gated MLP. What differs between them is in the
//! spec and in the names of their tensors.
//!
//! New tokens go through layer by layer, and within a layer in tiles, so that activations stay small however long a prompt
//! is; a store may thus finish a layer of a prompt before the next one begins.

use std::ops::Range;

use crate::device::{Activation, Device, DeviceError};
use crate::kv::{Append, KvStore};
use crate::sampling::Sampling;
use crate::spec::{Decoder as Shape, Spec};

mod error;
mod step;
mod weights;

pub use error::DecoderError;
pub use weights::DecoderWeights;

/// Rows of logits that are computed at a time: a vocabulary is wide.
const LOGIT_ROWS: usize = 32;

/// Of which tokens logits are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Of the last new token of each sequence.
    Last,
    /// Of every new token.
    All,
}

/// What is wanted of a step.
pub enum Output<'a> {
    /// Logits `[vocab]` of some tokens, each with its packed row.
    Logits(Wanted, &'a mut dyn FnMut(usize, &[f32])),
    /// The next token of each sequence that has new ones, chosen so, in order.
    Next(&'a [Sampling], &'a mut Vec<i32>),
}

/// New tokens of one sequence.
#[derive(Clone, Copy, Debug)]
pub struct NewIds<'a> {
    /// Number of the sequence in the store.
    pub sequence: usize,
    /// Their ids.
    pub ids: &'a [i32],
}

/// A model on a device.
#[derive(Debug)]
pub struct Decoder<D: Device> {
    spec: Spec,
    shape: Shape,
    weights: DecoderWeights<D>,
    tile_rows: usize,
    scratch: Scratch<D>,
    /// Buffers of every tile of a step, kept for the next.
    tiles: Vec<TileBuffers<D>>,
}

/// Buffers that one tile at a time uses.
#[derive(Debug)]
struct Scratch<D: Device> {
    normed: D::Buffer<Activation>,
    qkv: D::Buffer<Activation>,
    attended: D::Buffer<Activation>,
    gate_up: D::Buffer<Activation>,
    gated: D::Buffer<Activation>,
    logits: D::Buffer<f32>,
    sampled: D::Buffer<i32>,
}

/// What a tile carries from layer to layer, `[rows, hidden]` each, and its ids.
#[derive(Debug)]
struct TileBuffers<D: Device> {
    ids: D::Buffer<i32>,
    residual: D::Buffer<Activation>,
    /// What the next norm adds to the residual first.
    addend: D::Buffer<Activation>,
}

/// Rows of a step that go through a layer together.
#[derive(Clone, Debug)]
struct Tile {
    rows: Range<usize>,
    appends: Vec<Append>,
}

impl<D: Device> Decoder<D> {
    /// Rows of a tile, unless told otherwise: enough for dense products to be worth their while.
    pub const TILE_ROWS: usize = 512;

    /// A model of `spec` with `weights`, whose tiles have up to `tile_rows` tokens.
    ///
    /// # Errors
    ///
    /// [`DecoderError::NoShape`] for a spec without a decoder; [`DecoderError::Device`].
    pub fn new(
        device: &D,
        spec: &Spec,
        weights: DecoderWeights<D>,
        tile_rows: usize,
    ) -> Result<Decoder<D>, DecoderError> {
        let shape = spec.decoder.clone().ok_or_else(|| DecoderError::NoShape {
            spec: spec.name.clone(),
        })?;
        let tile_rows = tile_rows.max(1);
        let widths = Widths::new(spec, &shape);
        let rows = |width: usize| tile_rows * width;
        let scratch = Scratch {
            normed: device.allocate("normed activations", rows(widths.hidden))?,
            qkv: device.allocate("queries, keys and values", rows(widths.qkv))?,
            attended: device.allocate("attention output", rows(widths.queries))?,
            gate_up: device.allocate("gate and up", rows(2 * widths.ffn))?,
            gated: device.allocate("gated activations", rows(widths.ffn))?,
            logits: device.allocate("logits", LOGIT_ROWS * widths.vocab)?,
            sampled: device.allocate("next tokens", tile_rows)?,
        };
        Ok(Decoder {
            spec: spec.clone(),
            shape,
            weights,
            tile_rows,
            scratch,
            tiles: Vec::new(),
        })
    }

    /// The spec it runs.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Its layers.
    pub fn layers(&self) -> usize {
        self.weights.layers.len()
    }

    /// Most rows that go through a layer together.
    pub fn tile_rows(&self) -> usize {
        self.tile_rows
    }

    /// Tokens of its vocabulary.
    pub fn vocab(&self) -> usize {
        self.shape.vocab as usize
    }

    /// Runs new tokens through all layers, for `output`. `progress` is told after each tile of a layer how many of how many
    /// are done.
    ///
    /// # Errors
    ///
    /// [`DecoderError`]: a token that the vocabulary does not have, a sequence beyond its capacity, prompts beyond the store's
    /// room: the store then holds what it held. The device: then its sequences are to be released.
    pub fn forward<K: KvStore<D>>(
        &mut self,
        device: &D,
        store: &mut K,
        new: &[NewIds],
        output: Output,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<(), DecoderError> {
        self.check(store, new)?;
        let output = match output {
            Output::Next(sampling, next) if new.len() <= self.tile_rows && is_step(store, new) => {
                self.step(device, store, new, (sampling, next))?;
                progress(self.layers(), self.layers());
                return Ok(());
            }
            output => output,
        };
        let ids: Vec<i32> = new.iter().flat_map(|new| new.ids).copied().collect();
        let tiles = tiles(new, self.tile_rows);
        self.reserve(device, tiles.len())?;
        let appends: Vec<&[Append]> = tiles.iter().map(|tile| tile.appends.as_slice()).collect();
        let all = matches!(output, Output::Logits(Wanted::All, _));
        let heads = heads(new, &tiles, all);
        for (index, tile) in tiles.iter().enumerate() {
            device.write(&mut self.tiles[index].ids, 0, &ids[tile.rows.clone()])?;
            self.embed(device, index, tile.rows.len())?;
        }
        let prepared = store.prepare(device, &appends)?;
        let steps = tiles.len() * self.layers();
        for layer in 0..self.layers() {
            for (index, (tile, prepared)) in tiles.iter().zip(&prepared).enumerate() {
                self.layer(device, store, layer, index, tile.rows.len(), prepared)?;
                progress(layer * tiles.len() + index + 1, steps);
            }
            store.end_layer(device, layer)?;
        }
        store.advance(&whole(new));
        self.output(device, &tiles, &heads, output)
    }

    /// Buffers for so many tiles.
    fn reserve(&mut self, device: &D, tiles: usize) -> Result<(), DeviceError> {
        let elements = self.tile_rows * self.shape.hidden as usize;
        while self.tiles.len() < tiles {
            self.tiles.push(TileBuffers {
                ids: device.allocate("token ids", self.tile_rows)?,
                residual: device.allocate("residual", elements)?,
                addend: device.allocate("block output", elements)?,
            });
        }
        Ok(())
    }

    fn check<K: KvStore<D>>(&self, store: &K, new: &[NewIds]) -> Result<(), DecoderError> {
        let vocab = self.shape.vocab;
        for NewIds { sequence, ids } in new {
            let wrong = ids
                .iter()
                .position(|id| u32::try_from(*id).map_or(true, |id| id >= vocab));
            if let Some(position) = wrong {
                return Err(DecoderError::Token {
                    id: ids[position],
                    position: store.token_count(*sequence) + position,
                    vocab,
                });
            }
            let tokens = store.token_count(*sequence) + ids.len();
            if tokens > store.capacity(*sequence) {
                return Err(DecoderError::Capacity {
                    tokens,
                    capacity: store.capacity(*sequence),
                });
            }
        }
        Ok(())
    }

    /// The tokens of one tile, whose ids are written, into the residual stream.
    fn embed(&mut self, device: &D, tile: usize, rows: usize) -> Result<(), DeviceError> {
        let TileBuffers { ids, residual, .. } = &mut self.tiles[tile];
        device.embed(ids, rows, &self.weights.embedding, residual)
    }

    /// One layer of one tile.
    fn layer<K: KvStore<D>>(
        &mut self,
        device: &D,
        store: &mut K,
        layer: usize,
        tile: usize,
        rows: usize,
        prepared: &K::Tile,
    ) -> Result<(), DeviceError> {
        self.before_attention(device, layer, tile, rows)?;
        let Scratch { qkv, attended, .. } = &mut self.scratch;
        store.attend(device, layer, prepared, qkv, attended)?;
        self.after_attention(device, layer, tile, rows)
    }

    /// One layer of one tile, up to queries, keys and values.
    fn before_attention(
        &mut self,
        device: &D,
        layer: usize,
        tile: usize,
        rows: usize,
    ) -> Result<(), DeviceError> {
        let weights = &self.weights.layers[layer];
        let TileBuffers {
            residual, addend, ..
        } = &mut self.tiles[tile];
        let Scratch { normed, qkv, .. } = &mut self.scratch;
        // The embedding is all there is to the residual before the first layer.
        let first = (layer > 0).then_some(&*addend);
        device.rms_norm(first, residual, rows, &weights.input_norm, (normed, 0))?;
        let bias = weights.qkv_bias.as_ref();
        device.linear(normed, rows, &weights.qkv, bias, qkv)?;
        if let Some((query, key)) = &weights.head_norms {
            device.head_norm(qkv, rows, query, key)?;
        }
        Ok(())
    }

    /// The rest of it, from what was attended to.
    fn after_attention(
        &mut self,
        device: &D,
        layer: usize,
        tile: usize,
        rows: usize,
    ) -> Result<(), DeviceError> {
        let weights = &self.weights.layers[layer];
        let TileBuffers {
            residual, addend, ..
        } = &mut self.tiles[tile];
        let Scratch {
            normed,
            attended,
            gate_up,
            gated,
            ..
        } = &mut self.scratch;
        device.linear(attended, rows, &weights.output, None, addend)?;
        let (addend_read, norm) = (Some(&*addend), &weights.post_norm);
        device.rms_norm(addend_read, residual, rows, norm, (normed, 0))?;
        device.linear(normed, rows, &weights.gate_up, None, gate_up)?;
        device.silu_mul(gate_up, rows, gated)?;
        device.linear(gated, rows, &weights.down, None, addend)
    }

    /// The final norm of one tile, to the normed rows from row `at` on.
    fn final_norm(
        &mut self,
        device: &D,
        tile: usize,
        rows: usize,
        at: usize,
    ) -> Result<(), DeviceError> {
        let TileBuffers {
            residual, addend, ..
        } = &mut self.tiles[tile];
        let (norm, normed) = (&self.weights.final_norm, &mut self.scratch.normed);
        device.rms_norm(Some(addend), residual, rows, norm, (normed, at))
    }

    /// The logits of `heads`, normed rows, and the tokens that are chosen, which stay on the device.
    fn next(
        &mut self,
        device: &D,
        heads: &[Range<usize>],
        samplings: &[D::Samplings],
    ) -> Result<(), DeviceError> {
        let head = self.weights.head();
        let scratch = &mut self.scratch;
        let mut at = 0;
        for (rows, samplings) in heads.iter().zip(samplings) {
            let logits = &mut scratch.logits;
            device.logits(&scratch.normed, rows.start, rows.len(), head, logits)?;
            device.sample(&scratch.logits, samplings, &mut scratch.sampled, at)?;
            at += rows.len();
        }
        Ok(())
    }

    /// The tokens that were chosen for the `heads` of a tile.
    fn read_next(
        &self,
        device: &D,
        heads: &[Range<usize>],
        ids: &mut Vec<i32>,
    ) -> Result<(), DecoderError> {
        let begin = ids.len();
        let count: usize = heads.iter().map(Range::len).sum();
        ids.resize(begin + count, 0);
        Ok(device.read(&self.scratch.sampled, 0, &mut ids[begin..])?)
    }

    /// The final norm, logits, and what is made of them.
    fn output(
        &mut self,
        device: &D,
        tiles: &[Tile],
        heads: &[Vec<Range<usize>>],
        mut output: Output,
    ) -> Result<(), DecoderError> {
        let vocab = self.vocab();
        let mut values = Vec::new();
        let mut sampled = 0;
        for (index, (tile, heads)) in tiles.iter().zip(heads).enumerate() {
            if heads.is_empty() {
                continue;
            }
            match &mut output {
                Output::Logits(_, sink) => {
                    self.final_norm(device, index, tile.rows.len(), 0)?;
                    let scratch = &mut self.scratch;
                    for rows in heads {
                        let head = self.weights.head();
                        let logits = &mut scratch.logits;
                        device.logits(&scratch.normed, rows.start, rows.len(), head, logits)?;
                        values.resize(rows.len() * vocab, 0.0);
                        device.read(&scratch.logits, 0, &mut values)?;
                        for (row, values) in rows.clone().zip(values.chunks_exact(vocab)) {
                            sink(tile.rows.start + row, values);
                        }
                    }
                }
                Output::Next(sampling, ids) => {
                    let count: usize = heads.iter().map(Range::len).sum();
                    let own = samplings(device, &sampling[sampled..sampled + count], heads)?;
                    self.final_norm(device, index, tile.rows.len(), 0)?;
                    self.next(device, heads, &own)?;
                    self.read_next(device, heads, ids)?;
                    sampled += count;
                }
            }
        }
        Ok(())
    }

    /// Bytes of activations on the device.
    pub fn activation_bytes(&self, device: &D) -> u64 {
        let widths = Widths::new(&self.spec, &self.shape);
        let (rows, tiles) = (self.tile_rows, self.tiles.len());
        widths.elements(rows, tiles) as u64 * device.activation_bytes()
    }
}

/// Bytes of the activations of a decoder of `spec` with tiles of `tile_rows` rows that takes in prompts of up to `prompt` tokens, on a
/// device with activations of `activation_bytes` bytes; 0 for a spec of attention alone. Logits are f32.
pub fn activation_bytes(
    spec: &Spec,
    tile_rows: usize,
    prompt: usize,
    activation_bytes: u64,
) -> u64 {
    let Some(shape) = &spec.decoder else {
        return 0;
    };
    let widths = Widths::new(spec, shape);
    let tiles = prompt.div_ceil(tile_rows.max(1)).max(1);
    let logits = LOGIT_ROWS.min(tile_rows) * widths.vocab * size_of::<f32>();
    widths.elements(tile_rows, tiles) as u64 * activation_bytes + logits as u64
}

/// Bytes of the weights of a decoder of `spec` whose elements have `element_bytes` bytes each; 0 for a spec of attention alone.
pub fn weight_bytes(spec: &Spec, element_bytes: u64) -> u64 {
    let Some(shape) = &spec.decoder else {
        return 0;
    };
    let widths = Widths::new(spec, shape);
    let tables = if shape.tied_embeddings { 1 } else { 2 };
    let others = (tables * widths.vocab + 1) as u64 * widths.hidden as u64;
    let layer = shape.layer_weights(&spec.attention);
    (layer * u64::from(shape.layers) + others) * element_bytes
}

/// Widths of a decoder's activations, elements.
struct Widths {
    hidden: usize,
    qkv: usize,
    queries: usize,
    ffn: usize,
    vocab: usize,
}

impl Widths {
    /// Elements of the activations in tiles of `rows` rows, of which a prompt has `tiles`.
    fn elements(&self, rows: usize, tiles: usize) -> usize {
        let width = self.hidden + self.qkv + self.queries + 3 * self.ffn;
        rows * (width + 2 * tiles * self.hidden)
    }

    fn new(spec: &Spec, shape: &Shape) -> Widths {
        let queries = (spec.attention.query_heads() * spec.attention.head_dim) as usize;
        Widths {
            hidden: shape.hidden as usize,
            qkv: queries + 2 * spec.attention.key_width() as usize,
            queries,
            ffn: shape.ffn as usize,
            vocab: shape.vocab as usize,
        }
    }
}

/// Whether these are single tokens of sequences that have some already.
fn is_step<D: Device, K: KvStore<D>>(store: &K, new: &[NewIds]) -> bool {
    let goes_on = |new: &NewIds| new.ids.len() == 1 && store.token_count(new.sequence) > 0;
    !new.is_empty() && new.iter().all(goes_on)
}

/// All new tokens of each sequence, as one append.
fn whole(new: &[NewIds]) -> Vec<Append> {
    new.iter()
        .map(|new| Append {
            sequence: new.sequence,
            count: new.ids.len(),
            offset: 0,
        })
        .collect()
}

/// How the next tokens are chosen, for each of a tile's `heads`.
fn samplings<D: Device>(
    device: &D,
    sampling: &[Sampling],
    heads: &[Range<usize>],
) -> Result<Vec<D::Samplings>, DeviceError> {
    let mut left = sampling;
    heads
        .iter()
        .map(|rows| {
            let (own, rest) = left.split_at(rows.len());
            left = rest;
            device.samplings(own)
        })
        .collect()
}

/// Rows of each tile, counted within it, whose logits are wanted: neighbours together, as many as are computed at a time.
fn heads(new: &[NewIds], tiles: &[Tile], all: bool) -> Vec<Vec<Range<usize>>> {
    let lasts = last_rows(new);
    let of_tile = |tile: &Tile| {
        let is_wanted = |row: &usize| all || lasts.binary_search(row).is_ok();
        let wanted: Vec<usize> = tile.rows.clone().filter(is_wanted).collect();
        let runs = wanted.chunk_by(|row, next| row + 1 == *next);
        runs.flat_map(|run| run.chunks(LOGIT_ROWS))
            .map(|rows| {
                let first = rows[0] - tile.rows.start;
                first..first + rows.len()
            })
            .collect()
    };
    tiles.iter().map(of_tile).collect()
}

/// Packed row of the last new token of each sequence that has any.
fn last_rows(new: &[NewIds]) -> Vec<usize> {
    let mut end = 0;
    new.iter()
        .filter(|new| !new.ids.is_empty())
        .map(|new| {
            end += new.ids.len();
            end - 1
        })
        .collect()
}

/// The packed rows of a step in tiles of up to `tile_rows`.
fn tiles(new: &[NewIds], tile_rows: usize) -> Vec<Tile> {
    let mut tiles: Vec<Tile> = Vec::new();
    let mut row = 0;
    for NewIds { sequence, ids } in new {
        let mut offset = 0;
        while offset < ids.len() {
            let room = tiles.last().map_or(0, |tile| tile_rows - tile.rows.len());
            if room == 0 {
                tiles.push(Tile {
                    rows: row..row,
                    appends: Vec::new(),
                });
                continue;
            }
            let count = room.min(ids.len() - offset);
            if let Some(tile) = tiles.last_mut() {
                tile.rows.end += count;
                tile.appends.push(Append {
                    sequence: *sequence,
                    count,
                    offset,
                });
            }
            (row, offset) = (row + count, offset + count);
        }
    }
    tiles
}

impl From<DeviceError> for DecoderError {
    fn from(error: DeviceError) -> DecoderError {
        DecoderError::Device(error)
    }
}

#[cfg(test)]
mod tests;
