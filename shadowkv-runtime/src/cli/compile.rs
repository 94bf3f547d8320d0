//! `compile`: the kernels of a package into the cache, before they are needed.

use std::fmt::Write as _;
use std::path::Path;

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use shadowkv_runtime::doctor::DriverReport;
use shadowkv_runtime::env::Environment;
use shadowkv_runtime::model::{Model, ModelOptions, SpecSource};
use shadowkv_runtime::nvrtc::Arch;
use shadowkv_runtime::package::{
    self, Form, ImageProgress, ImageRequest, ImageSource, Images, ImagesError, Lookup,
    MANIFEST_FILE, Package, PackageError, Target,
};

use super::args::{CompileArguments, Format};
use super::failure::{Code, Failure};
use super::terminal::{self, Terminal};

/// The package that is compiled when none is named: that of the model that is used when none is named.
const DEFAULT_PACKAGE: &str = "smollm2-135m";

/// The JSON document of this command.
#[derive(Serialize)]
struct Report {
    schema: u32,
    command: &'static str,
    package: String,
    /// Where it was found.
    origin: String,
    kernels: Vec<Row>,
    warnings: Vec<String>,
}

/// One kernel for one architecture.
#[derive(Serialize)]
struct Row {
    kernel: String,
    entry: String,
    arch: Arch,
    form: Form,
    source: ImageSource,
    /// Major and minor version of the NVRTC that compiled it.
    compiler: Option<(i32, i32)>,
    /// Time to compile or to read it, milliseconds.
    milliseconds: f64,
    /// Bytes of the image.
    bytes: usize,
}

pub(super) fn run(arguments: &CompileArguments, terminal: &Terminal) -> Result<(), Failure> {
    let package = package(arguments, terminal)?;
    let targets = targets(arguments)?;
    let mut report = Report {
        schema: terminal::JSON_SCHEMA,
        command: "compile",
        package: package.name().to_owned(),
        origin: package.origin().to_string(),
        kernels: Vec::new(),
        warnings: Vec::new(),
    };
    let mut not_kept = None;
    for target in targets {
        let images = images(&package, target, arguments, terminal)?;
        for warning in &images.warnings {
            terminal.warning(warning);
        }
        report.kernels.extend(rows(&images));
        report.warnings.extend(images.warnings);
        not_kept = not_kept.or(images.not_kept);
    }
    match arguments.format {
        Format::Text => terminal::print(&table(&report))?,
        Format::Json => terminal::json(&report)?,
    }
    match not_kept {
        // To keep them is what was asked for.
        Some(reason) => Err(Failure::new(
            Code::Write,
            format!("compiled kernels are not kept: {reason}"),
        )),
        None => Ok(()),
    }
}

/// The package that the arguments name.
fn package(arguments: &CompileArguments, terminal: &Terminal) -> Result<Package, Failure> {
    if let Some(named) = &arguments.package {
        return Ok(open(named)?);
    }
    if arguments.model.is_none() && arguments.spec.is_none() {
        return Ok(Package::shipped(DEFAULT_PACKAGE)?);
    }
    let mut options = ModelOptions::from_environment().offline(arguments.offline);
    options.spec = arguments.spec.clone().map(SpecSource::Path);
    let spec = match (&arguments.model, &arguments.spec) {
        (None, Some(spec)) => shadowkv_runtime::spec::Spec::load(spec, &[])
            .map_err(|error| Failure::new(Code::Usage, error))?,
        (model, _) => {
            let model = Model::open(model.as_deref(), &options, &|step| {
                terminal.note(&step.to_string());
            })?;
            model.spec
        }
    };
    let lookup = Lookup::new(None, &Environment::read());
    Ok(package::find(&spec, &lookup)?)
}

