//! Where NVRTC is looked for, with layouts made up in temporary folders.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::fs;
use std::path::Path;

use shadowkv_runtime::cache::Cache;
use shadowkv_runtime::nvrtc::discover::{
    Outcome, PythonSearch, Rejection, Search, Source, discover,
};
use shadowkv_runtime::nvrtc::wheel::InstallOptions;
use shadowkv_runtime::nvrtc::{Discovery, Nvrtc, NvrtcError, NvrtcOptions};

fn offline(search: Search) -> NvrtcOptions {
    NvrtcOptions {
        search,
        install: InstallOptions::default(),
    }
    .offline(true)
}

fn outcome<'a>(discovery: &'a Discovery, path: &Path) -> &'a Outcome {
    let mut places = discovery.places.iter();
    let place = places.find(|place| place.path.as_deref() == Some(path));
    &place.unwrap_or_else(|| unreachable!("{discovery}")).outcome
}

fn rejected(discovery: &Discovery, path: &Path) -> String {
    match outcome(discovery, path) {
        Outcome::Rejected { reason } => reason.to_string(),
        other => unreachable!("{other}"),
    }
}

#[test]
fn nothing_anywhere() {
    let folder = tempfile::tempdir().unwrap();
    let search = Search {
        cuda_home: Some(folder.path().join("cuda")),
        library_path: vec![folder.path().to_owned()],
        cache: Some(Cache::at(folder.path().join("cache"))),
        ..Search::default()
    };
    let error = Nvrtc::open(&offline(search), &|_| {}).unwrap_err();
    let text = error.to_string();
    let root = folder.path().display();
    for line in [
        format!("CUDA_HOME: `{root}/cuda/lib64` does not exist"),
        format!("CUDA_HOME: `{root}/cuda/lib` does not exist"),
        "CUDA_PATH: not set".to_owned(),
        format!("LD_LIBRARY_PATH: `{root}` no NVRTC in it"),
        "downloads are off (SHADOWKV_OFFLINE or --offline)".to_owned(),
    ] {
        assert!(text.contains(&line), "`{line}` in:\n{text}");
    }
    assert!(
        !folder.path().join("cache").exists(),
        "looking creates nothing"
    );
}

#[test]
fn broken_candidates_are_passed_over() {
    let nvrtc = common::nvrtc();
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let library = nvrtc.path().file_name().unwrap();

    let garbage = root.join("garbage");
    fs::create_dir_all(&garbage).unwrap();
    fs::write(garbage.join(library), "not a library").unwrap();

    let alone = root.join("alone");
    fs::create_dir_all(&alone).unwrap();
    common::link(nvrtc.path(), &alone.join(library));

    let cut = root.join("cut");
    common::link_nvrtc(&nvrtc, &cut);
    let bytes = fs::read(nvrtc.path()).unwrap();
    fs::remove_file(cut.join(library)).unwrap();
    fs::write(cut.join(library), &bytes[..bytes.len() / 2]).unwrap();

    let other = root.join("other");
    common::link_nvrtc(&nvrtc, &other);
    fs::remove_file(other.join(library)).unwrap();
    let builtins = nvrtc.discovery().chosen.clone().unwrap().builtins;
    common::link(&builtins, &other.join(library));

    let old = root.join("old");
    fs::create_dir_all(&old).unwrap();
    fs::write(old.join("libnvrtc.so.11.2"), "").unwrap();

    let good = root.join("good");
    let good_library = common::link_nvrtc(&nvrtc, &good);
    fs::write(good.join("libnvrtc.alt.so.12"), "not looked at").unwrap();

    let folders = [&garbage, &alone, &cut, &other, &old, &good];
    let discovery = discover(&Search {
        library_path: folders.into_iter().cloned().collect(),
        ..Search::default()
    });
    assert!(rejected(&discovery, &garbage.join(library)).starts_with("is no 64-bit ELF library"));
    assert!(
        rejected(&discovery, &alone.join(library)).starts_with("has no `libnvrtc-builtins.so.")
    );
    assert!(rejected(&discovery, &cut.join(library)).starts_with("is cut off: "));
    assert!(rejected(&discovery, &other.join(library)).starts_with("has no function `nvrtc"));
    assert_eq!(
        rejected(&discovery, &old.join("libnvrtc.so.11.2")),
        "is NVRTC 11.2; versions 12 and 13 can be used"
    );
    let chosen = discovery.chosen.as_ref().unwrap();
    assert_eq!(
        (chosen.source, &chosen.library),
        (Source::LoaderPath, &good_library)
    );
    assert_eq!(chosen.version, nvrtc.version());
    let json = serde_json::to_value(&discovery).unwrap();
    assert_eq!(json["chosen"]["source"], "loader_path");
    assert_eq!(
        json["places"].as_array().unwrap().len(),
        discovery.places.len()
    );
}

