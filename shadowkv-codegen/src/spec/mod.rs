//! The model spec: what the YAML says ([`raw`]) and what it means ([`Spec`]).
//!
//! Every later stage takes only the resolved [`Spec`], in which nothing is left open.

mod resolved;

pub use resolved::{
    Activation, Attention, Decoder, ModelFamily, Rope, RopeLayout, RopeScaling, ShadowKv, Spec,
    Storage, StorageType, TensorNames,
};
