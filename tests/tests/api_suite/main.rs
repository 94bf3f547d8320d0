//! The public interface of the crates, as text that a review can see change.
//!
//! `tests/api/CRATE.txt` has every public item of a library, without bodies and comments. That a `pub` item can be reached from
//! outside, the lint `unreachable_pub` sees to. A change here is a change for everyone who depends on the crate: what goes or
//! changes its type asks for a new minor version while the crates are at 0.x.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod strip;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every file of a library by its module path, sorted; the command line is no part of it.
fn modules(folder: &Path, path: &str, modules: &mut Vec<(String, PathBuf)>) {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    for entry in entries {
        let stem = entry.file_stem().unwrap().to_string_lossy().into_owned();
        let inner = format!("{path}::{stem}");
        if entry.is_dir() {
            if stem != "cli" && stem != "tests" {
                self::modules(&entry, &inner, modules);
            }
        } else if entry.extension().is_some_and(|end| end == "rs") {
            match stem.as_str() {
                "main" | "tests" => {}
                "lib" | "mod" => modules.push((path.to_owned(), entry)),
                _ => modules.push((inner, entry)),
            }
        }
    }
}

/// The public interface of the library in `folder`.
fn interface(folder: &str, library: &str) -> String {
    let mut files = Vec::new();
    modules(&workspace().join(folder).join("src"), library, &mut files);
    files.sort();
    let parsed: Vec<(String, syn::File)> = files
        .into_iter()
        .map(|(module, file)| {
            let text = fs::read_to_string(&file).unwrap();
            let parsed = syn::parse_file(&text);
            (
                module,
                parsed.unwrap_or_else(|error| panic!("{}: {error}", file.display())),
            )
        })
        .collect();
    let types = strip::public_types(parsed.iter().map(|(_, file)| file));
    let mut text = String::new();
    for (module, file) in parsed {
        let file = strip::strip(file, &types);
        if !file.items.is_empty() {
            // Writing to a string does not fail.
            let _ = writeln!(text, "// {module}\n{}", prettyplease::unparse(&file));
        }
    }
    text
}

fn check(folder: &str, library: &str) {
    let path = workspace().join(format!("tests/api/{folder}.txt"));
    let found = interface(folder, library);
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, &found).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    let difference = similar::TextDiff::from_lines(&expected, &found);
    assert!(
        expected == found,
        "the public interface of {folder} is not that of tests/api/{folder}.txt:\n{}\nif that is meant, and the version tells it: BLESS=1 cargo test -p shadowkv-tests --test api_suite",
        difference.unified_diff().context_radius(2)
    );
}

#[test]
fn codegen() {
    check("shadowkv-codegen", "shadowkv_codegen");
}

#[test]
fn runtime() {
    check("shadowkv-runtime", "shadowkv_runtime");
}

#[test]
fn emulator() {
    check("shadowkv-emulator", "shadowkv_emulator");
}

#[test]
fn what_is_private_is_left_out() {
    let file = syn::parse_str(
        "/// Doc.\npub struct Shown { pub a: u8, b: u8 }\nstruct Hidden;\nimpl Shown { pub fn f(&self) -> u8 { self.a } fn g() {} }\nimpl Clone for Hidden { fn clone(&self) -> Self { Hidden } }\nimpl Clone for Shown { fn clone(&self) -> Self { todo!() } }\npub(crate) fn h() {}\n#[cfg(test)]\nmod tests {}",
    );
    let file: syn::File = file.unwrap();
    let types = strip::public_types([&file].into_iter());
    assert_eq!(
        prettyplease::unparse(&strip::strip(file, &types)),
        "pub struct Shown {\n    pub a: u8,\n}\nimpl Shown {\n    pub fn f(&self) -> u8 {}\n}\nimpl Clone for Shown {}\n"
    );
}
