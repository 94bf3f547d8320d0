//! Where the keys and values of past tokens are, and attention over them.

use crate::device::{Activation, Device, DeviceError};

mod full;
mod rows;
pub mod shadow;

pub use full::FullCache;
pub use shadow::ShadowStore;

/// Why a sequence is not taken in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KvError {
    /// No room for as many tokens.
    #[error("no room for a sequence of {wanted} tokens: {free} of {total} are free in one piece")]
    Full {
        /// Tokens wanted.
        wanted: usize,
        /// Most tokens that would fit.
        free: usize,
        /// Tokens of the whole store.
        total: usize,
    },
    /// Prompts longer than the store has room for while they are exact.
    #[error(
        "the prompts of one step have {tokens} tokens, and the store takes {room} at a time: bring them one by one, or give it more prompt rows"
    )]
    Prompt {
        /// Tokens of the prompts.
        tokens: usize,
        /// Tokens there is room for.
        room: usize,
    },
    /// A sequence that a step failed in.
    #[error(
        "sequence {sequence} was in a step that failed, and some layers have seen tokens that others have not: release it"
    )]
    Broken {
        /// Number of the sequence.
        sequence: usize,
    },
    /// No sequence of that number.
    #[error("there is no sequence {sequence}: it was never taken in, or it was released")]
    Unknown {
        /// The number.
        sequence: usize,
    },
    /// The device failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
}

/// New tokens of one sequence of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Append {
    /// Number of the sequence.
    pub sequence: usize,
    /// How many tokens.
    pub count: usize,
    /// Of the tokens that come in this step, how many came before, in earlier tiles of the same layer.
    pub offset: usize,
}

/// A place for the keys and values of some sequences, over all layers.
///
/// A step brings new tokens to some sequences. [`KvStore::prepare`] begins it; layer by layer, and within a layer tile by tile
/// where there are many, [`KvStore::attend`] takes in their keys and values and attends; [`KvStore::end_layer`] ends a layer
/// of the step, and [`KvStore::advance`] the step.
pub trait KvStore<D: Device> {
    /// What a tile's calls need to know, the same in all layers.
    type Tile;

    /// A new sequence of up to `capacity` tokens, of which the first `prompt` come in one step; its number.
    ///
    /// # Errors
    ///
    /// [`KvError::Full`], [`KvError::Device`].
    fn admit(&mut self, device: &D, prompt: usize, capacity: usize) -> Result<usize, KvError>;

    /// Forgets a sequence; its number and its place may be given to another.
    fn release(&mut self, sequence: usize);

    /// Tokens of a sequence that all layers have seen.
    fn token_count(&self, sequence: usize) -> usize;

    /// Most tokens that a sequence may have.
    fn capacity(&self, sequence: usize) -> usize;

    /// Begins a step that brings the new tokens `tiles`, the rows of each tile packed in the order given.
    ///
    /// # Errors
    ///
    /// [`KvError`]; the store is then as it was.
    fn prepare(&mut self, device: &D, tiles: &[&[Append]]) -> Result<Vec<Self::Tile>, KvError>;

    /// Takes in the keys and values of the tokens of `tile` in `qkv` `[rows, H (G + 2), d]` in layer `layer`, and attends to
    /// everything up to them -> `output` `[rows, H, G, d]`.
    ///
    /// # Errors
    ///
    /// The device failed.
    fn attend(
        &mut self,
        device: &D,
        layer: usize,
        tile: &Self::Tile,
        qkv: &D::Buffer<Activation>,
        output: &mut D::Buffer<Activation>,
    ) -> Result<(), DeviceError> {
        let attended = self
            .begin_attend(device, layer, (tile, 0), qkv)
            .and_then(|()| self.end_attend(device, layer, (tile, 0), qkv, output));
        if attended.is_err() {
            self.settle(device);
        }
        attended
    }

    /// Whether two halves of a batch of `batch` sequences with one new token each should take turns: the one's attention is
    /// begun, and what it must wait for is waited for while the other computes. It costs a second reading of a layer's
    /// `weight_bytes` bytes of weights.
    fn gains_by_turns(&self, device: &D, batch: usize, weight_bytes: u64) -> bool {
        let _ = (device, batch, weight_bytes);
        false
    }

    /// The first part of [`KvStore::attend`]. Before the second, with the same turn, 0 or 1, a tile of other sequences may be begun
    /// or ended in the other turn, where [`KvStore::gains_by_turns`].
    ///
    /// # Errors
    ///
    /// The device failed; [`KvStore::settle`] is to be called.
    fn begin_attend(
        &mut self,
        device: &D,
        layer: usize,
        tile: (&Self::Tile, usize),
        qkv: &D::Buffer<Activation>,
    ) -> Result<(), DeviceError>;

    /// The second part. `qkv` may hold something else by now where no sequence of the tile has more than one new token.
    ///
    /// # Errors
    ///
    /// As [`KvStore::begin_attend`].
    fn end_attend(
        &mut self,
        device: &D,
        layer: usize,
        tile: (&Self::Tile, usize),
        qkv: &D::Buffer<Activation>,
        output: &mut D::Buffer<Activation>,
    ) -> Result<(), DeviceError>;

    /// Something failed between the two parts: nothing that was begun may go on beside what is called next.
    fn settle(&mut self, device: &D) {
        let _ = device;
    }

    /// All of the step's tokens have been attended to in `layer`.
    ///
    /// # Errors
    ///
    /// The device failed.
    fn end_layer(&mut self, device: &D, layer: usize) -> Result<(), DeviceError>;

    /// All layers have seen the step's tokens: so many more of each sequence.
    fn advance(&mut self, new: &[Append]);

    /// Bytes of the device that the store takes.
    fn bytes(&self) -> u64;

    /// Bytes of the host's memory that the store takes beside them.
    fn host_bytes(&self) -> u64 {
        0
    }
}
