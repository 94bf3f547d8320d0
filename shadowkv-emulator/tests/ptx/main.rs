//! The parser: what it makes of NVRTC's PTX, what it says about text that is not, and that nothing makes it panic.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod declarations;
mod errors;
mod fuzz;
mod names;
mod operands;
mod samples;

use shadowkv_emulator::ptx::ast::{Kernel, Module};
use shadowkv_emulator::ptx::parse;

/// What every module begins with, three lines.
const HEADER: &str = ".version 8.4\n.target sm_80\n.address_size 64\n";

/// A module of a kernel `k` with `body`, whose first line is line 6.
fn module_text(body: &str) -> String {
    format!("{HEADER}.visible .entry k(.param .u64 first, .param .u32 second)\n{{\n{body}\n}}\n")
}

fn module(text: &str) -> Module {
    parse(&format!("{HEADER}{text}")).unwrap()
}

fn kernel(body: &str) -> Kernel {
    parse(&module_text(body)).unwrap().kernels.remove(0)
}

/// The error of a kernel with `body`; positions count lines of `body` from 1.
fn kernel_error(body: &str) -> String {
    let mut error = parse(&module_text(body)).unwrap_err();
    error.position.line -= 5;
    error.to_string()
}

/// The error of a module with `text` after the header; positions count lines of `text` from 1.
fn module_error(text: &str) -> String {
    let mut error = parse(&format!("{HEADER}{text}")).unwrap_err();
    error.position.line -= 3;
    error.to_string()
}
