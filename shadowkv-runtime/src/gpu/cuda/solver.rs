//! Symmetric eigenproblems with cuSOLVER; on the host where it is absent.

use std::ffi::c_int;
use std::path::PathBuf;
use std::sync::Mutex;

use half::bf16;

use super::context::{Context, lock};
use super::libraries::{Found, LibraryReport, Wanted};
use super::stream::CudaStream;
use super::table::{Handle, functions};
use super::{CudaGpu, eigen};
use crate::gpu::{EigenBasis, Gpu as _, GpuError, GpuMemory as _};

const LIBRARY: Wanted = Wanted {
    stem: "cusolver",
    versions: &[(12, 13), (11, 12)],
    packages: &["cu13", "cusolver"],
    remedy: "eigenproblems are solved on the host instead; install it, such as with `pip install nvidia-cusolver-cu12`, to solve them on the GPU",
};

/// Numbers of `cusolver_common.h` and `cublas_api.h`.
const WITH_VECTORS: c_int = 1;
const LOWER_HALF: c_int = 0;

functions! {
    Table {
        create = cusolverDnCreate(*mut Handle);
        destroy = cusolverDnDestroy(Handle);
        set_stream = cusolverDnSetStream(Handle, Handle);
        workspace = cusolverDnSsyevd_bufferSize(Handle, c_int, c_int, c_int, u64, c_int, u64, *mut c_int);
        solve = cusolverDnSsyevd(Handle, c_int, c_int, c_int, u64, c_int, u64, u64, c_int, u64);
    }
    optional {}
}

/// A loaded cuSOLVER.
pub(super) struct Solver {
    table: Table,
    path: PathBuf,
    handle: Handle,
    /// Its handle serves one stream at a time.
    busy: Mutex<()>,
}

impl Drop for Solver {
    fn drop(&mut self) {
        // SAFETY: our own handle, destroyed here and nowhere else.
        let _ = unsafe { (self.table.destroy)(self.handle) };
    }
}

fn solver(context: &Context) -> Result<&Solver, &str> {
    let loaded = context.solver.get_or_init(|| {
        let Found { library, path } = LIBRARY.load(context.driver_version)?;
        let table = Table::look_up(library)
            .map_err(|symbol| format!("`{}` has no function `{symbol}`", path.display()))?;
        let mut handle = Handle::NULL;
        // SAFETY: a pointer to a live handle; the context is current.
        let code = unsafe { (table.create)(&raw mut handle) };
        if code != 0 {
            return Err(format!(
                "`{}`: cusolverDnCreate returned {code}",
                path.display()
            ));
        }
        Ok(Solver {
            table,
            path,
            handle,
            busy: Mutex::new(()),
        })
    });
    loaded.as_ref().map_err(String::as_str)
}

pub(super) fn report(context: &Context) -> LibraryReport {
    let loaded = context
        .bind()
        .map_err(|error| error.to_string())
        .and_then(|()| solver(context).map_err(str::to_owned));
    LibraryReport {
        name: "cuSOLVER",
        purpose: "eigenproblems",
        found: loaded
            .as_ref()
            .ok()
            .map(|solver| solver.path.display().to_string()),
        error: loaded.err(),
    }
}

pub(super) fn eigen_basis(
    gpu: &CudaGpu,
    stream: &CudaStream,
    problem: &EigenBasis<'_, CudaGpu>,
) -> Result<(), GpuError> {
    gpu.context.bind()?;
    let (width, rank) = (problem.width as usize, problem.rank as usize);
    let mut gram = vec![0f32; width * width];
    gpu.read(stream, problem.gram, bytemuck::cast_slice_mut(&mut gram))?;
    // No solver is to be trusted to end with what is no number, and this costs a twentieth of what a solver does.
    if gram.iter().any(|element| !element.is_finite()) {
        return Err(eigen::failed(
            "the matrix holds something else than numbers",
        ));
    }
    let vectors = match solver(&gpu.context) {
        Ok(solver) => solver.leading(gpu, stream, problem)?,
        Err(_) => eigen::leading(&gram, width, rank)?,
    };
    // Eigenvectors are rows here, the last the largest; they become columns, the first the largest.
    let mut basis = vec![bf16::ZERO; width * rank];
    for (index, vector) in vectors.chunks_exact(width).rev().enumerate() {
        let sign = eigen::sign(vector);
        for (row, element) in basis.chunks_exact_mut(rank).zip(vector) {
            row[index] = bf16::from_f32(sign * element);
        }
    }
    gpu.write(stream, bytemuck::cast_slice(&basis), problem.basis)
}

