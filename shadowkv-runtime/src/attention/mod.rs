//! Attention by the method of `ShadowKV` for models that are not ours: a layer, or a whole stack, driven with the caller's
//! tensors.
//!
//! | to | use |
//! | --- | --- |
//! | set it up for some sequences | [`ShadowKvAttention::new`] with a [`ShadowRoom`] |
//! | take in and let go of sequences | [`ShadowKvAttention::admit`], [`ShadowKvAttention::remove`] |
//! | take in a prompt, layer by layer | [`ShadowKvAttention::prefill`] |
//! | take in later tokens, and attend | [`ShadowKvAttention::append`], [`ShadowKvAttention::decode`] |
//! | answer one prompt twice | [`ShadowKvAttention::fork`] |
//! | keep a long prompt | [`ShadowKvAttention::save`], [`ShadowKvAttention::restore`] |
//! | know what it takes | [`ShadowKvAttention::memory`] |
//!
//! **Steps.** New tokens of some sequences are a step, which every layer sees once: the first call of a step says which
//! sequences and how many tokens, the others say the same for the other layers, in any order; with the last layer the step is
//! over. With one layer every call is a step.
//!
//! **Tensors.** All are `[rows, heads, head_dim]` with any strides of rows and heads: queries and outputs with
//! `kv_heads * gqa_ratio` heads, those of a group side by side, keys and values with `kv_heads`. Rows are packed sequence after
//! sequence in the order of the call. Queries and keys come *before* RoPE: the method factorises keys before it, and rotates
//! what it rebuilds by the spec's RoPE. Keys that were rotated elsewhere are not asked for: they could only disagree with
//! those.
//!
//! **Waiting.** Everything is enqueued on the device's stream, and tensors in the device's memory are neither read nor written
//! by the host. The host waits for the stream where a tensor of the host's is read back or larger than a megabyte, in
//! [`ShadowKvAttention::fork`], [`ShadowKvAttention::save`] and [`ShadowKvAttention::restore`], when it is dropped, and for
//! each eigenproblem on an NVIDIA GPU, the Gram matrix of which is checked on the host: once per layer for a prompt longer than
//! an exact window, and for a shorter one when its window first overflows. A host that is more than a hundred steps ahead waits
//! for one of those. Whatever context the calling thread has made current is current again when a call returns.

mod check;
mod error;
mod rows;

use std::path::Path;

pub use error::AttentionError;

use crate::device::Activation;
use crate::device::tensors::{TensorDevice, TensorView, TensorViewMut};
use crate::kv::shadow::{ShadowRoom, ShadowStore, ShadowTile, Statistics, StoreBytes};
use crate::kv::{Append, KvStore as _};
use crate::spec::Spec;

/// New tokens of one sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewTokens {
    /// Number of the sequence.
    pub sequence: usize,
    /// How many.
    pub count: usize,
}

/// Keys and values of the new tokens of a call, `[rows, kv_heads, head_dim]` each.
#[derive(Clone, Copy, Debug)]
pub struct KeysValues<'a> {
    /// Keys before RoPE.
    pub k_pre: TensorView<'a>,
    /// Values.
    pub v: TensorView<'a>,
}

/// Bytes that attention takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct MemoryReport {
    /// What the sequences' keys and values take, whatever they hold now.
    pub store: StoreBytes,
    /// Rows on their way in and out, on the device.
    pub rows: u64,
}

/// Attention of one layer, or of a stack of layers, on a device.
#[derive(Debug)]
pub struct ShadowKvAttention<D: TensorDevice> {
    store: ShadowStore<D>,
    shape: Shape,
    /// `[call rows, H (G + 2), d]`.
    qkv: D::Buffer<Activation>,
    /// `[call rows, H, G, d]`.
    output: D::Buffer<Activation>,
    rows_bytes: u64,
    step: Option<Step<D>>,
    device: D,
}

/// Sizes of the tensors.
#[derive(Clone, Copy, Debug)]
struct Shape {
    layers: usize,
    kv_heads: usize,
    query_heads: usize,
    head_dim: usize,
    call_rows: usize,
}

impl Shape {
    fn query_width(&self) -> usize {
        self.query_heads * self.head_dim
    }

