//! The modelled judge: a sample of a launch's blocks on the emulated GPU, and the cost model over what they count.

use shadowkv_runtime::cost::{GpuFacts, KernelCounts, STATED_ERROR, kernel_time};
use shadowkv_runtime::manifest::Sizes;
use shadowkv_runtime::nvrtc::Arch;

use super::{Compiled, Figure, Judge, JudgeError, JudgeKind, gpu_for, launch, met};
use crate::plan::{KernelPlan, UNIT_BYTES};
use crate::profile::Declared;
use crate::verify::device::{Backend as _, Counters};
use crate::verify::kernels::Layer;
use crate::verify::random::hash;
use crate::verify::{EmulatedGpu, LeastWork, run};

/// Tokens of all sequences, at most, where a kernel goes over all of them: as many as a launch's behaviour can be told from.
const MOST_TOKENS: u32 = 32_768;

/// Tokens of each sequence, at least.
const LEAST_TOKENS: u32 = 2048;

/// Kernels that go over all tokens of a prompt or a cache. The others' work depends on the context only through chunks.
const OVER_TOKENS: [&str; 7] = [
    "rope_append",
    "prefill_attention",
    "key_gram",
    "key_project",
    "chunk_landmarks",
    "offload_values",
    "decode_attention",
];

/// Warp instructions that a candidate is given on the emulated GPU, about a third of a second's.
const SAMPLE_INSTRUCTIONS: f64 = 400_000.0;

/// Fewest blocks of a sample.
const LEAST_BLOCKS: f64 = 4.0;

/// Operations of an mma of 16 x 8 x 16, and the instructions that come with it.
const MMA_FLOPS: f64 = 4096.0;
const INSTRUCTIONS_PER_MMA: f64 = 2.5;
/// Instructions that come with 512 bytes, a warp's access.
const INSTRUCTIONS_PER_ACCESS: f64 = 10.0;
/// Bytes of a warp's access.
const ACCESS_BYTES: f64 = 512.0;

/// Counts on the emulated GPU, and the runtime's cost model over them.
#[derive(Clone, Debug)]
pub struct Modelled {
    arch: Arch,
    gpu: &'static GpuFacts,
}

impl Modelled {
    /// For GPUs of `arch`.
    ///
    /// # Errors
    ///
    /// [`JudgeError::Arch`] where the model knows none.
    pub fn new(arch: Arch) -> Result<Modelled, JudgeError> {
        let gpu = gpu_for(arch)?;
        Ok(Modelled { arch, gpu })
    }
}

impl Judge for Modelled {
    fn kind(&self) -> JudgeKind {
        JudgeKind::Modelled
    }

    fn device(&self) -> String {
        format!("model of {}", self.gpu.name)
    }

    fn stated_error(&self) -> f64 {
        STATED_ERROR
    }

    fn exclusive(&self) -> bool {
        false
    }

    fn multiprocessors(&self) -> u32 {
        EmulatedGpu::for_arch(self.arch).multiprocessors()
    }

    fn layer(&self, kernel: &str, size: &Layer) -> Layer {
        let met = met(kernel, size);
        let most = if OVER_TOKENS.contains(&kernel) {
            (MOST_TOKENS / met.batch.max(1)).max(LEAST_TOKENS)
        } else {
            u32::MAX
        };
        Layer {
            context: met.context.min(most),
            ..met
        }
    }

    fn judge(&self, compiled: &Compiled, size: &Layer) -> Result<Figure, JudgeError> {
        let Compiled {
            plan,
            kernel,
            binary,
        } = *compiled;
        let name = kernel.name;
        let refused = |message: String| JudgeError::Launch {
            kernel: name,
            message,
        };
        let sized = |source| JudgeError::Size {
            kernel: name,
            source,
        };
        let gpu = EmulatedGpu::for_arch(self.arch);
        let layer = self.layer(name, size);
        let (target, launch) = launch(plan, kernel, gpu.multiprocessors(), &layer)?;
        let case = launch
            .sketch
            .build(&target, hash(&[&plan.spec.name, name]) >> 11);
        let least = LeastWork::new(&kernel.work, &case.sizes).map_err(sized)?;
        let declared = Declared::new(&kernel.requests, &case.sizes).map_err(sized)?;
        let dims = kernel.geometry.evaluate(&case.sizes);
        let dims = dims.map_err(|error| refused(error.to_string()))?;
        let Some(dims) = dims else {
            return Err(refused("there is nothing to launch at this size".into()));
        };
        let blocks: u64 = dims.grid.iter().map(|count| u64::from(*count)).product();
        let gpu = gpu.with_most_blocks(sample(blocks, &least, &declared));
        let loaded = gpu
            .load(binary)
            .map_err(|error| refused(error.to_string()))?;
        let mut device = gpu.device().map_err(|error| refused(error.to_string()))?;
        let measured = run::measure(&mut device, kernel, &loaded, &case);
        let measured = measured.map_err(|error| refused(error.to_string()))?;
        let counters = measured.and_then(|(_, observed, _)| observed.counters);
        let counters = counters.unwrap_or_default();
        let occupancy = crate::profile::Resources::new(kernel, binary).occupancy;
        let counts = scaled(kernel, &counters, blocks, &least, occupancy.blocks_per_sm);
        let time = kernel_time(self.gpu, &counts);
        Ok(Figure {
            seconds: time.seconds,
            limiter: Some(time.limiter),
            bytes: Some(
                counts.l2_sectors * 32 + counts.host_read_bytes + counts.host_written_bytes,
            ),
        })
    }

