//! Machines that lack something.

use std::process::Command;

use crate::support::{FILES, Workplace, finish};

/// The program on a machine with nothing: no Python, no toolkit, an empty home, an empty cache.
fn bare(work: &Workplace, arguments: &[&str]) -> Command {
    let mut command = work.command(arguments);
    command
        .env_clear()
        .env("HOME", work.path("home"))
        .env("PATH", work.path("bin"));
    command
}

/// The system's loader may know an NVRTC for all that; then it is not such a machine.
fn has_its_own_nvrtc(work: &Workplace) -> bool {
    let output = bare(work, &["doctor", "--offline", "--format", "json"])
        .output()
        .unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let found = !report["nvrtc"]["chosen"].is_null();
    if found {
        eprintln!("this machine has an NVRTC on the loader's path, so it cannot be without one");
    }
    found
}

#[test]
fn offline_and_without_nvrtc_the_sources_are_written_all_the_same() {
    let work = Workplace::new();
    if has_its_own_nvrtc(&work) {
        return;
    }
    let ran = finish(&mut bare(&work, &["small.yaml", "--offline"]), 4);
    ran.prints_only(
        "small: 22 files in kernels-generated/small (22 written, 0 unchanged, 0 removed)\n",
    );
    ran.says("error: no usable NVRTC on this machine:")
        .says("downloads are off (SHADOWKV_OFFLINE or --offline)")
        .says("nvidia-cuda-nvrtc-cu12==12.9.86")
        .says("The sources are written; they have not been compiled.")
        .says("--no-compile");
    assert_eq!(work.files("kernels-generated/small").len(), FILES);

    let ran = finish(
        bare(&work, &["small.yaml", "--format", "json"]).env("SHADOWKV_OFFLINE", "1"),
        4,
    );
    let document = ran.json();
    assert!(
        document["nvrtc"].is_null() && document["nvrtc_error"].is_string(),
        "{ran}"
    );
    finish(&mut bare(&work, &["small.yaml", "--check"]), 0);
    finish(&mut bare(&work, &["small.yaml", "--no-compile"]), 0);

    let ran = finish(&mut bare(&work, &["inspect", "small.yaml", "--offline"]), 0);
    ran.prints("| key_gram ")
        .says("note: registers and occupancy are not known: no usable NVRTC");
    finish(&mut bare(&work, &["doctor", "--offline"]), 4)
        .prints("downloads off")
        .prints("To do");
}

#[test]
fn nothing_to_install_nvrtc_with() {
    let work = Workplace::new();
    if !has_its_own_nvrtc(&work) {
        finish(&mut bare(&work, &["small.yaml"]), 4)
            .says("no Python to install nvidia-cuda-nvrtc-cu12 with");
    }
}

#[test]
fn a_library_that_the_user_names_and_that_is_none() {
    let work = Workplace::new();
    let mut command = work.command(&["small.yaml"]);
    let ran = finish(command.env("SHADOWKV_NVRTC", work.path("nowhere")), 4);
    ran.says("SHADOWKV_NVRTC = `")
        .says("nowhere` cannot be used");
    assert_eq!(work.files("kernels-generated/small").len(), FILES);
}
