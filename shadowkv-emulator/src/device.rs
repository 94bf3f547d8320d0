//! An emulated GPU.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::counters::{Counters, Site};
use crate::exec::{self, Context, Sample};
use crate::finding::Finding;
use crate::memory::page::PAGE;
use crate::memory::space::{AddressSpace, Allocation, Lookup};
use crate::memory::{MemoryKind, Touched, UNIT, clear_runs, first_clear, set_bits, unit_bits};
use crate::model::GpuModel;
use crate::module::{Kernel, Module};

/// What a launch looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaunchConfig {
    /// Blocks in x, y, z.
    pub grid: [u32; 3],
    /// Threads of a block in x, y, z.
    pub block: [u32; 3],
    /// Dynamic shared memory of a block, bytes.
    pub shared_bytes: u32,
    /// All blocks must be at work at once, so that they may wait for each other.
    pub cooperative: bool,
}

impl LaunchConfig {
    /// `grid` blocks of `threads` threads in one dimension.
    pub fn new(grid: [u32; 3], threads: u32) -> LaunchConfig {
        LaunchConfig {
            grid,
            block: [threads, 1, 1],
            shared_bytes: 0,
            cooperative: false,
        }
    }
}

/// What came of a launch.
#[derive(Clone, Debug)]
pub struct LaunchReport {
    /// What the emulator objects to, in a fixed order; empty if nothing.
    pub findings: Vec<Finding>,
    /// Everything counted.
    pub counters: Counters,
    /// Which bytes of which allocations were read and written, ascending by address.
    pub touched: Vec<Touched>,
    pub(crate) kernel: Kernel,
    pub(crate) sites: Vec<Site>,
}

/// Why a call was refused, as the driver would.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// The memory of the GPU is full.
    #[error("out of memory: `{name}` needs {bytes} bytes, and {free} of {total} are free")]
    OutOfMemory {
        /// Name of the allocation.
        name: String,
        /// Bytes asked for.
        bytes: u64,
        /// Bytes free.
        free: u64,
        /// Bytes of the GPU.
        total: u64,
    },
    /// The machine that emulates has no memory left.
    #[error("the host has no {bytes} bytes for `{name}`")]
    HostMemory {
        /// Name of the allocation.
        name: String,
        /// Bytes asked for.
        bytes: u64,
    },
    /// An allocation of no bytes.
    #[error("`{name}` has no bytes")]
    Empty {
        /// Name of the allocation.
        name: String,
    },
    /// A range that no allocation holds.
    #[error("{bytes} bytes at {address:#x} are not within one allocation")]
    OutOfBounds {
        /// First address.
        address: u64,
        /// Bytes.
        bytes: u64,
    },
    /// Nothing to free there.
    #[error("no allocation begins at {address:#x}")]
    NotAllocated {
        /// The address.
        address: u64,
    },
}

/// Why a launch was refused, as the driver would.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// No blocks, or more than there may be.
    #[error("a grid of {} x {} x {} blocks; x may be 1 to 2147483647, y and z 1 to 65535, and the emulator numbers at most 2^27 of them", .grid[0], .grid[1], .grid[2])]
    Grid {
        /// Blocks in x, y, z.
        grid: [u32; 3],
    },
    /// No threads, or more than there may be.
    #[error("a block of {} x {} x {} threads; {limit}", .block[0], .block[1], .block[2])]
    Block {
        /// Threads in x, y, z.
        block: [u32; 3],
        /// The limit that is broken.
        limit: String,
    },
    /// More shared memory than a block may have.
    #[error(
        "{declared} bytes of declared and {dynamic} of dynamic shared memory; a block may have {limit}"
    )]
    Shared {
        /// Declared by the kernel, bytes.
        declared: u32,
        /// Of the launch, bytes.
        dynamic: u32,
        /// The GPU's limit, bytes.
        limit: u32,
    },
    /// A parameter buffer of another size.
    #[error("{found} bytes of parameters; `{kernel}` takes {expected}")]
    Parameters {
        /// The kernel.
        kernel: String,
        /// Bytes given.
        found: usize,
        /// Bytes it takes.
        expected: u32,
    },
    /// A cooperative launch of more blocks than fit at once.
    #[error("a cooperative launch of {blocks} blocks; {limit} fit the GPU at once")]
    Cooperative {
        /// Blocks asked for.
        blocks: u64,
        /// Blocks that fit.
        limit: u32,
    },
    /// The machine that emulates has no memory left for a variable of the module.
    #[error("the host has no {bytes} bytes for the variable `{name}`")]
    HostMemory {
        /// The variable.
        name: String,
        /// Its size, bytes.
        bytes: u64,
    },
}

