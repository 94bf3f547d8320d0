//! The second start, and everything that may have happened to the cache since the first.

use std::fs;
use std::path::Path;

use shadowkv_runtime::nvrtc::Arch;
use shadowkv_runtime::package::{Form, ImageSource, ImagesError};

use crate::support::{
    KERNELS, changed, entries, images, in_form, package, request, without_compiler,
};

const ARCH: Arch = Arch::Sm80;

#[test]
fn the_second_start_needs_no_compiler() {
    let cache = tempfile::tempdir().unwrap();
    let package = package();
    let first = images(&package, &request(cache.path(), ARCH)).unwrap();
    assert_eq!(first.count(ImageSource::Compiled), KERNELS.len());
    assert_eq!((&first.warnings, &first.not_kept), (&vec![], &None));
    for form in [Form::Cubin, Form::Ptx] {
        let absent = in_form(without_compiler(cache.path(), ARCH), form);
        let second = images(&package, &absent).unwrap();
        assert_eq!(second.count(ImageSource::Cache), KERNELS.len());
        for (first, second) in first.images.iter().zip(&second.images) {
            assert!(second.cubin == first.cubin && second.ptx == first.ptx);
            assert_eq!(second.resources, first.resources);
            assert_eq!(second.compiler, first.compiler);
            assert_eq!(
                (&second.kernel, &second.entry),
                (&first.kernel, &first.entry)
            );
        }
    }
    let error = images(&package, &without_compiler(cache.path(), Arch::Sm90)).unwrap_err();
    assert!(matches!(&error, ImagesError::NoCompiler { kernels, .. } if kernels == &KERNELS));
    assert!(
        error.to_string().starts_with(
            "2 kernels of package `small` must be compiled for sm_90, and there is no compiler: "
        ),
        "{error}"
    );
}

#[test]
fn the_source_lies_beside_the_image() {
    let cache = tempfile::tempdir().unwrap();
    let package = package();
    images(&package, &request(cache.path(), ARCH)).unwrap();
    let entries = entries(cache.path());
    assert_eq!(entries.len(), KERNELS.len());
    let headers = package.headers();
    for source in package.sources(&headers) {
        let holds = |entry: &&std::path::PathBuf| entry.join(source.file).is_file();
        let entry = entries.iter().find(holds).unwrap();
        assert_eq!(
            fs::read_to_string(entry.join(source.file)).unwrap(),
            source.text
        );
        for (name, text) in &headers {
            assert_eq!(fs::read_to_string(entry.join(name)).unwrap(), *text);
        }
        let description = fs::read_to_string(entry.join("entry.json")).unwrap();
        assert!(
            description.contains("--gpu-architecture=sm_80"),
            "{description}"
        );
        // Nothing of this machine is in it.
        let here = cache.path().to_str().unwrap();
        assert!(!description.contains(here), "{description}");
    }
}

#[test]
fn what_changes_an_image_changes_its_place() {
    let cache = tempfile::tempdir().unwrap();
    let with_compiler = request(cache.path(), ARCH);
    images(&package(), &with_compiler).unwrap();
    // A header that only one of two kernels might need concerns both: nobody can tell.
    let other_header = changed("prelude.cuh", |text| format!("{text}\n// changed\n"));
    let compiled = images(&other_header, &with_compiler).unwrap();
    assert_eq!(compiled.count(ImageSource::Compiled), KERNELS.len());
    let other_source = changed("embed.cu", |text| format!("{text}\n// changed\n"));
    let compiled = images(&other_source, &with_compiler).unwrap();
    assert_eq!(compiled.get("embed").unwrap().source, ImageSource::Compiled);
    assert_eq!(compiled.get("silu_mul").unwrap().source, ImageSource::Cache);
}

/// Everything that may have become of one file.
fn damages(path: &Path) -> Vec<Option<Vec<u8>>> {
    let whole = fs::read(path).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 0x20;
    vec![
        None,
        Some(Vec::new()),
        Some(whole[..whole.len() / 2].to_owned()),
        Some(flipped),
    ]
}

