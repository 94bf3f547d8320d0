//! The kernels of a package on a GPU, and their launches.

use std::sync::{Mutex, OnceLock, PoisonError};

use super::KernelsError;
use super::replay::Replay;
use crate::device::DeviceError;
use crate::gpu::{Gpu, GpuMemory as _, Image, ImageKinds};
use crate::manifest::{Access, Argument, Expr, Geometry, Kernel, LaunchDims, Manifest, Sizes};
use crate::package::Images;

/// The generated kernels that a device launches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Name {
    Embed,
    RmsNorm,
    RopeAppend,
    PrefillAttention,
    SiluMul,
    KeyGram,
    KeyProject,
    ChunkLandmarks,
    SelectOutliers,
    StoreExact,
    OffloadValues,
    DecodeAttention,
    LandmarkScore,
    SelectChunks,
    GatherValues,
    ReconstructKeys,
    SparseAttention,
    FoldChunk,
    Sample,
}

/// How many there are.
const COUNT: usize = 19;

impl Name {
    const ALL: [Name; COUNT] = [
        Name::Embed,
        Name::RmsNorm,
        Name::RopeAppend,
        Name::PrefillAttention,
        Name::SiluMul,
        Name::KeyGram,
        Name::KeyProject,
        Name::ChunkLandmarks,
        Name::SelectOutliers,
        Name::StoreExact,
        Name::OffloadValues,
        Name::DecodeAttention,
        Name::LandmarkScore,
        Name::SelectChunks,
        Name::GatherValues,
        Name::ReconstructKeys,
        Name::SparseAttention,
        Name::FoldChunk,
        Name::Sample,
    ];

    /// Its short name in the manifest.
    fn text(self) -> &'static str {
        match self {
            Name::Embed => "embed",
            Name::RmsNorm => "rms_norm",
            Name::RopeAppend => "rope_append",
            Name::PrefillAttention => "prefill_attention",
            Name::SiluMul => "silu_mul",
            Name::KeyGram => "key_gram",
            Name::KeyProject => "key_project",
            Name::ChunkLandmarks => "chunk_landmarks",
            Name::SelectOutliers => "select_outliers",
            Name::StoreExact => "store_exact",
            Name::OffloadValues => "offload_values",
            Name::DecodeAttention => "decode_attention",
            Name::LandmarkScore => "landmark_score",
            Name::SelectChunks => "select_chunks",
            Name::GatherValues => "gather_values",
            Name::ReconstructKeys => "reconstruct_keys",
            Name::SparseAttention => "sparse_attention",
            Name::FoldChunk => "fold_chunk",
            Name::Sample => "sample",
        }
    }
}

/// The kernels of a package.
pub(super) struct Kernels<G: Gpu> {
    /// By [`Name`]; a package without a decoder has none of the decoder's.
    loaded: Vec<Option<Loaded<G>>>,
}

struct Loaded<G: Gpu> {
    kernel: G::Kernel,
    geometry: Geometry,
    /// Names of the arguments in order.
    arguments: Vec<String>,
    /// Memory that the kernel alone uses, from launch to launch.
    own: [Own<G>; 2],
}

/// Where launches go.
pub(super) struct To<'a, G: Gpu> {
    pub(super) gpu: &'a G,
    /// A kernel's is always the same.
    pub(super) stream: &'a G::Stream,
    pub(super) replay: &'a Replay<G>,
}

const MEBIBYTE: u64 = 1 << 20;

/// The arguments whose memory is the kernel's own business.
const OWN: [&str; 2] = ["workspace", "arrivals"];

/// Memory behind one of [`OWN`].
struct Own<G: Gpu> {
    /// Extents, and bytes of an element; absent where the kernel has no such argument.
    shape: Option<(Vec<Expr>, u64)>,
    memory: Mutex<Option<G::Memory>>,
}

/// What the launches of a set of sizes have in common, computed when first wanted.
#[derive(Debug, Default)]
pub(super) struct Launches([OnceLock<Dims>; COUNT]);

#[derive(Clone, Copy, Debug)]
struct Dims {
    /// Absent where there is nothing to launch.
    launch: Option<LaunchDims>,
    /// Bytes of the kernel's own memory.
    own: [u64; 2],
}

impl<G: Gpu> Kernels<G> {
    /// Loads all kernels of a package.
    pub(super) fn load(
        gpu: &G,
        manifest: &Manifest,
        images: &Images,
    ) -> Result<Kernels<G>, KernelsError> {
        let load = |name: Name| {
            let Ok(kernel) = manifest.kernel(name.text()) else {
                return Ok(None);
            };
            let image = images
                .get(name.text())
                .ok_or_else(|| KernelsError::NoImage {
                    package: manifest.package.clone(),
                    kernel: name.text(),
                })?;
            let module = match (gpu.properties().images, &image.cubin, &image.ptx) {
                (ImageKinds::CubinOrPtx, Some(cubin), _) => {
                    gpu.load(name.text(), Image::Cubin(cubin))
                }
                (_, _, Some(ptx)) => gpu.load(name.text(), Image::Ptx(ptx)),
                _ => {
                    return Err(KernelsError::NoImage {
                        package: manifest.package.clone(),
                        kernel: name.text(),
                    });
                }
            }?;
            Ok(Some(Loaded {
                kernel: gpu.kernel(&module, &kernel.entry, kernel.geometry.shared_bytes)?,
                geometry: kernel.geometry.clone(),
                arguments: kernel
                    .arguments
                    .iter()
                    .map(|own| own.name.clone())
                    .collect(),
                own: OWN.map(|own| Own {
                    shape: shape(kernel, own),
                    memory: Mutex::new(None),
                }),
            }))
        };
        Ok(Kernels {
            loaded: Name::ALL
                .into_iter()
                .map(load)
                .collect::<Result<_, KernelsError>>()?,
        })
    }

