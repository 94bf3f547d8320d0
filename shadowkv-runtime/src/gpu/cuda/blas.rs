//! Dense products with cuBLASLt. What its heuristic chose for a shape is kept, so that a product costs one call.

use std::collections::BTreeMap;
use std::ffi::{c_int, c_void};
use std::path::PathBuf;
use std::sync::Mutex;

use super::CudaGpu;
use super::context::{Context, lock};
use super::libraries::{Found, LibraryReport, Wanted};
use super::memory::CudaMemory;
use super::stream::CudaStream;
use super::table::{Handle, functions};
use crate::gpu::{GpuError, GpuMemory as _, Output, Product};

const LIBRARY: Wanted = Wanted {
    stem: "cublasLt",
    versions: &[(13, 13), (12, 12)],
    packages: &["cu13", "cublas"],
    remedy: "install it, such as with `pip install nvidia-cublas-cu12`, or set CUDA_HOME to a toolkit, or add its folder to LD_LIBRARY_PATH",
};

/// Plans kept before all are forgotten; a decoder needs some hundred.
const MOST_PLANS: usize = 4096;
/// Alignment beyond which no algorithm asks for more, bytes.
const MOST_ALIGNED: u64 = 256;

functions! {
    Table {
        create = cublasLtCreate(*mut Handle);
        destroy = cublasLtDestroy(Handle);
        operation_create = cublasLtMatmulDescCreate(*mut Handle, c_int, c_int);
        operation_set = cublasLtMatmulDescSetAttribute(Handle, c_int, *const c_void, usize);
        operation_destroy = cublasLtMatmulDescDestroy(Handle);
        layout_create = cublasLtMatrixLayoutCreate(*mut Handle, c_int, u64, u64, i64);
        layout_destroy = cublasLtMatrixLayoutDestroy(Handle);
        preference_create = cublasLtMatmulPreferenceCreate(*mut Handle);
        preference_set = cublasLtMatmulPreferenceSetAttribute(Handle, c_int, *const c_void, usize);
        preference_destroy = cublasLtMatmulPreferenceDestroy(Handle);
        heuristic = cublasLtMatmulAlgoGetHeuristic(
            Handle, Handle, Handle, Handle, Handle, Handle, Handle, c_int, *mut Choice, *mut c_int
        );
        matmul = cublasLtMatmul(
            Handle, Handle, *const c_void, u64, Handle, u64, Handle, *const c_void, u64, Handle, u64, Handle, *const Algorithm,
            u64, usize, Handle
        );
    }
    optional {}
}

/// Numbers of `cublasLt.h` and `library_types.h`.
mod number {
    use std::ffi::c_int;

    pub(super) const F32: c_int = 0;
    pub(super) const BF16: c_int = 14;
    pub(super) const COMPUTE_F32: c_int = 68;
    pub(super) const TRANSPOSE: c_int = 1;

    /// A result code.
    pub(super) const NOT_SUPPORTED: c_int = 15;

    /// Of an operation.
    pub(super) const TRANSPOSE_A: c_int = 3;
    pub(super) const EPILOGUE: c_int = 7;
    pub(super) const BIAS_POINTER: c_int = 8;
    pub(super) const BIAS_TYPE: c_int = 26;
    pub(super) const EPILOGUE_BIAS: c_int = 4;

    /// Of a preference.
    pub(super) const WORKSPACE_BYTES: c_int = 1;
    pub(super) const REDUCTIONS: c_int = 3;
    pub(super) const ALIGNMENT_A: c_int = 5;
    pub(super) const ALIGNMENT_B: c_int = 6;
    pub(super) const ALIGNMENT_C: c_int = 7;
    pub(super) const ALIGNMENT_D: c_int = 8;
    /// Parts of a sum meet in f32 alone: what is written is rounded once.
    pub(super) const REDUCTION_COMPUTE_TYPE: u32 = 2;
}

/// `cublasLtMatmulAlgo_t`.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(super) struct Algorithm {
    data: [u64; 8],
}

/// `cublasLtMatmulHeuristicResult_t`.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(super) struct Choice {
    algorithm: Algorithm,
    workspace_bytes: usize,
    state: c_int,
    waves: f32,
    reserved: [c_int; 4],
}

