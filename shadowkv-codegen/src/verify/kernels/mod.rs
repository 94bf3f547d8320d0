//! The cases of every kernel: inputs, and the oracle's answer with its tolerance.
//!
//! A kernel's file here has its name, as have its oracle, its template and its plan. To add one: the oracle, a file with a
//! `cases` function, and a line in [`SUBJECTS`].

use super::case::Case;
use super::random::Stream;
use crate::plan::KernelPlan;
use crate::spec::Spec;

mod chunk_landmarks;
mod gather_values;
mod key_gram;
mod key_project;
mod landmark_score;
mod reconstruct_keys;
mod scores;
mod select_chunks;
mod selection;
mod slots;

/// What cases are made for.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    /// The spec.
    pub spec: &'a Spec,
    /// The kernel's plan.
    pub kernel: &'a KernelPlan,
    /// Multiprocessors of the device.
    pub multiprocessors: u32,
}

impl Target<'_> {
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
}

/// All kernels that have cases.
pub const SUBJECTS: &[Subject] = &[
    Subject {
        name: "key_gram",
        cases: key_gram::cases,
    },
    Subject {
        name: "key_project",
        cases: key_project::cases,
    },
    Subject {
        name: "chunk_landmarks",
        cases: chunk_landmarks::cases,
    },
    Subject {
        name: "landmark_score",
        cases: landmark_score::cases,
    },
    Subject {
        name: "select_chunks",
        cases: select_chunks::cases,
    },
    Subject {
        name: "gather_values",
        cases: gather_values::cases,
    },
    Subject {
        name: "reconstruct_keys",
        cases: reconstruct_keys::cases,
    },
];

/// The cases of the kernel called `name`.
pub fn subject(name: &str) -> Option<&'static Subject> {
    SUBJECTS.iter().find(|subject| subject.name == name)
}