    fn key_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    fn row_width(&self) -> usize {
        self.query_width() + 2 * self.key_width()
    }
}

/// A step that some layers have not seen.
#[derive(Debug)]
struct Step<D: TensorDevice> {
    new: Vec<NewTokens>,
    tiles: Vec<Tile<D>>,
    /// Layers that have seen it.
    seen: Vec<bool>,
    /// The layer whose keys and values wait for queries, or for a call that brings none.
    appended: Option<usize>,
    /// A call failed in it: its sequences are of no use any more.
    failed: bool,
}

#[derive(Debug)]
struct Tile<D: TensorDevice> {
    /// First row, and how many.
    rows: std::ops::Range<usize>,
    prepared: ShadowTile<D>,
}

impl<D: TensorDevice> ShadowKvAttention<D> {
    /// Attention of `layers` layers of `spec`, which need not have a decoder, with `room` for sequences and new tokens.
    ///
    /// # Errors
    ///
    /// The device has no memory left.
    pub fn new(
        device: D,
        spec: &Spec,
        layers: usize,
        room: &ShadowRoom,
    ) -> Result<ShadowKvAttention<D>, AttentionError> {
        let _entered = device.enter();
        let room = ShadowRoom {
            call_rows: room.call_rows.max(1),
            ..room.clone()
        };
        let attention = &spec.attention;
        let shape = Shape {
            layers,
            kv_heads: attention.kv_heads as usize,
            query_heads: attention.query_heads() as usize,
            head_dim: attention.head_dim as usize,
            call_rows: room.call_rows,
        };
        let rows = [shape.row_width(), shape.query_width()].map(|width| width * shape.call_rows);
        Ok(ShadowKvAttention {
            store: ShadowStore::new(&device, spec, layers, &room)?,
            qkv: device.allocate("queries, keys and values", rows[0])?,
            output: device.allocate("attention output", rows[1])?,
            rows_bytes: (rows[0] + rows[1]) as u64 * device.activation_bytes(),
            shape,
            step: None,
            device,
        })
    }

    /// The device.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// Layers.
    pub fn layers(&self) -> usize {
        self.shape.layers
    }

    /// Takes in a sequence of up to `capacity` tokens, `prompt` of which are known to be its prompt (longrope chooses its table
    /// by that); its number, which is an index of the room's sequences.
    ///
    /// # Errors
    ///
    /// No room: as many tokens are not free in one piece.
    pub fn admit(&mut self, prompt: usize, capacity: usize) -> Result<usize, AttentionError> {
        let _entered = self.device.enter();
        Ok(self.store.admit(&self.device, prompt, capacity)?)
    }

    /// Forgets a sequence, whatever became of it; its number may be given to another.
    ///
    /// # Errors
    ///
    /// It is in a step that other layers have yet to see; there is no such sequence.
    pub fn remove(&mut self, sequence: usize) -> Result<(), AttentionError> {
        let _entered = self.device.enter();
        self.is_sequence(sequence)?;
        if self.step.as_ref().is_some_and(|step| !step.failed) {
            self.settle()?;
        }
        let failed = self.step.as_ref().is_some_and(|step| step.failed);
        if failed {
            self.step = None;
        }
        if let Some(step) = &self.step
            && step.new.iter().any(|new| new.sequence == sequence)
        {
            return Err(step.is_open("remove one of its sequences"));
        }
        self.store.release(sequence);
        Ok(())
    }

    /// Gives up a step that some layers have not seen. Its sequences are of no use any more but to be removed.
    pub fn abandon(&mut self) {
        self.step = None;
    }

    /// A copy of a sequence with room for up to `capacity` tokens, or as many as it has; its number. The two are independent from
    /// then on. Waits for the device.
    ///
    /// # Errors
    ///
    /// No room; a step that other layers have yet to see; the device failed.
    pub fn fork(&mut self, sequence: usize, capacity: usize) -> Result<usize, AttentionError> {
        let _entered = self.device.enter();
        self.between_steps("fork a sequence")?;
        Ok(self.store.fork(&self.device, sequence, capacity)?)
    }

