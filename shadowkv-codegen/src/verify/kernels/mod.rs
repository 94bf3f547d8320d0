//! The cases of every kernel: inputs, and the oracle's answer with its tolerance.
//!
//! A kernel's file here has its name, as have its oracle, its template and its plan. To add one: the oracle, a file with
//! functions `cases` and `layer`, and a line in [`SUBJECTS`].

use serde::{Deserialize, Serialize};

use super::batch::Lengths;
use super::case::Case;
use super::random::Stream;
use crate::plan::KernelPlan;
use crate::spec::Spec;

mod attention;
mod chunk_landmarks;
mod decode_attention;
mod embed;
mod fold_chunk;
mod gather_values;
mod key_gram;
mod key_project;
mod landmark_score;
mod offload_values;
mod prefill_attention;
mod reconstruct_keys;
mod rings;
mod rms_norm;
mod rope_append;
mod sample;
mod scores;
mod select_chunks;
mod select_outliers;
mod selection;
mod silu_mul;
mod slots;
mod sparse_attention;
mod store_exact;

/// What cases are made for.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    /// The spec.
    pub spec: &'a Spec,
    /// The kernel's plan.
    pub kernel: &'a KernelPlan,
    /// Multiprocessors of the device.
    pub multiprocessors: u32,
    /// What its cases are for.
    pub purpose: Purpose,
}

/// What a case is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// What comes out is compared with the oracle.
    Compare,
    /// Only what the launch costs is looked at: the case expects nothing that takes an oracle long, and where there are
    /// more inputs than matter, they repeat themselves.
    Measure,
}

/// The launch of one layer of a model, all of whose sequences are equally long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layer {
    /// Sequences.
    pub batch: u32,
    /// Tokens of each.
    pub context: u32,
    /// Of the selected chunks, how many per hundred are not resident.
    pub misses: u32,
}

impl Layer {
    /// Whole chunks of each sequence.
    fn chunks(&self, target: &Target) -> u32 {
        self.context / target.spec.shadowkv.chunk_size
    }

    /// Missing chunks of each list.
    fn missing(&self, target: &Target) -> u32 {
        let selected = target.spec.shadowkv.selected_chunks();
        (selected.min(self.chunks(target)) * self.misses).div_ceil(100)
    }

    /// `each` of every sequence.
    fn lengths(&self, each: u32) -> Lengths {
        Lengths::new("one layer", &vec![each; self.batch as usize])
    }

    /// As many tokens of each sequence as can be emulated in some seconds, where a token takes `products` tensor-core
    /// instructions: the context, or less by whole 1024s.
    fn affordable(&self, products: f64) -> u32 {
        let most = MOST_PRODUCTS / products.max(f64::MIN_POSITIVE) / f64::from(self.batch);
        let most = (most as u32 / TOKENS_STEP).max(1) * TOKENS_STEP;
        self.context.min(most)
    }

    /// As many tokens of each sequence as can be emulated in some seconds, where a pair of tokens takes `products`
    /// tensor-core instructions and each token meets all before it: the context, or less by whole 1024s.
    fn affordable_pairs(&self, products: f64) -> u32 {
        let most = 2.0 * MOST_PRODUCTS_OF_PAIRS / products.max(f64::MIN_POSITIVE);
        let most = (most / f64::from(self.batch)).sqrt();
        let most = (most as u32 / TOKENS_STEP).max(1) * TOKENS_STEP;
        self.context.min(most)
    }
}

/// Tensor-core instructions of a launch that is measured.
const MOST_PRODUCTS: f64 = 12e6;
/// The same where tokens meet each other: fewer would be so few tokens that what happens at their ends weighs too much.
const MOST_PRODUCTS_OF_PAIRS: f64 = 36e6;
/// Granule of the tokens where the context is too much.
const TOKENS_STEP: u32 = 1024;
/// Rows of an input that are drawn for a launch that is measured; the others repeat them.
const DRAWN_ROWS: usize = 2048;

impl Target<'_> {
    /// Whether what comes out will be compared.
    fn compared(&self) -> bool {
        self.purpose == Purpose::Compare
    }

    /// Rows of an input to draw, of as many as there are.
    fn drawn(&self, rows: usize) -> usize {
        if self.compared() {
            rows
        } else {
            rows.min(DRAWN_ROWS)
        }
    }

    /// A constant of the kernel; 1 if it has none of that name.
    fn constant(&self, name: &str) -> u32 {
        let value = self.kernel.constant(name);
        value
            .and_then(|value| u32::try_from(value).ok())
            .unwrap_or(1)
    }

    fn kv_heads(&self) -> usize {
        self.spec.attention.kv_heads as usize
    }

    fn head_dim(&self) -> usize {
        self.spec.attention.head_dim as usize
    }

    fn gqa_ratio(&self) -> usize {
        self.spec.attention.gqa_ratio as usize
    }

    fn width(&self) -> usize {
        self.spec.attention.key_width() as usize
    }

    fn rank(&self) -> usize {
        self.spec.shadowkv.rank as usize
    }

    fn chunk_size(&self) -> usize {
        self.spec.shadowkv.chunk_size as usize
    }

    /// Chunks that a model of the spec can have at all.
    fn most_chunks(&self) -> u32 {
        self.spec.rope.max_position / self.spec.shadowkv.chunk_size
    }
}

