//! The emulated GPU as a [`Gpu`].

use std::sync::Arc;

use shadowkv_emulator as emulator;

use crate::gpu::{
    EigenBasis, Gpu, GpuError, GpuMemory, HostPart, Image, Part, Priority, Product, Properties,
};
use crate::manifest::LaunchDims;

use super::check::{Home, Tracked};
use super::state::{Event, Point, Recorded, State};
use super::work::{ProductWork, Work, copy_name, fill};
use super::{
    EmulatedEvent, EmulatedGpu, EmulatedGraph, EmulatedHostMemory, EmulatedKernel, EmulatedMemory,
    EmulatedModule, EmulatedStream, own, strikes,
};

/// Bytes of a `write` beyond which they are not kept until the order has it.
const WRITE_NOW: u64 = 64 << 10;

/// Without a stream nothing can be waited for; with an event that was never recorded there is nothing to wait for.
fn recorded_point(state: &mut State, event: usize) -> Result<Option<Point>, GpuError> {
    let name = Arc::clone(&state.events[event].name);
    match state.events[event].recorded.clone() {
        Some(Recorded::Point(point)) => Ok(Some(point)),
        Some(Recorded::Captured { .. }) => Err(GpuError::Capture {
            message: format!("the host cannot wait for `{name}`, which is part of a graph"),
        }),
        None => {
            let actor = state.host_acts(&format!("wait for {name}"));
            state.never_recorded(&actor, &name, "the host waits");
            Ok(None)
        }
    }
}

fn refused(kernel: &str, message: String) -> GpuError {
    GpuError::Launch {
        kernel: kernel.to_owned(),
        message,
    }
}

fn allocated(error: emulator::DeviceError) -> GpuError {
    match error {
        emulator::DeviceError::OutOfMemory {
            name,
            bytes,
            free,
            total,
        } => GpuError::OutOfMemory {
            name,
            bytes,
            free,
            total,
        },
        emulator::DeviceError::HostMemory { name, bytes } => GpuError::OutOfHostMemory {
            name,
            bytes,
            free: None,
        },
        other => GpuError::Driver {
            call: "allocate".to_owned(),
            code: 1,
            message: other.to_string(),
        },
    }
}

impl Gpu for EmulatedGpu {
    type Memory = EmulatedMemory;
    type HostMemory = EmulatedHostMemory;
    type Stream = EmulatedStream;
    type Event = EmulatedEvent;
    type Module = EmulatedModule;
    type Kernel = EmulatedKernel;
    type Graph = EmulatedGraph;
    type Entered = ();

    fn properties(&self) -> &Properties {
        &self.shared.properties
    }

    fn enter(&self) {}

    fn free_bytes(&self) -> Result<u64, GpuError> {
        let state = self.shared.lock();
        state.alive()?;
        let used = state.device.allocated_bytes();
        Ok(state.options.model.memory_bytes.saturating_sub(used))
    }

    fn allocate(&self, name: &str, bytes: u64) -> Result<EmulatedMemory, GpuError> {
        let mut state = self.shared.lock();
        let state = &mut *state;
        state.alive()?;
        if strikes(
            &mut state.calls.allocations,
            state.options.faults.allocation,
        ) {
            let total = state.options.model.memory_bytes;
            return Err(state.failing(GpuError::OutOfMemory {
                name: name.to_owned(),
                bytes,
                free: 0,
                total,
            }));
        }
        let mut address = state.device.allocate(name, bytes.max(1));
        if address.is_err() {
            // As a driver would: what is about to be freed is waited for.
            state.run_all();
            state.alive()?;
            address = state.device.allocate(name, bytes.max(1));
        }
        let address = address.map_err(|error| state.failing(allocated(error)))?;
        let name: Arc<str> = name.into();
        let tracked = Tracked::new(Arc::clone(&name), bytes.max(1), Home::Device);
        state.allocations.insert(address, tracked);
        let shared = Arc::clone(&self.shared);
        Ok(EmulatedMemory::new(shared, name, address, bytes))
    }

    unsafe fn borrow(
        &self,
        name: &str,
        address: u64,
        bytes: u64,
    ) -> Result<EmulatedMemory, GpuError> {
        let state = self.shared.lock();
        state.alive()?;
        let within = state.allocation_at(address).is_some_and(|(base, offset)| {
            let found = state.allocations.get(&base);
            found.is_some_and(|found| {
                found.is_live() && found.home == Home::Device && bytes <= found.bytes - offset
            })
        });
        if !within {
            return Err(GpuError::Invalid {
                operation: format!("use `{name}`"),
                message: format!(
                    "this GPU has not allocated {bytes} bytes at {address:#x}: is it a pointer of the host's?"
                ),
            });
        }
        let shared = Arc::clone(&self.shared);
        Ok(EmulatedMemory::borrowed(
            shared,
            name.into(),
            address,
            bytes,
        ))
    }