    /// Writes everything of a sequence but its slots to a file: whole or not at all, with a checksum. Waits for the device.
    ///
    /// # Errors
    ///
    /// The file cannot be written; a step that other layers have yet to see; the device failed.
    pub fn save(&mut self, sequence: usize, path: &Path) -> Result<(), AttentionError> {
        let _entered = self.device.enter();
        self.between_steps("save a sequence")?;
        Ok(self.store.save(&self.device, sequence, path)?)
    }

    /// Takes in the sequence of a file, with room for up to `capacity` tokens or as many as it has; its number. It goes on as it
    /// would have where it was saved, bit for bit. Waits for the device.
    ///
    /// # Errors
    ///
    /// A file that is damaged, of another version, spec, layer count or element type; no room; a step that other layers have
    /// yet to see; the device failed.
    pub fn restore(&mut self, path: &Path, capacity: usize) -> Result<usize, AttentionError> {
        let _entered = self.device.enter();
        self.between_steps("restore a sequence")?;
        Ok(self.store.restore(&self.device, path, capacity)?)
    }

    /// Tokens of a sequence that all layers have seen; 0 of one that there is not.
    pub fn token_count(&self, sequence: usize) -> usize {
        self.store.token_count(sequence)
    }

    /// How often a sequence's chunks were found on the device. Waits for the device.
    ///
    /// # Errors
    ///
    /// The device failed; there is no such sequence.
    pub fn statistics(&self, sequence: usize) -> Result<Statistics, AttentionError> {
        let _entered = self.device.enter();
        self.is_sequence(sequence)?;
        Ok(self.store.statistics(&self.device, sequence)?)
    }

    /// Waits until everything that was called has run.
    ///
    /// # Errors
    ///
    /// Something failed.
    pub fn synchronise(&self) -> Result<(), AttentionError> {
        let _entered = self.device.enter();
        Ok(self.device.wait()?)
    }

    /// Bytes that it takes.
    pub fn memory(&self) -> MemoryReport {
        MemoryReport {
            store: StoreBytes {
                device: self.store.bytes(),
                host: self.store.host_bytes(),
            },
            rows: self.rows_bytes,
        }
    }

    /// Takes in whole prompts in one layer, and compresses them; with queries `[rows, query heads, head_dim]`, also causal
    /// attention over all of each prompt to an output of the same shape. The sequences have no tokens yet, and every token of
    /// theirs that is known so far comes now.
    ///
    /// # Errors
    ///
    /// [`AttentionError`]: tensors of another shape, strides or elements than are taken, a sequence with tokens, more tokens than
    /// there is room for: nothing has changed then. The device: the sequences are then to be removed.
    pub fn prefill(
        &mut self,
        layer: usize,
        new: &[NewTokens],
        keys_values: &KeysValues<'_>,
        attended: Option<(&TensorView<'_>, &mut TensorViewMut<'_>)>,
    ) -> Result<(), AttentionError> {
        let _entered = self.device.enter();
        self.settle()?;
        let rows = self.check_new(layer, new, true)?;
        self.check_keys_values(keys_values, rows)?;
        if let Some((q, output)) = &attended {
            self.check_queries(q, output, rows)?;
        }
        self.begin(new)?;
        self.run(layer, |attention| {
            attention.run_tiles(layer, Some(keys_values), attended)
        })
    }

    /// Takes in keys and values of later tokens in one layer, one or more of each sequence; several are as good as one after the
    /// other. What they attend to is computed by [`ShadowKvAttention::decode`], or, if another call comes first, not at all.
    ///
    /// # Errors
    ///
    /// As [`ShadowKvAttention::prefill`]; more rows than the room's `call_rows`.
    pub fn append(
        &mut self,
        layer: usize,
        new: &[NewTokens],
        keys_values: &KeysValues<'_>,
    ) -> Result<(), AttentionError> {
        let _entered = self.device.enter();
        self.settle()?;
        let rows = self.check_new(layer, new, false)?;
        self.check_keys_values(keys_values, rows)?;
        if rows > self.shape.call_rows {
            return Err(AttentionError::Order {
                message: format!(
                    "{rows} rows are appended at once, and there is room for {}: append them in several steps, or give it more call rows",
                    self.shape.call_rows
                ),
            });
        }
        self.begin(new)?;
        if let Some(step) = &mut self.step {
            step.appended = Some(layer);
        }
        let gathered = self.gather(0..rows, None, Some(keys_values));
        self.noting(gathered)
    }

