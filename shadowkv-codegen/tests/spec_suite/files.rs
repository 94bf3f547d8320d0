//! Hostile and unlucky files.

use std::fmt::Write as _;
use std::io::{Seek, SeekFrom, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use shadowkv_codegen::spec::{ProblemKind, Spec, SpecError};

fn rendered(path: &Path, error: &SpecError) -> String {
    error
        .render(false)
        .replace(&path.display().to_string(), "PATH")
}

#[test]
fn a_missing_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("none.yaml");
    let error = Spec::load(&path, &[]).unwrap_err();
    assert!(matches!(error, SpecError::Read { .. }));
    let text = rendered(&path, &error);
    assert!(text.starts_with("error: cannot read `PATH`: "), "{text}");
    assert!(
        text.ends_with("= help: check the path; the shipped specs are in `model-specs/`"),
        "{text}"
    );
}

#[test]
fn a_directory() {
    let folder = tempfile::tempdir().unwrap();
    let error = Spec::load(folder.path(), &[]).unwrap_err();
    assert!(matches!(error, SpecError::Directory { .. }));
    let expected =
        "error: `PATH` is a directory, not a spec file\n |\n = help: name the YAML file inside it";
    assert_eq!(rendered(folder.path(), &error), expected);
}

#[test]
fn not_utf8() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"name: x\ndescription: caf\xe9\n").unwrap();
    let error = Spec::load(file.path(), &[]).unwrap_err();
    let expected = "error: `PATH` is not UTF-8: the byte at offset 24 (line 2) begins no character\n |\n = help: save the file as UTF-8";
    assert_eq!(rendered(file.path(), &error), expected);
}

#[test]
fn a_sparse_gigabyte_is_refused_by_its_size() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.as_file_mut().seek(SeekFrom::Start(1 << 30)).unwrap();
    file.write_all(b"\n").unwrap();
    let begun = Instant::now();
    let error = Spec::load(file.path(), &[]).unwrap_err();
    assert!(begun.elapsed() < Duration::from_millis(500));
    let expected = "error: `PATH` is larger than 1048576 bytes, the limit for a spec\n |\n = help: a spec is a few KiB of YAML; is this the right file?";
    assert_eq!(rendered(file.path(), &error), expected);
}

#[cfg(unix)]
#[test]
fn an_endless_file_is_read_no_further_than_the_limit() {
    let error = Spec::load("/dev/zero", &[]).unwrap_err();
    assert!(matches!(error, SpecError::TooLarge { .. }));
}

#[test]
fn a_text_over_the_limit_is_refused() {
    let error = Spec::parse("big", &"#\n".repeat(600_000), &[]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "big:1:1: the spec is larger than 1048576 bytes"
    );
}

/// The first problem of a text, and that it is found soon.
fn kind(text: &str) -> ProblemKind {
    let begun = Instant::now();
    let error = Spec::parse("x.yaml", text, &[]).unwrap_err();
    let report = error.render(false);
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    assert!(report.len() < 4096, "a report of {} bytes", report.len());
    match error {
        SpecError::Invalid(invalid) => invalid.problems()[0].kind,
        other => panic!("{other}"),
    }
}

#[test]
fn an_alias_bomb() {
    let mut text = "a: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..40 {
        let row = vec![format!("*a{}", i - 1); 9].join(", ");
        writeln!(text, "b{i}: &a{i} [{row}]").unwrap();
    }
    assert_eq!(kind(&text), ProblemKind::Unsupported);
    assert_eq!(kind("a: &a [*a]\n"), ProblemKind::Unsupported);
}

#[test]
fn deep_nesting() {
    for open in ["[", "{a: ", "- ", "? ", "a: [", "[{"] {
        let text = open.repeat(1_000_000 / open.len());
        assert!(
            matches!(kind(&text), ProblemKind::Unsupported | ProblemKind::Syntax),
            "{open}"
        );
    }
    let mut block = String::new();
    for depth in 0..1200 {
        writeln!(block, "{:depth$}a:", "").unwrap();
    }
    assert_eq!(kind(&block), ProblemKind::Unsupported);
}

#[test]
fn long_lines_and_many_keys() {
    assert_eq!(kind(&"x".repeat(1_000_000)), ProblemKind::WrongType);
    assert_eq!(
        kind(&format!("{}: 1\n", "x".repeat(1000))),
        ProblemKind::UnknownField
    );
    assert_eq!(
        kind(&format!(
            "name: {}\n",
            "[".repeat(12) + &"1, ".repeat(300_000)
        )),
        ProblemKind::Syntax
    );
}
