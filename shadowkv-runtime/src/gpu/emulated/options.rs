//! How an emulated GPU is set up.

use shadowkv_emulator::GpuModel;

/// When enqueued work runs. What comes out of a correct program does not depend on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// At once, in the order of the calls: what a program sees that never waits wrongly.
    #[default]
    Eager,
    /// As late as possible: only what the host waits for, and what that waits for.
    Lazy,
    /// Whenever events permit, as a seed has it.
    Random(u64),
}

/// Failures on demand: the number of the call that fails, from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// This allocation of GPU memory finds none.
    pub allocation: Option<u64>,
    /// This allocation of pinned memory finds none.
    pub host_allocation: Option<u64>,
    /// This launch (of a kernel or a graph) is refused.
    pub launch: Option<u64>,
    /// This copy (either direction, or within the GPU; `read` and `write` count) fails.
    pub copy: Option<u64>,
    /// When this operation of any stream (launches, copies, fills, products) runs, the GPU is lost.
    pub lost: Option<u64>,
}

/// What an [`EmulatedGpu`](super::EmulatedGpu) is like.
#[derive(Clone, Debug)]
pub struct EmulatedOptions {
    /// Which GPU it pretends to be. `memory_bytes` caps its memory.
    pub model: GpuModel,
    /// When work runs.
    pub order: Order,
    /// What fails.
    pub faults: Faults,
    /// Most pinned host memory, bytes.
    pub pinned_bytes: Option<u64>,
    /// Most threads of one launch. Nothing depends on it but time.
    pub workers: Option<usize>,
    /// Warp instructions after which a launch is given up.
    pub most_instructions: u64,
    /// Whether a timeline is kept.
    pub timeline: bool,
}

impl EmulatedOptions {
    /// An eager GPU of a model, without faults.
    pub fn new(model: GpuModel) -> EmulatedOptions {
        EmulatedOptions {
            model,
            order: Order::default(),
            faults: Faults::default(),
            pinned_bytes: None,
            workers: None,
            most_instructions: 20_000_000_000,
            timeline: false,
        }
    }

    /// Runs work in `order`.
    #[must_use]
    pub fn with_order(mut self, order: Order) -> EmulatedOptions {
        self.order = order;
        self
    }

    /// Fails where `faults` say so.
    #[must_use]
    pub fn with_faults(mut self, faults: Faults) -> EmulatedOptions {
        self.faults = faults;
        self
    }

    /// Caps memory of the GPU.
    #[must_use]
    pub fn with_memory_bytes(mut self, bytes: u64) -> EmulatedOptions {
        self.model.memory_bytes = bytes;
        self
    }

    /// Caps pinned memory.
    #[must_use]
    pub fn with_pinned_bytes(mut self, bytes: u64) -> EmulatedOptions {
        self.pinned_bytes = Some(bytes);
        self
    }

    /// Runs a launch on at most `workers` threads.
    #[must_use]
    pub fn with_workers(mut self, workers: usize) -> EmulatedOptions {
        self.workers = Some(workers);
        self
    }

    /// Keeps a timeline.
    #[must_use]
    pub fn with_timeline(mut self) -> EmulatedOptions {
        self.timeline = true;
        self
    }
}

/// Numbers that a seed decides (splitmix64).
#[derive(Clone, Debug)]
pub(super) struct Dice(pub(super) u64);

impl Dice {
    /// A number below `limit`, which is not 0.
    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        (mixed % limit as u64) as usize
    }
}
