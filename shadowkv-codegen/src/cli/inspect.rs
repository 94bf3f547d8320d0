//! `inspect`: what a plan comes to.

use std::collections::BTreeSet;

use serde::Serialize;
use shadowkv_codegen::compile::{Compilation, CompileOptions};
use shadowkv_codegen::emit::emit;
use shadowkv_codegen::report::{Case, DEVICES, Inspection, REPORT_SCHEMA};
use shadowkv_runtime::nvrtc::Arch;

use super::args::{Format, InspectArguments};
use super::compiler;
use super::failure::{Code, Failure};
use super::packages::{overrides, plan};
use super::terminal::{self, Terminal};

/// The JSON document of this command.
#[derive(Serialize)]
struct Report {
    schema: u32,
    command: &'static str,
    /// Version of the compiler; absent when nothing was compiled.
    nvrtc: Option<String>,
    /// Why registers and occupancy are missing.
    note: Option<String>,
    #[serde(flatten)]
    inspection: Inspection,
}

pub(super) fn run(arguments: &InspectArguments, terminal: &Terminal) -> Result<(), Failure> {
    let overrides = overrides(&arguments.set, terminal)?;
    let plan = plan(&arguments.spec, &overrides, terminal)?;
    let case = Case {
        batch: arguments.batch,
        context: arguments.context,
        miss_percent: arguments.misses,
    };
    let most = u64::from(plan.spec.rope.max_position);
    if case.context > most {
        terminal.warning(&format!(
            "the model has {most} positions (rope.max_position), fewer than the context"
        ));
    }

    let (mut nvrtc, mut note, mut compilation) = (None, None, Compilation::default());
    if arguments.no_compile {
        note = Some("nothing was compiled: registers and occupancy are not known".to_owned());
    } else {
        match compiler::open(arguments.offline, terminal) {
            Ok(found) => {
                let package = emit(&plan)?;
                let archs: BTreeSet<Arch> = DEVICES.iter().map(|device| device.arch).collect();
                let options = CompileOptions::new(&archs.into_iter().collect::<Vec<_>>());
                nvrtc = Some(compiler::version(&found));
                let compilations = compiler::run(&[&package], &found, &options, terminal)?;
                compilation = compilations.into_iter().next().unwrap_or_default();
            }
            Err(error) => note = Some(format!("registers and occupancy are not known: {error}")),
        }
    }
    let inspection = Inspection::new(&plan, case, &compilation.kernels)?;
    match arguments.format {
        Format::Json => {
            let report = Report {
                schema: REPORT_SCHEMA,
                command: "inspect",
                nvrtc,
                note,
                inspection,
            };
            terminal::json(&report)?;
        }
        Format::Text => {
            terminal::print(&inspection.render())?;
            if let Some(note) = note {
                terminal.note(&format!("note: {note}"));
            }
        }
    }
    for failure in &compilation.failures {
        terminal::report(&failure.render(terminal.colour_messages()));
    }
    if compilation.failures.is_empty() {
        Ok(())
    } else {
        Err(Failure::said(Code::Compile))
    }
}
