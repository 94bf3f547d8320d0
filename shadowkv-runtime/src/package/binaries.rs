//! The binaries beside a package's sources: `sm_XX/<kernel>.cubin` and `.ptx`, listed in `sm_XX/binaries.json`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::image::{Image, ImageSource};
use super::jit_cache::image_key;
use super::open::check_hash;
use super::{Form, Package, PackageError};
use crate::digest;
use crate::manifest::Kernel;
use crate::nvrtc::{Arch, KernelResources, KernelSource};

/// Name of the list of the binaries of one architecture.
pub const BINARIES_FILE: &str = "binaries.json";

/// Version of the list's format; a reader refuses any other.
pub const BINARIES_SCHEMA: u32 = 1;

/// `sm_XX/binaries.json`: what the binaries beside it were made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Binaries {
    /// [`BINARIES_SCHEMA`].
    pub schema: u32,
    /// Program and version that wrote it.
    pub generator: String,
    /// Major and minor version of the NVRTC that compiled them.
    pub compiler: (i32, i32),
    /// By short name of the kernel.
    pub kernels: BTreeMap<String, Binary>,
}

/// The binaries of one kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Binary {
    /// [`image_key`] of the source they were compiled from.
    pub key: String,
    /// SHA-256 of `<kernel>.cubin`; absent when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cubin_sha256: Option<String>,
    /// SHA-256 of `<kernel>.ptx`; absent when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ptx_sha256: Option<String>,
    /// What the kernel takes.
    pub resources: KernelResources,
}

impl Binaries {
    /// The list as indented JSON with a newline at the end; equal lists give equal bytes.
    ///
    /// # Errors
    /// None that a list built from this module's types should meet.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self).map(|text| text + "\n")
    }
}

/// What a package offers for one architecture.
pub(super) struct Shelf<'a> {
    package: &'a Package,
    arch: Arch,
    driver: Option<(i32, i32)>,
    list: Option<Binaries>,
}

impl<'a> Shelf<'a> {
    pub(super) fn open(
        package: &'a Package,
        arch: Arch,
        driver: Option<(i32, i32)>,
    ) -> Result<Shelf<'a>, PackageError> {
        let file = format!("{arch}/{BINARIES_FILE}");
        let refused = |reason: String| PackageError::Binaries {
            origin: package.origin.clone(),
            file: file.clone(),
            reason,
        };
        let list = match package.files.read(&file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(refused(error.to_string())),
            Ok(bytes) => {
                let list: Binaries =
                    serde_json::from_slice(&bytes).map_err(|error| refused(error.to_string()))?;
                if list.schema != BINARIES_SCHEMA {
                    let reason = format!(
                        "is of schema version {}, this program reads {BINARIES_SCHEMA}",
                        list.schema
                    );
                    return Err(refused(reason));
                }
                Some(list)
            }
        };
        Ok(Shelf {
            package,
            arch,
            driver,
            list,
        })
    }

    /// The image of a kernel in the form asked for, if the package has it; what a person should know of what it has instead.
    pub(super) fn image(
        &self,
        kernel: &Kernel,
        source: &KernelSource<'_>,
        form: Form,
        warnings: &mut Vec<String>,
    ) -> Result<Option<Image>, PackageError> {
        let arch = self.arch;
        let Some(list) = &self.list else {
            let file = format!("{arch}/{}.{}", kernel.name, form.extension());
            if self.package.files.read(&file).is_ok() {
                warnings.push(format!(
                    "package {}: {file} is not used, since there is no {arch}/{BINARIES_FILE} that says what it was made from",
                    self.package.origin
                ));
            }
            return Ok(None);
        };
        let Some(binary) = list.kernels.get(&kernel.name) else {
            return Ok(None);
        };
        if binary.key != image_key(&source.request(arch, false)) {
            warnings.push(format!(
                "package {}: the binaries of `{}` in {arch} are of another source and not used",
                self.package.origin, kernel.name
            ));
            return Ok(None);
        }
        if !form.is_loadable(list.compiler, self.driver) {
            return Ok(None);
        }
        let mut image = Image {
            source: ImageSource::Package,
            compiler: Some(list.compiler),
            resources: Some(binary.resources.clone()),
            ..Image::empty(kernel, arch)
        };
        image.cubin = self.file(kernel, Form::Cubin, binary.cubin_sha256.as_deref())?;
        let ptx = self.file(kernel, Form::Ptx, binary.ptx_sha256.as_deref())?;
        image.ptx = ptx
            .map(String::from_utf8)
            .transpose()
            .map_err(|_| PackageError::NotText {
                origin: self.package.origin.clone(),
                file: format!("{arch}/{}.ptx", kernel.name),
            })?;
        Ok(image.has(form).then_some(image))
    }

    fn file(
        &self,
        kernel: &Kernel,
        form: Form,
        sha256: Option<&str>,
    ) -> Result<Option<Vec<u8>>, PackageError> {
        let Some(sha256) = sha256 else {
            return Ok(None);
        };
        let (package, arch) = (self.package, self.arch);
        let file = format!("{arch}/{}.{}", kernel.name, form.extension());
        let bytes = package
            .files
            .read(&file)
            .map_err(|source| PackageError::Read {
                origin: package.origin.clone(),
                file: file.clone(),
                source,
            })?;
        let list = format!("{arch}/{BINARIES_FILE}");
        check_hash(
            &package.origin,
            (&file, &list),
            sha256,
            digest::sha256(&bytes),
        )?;
        Ok(Some(bytes))
    }
}
