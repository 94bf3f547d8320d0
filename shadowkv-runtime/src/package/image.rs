//! Images of a package's kernels: what is asked for, and what comes.

use std::fmt;
use std::num::NonZeroUsize;
use std::time::Duration;

use serde::Serialize;

use super::Package;
use super::binaries::Shelf;
use super::compile;
use super::error::ImagesError;
use super::jit_cache::JitCache;
use crate::cache::Cache;
use crate::manifest::Kernel;
use crate::nvrtc::{Arch, KernelResources, KernelSource, NvrtcOptions};
use crate::wheel::Progress;

/// The form of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// Machine code of one architecture.
    Cubin,
    /// PTX, which a driver or an emulated GPU translates.
    Ptx,
}

impl Form {
    /// Its file extension.
    pub fn extension(self) -> &'static str {
        match self {
            Form::Cubin => "cubin",
            Form::Ptx => "ptx",
        }
    }

    /// Whether a driver of that CUDA version loads what that compiler wrote. Machine code of a newer minor version loads, PTX
    /// does not, and nothing of a newer major version.
    pub fn is_loadable(self, compiler: (i32, i32), driver: Option<(i32, i32)>) -> bool {
        driver.is_none_or(|driver| match self {
            Form::Cubin => compiler.0 <= driver.0,
            Form::Ptx => compiler <= driver,
        })
    }
}

/// What images are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The architecture to compile for.
    pub arch: Arch,
    /// The form wanted.
    pub form: Form,
}

impl Target {
    /// For a device of that compute capability: machine code, or where we know no architecture of its major version, PTX of the
    /// newest older one. `None` for what is older than all we know.
    pub fn for_device(major: u32, minor: u32) -> Option<Target> {
        if let Some(arch) = Arch::for_device(major, minor) {
            let form = Form::Cubin;
            return Some(Target { arch, form });
        }
        let older = |arch: &Arch| arch.compute_capability() < (major, minor);
        let arch = Arch::ALL.into_iter().rev().find(older)?;
        let form = Form::Ptx;
        Some(Target { arch, form })
    }

    /// For a GPU: as [`Target::for_device`], but PTX for one that loads nothing else.
    #[cfg(feature = "gpu")]
    pub fn for_gpu(gpu: &impl crate::gpu::Gpu) -> Option<Target> {
        use crate::gpu::ImageKinds;

        let properties = gpu.properties();
        let (major, minor) = properties.compute_capability;
        let target = Target::for_device(major, minor)?;
        Some(match properties.images {
            ImageKinds::CubinOrPtx => target,
            ImageKinds::Ptx => Target {
                form: Form::Ptx,
                ..target
            },
        })
    }
}

/// What images are wanted, and what may be used to get them.
#[derive(Clone, Debug)]
pub struct ImageRequest {
    /// What they are for.
    pub target: Target,
    /// CUDA version of the driver that is to load them, major and minor; absent for any.
    pub driver: Option<(i32, i32)>,
    /// Our cache; absent for none.
    pub cache: Option<Cache>,
    /// How to obtain a compiler when one is needed.
    pub nvrtc: NvrtcOptions,
    /// Compilations at a time; as many as there are processors unless given.
    pub jobs: Option<NonZeroUsize>,
}

impl ImageRequest {
    /// Machine code for `arch`, with the cache and the compiler of the process environment.
    pub fn from_environment(arch: Arch) -> ImageRequest {
        let nvrtc = NvrtcOptions::from_environment();
        ImageRequest {
            target: Target {
                arch,
                form: Form::Cubin,
            },
            driver: None,
            cache: nvrtc.search.cache.clone(),
            nvrtc,
            jobs: None,
        }
    }
}

/// Where an image was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageSource {
    /// Beside the package's sources.
    Package,
    /// In our cache.
    Cache,
    /// Nowhere: it was compiled now.
    Compiled,
}

impl ImageSource {
    /// One word for it.
    pub fn name(self) -> &'static str {
        match self {
            ImageSource::Package => "package",
            ImageSource::Cache => "cache",
            ImageSource::Compiled => "compiled",
        }
    }
}

/// A kernel that can be loaded.
#[derive(Clone)]
pub struct Image {
    /// Short name of the kernel.
    pub kernel: String,
    /// Symbol of its entry point.
    pub entry: String,
    /// What it was compiled for.
    pub arch: Arch,
    /// Machine code for exactly `arch` (and newer ones of its major version).
    pub cubin: Option<Vec<u8>>,
    /// PTX, for `arch` and everything newer.
    pub ptx: Option<String>,
    /// Where it was found.
    pub source: ImageSource,
    /// Major and minor version of the NVRTC that compiled it.
    pub compiler: Option<(i32, i32)>,
    /// What the kernel takes.
    pub resources: Option<KernelResources>,
    /// How long it took to compile or to read.
    pub elapsed: Duration,
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Image(`{}` for {}, {:?}, cubin of {} bytes, PTX of {})",
            self.kernel,
            self.arch,
            self.source,
            self.bytes(Form::Cubin),
            self.bytes(Form::Ptx)
        )
    }
}

impl Image {
    /// An image of `kernel` yet to be filled.
    pub(super) fn empty(kernel: &Kernel, arch: Arch) -> Image {
        Image {
            kernel: kernel.name.clone(),
            entry: kernel.entry.clone(),
            arch,
            cubin: None,
            ptx: None,
            source: ImageSource::Compiled,
            compiler: None,
            resources: None,
            elapsed: Duration::ZERO,
        }
    }

