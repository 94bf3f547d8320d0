//! The packages that this program carries: those of the shipped specs, packed when it was built.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::{Arc, OnceLock};

use flate2::read::ZlibDecoder;

use super::open::Files;
use super::{Origin, Package, PackageError};

/// JSON: file name, package, text; deflated. By file name first, so that what all packages have alike lies close together.
static PACKED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/packages.zlib"));

type Packages = BTreeMap<String, Arc<BTreeMap<String, Vec<u8>>>>;

fn packages() -> Result<&'static Packages, PackageError> {
    static UNPACKED: OnceLock<Result<Packages, String>> = OnceLock::new();
    let unpacked = UNPACKED.get_or_init(|| unpack().map_err(|error| error.to_string()));
    unpacked.as_ref().map_err(|reason| PackageError::Shipped {
        reason: reason.clone(),
    })
}

fn unpack() -> std::io::Result<Packages> {
    let mut json = Vec::new();
    ZlibDecoder::new(PACKED).read_to_end(&mut json)?;
    let files: BTreeMap<String, BTreeMap<String, String>> = serde_json::from_slice(&json)?;
    let mut packages: BTreeMap<String, BTreeMap<String, Vec<u8>>> = BTreeMap::new();
    for (file, texts) in files {
        for (package, text) in texts {
            let files = packages.entry(package).or_default();
            files.insert(file.clone(), text.into_bytes());
        }
    }
    Ok(packages
        .into_iter()
        .map(|(name, files)| (name, Arc::new(files)))
        .collect())
}

pub(super) fn files(name: &str) -> Result<Files, PackageError> {
    let packages = packages()?;
    match packages.get(name) {
        Some(files) => Ok(Files::Memory(Arc::clone(files))),
        None => Err(PackageError::NotShipped {
            name: name.to_owned(),
            known: packages.keys().cloned().collect(),
        }),
    }
}

impl Package {
    /// Names of the packages that this program carries, sorted.
    ///
    /// # Errors
    /// [`PackageError::Shipped`].
    pub fn shipped_names() -> Result<Vec<&'static str>, PackageError> {
        Ok(packages()?.keys().map(String::as_str).collect())
    }

    /// The package called `name` that this program carries.
    ///
    /// # Errors
    /// [`PackageError::NotShipped`] with the names there are.
    pub fn shipped(name: &str) -> Result<Package, PackageError> {
        Package::load(files(name)?, Origin::Shipped)
    }
}
