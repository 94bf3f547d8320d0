//! The command line.

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

mod args;
mod bench;
mod compile;
mod device;
mod doctor;
mod estimate;
mod failure;
mod generate;
mod logits;
mod model;
mod picture;
mod predict;
mod predictions;
mod spec;
mod terminal;

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
        Command::Generate(generate) => generate::run(generate, terminal),
        Command::Logits(logits) => logits::run(logits, terminal),
        Command::Bench(bench) => bench::run(bench, terminal),
        Command::Estimate(estimate) => estimate::run(estimate),
        Command::Compile(compile) => compile::run(compile, terminal),
        Command::Doctor(doctor) => doctor::run(doctor, terminal),
        Command::Completions { shell } => completions(*shell),
    }
}

fn completions(shell: clap_complete::Shell) -> Result<(), Failure> {
    let mut command = Arguments::command();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    terminal::print(&String::from_utf8_lossy(&script))
}
