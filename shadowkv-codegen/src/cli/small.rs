//! The small commands: `import`, `schema`, `doctor`, `completions`.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use clap::CommandFactory as _;
use serde::Serialize;
use shadowkv_codegen::output::write_file;
use shadowkv_codegen::report::REPORT_SCHEMA;
use shadowkv_codegen::spec::import::{ImportOptions, import as import_config};
use shadowkv_codegen::spec::json_schema;
use shadowkv_codegen::spec::limits::SPEC_BYTES_MAX;
use shadowkv_runtime::doctor::{DoctorOptions, DoctorReport};
use shadowkv_runtime::env::Environment;

use super::args::{Arguments, DoctorArguments, Format, ImportArguments};
use super::failure::{Code, Failure};
use super::terminal::{self, Terminal};

pub(super) fn import(arguments: &ImportArguments, terminal: &Terminal) -> Result<(), Failure> {
    let text = read_config(&arguments.config)?;
    let options = ImportOptions {
        name: arguments.name.clone(),
        rank: arguments.rank,
        chunk_size: arguments.chunk_size,
        sparse_budget: arguments.sparse_budget,
        outlier_chunks: arguments.outlier_chunks,
        max_position: arguments.max_position,
        ignore: arguments.ignore.clone(),
    };
    let source_name = arguments.config.display().to_string();
    let imported = import_config(&source_name, &text, &options)
        .map_err(|error| Failure::new(Code::Usage, error))?;
    for warning in &imported.warnings {
        terminal.warning(warning);
    }
    match &arguments.output {
        None => terminal::print(&imported.yaml),
        Some(path) => {
            write_file(path, imported.yaml.as_bytes())?;
            terminal.note(&format!("wrote {}", path.display()));
            Ok(())
        }
    }
}

fn read_config(path: &Path) -> Result<String, Failure> {
    let refuse = |reason: String| {
        Failure::new(
            Code::Usage,
            format!("cannot read `{}`: {reason}", path.display()),
        )
    };
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(SPEC_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|error| refuse(error.to_string()))?;
    if bytes.len() as u64 > SPEC_BYTES_MAX {
        return Err(refuse(format!(
            "larger than {SPEC_BYTES_MAX} bytes; a config.json is a few KiB"
        )));
    }
    String::from_utf8(bytes).map_err(|error| refuse(format!("not UTF-8: {error}")))
}

pub(super) fn schema() -> Result<(), Failure> {
    terminal::json(&json_schema())
}

pub(super) fn doctor(arguments: &DoctorArguments) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Document<'a> {
        schema: u32,
        command: &'static str,
        can_compile: bool,
        #[serde(flatten)]
        report: &'a DoctorReport,
    }
    let mut options = DoctorOptions::new(&Environment::read());
    options.offline |= arguments.offline;
    let report = DoctorReport::examine(&options);
    let can_compile = report.can_compile();
    match arguments.format {
        Format::Text => terminal::print(&report.to_string())?,
        Format::Json => {
            terminal::json(&Document {
                schema: REPORT_SCHEMA,
                command: "doctor",
                can_compile,
                report: &report,
            })?;
        }
    }
    if can_compile {
        Ok(())
    } else {
        Err(Failure::said(Code::NoCompiler))
    }
}

pub(super) fn completions(shell: clap_complete::Shell) -> Result<(), Failure> {
    let mut command = Arguments::command();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    terminal::print(&String::from_utf8_lossy(&script))
}
