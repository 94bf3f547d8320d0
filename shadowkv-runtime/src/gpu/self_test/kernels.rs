//! Loading and launching.

use super::super::{Gpu, GpuError, GpuMemory as _, HostMemory as _, Image, Priority};
use super::{Trouble, Verdict, pattern, same, wrong};
use crate::manifest::{LaunchDims, Sizes};
use crate::package::{self, Form, Images, Package};

/// Tokens to embed.
const TOKENS: [i32; 7] = [0, 3, 1, 1, 63, 40, 7];
/// Rows of the table that are written; the kernel is only asked for these.
const ROWS: u64 = 64;

/// The kernels of a package, compiled.
pub(super) struct Kernels<'a> {
    pub(super) package: &'a Package,
    pub(super) images: &'a Images,
}

/// `embed`, ready to be launched.
pub(super) struct Embed<G: Gpu> {
    kernel: G::Kernel,
    dims: LaunchDims,
    tokens: G::Memory,
    table: G::Memory,
    output: G::Memory,
    /// Bytes of a row.
    row: usize,
    rows: Vec<u8>,
}

fn image(image: &package::Image) -> Result<Image<'_>, Trouble> {
    match (&image.cubin, &image.ptx) {
        (Some(cubin), _) => Ok(Image::Cubin(cubin)),
        (None, Some(ptx)) => Ok(Image::Ptx(ptx)),
        (None, None) => Err(wrong(format!("no image of `{}`", image.kernel))),
    }
}

impl Kernels<'_> {
    fn image(&self, kernel: &str) -> Result<&package::Image, Trouble> {
        let found = self.images.get(kernel);
        found.ok_or_else(|| wrong(format!("no image of `{kernel}`")))
    }

    /// In the form that was asked for.
    fn module<G: Gpu>(&self, gpu: &G, kernel: &str) -> Result<G::Module, Trouble> {
        let found = self.image(kernel)?;
        let ptx = (self.images.target.form == Form::Ptx)
            .then_some(found.ptx.as_deref())
            .flatten();
        let image = match ptx {
            Some(ptx) => Image::Ptx(ptx),
            None => image(found)?,
        };
        Ok(gpu.load(kernel, image)?)
    }

    /// Every kernel, with the shared memory it wants.
    pub(super) fn load_all<G: Gpu>(&self, gpu: &G) -> Verdict {
        let mut most = 0;
        for kernel in &self.package.manifest().kernels {
            let module = self.module(gpu, &kernel.name)?;
            let shared_bytes = kernel.geometry.shared_bytes;
            gpu.kernel(&module, &kernel.entry, shared_bytes)?;
            most = most.max(shared_bytes);
        }
        let count = self.package.manifest().kernels.len();
        Ok(format!(
            "{count} kernels, up to {most} bytes of shared memory"
        ))
    }

    pub(super) fn prepare<G: Gpu>(&self, gpu: &G, stream: &G::Stream) -> Result<Embed<G>, Trouble> {
        let manifest = self.package.manifest();
        let embed = manifest
            .kernel("embed")
            .map_err(|error| wrong(error.to_string()))?;
        let hidden = embed.constants.get("HIDDEN").copied().unwrap_or(0);
        let row = usize::try_from(hidden).unwrap_or(0) * 2;
        let sizes = Sizes::new().with("query_rows", TOKENS.len() as u64);
        let dims = embed.geometry.evaluate(&sizes);
        let dims = dims.map_err(|error| wrong(error.to_string()))?;
        let dims = dims.ok_or_else(|| wrong("an empty grid"))?;
        let module = self.module(gpu, "embed")?;
        let kernel = gpu.kernel(&module, &embed.entry, dims.shared_bytes)?;
        let rows = pattern(6, ROWS as usize * row);
        let table = gpu.allocate("table", rows.len() as u64)?;
        let tokens = gpu.allocate("tokens", size_of_val(&TOKENS) as u64)?;
        let output = gpu.allocate("output", (TOKENS.len() * row) as u64)?;
        gpu.write(stream, &rows, table.whole())?;
        gpu.write(stream, bytemuck::cast_slice(&TOKENS), tokens.whole())?;
        Ok(Embed {
            kernel,
            dims,
            tokens,
            table,
            output,
            row,
            rows,
        })
    }

    pub(super) fn embed<G: Gpu>(&self, gpu: &G) -> Verdict {
        let stream = gpu.stream("self test", Priority::Normal)?;
        let embed = self.prepare(gpu, &stream)?;
        embed.clear(gpu, &stream)?;
        embed.launch(gpu, &stream)?;
        embed.check(gpu, &stream)?;
        Ok(String::new())
    }

    /// A kernel writes to mapped host memory, and another reads there.
    pub(super) fn embed_to_host<G: Gpu>(&self, gpu: &G) -> Verdict {
        let stream = gpu.stream("self test", Priority::Normal)?;
        let embed = self.prepare(gpu, &stream)?;
        let expected = embed.expected();
        let host = gpu.allocate_host("output", expected.len() as u64)?;
        let table = gpu.allocate_host("table", embed.rows.len() as u64)?;
        table.set(0, &embed.rows)?;
        embed.launch_at(gpu, &stream, table.address(), host.address())?;
        gpu.synchronise(&stream)?;
        let mut back = vec![0; expected.len()];
        host.get(0, &mut back)?;
        same("rows read and written in host memory", &back, &expected)?;
        Ok(String::new())
    }

    pub(super) fn refused<G: Gpu>(&self, gpu: &G) -> Verdict {
        let stream = gpu.stream("self test", Priority::Normal)?;
        let rubbish = gpu.load("rubbish", Image::Ptx("this is no PTX"));
        if !matches!(rubbish, Err(GpuError::Load { .. })) {
            return Err(wrong(format!("rubbish loaded: {rubbish:?}")));
        }
        let rubbish = gpu.load("rubbish", Image::Cubin(b"\x7fELF and nothing else"));
        if !matches!(rubbish, Err(GpuError::Load { .. })) {
            return Err(wrong(format!("a broken cubin loaded: {rubbish:?}")));
        }
        let module = self.module(gpu, "embed")?;
        let unknown = gpu.kernel(&module, "no_such_kernel", 0);
        if !matches!(unknown, Err(GpuError::UnknownKernel { .. })) {
            return Err(wrong(format!("an unknown kernel: {unknown:?}")));
        }
        let entry = &self.image("embed")?.entry;
        let greedy = gpu.kernel(&module, entry, 1 << 20);
        if !matches!(greedy, Err(GpuError::Launch { .. })) {
            return Err(wrong(format!("a mebibyte of shared memory: {greedy:?}")));
        }
        let embed = self.prepare(gpu, &stream)?;
        let dims = LaunchDims {
            threads: 2048,
            ..embed.dims
        };
        // SAFETY: a launch of so many threads never begins.
        let crowd = unsafe { gpu.launch(&stream, &embed.kernel, dims, &[0; 24]) };
        if !matches!(crowd, Err(GpuError::Launch { .. })) {
            return Err(wrong(format!("a block of 2048 threads: {crowd:?}")));
        }
        embed.clear(gpu, &stream)?;
        embed.launch(gpu, &stream)?;
        embed.check(gpu, &stream)?;
        Ok("and it goes on".to_owned())
    }
}