    fn objection(&self, _: &Compiled) -> Option<String> {
        None
    }
}

/// Blocks that are emulated, of a launch of `blocks`: the launch's instructions are told from its bytes and products.
fn sample(blocks: u64, least: &LeastWork, declared: &Declared) -> u32 {
    let bytes = declared.read_bytes + declared.written_bytes + least.host_bytes();
    let instructions = least.flops as f64 / MMA_FLOPS * INSTRUCTIONS_PER_MMA
        + bytes as f64 / ACCESS_BYTES * INSTRUCTIONS_PER_ACCESS;
    let share = SAMPLE_INSTRUCTIONS / instructions.max(1.0);
    (blocks as f64 * share)
        .ceil()
        .max(LEAST_BLOCKS)
        .min(f64::from(u32::MAX)) as u32
}

/// What the whole launch of `blocks` costs, from what a sample of its blocks did. Of device memory every byte counts once,
/// however often the blocks ask L2 for it.
fn scaled(
    kernel: &KernelPlan,
    counters: &Counters,
    blocks: u64,
    least: &LeastWork,
    blocks_per_sm: u32,
) -> KernelCounts {
    let factor = blocks as f64 / counters.blocks.max(1) as f64;
    let whole = |count: u64| (count as f64 * factor).round() as u64;
    KernelCounts {
        blocks,
        threads: kernel.geometry.threads,
        blocks_per_sm,
        device_read_bytes: least.read_bytes,
        device_written_bytes: least.written_bytes,
        l2_sectors: whole(counters.l2_sectors.max(counters.sectors)),
        host_read_bytes: least.host_read_bytes,
        host_written_bytes: least.host_written_bytes,
        shared_wavefronts: whole(counters.wavefronts),
        tensor_flops: whole(counters.tensor_flops),
        warp_instructions: whole(counters.warp_instructions),
        bytes_in_flight: bytes_in_flight(kernel),
        ..KernelCounts::default()
    }
}

/// Bytes of device memory that a block keeps on their way: all stages of its pipeline but the one being used, or the loads of
/// its threads; 0 where the plan does not tell.
fn bytes_in_flight(kernel: &KernelPlan) -> u32 {
    let constant = |name: &str| {
        let value = kernel.constant(name);
        value.and_then(|value| u32::try_from(value).ok())
    };
    let stages = constant("STAGES").or_else(|| constant("SLOTS"));
    if let Some(stages) = stages.filter(|stages| *stages > 1) {
        return kernel.geometry.shared_bytes / stages * (stages - 1);
    }
    let loads = constant("LOADS").or_else(|| constant("UNITS"));
    loads.map_or(0, |loads| kernel.geometry.threads * loads * UNIT_BYTES)
}

/// A guess at a candidate's cost from its plan alone, seconds, to tell which candidates are worth compiling: bytes, products
/// and blocks are those of the plan, and a multiprocessor holds as many blocks as threads, shared memory and
/// `registers` (of a thread, where they are known) allow.
///
/// # Errors
///
/// [`JudgeError`] where the plan has no value at these sizes.
pub(in crate::tune) fn planned(
    kernel: &KernelPlan,
    sizes: &Sizes,
    arch: Arch,
    registers: Option<u32>,
) -> Result<f64, JudgeError> {
    let sized = |source| JudgeError::Size {
        kernel: kernel.name,
        source,
    };
    let gpu = gpu_for(arch)?;
    let least = LeastWork::new(&kernel.work, sizes).map_err(sized)?;
    let declared = Declared::new(&kernel.requests, sizes).map_err(sized)?;
    let dims = kernel.geometry.evaluate(sizes);
    let dims = dims.map_err(|error| JudgeError::Launch {
        kernel: kernel.name,
        message: error.to_string(),
    })?;
    let blocks = dims.map_or(0, |dims| {
        dims.grid.iter().map(|count| u64::from(*count)).product()
    });
    let (threads, shared) = (kernel.geometry.threads, kernel.geometry.shared_bytes);
    let occupancy = arch.occupancy(registers.unwrap_or(USUAL_REGISTERS), threads, shared);
    let bytes = declared.read_bytes + declared.written_bytes;
    let instructions = least.flops as f64 / MMA_FLOPS * INSTRUCTIONS_PER_MMA
        + (bytes + least.host_bytes()) as f64 / ACCESS_BYTES * INSTRUCTIONS_PER_ACCESS;
    let counts = KernelCounts {
        blocks,
        threads,
        blocks_per_sm: occupancy.blocks_per_sm,
        device_read_bytes: least.read_bytes,
        device_written_bytes: least.written_bytes,
        l2_sectors: bytes / 32,
        host_read_bytes: least.host_read_bytes,
        host_written_bytes: least.host_written_bytes,
        tensor_flops: least.flops,
        warp_instructions: instructions as u64,
        bytes_in_flight: bytes_in_flight(kernel),
        ..KernelCounts::default()
    };
    let seconds = kernel_time(gpu, &counts).seconds;
    // Nothing runs where no block fits.
    Ok(if occupancy.blocks_per_sm == 0 {
        f64::INFINITY
    } else {
        seconds
    })
}

/// Registers of a thread where the compiler has not been asked yet.
const USUAL_REGISTERS: u32 = 96;
