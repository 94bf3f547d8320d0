//! What can go wrong with attention, and whose fault it is.

use crate::device::DeviceError;
use crate::device::tensors::{TensorPlace, TensorType};
use crate::kv::KvError;
use crate::kv::shadow::StateError;

/// Why a call did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttentionError {
    /// A tensor of another shape.
    #[error(
        "`{argument}` is {found:?}, not {expected:?}: [rows of all sequences, {}, head_dim]",
        if matches!(*.argument, "k_pre" | "v") { "kv_heads" } else { "query heads" }
    )]
    Shape {
        /// Name of the argument.
        argument: &'static str,
        /// `[rows, heads, head_dim]` wanted.
        expected: [usize; 3],
        /// What was given.
        found: [usize; 3],
    },
    /// Strides that are not taken.
    #[error("`{argument}` has strides {strides:?}: {message}")]
    Strides {
        /// Name of the argument.
        argument: &'static str,
        /// The strides, elements.
        strides: [usize; 3],
        /// What is wrong.
        message: &'static str,
    },
    /// Elements, or memory, that the device does not take.
    #[error("`{argument}` is {element} in {}; {device} takes {}", memory(*.place), taken(*.place, *.takes_device))]
    Kind {
        /// Name of the argument.
        argument: &'static str,
        /// Type of its elements.
        element: TensorType,
        /// Whose memory it is in.
        place: TensorPlace,
        /// The device.
        device: String,
        /// Whether the device takes memory of its own.
        takes_device: bool,
    },
    /// A layer that there is not.
    #[error("there is no layer {layer}: there are {layers}, from 0")]
    Layer {
        /// The number.
        layer: usize,
        /// How many there are.
        layers: usize,
    },
    /// Calls in an order that makes no sense.
    #[error("{message}")]
    Order {
        /// What is wrong, and what to do.
        message: String,
    },
    /// More tokens than a sequence has room for.
    #[error("sequence {sequence} would have {tokens} tokens, and was taken in for {capacity}")]
    Capacity {
        /// Number of the sequence.
        sequence: usize,
        /// Tokens it would have.
        tokens: usize,
        /// Most it may have.
        capacity: usize,
    },
    /// The store.
    #[error(transparent)]
    Kv(#[from] KvError),
    /// A file.
    #[error(transparent)]
    State(#[from] StateError),
}

impl From<DeviceError> for AttentionError {
    fn from(error: DeviceError) -> AttentionError {
        AttentionError::Kv(error.into())
    }
}

fn memory(place: TensorPlace) -> &'static str {
    match place {
        TensorPlace::Host => "the host's memory",
        TensorPlace::Device => "the device's memory",
    }
}

fn taken(place: TensorPlace, takes_device: bool) -> &'static str {
    match (place, takes_device) {
        (TensorPlace::Device, true) => "bf16 there, and f32 and bf16 in the host's",
        _ => "f32 and bf16 in the host's",
    }
}