/// A loaded cuBLASLt, with what it has chosen.
pub(super) struct Blas {
    table: Table,
    path: PathBuf,
    handle: Handle,
    /// Also the lock of every call: a plan's bias is set before its call.
    plans: Mutex<BTreeMap<Shape, Plan>>,
}

/// What an algorithm is chosen for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Shape {
    rows: u64,
    inputs: u64,
    outputs: u64,
    f32_output: bool,
    bias: bool,
    /// Of weights, input, output and bias, bytes.
    aligned: [u32; 4],
}

struct Plan {
    table: Table,
    operation: Handle,
    weights: Handle,
    input: Handle,
    output: Handle,
    choice: Choice,
}

impl Drop for Plan {
    fn drop(&mut self) {
        // SAFETY (both calls): descriptions made by us and destroyed here and nowhere else.
        if self.operation != Handle::NULL {
            let _ = unsafe { (self.table.operation_destroy)(self.operation) };
        }
        for layout in [self.weights, self.input, self.output] {
            if layout != Handle::NULL {
                // SAFETY: as above.
                let _ = unsafe { (self.table.layout_destroy)(layout) };
            }
        }
    }
}

impl Drop for Blas {
    fn drop(&mut self) {
        lock(&self.plans).clear();
        // SAFETY: our own handle, destroyed here and nowhere else.
        let _ = unsafe { (self.table.destroy)(self.handle) };
    }
}

/// The library of that context, loaded when it is first needed.
fn blas(context: &Context) -> Result<&Blas, &str> {
    let loaded = context.blas.get_or_init(|| {
        let Found { library, path } = LIBRARY.load(context.driver_version)?;
        let table = Table::look_up(library)
            .map_err(|symbol| format!("`{}` has no function `{symbol}`", path.display()))?;
        let mut handle = Handle::NULL;
        // SAFETY: a pointer to a live handle; the context is current.
        let code = unsafe { (table.create)(&raw mut handle) };
        if code != 0 {
            let name = status(code);
            return Err(format!(
                "`{}`: cublasLtCreate returned {code} ({name})",
                path.display()
            ));
        }
        Ok(Blas {
            table,
            path,
            handle,
            plans: Mutex::new(BTreeMap::new()),
        })
    });
    loaded.as_ref().map_err(String::as_str)
}

pub(super) fn report(context: &Context) -> LibraryReport {
    let loaded = context
        .bind()
        .map_err(|error| error.to_string())
        .and_then(|()| blas(context).map_err(str::to_owned));
    LibraryReport {
        name: "cuBLASLt",
        purpose: "dense products",
        found: loaded
            .as_ref()
            .ok()
            .map(|blas| blas.path.display().to_string()),
        error: loaded.err(),
    }
}

pub(super) fn product(
    context: &std::sync::Arc<Context>,
    stream: &CudaStream,
    product: &Product<'_, CudaGpu>,
) -> Result<(), GpuError> {
    context.bind()?;
    if product.rows == 0 || product.outputs == 0 {
        return Ok(());
    }
    if product.inputs == 0 {
        return Err(GpuError::Invalid {
            operation: "product".to_owned(),
            message: "no inputs".to_owned(),
        });
    }
    let blas = blas(context).map_err(|reason| GpuError::Unsupported {
        device: format!("cuda:{}", context.ordinal),
        operation: format!("multiply matrices: {reason}"),
    })?;
    let workspace = workspace(context, stream)?;
    blas.run(context, stream, product, workspace)
}

/// What products on that stream may use: two streams must not share it.
fn workspace<'a>(
    context: &std::sync::Arc<Context>,
    stream: &'a CudaStream,
) -> Result<&'a CudaMemory, GpuError> {
    if let Some(workspace) = stream.workspace.get() {
        return Ok(workspace);
    }
    let memory = CudaMemory::new(context, "workspace of products", workspace_bytes(context))?;
    Ok(stream.workspace.get_or_init(|| memory))
}

/// As NVIDIA advises for each generation.
fn workspace_bytes(context: &Context) -> u64 {
    let hopper = context.properties.compute_capability.0 >= 9;
    if hopper { 32 << 20 } else { 8 << 20 }
}

