//! The manifest of a kernel package: everything a runtime needs to load and launch it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

mod expr;
mod file;
mod geometry;

pub use expr::{EvalError, Expr, ExprError, Sizes};
pub use file::ManifestError;
pub use geometry::{GeometryError, LaunchDims};

/// Version of the manifest's own format; a reader refuses any other.
pub const MANIFEST_SCHEMA: u32 = 1;

/// `manifest.json` of a kernel package.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`MANIFEST_SCHEMA`].
    pub schema: u32,
    /// Name of the package (the spec's name).
    pub package: String,
    /// Program and version that wrote it.
    pub generator: String,
    /// SHA-256 of the resolved spec in canonical JSON, lower-case hex.
    pub spec_sha256: String,
    /// The resolved spec itself.
    pub spec: serde_json::Value,
    /// Values burnt into every kernel, by their name in the CUDA source.
    pub constants: BTreeMap<String, i64>,
    /// Runtime sizes that geometry and shapes may name, with their meaning and unit.
    pub sizes: BTreeMap<String, String>,
    /// Headers that the kernels' sources include, in the order of inclusion.
    pub headers: Vec<Header>,
    /// The kernels, in the order in which a decoder first needs them.
    pub kernels: Vec<Kernel>,
}

/// A header of the package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// File name, relative to the manifest and as it is included.
    pub file: String,
    /// SHA-256 of that file, lower-case hex.
    pub sha256: String,
}

/// One kernel of a package.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kernel {
    /// Short name, the same on every side: template, source, launcher, oracle, test, bench.
    pub name: String,
    /// Symbol of the entry point; tells dtype, head dim, group, rank, chunk and `RoPE` layout.
    pub entry: String,
    /// One line on what it does.
    pub summary: String,
    /// Source file, relative to the manifest.
    pub source: String,
    /// SHA-256 of that file, lower-case hex.
    pub source_sha256: String,
    /// Tile sizes and other constants of this kernel, by their name in the CUDA source.
    pub constants: BTreeMap<String, i64>,
    /// Parameters in order.
    pub arguments: Vec<Argument>,
    /// Launch geometry.
    pub geometry: Geometry,
    /// The least work any implementation must do.
    pub work: Work,
}

impl Kernel {
    /// The parameter called `name`.
    pub fn argument(&self, name: &str) -> Option<&Argument> {
        self.arguments.iter().find(|argument| argument.name == name)
    }

    /// Bytes of the struct that its parameters are passed in.
    pub fn argument_bytes(&self) -> u64 {
        argument_bytes(&self.arguments)
    }
}

/// Size in bytes of the C struct of `arguments`: members at their natural alignment, in order.
pub fn argument_bytes(arguments: &[Argument]) -> u64 {
    let (mut offset, mut largest) = (0_u64, 1);
    for argument in arguments {
        let size = match argument.memory {
            Some(_) => 8,
            None => argument.dtype.bytes(),
        };
        offset = offset.next_multiple_of(size) + size;
        largest = largest.max(size);
    }
    offset.next_multiple_of(largest)
}

/// One kernel parameter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Argument {
    /// Parameter name.
    pub name: String,
    /// Element type.
    pub dtype: Dtype,
    /// Scalar by value, or a pointer and how it is used.
    pub access: Access,
    /// Where a pointer points; absent for scalars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryKind>,
    /// Shape of what a pointer points to, outermost first; empty for scalars.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shape: Vec<Expr>,
    /// Meaning and unit.
    pub doc: String,
}

impl Argument {
    /// Bytes of what a pointer points to in a launch of these sizes, `u64::MAX` for more; those of a scalar itself.
    ///
    /// # Errors
    /// A size that its shape names and `sizes` has not.
    pub fn bytes(&self, sizes: &Sizes) -> Result<u64, EvalError> {
        self.shape
            .iter()
            .try_fold(self.dtype.bytes(), |bytes, extent| {
                Ok(bytes.saturating_mul(extent.eval(sizes)?))
            })
    }
}

/// Element type of an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dtype {
    /// bfloat16.
    Bf16,
    /// IEEE single.
    F32,
    /// Signed 32-bit integer.
    I32,
    /// Unsigned 32-bit integer.
    U32,
    /// Signed 64-bit integer.
    I64,
}

impl Dtype {
    /// Size of one element in bytes.
    pub fn bytes(self) -> u64 {
        match self {
            Dtype::Bf16 => 2,
            Dtype::F32 | Dtype::I32 | Dtype::U32 => 4,
            Dtype::I64 => 8,
        }
    }
}

/// How a kernel uses an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Passed by value.
    Scalar,
    /// Pointer, read only.
    Read,
    /// Pointer, written only.
    Write,
    /// Pointer, read and written.
    ReadWrite,
}

/// Where a pointer argument points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemoryKind {
    /// Memory of the GPU.
    Device,
    /// Pinned host memory, mapped into the GPU's address space.
    MappedHost,
}

/// Launch geometry; every expression is over the manifest's `sizes`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Geometry {
    /// Blocks in x, y, z.
    pub grid: [Expr; 3],
    /// Threads of a block (x; y and z are 1).
    pub threads: u32,
    /// Dynamic shared memory, bytes. More than 48 KiB must be asked for first (`cuFuncSetAttribute`).
    pub shared_bytes: u32,
}

/// The least bytes and operations of one launch, as expressions over the manifest's `sizes`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Work {
    /// Bytes that must be read from device memory.
    pub read_bytes: Expr,
    /// Bytes that must be written to device memory.
    pub written_bytes: Expr,
    /// Bytes that must be read from mapped host memory, over `PCIe`.
    pub host_read_bytes: Expr,
    /// Bytes that must be written to mapped host memory, over `PCIe`.
    pub host_written_bytes: Expr,
    /// Floating-point operations of the products (a multiply-add is two).
    pub flops: Expr,
}