    /// Whether it has that form.
    pub fn has(&self, form: Form) -> bool {
        match form {
            Form::Cubin => self.cubin.is_some(),
            Form::Ptx => self.ptx.is_some(),
        }
    }

    /// Bytes in that form; 0 when it has not.
    pub fn bytes(&self, form: Form) -> usize {
        match form {
            Form::Cubin => self.cubin.as_ref().map_or(0, Vec::len),
            Form::Ptx => self.ptx.as_ref().map_or(0, String::len),
        }
    }
}

/// An image of every kernel of a package.
#[derive(Clone, Debug)]
pub struct Images {
    /// What they were asked for.
    pub target: Target,
    /// In the manifest's order. Each has the form asked for, but where no compiler could be had and the package has PTX of its
    /// own.
    pub images: Vec<Image>,
    /// What a person should know.
    pub warnings: Vec<String>,
    /// Why what was compiled is not in the cache; a reason to go on, since the images are here.
    pub not_kept: Option<String>,
}

impl Images {
    /// The image of the kernel with that short name.
    pub fn get(&self, kernel: &str) -> Option<&Image> {
        self.images.iter().find(|image| image.kernel == kernel)
    }

    /// How many came from there.
    pub fn count(&self, source: ImageSource) -> usize {
        let images = self.images.iter();
        images.filter(|image| image.source == source).count()
    }
}

/// A step on the way to images, worth telling the user.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ImageProgress {
    /// So many kernels are to be compiled.
    Compiling {
        /// Kernels to compile.
        kernels: usize,
        /// What for.
        arch: Arch,
    },
    /// The compiler is installed.
    Install(Progress),
    /// A kernel is compiled.
    Compiled {
        /// Short name of the kernel.
        kernel: String,
        /// What for.
        arch: Arch,
        /// How long it took.
        elapsed: Duration,
    },
}

impl fmt::Display for ImageProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ImageProgress::Compiling { kernels, arch } => {
                write!(
                    f,
                    "compiling {kernels} kernel{} for {arch}",
                    plural(*kernels)
                )
            }
            ImageProgress::Install(step) => step.fmt(f),
            ImageProgress::Compiled {
                kernel,
                arch,
                elapsed,
            } => write!(
                f,
                "compiled {kernel} for {arch} in {:.0} ms",
                elapsed.as_secs_f64() * 1e3
            ),
        }
    }
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

impl Package {
    /// An image of every kernel: from the package, else from the cache, else compiled now and put into the cache.
    ///
    /// `progress` is called from several threads. Without compiler and cache entry, PTX of the package serves where machine code
    /// was asked for.
    ///
    /// # Errors
    /// [`ImagesError`]; a cache that cannot be written to is none ([`Images::not_kept`]).
    pub fn images(
        &self,
        request: &ImageRequest,
        progress: &(dyn Fn(&ImageProgress) + Sync),
    ) -> Result<Images, ImagesError> {
        let Target { arch, form } = request.target;
        let (mut warnings, mut not_kept) = (Vec::new(), None);
        let shelf = Shelf::open(self, arch, request.driver)?;
        let cache = request.cache.as_ref().map(JitCache::new);
        let headers = self.headers();
        let sources: Vec<KernelSource<'_>> = self.sources(&headers).collect();
        let mut images: Vec<Option<Image>> = Vec::new();
        for (kernel, source) in self.manifest().kernels.iter().zip(&sources) {
            let started = std::time::Instant::now();
            let mut image = shelf.image(kernel, source, form, &mut warnings)?;
            if let (None, Some(cache)) = (&image, &cache) {
                image = cache.load(kernel, source, request);
            }
            images.push(image.map(|image| Image {
                elapsed: started.elapsed(),
                ..image
            }));
        }
        let missing: Vec<usize> = (0..images.len())
            .filter(|index| images[*index].is_none())
            .collect();
        if !missing.is_empty() {
            let job = compile::Job {
                package: self,
                sources: &sources,
                missing: &missing,
                request,
                cache: cache.as_ref(),
            };
            let compiled = job
                .run(progress, &mut warnings, &mut not_kept)
                .or_else(|error| {
                    let spare = || job.ptx_instead(&mut warnings);
                    compile::is_lack_of_compiler(&error)
                        .then(spare)
                        .flatten()
                        .ok_or(error)
                })?;
            for (index, image) in missing.iter().zip(compiled) {
                images[*index] = Some(image);
            }
        }
        Ok(Images {
            target: Target { arch, form },
            images: images.into_iter().flatten().collect(),
            warnings,
            not_kept,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_driver_loads() {
        let driver = Some((13, 0));
        assert!(Form::Cubin.is_loadable((13, 5), driver));
        assert!(!Form::Ptx.is_loadable((13, 5), driver));
        assert!(Form::Ptx.is_loadable((12, 9), driver));
        assert!(!Form::Cubin.is_loadable((14, 0), driver));
        assert!(Form::Ptx.is_loadable((99, 9), None));
    }

    #[test]
    fn devices_and_what_they_load() {
        let target = |major, minor| Target::for_device(major, minor);
        let some = |arch, form| Some(Target { arch, form });
        assert_eq!(target(9, 0), some(Arch::Sm90, Form::Cubin));
        assert_eq!(target(8, 7), some(Arch::Sm86, Form::Cubin));
        assert_eq!(target(11, 0), some(Arch::Sm100, Form::Ptx));
        assert_eq!(target(13, 0), some(Arch::Sm120, Form::Ptx));
        assert_eq!(target(7, 5), None);
    }
}
