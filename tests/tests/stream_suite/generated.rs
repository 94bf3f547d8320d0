//! Decode steps with the generated kernels themselves: selection on one stream, values from the host beside it on another.

use std::collections::BTreeMap;

use shadowkv_codegen::compile::{CompileOptions, compile, kernel_name};
use shadowkv_runtime::gpu::emulated::{EmulatedGpu, FindingKind};
use shadowkv_runtime::gpu::{Gpu, GpuMemory as _, HostMemory as _, Image, Priority};
use shadowkv_runtime::manifest::{Access, Argument, Kernel, Manifest, MemoryKind, Sizes};
use shadowkv_runtime::nvrtc::Arch;
use shadowkv_tests::{nvrtc, shipped};

use crate::{gpu, kinds, orders, texts};

/// The kernels of a step, in the order of their launches on one stream.
const KERNELS: [&str; 5] = [
    "landmark_score",
    "select_chunks",
    "gather_values",
    "reconstruct_keys",
    "sparse_attention",
];
const STEPS: u64 = 3;
/// Compressed chunks, and chunks that the stores have room for.
const CHUNKS: u64 = 100;
const CAPACITY: u64 = 128;
/// Tokens of the exact window.
const WINDOW: u64 = 40;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    None,
    /// The gather does not wait for the selection.
    GatherWithoutSelection,
    /// Attention does not wait for the gather.
    AttentionWithoutGather,
}

struct Compiled {
    manifest: Manifest,
    ptx: BTreeMap<String, String>,
}

fn compiled() -> Compiled {
    let case = shipped().iter().find(|case| case.name() == "smollm2-135m");
    let mut package = case.unwrap().package();
    let manifest: Manifest = serde_json::from_str(&package.manifest.text).unwrap();
    package
        .kernels
        .retain(|source| KERNELS.contains(&kernel_name(source)));
    let options = CompileOptions::new(&[Arch::Sm80]);
    let compilation = compile(&[&package], nvrtc(), &options, &|_, _| {}).unwrap();
    let kernels = compilation.into_iter().flat_map(|all| all.kernels);
    Compiled {
        manifest,
        ptx: kernels.map(|own| (own.kernel, own.ptx)).collect(),
    }
}

/// A batch of one sequence on an emulated GPU.
struct Sequence<'a> {
    gpu: &'a EmulatedGpu,
    compiled: &'a Compiled,
    sizes: Sizes,
    kernels: BTreeMap<&'static str, <EmulatedGpu as Gpu>::Kernel>,
    memory: BTreeMap<String, <EmulatedGpu as Gpu>::Memory>,
    host_values: <EmulatedGpu as Gpu>::HostMemory,
    main: <EmulatedGpu as Gpu>::Stream,
    fetch: <EmulatedGpu as Gpu>::Stream,
}

/// What an argument is called among all kernels': scratch memory is each kernel's own.
fn key(kernel: &Kernel, argument: &Argument) -> String {
    match argument.name.as_str() {
        own @ ("workspace" | "arrivals") => format!("{} of {}", own, kernel.name),
        name => name.to_owned(),
    }
}

/// Numbers between -1 and 1 in bf16, as a seed has them.
fn noise(bytes: u64, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut value = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let small = u16::try_from(state >> 55).unwrap();
        // A sign, an exponent of -1 or -2, and seven bits.
        let sign = (small & 1) << 15;
        let exponent = (125 + (small >> 8)) << 7;
        (sign | exponent | (small >> 1 & 0x7f)).to_le_bytes()
    };
    (0..bytes / 2).flat_map(|_| value()).collect()
}

