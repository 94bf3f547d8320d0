//! Memory for what the host tells the GPU in every step: pinned on one side, on the GPU on the other, used again and again.
//!
//! A pinned block is written by the host as soon as it is handed out, so it is handed out again only after the host has waited
//! for the stream since. Memory on the GPU is used in the order of the stream, and is handed out again at once: the smallest that
//! does, of these the one of the lowest address, so that steps that ask for the same get the same.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::device::DeviceError;
use crate::gpu::{Gpu, GpuMemory as _, HostMemory as _};

/// Bytes of the smallest block; others have a power of two as many.
const LEAST: u64 = 4096;

/// Pinned blocks that may wait for the stream before the host waits for it.
const MOST_WAITING: usize = 256;

/// The blocks.
pub(super) struct Staging<G: Gpu> {
    blocks: Arc<Mutex<Blocks<G>>>,
}

struct Blocks<G: Gpu> {
    /// Pinned blocks that nothing enqueued reads any more.
    free: Vec<G::HostMemory>,
    /// Pinned blocks that something enqueued may still read.
    waiting: Vec<G::HostMemory>,
    /// Blocks on the GPU.
    device: Vec<G::Memory>,
}

/// Bytes on the GPU that the host has written in the order of the stream.
pub(super) struct Staged<G: Gpu> {
    memory: Option<G::Memory>,
    blocks: Arc<Mutex<Blocks<G>>>,
}

impl<G: Gpu> Staged<G> {
    /// Address of byte `offset`.
    pub(super) fn address(&self, offset: u64) -> u64 {
        let memory = self.memory.as_ref();
        memory.map_or(0, |memory| memory.address() + offset)
    }
}

impl<G: Gpu> Drop for Staged<G> {
    fn drop(&mut self) {
        if let Some(memory) = self.memory.take() {
            lock(&self.blocks).device.push(memory);
        }
    }
}

/// A panic elsewhere leaves the lists whole: they are changed by single calls.
fn lock<G: Gpu>(blocks: &Mutex<Blocks<G>>) -> MutexGuard<'_, Blocks<G>> {
    blocks.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<G: Gpu> Staging<G> {
    pub(super) fn new() -> Staging<G> {
        Staging {
            blocks: Arc::new(Mutex::new(Blocks {
                free: Vec::new(),
                waiting: Vec::new(),
                device: Vec::new(),
            })),
        }
    }

    /// The host has waited for the stream.
    pub(super) fn waited(&self) {
        let mut blocks = lock(&self.blocks);
        let Blocks { free, waiting, .. } = &mut *blocks;
        free.append(waiting);
    }

    /// Bytes to the GPU, in the order of `stream`.
    pub(super) fn send(
        &self,
        gpu: &G,
        stream: &G::Stream,
        bytes: &[u8],
    ) -> Result<Staged<G>, DeviceError> {
        let size = (bytes.len() as u64).next_power_of_two().max(LEAST);
        let found = {
            let mut blocks = lock(&self.blocks);
            let all = blocks.device.iter().enumerate();
            let found = all
                .filter(|(_, block)| block.bytes() >= size)
                .min_by_key(|(_, block)| (block.bytes(), block.address()));
            let found = found.map(|(place, _)| place);
            found.map(|place| blocks.device.swap_remove(place))
        };
        let memory = match found {
            Some(memory) => memory,
            None => gpu.allocate("numbers of a step", size)?,
        };
        let staged = Staged {
            memory: Some(memory),
            blocks: Arc::clone(&self.blocks),
        };
        if let Some(memory) = &staged.memory {
            self.send_to(gpu, stream, bytes, memory, 0)?;
        }
        Ok(staged)
    }

    /// Bytes to `memory` from byte `offset` on, in the order of `stream`.
    pub(super) fn send_to(
        &self,
        gpu: &G,
        stream: &G::Stream,
        bytes: &[u8],
        memory: &G::Memory,
        offset: u64,
    ) -> Result<(), DeviceError> {
        let length = bytes.len() as u64;
        let to = memory.part(offset, length)?;
        let block = self.pinned(gpu, stream, length)?;
        block.set(0, bytes)?;
        let sent = gpu.copy_to_device(stream, block.part(0, length)?, to);
        lock(&self.blocks).waiting.push(block);
        Ok(sent?)
    }

    /// A pinned block that the host may write.
    fn pinned(
        &self,
        gpu: &G,
        stream: &G::Stream,
        length: u64,
    ) -> Result<G::HostMemory, DeviceError> {
        let size = length.next_power_of_two().max(LEAST);
        let take = |blocks: &mut Blocks<G>| {
            let found = blocks.free.iter().position(|block| block.bytes() >= size);
            found.map(|place| blocks.free.swap_remove(place))
        };
        let waiting = {
            let mut blocks = lock(&self.blocks);
            if let Some(block) = take(&mut blocks) {
                return Ok(block);
            }
            blocks.waiting.len()
        };
        if waiting >= MOST_WAITING {
            // Somebody who sends and never looks at what comes of it.
            gpu.synchronise(stream)?;
            self.waited();
            if let Some(block) = take(&mut lock(&self.blocks)) {
                return Ok(block);
            }
        }
        Ok(gpu.allocate_host("numbers of a step", size)?)
    }
}
