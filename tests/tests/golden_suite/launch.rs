//! Launches of single kernels with golden inputs, on an emulated GPU.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use shadowkv_codegen::compile::{CompileOptions, CompiledKernel, compile, kernel_name};
use shadowkv_codegen::emit::emit;
use shadowkv_codegen::plan::Plan;
use shadowkv_codegen::verify::EmulatedGpu;
use shadowkv_codegen::verify::case::{Case, Content, Expected, Region, Values};
use shadowkv_codegen::verify::device::Backend;
use shadowkv_codegen::verify::run::{Run, run};
use shadowkv_runtime::manifest::{Dtype, Sizes};
use shadowkv_runtime::nvrtc::Arch;
use shadowkv_tests::nvrtc;

use crate::fixture::Fixture;

/// Some kernels of a case's spec, compiled.
pub(crate) struct Kernels {
    case: &'static str,
    plan: Plan,
    compiled: Vec<CompiledKernel>,
    gpu: EmulatedGpu,
}

/// What a launch is given by name.
pub(crate) type Arguments = BTreeMap<&'static str, Content>;

/// Consecutive elements that a launch must write, and that are read back.
#[derive(Clone, Copy)]
pub(crate) struct Output {
    pub(crate) argument: &'static str,
    pub(crate) dtype: Dtype,
    pub(crate) first: usize,
    pub(crate) elements: usize,
}

impl Kernels {
    /// Compiles the kernels called `names`.
    pub(crate) fn compile(case: &Fixture, names: &[&str]) -> Kernels {
        let plan = Plan::heuristic(&case.spec).unwrap();
        let mut package = emit(&plan).unwrap();
        package
            .kernels
            .retain(|source| names.contains(&kernel_name(source)));
        let options = CompileOptions {
            line_info: true,
            ..CompileOptions::new(&[Arch::Sm80])
        };
        let mut compilations = compile(&[&package], nvrtc(), &options, &|_, _| {}).unwrap();
        let compilation = compilations.remove(0);
        assert!(
            compilation.failures.is_empty(),
            "{:?}",
            compilation.failures
        );
        assert_eq!(compilation.kernels.len(), names.len(), "{}", case.name);
        Kernels {
            case: case.name,
            plan,
            compiled: compilation.kernels,
            gpu: EmulatedGpu::for_arch(Arch::Sm80),
        }
    }

    /// Multiprocessors of the GPU.
    pub(crate) fn multiprocessors(&self) -> u64 {
        u64::from(self.gpu.multiprocessors())
    }

    /// A constant of a kernel.
    pub(crate) fn constant(&self, kernel: &str, name: &str) -> u64 {
        let plan = self.plan.kernel(kernel).unwrap();
        u64::try_from(plan.constant(name).unwrap()).unwrap()
    }

    /// Launches `kernel`; what it must leave is known.
    pub(crate) fn meets(
        &self,
        kernel: &str,
        sizes: Sizes,
        arguments: Arguments,
        regions: Vec<Region>,
    ) {
        let run = self.run(kernel, sizes, arguments, Expected::Fixed(regions));
        for (argument, share) in run.shares {
            println!(
                "{}: {kernel}: `{argument}`, the worst at {share:.3} of its tolerance",
                self.case
            );
        }
    }

    /// Launches `kernel` and returns what it left in each of `outputs`. All of that must have been written, and nothing
    /// else but what `regions` say.
    pub(crate) fn outputs(
        &self,
        kernel: &str,
        sizes: Sizes,
        arguments: Arguments,
        outputs: &[Output],
        regions: Vec<Region>,
    ) -> Vec<Vec<f64>> {
        let left: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let (keep, wanted) = (Arc::clone(&left), outputs.to_vec());
        let zeros: Vec<Vec<u8>> = outputs
            .iter()
            .map(|own| vec![0; own.elements * own.dtype.bytes() as usize])
            .collect();
        let with = move |bytes: &[Vec<u8>]| -> Vec<Region> {
            let own = wanted
                .iter()
                .zip(bytes)
                .map(|(own, bytes)| own.region(bytes.clone()));
            own.chain(regions.iter().cloned()).collect()
        };
        let wanted = outputs.to_vec();
        let expected = Expected::Chosen {
            likely: with(&zeros),
            judge: Box::new(move |outcome| {
                let read = |own: &Output| -> Vec<u8> {
                    let (first, bytes) = own.words();
                    let words = outcome.integers(own.argument, first, bytes / 4);
                    words.into_iter().flat_map(i32::to_le_bytes).collect()
                };
                let bytes: Vec<Vec<u8>> = wanted.iter().map(read).collect();
                let regions = with(&bytes);
                *keep.lock().unwrap() = bytes;
                Ok(regions)
            }),
        };
        self.run(kernel, sizes, arguments, expected);
        let left = left.lock().unwrap();
        outputs
            .iter()
            .zip(left.iter())
            .map(|(own, bytes)| own.numbers(bytes))
            .collect()
    }

