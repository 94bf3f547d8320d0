//! Orders that are missing in the step itself, each found by name.
//!
//! A GPU that is the emulated one but for one call that it leaves out, moves, or gives to the other stream.

use std::sync::atomic::{AtomicBool, Ordering};

use shadowkv_runtime::gpu::emulated::{
    EmulatedEvent, EmulatedGpu, EmulatedHostMemory, EmulatedKernel, EmulatedMemory, EmulatedModule,
    EmulatedStream, FindingKind, Order,
};
use shadowkv_runtime::gpu::{
    EigenBasis, Gpu, GpuError, GpuMemory as _, HostMemory as _, HostPart, Image, Part, Priority,
    Product, Properties,
};
use shadowkv_runtime::manifest::LaunchDims;

use crate::golden::Golden;
use crate::setup::{gpu, greedy};
use crate::steps::small;

/// What is done wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    /// Nothing.
    None,
    /// Values are fetched before the chunks are selected.
    FetchDoesNotWait,
    /// Attention does not wait for the values.
    AttentionDoesNotWait,
    /// The event after the selection is recorded on the stream that waits for it.
    SelectedOnTheWrongStream,
    /// The event after the fetch is recorded on the main stream.
    FetchedOnTheWrongStream,
    /// The event after the fetch is never recorded.
    FetchedIsNotRecorded,
    /// Keys are rebuilt on the stream of the fetches.
    ReconstructOnFetch,
    /// Attention runs on the stream of the fetches.
    AttentionOnFetch,
    /// Chunks are folded on the stream of the fetches.
    FoldOnFetch,
    /// Products run on the stream of the fetches.
    ProductOnFetch,
    /// Numbers of a step are sent on the stream of the fetches.
    NumbersOnFetch,
    /// What the host sends is overwritten before it is copied.
    StagingOverwritten,
    /// Memory is cleared on the stream of the fetches.
    ClearedOnFetch,
    /// The host reads what comes of a step without waiting.
    ReadWithoutWaiting,
}

impl Bug {
    const ALL: [Bug; 13] = [
        Bug::FetchDoesNotWait,
        Bug::AttentionDoesNotWait,
        Bug::SelectedOnTheWrongStream,
        Bug::FetchedOnTheWrongStream,
        Bug::FetchedIsNotRecorded,
        Bug::ReconstructOnFetch,
        Bug::AttentionOnFetch,
        Bug::FoldOnFetch,
        Bug::ProductOnFetch,
        Bug::NumbersOnFetch,
        Bug::StagingOverwritten,
        Bug::ClearedOnFetch,
        Bug::ReadWithoutWaiting,
    ];

    /// What must be among the findings.
    ///
    /// Accesses are compared as they run, whichever comes first, so a random order finds every bug as what it is. Where work runs
    /// as late as it may, what is on a stream that nobody waits for runs when all is over: all that is left to see is
    /// that what it touches was freed before.
    fn finding(self, order: Order) -> FindingKind {
        match self {
            Bug::FetchedIsNotRecorded => FindingKind::EventNeverRecorded,
            Bug::StagingOverwritten => FindingKind::HostWriteInFlight,
            Bug::ReadWithoutWaiting => FindingKind::HostReadInFlight,
            Bug::AttentionDoesNotWait
            | Bug::FetchedOnTheWrongStream
            | Bug::ReconstructOnFetch
            | Bug::AttentionOnFetch
            | Bug::FoldOnFetch
            | Bug::ProductOnFetch
            | Bug::NumbersOnFetch
            | Bug::ClearedOnFetch
                if order == Order::Lazy =>
            {
                FindingKind::FreedInFlight
            }
            _ => FindingKind::Race,
        }
    }
}

/// The emulated GPU, and the bug.
#[derive(Debug)]
struct Sabotaged {
    gpu: EmulatedGpu,
    bug: Bug,
    /// The stream of the fetches, once more.
    fetch: EmulatedStream,
    /// Where the host reads without waiting.
    landing: EmulatedHostMemory,
    /// Whether the model is loaded: set-up is done right.
    ready: AtomicBool,
}

/// A stream, and whether it is that of the fetches.
#[derive(Debug)]
struct Stream {
    is_fetch: bool,
    own: EmulatedStream,
}

/// An event by its name.
#[derive(Debug)]
struct Event {
    name: String,
    own: EmulatedEvent,
}

/// A kernel by its symbol.
#[derive(Clone, Debug)]
struct Kernel {
    entry: String,
    own: EmulatedKernel,
}

impl Sabotaged {
    fn new(gpu: EmulatedGpu, bug: Bug) -> Sabotaged {
        Sabotaged {
            fetch: gpu.stream("elsewhere", Priority::Normal).unwrap(),
            landing: gpu.allocate_host("landing", 1 << 20).unwrap(),
            gpu,
            bug,
            ready: AtomicBool::new(false),
        }
    }

    fn is(&self, bug: Bug) -> bool {
        self.bug == bug && self.ready.load(Ordering::Relaxed)
    }

