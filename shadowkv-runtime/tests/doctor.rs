//! The report on a machine that has nothing, and on this one.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use shadowkv_runtime::cache::Cache;
use shadowkv_runtime::doctor::{DoctorOptions, DoctorReport};
use shadowkv_runtime::env::Environment;
use shadowkv_runtime::nvrtc::discover::Search;
use shadowkv_runtime::nvrtc::wheel::Installer;

#[test]
fn a_bare_machine() {
    let folder = tempfile::tempdir().unwrap();
    let environment = Environment::default();
    let options = DoctorOptions {
        search: Search {
            cache: Some(Cache::at(folder.path())),
            thorough: true,
            ..Search::default()
        },
        installers: vec![Installer::pip(
            folder.path().join("python3"),
            &["-m", "pip"],
        )],
        offline: false,
        environment,
    };
    let report = DoctorReport::examine(&options);
    assert!(!report.can_compile() && report.cache.writable);
    let text = report.to_string();
    for line in [
        "NVRTC\n  none",
        "CUDA_HOME: not set",
        "(writable)",
        "python3 -m pip not found",
        "install Python 3 with pip",
    ] {
        assert!(text.contains(line), "`{line}` in:\n{text}");
    }
    assert!(serde_json::to_value(&report).unwrap()["advice"].is_array());
}

#[test]
fn a_cache_that_is_a_file_and_no_downloads() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let options = DoctorOptions {
        search: Search {
            cache: Some(Cache::at(file)),
            ..Search::default()
        },
        installers: Vec::new(),
        offline: true,
        environment: Environment::default(),
    };
    let text = DoctorReport::examine(&options).to_string();
    assert!(
        text.contains("(not writable)") && text.contains("unset SHADOWKV_OFFLINE"),
        "{text}"
    );
}

#[test]
fn this_machine() {
    // A compiler first, so that both look at the same machine whatever it had before.
    let nvrtc = common::nvrtc();
    let report = DoctorReport::examine(&DoctorOptions::new(&Environment::read()));
    eprintln!("{report}");
    let library = report
        .nvrtc
        .chosen
        .as_ref()
        .map(|chosen| chosen.library.as_path());
    assert_eq!(library, Some(nvrtc.path()));
}