    /// Attention in `layer` of the tokens that were just appended there: queries `[rows, query heads, head_dim]` to an output of
    /// the same shape, one row per token. Each attends to the tokens up to itself.
    ///
    /// # Errors
    ///
    /// As [`ShadowKvAttention::prefill`]; nothing was appended in that layer.
    pub fn decode(
        &mut self,
        layer: usize,
        q: &TensorView<'_>,
        output: &mut TensorViewMut<'_>,
    ) -> Result<(), AttentionError> {
        let _entered = self.device.enter();
        let appended = self.step.as_ref().and_then(|step| step.appended);
        if appended != Some(layer) {
            return Err(AttentionError::Order {
                message: format!(
                    "nothing was appended in layer {layer} since the last call: append its keys and values first"
                ),
            });
        }
        let rows = self.step.as_ref().map_or(0, |step| row_count(&step.new));
        self.check_queries(q, output, rows)?;
        self.run(layer, |attention| {
            attention.run_tiles(layer, None, Some((q, output)))
        })
    }

    /// Takes in what was appended last, if nobody asked for its attention.
    fn settle(&mut self) -> Result<(), AttentionError> {
        let Some(step) = &self.step else {
            return Ok(());
        };
        if step.failed {
            return Err(step.is_open("begin another"));
        }
        match step.appended {
            Some(layer) => self.run(layer, |attention| attention.run_tiles(layer, None, None)),
            None => Ok(()),
        }
    }

    /// Runs `work` for `layer`, which has then seen the step.
    fn run(
        &mut self,
        layer: usize,
        work: impl FnOnce(&mut Self) -> Result<(), AttentionError>,
    ) -> Result<(), AttentionError> {
        let done = work(self);
        self.noting(done)?;
        let Some(step) = &mut self.step else {
            return Ok(());
        };
        step.appended = None;
        step.seen[layer] = true;
        if step.seen.iter().all(|seen| *seen) {
            self.store.advance(&appends(&step.new));
            self.step = None;
        }
        Ok(())
    }

    /// Remembers that a call failed half way.
    fn noting(&mut self, done: Result<(), AttentionError>) -> Result<(), AttentionError> {
        if done.is_err()
            && let Some(step) = &mut self.step
        {
            step.failed = true;
        }
        done
    }

    /// Begins the step of `new`, unless it is under way.
    fn begin(&mut self, new: &[NewTokens]) -> Result<(), AttentionError> {
        if self.step.is_some() {
            return Ok(());
        }
        let tiles = rows::tiles(new, self.shape.call_rows);
        let each: Vec<&[Append]> = tiles.iter().map(|(_, tile)| tile.as_slice()).collect();
        let prepared = self.store.prepare(&self.device, &each)?;
        let tiles = tiles.into_iter().zip(prepared);
        self.step = Some(Step {
            new: new.to_vec(),
            tiles: tiles
                .map(|((rows, _), prepared)| Tile { rows, prepared })
                .collect(),
            seen: vec![false; self.shape.layers],
            appended: None,
            failed: false,
        });
        Ok(())
    }
}

impl<D: TensorDevice> Drop for ShadowKvAttention<D> {
    /// Waits: what is enqueued still uses the memory that goes. A failure has been told of, or comes too late for anybody.
    fn drop(&mut self) {
        let _entered = self.device.enter();
        let _ = self.device.wait();
    }
}

impl<D: TensorDevice> Step<D> {
    fn is_open(&self, to: &str) -> AttentionError {
        let message = if self.failed {
            format!("a call of this step failed: remove its sequences, or abandon it, to {to}")
        } else {
            let left: Vec<String> = (0..self.seen.len())
                .filter(|layer| !self.seen[*layer])
                .map(|layer| layer.to_string())
                .collect();
            format!(
                "a step is under way that layers {} have not seen: finish or abandon it to {to}",
                left.join(", ")
            )
        };
        AttentionError::Order { message }
    }
}

fn row_count(new: &[NewTokens]) -> usize {
    new.iter().map(|new| new.count).sum()
}

fn appends(new: &[NewTokens]) -> Vec<Append> {
    new.iter()
        .map(|new| Append {
            sequence: new.sequence,
            count: new.count,
            offset: 0,
        })
        .collect()
}
