//! Opening a package: every file against its hash.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{MANIFEST_FILE, Origin, Package, PackageError, SourceFile};
use crate::digest;
use crate::manifest::{Manifest, ManifestError};

/// Most of one file that is read, bytes. The largest we write are binaries of some hundred KiB.
const MOST_BYTES: u64 = 64 << 20;

/// Where the files of a package are.
#[derive(Clone, Debug)]
pub(super) enum Files {
    Folder(PathBuf),
    Memory(Arc<BTreeMap<String, Vec<u8>>>),
    Embedded(&'static [(&'static str, &'static [u8])]),
}

impl Files {
    /// The bytes of the file called `name`, folders separated by `/`.
    pub(super) fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        match self {
            Files::Folder(folder) => {
                let mut bytes = Vec::new();
                let file = File::open(folder.join(name))?;
                if file.take(MOST_BYTES + 1).read_to_end(&mut bytes)? as u64 > MOST_BYTES {
                    let reason = format!("more than {} MiB", MOST_BYTES >> 20);
                    return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason));
                }
                Ok(bytes)
            }
            Files::Memory(files) => files
                .get(name)
                .cloned()
                .ok_or_else(|| io::ErrorKind::NotFound.into()),
            Files::Embedded(files) => {
                let file = files.iter().find(|(path, _)| *path == name);
                file.map(|(_, bytes)| bytes.to_vec())
                    .ok_or_else(|| io::ErrorKind::NotFound.into())
            }
        }
    }
}

impl Package {
    /// Opens the package in `folder`, checking every source against the manifest. Binaries are read when images are asked for.
    ///
    /// # Errors
    /// [`PackageError`] with the file concerned.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Package, PackageError> {
        let folder = folder.into();
        if !folder.join(MANIFEST_FILE).exists() {
            return Err(PackageError::NoPackage { path: folder });
        }
        Package::load(Files::Folder(folder.clone()), Origin::Folder(folder))
    }

    /// The same from files in memory, by their path inside the package's folder.
    ///
    /// # Errors
    /// [`PackageError`] with the file concerned.
    pub fn from_files(files: BTreeMap<String, Vec<u8>>) -> Result<Package, PackageError> {
        Package::load(Files::Memory(Arc::new(files)), Origin::Memory)
    }

    /// The same from files that this program carries, as [`include_package!`](crate::include_package) embeds them.
    ///
    /// # Errors
    /// [`PackageError`] with the file concerned.
    pub fn embedded(
        files: &'static [(&'static str, &'static [u8])],
    ) -> Result<Package, PackageError> {
        Package::load(Files::Embedded(files), Origin::Shipped)
    }

    pub(super) fn load(files: Files, origin: Origin) -> Result<Package, PackageError> {
        let manifest = manifest(&files, &origin)?;
        let spec = manifest
            .spec("manifest", &[])
            .map_err(|source| PackageError::Spec {
                origin: origin.clone(),
                source: Box::new(source),
            })?;
        check_hash(
            &origin,
            ("the spec", MANIFEST_FILE),
            &manifest.spec_sha256,
            spec.sha256(),
        )?;
        let source = |name: &str, sha256: &str| text(&files, &origin, name, sha256);
        let headers = manifest.headers.iter();
        let headers = headers.map(|header| source(&header.file, &header.sha256));
        let kernels = manifest.kernels.iter();
        let sources = kernels.map(|kernel| source(&kernel.source, &kernel.source_sha256));
        Ok(Package {
            headers: headers.collect::<Result<_, _>>()?,
            sources: sources.collect::<Result<_, _>>()?,
            origin,
            manifest,
            spec,
            files,
        })
    }
}

/// The manifest alone, of files that may hold one.
pub(super) fn manifest(files: &Files, origin: &Origin) -> Result<Manifest, PackageError> {
    let read = |source| PackageError::Read {
        origin: origin.clone(),
        file: MANIFEST_FILE.to_owned(),
        source,
    };
    let bytes = files.read(MANIFEST_FILE).map_err(read)?;
    let text = String::from_utf8(bytes).map_err(|_| PackageError::NotText {
        origin: origin.clone(),
        file: MANIFEST_FILE.to_owned(),
    })?;
    Manifest::from_json(&text).map_err(|source: ManifestError| PackageError::Manifest {
        origin: origin.clone(),
        source,
    })
}

/// A source that has the hash it should have.
fn text(
    files: &Files,
    origin: &Origin,
    name: &str,
    sha256: &str,
) -> Result<SourceFile, PackageError> {
    let file_name = Path::new(name).file_name();
    if file_name.is_none_or(|file_name| file_name != name) {
        return Err(PackageError::FileName {
            origin: origin.clone(),
            file: name.to_owned(),
        });
    }
    let bytes = files.read(name).map_err(|source| PackageError::Read {
        origin: origin.clone(),
        file: name.to_owned(),
        source,
    })?;
    check_hash(
        origin,
        (name, MANIFEST_FILE),
        sha256,
        digest::sha256(&bytes),
    )?;
    let text = String::from_utf8(bytes).map_err(|_| PackageError::NotText {
        origin: origin.clone(),
        file: name.to_owned(),
    })?;
    Ok(SourceFile {
        name: name.to_owned(),
        text,
    })
}

/// Refuses `file`, which is listed in another, unless it has the hash it should have.
pub(super) fn check_hash(
    origin: &Origin,
    (file, listed_in): (&str, &str),
    expected: &str,
    found: String,
) -> Result<(), PackageError> {
    if found == expected {
        return Ok(());
    }
    Err(PackageError::Hash {
        origin: origin.clone(),
        file: file.to_owned(),
        listed_in: listed_in.into(),
        expected: expected.to_owned(),
        found,
    })
}
