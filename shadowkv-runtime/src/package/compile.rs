//! Compiling what is neither in the package nor in the cache, on every processor.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use super::binaries::Shelf;
use super::error::ImagesError;
use super::image::{Image, ImageProgress, ImageSource};
use super::jit_cache::JitCache;
use super::{Form, ImageRequest, Package};
use crate::nvrtc::{
    Arch, CompiledSource, KernelFailure, KernelSource, Nvrtc, NvrtcError, STACK_BYTES,
};

/// Kernels to compile.
pub(super) struct Job<'a> {
    pub(super) package: &'a Package,
    /// Of all kernels.
    pub(super) sources: &'a [KernelSource<'a>],
    /// Which of them.
    pub(super) missing: &'a [usize],
    pub(super) request: &'a ImageRequest,
    pub(super) cache: Option<&'a JitCache<'a>>,
}

/// What became of one kernel.
struct Outcome {
    image: Result<Image, Box<KernelFailure>>,
    /// Why it is not in the cache.
    not_kept: Option<String>,
}

/// Whether it is the compiler that is wanting, not the kernel.
pub(super) fn is_lack_of_compiler(error: &ImagesError) -> bool {
    matches!(
        error,
        ImagesError::NoCompiler { .. } | ImagesError::Arch { .. }
    )
}

