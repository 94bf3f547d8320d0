//! Why a GPU cannot be opened with a package's kernels.

use crate::device::DeviceError;
use crate::gpu::GpuError;
use crate::package::PackageError;

/// Why a GPU cannot be opened with a package's kernels.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KernelsError {
    /// A package for another spec.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// A kernel without an image in a form that the GPU loads.
    #[error("package `{package}`: there is no image of `{kernel}` that this GPU loads")]
    NoImage {
        /// Name of the package.
        package: String,
        /// The kernel.
        kernel: &'static str,
    },
    /// A spec that asks for what no kernel does.
    #[error("spec `{spec}`: `{field}`: {message}")]
    Unsupported {
        /// Name of the spec.
        spec: String,
        /// The field.
        field: &'static str,
        /// What is the matter, and what to do.
        message: &'static str,
    },
    /// The GPU failed.
    #[error(transparent)]
    Gpu(#[from] GpuError),
}

impl From<GpuError> for DeviceError {
    fn from(error: GpuError) -> DeviceError {
        match error {
            GpuError::OutOfMemory {
                name, bytes, free, ..
            } => DeviceError::OutOfMemory {
                name,
                bytes,
                free: Some(free),
            },
            GpuError::OutOfHostMemory { name, bytes, free } => {
                DeviceError::OutOfHostMemory { name, bytes, free }
            }
            other => DeviceError::Gpu(other),
        }
    }
}
