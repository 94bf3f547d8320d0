//! `--check`: is what lies on disk what would be generated?

use std::path::PathBuf;

use serde::Serialize;
use shadowkv_codegen::output::{Difference, Extent, check_files, source_files};
use shadowkv_codegen::report::REPORT_SCHEMA;

use super::again;
use super::args::{Format, GenerateArguments};
use super::failure::{Code, Failure};
use super::packages::Prepared;
use super::terminal::{self, Terminal};

/// The JSON document of `--check`.
#[derive(Serialize)]
struct Report {
    schema: u32,
    command: &'static str,
    current: bool,
    /// The command that makes it current; absent when it is.
    mend: Option<String>,
    packages: Vec<PackageReport>,
}

#[derive(Serialize)]
struct PackageReport {
    package: String,
    spec: PathBuf,
    folder: PathBuf,
    differences: Vec<Difference>,
}

pub(super) fn run(
    prepared: &[Prepared],
    arguments: &GenerateArguments,
    terminal: &Terminal,
) -> Result<(), Failure> {
    let kinds = arguments.kinds();
    let mut packages = Vec::new();
    for Prepared { path, package, .. } in prepared {
        let folder = arguments.out_dir.join(&package.name);
        let differences = check_files(
            &folder,
            &source_files(package, &kinds),
            &Extent::of(package),
        )?;
        packages.push(PackageReport {
            package: package.name.clone(),
            spec: path.clone(),
            folder,
            differences,
        });
    }
    let count: usize = packages
        .iter()
        .map(|package| package.differences.len())
        .sum();
    let mend = (count > 0).then(mend);
    if arguments.format == Format::Json {
        let report = Report {
            schema: REPORT_SCHEMA,
            command: "check",
            current: count == 0,
            mend: mend.clone(),
            packages,
        };
        terminal::json(&report)?;
    } else {
        for package in &packages {
            print(package, terminal)?;
        }
    }
    let Some(mend) = mend else { return Ok(()) };
    let files = if count == 1 {
        "1 generated file is"
    } else {
        &format!("{count} generated files are")
    };
    Err(Failure::new(
        Code::Wrong,
        format!("{files} not current; to mend it, run\n  {mend}"),
    ))
}

fn print(package: &PackageReport, terminal: &Terminal) -> Result<(), Failure> {
    if package.differences.is_empty() {
        return terminal.result(&format!("{}: current\n", package.package));
    }
    for difference in &package.differences {
        let path = package.folder.join(difference.file());
        let state = match difference {
            Difference::Missing { .. } => "missing",
            Difference::Unexpected { .. } => "no longer generated",
            Difference::Stale { .. } => "stale",
        };
        terminal.result(&format!("{state}: {}\n", path.display()))?;
        if let Difference::Stale { diff, .. } = difference {
            terminal.diff(diff)?;
        }
    }
    Ok(())
}

/// This very command without `--check`.
fn mend() -> String {
    let arguments = std::env::args_os()
        .skip(1)
        .filter(|argument| argument != "--check");
    again::command(arguments)
}