/// An emulated GPU: memory, and kernels run on it one launch after the other.
#[derive(Debug)]
pub struct Device {
    model: GpuModel,
    space: AddressSpace,
    /// Variables of modules that have been launched, by module.
    modules: BTreeMap<u64, Vec<Allocation>>,
    workers: usize,
    most_instructions: u64,
    sample: Sample,
}

impl Device {
    /// A GPU of the given model with nothing allocated.
    pub fn new(model: GpuModel) -> Device {
        Device {
            model,
            space: AddressSpace::default(),
            modules: BTreeMap::new(),
            workers: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            most_instructions: 4_000_000_000,
            sample: Sample::All,
        }
    }

    /// Runs blocks on at most `workers` threads. Neither results nor findings nor counts depend on it.
    #[must_use]
    pub fn with_workers(mut self, workers: usize) -> Device {
        self.workers = workers.max(1);
        self
    }

    /// Gives up a launch after `instructions` warp instructions.
    #[must_use]
    pub fn with_most_instructions(mut self, instructions: u64) -> Device {
        self.most_instructions = instructions;
        self
    }

    /// Runs of every launch no more than `blocks` blocks, spread evenly over the grid, and leaves the others out: what the
    /// launch costs can be told from them, what it computes cannot. The report counts the blocks that ran.
    #[must_use]
    pub fn with_most_blocks(mut self, blocks: u32) -> Device {
        self.sample = Sample::AtMost(blocks);
        self
    }

    /// The model.
    pub fn model(&self) -> &GpuModel {
        &self.model
    }

    /// Allocates `bytes` bytes of device memory, of no defined contents; the address.
    ///
    /// # Errors
    ///
    /// [`DeviceError::OutOfMemory`], [`DeviceError::HostMemory`], or [`DeviceError::Empty`] for no bytes.
    pub fn allocate(&mut self, name: &str, bytes: u64) -> Result<u64, DeviceError> {
        let free = self
            .model
            .memory_bytes
            .saturating_sub(self.space.device_bytes());
        if bytes > free {
            return Err(DeviceError::OutOfMemory {
                name: name.to_owned(),
                bytes,
                free,
                total: self.model.memory_bytes,
            });
        }
        self.allocate_kind(name, bytes, MemoryKind::Device)
    }

    /// Allocates `bytes` bytes of pinned host memory, mapped into the GPU's address space; the address there.
    ///
    /// # Errors
    ///
    /// [`DeviceError::HostMemory`], or [`DeviceError::Empty`] for no bytes.
    pub fn allocate_mapped(&mut self, name: &str, bytes: u64) -> Result<u64, DeviceError> {
        self.allocate_kind(name, bytes, MemoryKind::MappedHost)
    }

    fn allocate_kind(
        &mut self,
        name: &str,
        bytes: u64,
        kind: MemoryKind,
    ) -> Result<u64, DeviceError> {
        if bytes == 0 {
            return Err(DeviceError::Empty {
                name: name.to_owned(),
            });
        }
        self.space
            .allocate(name, kind, bytes)
            .ok_or_else(|| DeviceError::HostMemory {
                name: name.to_owned(),
                bytes,
            })
    }

    /// Frees the allocation that begins at `address`. Its addresses are never used again, so that later accesses are found.
    ///
    /// # Errors
    ///
    /// [`DeviceError::NotAllocated`] if none begins there.
    pub fn free(&mut self, address: u64) -> Result<(), DeviceError> {
        if self.space.free(address) {
            Ok(())
        } else {
            Err(DeviceError::NotAllocated { address })
        }
    }

    /// Frees everything.
    pub fn free_all(&mut self) {
        self.space = AddressSpace::default();
    }

    /// Bytes of device memory that are allocated.
    pub fn allocated_bytes(&self) -> u64 {
        self.space.device_bytes()
    }

    fn range(&self, address: u64, bytes: u64) -> Result<(usize, u64), DeviceError> {
        match self.space.find(address) {
            Lookup::Live(index, offset)
                if self.space.allocations()[index].bytes - offset >= bytes =>
            {
                Ok((index, offset))
            }
            _ => Err(DeviceError::OutOfBounds { address, bytes }),
        }
    }

