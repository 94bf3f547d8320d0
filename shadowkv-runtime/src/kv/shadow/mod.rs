//! `ShadowKV`: keys of low rank and landmarks on the device, values on the host, and exact what cannot be compressed.
//!
//! | tokens of a sequence | where they are |
//! | --- | --- |
//! | the last ones, its exact window | a ring of rows, exact, keys before RoPE included |
//! | before them, in chunks | low-rank keys and landmarks on the device, values on the host |
//! | of those, outliers of a KV head | exact on the device as well, and not scored |
//! | of those, what was lately selected | slots on the device, the one unused for longest given up first |
//!
//! A prompt longer than an exact window is compressed at the end of each layer, and until then its keys and values are exact
//! in rows that all layers share. Later tokens go to the window one by one, however many come at once; a window with a token
//! too many is folded by a chunk, or, if nothing was compressed so far, compressed like a prompt.

mod measure;
mod plan;
mod read;
mod room;
mod state;

pub use read::{LayerContents, SelectionContents, Statistics};
pub use room::{ShadowRoom, StoreBytes};
pub use state::StateError;

use super::rows::Rows;
use super::{Append, KvError, KvStore};
use crate::device::sparse::{SparseDevice, SparseLayer, TURNS};
use crate::device::{Activation, CacheRows, DeviceError};
use crate::spec::Spec;
use plan::{Planner, Sequence, StepPlan, Then};
use room::{Memory, SPAN, Sizes, store_chunks};

/// Keys and values by the method of `ShadowKV`.
#[derive(Debug)]
pub struct ShadowStore<D: SparseDevice> {
    spec: Spec,
    sizes: Sizes,
    memory: Memory<D>,
    bytes: StoreBytes,
    /// Stores in spans of 64 chunks.
    stores: Rows,
    /// By entry.
    sequences: Vec<Option<Sequence>>,
    /// Epoch of each entry's last sequence.
    epochs: Vec<u32>,
    step: StepPlan,
    /// Prompts of the step, prepared.
    prompts: Vec<Prompt<D>>,
    /// Whether batches take turns, if it was said.
    turns: Option<bool>,
    /// Selections of measurements.
    script: Option<measure::Script<D>>,
}

/// A sequence that is compressed, or whose exact tokens go to their places.
#[derive(Debug)]
struct Prompt<D: SparseDevice> {
    sequences: D::Sequences,
    /// Whether there is anything to compress.
    compressed: bool,
}

/// A tile of a step, prepared.
#[derive(Debug)]
pub struct ShadowTile<D: SparseDevice> {
    prompts: Option<D::Tokens>,
    rounds: Vec<Round<D>>,
}

#[derive(Debug)]
struct Round<D: SparseDevice> {
    tokens: D::Tokens,
    sequences: D::Sequences,
    /// Its number.
    step: u32,
    then: Vec<After<D>>,
}

#[derive(Debug)]
enum After<D: SparseDevice> {
    Fold(D::Sequences),
    /// Rows `from..from + rows` of the window, to be compressed.
    Compress {
        prompt: Prompt<D>,
        from: usize,
        rows: usize,
    },
}

impl<D: SparseDevice> ShadowStore<D> {
    /// A store of `layers` layers of `spec` with `room`.
    ///
    /// # Errors
    ///
    /// [`DeviceError::OutOfMemory`].
    pub fn new(
        device: &D,
        spec: &Spec,
        layers: usize,
        room: &ShadowRoom,
    ) -> Result<ShadowStore<D>, DeviceError> {
        let sizes = Sizes::new(spec, layers, room);
        Ok(ShadowStore {
            memory: Memory::allocate(device, spec, &sizes)?,
            bytes: sizes.bytes(spec, device.activation_bytes()),
            stores: Rows::new(sizes.sparse.store_chunks / SPAN),
            sequences: vec![None; sizes.sparse.entries],
            epochs: vec![0; sizes.sparse.entries],
            spec: spec.clone(),
            sizes,
            step: StepPlan::default(),
            prompts: Vec::new(),
            turns: None,
            script: None,
        })
    }

