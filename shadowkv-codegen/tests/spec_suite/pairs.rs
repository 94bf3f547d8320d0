//! Folders of inputs beside their expectations.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A folder beside this suite.
pub(crate) fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(name)
}

/// The folder of the shipped specs.
pub(crate) fn model_specs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../model-specs")
}

/// Names without extension of the files with an extension, sorted.
pub(crate) fn stems(folder: &Path, extension: &str) -> BTreeSet<String> {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == extension))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect()
}

/// Runs `outcome` on every input; it returns the extension of the expectation and its text. Fails on any difference, on an
/// input without expectation and on an expectation without input. `BLESS=1` writes the expectations instead.
pub(crate) fn check(
    folder: &Path,
    input: &str,
    expected: &[&str],
    outcome: impl Fn(&str, &[u8]) -> (&'static str, String),
) {
    let bless = std::env::var_os("BLESS").is_some_and(|value| value == "1");
    let inputs = stems(folder, input);
    assert!(!inputs.is_empty(), "no inputs in {}", folder.display());
    let mut failures = Vec::new();
    let mut known = BTreeSet::new();
    for stem in &inputs {
        let bytes = std::fs::read(folder.join(format!("{stem}.{input}"))).unwrap();
        let (extension, actual) = outcome(stem, &bytes);
        let file = format!("{stem}.{extension}");
        let path = folder.join(&file);
        match std::fs::read_to_string(&path) {
            Ok(expectation) if expectation == actual => {}
            _ if bless => std::fs::write(&path, &actual).unwrap(),
            Ok(expectation) => failures.push(format!(
                "{file} differs\n--- expected\n{expectation}\n--- actual\n{actual}"
            )),
            Err(_) => failures.push(format!("{file} does not exist; the outcome is\n{actual}")),
        }
        known.insert(file);
    }
    for extension in expected {
        for stem in stems(folder, extension) {
            let file = format!("{stem}.{extension}");
            if !known.contains(&file) {
                failures.push(format!(
                    "{file} belongs to no input or to another outcome: remove it"
                ));
            }
        }
    }
    assert!(
        failures.is_empty(),
        "{}\n\nBLESS=1 writes the expectations anew",
        failures.join("\n\n")
    );
}