    /// The stream to use: another one, where that is the bug.
    fn misplaced<'a>(&'a self, bug: Bug, stream: &'a Stream) -> &'a EmulatedStream {
        if self.is(bug) && !stream.is_fetch {
            &self.fetch
        } else {
            &stream.own
        }
    }
}

impl Gpu for Sabotaged {
    type Memory = EmulatedMemory;
    type HostMemory = EmulatedHostMemory;
    type Stream = Stream;
    type Event = Event;
    type Module = EmulatedModule;
    type Kernel = Kernel;
    type Graph = <EmulatedGpu as Gpu>::Graph;
    type Entered = ();

    fn properties(&self) -> &Properties {
        self.gpu.properties()
    }

    fn enter(&self) {}

    fn free_bytes(&self) -> Result<u64, GpuError> {
        self.gpu.free_bytes()
    }

    fn allocate(&self, name: &str, bytes: u64) -> Result<EmulatedMemory, GpuError> {
        self.gpu.allocate(name, bytes)
    }

    unsafe fn borrow(
        &self,
        name: &str,
        address: u64,
        bytes: u64,
    ) -> Result<EmulatedMemory, GpuError> {
        // SAFETY: the caller's contract is the same.
        unsafe { self.gpu.borrow(name, address, bytes) }
    }

    fn allocate_host(&self, name: &str, bytes: u64) -> Result<EmulatedHostMemory, GpuError> {
        self.gpu.allocate_host(name, bytes)
    }

    fn free(&self, stream: &Stream, memory: EmulatedMemory) -> Result<(), GpuError> {
        self.gpu.free(&stream.own, memory)
    }

    fn stream(&self, name: &str, priority: Priority) -> Result<Stream, GpuError> {
        Ok(Stream {
            is_fetch: name == "fetch",
            own: self.gpu.stream(name, priority)?,
        })
    }

    fn event(&self, name: &str) -> Result<Event, GpuError> {
        Ok(Event {
            name: name.to_owned(),
            own: self.gpu.event(name)?,
        })
    }

    fn record(&self, stream: &Stream, event: &Event) -> Result<(), GpuError> {
        let selected = event.name == "chunks selected";
        let wrong = match self.bug {
            Bug::SelectedOnTheWrongStream => selected,
            Bug::FetchedOnTheWrongStream => !selected,
            _ => false,
        };
        if self.bug == Bug::FetchedIsNotRecorded && !selected {
            return Ok(());
        }
        self.gpu
            .record(if wrong { &self.fetch } else { &stream.own }, &event.own)
    }

    fn wait(&self, stream: &Stream, event: &Event) -> Result<(), GpuError> {
        let left_out = match self.bug {
            Bug::FetchDoesNotWait => stream.is_fetch,
            Bug::AttentionDoesNotWait => !stream.is_fetch,
            _ => false,
        };
        if left_out {
            return Ok(());
        }
        self.gpu.wait(&stream.own, &event.own)
    }

    fn synchronise(&self, stream: &Stream) -> Result<(), GpuError> {
        self.gpu.synchronise(&stream.own)
    }

    fn synchronise_event(&self, event: &Event) -> Result<(), GpuError> {
        self.gpu.synchronise_event(&event.own)
    }

    fn elapsed_ms(&self, begin: &Event, end: &Event) -> Result<f32, GpuError> {
        self.gpu.elapsed_ms(&begin.own, &end.own)
    }

    fn copy_to_device(
        &self,
        stream: &Stream,
        from: HostPart<'_, Self>,
        to: Part<'_, Self>,
    ) -> Result<(), GpuError> {
        let stream = self.misplaced(Bug::NumbersOnFetch, stream);
        self.gpu.copy_to_device(stream, from, to)?;
        if self.is(Bug::StagingOverwritten) {
            let mut bytes = vec![0; from.bytes() as usize];
            from.memory().get(from.offset(), &mut bytes)?;
            from.memory().set(from.offset(), &bytes)?;
        }
        Ok(())
    }

    fn copy_to_host(
        &self,
        stream: &Stream,
        from: Part<'_, Self>,
        to: HostPart<'_, Self>,
    ) -> Result<(), GpuError> {
        self.gpu.copy_to_host(&stream.own, from, to)
    }

    fn copy(
        &self,
        stream: &Stream,
        from: Part<'_, Self>,
        to: Part<'_, Self>,
    ) -> Result<(), GpuError> {
        self.gpu.copy(&stream.own, from, to)
    }

    fn fill(&self, stream: &Stream, to: Part<'_, Self>, byte: u8) -> Result<(), GpuError> {
        let stream = self.misplaced(Bug::ClearedOnFetch, stream);
        self.gpu.fill(stream, to, byte)
    }

    fn write(&self, stream: &Stream, from: &[u8], to: Part<'_, Self>) -> Result<(), GpuError> {
        self.gpu.write(&stream.own, from, to)
    }

    fn read(&self, stream: &Stream, from: Part<'_, Self>, to: &mut [u8]) -> Result<(), GpuError> {
        if !self.is(Bug::ReadWithoutWaiting) {
            return self.gpu.read(&stream.own, from, to);
        }
        let part = self.landing.part(0, from.bytes())?;
        self.gpu.copy_to_host(&stream.own, from, part)?;
        self.landing.get(0, to)?;
        // Not to run far ahead of what it should have waited for.
        self.gpu.synchronise(&stream.own)?;
        self.landing.get(0, to)
    }

