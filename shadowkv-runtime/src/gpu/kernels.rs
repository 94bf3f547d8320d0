//! The kernels of a package on a GPU, launched by their generated launchers.

use std::collections::BTreeMap;
use std::fmt;

use super::{Gpu, GpuError, Image, ImageKinds};
use crate::launch::{KernelArguments, Launch};
use crate::manifest::{Geometry, GeometryError, Kernel, Sizes};
use crate::package::{Images, Package};

/// Why kernels are not loaded or not launched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// No image that the GPU loads.
    #[error(
        "package `{package}`: there is no image of `{kernel}` that {device} loads; ask for images with a `Target::for_gpu`"
    )]
    NoImage {
        /// Name of the package.
        package: String,
        /// Short name of the kernel.
        kernel: String,
        /// The GPU.
        device: String,
    },
    /// A launcher of a kernel that the package has not.
    #[error("package `{package}` has no kernel `{kernel}`; it has: {}", known.join(", "))]
    UnknownKernel {
        /// Name of the package.
        package: String,
        /// Short name of the kernel.
        kernel: &'static str,
        /// The kernels there are.
        known: Vec<String>,
    },
    /// A launcher of another package.
    #[error(
        "`{kernel}` of package `{package}` takes {expected} bytes of arguments, and its launcher gives {found}: use the launchers that came with the package"
    )]
    Arguments {
        /// Name of the package.
        package: String,
        /// Short name of the kernel.
        kernel: &'static str,
        /// Bytes of the kernel's struct.
        expected: u64,
        /// Bytes of the launcher's.
        found: u64,
    },
    /// Sizes that give no launch.
    #[error("`{kernel}`: {source}")]
    Geometry {
        /// Short name of the kernel.
        kernel: &'static str,
        /// Why not.
        source: GeometryError,
    },
    /// What the GPU says.
    #[error(transparent)]
    Gpu(#[from] GpuError),
}

/// The kernels of a package, loaded into a GPU.
///
/// What generated launchers take is a [`Launcher`]: these kernels, with a stream. Memory, and the order between streams, are
/// the caller's.
pub struct Kernels<G: Gpu> {
    package: String,
    kernels: BTreeMap<String, Loaded<G>>,
}

struct Loaded<G: Gpu> {
    kernel: G::Kernel,
    geometry: Geometry,
    argument_bytes: u64,
}

impl<G: Gpu> fmt::Debug for Kernels<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kernels")
            .field("package", &self.package)
            .field("kernels", &self.kernels.keys())
            .finish()
    }
}

impl<G: Gpu> Kernels<G> {
    /// Loads every kernel of `package`: machine code where the GPU takes it and the images have it, else PTX.
    ///
    /// # Errors
    ///
    /// [`LaunchError::NoImage`], or what the GPU says of an image.
    pub fn load(gpu: &G, package: &Package, images: &Images) -> Result<Kernels<G>, LaunchError> {
        let load = |kernel: &Kernel| {
            let loaded = Loaded {
                kernel: load_kernel(gpu, package, images, kernel)?,
                geometry: kernel.geometry.clone(),
                argument_bytes: kernel.argument_bytes(),
            };
            Ok((kernel.name.clone(), loaded))
        };
        let kernels = package.manifest().kernels.iter().map(load);
        Ok(Kernels {
            package: package.name().to_owned(),
            kernels: kernels.collect::<Result<_, LaunchError>>()?,
        })
    }

    /// What generated launchers take: launches go to `stream`, in the order of the calls.
    pub fn on<'a>(&'a self, gpu: &'a G, stream: &'a G::Stream) -> Launcher<'a, G> {
        Launcher {
            kernels: self,
            gpu,
            stream,
        }
    }
}

fn load_kernel<G: Gpu>(
    gpu: &G,
    package: &Package,
    images: &Images,
    kernel: &Kernel,
) -> Result<G::Kernel, LaunchError> {
    let image = images.get(&kernel.name);
    let cubin = image.and_then(|image| image.cubin.as_deref());
    let ptx = image.and_then(|image| image.ptx.as_deref());
    let properties = gpu.properties();
    let image = match (properties.images, cubin, ptx) {
        (ImageKinds::CubinOrPtx, Some(cubin), _) => Image::Cubin(cubin),
        (_, _, Some(ptx)) => Image::Ptx(ptx),
        _ => {
            return Err(LaunchError::NoImage {
                package: package.name().to_owned(),
                kernel: kernel.name.clone(),
                device: properties.name.clone(),
            });
        }
    };
    let module = gpu.load(&kernel.name, image)?;
    Ok(gpu.kernel(&module, &kernel.entry, kernel.geometry.shared_bytes)?)
}

/// [`Kernels`] with the stream that their launches go to.
#[derive(Debug)]
pub struct Launcher<'a, G: Gpu> {
    kernels: &'a Kernels<G>,
    gpu: &'a G,
    stream: &'a G::Stream,
}

impl<G: Gpu> Launch for Launcher<'_, G> {
    type Error = LaunchError;

    unsafe fn launch<A: KernelArguments>(
        &mut self,
        sizes: &Sizes,
        arguments: &A,
    ) -> Result<(), LaunchError> {
        let Kernels { package, kernels } = self.kernels;
        let loaded = kernels
            .get(A::KERNEL)
            .ok_or_else(|| LaunchError::UnknownKernel {
                package: package.clone(),
                kernel: A::KERNEL,
                known: kernels.keys().cloned().collect(),
            })?;
        if loaded.argument_bytes != size_of::<A>() as u64 {
            return Err(LaunchError::Arguments {
                package: package.clone(),
                kernel: A::KERNEL,
                expected: loaded.argument_bytes,
                found: size_of::<A>() as u64,
            });
        }
        let dims = loaded.geometry.evaluate(sizes);
        let Some(dims) = dims.map_err(|source| LaunchError::Geometry {
            kernel: A::KERNEL,
            source,
        })?
        else {
            // Nothing to do: a batch of no sequences.
            return Ok(());
        };
        // SAFETY: the type vouches that it may be read as bytes.
        let parameters = unsafe {
            std::slice::from_raw_parts(std::ptr::from_ref(arguments).cast::<u8>(), size_of::<A>())
        };
        // SAFETY: the caller vouches for the addresses, the checks above for size and kernel.
        unsafe {
            self.gpu
                .launch(self.stream, &loaded.kernel, dims, parameters)
        }?;
        Ok(())
    }
}
