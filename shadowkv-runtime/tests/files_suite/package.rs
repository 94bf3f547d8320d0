//! A pinned package, fetched by whatever calls itself pip.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use shadowkv_runtime::cache::Cache;
use shadowkv_runtime::digest;
use shadowkv_runtime::wheel::{InstallOptions, Installer, Package, Wheel, WheelError};

use crate::common;

const MEMBER: &str = "package/data.bin";
const DATA: &[u8] = b"what it is all about";

/// A wheel with one file that is wanted and one that is not, and the package that pins it.
fn package(folder: &Path) -> &'static Package {
    let path = folder.join("package-1.0-py3-none-any.whl");
    let mut archive = zip::ZipWriter::new(File::create(&path).unwrap());
    for (name, data) in [(MEMBER, DATA), ("package/__init__.py", b"")] {
        archive
            .start_file(name, zip::write::SimpleFileOptions::default())
            .unwrap();
        archive.write_all(data).unwrap();
    }
    archive.finish().unwrap();
    let text = |bytes: &[u8]| -> &'static str { digest::sha256(bytes).leak() };
    let wheel = Wheel {
        machine: None,
        sha256: text(&fs::read(&path).unwrap()),
        members: vec![(MEMBER, text(DATA))].leak(),
    };
    Box::leak(Box::new(Package {
        title: "test package",
        name: "package",
        version: "1.0",
        megabytes: 1,
        folder: "packages",
        program: false,
        platforms: "every machine",
        alternative: "do without",
        wheels: vec![wheel].leak(),
    }))
}

/// A pip that notes its calls and copies the wheel to where it is wanted.
fn fake_pip(folder: &Path) -> InstallOptions {
    let text = format!(
        "case \"$*\" in *--version*) echo pip 99; exit 0;; esac\n\
         while [ $# -gt 0 ]; do case \"$1\" in --dest) into=\"$2\";; --requirement) cat \"$2\" >> '{0}/asked';; esac; shift; done\n\
         mkdir -p \"$into\"; cp '{0}'/*.whl \"$into\"",
        folder.display()
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

#[test]
fn one_wheel_for_every_machine() {
    let folder = tempfile::tempdir().unwrap();
    let package = package(folder.path());
    let cache = Cache::at(folder.path().join("cache"));
    let options = fake_pip(folder.path());
    let installed = package.install(&cache, &options, &|_| {}).unwrap();
    assert_eq!(installed, cache.root().join("packages/package-1.0"));
    let files: Vec<_> = fs::read_dir(&installed)
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    assert_eq!(files, ["data.bin"], "nothing but what is wanted");
    assert_eq!(fs::read(installed.join("data.bin")).unwrap(), DATA);
    let asked = || fs::read_to_string(folder.path().join("asked")).unwrap();
    assert_eq!(
        asked(),
        format!("package==1.0 --hash=sha256:{}\n", package.wheels[0].sha256)
    );
    // A good copy is taken as it is, also where nothing may be downloaded; a damaged one is replaced.
    let offline = InstallOptions {
        offline: true,
        ..options.clone()
    };
    package.install(&cache, &offline, &|_| {}).unwrap();
    fs::write(installed.join("data.bin"), "damaged").unwrap();
    let error = package.install(&cache, &offline, &|_| {}).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("test package is not in the cache: allow them once, or install package==1.0 yourself and do without"),
        "{error}"
    );
    package.install(&cache, &options, &|_| {}).unwrap();
    assert_eq!(fs::read(installed.join("data.bin")).unwrap(), DATA);
    assert_eq!(asked().lines().count(), 2);
}

#[test]
fn another_file_than_the_pinned_one() {
    let folder = tempfile::tempdir().unwrap();
    let package = package(folder.path());
    let cache = Cache::at(folder.path().join("cache"));
    fs::write(
        folder.path().join("package-1.0-py3-none-any.whl"),
        "rubbish",
    )
    .unwrap();
    let error = package
        .install(&cache, &fake_pip(folder.path()), &|_| {})
        .unwrap_err();
    assert!(matches!(error, WheelError::Hash { .. }), "{error}");
    assert!(!cache.root().join("packages/package-1.0").exists());
}
