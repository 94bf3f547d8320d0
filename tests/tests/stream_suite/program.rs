//! A program in the shape of decoding, on four streams, and the ways in which it can go wrong.

use shadowkv_runtime::gpu::{Gpu, GpuError, GpuMemory, HostMemory, Priority};

use crate::kernels::{Kernels, ROW, ROWS, SELECTED};

/// Steps of the program.
pub(crate) const STEPS: u64 = 5;
const ROW_BYTES: u64 = ROW * 4;

/// What is left out or put in the wrong place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// Nothing.
    None,
    /// The fetch does not wait for the list of what to fetch.
    FetchWithoutEvent,
    /// That event is recorded on the stream that waits for it.
    EventOnTheWrongStream,
    /// That event is recorded when half of the list has been written.
    HalfWrittenList,
    /// Attention does not wait for the fetch.
    AttentionWithoutFetch,
    /// The fetch of a step does not wait for the attention of the step before, which reads the same slots.
    FetchIntoSlotsInUse,
    /// The slots are doubled, and the fetch does not wait for the attention two steps before.
    DoubleBufferWithoutEvent,
    /// The fetch does not wait for the fold that wrote the rows which it reads.
    FetchWithoutFold,
    /// Attention waits for the event of the fetch before it is recorded.
    WaitBeforeRecord,
    /// The staging buffer is written again before its copy has run.
    StagingReused,
    /// The result is read before its copy has run.
    HostReadWithoutWait,
    /// The host waits for a stream that has nothing to do with the result.
    HostWaitsForTheWrongStream,
    /// The host waits for the result before the one that it reads.
    HostWaitsForTheWrongEvent,
    /// The host writes rows while fetches may read them.
    HostWritesRowsInFlight,
    /// Scratch memory is dropped while a kernel uses it.
    DroppedInFlight,
    /// Scratch memory is freed in the order of a stream that knows nothing of its use.
    FreedOnTheWrongStream,
    /// The counter is zeroed on another stream.
    FillOnAnotherStream,
    /// The window is copied to the host while the next step appends to it.
    CopyOfAChangingWindow,
    /// The output is overwritten while the result is copied.
    OutputOverwritten,
}

impl Bug {
    pub(crate) const ALL: [Bug; 18] = [
        Bug::FetchWithoutEvent,
        Bug::EventOnTheWrongStream,
        Bug::HalfWrittenList,
        Bug::AttentionWithoutFetch,
        Bug::FetchIntoSlotsInUse,
        Bug::DoubleBufferWithoutEvent,
        Bug::FetchWithoutFold,
        Bug::WaitBeforeRecord,
        Bug::StagingReused,
        Bug::HostReadWithoutWait,
        Bug::HostWaitsForTheWrongStream,
        Bug::HostWaitsForTheWrongEvent,
        Bug::HostWritesRowsInFlight,
        Bug::DroppedInFlight,
        Bug::FreedOnTheWrongStream,
        Bug::FillOnAnotherStream,
        Bug::CopyOfAChangingWindow,
        Bug::OutputOverwritten,
    ];
}

/// Everything that the program needs, on any GPU.
struct Program<'g, G: Gpu> {
    gpu: &'g G,
    bug: Bug,
    kernels: Kernels<G>,
    /// Input and selection.
    main: G::Stream,
    /// Rows from the host.
    fetch: G::Stream,
    attention: G::Stream,
    /// To the host.
    results: G::Stream,
    /// The list of a step is written.
    listed: G::Event,
    fetched: G::Event,
    /// Slots may be overwritten again; one event for each of two buffers.
    attended: [G::Event; 2],
    folded: G::Event,
    /// Staging memory may be written again.
    staged: G::Event,
    /// The copies of results, by step.
    copied: Vec<G::Event>,
    staging: G::HostMemory,
    rows: G::HostMemory,
    /// Output and window, by step.
    result: Vec<G::HostMemory>,
    input: G::Memory,
    list: G::Memory,
    count: G::Memory,
    slots: [G::Memory; 2],
    window: G::Memory,
    output: G::Memory,
}

/// Runs the program; what the host read of every step.
pub(crate) fn run<G: Gpu>(gpu: &G, bug: Bug) -> Result<Vec<Vec<u8>>, GpuError> {
    let program = Program::new(gpu, bug)?;
    program.set_up()?;
    for step in 0..STEPS {
        program.enqueue(step)?;
    }
    let results = (0..STEPS).map(|step| program.result(step)).collect();
    for stream in [
        &program.main,
        &program.fetch,
        &program.attention,
        &program.results,
    ] {
        gpu.synchronise(stream)?;
    }
    results
}

