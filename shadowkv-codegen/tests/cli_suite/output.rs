//! Places that cannot be written to.

use std::fs;

use crate::support::{FILES, Workplace, finish};

#[test]
fn the_folder_is_a_file() {
    let work = Workplace::new();
    work.write("kernels-generated", "a file");
    work.run(&["small.yaml", "--no-compile"], 5).says_only(
        "error: `kernels-generated` is not a folder: move it away, or choose another --out-dir\n",
    );
    work.write("out/small", "a file");
    work.run(&["small.yaml", "--no-compile", "-o", "out"], 5)
        .says("`out/small` is not a folder");
    work.run(&["small.yaml", "--check", "-o", "out"], 5)
        .says("`out/small` is not a folder");
    assert_eq!(
        (work.read("kernels-generated"), work.read("out/small")),
        ("a file".into(), "a file".into())
    );
}

#[test]
fn a_file_is_a_folder() {
    let work = Workplace::new();
    fs::create_dir_all(work.path("kernels-generated/small/key_gram.cu")).unwrap();
    let expected = "error: `kernels-generated/small/key_gram.cu` is a folder where a file belongs: move it away, or choose another --out-dir\n";
    work.run(&["small.yaml", "--no-compile"], 5)
        .says_only(expected);
    work.run(&["small.yaml", "--check"], 5).says_only(expected);
}

#[test]
#[cfg(unix)]
fn a_folder_that_is_read_only() {
    use std::os::unix::fs::PermissionsExt as _;

    let work = Workplace::new();
    fs::create_dir(work.path("out")).unwrap();
    fs::set_permissions(work.path("out"), fs::Permissions::from_mode(0o555)).unwrap();
    if fs::write(work.path("out/probe"), "").is_ok() {
        eprintln!("this user may write anywhere");
        return;
    }
    work.run(&["small.yaml", "--no-compile", "-o", "out"], 5)
        .says("error: cannot write to `out/small`")
        .says("make it writable, or choose another --out-dir");
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_leaves_no_halves() {
    let work = Workplace::new();
    work.run(&["small.yaml", "--no-compile"], 0);
    let before = work.read("kernels-generated/small/key_gram.cu");
    // No file may grow beyond 4 KiB; ignoring the signal turns that into an error, as on a full disk.
    let program = work.command(&[]).get_program().to_owned();
    let mut command = std::process::Command::new("bash");
    command
        .args(["-c", "trap '' XFSZ; ulimit -f 4; exec \"$0\" \"$@\""])
        .arg(program);
    command
        .args(["small.yaml", "--no-compile", "--set", "shadowkv.rank=48"])
        .current_dir(work.path("."));
    finish(&mut command, 5)
        .says("error: no space for `kernels-generated/small/")
        .says("choose an --out-dir on another file system");
    assert_eq!(
        work.files("kernels-generated/small").len(),
        FILES,
        "no temporary file is left"
    );
    assert_eq!(work.read("kernels-generated/small/key_gram.cu"), before);
    work.run(&["small.yaml", "--no-compile"], 0);
    work.run(&["small.yaml", "--check"], 0);
}

#[test]
#[cfg(unix)]
fn files_have_the_permissions_of_any_new_file() {
    use std::os::unix::fs::PermissionsExt as _;

    let work = Workplace::new();
    work.run(&["small.yaml", "--no-compile"], 0);
    let mode = |path: &str| fs::metadata(work.path(path)).unwrap().permissions().mode();
    assert_eq!(mode("kernels-generated/small/spec.cuh"), mode("small.yaml"));
}