    /// Takes in keys and values of new tokens as [`KvStore::attend`] does, and attends to nothing: where nobody asks for what
    /// the tokens come to.
    ///
    /// # Errors
    ///
    /// The device failed.
    pub fn take_in(
        &mut self,
        device: &D,
        layer: usize,
        tile: &ShadowTile<D>,
        qkv: &D::Buffer<Activation>,
    ) -> Result<(), DeviceError> {
        self.take_in_prompts(device, tile, qkv)?;
        for round in &tile.rounds {
            self.append_round(device, layer, (round, 0), qkv)?;
            self.after_round(device, layer, round)?;
        }
        Ok(())
    }

    fn take_in_prompts(
        &mut self,
        device: &D,
        tile: &ShadowTile<D>,
        qkv: &D::Buffer<Activation>,
    ) -> Result<(), DeviceError> {
        let Some(tokens) = &tile.prompts else {
            return Ok(());
        };
        let Memory {
            prompt,
            queries: [queries, _],
            ..
        } = &mut self.memory;
        let cache = CacheRows {
            keys: &mut prompt.keys,
            values: &mut prompt.values,
            k_pre: Some(&mut prompt.k_pre),
        };
        device.rope_append(tokens, qkv, queries, cache)
    }

    /// Lets the halves of a batch take turns ([`KvStore::gains_by_turns`]) or not, whatever is gained; `None`: where it should
    /// be worth it.
    pub fn set_turns(&mut self, turns: Option<bool>) {
        self.turns = turns;
    }

    /// Whether there is a sequence of that number.
    pub fn has(&self, sequence: usize) -> bool {
        self.sequence(sequence).is_some()
    }

    fn sequence(&self, number: usize) -> Option<&Sequence> {
        self.sequences.get(number)?.as_ref()
    }

    fn prepared(device: &D, plan: Then) -> Result<After<D>, DeviceError> {
        match plan {
            Then::Fold(sequences) => Ok(After::Fold(device.sequences(&sequences)?)),
            Then::Compress(sequences) => {
                let only = sequences.sequences.first().copied().unwrap_or_default();
                Ok(After::Compress {
                    prompt: Prompt {
                        sequences: device.sequences(&sequences)?,
                        compressed: true,
                    },
                    from: only.row_begin,
                    rows: only.token_count,
                })
            }
        }
    }

    fn tiles(&self, device: &D) -> Result<Vec<ShadowTile<D>>, DeviceError> {
        let round = |round: &plan::Round| {
            let then = round.then.iter().cloned();
            Ok(Round {
                tokens: device.tokens(&round.tokens)?,
                sequences: device.sequences(&round.sequences)?,
                step: round.sequences.step,
                then: then
                    .map(|then| Self::prepared(device, then))
                    .collect::<Result<_, DeviceError>>()?,
            })
        };
        let tile = |tile: &plan::TilePlan| {
            let prompts = (!tile.prompts.sequences.is_empty()).then_some(&tile.prompts);
            Ok(ShadowTile {
                prompts: prompts.map(|tokens| device.tokens(tokens)).transpose()?,
                rounds: tile
                    .rounds
                    .iter()
                    .map(round)
                    .collect::<Result<_, DeviceError>>()?,
            })
        };
        self.step.tiles.iter().map(tile).collect()
    }

    /// Takes in one more token of some sequences, in one layer.
    fn append_round(
        &mut self,
        device: &D,
        layer: usize,
        (round, turn): (&Round<D>, usize),
        qkv: &D::Buffer<Activation>,
    ) -> Result<(), DeviceError> {
        let Memory {
            layers, queries, ..
        } = &mut self.memory;
        let own = &mut layers[layer];
        let cache = CacheRows {
            keys: &mut own.keys,
            values: &mut own.values,
            k_pre: Some(&mut own.k_pre),
        };
        device.rope_append(&round.tokens, qkv, &mut queries[turn], cache)
    }

    /// The same, and attention to it as far as the fetch of what is missing.
    fn begin_round(
        &mut self,
        device: &D,
        layer: usize,
        (round, turn): (&Round<D>, usize),
        qkv: &D::Buffer<Activation>,
    ) -> Result<(), DeviceError> {
        self.append_round(device, layer, (round, turn), qkv)?;
        let Memory {
            layers,
            selection,
            queries,
            ..
        } = &mut self.memory;
        let (own, queries) = (&mut layers[layer], &queries[turn]);
        device.landmark_score(&round.sequences, queries, own, selection)?;
        let scripted = self.script.as_mut().map(|script| script.phase(round.step));
        match scripted {
            None => device.select_chunks(&round.sequences, own, selection)?,
            Some((scores, span_softmax)) => {
                std::mem::swap(&mut selection.scores, scores);
                std::mem::swap(&mut selection.span_softmax, span_softmax);
                let selected = device.select_chunks(&round.sequences, own, selection);
                std::mem::swap(&mut selection.scores, scores);
                std::mem::swap(&mut selection.span_softmax, span_softmax);
                selected?;
            }
        }
        device.begin_fetch(&round.sequences, selection, own, turn)
    }

