//! A GPU on the CPU that runs the same PTX, with honest streams.
//!
//! Work is enqueued and runs when the [`Order`] has it: at once, as late as possible, or whenever events permit. Every access
//! of a kernel, a copy, a library operation or the host is checked against those before it: two that touch the same bytes, one
//! of them writing, must be ordered by a stream, an event or the host's waiting, or there is a [`Finding`] that names both. What
//! the emulator objects to within kernels is passed on.
//!
//! | to | use |
//! | --- | --- |
//! | set one up | [`EmulatedOptions`] |
//! | see what it objects to | [`EmulatedGpu::findings`], and with leaks [`EmulatedGpu::finish`] |
//! | let calls fail | [`Faults`] |
//! | see what would overlap | [`EmulatedGpu::timeline`] |
//!
//! Nothing here depends on time or on the number of threads: the same calls give the same bits and the same findings.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shadowkv_emulator as emulator;

use super::{GpuError, GpuMemory, HostPart, ImageKinds, Part, Properties};

mod check;
mod clock;
mod eigen;
mod finding;
mod gpu;
mod graph;
mod history;
mod memory;
mod options;
mod product;
mod speed;
mod state;
mod timeline;
mod work;

pub use emulator::{FindingKind as KernelFindingKind, GpuModel};
pub use finding::{Finding, FindingKind, Party};
pub use memory::{EmulatedHostMemory, EmulatedMemory};
pub use options::{EmulatedOptions, Faults, Order};

use graph::Captured;
use state::State;
use work::Work;

#[derive(Debug)]
struct Shared {
    properties: Properties,
    state: Mutex<State>,
}

impl Shared {
    /// A thread that panicked while it held the state left it as good as any finding would.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An emulated GPU; clones are the same one.
#[derive(Clone, Debug)]
pub struct EmulatedGpu {
    shared: Arc<Shared>,
}

/// Work in order.
#[derive(Debug)]
pub struct EmulatedStream(usize);

/// A point in a stream's work.
#[derive(Debug)]
pub struct EmulatedEvent(usize);

/// Loaded PTX.
#[derive(Clone, Debug)]
pub struct EmulatedModule {
    name: Arc<str>,
    module: emulator::Module,
}

/// A kernel of a module.
#[derive(Clone, Debug)]
pub struct EmulatedKernel {
    kernel: emulator::Kernel,
    name: Arc<str>,
    shared_bytes: u32,
}

/// Captured work.
#[derive(Debug)]
pub struct EmulatedGraph(Captured);

impl EmulatedGpu {
    /// A GPU with nothing in its memory.
    pub fn new(options: EmulatedOptions) -> EmulatedGpu {
        let model = &options.model;
        let properties = Properties {
            name: format!("emulated {}", model.name),
            compute_capability: model.compute_capability,
            sm_count: model.multiprocessors,
            memory_bytes: model.memory_bytes,
            shared_bytes_per_block: model.shared_bytes_per_block,
            images: ImageKinds::Ptx,
            graphs: true,
        };
        EmulatedGpu {
            shared: Arc::new(Shared {
                properties,
                state: Mutex::new(State::new(options)),
            }),
        }
    }

    /// What it objects to in what has run so far.
    pub fn findings(&self) -> Vec<Finding> {
        self.shared.lock().findings.all().to_vec()
    }

    /// Runs whatever is still enqueued; all findings, and what is still allocated as [`FindingKind::Leak`].
    pub fn finish(&self) -> Vec<Finding> {
        let mut state = self.shared.lock();
        state.run_all();
        let mut findings = state.findings.all().to_vec();
        findings.extend(state.leaks());
        findings
    }

    /// What ran so far as a Chrome trace (JSON; for `chrome://tracing` or Perfetto): streams as threads, arrows where one
    /// waited for another, modelled times. Empty unless [`EmulatedOptions::timeline`] is set.
    pub fn timeline(&self) -> String {
        let state = self.shared.lock();
        let streams: Vec<String> = state
            .streams
            .iter()
            .map(|stream| stream.name.to_string())
            .collect();
        timeline::document(&state.name, &streams, &state.spans).to_string()
    }

    /// Writes [`EmulatedGpu::timeline`] to a file.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn write_timeline(&self, path: &std::path::Path) -> std::io::Result<()> {
        std::fs::write(path, self.timeline())
    }

    fn own_part(&self, part: Part<'_, EmulatedGpu>) -> Result<u64, GpuError> {
        let memory = part.memory();
        own(memory.belongs_to(&self.shared), memory.name())?;
        Ok(part.address())
    }

    fn own_host(&self, part: HostPart<'_, EmulatedGpu>) -> Result<u64, GpuError> {
        let memory = part.memory();
        own(memory.belongs_to(&self.shared), memory.name())?;
        Ok(part.address())
    }

    fn give_copy(
        &self,
        stream: &EmulatedStream,
        what: Arc<str>,
        work: Work,
    ) -> Result<MutexGuard<'_, State>, GpuError> {
        let mut state = self.shared.lock();
        state.alive()?;
        state.calls.copies += 1;
        if state.options.faults.copy == Some(state.calls.copies) {
            return Err(state.failing(GpuError::Failed {
                operation: what.to_string(),
                message: "a fault on demand".to_owned(),
            }));
        }
        state.give(stream.0, what, work)?;
        Ok(state)
    }
}

/// Memory of another GPU is as good as none.
fn own(belongs: bool, name: &str) -> Result<(), GpuError> {
    if belongs {
        return Ok(());
    }
    Err(GpuError::Invalid {
        operation: format!("use `{name}`"),
        message: "it belongs to another GPU".to_owned(),
    })
}

/// A fault on demand: whether this call is the one.
fn strikes(count: &mut u64, fault: Option<u64>) -> bool {
    *count += 1;
    fault == Some(*count)
}