    /// Copies `bytes` to `address`.
    ///
    /// # Errors
    ///
    /// [`DeviceError::OutOfBounds`] if no allocation holds the range.
    pub fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        if bytes.is_empty() {
            return Ok(());
        }
        let (index, offset) = self.range(address, bytes.len() as u64)?;
        if let Some(allocation) = self.space.allocation_mut(index) {
            let begin = offset as usize;
            allocation.data[begin..begin + bytes.len()].copy_from_slice(bytes);
            allocation.define(offset, bytes.len() as u64);
        }
        Ok(())
    }

    /// Copies bytes from `address`, defined or not.
    ///
    /// # Errors
    ///
    /// [`DeviceError::OutOfBounds`] if no allocation holds the range.
    pub fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), DeviceError> {
        if bytes.is_empty() {
            return Ok(());
        }
        let (index, offset) = self.range(address, bytes.len() as u64)?;
        let begin = offset as usize;
        let data = &self.space.allocations()[index].data;
        bytes.copy_from_slice(&data[begin..begin + bytes.len()]);
        Ok(())
    }

    /// `bytes` bytes at `address` where they lie, defined or not.
    ///
    /// # Errors
    ///
    /// [`DeviceError::OutOfBounds`] if no allocation holds the range.
    pub fn bytes(&self, address: u64, bytes: u64) -> Result<&[u8], DeviceError> {
        if bytes == 0 {
            return Ok(&[]);
        }
        let (index, offset) = self.range(address, bytes)?;
        Ok(&self.space.allocations()[index].data[offset as usize..(offset + bytes) as usize])
    }

    /// Copies `bytes` bytes between two allocations, or between parts of one that do not overlap. What is undefined stays so.
    ///
    /// # Errors
    ///
    /// [`DeviceError::OutOfBounds`] if no allocation holds one of the ranges.
    pub fn copy(&mut self, from: u64, to: u64, bytes: u64) -> Result<(), DeviceError> {
        if bytes == 0 {
            return Ok(());
        }
        let (index, offset) = self.range(from, bytes)?;
        let allocation = &self.space.allocations()[index];
        let data = allocation.data[offset as usize..(offset + bytes) as usize].to_vec();
        let undefined = clear_runs(&allocation.defined, offset, offset + bytes);
        self.write(to, &data)?;
        for run in undefined {
            self.undefine(to + (run.start - offset), run.end - run.start)?;
        }
        Ok(())
    }

    /// Address of the first of `bytes` bytes at `address` that nobody has written.
    ///
    /// # Errors
    ///
    /// [`DeviceError::OutOfBounds`] if no allocation holds the range.
    pub fn first_undefined(&self, address: u64, bytes: u64) -> Result<Option<u64>, DeviceError> {
        if bytes == 0 {
            return Ok(None);
        }
        let (index, offset) = self.range(address, bytes)?;
        let defined = &self.space.allocations()[index].defined;
        let first = first_clear(defined, offset, offset + bytes);
        Ok(first.map(|byte| address + (byte - offset)))
    }

    /// Which of `bytes` bytes at `address` anybody has written: by [`Device::write`] or in a launch.
    ///
    /// # Errors
    ///
    /// [`DeviceError::OutOfBounds`] if no allocation holds the range.
    pub fn defined(&self, address: u64, bytes: u64) -> Result<Vec<bool>, DeviceError> {
        if bytes == 0 {
            return Ok(Vec::new());
        }
        let (index, offset) = self.range(address, bytes)?;
        let defined = &self.space.allocations()[index].defined;
        Ok((offset..offset + bytes)
            .map(|byte| defined[(byte / UNIT) as usize] & unit_bits(byte, 1) != 0)
            .collect())
    }

    /// Makes the contents of `bytes` bytes at `address` undefined again.
    ///
    /// # Errors
    ///
    /// [`DeviceError::OutOfBounds`] if no allocation holds the range.
    pub fn undefine(&mut self, address: u64, bytes: u64) -> Result<(), DeviceError> {
        if bytes == 0 {
            return Ok(());
        }
        let (index, offset) = self.range(address, bytes)?;
        if let Some(allocation) = self.space.allocation_mut(index) {
            for byte in offset..offset + bytes {
                allocation.defined[(byte / UNIT) as usize] &= !unit_bits(byte, 1);
            }
        }
        Ok(())
    }

    /// Runs `kernel` with the parameter buffer `parameters` (its parameters at their natural alignment) to its end.
    ///
    /// Findings are part of the report, not errors: what the kernel did up to then has been done.
    ///
    /// # Errors
    ///
    /// [`LaunchError`], as the driver would refuse the launch.
    pub fn launch(
        &mut self,
        kernel: &Kernel,
        config: &LaunchConfig,
        parameters: &[u8],
    ) -> Result<LaunchReport, LaunchError> {
        self.check(kernel, config, parameters)?;
        let program = kernel.program();
        let variables = match self.modules.entry(kernel.module().identity()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(place(kernel.module())?),
        };
        let threads = config.block.iter().product::<u32>();
        let shared_bytes = if config.shared_bytes > 0 {
            program.dynamic_shared_offset + config.shared_bytes
        } else {
            program.static_shared_bytes
        };
        let context = Context {
            program,
            grid: config.grid,
            block: config.block,
            shared_bytes,
            dynamic_shared_bytes: config.shared_bytes,
            parameters,
            multiprocessors: self.model.multiprocessors,
            tensor: self.model.tensor(),
            most_instructions: self.most_instructions,
            resident_blocks: self.model.resident_blocks(threads, shared_bytes),
            sample: self.sample,
        };
        let live: Vec<&Allocation> = self
            .space
            .allocations()
            .iter()
            .filter(|allocation| !allocation.freed)
            .chain(variables.iter())
            .collect();
        let space = &self.space;
        let placed: &[Allocation] = variables;
        let lookup = |address: u64| {
            let variable = placed.iter().rfind(|variable| {
                variable.base <= address && address - variable.base < variable.bytes
            });
            match variable {
                Some(variable) => Lookup::Live(0, address - variable.base),
                None => space.find(address),
            }
        };
        let outcome = exec::run(&context, &live, &lookup, self.workers);
        for page in &outcome.merged.pages {
            let allocation = match self.space.find(page.base) {
                Lookup::Live(index, _) => self.space.allocation_mut(index),
                _ => variables
                    .iter_mut()
                    .find(|variable| variable.base == page.base),
            };
            let Some(allocation) = allocation else {
                continue;
            };
            let begin = page.offset as usize;
            let end = (page.offset + PAGE).min(allocation.bytes) as usize;
            crate::memory::merge::copy_written(
                &mut allocation.data[begin..end],
                &page.data,
                &page.written,
            );
            let first = begin / UNIT as usize;
            for (unit, bits) in page.written.iter().enumerate() {
                if let Some(defined) = allocation.defined.get_mut(first + unit) {
                    *defined |= bits;
                }
            }
        }
        Ok(LaunchReport {
            findings: outcome.findings,
            counters: outcome.counters,
            touched: outcome.merged.touched,
            kernel: kernel.clone(),
            sites: outcome.sites,
        })
    }

    /// Whether [`Device::launch`] would refuse this launch, without running anything.
    ///
    /// # Errors
    ///
    /// [`LaunchError`].
    pub fn check(
        &self,
        kernel: &Kernel,
        config: &LaunchConfig,
        parameters: &[u8],
    ) -> Result<(), LaunchError> {
        let program = kernel.program();
        let LaunchConfig { grid, block, .. } = *config;
        let blocks: u64 = grid.iter().map(|&count| u64::from(count)).product();
        if grid.contains(&0)
            || grid[0] > i32::MAX as u32
            || grid[1] > 65_535
            || grid[2] > 65_535
            || blocks >= 1 << 27
        {
            return Err(LaunchError::Grid { grid });
        }
        let refuse = |limit: String| Err(LaunchError::Block { block, limit });
        let threads: u64 = block.iter().map(|&count| u64::from(count)).product();
        if block.contains(&0) || threads > 1024 || block[2] > 64 {
            return refuse("at most 1024 in all and 64 in z".into());
        }
        if let Some(required) = program.required_threads
            && required != block
        {
            return refuse(format!("the kernel requires {required:?}"));
        }
        if let Some(most) = program.max_threads
            && threads > most.iter().map(|&count| u64::from(count)).product()
        {
            return refuse(format!("the kernel is compiled for at most {most:?}"));
        }
        let declared = program.static_shared_bytes;
        let limit = self.model.shared_bytes_per_block;
        if u64::from(program.dynamic_shared_offset) + u64::from(config.shared_bytes)
            > u64::from(limit)
        {
            return Err(LaunchError::Shared {
                declared,
                dynamic: config.shared_bytes,
                limit,
            });
        }
        if parameters.len() != program.parameter_bytes as usize {
            return Err(LaunchError::Parameters {
                kernel: program.name.clone(),
                found: parameters.len(),
                expected: program.parameter_bytes,
            });
        }
        let fits = self
            .model
            .resident_blocks(threads as u32, declared + config.shared_bytes);
        if config.cooperative && blocks > u64::from(fits) {
            return Err(LaunchError::Cooperative {
                blocks,
                limit: fits,
            });
        }
        Ok(())
    }
}

/// A module's variables as allocations of their own.
fn place(module: &Module) -> Result<Vec<Allocation>, LaunchError> {
    let mut placed = Vec::new();
    for variable in module.variables() {
        let mut allocation = Allocation::new(
            &variable.name,
            MemoryKind::Device,
            variable.address,
            variable.bytes,
        )
        .ok_or_else(|| LaunchError::HostMemory {
            name: variable.name.clone(),
            bytes: variable.bytes,
        })?;
        allocation.data[..variable.init.len()].copy_from_slice(&variable.init);
        // Without an initialiser they are zeros (PTX ISA, variable initialisation).
        set_bits(&mut allocation.defined, 0, variable.bytes);
        placed.push(allocation);
    }
    Ok(placed)
}