    /// Launches `name` as the sizes demand that `sizes` gives, which is asked once per kernel and `launches`. `arguments` are all
    /// of the kernel's in order, but for its own memory.
    ///
    /// # Safety
    ///
    /// As [`Gpu::launch`]: the addresses are valid for the shapes of the manifest until the launch has run.
    pub(super) unsafe fn launch(
        &self,
        to: &To<'_, G>,
        name: Name,
        launches: &Launches,
        sizes: &dyn Fn() -> Sizes,
        arguments: &[(&str, u64)],
    ) -> Result<(), DeviceError> {
        let &To {
            gpu,
            stream,
            replay,
        } = to;
        let Some(loaded) = &self.loaded[name as usize] else {
            return Err(DeviceError::Kernel {
                kernel: name.text(),
                message: "the package has no such kernel: its spec has no `decoder` block"
                    .to_owned(),
            });
        };
        let known = &launches.0[name as usize];
        let dims = if let Some(dims) = known.get() {
            *dims
        } else {
            let dims = loaded.dims(name, &sizes())?;
            *known.get_or_init(|| dims)
        };
        let Some(launch) = dims.launch else {
            return Ok(());
        };
        let mut parameters = Vec::with_capacity(loaded.arguments.len() * 8);
        let mut given = arguments.iter();
        for wanted in &loaded.arguments {
            let own = OWN.iter().position(|own| own == wanted);
            let value = match own {
                Some(own) => loaded.own[own].address(gpu, stream, name, dims.own[own])?,
                None => match given.next() {
                    Some((found, value)) if found == wanted => *value,
                    found => return Err(contract(name, wanted, found.map(|(name, _)| *name))),
                },
            };
            parameters.extend_from_slice(&value.to_le_bytes());
        }
        if let Some((found, _)) = given.next() {
            return Err(contract(name, "nothing more", Some(found)));
        }
        let noted = replay.notes(|words| {
            words.push(name as u64);
            words.extend(launch.grid.map(u64::from));
            let (arguments, _) = parameters.as_chunks::<8>();
            words.extend(arguments.iter().map(|bytes| u64::from_le_bytes(*bytes)));
        });
        if noted {
            return Ok(());
        }
        // SAFETY: the caller vouches for the addresses; the kernel's own memory has the bytes of its shape, and is used in the
        // order of one stream.
        unsafe { gpu.launch(stream, &loaded.kernel, launch, &parameters) }?;
        Ok(())
    }
}

/// Extents of an argument and bytes of an element.
fn shape(kernel: &Kernel, name: &str) -> Option<(Vec<Expr>, u64)> {
    let is_own = |own: &&Argument| own.name == name && own.access == Access::ReadWrite;
    let own = kernel.arguments.iter().find(is_own)?;
    Some((own.shape.clone(), own.dtype.bytes()))
}

/// A package whose kernels take other arguments than this program gives.
fn contract(kernel: Name, wanted: &str, found: Option<&str>) -> DeviceError {
    DeviceError::Kernel {
        kernel: kernel.text(),
        message: format!(
            "the package's kernel takes `{wanted}` where this program gives `{}`: generate the package with the shadowkv-codegen of the same version",
            found.unwrap_or("nothing")
        ),
    }
}

impl<G: Gpu> Loaded<G> {
    fn dims(&self, name: Name, sizes: &Sizes) -> Result<Dims, DeviceError> {
        let failed = |message: String| DeviceError::Kernel {
            kernel: name.text(),
            message,
        };
        let bytes = |own: &Own<G>| {
            let Some((shape, element_bytes)) = &own.shape else {
                return Ok::<u64, DeviceError>(0);
            };
            let mut bytes = *element_bytes;
            for extent in shape {
                let extent = extent
                    .eval(sizes)
                    .map_err(|error| failed(error.to_string()))?;
                bytes = bytes.saturating_mul(extent);
            }
            Ok(bytes)
        };
        let launch = self.geometry.evaluate(sizes);
        Ok(Dims {
            launch: launch.map_err(|error| failed(error.to_string()))?,
            own: [bytes(&self.own[0])?, bytes(&self.own[1])?],
        })
    }
}

impl<G: Gpu> Own<G> {
    /// Its address, once there are `bytes` bytes. Fresh memory is zeros: counters of arrivals begin there, and return there.
    fn address(
        &self,
        gpu: &G,
        stream: &G::Stream,
        name: Name,
        bytes: u64,
    ) -> Result<u64, DeviceError> {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = memory.as_ref()
            && own.bytes() >= bytes
        {
            return Ok(own.address());
        }
        if let Some(small) = memory.take() {
            gpu.free(stream, small)?;
        }
        let room = bytes
            .next_multiple_of(MEBIBYTE)
            .min(bytes.next_power_of_two());
        let own = gpu.allocate(&format!("workspace of {}", name.text()), room)?;
        gpu.fill(stream, own.whole(), 0)?;
        let address = own.address();
        *memory = Some(own);
        Ok(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_their_own_indices() {
        for (index, name) in Name::ALL.into_iter().enumerate() {
            assert_eq!(name as usize, index, "{name:?}");
        }
    }
}