impl Solver {
    /// The `rank` leading eigenvectors, `[rank, width]`, the largest last.
    fn leading(
        &self,
        gpu: &CudaGpu,
        stream: &CudaStream,
        problem: &EigenBasis<'_, CudaGpu>,
    ) -> Result<Vec<f32>, GpuError> {
        let (width, rank) = (problem.width, problem.rank);
        let order = c_int::try_from(width).map_err(|_| GpuError::Invalid {
            operation: "eigen_basis".to_owned(),
            message: format!("a matrix of {width} rows is beyond what cuSOLVER counts"),
        })?;
        let _busy = lock(&self.busy);
        let matrix = problem.gram.address();
        let values = gpu.allocate("eigenvalues", width * 4)?;
        // SAFETY: a live handle and a live stream.
        check("cusolverDnSetStream", unsafe {
            (self.table.set_stream)(self.handle, stream.handle())
        })?;
        let mut elements = 0;
        // SAFETY: `[width, width]` f32 and room for as many values, a pointer to a live integer.
        check("cusolverDnSsyevd_bufferSize", unsafe {
            (self.table.workspace)(
                self.handle,
                WITH_VECTORS,
                LOWER_HALF,
                order,
                matrix,
                order,
                values.address(),
                &raw mut elements,
            )
        })?;
        let bytes = u64::from(elements.unsigned_abs()) * 4;
        let workspace = gpu.allocate("workspace of an eigenproblem", bytes)?;
        let outcome = gpu.allocate("outcome of an eigenproblem", 4)?;
        // SAFETY: as above, a workspace of the size asked for, and room for one integer.
        check("cusolverDnSsyevd", unsafe {
            (self.table.solve)(
                self.handle,
                WITH_VECTORS,
                LOWER_HALF,
                order,
                matrix,
                order,
                values.address(),
                workspace.address(),
                elements,
                outcome.address(),
            )
        })?;
        let mut info = [0u8; 4];
        gpu.read(stream, outcome.whole(), &mut info)?;
        // Eigenvectors lie where the matrix was, the smallest eigenvalue's first.
        let mut vectors = vec![0f32; (rank * width) as usize];
        let last = problem.gram.memory().part(
            problem.gram.offset() + (width - rank) * width * 4,
            rank * width * 4,
        )?;
        gpu.read(stream, last, bytemuck::cast_slice_mut(&mut vectors))?;
        for memory in [values, workspace, outcome] {
            gpu.free(stream, memory)?;
        }
        match c_int::from_ne_bytes(info) {
            0 => Ok(vectors),
            info => Err(eigen::failed(&format!(
                "cuSOLVER finds no eigenvectors (info {info})"
            ))),
        }
    }
}

fn check(call: &str, code: c_int) -> Result<(), GpuError> {
    if code == 0 {
        return Ok(());
    }
    let message = match code {
        1 => "CUSOLVER_STATUS_NOT_INITIALIZED",
        2 => "CUSOLVER_STATUS_ALLOC_FAILED",
        3 => "CUSOLVER_STATUS_INVALID_VALUE",
        4 => "CUSOLVER_STATUS_ARCH_MISMATCH",
        6 => "CUSOLVER_STATUS_EXECUTION_FAILED",
        7 => "CUSOLVER_STATUS_INTERNAL_ERROR",
        _ => "a code unknown to this program",
    };
    Err(GpuError::Driver {
        call: call.to_owned(),
        code,
        message: message.to_owned(),
    })
}