#[test]
fn order_and_thoroughness() {
    let nvrtc = common::nvrtc();
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let cuda = common::link_nvrtc(&nvrtc, &root.join("cuda/lib64"));
    let path = common::link_nvrtc(&nvrtc, &root.join("path"));
    let site = root.join("venv/lib/python3.12/site-packages");
    let python = common::link_nvrtc(&nvrtc, &site.join("nvidia/cuda_nvrtc/lib"));
    let search = Search {
        cuda_home: Some(root.join("cuda")),
        library_path: vec![root.join("path")],
        python: PythonSearch {
            interpreters: vec![root.join("no-python")],
            prefixes: vec![root.join("venv")],
        },
        ..Search::default()
    };
    let chosen = |search: &Search| discover(search).chosen.unwrap().library;
    assert_eq!(chosen(&search), cuda);
    let thorough = discover(&Search {
        thorough: true,
        ..search.clone()
    });
    for spare in [&path, &python] {
        assert_eq!(outcome(&thorough, spare), &Outcome::Spare);
    }
    assert!(thorough.to_string().contains("no-python`: not found"));
    let search = Search {
        cuda_home: None,
        ..search
    };
    assert_eq!(chosen(&search), path);
    let search = Search {
        library_path: Vec::new(),
        ..search
    };
    assert_eq!(chosen(&search), python);
}

#[test]
fn the_same_search_ends_the_same_way_twice() {
    let nvrtc = common::nvrtc();
    let again = common::nvrtc();
    assert_eq!(again.discovery().chosen, nvrtc.discovery().chosen);
}

#[test]
fn the_variable_is_obeyed_or_it_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    let missing = root.path().join("missing");
    let search = |path: &Path| Search {
        explicit: Some(path.to_owned()),
        loader: true,
        python: PythonSearch {
            interpreters: vec!["python3".into()],
            prefixes: Vec::new(),
        },
        ..Search::default()
    };
    let error = Nvrtc::open(&offline(search(&missing)), &|_| {}).unwrap_err();
    let NvrtcError::Explicit { discovery, .. } = &error else {
        unreachable!("{error}")
    };
    assert_eq!(discovery.places.len(), 1, "nothing else is tried");
    assert!(
        error.to_string().contains("missing` does not exist"),
        "{error}"
    );

    let nvrtc = common::nvrtc();
    let library = common::link_nvrtc(&nvrtc, &root.path().join("mine"));
    for path in [library.as_path(), library.parent().unwrap()] {
        let opened = Nvrtc::open(&offline(search(path)), &|_| {}).unwrap();
        assert_eq!(
            (opened.path(), opened.version()),
            (library.as_path(), nvrtc.version())
        );
    }
    fs::remove_file(
        root.path().join("mine").join(
            nvrtc
                .discovery()
                .chosen
                .as_ref()
                .unwrap()
                .builtins
                .file_name()
                .unwrap(),
        ),
    )
    .unwrap();
    let error = Nvrtc::open(&offline(search(&library)), &|_| {}).unwrap_err();
    assert!(
        error.to_string().contains("libnvrtc-builtins.so"),
        "{error}"
    );
    let discovery = discover(&search(&library));
    assert!(matches!(
        outcome(&discovery, &library),
        Outcome::Rejected {
            reason: Rejection::NoBuiltins { .. }
        }
    ));
}