/// A folder, or the name of a package that this program carries.
fn open(named: &Path) -> Result<Package, PackageError> {
    let name = named.to_str().unwrap_or_default();
    if !named.join(MANIFEST_FILE).exists() && Package::shipped_names()?.contains(&name) {
        return Package::shipped(name);
    }
    Package::open(named)
}

/// What to compile for: as asked, or the GPUs of this machine.
fn targets(arguments: &CompileArguments) -> Result<Vec<Target>, Failure> {
    let form = if arguments.ptx {
        Form::Ptx
    } else {
        Form::Cubin
    };
    let mut targets: Vec<Target> = Vec::new();
    if arguments.arch.is_empty() {
        for device in DriverReport::examine().devices {
            let (major, minor) = device.compute_capability;
            let pair = u32::try_from(major).ok().zip(u32::try_from(minor).ok());
            let target = pair.and_then(|(major, minor)| Target::for_device(major, minor));
            targets.extend(target);
        }
    } else {
        targets.extend(
            arguments
                .arch
                .iter()
                .map(|arch| Target { arch: *arch, form }),
        );
    }
    targets.sort_by_key(|target| target.arch);
    targets.dedup_by_key(|target| target.arch);
    if targets.is_empty() {
        let known = Arch::ALL.map(Arch::name).join(", ");
        return Err(Failure::new(
            Code::Usage,
            format!("this machine has no GPU to compile for: name one with --arch ({known})"),
        ));
    }
    if arguments.ptx {
        for target in &mut targets {
            target.form = form;
        }
    }
    Ok(targets)
}

fn images(
    package: &Package,
    target: Target,
    arguments: &CompileArguments,
    terminal: &Terminal,
) -> Result<Images, Failure> {
    let mut request = ImageRequest {
        target,
        jobs: arguments.jobs,
        ..ImageRequest::from_environment(target.arch)
    };
    request.nvrtc = request.nvrtc.offline(arguments.offline);
    let bar = terminal.progress("compiling", 0);
    let images = package.images(&request, &|step| match step {
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

fn rows(images: &Images) -> impl Iterator<Item = Row> {
    images.images.iter().map(|image| {
        let wanted = images.target.form;
        let form = if image.has(wanted) { wanted } else { Form::Ptx };
        Row {
            kernel: image.kernel.clone(),
            entry: image.entry.clone(),
            arch: image.arch,
            form,
            source: image.source,
            compiler: image.compiler,
            milliseconds: image.elapsed.as_secs_f64() * 1e3,
            bytes: image.bytes(form),
        }
    })
}

fn table(report: &Report) -> String {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["kernel", "arch", "image", "NVRTC", "ms", "bytes"]);
    for row in &report.kernels {
        let compiler = row.compiler;
        table.add_row([
            row.kernel.clone(),
            row.arch.to_string(),
            row.source.name().to_owned(),
            compiler.map_or_else(String::new, |(major, minor)| format!("{major}.{minor}")),
            format!("{:.1}", row.milliseconds),
            row.bytes.to_string(),
        ]);
    }
    for column in [4, 5] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut text = format!(
        "{} ({})\n\n{}\n\n",
        report.package,
        report.origin,
        table.trim_fmt()
    );
    let count = |source| {
        let rows = report.kernels.iter();
        rows.filter(|row| row.source == source).count()
    };
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "{} compiled, {} from the cache, {} from the package",
        count(ImageSource::Compiled),
        count(ImageSource::Cache),
        count(ImageSource::Package)
    );
    text
}

impl From<PackageError> for Failure {
    fn from(error: PackageError) -> Failure {
        Failure::new(Code::Model, error)
    }
}

impl From<ImagesError> for Failure {
    fn from(error: ImagesError) -> Failure {
        let code = match error {
            ImagesError::Package(_) => Code::Model,
            ImagesError::NoCompiler { .. } | ImagesError::Arch { .. } => Code::NoCompiler,
            ImagesError::Compile { .. } => Code::Compile,
            _ => Code::Device,
        };
        Failure::new(code, error)
    }
}
