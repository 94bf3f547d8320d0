//! `verify`: do the kernels do what they must?

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::OnceLock;

use indicatif::ProgressBar;
use serde::Serialize;
use shadowkv_codegen::report::{REPORT_SCHEMA, case_failure, verification_table};
#[cfg(feature = "cuda")]
use shadowkv_codegen::verify::Hardware;
use shadowkv_codegen::verify::{EmulatedGpu, Verification, VerifyOptions, verify};
#[cfg(feature = "cuda")]
use shadowkv_runtime::gpu::{Gpu as _, cuda::CudaGpu};
use shadowkv_runtime::nvrtc::Arch;

use super::args::{Format, VerifyArguments};
use super::failure::{Code, Failure};
use super::packages::{overrides, plan};
use super::terminal::{self, Terminal};
use super::{again, compiler};

/// The JSON document of this command.
#[derive(Serialize)]
struct Report<'a> {
    schema: u32,
    command: &'static str,
    passed: bool,
    spec: PathBuf,
    arch: Arch,
    /// Version of the compiler.
    nvrtc: String,
    #[serde(flatten)]
    verification: &'a Verification,
}

pub(super) fn run(arguments: &VerifyArguments, terminal: &Terminal) -> Result<(), Failure> {
    let overrides = overrides(&arguments.set, terminal)?;
    let plan = plan(&arguments.spec, &overrides, terminal)?;
    let options = VerifyOptions {
        kernels: arguments.kernel.clone(),
        case: arguments.case.clone(),
        seed: arguments.seed,
        jobs: arguments.jobs,
    };
    options.check(&plan)?;
    let nvrtc = compiler::open(arguments.offline, terminal).map_err(|error| {
        let message = format!(
            "{error}\nWithout a compiler there is nothing to verify; `shadowkv-codegen doctor` tells more."
        );
        Failure::new(Code::NoCompiler, message)
    })?;
    let (arch, hardware) = opened(arguments)?;
    let compiled = compiler::for_emulation(
        &plan,
        &nvrtc,
        &arguments.kernel,
        arch,
        arguments.jobs,
        terminal,
    )?;

    let bar: OnceLock<ProgressBar> = OnceLock::new();
    let started = |cases: usize| {
        let bar = bar.get_or_init(|| terminal.progress("verifying", cases as u64));
        bar.tick();
    };
    let done = |kernel: &str, case: &str| {
        if let Some(bar) = bar.get() {
            bar.set_message(format!("{kernel}: {case}"));
            bar.inc(1);
        }
    };
    let verification = match hardware {
        None => {
            let gpu = EmulatedGpu::for_arch(arch);
            verify(&plan, &compiled, &gpu, &options, &started, &done)
        }
        #[cfg(feature = "cuda")]
        Some(gpu) => verify(&plan, &compiled, &gpu, &options, &started, &done),
        #[cfg(not(feature = "cuda"))]
        Some(never) => match never {},
    };
    if let Some(bar) = bar.get() {
        bar.finish_and_clear();
    }
    let verification = verification?;
    let report = Report {
        schema: REPORT_SCHEMA,
        command: "verify",
        passed: verification.passed(),
        spec: arguments.spec.clone(),
        arch,
        nvrtc: compiler::version(&nvrtc),
        verification: &verification,
    };
    match arguments.format {
        Format::Json => terminal::json(&report)?,
        Format::Text => terminal.result(&text(&report))?,
    }
    tell_failures(&verification, arguments)
}

/// What kernels are verified on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum On {
    /// The emulated GPU.
    Emulated,
    /// The NVIDIA GPU of that number.
    Cuda(u32),
}

/// Reads `emulated`, `cuda` or `cuda:N`.
pub(super) fn device(text: &str) -> Result<On, String> {
    match text {
        "emulated" => return Ok(On::Emulated),
        "cuda" => return Ok(On::Cuda(0)),
        _ => {}
    }
    let number = text
        .strip_prefix("cuda:")
        .and_then(|number| number.parse().ok());
    number
        .map(On::Cuda)
        .ok_or_else(|| "it is `emulated`, `cuda` or, with a number, `cuda:1`".to_owned())
}

#[cfg(feature = "cuda")]
type RealGpu = Hardware<CudaGpu>;
#[cfg(not(feature = "cuda"))]
type RealGpu = std::convert::Infallible;

/// What to compile for, and the GPU if it is a real one.
fn opened(arguments: &VerifyArguments) -> Result<(Arch, Option<RealGpu>), Failure> {
    match arguments.device {
        On::Emulated => Ok((arguments.arch.unwrap_or(Arch::Sm80), None)),
        #[cfg(feature = "cuda")]
        On::Cuda(number) => {
            let gpu = CudaGpu::open(number)
                .map_err(|error| Failure::new(Code::Usage, error.to_string()))?;
            let (major, minor) = gpu.properties().compute_capability;
            let own = Arch::for_device(major, minor);
            let arch = arguments.arch.or(own).ok_or_else(|| {
                let name = &gpu.properties().name;
                let message = format!(
                    "{name} has compute capability {major}.{minor}; kernels are made for 8.0 and newer"
                );
                Failure::new(Code::Usage, message)
            })?;
            // Nothing is timed here: the size of its cache does not matter.
            Ok((arch, Some(Hardware::new(gpu, 0))))
        }
        #[cfg(not(feature = "cuda"))]
        On::Cuda(_) => Err(Failure::new(
            Code::Usage,
            "this program was built without the feature `cuda`".to_owned(),
        )),
    }
}

