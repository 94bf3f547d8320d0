//! `doctor`.

use std::fmt::Write as _;

use serde::Serialize;
use shadowkv_runtime::doctor::{DoctorOptions, DoctorReport};
use shadowkv_runtime::env::Environment;
use shadowkv_runtime::gpu::Gpu;
use shadowkv_runtime::gpu::cuda::{CudaGpu, LibraryReport};
use shadowkv_runtime::gpu::emulated::{EmulatedGpu, EmulatedOptions, GpuModel};
use shadowkv_runtime::gpu::self_test::{Check, self_test};
use shadowkv_runtime::package::{ImageProgress, ImageRequest, Package, Target};

use super::args::{DoctorArguments, Format};
use super::failure::{Code, Failure};
use super::terminal::{self, Terminal};

/// The package whose kernels a device is put to the test with: the smallest.
const TESTED_PACKAGE: &str = "smollm2-135m";

pub(super) fn run(arguments: &DoctorArguments, terminal: &Terminal) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Document<'a> {
        schema: u32,
        command: &'static str,
        can_compile: bool,
        #[serde(flatten)]
        report: &'a DoctorReport,
    }
    if let Some(device) = &arguments.device {
        return test(device, arguments, terminal);
    }
    let mut options = DoctorOptions::new(&Environment::read());
    options.offline |= arguments.offline;
    let report = DoctorReport::examine(&options);
    let can_compile = report.can_compile();
    match arguments.format {
        Format::Text => terminal::print(&report.to_string())?,
        Format::Json => terminal::json(&Document {
            schema: terminal::JSON_SCHEMA,
            command: "doctor",
            can_compile,
            report: &report,
        })?,
    }
    if can_compile {
        Ok(())
    } else {
        Err(Failure::said(Code::NoCompiler))
    }
}

/// The JSON document of a device's test.
#[derive(Serialize)]
struct TestReport {
    schema: u32,
    command: &'static str,
    device: String,
    /// What it calls itself.
    name: String,
    compute_capability: (u32, u32),
    memory_bytes: u64,
    /// Major and minor version of CUDA that its driver knows.
    driver: Option<(i32, i32)>,
    libraries: Vec<LibraryReport>,
    checks: Vec<Check>,
    /// What an emulated GPU objects to.
    findings: Vec<String>,
}

impl TestReport {
    fn new(device: &str, gpu: &impl Gpu) -> TestReport {
        let properties = gpu.properties();
        TestReport {
            schema: terminal::JSON_SCHEMA,
            command: "doctor",
            device: device.to_owned(),
            name: properties.name.clone(),
            compute_capability: properties.compute_capability,
            memory_bytes: properties.memory_bytes,
            driver: None,
            libraries: Vec::new(),
            checks: Vec::new(),
            findings: Vec::new(),
        }
    }

    fn head(&self) -> String {
        let (major, minor) = self.compute_capability;
        let mut text = format!(
            "{}: {}, compute capability {major}.{minor}, {} bytes\n",
            self.device, self.name, self.memory_bytes
        );
        if let Some((major, minor)) = self.driver {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "driver: CUDA {major}.{minor}");
        }
        for library in &self.libraries {
            let found = library.found.as_ref().or(library.error.as_ref());
            let found = found.map_or("", String::as_str);
            let _ = writeln!(text, "{} ({}): {found}", library.name, library.purpose);
        }
        text
    }
}

/// Puts a device to the test.
fn test(device: &str, arguments: &DoctorArguments, terminal: &Terminal) -> Result<(), Failure> {
    let report = if device == "emulated" {
        let gpu = EmulatedGpu::new(EmulatedOptions::new(GpuModel::a100_80gb()));
        let mut report = TestReport::new(device, &gpu);
        run_checks(&gpu, false, &mut report, arguments, terminal)?;
        report.findings = gpu.finish().iter().map(ToString::to_string).collect();
        report
    } else {
        let gpu = CudaGpu::open(ordinal(device)?);
        let gpu = gpu.map_err(|error| Failure::new(Code::Device, error))?;
        let mut report = TestReport::new(device, &gpu);
        report.driver = Some(gpu.driver_version());
        report.libraries = gpu.libraries();
        run_checks(&gpu, true, &mut report, arguments, terminal)?;
        report
    };
    match arguments.format {
        Format::Json => terminal::json(&report)?,
        Format::Text => {
            for finding in &report.findings {
                terminal::print(finding)?;
            }
        }
    }
    let failed = report.checks.iter().filter(|check| check.failed()).count();
    match (failed, report.findings.len()) {
        (0, 0) => Ok(()),
        (failed, findings) => Err(Failure::new(
            Code::Device,
            format!("{device}: {failed} checks failed, {findings} findings"),
        )),
    }
}

fn ordinal(device: &str) -> Result<u32, Failure> {
    let number = match device {
        "cuda" => Some(0),
        other => other
            .strip_prefix("cuda:")
            .and_then(|number| number.parse().ok()),
    };
    number.ok_or_else(|| {
        Failure::new(
            Code::Usage,
            format!("`{device}` is no device to test: give cuda:0, another number, or emulated"),
        )
    })
}

fn run_checks<G: Gpu>(
    gpu: &G,
    careless: bool,
    report: &mut TestReport,
    arguments: &DoctorArguments,
    terminal: &Terminal,
) -> Result<(), Failure> {
    let text = arguments.format == Format::Text;
    if text {
        terminal::print(&report.head())?;
    }
    let target = Target::for_gpu(gpu).ok_or_else(|| {
        let (major, minor) = report.compute_capability;
        Failure::new(
            Code::Device,
            format!("no kernels for compute capability {major}.{minor}"),
        )
    })?;
    let package = Package::shipped(TESTED_PACKAGE)?;
    let mut request = ImageRequest {
        target,
        driver: report.driver,
        ..ImageRequest::from_environment(target.arch)
    };
    request.nvrtc = request.nvrtc.offline(arguments.offline);
    let images = package.images(&request, &|step| match step {
        ImageProgress::Compiled { .. } => {}
        step => terminal.note(&step.to_string()),
    })?;
    for warning in images.warnings.iter().chain(&images.not_kept) {
        terminal.warning(warning);
    }
    let mut printed = Ok(());
    report.checks = self_test(gpu, &package, &images, careless, &mut |check| {
        if text && printed.is_ok() {
            printed = terminal::print(&check.to_string());
        }
    });
    printed
}
