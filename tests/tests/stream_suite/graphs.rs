//! Graphs: captured work runs as if it had been enqueued, with the same order and no more.

use shadowkv_runtime::gpu::emulated::{EmulatedGpu, FindingKind, Order};
use shadowkv_runtime::gpu::{Gpu, GpuError, GpuMemory as _, HostMemory as _, Priority};

use crate::kernels::{Kernels, ROW};
use crate::{gpu, kinds, orders, texts};

/// Two streams, memory for each, and an event for either direction.
struct Setting<'g> {
    gpu: &'g EmulatedGpu,
    kernels: Kernels<EmulatedGpu>,
    main: <EmulatedGpu as Gpu>::Stream,
    side: <EmulatedGpu as Gpu>::Stream,
    forked: <EmulatedGpu as Gpu>::Event,
    joined: <EmulatedGpu as Gpu>::Event,
    window: <EmulatedGpu as Gpu>::Memory,
    output: <EmulatedGpu as Gpu>::Memory,
    copy: <EmulatedGpu as Gpu>::Memory,
}

impl<'g> Setting<'g> {
    fn new(gpu: &'g EmulatedGpu) -> Setting<'g> {
        let stream = |name| gpu.stream(name, Priority::Normal).unwrap();
        let memory = |name| gpu.allocate(name, ROW * 4).unwrap();
        let setting = Setting {
            gpu,
            kernels: Kernels::load(gpu).unwrap(),
            main: stream("main"),
            side: stream("side"),
            forked: gpu.event("forked").unwrap(),
            joined: gpu.event("joined").unwrap(),
            window: memory("window"),
            output: memory("output"),
            copy: memory("copy"),
        };
        for memory in [&setting.window, &setting.output, &setting.copy] {
            gpu.fill(&setting.main, memory.whole(), 3).unwrap();
        }
        setting
    }

    /// The window changes on one stream, and is copied on the other; `joins` or not.
    fn step(&self, joins: bool) -> Result<(), GpuError> {
        let gpu = self.gpu;
        let members = [self.window.address(), self.output.address()];
        let launch = |stream| {
            self.kernels
                .launch(gpu, stream, "append", (1, ROW), &members)
        };
        launch(&self.main)?;
        gpu.record(&self.main, &self.forked)?;
        gpu.wait(&self.side, &self.forked)?;
        gpu.copy(&self.side, self.window.whole(), self.copy.whole())?;
        gpu.record(&self.side, &self.joined)?;
        gpu.fill(&self.main, self.output.whole(), 5)?;
        if joins {
            gpu.wait(&self.main, &self.joined)?;
        }
        Ok(())
    }

    fn results(&self) -> [Vec<u8>; 2] {
        [&self.window, &self.copy].map(|memory| {
            let mut bytes = vec![0; memory.bytes().try_into().unwrap()];
            self.gpu
                .read(&self.main, memory.whole(), &mut bytes)
                .unwrap();
            bytes
        })
    }
}

#[test]
fn a_graph_does_what_was_captured() {
    let mut expected = None;
    for order in orders() {
        let enqueued = {
            let gpu = gpu(order);
            let setting = Setting::new(&gpu);
            for _ in 0..3 {
                setting.step(true).unwrap();
            }
            setting.results()
        };
        let gpu = gpu(order);
        let setting = Setting::new(&gpu);
        gpu.begin_capture(&setting.main).unwrap();
        setting.step(true).unwrap();
        let graph = gpu.end_capture(&setting.main).unwrap();
        let before = setting.results();
        assert_eq!(before, [vec![3; 128], vec![3; 128]], "nothing ran yet");
        for _ in 0..3 {
            // SAFETY: everything captured is still there.
            unsafe { gpu.launch_graph(&setting.main, &graph).unwrap() };
        }
        assert_eq!(setting.results(), enqueued, "{order:?}");
        assert_eq!(*expected.get_or_insert(enqueued.clone()), enqueued);
        drop(setting);
        let findings = gpu.finish();
        assert!(findings.is_empty(), "{order:?}: {}", texts(&findings));
    }
}

#[test]
fn order_within_and_around_a_graph_is_checked() {
    for order in orders() {
        let gpu = gpu(order);
        let setting = Setting::new(&gpu);
        gpu.begin_capture(&setting.main).unwrap();
        setting.step(true).unwrap();
        // A second copy on the other branch, joined, but not behind what it copies.
        gpu.wait(&setting.side, &setting.joined).unwrap();
        gpu.fill(&setting.main, setting.output.whole(), 6).unwrap();
        gpu.copy(&setting.side, setting.output.whole(), setting.copy.whole())
            .unwrap();
        gpu.record(&setting.side, &setting.joined).unwrap();
        gpu.wait(&setting.main, &setting.joined).unwrap();
        let graph = gpu.end_capture(&setting.main).unwrap();
        // SAFETY: everything captured is still there.
        unsafe { gpu.launch_graph(&setting.main, &graph).unwrap() };
        gpu.synchronise(&setting.main).unwrap();
        let race = |object: &str| (FindingKind::Race, object.to_owned());
        assert_eq!(kinds(&gpu.findings()), [race("output")], "{order:?}");
        // The graph runs on one stream, and another knows nothing of it.
        // SAFETY: as above.
        unsafe { gpu.launch_graph(&setting.main, &graph).unwrap() };
        gpu.fill(&setting.side, setting.window.whole(), 0).unwrap();
        gpu.synchronise(&setting.main).unwrap();
        gpu.synchronise(&setting.side).unwrap();
        let found = kinds(&gpu.findings());
        assert_eq!(found, [race("output"), race("window")], "{order:?}");
    }
}

fn refusal(result: Result<(), GpuError>) -> String {
    match result {
        Err(error @ GpuError::Capture { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn captures_that_cannot_be() {
    let gpu = gpu(Order::Lazy);
    let setting = Setting::new(&gpu);
    let (main, side) = (&setting.main, &setting.side);
    assert_eq!(
        refusal(gpu.end_capture(main).map(drop)),
        "graph capture: none began on `main`"
    );
    gpu.record(side, &setting.joined).unwrap();
    gpu.begin_capture(main).unwrap();
    assert_eq!(
        refusal(gpu.begin_capture(main)),
        "graph capture: `main` is captured, and a second capture cannot be"
    );
    assert_eq!(
        refusal(gpu.synchronise(main)),
        "graph capture: `main` is captured, and waiting for it cannot be"
    );
    assert_eq!(
        refusal(gpu.wait(main, &setting.joined)),
        "graph capture: a captured stream waits for `joined`, which was recorded outside of the capture"
    );
    let mut bytes = [0; 128];
    assert_eq!(
        refusal(gpu.read(main, setting.window.whole(), &mut bytes)),
        "graph capture: `main` is captured, and `read` cannot be"
    );
    setting.step(false).unwrap();
    assert!(refusal(gpu.synchronise_event(&setting.joined)).contains("part of a graph"));
    assert_eq!(
        refusal(gpu.end_capture(main).map(drop)),
        "graph capture: `side` was not joined: `main` must wait for an event recorded behind its last operation"
    );
    assert!(refusal(gpu.wait(main, &setting.joined)).contains("has ended"));
    // Both streams are free again.
    setting.step(true).unwrap();
    gpu.synchronise(main).unwrap();
    gpu.synchronise(side).unwrap();
    drop(setting);
    let findings = gpu.finish();
    assert!(findings.is_empty(), "{}", texts(&findings));
}

#[test]
fn host_memory_of_a_graph_is_read_when_it_runs() {
    for order in orders() {
        let gpu = gpu(order);
        let main = gpu.stream("main", Priority::Normal).unwrap();
        let staging = gpu.allocate_host("staging", 4).unwrap();
        let memory = gpu.allocate("memory", 4).unwrap();
        gpu.begin_capture(&main).unwrap();
        gpu.copy_to_device(&main, staging.whole(), memory.whole())
            .unwrap();
        let graph = gpu.end_capture(&main).unwrap();
        for value in [7, 8] {
            staging.set(0, &[value; 4]).unwrap();
            // SAFETY: everything captured is still there.
            unsafe { gpu.launch_graph(&main, &graph).unwrap() };
            let mut bytes = [0; 4];
            gpu.read(&main, memory.whole(), &mut bytes).unwrap();
            assert_eq!(bytes, [value; 4]);
        }
        // SAFETY: as above.
        unsafe { gpu.launch_graph(&main, &graph).unwrap() };
        staging.set(0, &[9; 4]).unwrap();
        gpu.synchronise(&main).unwrap();
        let expected = (FindingKind::HostWriteInFlight, "staging".to_owned());
        assert_eq!(kinds(&gpu.findings()), [expected], "{order:?}");
    }
}