impl Job<'_> {
    /// An image of each missing kernel, in order.
    pub(super) fn run(
        &self,
        progress: &(dyn Fn(&ImageProgress) + Sync),
        warnings: &mut Vec<String>,
        not_kept: &mut Option<String>,
    ) -> Result<Vec<Image>, ImagesError> {
        let nvrtc = self.open(progress)?;
        let arch = self.request.target.arch;
        if !nvrtc.supports(arch) {
            let supported: Vec<_> = nvrtc
                .supported_archs()
                .into_iter()
                .map(Arch::name)
                .collect();
            return Err(ImagesError::Arch {
                arch,
                version: nvrtc.version(),
                path: nvrtc.path().to_owned(),
                supported: supported.join(", "),
            });
        }
        self.warn_of_version(&nvrtc, warnings);
        progress(&ImageProgress::Compiling {
            kernels: self.missing.len(),
            arch,
        });
        let outcomes = self.on_threads(&nvrtc, progress)?;
        let (mut images, mut failures) = (Vec::new(), Vec::new());
        for outcome in outcomes {
            if outcome.not_kept.is_some() {
                *not_kept = outcome.not_kept;
            }
            match outcome.image {
                Ok(image) => images.push(image),
                Err(failure) => failures.push(*failure),
            }
        }
        if failures.is_empty() {
            Ok(images)
        } else {
            Err(ImagesError::Compile { failures })
        }
    }

    fn open(&self, progress: &(dyn Fn(&ImageProgress) + Sync)) -> Result<Nvrtc, ImagesError> {
        let tell = |step: &_| progress(&ImageProgress::Install(Clone::clone(step)));
        Nvrtc::open(&self.request.nvrtc, &tell).map_err(|source: NvrtcError| {
            let name = |index: &usize| self.sources[*index].kernel.to_owned();
            ImagesError::NoCompiler {
                package: self.package.name().to_owned(),
                kernels: self.missing.iter().map(name).collect(),
                arch: self.request.target.arch,
                source: Box::new(source),
            }
        })
    }

    fn warn_of_version(&self, nvrtc: &Nvrtc, warnings: &mut Vec<String>) {
        let (form, driver) = (self.request.target.form, self.request.driver);
        if let Some(driver) = driver
            && !form.is_loadable(nvrtc.version(), Some(driver))
        {
            let (major, minor) = nvrtc.version();
            warnings.push(format!(
                "NVRTC {major}.{minor} writes what a driver of CUDA {}.{} may refuse: set SHADOWKV_NVRTC to an older one, or update the driver",
                driver.0, driver.1
            ));
        }
    }

    /// One kernel at a time to whichever thread is free: they differ by a factor of ten.
    fn on_threads(
        &self,
        nvrtc: &Nvrtc,
        progress: &(dyn Fn(&ImageProgress) + Sync),
    ) -> Result<Vec<Outcome>, ImagesError> {
        let available = || thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let jobs = self.request.jobs.map_or_else(available, NonZeroUsize::get);
        let jobs = jobs.clamp(1, self.missing.len().max(1));
        let next = AtomicUsize::new(0);
        let (sender, receiver) = mpsc::channel();
        let work = |sender: mpsc::Sender<(usize, Outcome)>| {
            loop {
                let turn = next.fetch_add(1, Ordering::Relaxed);
                let Some(index) = self.missing.get(turn) else {
                    break;
                };
                // The receiver outlives all threads.
                let _ = sender.send((turn, self.compile(*index, nvrtc, progress)));
            }
        };
        let mut outcomes: Vec<(usize, Outcome)> = thread::scope(|scope| {
            let mut started = 0;
            for _ in 0..jobs {
                let sender = sender.clone();
                let thread = thread::Builder::new().stack_size(STACK_BYTES);
                match thread.spawn_scoped(scope, || work(sender)) {
                    Ok(_) => started += 1,
                    // Fewer do as well.
                    Err(_) if started > 0 => break,
                    Err(source) => return Err(ImagesError::Threads { source }),
                }
            }
            drop(sender);
            Ok(receiver.iter().collect())
        })?;
        outcomes.sort_by_key(|(turn, _)| *turn);
        Ok(outcomes.into_iter().map(|(_, outcome)| outcome).collect())
    }

    fn compile(
        &self,
        index: usize,
        nvrtc: &Nvrtc,
        progress: &(dyn Fn(&ImageProgress) + Sync),
    ) -> Outcome {
        let arch = self.request.target.arch;
        let (kernel, source) = (
            &self.package.manifest().kernels[index],
            &self.sources[index],
        );
        let CompiledSource {
            compiled,
            resources,
            ..
        } = match source.compile(nvrtc, arch, false, &|_, _| None) {
            Ok(compiled) => compiled,
            Err(failure) => {
                return Outcome {
                    image: Err(failure),
                    not_kept: None,
                };
            }
        };
        let image = Image {
            cubin: Some(compiled.cubin),
            ptx: Some(compiled.ptx),
            source: ImageSource::Compiled,
            compiler: Some(nvrtc.version()),
            resources: Some(resources),
            elapsed: compiled.elapsed,
            ..Image::empty(kernel, arch)
        };
        let kept = self.cache.map(|cache| cache.store(&image, source));
        progress(&ImageProgress::Compiled {
            kernel: kernel.name.clone(),
            arch,
            elapsed: image.elapsed,
        });
        Outcome {
            image: Ok(image),
            not_kept: kept.and_then(Result::err).map(|error| error.to_string()),
        }
    }

    /// The package's own PTX of each missing kernel, of the newest architecture that has it and is not beyond the one wanted.
    pub(super) fn ptx_instead(&self, warnings: &mut Vec<String>) -> Option<Vec<Image>> {
        let target = self.request.target;
        let archs = Arch::ALL.into_iter().rev();
        let shelves: Vec<Shelf<'_>> = archs
            .filter(|arch| *arch <= target.arch)
            // What is wrong with a list has been said, or concerns another architecture.
            .filter_map(|arch| Shelf::open(self.package, arch, self.request.driver).ok())
            .collect();
        let mut images = Vec::new();
        for index in self.missing {
            let kernel = &self.package.manifest().kernels[*index];
            let source = &self.sources[*index];
            images.push(shelves.iter().find_map(|shelf| {
                let found = shelf.image(kernel, source, Form::Ptx, &mut Vec::new());
                // Machine code beside it may be another architecture's.
                let ptx = |image| Image {
                    cubin: None,
                    ..image
                };
                found.ok().flatten().map(ptx)
            })?);
        }
        if target.form == Form::Cubin {
            warnings.push(format!(
                "no compiler: {} kernels are loaded as PTX, which the driver translates at every start",
                images.len()
            ));
        }
        Some(images)
    }
}
