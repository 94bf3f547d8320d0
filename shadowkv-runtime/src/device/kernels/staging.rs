//! Memory for what the host tells the GPU in every step: pinned on one side, on the GPU on the other, used again and again.
//!
//! A pinned block is written by the host as soon as it is handed out, so it is handed out again only after the host has waited
//! since for the stream, or for an event recorded behind what read it: a host that never looks at what comes of its calls gets
//! no further ahead of the GPU than two generations of blocks. Memory on the GPU is used in the order of the stream, and is
//! handed out again at once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::device::DeviceError;
use crate::gpu::{Gpu, GpuError, GpuMemory as _, HostMemory as _, Part};

/// Bytes of the smallest block; others have a power of two as many.
const LEAST: u64 = 4096;

/// Pinned blocks of a generation: with as many in use since the last, the host waits for the generation before it.
const GENERATION: usize = 128;

/// The blocks.
pub(super) struct Staging<G: Gpu> {
    blocks: Arc<Mutex<Blocks<G>>>,
}

struct Blocks<G: Gpu> {
    /// Pinned blocks that nothing enqueued reads any more.
    free: Vec<G::HostMemory>,
    /// Pinned blocks that something enqueued may still read.
    waiting: Vec<G::HostMemory>,
    /// The generation before those, and the event behind all that reads it.
    sealed: Vec<G::HostMemory>,
    event: Option<G::Event>,
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

    /// Its first `bytes` bytes.
    pub(super) fn part(&self, bytes: u64) -> Result<Part<'_, G>, DeviceError> {
        match &self.memory {
            Some(memory) => Ok(memory.part(0, bytes)?),
            // It is taken out when this is dropped, and not before.
            None => Err(DeviceError::Gpu(GpuError::OutOfRange {
                name: "numbers of a step".to_owned(),
                offset: 0,
                bytes,
                size: 0,
            })),
        }
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
                sealed: Vec::new(),
                event: None,
                device: Vec::new(),
            })),
        }
    }

    /// The host has waited for the stream.
    pub(super) fn waited(&self) {
        let mut blocks = lock(&self.blocks);
        let Blocks {
            free,
            waiting,
            sealed,
            ..
        } = &mut *blocks;
        free.append(sealed);
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
            let found = blocks.device.iter().position(|block| block.bytes() >= size);
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
        let mut blocks = lock(&self.blocks);
        if let Some(block) = blocks.take(size) {
            return Ok(block);
        }
        if blocks.waiting.len() >= GENERATION {
            // Somebody who sends and never looks at what comes of it.
            blocks.next_generation(gpu, stream)?;
            if let Some(block) = blocks.take(size) {
                return Ok(block);
            }
        }
        drop(blocks);
        Ok(gpu.allocate_host("numbers of a step", size)?)
    }
}

impl<G: Gpu> Blocks<G> {
    /// A block that nothing reads.
    fn take(&mut self, size: u64) -> Option<G::HostMemory> {
        let found = self.free.iter().position(|block| block.bytes() >= size);
        found.map(|place| self.free.swap_remove(place))
    }

    /// Waits for the last generation, whose blocks are then free, and seals this one.
    fn next_generation(&mut self, gpu: &G, stream: &G::Stream) -> Result<(), DeviceError> {
        let event = match self.event.take() {
            Some(event) => {
                let waited = if self.sealed.is_empty() {
                    Ok(())
                } else {
                    gpu.synchronise_event(&event)
                };
                if let Err(error) = waited {
                    self.event = Some(event);
                    return Err(error.into());
                }
                event
            }
            None => gpu.event("numbers of earlier steps")?,
        };
        let recorded = gpu.record(stream, &event);
        self.event = Some(event);
        recorded?;
        let Blocks {
            free,
            waiting,
            sealed,
            ..
        } = self;
        free.append(sealed);
        std::mem::swap(sealed, waiting);
        Ok(())
    }
}