#[test]
fn a_damaged_entry_is_a_miss_that_heals_itself() {
    let cache = tempfile::tempdir().unwrap();
    let package = package();
    let with_compiler = request(cache.path(), ARCH);
    let absent = without_compiler(cache.path(), ARCH);
    let good = images(&package, &with_compiler).unwrap();
    let embed = entries(cache.path())
        .into_iter()
        .find(|entry| entry.join("embed.cu").is_file())
        .unwrap();
    for file in ["entry.json", "image.cubin", "image.ptx"] {
        for damage in damages(&embed.join(file)) {
            match &damage {
                None => fs::remove_file(embed.join(file)).unwrap(),
                Some(bytes) => fs::write(embed.join(file), bytes).unwrap(),
            }
            let error = images(&package, &absent).unwrap_err();
            assert!(
                matches!(&error, ImagesError::NoCompiler { kernels, .. } if kernels == &["embed"]),
                "{file}: {error}"
            );
            let healed = images(&package, &with_compiler).unwrap();
            assert_eq!(healed.get("embed").unwrap().source, ImageSource::Compiled);
            assert_eq!(healed.get("silu_mul").unwrap().source, ImageSource::Cache);
            assert_eq!(healed.not_kept, None);
            let again = images(&package, &absent).unwrap();
            assert!(again.get("embed").unwrap().cubin == good.get("embed").unwrap().cubin);
        }
    }
    assert_eq!(
        entries(cache.path()).len(),
        KERNELS.len(),
        "nothing else is left"
    );
}

/// Copies an entry to that of another compiler.
fn as_of(entry: &Path, version: (i32, i32)) {
    let name = format!("nvrtc-{}.{}", version.0, version.1);
    let other = entry.with_file_name(name);
    fs::create_dir(&other).unwrap();
    for file in fs::read_dir(entry).unwrap() {
        let from = file.unwrap().path();
        fs::copy(&from, other.join(from.file_name().unwrap())).unwrap();
    }
    let path = other.join("entry.json");
    let mut description: serde_json::Value =
        serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    description["compiler"] = serde_json::json!([version.0, version.1]);
    fs::write(&path, description.to_string()).unwrap();
}

#[test]
fn the_newest_compiler_that_the_driver_follows() {
    let cache = tempfile::tempdir().unwrap();
    let package = package();
    let first = images(&package, &request(cache.path(), ARCH)).unwrap();
    let own = first.images[0].compiler.unwrap();
    for entry in entries(cache.path()) {
        for version in [(99, 1), (99, 0), (2, 0)] {
            as_of(&entry, version);
        }
        // Of no version, and of a version that it does not say itself.
        fs::create_dir(entry.with_file_name("nvrtc-x")).unwrap();
        fs::create_dir(entry.with_file_name("nvrtc-100.0")).unwrap();
    }
    let compiler = |form, driver| {
        let mut request = in_form(without_compiler(cache.path(), ARCH), form);
        request.driver = driver;
        let images = images(&package, &request).unwrap();
        assert!(
            images
                .images
                .iter()
                .all(|image| image.source == ImageSource::Cache)
        );
        images.images[1].compiler.unwrap()
    };
    assert_eq!(compiler(Form::Cubin, None), (99, 1));
    assert_eq!(compiler(Form::Cubin, Some((99, 0))), (99, 1));
    assert_eq!(compiler(Form::Ptx, Some((99, 0))), (99, 0));
    assert_eq!(compiler(Form::Cubin, Some((98, 9))), own);
    assert_eq!(compiler(Form::Ptx, Some((3, 0))), (2, 0));
}

#[test]
fn a_cache_that_cannot_be_written_to_is_no_hindrance() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let package = package();
    let compiled = images(&package, &request(&file.join("cache"), ARCH)).unwrap();
    assert_eq!(compiled.count(ImageSource::Compiled), KERNELS.len());
    assert!(compiled.images.iter().all(|image| image.cubin.is_some()));
    assert!(compiled.not_kept.is_some());
    let none = shadowkv_runtime::package::ImageRequest {
        cache: None,
        ..request(folder.path(), ARCH)
    };
    let compiled = images(&package, &none).unwrap();
    assert_eq!(
        (compiled.count(ImageSource::Compiled), compiled.not_kept),
        (2, None)
    );
}