fn text(report: &Report) -> String {
    let Verification {
        package,
        device,
        multiprocessors,
        ..
    } = report.verification;
    format!(
        "{package} on an {device} ({multiprocessors} multiprocessors), compiled for {} by NVRTC {}\n\n{}\n",
        report.arch,
        report.nvrtc,
        verification_table(report.verification)
    )
}

fn tell_failures(verification: &Verification, arguments: &VerifyArguments) -> Result<(), Failure> {
    let mut wrong = Vec::new();
    for kernel in &verification.kernels {
        if let Some(error) = &kernel.error {
            terminal::report(&format!("{}: {error}", kernel.kernel));
        }
        for case in kernel.cases.iter().filter(|case| !case.passed()) {
            let again = again(arguments, kernel.kernel, &case.case);
            terminal::report(&case_failure(kernel.kernel, case, &again));
        }
        if !kernel.passed() {
            wrong.push(kernel.kernel);
        }
    }
    match wrong.as_slice() {
        [] => Ok(()),
        [kernel] => Err(Failure::new(Code::Wrong, format!("{kernel} is wrong"))),
        kernels => Err(Failure::new(
            Code::Wrong,
            format!("{} are wrong", kernels.join(", ")),
        )),
    }
}

/// The command that runs one case again.
fn again(arguments: &VerifyArguments, kernel: &str, case: &str) -> String {
    let mut words: Vec<OsString> = vec!["verify".into(), arguments.spec.clone().into()];
    for set in &arguments.set {
        words.extend(["--set".into(), set.into()]);
    }
    if let On::Cuda(number) = arguments.device {
        words.extend(["--device".into(), format!("cuda:{number}").into()]);
    }
    if let Some(arch) = arguments.arch {
        words.extend(["--arch".into(), arch.name().into()]);
    }
    if arguments.seed != 0 {
        words.extend(["--seed".into(), arguments.seed.to_string().into()]);
    }
    words.extend(["--kernel", kernel, "--case", case].map(OsString::from));
    again::command(words)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use shadowkv_codegen::verify::device::Finding;
    use shadowkv_codegen::verify::{CaseReport, KernelVerification, LeastWork};
    use shadowkv_runtime::manifest::Sizes;

    use super::*;

    fn arguments() -> VerifyArguments {
        VerifyArguments {
            spec: "my.yaml".into(),
            kernel: Vec::new(),
            case: None,
            arch: Some(Arch::Sm80),
            device: On::Emulated,
            seed: 3,
            set: vec!["shadowkv.rank=48".to_owned()],
            jobs: None,
            offline: false,
            format: Format::Text,
        }
    }

    fn kernel(kernel: &'static str, findings: usize) -> KernelVerification {
        let finding = Finding {
            kind: "race".to_owned(),
            text: "race: two threads".to_owned(),
        };
        let case = CaseReport {
            case: "one token".to_owned(),
            seed: 0,
            sizes: Sizes::new(),
            grid: None,
            error: None,
            mismatches: Vec::new(),
            findings: vec![finding; findings],
            shares: BTreeMap::new(),
            least: LeastWork::default(),
            counters: None,
            seconds: 0.0,
        };
        KernelVerification {
            kernel,
            entry: String::new(),
            error: None,
            cases: vec![case],
        }
    }

    fn ended(kernels: Vec<KernelVerification>) -> Option<(Code, String)> {
        let verification = Verification {
            package: "small".to_owned(),
            spec_sha256: String::new(),
            device: String::new(),
            multiprocessors: 1,
            seed: 3,
            kernels,
        };
        let failure = tell_failures(&verification, &arguments()).err();
        failure.map(|failure| (failure.code, failure.message.unwrap_or_default()))
    }

    #[test]
    fn a_wrong_kernel_has_an_exit_code() {
        assert_eq!(ended(vec![kernel("key_gram", 0)]), None);
        assert_eq!(
            ended(vec![kernel("key_gram", 1), kernel("key_project", 0)]),
            Some((Code::Wrong, "key_gram is wrong".to_owned()))
        );
        let unloaded = KernelVerification {
            error: Some("no such instruction".to_owned()),
            ..kernel("key_project", 0)
        };
        assert_eq!(
            ended(vec![kernel("key_gram", 2), unloaded]),
            Some((Code::Wrong, "key_gram, key_project are wrong".to_owned()))
        );
    }

    #[test]
    fn a_case_can_be_run_again() {
        let again = again(&arguments(), "key_gram", "one token");
        let expected = " verify my.yaml --set 'shadowkv.rank=48' --arch sm_80 --seed 3 --kernel key_gram --case 'one token'";
        assert!(again.ends_with(expected), "{again}");
    }
}
