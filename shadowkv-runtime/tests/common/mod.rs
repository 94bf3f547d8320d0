//! What the tests of this crate share.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "each test uses a part of it, and a test that cannot go on has failed"
)]

use std::fs;
use std::path::{Path, PathBuf};

use shadowkv_runtime::nvrtc::wheel::{Progress, WheelError};
use shadowkv_runtime::nvrtc::{Nvrtc, NvrtcOptions};

/// A compiler, from wherever this machine has it. A machine without one fails the test: nothing would have been tried.
pub(crate) fn nvrtc() -> Nvrtc {
    let say = |step: &Progress| eprintln!("{step}");
    Nvrtc::open(&NvrtcOptions::from_environment(), &say).unwrap_or_else(|error| panic!("{error}"))
}

/// Whether it is the machine, not the program, that stands in the way.
pub(crate) fn unobtainable(error: &WheelError) -> bool {
    matches!(
        error,
        WheelError::Offline { .. }
            | WheelError::Platform { .. }
            | WheelError::NoPython { .. }
            | WheelError::NoPip { .. }
            | WheelError::Network { .. }
    )
}

/// Links NVRTC and its builtins into `folder`, which is created.
pub(crate) fn link_nvrtc(nvrtc: &Nvrtc, folder: &Path) -> PathBuf {
    let chosen = nvrtc.discovery().chosen.as_ref().unwrap();
    fs::create_dir_all(folder).unwrap();
    for file in [&chosen.library, &chosen.builtins] {
        link(file, &folder.join(file.file_name().unwrap()));
    }
    folder.join(chosen.library.file_name().unwrap())
}

/// A hard link, or a copy where the file systems differ.
pub(crate) fn link(from: &Path, to: &Path) {
    let from = fs::canonicalize(from).unwrap();
    if fs::hard_link(&from, to).is_err() {
        fs::copy(&from, to).unwrap();
    }
}

/// An executable shell script.
#[cfg(unix)]
pub(crate) fn script(path: &Path, text: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;

    fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    path.to_owned()
}
