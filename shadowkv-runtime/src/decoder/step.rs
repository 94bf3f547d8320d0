//! One more token of every sequence: a step that comes again and again, as one piece for the device.
//!
//! Where the store must wait for the host's memory, two halves of the batch take turns: while the values of the one are on their
//! way, the other computes. On the main stream, in order, `before` and `after` being a layer up to its attention and from there on:
//!
//! ```text
//! before(0, a)  before(0, b)  after(0, a)  before(1, a)  after(0, b)  before(1, b)  after(1, a) ...
//!          fetch(0, a) ------->  fetch(0, b) ------------>  fetch(1, a) ------------>
//! ```

use super::{
    Append, Decoder, DecoderError, Device, DeviceError, KvStore, NewIds, Sampling, Scratch, Tile,
    heads, samplings, tiles, whole,
};

/// What a half of a batch is to the calls of a layer.
struct Half<'a, T> {
    rows: usize,
    prepared: &'a T,
}

impl<D: Device> Decoder<D> {
    /// Runs one new token of each sequence through all layers, and chooses the next as `sampling` has it, to `next`.
    pub(super) fn step<K: KvStore<D>>(
        &mut self,
        device: &D,
        store: &mut K,
        new: &[NewIds],
        (sampling, next): (&[Sampling], &mut Vec<i32>),
    ) -> Result<(), DecoderError> {
        let tiles = self.parts(device, store, new);
        self.reserve(device, tiles.len())?;
        let one = Tile {
            rows: 0..new.len(),
            appends: Vec::new(),
        };
        // Logits of all tiles together: the vocabulary's weights are read once.
        let heads = heads(new, &[one], false).remove(0);
        // Whatever the step is told, it is told before: so the step itself is the same every time.
        let samplings = samplings(device, sampling, &heads)?;
        let ids: Vec<i32> = new.iter().flat_map(|new| new.ids).copied().collect();
        let mut left = ids.as_slice();
        for (tile, buffers) in tiles.iter().zip(&mut self.tiles) {
            let (own, rest) = left.split_at(tile.rows.len());
            device.write(&mut buffers.ids, 0, own)?;
            left = rest;
        }
        let appends: Vec<&[Append]> = tiles.iter().map(|tile| tile.appends.as_slice()).collect();
        let prepared = store.prepare(device, &appends)?;
        let halves: Vec<Half<K::Tile>> = tiles
            .iter()
            .zip(&prepared)
            .map(|(tile, prepared)| Half {
                rows: tile.rows.len(),
                prepared,
            })
            .collect();
        let ran = device.repeated(&mut || {
            for (tile, half) in halves.iter().enumerate() {
                self.embed(device, tile, half.rows)?;
            }
            match halves.as_slice() {
                [a, b] => self.in_turn(device, store, [a, b])?,
                all => self.in_order(device, store, all)?,
            }
            let mut at = 0;
            for (tile, half) in halves.iter().enumerate() {
                self.final_norm(device, tile, half.rows, at)?;
                at += half.rows;
            }
            self.next(device, &heads, &samplings)
        });
        if let Err(error) = ran {
            store.settle(device);
            return Err(error.into());
        }
        store.advance(&whole(new));
        self.read_next(device, &heads, next)
    }

    /// The batch as one tile, or, where that is worth it, in two halves.
    fn parts<K: KvStore<D>>(&self, device: &D, store: &K, new: &[NewIds]) -> Vec<Tile> {
        let weight_bytes =
            self.shape.layer_weights(&self.spec.attention) * device.activation_bytes();
        let half = if new.len() > 1 && store.gains_by_turns(device, new.len(), weight_bytes) {
            new.len().div_ceil(2)
        } else {
            new.len()
        };
        let (a, b) = new.split_at(half);
        let all = [a, b].into_iter();
        all.flat_map(|new| tiles(new, self.tile_rows)).collect()
    }

    fn in_order<K: KvStore<D>>(
        &mut self,
        device: &D,
        store: &mut K,
        tiles: &[Half<K::Tile>],
    ) -> Result<(), DeviceError> {
        for layer in 0..self.layers() {
            for (tile, half) in tiles.iter().enumerate() {
                self.layer(device, store, layer, tile, half.rows, half.prepared)?;
            }
            store.end_layer(device, layer)?;
        }
        Ok(())
    }

    /// Two halves, each waiting while the other computes.
    fn in_turn<K: KvStore<D>>(
        &mut self,
        device: &D,
        store: &mut K,
        halves: [&Half<K::Tile>; 2],
    ) -> Result<(), DeviceError> {
        let Some(last) = self.layers().checked_sub(1) else {
            return Ok(());
        };
        for layer in 0..=last {
            self.begin(device, store, layer, (0, halves[0]))?;
            if layer > 0 {
                self.end(device, store, layer - 1, (1, halves[1]))?;
                store.end_layer(device, layer - 1)?;
            }
            self.begin(device, store, layer, (1, halves[1]))?;
            self.end(device, store, layer, (0, halves[0]))?;
        }
        self.end(device, store, last, (1, halves[1]))?;
        store.end_layer(device, last)
    }

    /// A layer of one half, as far as it gets without waiting.
    fn begin<K: KvStore<D>>(
        &mut self,
        device: &D,
        store: &mut K,
        layer: usize,
        (turn, half): (usize, &Half<K::Tile>),
    ) -> Result<(), DeviceError> {
        self.before_attention(device, layer, turn, half.rows)?;
        store.begin_attend(device, layer, (half.prepared, turn), &self.scratch.qkv)
    }

    /// The rest of it.
    fn end<K: KvStore<D>>(
        &mut self,
        device: &D,
        store: &mut K,
        layer: usize,
        (turn, half): (usize, &Half<K::Tile>),
    ) -> Result<(), DeviceError> {
        let Scratch { qkv, attended, .. } = &mut self.scratch;
        store.end_attend(device, layer, (half.prepared, turn), qkv, attended)?;
        self.after_attention(device, layer, turn, half.rows)
    }
}
