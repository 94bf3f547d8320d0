//! `doctor`.

use serde::Serialize;
use shadowkv_runtime::doctor::{DoctorOptions, DoctorReport};
use shadowkv_runtime::env::Environment;

use super::args::{DoctorArguments, Format};
use super::failure::{Code, Failure};
use super::terminal;

pub(super) fn run(arguments: &DoctorArguments) -> Result<(), Failure> {
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
