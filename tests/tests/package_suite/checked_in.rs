//! `kernels-generated` holds the packages of the shipped specs, and nothing else.

use std::collections::BTreeSet;

use shadowkv_codegen::output::{Difference, Extent, FileKind, check_files, source_files};
use shadowkv_tests::{root, shipped};

const FOLDER: &str = "kernels-generated";

#[test]
fn every_shipped_package_is_checked_in_and_current() {
    let mut stale = Vec::new();
    for case in shipped() {
        let package = case.package();
        let files = source_files(
            &package,
            &[FileKind::Cu, FileKind::Rust, FileKind::Manifest],
        );
        let folder = root().join(FOLDER).join(&package.name);
        let differences = check_files(&folder, &files, &Extent::of(&package)).unwrap();
        stale.extend(
            differences
                .iter()
                .map(|difference| tell(&package.name, difference)),
        );
    }
    assert!(
        stale.is_empty(),
        "{}\nmend it with: cargo run -p shadowkv-codegen -- model-specs/*.yaml --no-compile",
        stale.join("\n")
    );
}

#[test]
fn no_package_is_checked_in_without_its_spec() {
    let shipped: BTreeSet<_> = shipped()
        .iter()
        .map(|case| case.name().to_owned())
        .collect();
    let entries = std::fs::read_dir(root().join(FOLDER)).unwrap();
    let names: BTreeSet<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names, shipped, "{FOLDER} beside model-specs");
}

fn tell(package: &str, difference: &Difference) -> String {
    let file = format!("{FOLDER}/{package}/{}", difference.file());
    match difference {
        Difference::Missing { .. } => format!("{file} is missing"),
        Difference::Unexpected { .. } => format!("{file} belongs to no package any more"),
        Difference::Stale { diff, .. } => format!("{file} is not what the spec gives now:\n{diff}"),
    }
}