fn words(values: &[i32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

impl<'a> Sequence<'a> {
    fn new(gpu: &'a EmulatedGpu, compiled: &'a Compiled) -> Sequence<'a> {
        let sizes = Sizes::new()
            .with("batch", 1)
            .with("cache_rows", 64)
            .with("max_chunks", CHUNKS)
            .with("max_window", WINDOW)
            .with("outlier_capacity", 24)
            .with("score_stride", CAPACITY)
            .with("sm_count", u64::from(gpu.properties().sm_count))
            .with("store_chunks", CAPACITY);
        let main = gpu.stream("main", Priority::Normal).unwrap();
        let fetch = gpu.stream("fetch", Priority::High).unwrap();
        let mut kernels = BTreeMap::new();
        let mut memory = BTreeMap::new();
        for name in KERNELS {
            let own = compiled
                .manifest
                .kernels
                .iter()
                .find(|own| own.name == name);
            let own = own.unwrap();
            let module = gpu.load(name, Image::Ptx(&compiled.ptx[name])).unwrap();
            let kernel = gpu.kernel(&module, &own.entry, own.geometry.shared_bytes);
            kernels.insert(name, kernel.unwrap());
            for argument in &own.arguments {
                if argument.memory != Some(MemoryKind::Device) {
                    continue;
                }
                let extents = argument
                    .shape
                    .iter()
                    .map(|extent| extent.eval(&sizes).unwrap());
                let bytes = extents.product::<u64>() * argument.dtype.bytes();
                let name = key(own, argument);
                memory
                    .entry(name.clone())
                    .or_insert_with(|| gpu.allocate(&name, bytes).unwrap());
            }
        }
        let rows = CAPACITY * 3 * 8 * 64 * 2;
        let host_values = gpu.allocate_host("host_values", rows).unwrap();
        host_values.set(0, &noise(rows, 99)).unwrap();
        let sequence = Sequence {
            gpu,
            compiled,
            sizes,
            kernels,
            memory,
            host_values,
            main,
            fetch,
        };
        sequence.fill();
        sequence
    }

    fn fill(&self) {
        let tokens = i32::try_from(CHUNKS * 8 + WINDOW).unwrap();
        for (index, (name, memory)) in self.memory.iter().enumerate() {
            let bytes = match name.as_str() {
                "landmarks" | "factors" | "key_basis" | "keys" | "values" => {
                    noise(memory.bytes(), index as u64)
                }
                "chunk_count" => words(&[i32::try_from(CHUNKS).unwrap()]),
                "store_capacity" => words(&[i32::try_from(CAPACITY).unwrap()]),
                "row_capacity" => words(&[64]),
                "token_count" => words(&[tokens]),
                "sequence_epoch" => words(&[1]),
                "slot_chunk" => vec![0xff; memory.bytes().try_into().unwrap()],
                "fetch_totals"
                | "slot_epoch"
                | "slot_stamp"
                | "outlier_mask"
                | "outlier_count"
                | "store_begin"
                | "row_begin"
                | "rope_table"
                | "arrivals of select_chunks"
                | "arrivals of sparse_attention" => vec![0; memory.bytes().try_into().unwrap()],
                // What a launch or a step writes.
                _ => continue,
            };
            self.gpu.write(&self.main, &bytes, memory.whole()).unwrap();
        }
    }

    fn launch(&self, stream: &<EmulatedGpu as Gpu>::Stream, name: &str) {
        let kernels = &self.compiled.manifest.kernels;
        let own = kernels.iter().find(|own| own.name == name).unwrap();
        // Eight bytes each, scalars too.
        let parameters: Vec<u8> = own
            .arguments
            .iter()
            .flat_map(|argument| match (argument.access, argument.memory) {
                (Access::Scalar, _) => {
                    let value = match argument.name.as_str() {
                        "score_stride" => CAPACITY,
                        "outlier_capacity" => 24,
                        "batch" => 1,
                        other => panic!("{other}"),
                    };
                    value.to_le_bytes()
                }
                (_, Some(MemoryKind::MappedHost)) => self.host_values.address().to_le_bytes(),
                _ => self.memory[&key(own, argument)].address().to_le_bytes(),
            })
            .collect();
        let dims = own.geometry.evaluate(&self.sizes).unwrap().unwrap();
        // SAFETY: an emulated GPU checks every access.
        unsafe {
            self.gpu
                .launch(stream, &self.kernels[name], dims, &parameters)
        }
        .unwrap();
    }

    /// Steps with other queries each; the output of all.
    fn run(&self, bug: Bug) -> Vec<Vec<u8>> {
        let (gpu, main, fetch) = (self.gpu, &self.main, &self.fetch);
        let event = |name| gpu.event(name).unwrap();
        let (selected, gathered) = (event("selected"), event("gathered"));
        let mut outputs = Vec::new();
        for step in 1..=STEPS {
            let (queries, number) = (&self.memory["queries"], &self.memory["step"]);
            let own = noise(queries.bytes(), 1000 + step);
            gpu.write(main, &own, queries.whole()).unwrap();
            let own = u32::try_from(step).unwrap().to_le_bytes();
            gpu.write(main, &own, number.whole()).unwrap();
            self.launch(main, "landmark_score");
            self.launch(main, "select_chunks");
            gpu.record(main, &selected).unwrap();
            if bug != Bug::GatherWithoutSelection {
                gpu.wait(fetch, &selected).unwrap();
            }
            self.launch(fetch, "gather_values");
            gpu.record(fetch, &gathered).unwrap();
            self.launch(main, "reconstruct_keys");
            if bug != Bug::AttentionWithoutGather {
                gpu.wait(main, &gathered).unwrap();
            }
            self.launch(main, "sparse_attention");
            let output = &self.memory["output"];
            let mut bytes = vec![0; output.bytes().try_into().unwrap()];
            gpu.read(main, output.whole(), &mut bytes).unwrap();
            outputs.push(bytes);
        }
        gpu.synchronise(fetch).unwrap();
        outputs
    }
}

#[test]
fn generated_kernels_on_two_streams() {
    let compiled = compiled();
    let mut expected = None;
    for order in orders().take(4) {
        let gpu = gpu(order);
        let outputs = Sequence::new(&gpu, &compiled).run(Bug::None);
        let findings = gpu.finish();
        assert!(findings.is_empty(), "{order:?}: {}", texts(&findings));
        assert!(outputs[0] != outputs[1] && outputs[1] != outputs[2]);
        let expected = expected.get_or_insert_with(|| outputs.clone());
        assert_eq!(*expected, outputs, "{order:?}");
    }
    let race = |object: &str| (FindingKind::Race, object.to_owned());
    for order in orders().take(4) {
        let found = |bug| {
            let gpu = gpu(order);
            Sequence::new(&gpu, &compiled).run(bug);
            kinds(&gpu.finish())
        };
        let lists = found(Bug::GatherWithoutSelection);
        for list in ["missing_chunks", "missing_slots", "missing_count"] {
            assert!(lists.contains(&race(list)), "{order:?}: {lists:?}");
        }
        // Attention reads the slots that are being filled, and the next selection writes lists that are being read.
        let slots = found(Bug::AttentionWithoutGather);
        for object in ["missing_chunks", "value_slots"] {
            assert!(slots.contains(&race(object)), "{order:?}: {slots:?}");
        }
    }
}