    fn allocate_host(&self, name: &str, bytes: u64) -> Result<EmulatedHostMemory, GpuError> {
        let mut state = self.shared.lock();
        let state = &mut *state;
        state.alive()?;
        let fault = state.options.faults.host_allocation;
        let strikes = strikes(&mut state.calls.host_allocations, fault);
        let left = state.options.pinned_bytes;
        let left = left.map(|most| most.saturating_sub(state.pinned_bytes));
        if strikes || left.is_some_and(|left| bytes > left) {
            return Err(state.failing(GpuError::OutOfHostMemory {
                name: name.to_owned(),
                bytes,
                free: left.filter(|_| !strikes),
            }));
        }
        let address = state.device.allocate_mapped(name, bytes.max(1));
        let address = address.map_err(|error| state.failing(allocated(error)))?;
        // All zero, as the operating system hands it out.
        let _ = fill(&mut state.device, address, bytes, 0);
        state.pinned_bytes += bytes.max(1);
        let name: Arc<str> = name.into();
        let tracked = Tracked::new(Arc::clone(&name), bytes.max(1), Home::Host);
        state.allocations.insert(address, tracked);
        let shared = Arc::clone(&self.shared);
        let memory = EmulatedMemory::new(shared, name, address, bytes);
        Ok(EmulatedHostMemory::new(memory))
    }

    fn free(&self, stream: &EmulatedStream, memory: EmulatedMemory) -> Result<(), GpuError> {
        own(memory.belongs_to(&self.shared), memory.name())?;
        let mut state = self.shared.lock();
        let what = format!("free {}", memory.name()).into();
        // Taken out of the caller's hands whatever happens; dropped here, it would wait for the lock.
        let address = memory.into_address();
        if let Err(error) = state
            .not_captured(stream.0, "freeing memory")
            .and(state.alive())
        {
            let actor = state.host_acts("free");
            state.release(&actor, address);
            return Err(error);
        }
        state.give(stream.0, what, Work::Free { address })
    }

    fn stream(&self, name: &str, _priority: Priority) -> Result<EmulatedStream, GpuError> {
        let mut state = self.shared.lock();
        state.alive()?;
        Ok(EmulatedStream(state.add_stream(name)))
    }

    fn event(&self, name: &str) -> Result<EmulatedEvent, GpuError> {
        let mut state = self.shared.lock();
        state.alive()?;
        state.events.push(Event {
            name: name.into(),
            recorded: None,
        });
        Ok(EmulatedEvent(state.events.len() - 1))
    }

    fn record(&self, stream: &EmulatedStream, event: &EmulatedEvent) -> Result<(), GpuError> {
        self.shared.lock().record(stream.0, event.0)
    }

    fn wait(&self, stream: &EmulatedStream, event: &EmulatedEvent) -> Result<(), GpuError> {
        self.shared.lock().wait(stream.0, event.0)
    }

    fn synchronise(&self, stream: &EmulatedStream) -> Result<(), GpuError> {
        let mut state = self.shared.lock();
        state.not_captured(stream.0, "waiting for it")?;
        let point = state.point(stream.0);
        state.wait_on_host(&point)
    }

    fn synchronise_event(&self, event: &EmulatedEvent) -> Result<(), GpuError> {
        let mut state = self.shared.lock();
        state.alive()?;
        match recorded_point(&mut state, event.0)? {
            Some(point) => state.wait_on_host(&point),
            None => Ok(()),
        }
    }

    fn elapsed_ms(&self, begin: &EmulatedEvent, end: &EmulatedEvent) -> Result<f32, GpuError> {
        let mut state = self.shared.lock();
        state.alive()?;
        let mut ends_us = [0.0; 2];
        for (to, event) in ends_us.iter_mut().zip([begin, end]) {
            let Some(point) = recorded_point(&mut state, event.0)? else {
                return Err(GpuError::Invalid {
                    operation: "elapsed_ms".to_owned(),
                    message: format!("`{}` was not recorded", state.events[event.0].name),
                });
            };
            state.wait_on_host(&point)?;
            *to = point.reached_us(&state);
        }
        Ok(((ends_us[1] - ends_us[0]) / 1e3) as f32)
    }

