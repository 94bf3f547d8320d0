//! From options to attention on a device.

use std::ffi::{CStr, c_char, c_void};
use std::path::PathBuf;

use shadowkv_runtime::attention::ShadowKvAttention;
use shadowkv_runtime::device::cpu::CpuDevice;
use shadowkv_runtime::device::kernels::KernelDevice;
use shadowkv_runtime::env::Environment;
use shadowkv_runtime::gpu::cuda::CudaGpu;
use shadowkv_runtime::gpu::emulated::{EmulatedGpu, EmulatedOptions, GpuModel};
use shadowkv_runtime::gpu::{Gpu, Priority};
use shadowkv_runtime::kv::shadow::ShadowRoom;
use shadowkv_runtime::package::{self, ImageRequest, Lookup};
use shadowkv_runtime::spec::Spec;

use crate::failure::{Failure, SHADOWKV_CANNOT_OPEN};
use crate::handle::AnyAttention;

/// What is opened, and how much room it has.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// `sizeof(shadowkv_options)`.
    pub size: usize,
    /// Path of the spec, a YAML file.
    pub spec: *const c_char,
    /// `cpu`, `cuda`, `cuda:1`, `emulated`, `emulated:h100`.
    pub device: *const c_char,
    /// Folder of the kernels' package; null for one of `SHADOWKV_PACKAGES`, or one that is built in. The CPU needs none.
    pub package: *const c_char,
    /// A `CUcontext` of the caller's for `cuda`, to be used instead of a GPU's primary one; else null.
    pub cuda_context: *mut c_void,
    /// With a context: the `CUstream` on which everything is enqueued, null for the legacy default stream.
    pub cuda_stream: *mut c_void,
    /// Layers.
    pub layers: usize,
    /// Most tokens of each of the sequences that are there at the same time.
    pub capacities: *const usize,
    /// How many those are.
    pub sequences: usize,
    /// Tokens of the prompts of one step.
    pub prompt_rows: usize,
    /// Tokens that go through a layer at once; an append has no more.
    pub call_rows: usize,
}

/// # Safety
///
/// Null, or a string that ends in NUL.
unsafe fn text<'a>(pointer: *const c_char, name: &str) -> Result<Option<&'a str>, Failure> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's contract.
    let text = unsafe { CStr::from_ptr(pointer) }.to_str();
    text.map(Some)
        .map_err(|_| Failure::invalid(format!("`{name}` is not UTF-8")))
}

/// # Safety
///
/// As [`text`].
pub(crate) unsafe fn path(pointer: *const c_char, name: &str) -> Result<PathBuf, Failure> {
    // SAFETY: the caller's contract.
    let text = unsafe { text(pointer, name)? };
    text.map(PathBuf::from)
        .ok_or_else(|| Failure::invalid(format!("`{name}` is null")))
}