    /// The rest.
    fn end_round(
        &mut self,
        device: &D,
        layer: usize,
        (round, turn): (&Round<D>, usize),
        output: &mut D::Buffer<Activation>,
    ) -> Result<(), DeviceError> {
        device.end_fetch(turn)?;
        let Memory {
            layers,
            selection,
            queries,
            ..
        } = &mut self.memory;
        let (own, queries) = (&mut layers[layer], &queries[turn]);
        device.sparse_attention(&round.sequences, queries, own, selection, output)?;
        self.after_round(device, layer, round)
    }

    /// What a full window is due.
    fn after_round(
        &mut self,
        device: &D,
        layer: usize,
        round: &Round<D>,
    ) -> Result<(), DeviceError> {
        for after in &round.then {
            match after {
                After::Fold(sequences) => {
                    device.fold_chunk(sequences, &mut self.memory.layers[layer])?;
                }
                After::Compress { prompt, from, rows } => {
                    self.copy_window(device, layer, *from, *rows)?;
                    compress(device, &mut self.memory, layer, prompt)?;
                }
            }
        }
        Ok(())
    }

    /// A window that holds a whole sequence, to the rows behind the prompts.
    fn copy_window(
        &mut self,
        device: &D,
        layer: usize,
        from: usize,
        rows: usize,
    ) -> Result<(), DeviceError> {
        let width = self.spec.attention.key_width() as usize;
        let (from, to) = (from * width, self.sizes.prompt_rows * width);
        let Memory { layers, prompt, .. } = &mut self.memory;
        let SparseLayer {
            keys,
            values,
            k_pre,
            ..
        } = &layers[layer];
        device.copy((keys, from), (&mut prompt.keys, to), rows * width)?;
        device.copy((values, from), (&mut prompt.values, to), rows * width)?;
        device.copy((k_pre, from), (&mut prompt.k_pre, to), rows * width)
    }
}

/// Compresses one prompt of one layer, and brings its exact tokens to their places.
fn compress<D: SparseDevice>(
    device: &D,
    memory: &mut Memory<D>,
    layer: usize,
    prompt: &Prompt<D>,
) -> Result<(), DeviceError> {
    let Memory {
        layers,
        prompt: rows,
        gram,
        ..
    } = memory;
    let own = &mut layers[layer];
    let sequences = &prompt.sequences;
    if prompt.compressed {
        device.key_gram(sequences, rows, gram)?;
        device.eigen_basis(sequences, gram, own)?;
        device.key_project(sequences, rows, own)?;
        device.chunk_landmarks(sequences, rows, own)?;
        device.offload_values(sequences, rows, own)?;
    }
    // Without chunks: no outliers, whatever the entry's last sequence had.
    device.select_outliers(sequences, own)?;
    device.store_exact(sequences, rows, own)
}

impl<D: SparseDevice> KvStore<D> for ShadowStore<D> {
    type Tile = ShadowTile<D>;

    fn admit(&mut self, device: &D, prompt: usize, capacity: usize) -> Result<usize, KvError> {
        let chunk = self.spec.shadowkv.chunk_size as usize;
        let wanted = store_chunks(&self.spec, capacity);
        let full = |free: usize| KvError::Full {
            wanted: capacity,
            free,
            total: self.sizes.sparse.store_chunks * chunk,
        };
        let free = self.stores.largest_free() * SPAN * chunk;
        let Some(entry) = self.sequences.iter().position(Option::is_none) else {
            return Err(full(0));
        };
        if wanted > self.sizes.sparse.score_stride {
            return Err(full(free.min(self.sizes.sparse.score_stride * chunk)));
        }
        let begin = self.stores.take(wanted / SPAN).ok_or(full(free))?;
        let heads = self.spec.attention.kv_heads as usize;
        let zeros = vec![0; heads * 2];
        let counts = &mut self.memory.selection.counts;
        if let Err(error) = device.write(counts, entry * zeros.len(), &zeros) {
            self.stores.give_back(begin);
            return Err(error.into());
        }
        // An epoch of its own: no slot of the entry's last sequence is one of this.
        self.epochs[entry] = self.epochs[entry].wrapping_add(1).max(1);
        self.sequences[entry] = Some(Sequence {
            tokens: 0,
            chunks: 0,
            capacity,
            store: (begin * SPAN, wanted),
            rope_table: self.spec.rope.table_of(prompt),
            epoch: self.epochs[entry],
            running: false,
        });
        Ok(entry)
    }

