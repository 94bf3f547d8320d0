//! Many at once: threads of a process, and processes.

use std::process::{Command, Stdio};

use shadowkv_runtime::digest;
use shadowkv_runtime::nvrtc::Arch;
use shadowkv_runtime::package::ImageSource;

use crate::support::{KERNELS, entries, images, package, request, without_compiler};

/// The cache of the process that runs [`one_of_many_processes`] as its child.
const CACHE: &str = "JIT_SUITE_CACHE";

#[test]
fn threads_share_one_cache() {
    let cache = tempfile::tempdir().unwrap();
    let package = package();
    let all: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..6)
            .map(|_| scope.spawn(|| images(&package, &request(cache.path(), Arch::Sm80)).unwrap()))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    for images in &all {
        assert_eq!(images.not_kept, None);
        for (image, first) in images.images.iter().zip(&all[0].images) {
            assert!(image.cubin == first.cubin && image.ptx == first.ptx);
        }
    }
    assert_eq!(entries(cache.path()).len(), KERNELS.len());
}

/// Not a test by itself: what each of the processes below does.
#[allow(
    clippy::print_stdout,
    reason = "the process that started this one reads it"
)]
#[test]
fn one_of_many_processes() {
    let Some(cache) = std::env::var_os(CACHE) else {
        return;
    };
    let images = images(&package(), &request(cache.as_ref(), Arch::Sm80)).unwrap();
    assert_eq!(images.not_kept, None);
    for image in images.images {
        println!("image {}", digest::sha256(&image.cubin.unwrap()));
    }
}

#[test]
fn processes_share_one_cache() {
    let cache = tempfile::tempdir().unwrap();
    let start = || {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "races::one_of_many_processes", "--nocapture"])
            .env(CACHE, cache.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let processes: Vec<_> = (0..6).map(|_| start()).collect();
    let outputs: Vec<_> = processes
        .into_iter()
        .map(|process| process.wait_with_output().unwrap())
        .collect();
    let lines = |output: &std::process::Output| -> Vec<String> {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let lines = text
            .lines()
            .filter_map(|line| Some(line.split_once("image ")?.1.to_owned()));
        lines.collect()
    };
    for output in &outputs {
        assert!(output.status.success(), "{output:?}");
        assert_eq!(lines(output).len(), KERNELS.len());
        assert_eq!(lines(output), lines(&outputs[0]));
    }
    assert_eq!(
        entries(cache.path()).len(),
        KERNELS.len(),
        "no half of an entry is left"
    );
    let later = images(&package(), &without_compiler(cache.path(), Arch::Sm80)).unwrap();
    assert_eq!(later.count(ImageSource::Cache), KERNELS.len());
}

/// A process that is killed at any moment leaves nothing that a later one would take for an image.
#[cfg(unix)]
#[test]
fn a_killed_process_leaves_nothing_bad() {
    let cache = tempfile::tempdir().unwrap();
    for delay in [30, 60, 90, 120, 150, 180, 240, 300] {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "races::one_of_many_processes"])
            .env(CACHE, cache.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(delay));
        let _ = process.kill();
        process.wait().unwrap();
        for entry in entries(cache.path()) {
            let name = entry.file_name().unwrap().to_string_lossy().into_owned();
            let whole = entry.join("entry.json").is_file() && entry.join("image.cubin").is_file();
            assert!(
                whole || name.starts_with(".staging-"),
                "{}",
                entry.display()
            );
        }
    }
    let images = images(&package(), &request(cache.path(), Arch::Sm80)).unwrap();
    assert_eq!(
        (images.images.len(), images.not_kept),
        (KERNELS.len(), None)
    );
}