    fn copy_to_device(
        &self,
        stream: &EmulatedStream,
        from: HostPart<'_, Self>,
        to: Part<'_, Self>,
    ) -> Result<(), GpuError> {
        let work = Work::Copy {
            bytes: from.bytes_to_copy(to)?,
            from: self.own_host(from)?,
            to: self.own_part(to)?,
            across: true,
        };
        let what = copy_name(from.memory().name(), to.memory().name());
        self.give_copy(stream, what, work).map(drop)
    }

    fn copy_to_host(
        &self,
        stream: &EmulatedStream,
        from: Part<'_, Self>,
        to: HostPart<'_, Self>,
    ) -> Result<(), GpuError> {
        let work = Work::Copy {
            bytes: from.bytes_to_copy(to)?,
            from: self.own_part(from)?,
            to: self.own_host(to)?,
            across: true,
        };
        let what = copy_name(from.memory().name(), to.memory().name());
        self.give_copy(stream, what, work).map(drop)
    }

    fn copy(
        &self,
        stream: &EmulatedStream,
        from: Part<'_, Self>,
        to: Part<'_, Self>,
    ) -> Result<(), GpuError> {
        let bytes = from.bytes_to_copy(to)?;
        let (from_address, to_address) = (self.own_part(from)?, self.own_part(to)?);
        let what = copy_name(from.memory().name(), to.memory().name());
        if from_address < to_address + bytes && to_address < from_address + bytes {
            return Err(GpuError::Invalid {
                operation: what.to_string(),
                message: "the parts overlap".to_owned(),
            });
        }
        let work = Work::Copy {
            from: from_address,
            to: to_address,
            bytes,
            across: false,
        };
        self.give_copy(stream, what, work).map(drop)
    }

    fn fill(&self, stream: &EmulatedStream, to: Part<'_, Self>, byte: u8) -> Result<(), GpuError> {
        let work = Work::Fill {
            to: self.own_part(to)?,
            bytes: to.bytes(),
            byte,
        };
        let what = format!("fill {}", to.memory().name()).into();
        self.shared.lock().give(stream.0, what, work)
    }

    fn write(
        &self,
        stream: &EmulatedStream,
        from: &[u8],
        to: Part<'_, Self>,
    ) -> Result<(), GpuError> {
        let what: Arc<str> = format!("write {}", to.memory().name()).into();
        if from.len() as u64 != to.bytes() {
            return Err(GpuError::Invalid {
                operation: what.to_string(),
                message: format!("{} bytes do not fit {}", from.len(), to.bytes()),
            });
        }
        let work = Work::Write {
            to: self.own_part(to)?,
            data: from.to_vec(),
        };
        self.shared.lock().not_captured(stream.0, "`write`")?;
        let mut state = self.give_copy(stream, what, work)?;
        if to.bytes() > WRITE_NOW {
            let point = state.point(stream.0);
            state.run_to(point.stream, point.number);
        }
        Ok(())
    }

    fn read(
        &self,
        stream: &EmulatedStream,
        from: Part<'_, Self>,
        to: &mut [u8],
    ) -> Result<(), GpuError> {
        let what: Arc<str> = format!("read {}", from.memory().name()).into();
        if to.len() as u64 != from.bytes() {
            return Err(GpuError::Invalid {
                operation: what.to_string(),
                message: format!("{} bytes do not fit {}", from.bytes(), to.len()),
            });
        }
        let work = Work::Read {
            from: self.own_part(from)?,
            bytes: from.bytes(),
        };
        self.shared.lock().not_captured(stream.0, "`read`")?;
        let mut state = self.give_copy(stream, what, work)?;
        let point = state.point(stream.0);
        state.wait_on_host(&point)?;
        to.copy_from_slice(&std::mem::take(&mut state.read_back));
        Ok(())
    }

    fn load(&self, name: &str, image: Image<'_>) -> Result<EmulatedModule, GpuError> {
        self.shared.lock().alive()?;
        let load_error = |message: String| GpuError::Load {
            name: name.to_owned(),
            device: self.shared.properties.name.clone(),
            message,
        };
        let Image::Ptx(ptx) = image else {
            return Err(load_error("it runs PTX, not machine code".to_owned()));
        };
        let module = emulator::Module::load(ptx).map_err(|error| load_error(error.to_string()))?;
        Ok(EmulatedModule {
            name: name.into(),
            module,
        })
    }

