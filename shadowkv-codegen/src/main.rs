//! `shadowkv-codegen`: from a YAML model spec to compiled CUDA kernels.

use std::process::ExitCode;

mod cli;

fn main() -> ExitCode {
    cli::main()
}
