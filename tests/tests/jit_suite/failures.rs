//! Kernels that do not compile.

use std::sync::Mutex;

use shadowkv_runtime::nvrtc::Arch;
use shadowkv_runtime::package::{ImageProgress, ImageSource, ImagesError};

use crate::support::{changed, entries, images, package, request};

const KERNEL: &str = "extern \"C\" __global__";

fn broken(text: &str) -> String {
    text.replacen(KERNEL, &format!("missing_type wrong;\n{KERNEL}"), 1)
}

#[test]
fn the_error_names_kernel_and_line() {
    let cache = tempfile::tempdir().unwrap();
    let package = changed("embed.cu", broken);
    let error = images(&package, &request(cache.path(), Arch::Sm80)).unwrap_err();
    let ImagesError::Compile { failures } = &error else {
        panic!("{error}");
    };
    assert_eq!(failures.len(), 1);
    let headers = package.headers();
    let source = package
        .sources(&headers)
        .find(|source| source.kernel == "embed")
        .unwrap();
    let line = source
        .text
        .lines()
        .position(|line| line.contains("missing_type"))
        .unwrap()
        + 1;
    let text = error.to_string();
    for part in [
        "kernel `embed` of `small` does not compile for sm_80".to_owned(),
        "identifier \"missing_type\" is undefined".to_owned(),
        format!("--> embed.cu:{line}:"),
        "missing_type wrong;".to_owned(),
    ] {
        assert!(text.contains(&part), "`{part}` in:\n{text}");
    }
    // The other kernel's work is not lost.
    assert_eq!(entries(cache.path()).len(), 1);
    let mended = images(
        &crate::support::package(),
        &request(cache.path(), Arch::Sm80),
    )
    .unwrap();
    assert_eq!(mended.count(ImageSource::Cache), 1);
}

#[test]
fn progress_tells_what_is_compiled() {
    let cache = tempfile::tempdir().unwrap();
    let steps = Mutex::new(Vec::new());
    let tell = |step: &ImageProgress| steps.lock().unwrap().push(step.clone());
    let package = package();
    package
        .images(&request(cache.path(), Arch::Sm80), &tell)
        .unwrap();
    let steps = std::mem::take(&mut *steps.lock().unwrap());
    let installed = |step: &&ImageProgress| !matches!(step, ImageProgress::Install(_));
    let steps: Vec<_> = steps.iter().filter(installed).collect();
    assert_eq!(steps[0].to_string(), "compiling 2 kernels for sm_80");
    assert_eq!(steps.len(), 3);
    let again = |_: &ImageProgress| panic!("nothing is left to do");
    package
        .images(&request(cache.path(), Arch::Sm80), &again)
        .unwrap();
}
