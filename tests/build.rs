//! Makes the launchers that are checked in modules of the tests: a new package is there by itself.

#![allow(clippy::expect_used, reason = "a build that cannot go on has failed")]

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

fn main() {
    let packages = Path::new("../kernels-generated");
    println!("cargo::rerun-if-changed={}", packages.display());
    let mut names: Vec<String> = fs::read_dir(packages)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.path().join("launchers.rs").is_file())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();

    let mut source = String::new();
    let mut list = String::new();
    for name in &names {
        let module = module_name(name);
        // Writing to a string does not fail.
        let _ = writeln!(
            source,
            "mod {module} {{ include!(concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/../kernels-generated/{name}/launchers.rs\")); }}"
        );
        let _ = write!(list, "({module}, {name:?}) ");
    }
    let _ = writeln!(
        source,
        "/// Calls a macro with the module and the name of every package.\n\
         macro_rules! for_each_package {{ ($macro:ident) => {{ $macro! {{ {list} }} }} }}"
    );
    let folder = env::var_os("OUT_DIR").expect("cargo names the folder");
    fs::write(Path::new(&folder).join("launchers.rs"), source)
        .expect("the folder can be written to");
}

/// A name of a package as one of a module.
fn module_name(package: &str) -> String {
    let word = |character: char| {
        if character.is_ascii_alphanumeric() {
            character
        } else {
            '_'
        }
    };
    format!("package_{}", package.chars().map(word).collect::<String>())
}
