//! Packs the kernels of the shipped specs into the library: what a package is made of but for its Rust launchers.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use flate2::Compression;
use flate2::write::ZlibEncoder;

/// A link to the workspace's `kernels-generated`, so that `cargo package` includes them.
const PACKAGES: &str = "kernels-generated";
/// Extensions of the files that a runtime needs.
const EXTENSIONS: [&str; 3] = ["cu", "cuh", "json"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    // They are carried by those who ask for them.
    if std::env::var_os("CARGO_FEATURE_PACKAGES").is_none() {
        return Ok(());
    }
    println!("cargo::rerun-if-changed={PACKAGES}");
    let mut files: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for package in read_dir(Path::new(PACKAGES))? {
        let path = Path::new(PACKAGES).join(&package);
        if !path.join("manifest.json").is_file() {
            continue;
        }
        for file in read_dir(&path)? {
            let source = path.join(&file);
            let extension = source.extension().and_then(|extension| extension.to_str());
            if extension.is_some_and(|extension| EXTENSIONS.contains(&extension)) {
                let text = fs::read_to_string(&source)?;
                files.entry(file).or_default().insert(package.clone(), text);
            }
        }
    }
    if files.is_empty() {
        return Err(format!("`{PACKAGES}` holds no package: run `cargo run -p shadowkv-codegen -- model-specs/*.yaml` in the workspace").into());
    }
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&serde_json::to_vec(&files)?)?;
    let folder = std::env::var("OUT_DIR")?;
    fs::write(Path::new(&folder).join("packages.zlib"), encoder.finish()?)?;
    Ok(())
}

fn read_dir(folder: &Path) -> Result<Vec<String>, Box<dyn Error>> {
    let entries =
        fs::read_dir(folder).map_err(|error| format!("`{}`: {error}", folder.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}
