//! The package of a model.

use std::path::{Path, PathBuf};

use super::open::{self, Files};
use super::{Looked, MANIFEST_FILE, Origin, Package, PackageError, difference};
use crate::env::{Environment, PACKAGES};
use crate::spec::Spec;

/// Where to look for the package of a model.
#[derive(Clone, Debug)]
pub struct Lookup {
    /// The package to use, as `--package` names it; nothing else is looked at then.
    pub package: Option<PathBuf>,
    /// Folders of `SHADOWKV_PACKAGES`: packages, or folders of packages.
    pub folders: Vec<PathBuf>,
    /// Whether packages that this program carries are taken.
    pub shipped: bool,
}

impl Lookup {
    /// In the package given, else in the environment's folders, else in what this program carries.
    pub fn new(package: Option<PathBuf>, environment: &Environment) -> Lookup {
        Lookup {
            package,
            folders: environment.packages.clone(),
            shipped: true,
        }
    }
}

/// The package whose kernels are those of `spec`. Names do not matter, nor what no kernel depends on.
///
/// # Errors
/// [`PackageError::OtherSpec`] if the package given is another model's, [`PackageError::NotFound`] with all that was looked at,
/// or what is wrong with the package that fits.
pub fn find(spec: &Spec, lookup: &Lookup) -> Result<Package, PackageError> {
    if let Some(folder) = &lookup.package {
        let package = Package::open(folder)?;
        package.check_spec(spec)?;
        return Ok(package);
    }
    let mut looked = Vec::new();
    for folder in &lookup.folders {
        for candidate in candidates(folder, &mut looked) {
            let origin = Origin::Folder(candidate.clone());
            if fits(
                &Files::Folder(candidate.clone()),
                &origin,
                spec,
                &mut looked,
            ) {
                return Package::open(candidate);
            }
        }
    }
    if lookup.folders.is_empty() {
        looked.push(Looked {
            place: PACKAGES.to_owned(),
            reason: "not set".to_owned(),
        });
    }
    if lookup.shipped
        && let Some(package) = find_shipped(spec, &mut looked)?
    {
        return Ok(package);
    }
    Err(PackageError::NotFound {
        spec: spec.name.clone(),
        looked,
    })
}

/// The folders that may be packages: the folder itself, or those in it, by name.
fn candidates(folder: &Path, looked: &mut Vec<Looked>) -> Vec<PathBuf> {
    if folder.join(MANIFEST_FILE).exists() {
        return vec![folder.to_owned()];
    }
    let mut pass_over = |reason: String| {
        looked.push(Looked {
            place: format!("`{}`", folder.display()),
            reason,
        });
        Vec::new()
    };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => return pass_over(error.to_string()),
    };
    let paths = entries.flatten().map(|entry| entry.path());
    let mut found: Vec<PathBuf> = paths
        .filter(|path| path.join(MANIFEST_FILE).exists())
        .collect();
    found.sort();
    if found.is_empty() {
        return pass_over("holds no package".to_owned());
    }
    found
}

/// Whether the manifest among `files` is for `spec`; if not, why it was passed over.
fn fits(files: &Files, origin: &Origin, spec: &Spec, looked: &mut Vec<Looked>) -> bool {
    let place = origin.to_string();
    let reason = match open::manifest(files, origin) {
        Err(error) => error.to_string(),
        Ok(manifest) => match manifest.spec("manifest", &[]) {
            Err(error) => error.to_string(),
            Ok(own) => match difference(&own, spec) {
                None => return true,
                Some(difference) => difference.to_string(),
            },
        },
    };
    looked.push(Looked { place, reason });
    false
}

#[cfg(feature = "packages")]
fn find_shipped(spec: &Spec, looked: &mut Vec<Looked>) -> Result<Option<Package>, PackageError> {
    for name in Package::shipped_names()? {
        let files = super::shipped::files(name)?;
        let mut passed = Vec::new();
        if fits(&files, &Origin::Shipped, spec, &mut passed) {
            return Package::load(files, Origin::Shipped).map(Some);
        }
        looked.extend(passed.into_iter().map(|looked| Looked {
            place: format!("shipped `{name}`"),
            ..looked
        }));
    }
    Ok(None)
}

#[cfg(not(feature = "packages"))]
#[allow(clippy::unnecessary_wraps, reason = "as with packages to look at")]
fn find_shipped(_: &Spec, looked: &mut Vec<Looked>) -> Result<Option<Package>, PackageError> {
    looked.push(Looked {
        place: "this program".to_owned(),
        reason: "was built without packages".to_owned(),
    });
    Ok(None)
}