impl Blas {
    fn run(
        &self,
        context: &Context,
        stream: &CudaStream,
        product: &Product<'_, CudaGpu>,
        workspace: &CudaMemory,
    ) -> Result<(), GpuError> {
        let bias = product.bias.map(|bias| bias.address());
        let parts = [product.weights, product.input, product.output];
        let [weights, input, output] = parts.map(|part| aligned(part.address()));
        let shape = Shape {
            rows: product.rows,
            inputs: product.inputs,
            outputs: product.outputs,
            f32_output: product.output_type == Output::F32,
            bias: bias.is_some(),
            aligned: [weights, input, output, aligned(bias.unwrap_or(0))],
        };
        let mut plans = lock(&self.plans);
        if !plans.contains_key(&shape) {
            if plans.len() >= MOST_PLANS {
                plans.clear();
            }
            plans.insert(shape, self.plan(context, shape, bias)?);
        }
        let Some(plan) = plans.get(&shape) else {
            return Ok(());
        };
        if let Some(bias) = bias {
            self.set(plan.operation, number::BIAS_POINTER, &bias)?;
        }
        let (one, zero) = (1.0f32, 0.0f32);
        let output = product.output.address();
        // SAFETY: parts that have the bytes of their shapes, descriptions of the same shapes, a workspace of the size that was
        // offered when the algorithm was chosen, live handles.
        check("cublasLtMatmul", unsafe {
            (self.table.matmul)(
                self.handle,
                plan.operation,
                (&raw const one).cast(),
                product.weights.address(),
                plan.weights,
                product.input.address(),
                plan.input,
                (&raw const zero).cast(),
                output,
                plan.output,
                output,
                plan.output,
                &raw const plan.choice.algorithm,
                workspace.address(),
                workspace.bytes() as usize,
                stream.handle(),
            )
        })
    }

    /// The library counts columns first: `output^T [outputs, rows] = (weights^T)^T [outputs, inputs] * input^T [inputs, rows]`.
    fn plan(&self, context: &Context, shape: Shape, bias: Option<u64>) -> Result<Plan, GpuError> {
        let mut plan = Plan {
            table: self.table,
            operation: Handle::NULL,
            weights: Handle::NULL,
            input: Handle::NULL,
            output: Handle::NULL,
            choice: Choice::default(),
        };
        let output_type = if shape.f32_output {
            number::F32
        } else {
            number::BF16
        };
        // SAFETY (all calls of this function): pointers to live handles and values of the types the attributes have.
        check("cublasLtMatmulDescCreate", unsafe {
            (self.table.operation_create)(&raw mut plan.operation, number::COMPUTE_F32, number::F32)
        })?;
        self.set(plan.operation, number::TRANSPOSE_A, &number::TRANSPOSE)?;
        if let Some(bias) = bias {
            self.set(plan.operation, number::EPILOGUE, &number::EPILOGUE_BIAS)?;
            // Some algorithms are only offered where it is known.
            self.set(plan.operation, number::BIAS_POINTER, &bias)?;
            if shape.f32_output {
                self.set(plan.operation, number::BIAS_TYPE, &number::BF16)?;
            }
        }
        let layout = |handle: &mut Handle, element, rows: u64, columns: u64| {
            // SAFETY: as above.
            check("cublasLtMatrixLayoutCreate", unsafe {
                (self.table.layout_create)(&raw mut *handle, element, rows, columns, rows as i64)
            })
        };
        layout(&mut plan.weights, number::BF16, shape.inputs, shape.outputs)?;
        layout(&mut plan.input, number::BF16, shape.inputs, shape.rows)?;
        layout(&mut plan.output, output_type, shape.outputs, shape.rows)?;
        plan.choice = self.choose(context, shape, &plan)?;
        Ok(plan)
    }