impl<G: Gpu> Embed<G> {
    pub(super) fn clear(&self, gpu: &G, stream: &G::Stream) -> Result<(), GpuError> {
        gpu.fill(stream, self.output.whole(), 0xee)
    }

    pub(super) fn launch(&self, gpu: &G, stream: &G::Stream) -> Result<(), GpuError> {
        self.launch_at(gpu, stream, self.table.address(), self.output.address())
    }

    fn launch_at(
        &self,
        gpu: &G,
        stream: &G::Stream,
        table: u64,
        output: u64,
    ) -> Result<(), GpuError> {
        let parameters = [self.tokens.address(), table, output];
        let bytes = bytemuck::cast_slice(&parameters);
        // SAFETY: the three addresses that the manifest documents, and tokens that are rows of the table; whoever asks for the
        // launch waits for it before the memory goes.
        unsafe { gpu.launch(stream, &self.kernel, self.dims, bytes) }
    }

    fn expected(&self) -> Vec<u8> {
        let row = |token: &i32| {
            let from = token.unsigned_abs() as usize * self.row;
            self.rows[from..from + self.row].iter().copied()
        };
        TOKENS.iter().flat_map(row).collect()
    }

    pub(super) fn check(&self, gpu: &G, stream: &G::Stream) -> Result<(), Trouble> {
        let expected = self.expected();
        let mut back = vec![0; expected.len()];
        gpu.read(stream, self.output.whole(), &mut back)?;
        same("rows of the table", &back, &expected)
    }
}