impl<'g, G: Gpu> Program<'g, G> {
    fn new(gpu: &'g G, bug: Bug) -> Result<Program<'g, G>, GpuError> {
        Ok(Program {
            gpu,
            bug,
            kernels: Kernels::load(gpu)?,
            main: gpu.stream("main", Priority::Normal)?,
            fetch: gpu.stream("fetch", Priority::High)?,
            attention: gpu.stream("attention", Priority::Normal)?,
            results: gpu.stream("results", Priority::Normal)?,
            listed: gpu.event("listed")?,
            fetched: gpu.event("fetched")?,
            attended: [gpu.event("attended 0")?, gpu.event("attended 1")?],
            folded: gpu.event("folded")?,
            staged: gpu.event("staged")?,
            copied: (0..STEPS)
                .map(|step| gpu.event(&format!("copied {step}")))
                .collect::<Result<_, _>>()?,
            staging: gpu.allocate_host("staging", ROW_BYTES)?,
            rows: gpu.allocate_host("rows", ROWS * ROW_BYTES)?,
            result: (0..STEPS)
                .map(|step| gpu.allocate_host(&format!("result {step}"), 2 * ROW_BYTES))
                .collect::<Result<_, _>>()?,
            input: gpu.allocate("input", ROW_BYTES)?,
            list: gpu.allocate("list", SELECTED * 4)?,
            count: gpu.allocate("count", 4)?,
            slots: [
                gpu.allocate("slots", SELECTED * ROW_BYTES)?,
                gpu.allocate("slots", SELECTED * ROW_BYTES)?,
            ],
            window: gpu.allocate("window", ROW_BYTES)?,
            output: gpu.allocate("output", ROW_BYTES)?,
        })
    }

    fn set_up(&self) -> Result<(), GpuError> {
        let gpu = self.gpu;
        let rows: Vec<u8> = (0..ROWS * ROW)
            .flat_map(|word| (u32::try_from(word).unwrap() * 7919).to_le_bytes())
            .collect();
        self.rows.set(0, &rows)?;
        gpu.fill(&self.main, self.window.whole(), 1)?;
        gpu.fill(&self.main, self.list.whole(), 0)?;
        gpu.fill(&self.main, self.count.whole(), 0)?;
        for slots in &self.slots {
            gpu.fill(&self.main, slots.whole(), 0)?;
        }
        gpu.fill(&self.main, self.output.whole(), 0)?;
        gpu.synchronise(&self.main)
    }

    fn has(&self, bug: Bug) -> bool {
        self.bug == bug
    }

    /// Whether windows become rows of the host's. Where they do, that alone orders much.
    fn folds(&self) -> bool {
        !matches!(
            self.bug,
            Bug::FetchIntoSlotsInUse | Bug::DoubleBufferWithoutEvent
        )
    }

    /// The slots of a step.
    fn buffer(&self, step: u64) -> usize {
        if self.has(Bug::FetchIntoSlotsInUse) {
            0
        } else {
            usize::from(step % 2 == 1)
        }
    }

    fn enqueue(&self, step: u64) -> Result<(), GpuError> {
        self.stage(step)?;
        self.select(step)?;
        self.fetch(step)?;
        self.attend(step)?;
        self.append(step)
    }

    /// The step's input, from the host.
    fn stage(&self, step: u64) -> Result<(), GpuError> {
        let gpu = self.gpu;
        if step > 0 && !self.has(Bug::StagingReused) {
            gpu.synchronise_event(&self.staged)?;
        }
        let words: Vec<u8> = (0..ROW)
            .flat_map(|word| (u32::try_from(word + 1).unwrap() << step).to_le_bytes())
            .collect();
        self.staging.set(0, &words)?;
        gpu.copy_to_device(&self.main, self.staging.whole(), self.input.whole())?;
        gpu.record(&self.main, &self.staged)
    }

    fn select(&self, step: u64) -> Result<(), GpuError> {
        let (gpu, kernels, main) = (self.gpu, &self.kernels, &self.main);
        let scores = gpu.allocate("scores", ROW_BYTES)?;
        if step > 0 {
            gpu.wait(main, &self.fetched)?;
        }
        let threads = (1, ROW);
        let zeroing = if self.has(Bug::FillOnAnotherStream) {
            &self.results
        } else {
            main
        };
        gpu.fill(zeroing, self.count.whole(), 0)?;
        let members = [self.input.address(), scores.address()];
        kernels.launch(gpu, main, "score", threads, &members)?;
        let (list, count) = (self.list.address(), self.count.address());
        let half = |first| {
            let members = [scores.address(), list, count, first];
            kernels.launch(gpu, main, "select", (1, SELECTED / 2), &members)
        };
        half(0)?;
        if self.has(Bug::HalfWrittenList) {
            gpu.record(main, &self.listed)?;
        }
        half(SELECTED / 2)?;
        match self.bug {
            Bug::HalfWrittenList => {}
            Bug::EventOnTheWrongStream => gpu.record(&self.fetch, &self.listed)?,
            _ => gpu.record(main, &self.listed)?,
        }
        match self.bug {
            Bug::DroppedInFlight => drop(scores),
            Bug::FreedOnTheWrongStream => gpu.free(&self.results, scores)?,
            _ => gpu.free(main, scores)?,
        }
        Ok(())
    }

    fn fetch(&self, step: u64) -> Result<(), GpuError> {
        let (gpu, fetch) = (self.gpu, &self.fetch);
        let buffer = self.buffer(step);
        if self.has(Bug::WaitBeforeRecord) {
            gpu.wait(&self.attention, &self.fetched)?;
        }
        if !self.has(Bug::FetchWithoutEvent) {
            gpu.wait(fetch, &self.listed)?;
        }
        if step > 1 && self.folds() {
            gpu.wait(fetch, &self.attended[buffer])?;
        }
        if step > 0 && self.folds() && !self.has(Bug::FetchWithoutFold) {
            gpu.wait(fetch, &self.folded)?;
        }
        let members = [
            self.rows.address(),
            self.list.address(),
            self.count.address(),
            self.slots[buffer].address(),
        ];
        self.kernels
            .launch(gpu, fetch, "gather", (SELECTED, ROW), &members)?;
        gpu.record(fetch, &self.fetched)?;
        if self.has(Bug::HostWritesRowsInFlight) {
            self.rows.set(0, &[0; 64])?;
        }
        Ok(())
    }

    fn attend(&self, step: u64) -> Result<(), GpuError> {
        let (gpu, attention) = (self.gpu, &self.attention);
        let buffer = self.buffer(step);
        if !matches!(self.bug, Bug::AttentionWithoutFetch | Bug::WaitBeforeRecord) {
            gpu.wait(attention, &self.fetched)?;
        }
        let members = [
            self.slots[buffer].address(),
            self.window.address(),
            self.output.address(),
        ];
        if step > 0 && !self.has(Bug::OutputOverwritten) {
            gpu.wait(attention, &self.copied[index(step - 1)])?;
        }
        self.kernels
            .launch(gpu, attention, "attend", (1, ROW), &members)?;
        gpu.record(attention, &self.attended[buffer])
    }

    /// The result to the host; the window changes, and becomes a row of the host's.
    fn append(&self, step: u64) -> Result<(), GpuError> {
        let (gpu, attention, results) = (self.gpu, &self.attention, &self.results);
        let (result, copied) = (&self.result[index(step)], &self.copied[index(step)]);
        gpu.wait(results, &self.attended[self.buffer(step)])?;
        let output = result.part(0, ROW_BYTES)?;
        gpu.copy_to_host(results, self.output.whole(), output)?;
        if !self.has(Bug::OutputOverwritten) {
            let window = result.part(ROW_BYTES, ROW_BYTES)?;
            gpu.copy_to_host(results, self.window.whole(), window)?;
        }
        gpu.record(results, copied)?;
        if !matches!(
            self.bug,
            Bug::CopyOfAChangingWindow | Bug::OutputOverwritten
        ) {
            gpu.wait(attention, copied)?;
        }
        let members = [self.window.address(), self.output.address()];
        self.kernels
            .launch(gpu, attention, "append", (1, ROW), &members)?;
        if self.folds() {
            let members = [self.window.address(), self.rows.address(), step];
            self.kernels
                .launch(gpu, attention, "fold", (1, ROW), &members)?;
            gpu.record(attention, &self.folded)?;
        }
        Ok(())
    }

    fn result(&self, step: u64) -> Result<Vec<u8>, GpuError> {
        let own = index(step);
        match self.bug {
            Bug::HostReadWithoutWait => {}
            Bug::HostWaitsForTheWrongStream => self.gpu.synchronise(&self.fetch)?,
            Bug::HostWaitsForTheWrongEvent => {
                self.gpu
                    .synchronise_event(&self.copied[own.saturating_sub(1)])?;
            }
            _ => self.gpu.synchronise_event(&self.copied[own])?,
        }
        let mut bytes = vec![0; 2 * index(ROW_BYTES)];
        self.result[own].get(0, &mut bytes)?;
        Ok(bytes)
    }
}

fn index(number: u64) -> usize {
    usize::try_from(number).unwrap()
}