/// # Safety
///
/// Null, or options whose pointers are null or what they say.
pub(crate) unsafe fn open(options: *const Options) -> Result<AnyAttention, Failure> {
    // SAFETY: the caller's contract; the size comes before anything that it may lack.
    let options = match unsafe { options.as_ref() } {
        Some(options) if options.size == size_of::<Options>() => options,
        Some(options) => {
            return Err(Failure::invalid(format!(
                "`options.size` is {}, not {}: set it to sizeof(shadowkv_options), and compile against this library's header",
                options.size,
                size_of::<Options>()
            )));
        }
        None => return Err(Failure::invalid("`options` is null")),
    };
    // SAFETY: the caller's contract.
    let spec = unsafe { path(options.spec, "options.spec")? };
    let spec = Spec::load(&spec, &[]).map_err(|error| Failure::cannot_open(&error))?;
    let capacities = match (options.capacities.is_null(), options.sequences) {
        (_, 0) => return Err(Failure::invalid("`options.sequences` is 0")),
        (true, _) => return Err(Failure::invalid("`options.capacities` is null")),
        // SAFETY: the caller's contract.
        (false, count) => unsafe { std::slice::from_raw_parts(options.capacities, count) }.to_vec(),
    };
    let room = ShadowRoom {
        capacities,
        prompt_rows: options.prompt_rows,
        call_rows: options.call_rows,
    };
    if options.layers == 0 {
        return Err(Failure::invalid("`options.layers` is 0"));
    }
    let layers = options.layers;
    // SAFETY: the caller's contract.
    let device = unsafe { text(options.device, "options.device")? }.unwrap_or("cpu");
    let (kind, which) = device.split_once(':').unwrap_or((device, ""));
    if !options.cuda_context.is_null() && device != "cuda" {
        return Err(Failure::invalid(format!(
            "a CUDA context goes with the device `cuda`, not `{device}`"
        )));
    }
    // SAFETY: the caller's contract.
    let package = unsafe { text(options.package, "options.package")? };
    let package = package.map(PathBuf::from);
    match (kind, which) {
        ("cpu", "") => {
            let device = CpuDevice::new(&spec).map_err(|error| Failure::cannot_open(&error))?;
            let attention = ShadowKvAttention::new(device, &spec, layers, &room)?;
            Ok(AnyAttention::Cpu(Box::new(attention)))
        }
        ("emulated", which) => {
            let model = match which {
                "" => Some(GpuModel::a100_80gb()),
                name => GpuModel::named(name),
            };
            let model = model.ok_or_else(|| {
                Failure::invalid(format!(
                    "no GPU `{which}`: emulated are a100-40, a100-80, h100 and h200"
                ))
            })?;
            let gpu = EmulatedGpu::new(EmulatedOptions::new(model));
            let stream = stream(&gpu)?;
            let device = kernels(gpu, stream, None, &spec, package)?;
            let attention = ShadowKvAttention::new(device, &spec, layers, &room)?;
            Ok(AnyAttention::Emulated(Box::new(attention)))
        }
        ("cuda", which) => {
            // SAFETY: the caller's contract.
            let (gpu, stream) = unsafe { cuda(options, which)? };
            let driver = Some(gpu.driver_version());
            let device = kernels(gpu, stream, driver, &spec, package)?;
            let attention = ShadowKvAttention::new(device, &spec, layers, &room)?;
            Ok(AnyAttention::Cuda(Box::new(attention)))
        }
        _ => Err(Failure::invalid(format!(
            "no device `{device}`: they are cpu, cuda, cuda:1, emulated, emulated:h100"
        ))),
    }
}

fn stream<G: Gpu>(gpu: &G) -> Result<G::Stream, Failure> {
    let stream = gpu.stream("main", Priority::Normal);
    stream.map_err(|error| Failure::cannot_open(&error))
}

/// A GPU, and the stream to enqueue on.
///
/// # Safety
///
/// The options' context and stream are null or live, and outlive what is opened.
unsafe fn cuda(
    options: &Options,
    which: &str,
) -> Result<(CudaGpu, <CudaGpu as Gpu>::Stream), Failure> {
    if options.cuda_context.is_null() {
        if !options.cuda_stream.is_null() {
            return Err(Failure::invalid(
                "`options.cuda_stream` is given without its `cuda_context`",
            ));
        }
        let number = match which {
            "" => Ok(0),
            number => number.parse(),
        };
        let number =
            number.map_err(|_| Failure::invalid(format!("`{which}` is no number of a GPU")))?;
        let gpu = CudaGpu::open(number).map_err(|error| Failure::cannot_open(&error))?;
        let stream = stream(&gpu)?;
        return Ok((gpu, stream));
    }
    // SAFETY: the caller's contract.
    let gpu = unsafe { CudaGpu::from_context(options.cuda_context) };
    let gpu = gpu.map_err(|error| Failure::cannot_open(&error))?;
    // SAFETY: the caller's contract.
    let stream = unsafe { gpu.adopt_stream(options.cuda_stream) };
    Ok((gpu, stream))
}

/// `gpu` with the kernels of the package that fits `spec`, compiled where it has no images.
fn kernels<G: Gpu>(
    gpu: G,
    stream: G::Stream,
    driver: Option<(i32, i32)>,
    spec: &Spec,
    package: Option<PathBuf>,
) -> Result<KernelDevice<G>, Failure> {
    let lookup = Lookup::new(package, &Environment::read());
    let package = package::find(spec, &lookup).map_err(|error| Failure::cannot_open(&error))?;
    let request = ImageRequest::for_gpu(&gpu).ok_or_else(|| Failure {
        status: SHADOWKV_CANNOT_OPEN,
        message: format!(
            "{} is older than compute capability 8.0, which kernels are made for",
            gpu.properties().name
        ),
    })?;
    let request = ImageRequest { driver, ..request };
    let images = package.images(&request, &|_| {});
    let images = images.map_err(|error| Failure::cannot_open(&error))?;
    KernelDevice::on_stream(gpu, stream, spec, &package, &images)
        .map_err(|error| Failure::cannot_open(&error))
}