    fn kernel(
        &self,
        module: &EmulatedModule,
        entry: &str,
        shared_bytes: u32,
    ) -> Result<EmulatedKernel, GpuError> {
        let kernel = module.module.kernel(entry);
        let kernel = kernel.map_err(|_| GpuError::UnknownKernel {
            module: module.name.to_string(),
            kernel: entry.to_owned(),
        })?;
        let limit = self.shared.properties.shared_bytes_per_block;
        let declared = kernel.static_shared_bytes();
        if shared_bytes > limit.saturating_sub(declared) {
            let message = format!(
                "{declared} bytes of declared and {shared_bytes} of dynamic shared memory; a block of {} may have {limit}",
                self.shared.properties.name
            );
            return Err(refused(entry, message));
        }
        Ok(EmulatedKernel {
            kernel,
            name: entry.into(),
            shared_bytes,
        })
    }

    unsafe fn launch(
        &self,
        stream: &EmulatedStream,
        kernel: &EmulatedKernel,
        dims: LaunchDims,
        parameters: &[u8],
    ) -> Result<(), GpuError> {
        let mut state = self.shared.lock();
        let state = &mut *state;
        state.alive()?;
        if strikes(&mut state.calls.launches, state.options.faults.launch) {
            let error = refused(&kernel.name, "a fault on demand".to_owned());
            return Err(state.failing(error));
        }
        if dims.shared_bytes > kernel.shared_bytes {
            let message = format!(
                "{} bytes of dynamic shared memory; it was allowed {}",
                dims.shared_bytes, kernel.shared_bytes
            );
            return Err(state.failing(refused(&kernel.name, message)));
        }
        let config = emulator::LaunchConfig {
            shared_bytes: dims.shared_bytes,
            ..emulator::LaunchConfig::new(dims.grid, dims.threads)
        };
        let checked = state.device.check(&kernel.kernel, &config, parameters);
        checked.map_err(|error| state.failing(refused(&kernel.name, error.to_string())))?;
        let work = Work::Launch {
            kernel: kernel.kernel.clone(),
            config,
            parameters: parameters.to_vec(),
        };
        state.give(stream.0, Arc::clone(&kernel.name), work)
    }

    fn product(
        &self,
        stream: &EmulatedStream,
        product: &Product<'_, Self>,
    ) -> Result<(), GpuError> {
        product.check()?;
        let weights = product.weights.memory().name();
        let work = Work::Product(ProductWork {
            input: self.own_part(product.input)?,
            weights: self.own_part(product.weights)?,
            bias: product.bias.map(|bias| self.own_part(bias)).transpose()?,
            output: self.own_part(product.output)?,
            output_type: product.output_type,
            rows: product.rows,
            inputs: product.inputs,
            outputs: product.outputs,
        });
        let what = format!("product {weights}").into();
        self.shared.lock().give(stream.0, what, work)
    }

    fn eigen_basis(
        &self,
        stream: &EmulatedStream,
        problem: &EigenBasis<'_, Self>,
    ) -> Result<(), GpuError> {
        problem.check()?;
        let work = Work::Eigen {
            gram: self.own_part(problem.gram)?,
            basis: self.own_part(problem.basis)?,
            width: problem.width,
            rank: problem.rank,
        };
        let what = format!("eigen_basis {}", problem.gram.memory().name()).into();
        let mut state = self.shared.lock();
        state.not_captured(stream.0, "an eigenproblem")?;
        state.give(stream.0, what, work)
    }

    fn begin_capture(&self, stream: &EmulatedStream) -> Result<(), GpuError> {
        self.shared.lock().begin_capture(stream.0)
    }

    fn end_capture(&self, stream: &EmulatedStream) -> Result<EmulatedGraph, GpuError> {
        self.shared.lock().end_capture(stream.0).map(EmulatedGraph)
    }

    unsafe fn launch_graph(
        &self,
        stream: &EmulatedStream,
        graph: &EmulatedGraph,
    ) -> Result<(), GpuError> {
        let mut state = self.shared.lock();
        let state = &mut *state;
        state.alive()?;
        state.not_captured(stream.0, "the launch of a graph")?;
        if strikes(&mut state.calls.launches, state.options.faults.launch) {
            return Err(state.failing(refused("graph", "a fault on demand".to_owned())));
        }
        state.launch_graph(stream.0, &graph.0);
        Ok(())
    }
}
