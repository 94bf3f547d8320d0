//! The model spec: what the YAML says ([`raw`]) and what it means ([`Spec`]).
//!
//! A text becomes a tree with places, the tree is checked against the [schema](json_schema), read into [`raw::RawSpec`],
//! and resolved. Every later stage takes only the resolved [`Spec`], in which nothing is left open.
//!
//! ```
//! use shadowkv_runtime::spec::{Spec, SpecError};
//!
//! let text = "
//! name: small
//! attention: { head_dim: 64, kv_heads: 2, gqa_ratio: 4 }
//! rope: { base: 10000 }
//! shadowkv: { rank: 32, chunk_size: 8 }
//! ";
//! let overrides = ["shadowkv.rank=48".parse()?];
//! let spec = Spec::parse("small.yaml", text, &overrides)?;
//! assert_eq!(spec.shadowkv.rank, 48);
//! assert_eq!(spec.rope.tables().inverse_frequencies[0].len(), 32);
//! # Ok::<(), SpecError>(())
//! ```

mod check;
mod error;
pub mod import;
pub mod limits;
mod load;
mod node;
mod overrides;
mod problem;
pub mod raw;
mod resolve;
mod resolved;
mod rope;
mod scalar;
mod schema;
mod source;

pub use error::{InvalidSpec, SpecError};
pub use overrides::{Override, OverrideError};
pub use problem::{Problem, ProblemKind};
pub use resolved::{
    Activation, Attention, Decoder, LongRopeTable, ModelFamily, Rope, RopeLayout, RopeScaling,
    ShadowKv, Spec, Storage, StorageType, TensorNames,
};
pub use rope::RopeTables;
pub use schema::json_schema;
pub use source::Place;