    fn release(&mut self, sequence: usize) {
        if let Some(released) = self.sequences.get_mut(sequence).and_then(Option::take) {
            self.stores.give_back(released.store.0 / SPAN);
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

    fn prepare(&mut self, device: &D, tiles: &[&[Append]]) -> Result<Vec<ShadowTile<D>>, KvError> {
        let planner = Planner {
            method: &self.spec.shadowkv,
            sizes: &self.sizes,
            sequences: &self.sequences,
        };
        self.step = planner.plan(tiles, self.step.last_round)?;
        let prompt = |sequences: &crate::device::sparse::SparseSequences| {
            Ok(Prompt {
                sequences: device.sequences(sequences)?,
                compressed: sequences.sequences.iter().any(|own| own.chunk_count > 0),
            })
        };
        let prompts: Result<Vec<_>, DeviceError> = self.step.prompts.iter().map(prompt).collect();
        self.prompts = prompts?;
        let tiles = self.tiles(device)?;
        for entry in self.step.after.keys() {
            if let Some(Some(sequence)) = self.sequences.get_mut(*entry) {
                sequence.running = true;
            }
        }
        Ok(tiles)
    }

    fn gains_by_turns(&self, device: &D, batch: usize, weight_bytes: u64) -> bool {
        if let Some(wanted) = self.turns {
            return wanted;
        }
        let costs = (device.activation_bytes(), device.host_byte_cost());
        crate::cost::turns::gains_by_turns(&self.spec, batch as u64, costs, weight_bytes)
    }

    fn settle(&mut self, device: &D) {
        for turn in 0..TURNS {
            // What cannot be enqueued any more does not race either: the device is lost.
            let _ = device.end_fetch(turn);
        }
    }

    fn begin_attend(
        &mut self,
        device: &D,
        layer: usize,
        (tile, turn): (&ShadowTile<D>, usize),
        qkv: &D::Buffer<Activation>,
    ) -> Result<(), DeviceError> {
        self.take_in_prompts(device, tile, qkv)?;
        match tile.rounds.first() {
            // The prompts' queries lie where its own would.
            Some(round) if tile.prompts.is_none() => {
                self.begin_round(device, layer, (round, turn), qkv)
            }
            _ => Ok(()),
        }
    }

    fn end_attend(
        &mut self,
        device: &D,
        layer: usize,
        (tile, turn): (&ShadowTile<D>, usize),
        qkv: &D::Buffer<Activation>,
        output: &mut D::Buffer<Activation>,
    ) -> Result<(), DeviceError> {
        if let Some(tokens) = &tile.prompts {
            let Memory {
                prompt,
                queries: [queries, _],
                ..
            } = &self.memory;
            device.attention(tokens, queries, &prompt.keys, &prompt.values, output)?;
        }
        for (index, round) in tile.rounds.iter().enumerate() {
            if index > 0 || tile.prompts.is_some() {
                self.begin_round(device, layer, (round, turn), qkv)?;
            }
            self.end_round(device, layer, (round, turn), output)?;
        }
        Ok(())
    }

    fn end_layer(&mut self, device: &D, layer: usize) -> Result<(), DeviceError> {
        for prompt in &self.prompts {
            compress(device, &mut self.memory, layer, prompt)?;
        }
        Ok(())
    }

    fn advance(&mut self, _new: &[Append]) {
        for (entry, (tokens, chunks)) in std::mem::take(&mut self.step.after) {
            if let Some(Some(sequence)) = self.sequences.get_mut(entry) {
                sequence.tokens = tokens;
                sequence.chunks = chunks;
                sequence.running = false;
            }
        }
        self.prompts.clear();
    }

    fn bytes(&self) -> u64 {
        self.bytes.device
    }

    fn host_bytes(&self) -> u64 {
        self.bytes.host
    }
}