    fn choose(&self, context: &Context, shape: Shape, plan: &Plan) -> Result<Choice, GpuError> {
        let mut preference = Handle::NULL;
        // SAFETY: a pointer to a live handle.
        check("cublasLtMatmulPreferenceCreate", unsafe {
            (self.table.preference_create)(&raw mut preference)
        })?;
        let (mut choice, mut found) = (Choice::default(), 0);
        let chosen = self.prefer(context, shape, preference).and_then(|()| {
            // SAFETY: live descriptions, room for the one result asked for.
            let code = unsafe {
                (self.table.heuristic)(
                    self.handle,
                    plan.operation,
                    plan.weights,
                    plan.input,
                    plan.output,
                    plan.output,
                    preference,
                    1,
                    &raw mut choice,
                    &raw mut found,
                )
            };
            if code == number::NOT_SUPPORTED || (code == 0 && (found == 0 || choice.state != 0)) {
                return Err(GpuError::Unsupported {
                    device: format!("cuda:{}", context.ordinal),
                    operation: format!("multiply matrices of this kind with cuBLASLt: {shape:?}"),
                });
            }
            check("cublasLtMatmulAlgoGetHeuristic", code)
        });
        // SAFETY: made above and destroyed here and nowhere else.
        let _ = unsafe { (self.table.preference_destroy)(preference) };
        chosen.map(|()| choice)
    }

    fn prefer(&self, context: &Context, shape: Shape, preference: Handle) -> Result<(), GpuError> {
        let bytes = workspace_bytes(context) as usize;
        self.prefer_one(preference, number::WORKSPACE_BYTES, &bytes)?;
        self.prefer_one(
            preference,
            number::REDUCTIONS,
            &number::REDUCTION_COMPUTE_TYPE,
        )?;
        let [weights, input, output, _] = shape.aligned;
        for (attribute, aligned) in [
            (number::ALIGNMENT_A, weights),
            (number::ALIGNMENT_B, input),
            (number::ALIGNMENT_C, output),
            (number::ALIGNMENT_D, output),
        ] {
            self.prefer_one(preference, attribute, &aligned)?;
        }
        Ok(())
    }

    fn prefer_one<T>(
        &self,
        preference: Handle,
        attribute: c_int,
        value: &T,
    ) -> Result<(), GpuError> {
        // SAFETY: a live preference and a value of the attribute's type.
        check("cublasLtMatmulPreferenceSetAttribute", unsafe {
            (self.table.preference_set)(
                preference,
                attribute,
                std::ptr::from_ref(value).cast(),
                size_of::<T>(),
            )
        })
    }

    fn set<T>(&self, operation: Handle, attribute: c_int, value: &T) -> Result<(), GpuError> {
        // SAFETY: a live description and a value of the attribute's type.
        check("cublasLtMatmulDescSetAttribute", unsafe {
            (self.table.operation_set)(
                operation,
                attribute,
                std::ptr::from_ref(value).cast(),
                size_of::<T>(),
            )
        })
    }
}

/// The largest power of two that divides an address, as far as an algorithm may care.
fn aligned(address: u64) -> u32 {
    let lowest = address & address.wrapping_neg();
    if address == 0 {
        MOST_ALIGNED as u32
    } else {
        lowest.min(MOST_ALIGNED) as u32
    }
}

fn check(call: &str, code: c_int) -> Result<(), GpuError> {
    if code == 0 {
        return Ok(());
    }
    Err(GpuError::Driver {
        call: call.to_owned(),
        code,
        message: status(code).to_owned(),
    })
}

/// Name of a result code, as `cublas_api.h` has it.
fn status(code: c_int) -> &'static str {
    match code {
        1 => "CUBLAS_STATUS_NOT_INITIALIZED",
        3 => "CUBLAS_STATUS_ALLOC_FAILED",
        7 => "CUBLAS_STATUS_INVALID_VALUE",
        8 => "CUBLAS_STATUS_ARCH_MISMATCH",
        11 => "CUBLAS_STATUS_MAPPING_ERROR",
        13 => "CUBLAS_STATUS_EXECUTION_FAILED",
        14 => "CUBLAS_STATUS_INTERNAL_ERROR",
        15 => "CUBLAS_STATUS_NOT_SUPPORTED",
        _ => "a code unknown to this program",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alignment_of_addresses() {
        assert_eq!(aligned(0x7f00_0000_0000), 256);
        assert_eq!(aligned(0x7f00_0000_0010), 16);
        assert_eq!(aligned(0x7f00_0000_0002), 2);
        assert_eq!(aligned(0), 256);
    }

    #[test]
    fn structures_have_the_librarys_sizes() {
        assert_eq!(size_of::<Algorithm>(), 64);
        assert_eq!(size_of::<Choice>(), 64 + 8 + 4 + 4 + 16);
    }
}
