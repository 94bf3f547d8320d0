//! The device of a command: found, opened, and handed to what runs on it.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use shadowkv_runtime::device::cpu::CpuDevice;
use shadowkv_runtime::device::kernels::KernelDevice;
use shadowkv_runtime::device::sparse::SparseDevice;
use shadowkv_runtime::env::Environment;
use shadowkv_runtime::gpu::cuda::CudaGpu;
use shadowkv_runtime::gpu::emulated::{EmulatedGpu, EmulatedOptions, GpuModel, Order};
use shadowkv_runtime::gpu::{Gpu, ImageKinds};
use shadowkv_runtime::package::{
    self, Form, ImageProgress, ImageRequest, Images, Lookup, Package, Target,
};
use shadowkv_runtime::spec::Spec;

use super::args::DeviceArguments;
use super::failure::{Code, Failure};
use super::terminal::Terminal;

/// A device by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum DeviceName {
    /// The first NVIDIA GPU if there is one, else the CPU.
    Auto,
    /// The CPU, in f32.
    Cpu,
    /// An emulated GPU.
    Emulated(GpuModel),
    /// The NVIDIA GPU with that number.
    Cuda(u32),
}

impl FromStr for DeviceName {
    type Err = String;

    fn from_str(text: &str) -> Result<DeviceName, String> {
        let (kind, which) = match text.split_once(':') {
            Some((kind, which)) => (kind, Some(which)),
            None => (text, None),
        };
        match (kind, which) {
            ("auto", None) => Ok(DeviceName::Auto),
            ("cpu", None) => Ok(DeviceName::Cpu),
            ("emulated", None) => Ok(DeviceName::Emulated(GpuModel::a100_80gb())),
            ("emulated", Some(name)) => {
                GpuModel::named(name)
                    .map(DeviceName::Emulated)
                    .ok_or_else(|| {
                        format!("no GPU `{name}`: emulated are a100-40, a100-80, h100 and h200")
                    })
            }
            ("cuda", None) => Ok(DeviceName::Cuda(0)),
            ("cuda", Some(number)) => number
                .parse()
                .map(DeviceName::Cuda)
                .map_err(|error| format!("`{number}` is no number of a GPU: {error}")),
            _ => Err("devices are auto, cpu, cuda, cuda:1, emulated, emulated:h100".to_owned()),
        }
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceName::Auto => f.write_str("auto"),
            DeviceName::Cpu => f.write_str("cpu"),
            DeviceName::Emulated(model) => {
                write!(f, "emulated:{}", model.name.to_lowercase())
            }
            DeviceName::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

/// What a command does on a device.
pub(super) trait OnDevice {
    /// What comes of it.
    type Output;

    fn run<D: SparseDevice>(self, device: &D) -> Result<Self::Output, Failure>;
}

/// Opens the device that `arguments` name for `spec`, and runs `work` on it.
pub(super) fn with_device<W: OnDevice>(
    arguments: &DeviceArguments,
    spec: &Spec,
    terminal: &Terminal,
    work: W,
) -> Result<W::Output, Failure> {
    match &arguments.device {
        DeviceName::Auto => match CudaGpu::open(0) {
            Ok(gpu) if package::find(spec, &lookup(arguments)).is_ok() => {
                on_cuda(gpu, arguments, spec, terminal, work)
            }
            _ => on_cpu(arguments, spec, work),
        },
        DeviceName::Cpu => on_cpu(arguments, spec, work),
        DeviceName::Cuda(number) => {
            let gpu = CudaGpu::open(*number).map_err(|error| Failure::new(Code::Device, error))?;
            on_cuda(gpu, arguments, spec, terminal, work)
        }
        DeviceName::Emulated(model) => on_emulated(model, arguments, spec, terminal, work),
    }
}

fn on_cpu<W: OnDevice>(
    arguments: &DeviceArguments,
    spec: &Spec,
    work: W,
) -> Result<W::Output, Failure> {
    let device = match arguments.memory {
        Some(memory) => CpuDevice::with_memory(spec, memory.as_u64())?,
        None => CpuDevice::new(spec)?,
    };
    work.run(&device)
}

fn on_cuda<W: OnDevice>(
    gpu: CudaGpu,
    arguments: &DeviceArguments,
    spec: &Spec,
    terminal: &Terminal,
    work: W,
) -> Result<W::Output, Failure> {
    let driver = Some(gpu.driver_version());
    let device = open(gpu, driver, arguments, spec, terminal)?;
    work.run(&device)
}

fn on_emulated<W: OnDevice>(
    model: &GpuModel,
    arguments: &DeviceArguments,
    spec: &Spec,
    terminal: &Terminal,
    work: W,
) -> Result<W::Output, Failure> {
    let mut options = EmulatedOptions::new(model.clone());
    if let Some(memory) = arguments.memory {
        options = options.with_memory_bytes(memory.as_u64());
    }
    if let Some(seed) = arguments.stream_order {
        options = options.with_order(Order::Random(seed));
    }
    if arguments.timeline.is_some() {
        options = options.with_timeline();
    }
    let gpu = EmulatedGpu::new(options);
    let device = open(gpu.clone(), None, arguments, spec, terminal)?;
    let output = work.run(&device);
    drop(device);
    if let Some(path) = &arguments.timeline {
        gpu.write_timeline(path).map_err(|error| {
            Failure::new(
                Code::Write,
                format!("cannot write `{}`: {error}", path.display()),
            )
        })?;
    }
    let findings = gpu.finish();
    if findings.is_empty() || output.is_err() {
        return output;
    }
    let mut message = format!("the emulated GPU found {}:", findings.len());
    for finding in &findings {
        // Writing to a string cannot fail.
        let _ = write!(message, "\n  {finding}");
    }
    Err(Failure::new(Code::Defect, message))
}

fn lookup(arguments: &DeviceArguments) -> Lookup {
    Lookup::new(arguments.package.clone(), &Environment::read())
}

/// Gives `spec`, which was made of what a model tells and so has the method's usual parameters, those of a package for the same
/// model: of the one that is named, or of one that comes with this program. Without such a package it stays as it is.
pub(super) fn adopt_method(spec: &mut Spec, arguments: &DeviceArguments) {
    if package::find(spec, &lookup(arguments)).is_ok() {
        return;
    }
    let packages: Vec<Package> = if let Some(folder) = &arguments.package {
        Package::open(folder).into_iter().collect()
    } else {
        let names = Package::shipped_names().unwrap_or_default();
        names
            .iter()
            .flat_map(|name| Package::shipped(name))
            .collect()
    };
    for package in packages {
        let mut adapted = spec.clone();
        adapted.shadowkv = package.spec().shadowkv;
        if package.check_spec(&adapted).is_ok() {
            *spec = adapted;
            return;
        }
    }
}

/// A GPU with the kernels of the package that fits `spec`.
fn open<G: Gpu>(
    gpu: G,
    driver: Option<(i32, i32)>,
    arguments: &DeviceArguments,
    spec: &Spec,
    terminal: &Terminal,
) -> Result<KernelDevice<G>, Failure> {
    let package = package::find(spec, &lookup(arguments))?;
    let properties = gpu.properties();
    let (major, minor) = properties.compute_capability;
    let mut target = Target::for_device(major, minor).ok_or_else(|| {
        Failure::new(
            Code::Device,
            format!(
                "{} has compute capability {major}.{minor}; kernels are made for 8.0 and newer",
                properties.name
            ),
        )
    })?;
    if properties.images == ImageKinds::Ptx {
        target.form = Form::Ptx;
    }
    let mut request = ImageRequest {
        target,
        driver,
        ..ImageRequest::from_environment(target.arch)
    };
    request.nvrtc = request.nvrtc.offline(arguments.offline);
    let images = images(&package, &request, terminal)?;
    for warning in &images.warnings {
        terminal.warning(warning);
    }
    let device = KernelDevice::new(gpu, spec, &package, &images)
        .map_err(|error| Failure::new(Code::Device, error))?;
    if arguments.no_graphs {
        device.use_graphs(false);
    }
    Ok(device)
}

/// Images of all kernels, with a bar while they are compiled.
pub(super) fn images(
    package: &Package,
    request: &ImageRequest,
    terminal: &Terminal,
) -> Result<Images, Failure> {
    let bar = terminal.progress("compiling", 0);
    let images = package.images(request, &|step| match step {
        ImageProgress::Compiling { kernels, .. } => bar.inc_length(*kernels as u64),
        ImageProgress::Compiled { kernel, arch, .. } => {
            bar.set_message(format!("{kernel} {arch}"));
            bar.inc(1);
        }
        step => terminal.note(&step.to_string()),
    });
    bar.finish_and_clear();
    Ok(images?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let named = |text: &str| text.parse::<DeviceName>();
        assert_eq!(named("cuda"), Ok(DeviceName::Cuda(0)));
        assert_eq!(named("cuda:3"), Ok(DeviceName::Cuda(3)));
        assert_eq!(
            named("emulated:H100"),
            Ok(DeviceName::Emulated(GpuModel::h100()))
        );
        for text in ["auto", "cpu", "cuda:1", "emulated:a100-40"] {
            assert_eq!(
                named(text).map(|name| name.to_string()),
                Ok(text.to_owned())
            );
        }
        for text in ["gpu", "cuda:x", "cpu:0", "emulated:tpu"] {
            assert!(named(text).is_err(), "{text}");
        }
    }
}
