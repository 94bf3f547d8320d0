//! `shadowkv-runtime`: decodes text with a long-context model.

use std::process::ExitCode;

mod cli;

fn main() -> ExitCode {
    cli::main()
}
