//! From spec files to packages in memory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::CommandFactory as _;
use shadowkv_codegen::emit::{Package, emit};
use shadowkv_codegen::plan::Plan;
use shadowkv_codegen::spec::{Override, Spec, SpecError};
use shadowkv_codegen::tune::file::plan_with;

use super::args::{Arguments, GenerateArguments, TilesChoice};
use super::failure::{Code, Failure};
use super::terminal::{self, Terminal};

/// One spec, as far as it goes without disk and compiler.
pub(super) struct Prepared {
    /// The spec file.
    pub(super) path: PathBuf,
    pub(super) plan: Plan,
    pub(super) package: Package,
}

/// Reads, plans and emits every spec; tells about all that cannot be used, not only the first.
pub(super) fn prepare(
    arguments: &GenerateArguments,
    terminal: &Terminal,
) -> Result<Vec<Prepared>, Failure> {
    let specs = &arguments.specs;
    let overrides = overrides(&arguments.set, terminal)?;
    let mut prepared = Vec::new();
    let mut worst: Option<Code> = None;
    for path in specs {
        match prepare_one(path, &overrides, arguments, terminal) {
            Ok(package) => prepared.push(package),
            Err(failure) => {
                if let Some(message) = failure.message {
                    terminal.error(&format!("{}: {message}", path.display()));
                }
                if worst != Some(Code::Defect) {
                    worst = Some(failure.code);
                }
            }
        }
    }
    if let Some(code) = worst {
        return Err(Failure::said(code));
    }
    let mut seen = BTreeMap::new();
    for Prepared { path, package, .. } in &prepared {
        if let Some(first) = seen.insert(&package.name, path) {
            let message = format!(
                "`{}` and `{}` are both named `{}` and would overwrite each other: give them different names, or run them with different --out-dir",
                first.display(),
                path.display(),
                package.name
            );
            return Err(Failure::new(Code::Usage, message));
        }
    }
    Ok(prepared)
}

/// Reads one spec; what is wrong with it is said here.
pub(super) fn spec(
    path: &Path,
    overrides: &[Override],
    terminal: &Terminal,
) -> Result<Spec, Failure> {
    Spec::load(path, overrides).map_err(|error| {
        terminal::report(&error.render(terminal.colour_messages()));
        if let SpecError::Read { .. } = error {
            suggest_command(path);
        }
        Failure::said(Code::Usage)
    })
}

/// Reads one spec and plans it with the default tiles.
pub(super) fn plan(
    path: &Path,
    overrides: &[Override],
    terminal: &Terminal,
) -> Result<Plan, Failure> {
    Ok(Plan::heuristic(&spec(path, overrides, terminal)?)?)
}

/// The values of `--set`.
pub(super) fn overrides(set: &[String], terminal: &Terminal) -> Result<Vec<Override>, Failure> {
    let parsed = set.iter().map(|text| text.parse::<Override>());
    parsed.collect::<Result<_, _>>().map_err(|error| {
        terminal::report(&SpecError::from(error).render(terminal.colour_messages()));
        Failure::said(Code::Usage)
    })
}

fn prepare_one(
    path: &Path,
    overrides: &[Override],
    arguments: &GenerateArguments,
    terminal: &Terminal,
) -> Result<Prepared, Failure> {
    let spec = spec(path, overrides, terminal)?;
    // The sources are one set for all architectures; the first, which is the oldest, is whose tiles they have.
    let plan = match (arguments.tiles, arguments.archs().first()) {
        (TilesChoice::Tuned, Some(arch)) => {
            let folder = arguments.out_dir.join(&spec.name);
            let (plan, refused) = plan_with(&spec, &folder, *arch)?;
            if let Some(refused) = refused {
                terminal.warning(&format!("{refused}; the default tiles are used"));
            }
            plan
        }
        _ => Plan::heuristic(&spec)?,
    };
    let package = emit(&plan)?;
    Ok(Prepared {
        path: path.to_owned(),
        plan,
        package,
    })
}

/// A misspelt command is taken for a spec, and so is one behind an option.
fn suggest_command(path: &Path) {
    const DISTANCE: usize = 2;
    let word = path.to_string_lossy();
    let command = Arguments::command();
    let names = command.get_subcommands().map(clap::Command::get_name);
    let near = names
        .map(|name| (strsim::damerau_levenshtein(name, &word), name))
        .min();
    match near {
        Some((0, name)) => {
            terminal::say(&format!(
                "help: a command comes first, its options behind it: `shadowkv-codegen {name} ...`"
            ));
        }
        Some((distance, name)) if distance <= DISTANCE => {
            terminal::say(&format!("help: or is the command `{name}` meant?"));
        }
        _ => {}
    }
}