/// Makes a case for a target from random numbers.
type Build = Box<dyn Fn(&Target, &Stream) -> Case + Send + Sync>;

/// A case that is yet to be made: its inputs and the oracle's answer take memory and time.
pub struct Sketch {
    /// What it tries.
    pub name: String,
    build: Build,
}

impl Sketch {
    /// The launch of a layer, made by `build`.
    fn of_layer(build: impl Fn(&Target, &Stream) -> Case + Send + Sync + 'static) -> Sketch {
        Sketch::new("one layer", build)
    }

    fn new(
        name: impl Into<String>,
        build: impl Fn(&Target, &Stream) -> Case + Send + Sync + 'static,
    ) -> Sketch {
        Sketch {
            name: name.into(),
            build: Box::new(build),
        }
    }

    /// Makes the case from random numbers of `seed`.
    pub fn build(&self, target: &Target, seed: u64) -> Case {
        (self.build)(target, &Stream::new(seed))
    }
}

/// The cases of one kernel.
pub struct Subject {
    /// Name of the kernel.
    pub name: &'static str,
    /// Its cases for a target, cheap to make.
    pub cases: fn(&Target) -> Vec<Sketch>,
    /// Its launch for a layer, to be measured.
    pub layer: fn(&Target, &Layer) -> LayerSketch,
}

/// A launch for a layer.
pub struct LayerSketch {
    /// Tokens of each sequence: the layer's, or fewer where those would take too long.
    pub tokens: u32,
    /// The launch.
    pub sketch: Sketch,
}

/// All kernels that have cases.
pub const SUBJECTS: &[Subject] = &[
    Subject {
        name: "embed",
        cases: embed::cases,
        layer: embed::layer,
    },
    Subject {
        name: "rms_norm",
        cases: rms_norm::cases,
        layer: rms_norm::layer,
    },
    Subject {
        name: "rope_append",
        cases: rope_append::cases,
        layer: rope_append::layer,
    },
    Subject {
        name: "prefill_attention",
        cases: prefill_attention::cases,
        layer: prefill_attention::layer,
    },
    Subject {
        name: "silu_mul",
        cases: silu_mul::cases,
        layer: silu_mul::layer,
    },
    Subject {
        name: "key_gram",
        cases: key_gram::cases,
        layer: key_gram::layer,
    },
    Subject {
        name: "key_project",
        cases: key_project::cases,
        layer: key_project::layer,
    },
    Subject {
        name: "chunk_landmarks",
        cases: chunk_landmarks::cases,
        layer: chunk_landmarks::layer,
    },
    Subject {
        name: "select_outliers",
        cases: select_outliers::cases,
        layer: select_outliers::layer,
    },
    Subject {
        name: "store_exact",
        cases: store_exact::cases,
        layer: store_exact::layer,
    },
    Subject {
        name: "offload_values",
        cases: offload_values::cases,
        layer: offload_values::layer,
    },
    Subject {
        name: "decode_attention",
        cases: decode_attention::cases,
        layer: decode_attention::layer,
    },
    Subject {
        name: "landmark_score",
        cases: landmark_score::cases,
        layer: landmark_score::layer,
    },
    Subject {
        name: "select_chunks",
        cases: select_chunks::cases,
        layer: select_chunks::layer,
    },
    Subject {
        name: "gather_values",
        cases: gather_values::cases,
        layer: gather_values::layer,
    },
    Subject {
        name: "reconstruct_keys",
        cases: reconstruct_keys::cases,
        layer: reconstruct_keys::layer,
    },
    Subject {
        name: "sparse_attention",
        cases: sparse_attention::cases,
        layer: sparse_attention::layer,
    },
    Subject {
        name: "fold_chunk",
        cases: fold_chunk::cases,
        layer: fold_chunk::layer,
    },
    Subject {
        name: "sample",
        cases: sample::cases,
        layer: sample::layer,
    },
];

/// The cases of the kernel called `name`.
pub fn subject(name: &str) -> Option<&'static Subject> {
    SUBJECTS.iter().find(|subject| subject.name == name)
}
