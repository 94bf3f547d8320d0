//! The command line.

use std::process::ExitCode;

use clap::Parser as _;

mod again;
mod args;
mod check;
mod compiler;
mod failure;
mod generate;
mod inspect;
mod packages;
mod profile;
mod sass;
mod small;
mod terminal;
mod tune;
mod verify;

use args::{Arguments, Command};
use failure::Failure;
use terminal::Terminal;

/// Runs the command that the process was started with.
pub(crate) fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // A closed pipe is no failure, and there is nowhere left to report another.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let terminal = Terminal::new(arguments.colour, arguments.quiet);
    match run(&arguments, &terminal) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(message) = &failure.message {
                terminal.error(message);
            }
            ExitCode::from(failure.code as u8)
        }
    }
}

fn run(arguments: &Arguments, terminal: &Terminal) -> Result<(), Failure> {
    match &arguments.command {
        None => generate::run(&arguments.generate, terminal),
        Some(Command::Inspect(inspect)) => inspect::run(inspect, terminal),
        Some(Command::Verify(verify)) => verify::run(verify, terminal),
        Some(Command::Profile(profile)) => profile::run(profile, terminal),
        Some(Command::Tune(tune)) => tune::run(tune, terminal),
        Some(Command::Sass(sass)) => sass::run(sass, terminal),
        Some(Command::Import(import)) => small::import(import, terminal),
        Some(Command::Schema) => small::schema(),
        Some(Command::Doctor(doctor)) => small::doctor(doctor),
        Some(Command::Completions { shell }) => small::completions(*shell),
    }
}