    fn run(&self, kernel: &str, sizes: Sizes, arguments: Arguments, expected: Expected) -> Run {
        let compiled = self.compiled.iter().find(|own| own.kernel == kernel);
        let loaded = self.gpu.load(compiled.unwrap()).unwrap();
        let case = Case {
            sizes,
            arguments,
            expected,
        };
        let mut device = self.gpu.device().unwrap();
        let plan = self.plan.kernel(kernel).unwrap();
        let run = run(&mut device, plan, &loaded, &case)
            .unwrap_or_else(|error| panic!("{}: {kernel}: {error}", self.case));
        assert!(run.dims.is_some(), "{}: {kernel}: no launch", self.case);
        let mut offences: Vec<String> = run.mismatches.iter().map(ToString::to_string).collect();
        offences.extend(run.findings.iter().map(|finding| finding.text.clone()));
        assert!(
            offences.is_empty(),
            "{}: {kernel}:\n{}",
            self.case,
            offences.join("\n")
        );
        run
    }
}

impl Output {
    /// Its first word of 32 bits, and its bytes, which are whole words.
    fn words(&self) -> (u64, usize) {
        let size = self.dtype.bytes() as usize;
        let (first, bytes) = (self.first * size, self.elements * size);
        assert!(
            first.is_multiple_of(4) && bytes.is_multiple_of(4),
            "`{}` is read in words",
            self.argument
        );
        (first as u64 / 4, bytes)
    }

    fn region(&self, bytes: Vec<u8>) -> Region {
        Region {
            argument: self.argument,
            first: self.first as u64,
            shared: Vec::new(),
            axes: vec![("element", 0, self.elements as u64)],
            values: Values::Exact(bytes),
        }
    }

    fn numbers(&self, bytes: &[u8]) -> Vec<f64> {
        match self.dtype {
            Dtype::Bf16 => {
                let value = |own: &[u8; 2]| f64::from(half_bits(*own));
                bytes.as_chunks().0.iter().map(value).collect()
            }
            Dtype::F32 => {
                let value = |own: &[u8; 4]| f64::from(f32::from_le_bytes(*own));
                bytes.as_chunks().0.iter().map(value).collect()
            }
            other => panic!("outputs of {other:?} are compared by the launch"),
        }
    }
}

/// A bfloat16 is the upper half of an `f32`.
fn half_bits(bytes: [u8; 2]) -> f32 {
    f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16)
}

/// Where the one sequence lies: everything begins at 0, and the stores hold whole granules.
pub(crate) struct Place {
    /// Chunks that the stores can hold per KV head.
    pub(crate) capacity: usize,
}

impl Place {
    /// Stores of at least `chunks` chunks.
    pub(crate) fn of(chunks: usize) -> Place {
        Place {
            capacity: chunks.next_multiple_of(64),
        }
    }

    /// The arguments that place the stores.
    pub(crate) fn arguments(&self) -> [(&'static str, Content); 2] {
        [
            ("store_begin", Content::i64s([0])),
            ("store_capacity", Content::i32s([self.capacity as i32])),
        ]
    }
}

/// An argument of one integer, that of the one sequence.
pub(crate) fn one(name: &'static str, value: usize) -> (&'static str, Content) {
    (name, Content::i32s([value as i32]))
}
