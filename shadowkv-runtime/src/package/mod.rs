//! Kernel packages: what the generator wrote, from a folder or from within this program, checked and turned into images that a
//! GPU loads.
//!
//! | to | use |
//! | --- | --- |
//! | open a package | [`Package::open`], [`Package::shipped`] |
//! | find the one for a model | [`find`] |
//! | get an image of every kernel | [`Package::images`] |
//!
//! An image comes from the package if that has binaries for the architecture, else from our cache, else from NVRTC, which is
//! asked for only then. The second start of a program needs no compiler.
//!
//! ```no_run
//! use shadowkv_runtime::nvrtc::Arch;
//! use shadowkv_runtime::package::{ImageRequest, Package};
//!
//! let package = Package::open("kernels-generated/glm4")?;
//! let request = ImageRequest::from_environment(Arch::Sm90);
//! let images = package.images(&request, &|step| eprintln!("{step}"))?;
//! assert!(images.get("sparse_attention").is_some());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod binaries;
mod compile;
mod differ;
mod error;
mod find;
mod image;
mod jit_cache;
mod open;
#[cfg(feature = "packages")]
mod shipped;

use std::fmt;
use std::path::PathBuf;

pub use binaries::{BINARIES_FILE, BINARIES_SCHEMA, Binaries, Binary};
pub use differ::{Difference, difference};
pub use error::{ImagesError, Looked, PackageError};
pub use find::{Lookup, find};
pub use image::{Form, Image, ImageProgress, ImageRequest, ImageSource, Images, Target};
pub use jit_cache::image_key;

use crate::manifest::Manifest;
use crate::nvrtc::KernelSource;
use crate::spec::Spec;

/// Name of a package's manifest.
pub const MANIFEST_FILE: &str = "manifest.json";

/// Where a package comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A folder.
    Folder(PathBuf),
    /// This program, which carries it.
    Shipped,
    /// The caller.
    Memory,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Folder(path) => write!(f, "`{}`", path.display()),
            Origin::Shipped => f.write_str("shipped with this program"),
            Origin::Memory => f.write_str("in memory"),
        }
    }
}

/// One text file of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
struct SourceFile {
    /// Name, without folders.
    name: String,
    text: String,
}

/// A package whose every source has the hash that the manifest gives.
#[derive(Clone, Debug)]
pub struct Package {
    origin: Origin,
    manifest: Manifest,
    spec: Spec,
    headers: Vec<SourceFile>,
    /// In the manifest's order of kernels.
    sources: Vec<SourceFile>,
    files: open::Files,
}

impl Package {
    /// Its name: that of its spec.
    pub fn name(&self) -> &str {
        &self.manifest.package
    }

    /// Where it comes from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Its manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The spec it was generated from.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Name and text of each header, in the order of inclusion.
    pub fn headers(&self) -> Vec<(&str, &str)> {
        let headers = self.headers.iter();
        headers
            .map(|file| (file.name.as_str(), file.text.as_str()))
            .collect()
    }

    /// The kernels' sources in the manifest's order; `headers` are [`Package::headers`].
    pub fn sources<'a>(
        &'a self,
        headers: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = KernelSource<'a>> {
        let kernels = self.manifest.kernels.iter().zip(&self.sources);
        kernels.map(move |(kernel, file)| KernelSource {
            package: self.name(),
            kernel: &kernel.name,
            file: &file.name,
            text: &file.text,
            headers,
        })
    }

    /// Whether its kernels are those of `spec`.
    ///
    /// # Errors
    /// [`PackageError::OtherSpec`] with the first field that differs.
    pub fn check_spec(&self, spec: &Spec) -> Result<(), PackageError> {
        match difference(&self.spec, spec) {
            None => Ok(()),
            Some(difference) => Err(PackageError::OtherSpec {
                package: self.name().to_owned(),
                origin: self.origin.clone(),
                spec: spec.name.clone(),
                difference: Box::new(difference),
            }),
        }
    }
}