    fn load(&self, name: &str, image: Image<'_>) -> Result<EmulatedModule, GpuError> {
        self.gpu.load(name, image)
    }

    fn kernel(
        &self,
        module: &EmulatedModule,
        entry: &str,
        shared_bytes: u32,
    ) -> Result<Kernel, GpuError> {
        Ok(Kernel {
            entry: entry.to_owned(),
            own: self.gpu.kernel(module, entry, shared_bytes)?,
        })
    }

    unsafe fn launch(
        &self,
        stream: &Stream,
        kernel: &Kernel,
        dims: LaunchDims,
        parameters: &[u8],
    ) -> Result<(), GpuError> {
        let wrong = match self.bug {
            Bug::ReconstructOnFetch => "reconstruct_keys",
            Bug::AttentionOnFetch => "sparse_attention",
            Bug::FoldOnFetch => "fold_chunk",
            _ => "nothing",
        };
        let wrong = kernel.entry.starts_with(wrong);
        let stream = if wrong { &self.fetch } else { &stream.own };
        // SAFETY: the caller's business, as always.
        unsafe { self.gpu.launch(stream, &kernel.own, dims, parameters) }
    }

    fn product(&self, stream: &Stream, product: &Product<'_, Self>) -> Result<(), GpuError> {
        let Product {
            input,
            weights,
            bias,
            output,
            output_type,
            rows,
            inputs,
            outputs,
        } = *product;
        let product = Product {
            input,
            weights,
            bias,
            output,
            output_type,
            rows,
            inputs,
            outputs,
        };
        self.gpu
            .product(self.misplaced(Bug::ProductOnFetch, stream), &product)
    }

    fn eigen_basis(&self, stream: &Stream, problem: &EigenBasis<'_, Self>) -> Result<(), GpuError> {
        let EigenBasis {
            gram,
            basis,
            width,
            rank,
        } = *problem;
        let problem = EigenBasis {
            gram,
            basis,
            width,
            rank,
        };
        self.gpu.eigen_basis(&stream.own, &problem)
    }

    fn begin_capture(&self, stream: &Stream) -> Result<(), GpuError> {
        self.gpu.begin_capture(&stream.own)
    }

    fn end_capture(&self, stream: &Stream) -> Result<Self::Graph, GpuError> {
        self.gpu.end_capture(&stream.own)
    }

    unsafe fn launch_graph(&self, stream: &Stream, graph: &Self::Graph) -> Result<(), GpuError> {
        // SAFETY: the caller's business, as always.
        unsafe { self.gpu.launch_graph(&stream.own, graph) }
    }
}

/// Kinds and texts of what is found when the method's steps run on a GPU with `bug`: those that come again as graphs if `graphs`, two
/// sequences taking turns if `turns`.
fn findings(bug: Bug, order: Order, (graphs, turns): (bool, bool)) -> Vec<(FindingKind, String)> {
    let compiled = small();
    let golden = Golden::open("models/llama-3.1/golden.safetensors");
    let ids = golden.integers("input_ids");
    let emulated = gpu(order);
    let device = compiled.device(Sabotaged::new(emulated.clone(), bug));
    device.use_graphs(graphs);
    device.gpu().ready.store(true, Ordering::Relaxed);
    // Selections, fetches and a fold; what comes of it does not matter.
    let mut requests = vec![greedy(&ids[..48], 10)];
    if turns {
        requests.push(greedy(&ids[10..50], 9));
    }
    compiled.shadow_by(&device, &requests, turns);
    // A graph of a step whose streams are not joined is refused, and the step runs without.
    let statistics = device.graph_statistics();
    assert_eq!(
        statistics.replayed > 0,
        graphs && statistics.refused.is_none(),
        "{bug:?}"
    );
    drop(device);
    let found = emulated.finish();
    found
        .iter()
        .map(|own| (own.kind, own.to_string()))
        .collect()
}

#[test]
fn every_missing_order_is_found() {
    let orders = [Order::Lazy, Order::Random(11), Order::Random(12)];
    let how = |order| match order {
        Order::Lazy => (false, false),
        Order::Random(11) => (true, false),
        _ => (false, true),
    };
    let all = || {
        orders
            .iter()
            .flat_map(|order| Bug::ALL.map(|bug| (*order, bug)))
    };
    let missed: Vec<_> = all()
        .map(|(order, bug)| (order, bug, findings(bug, order, how(order))))
        .filter(|(order, bug, found)| !found.iter().any(|own| own.0 == bug.finding(*order)))
        .collect();
    assert!(missed.is_empty(), "{missed:#?}");
}

#[test]
fn what_misses_no_order_is_not_objected_to() {
    for order in [Order::Lazy, Order::Random(11)] {
        for how in [(false, false), (true, false), (false, true), (true, true)] {
            assert_eq!(findings(Bug::None, order, how), [], "{order:?}, {how:?}");
        }
    }
}
