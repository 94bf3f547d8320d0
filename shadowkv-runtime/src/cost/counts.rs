//! What a launch of a package's kernel moves and executes, without running it: the manifest's least work at the sizes of the launch,
//! and `kernels.yaml` for what the manifest does not tell.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde::Deserialize;

use super::{GpuFacts, KernelCounts};
use crate::manifest::{EvalError, Expr, GeometryError, Manifest, ManifestError, Sizes};

const DATA: &str = include_str!("kernels.yaml");

/// Why a launch cannot be counted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CountError {
    /// The package lacks the kernel.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The launch has no geometry at these sizes.
    #[error("`{kernel}`: {source}")]
    Geometry {
        /// Short name of the kernel.
        kernel: String,
        /// Why not.
        source: GeometryError,
    },
    /// An expression has no value at these sizes.
    #[error("`{kernel}`: {source}")]
    Eval {
        /// Short name of the kernel.
        kernel: String,
        /// Why not.
        source: EvalError,
    },
    /// Nothing was counted of that kernel.
    #[error("the cost model knows nothing of `{kernel}`: it has the kernels of a decode step")]
    NotCounted {
        /// Short name of the kernel.
        kernel: String,
    },
    /// The built-in data cannot be read.
    #[error("the built-in counts of kernels cannot be read: {0}")]
    Data(String),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Counted {
    kernel: String,
    registers: u32,
    instructions: Expr,
    wavefronts: Option<Expr>,
    l2_bytes: Expr,
    trips: u32,
    in_flight: u32,
}

fn counted() -> Result<&'static BTreeMap<String, Counted>, CountError> {
    static ALL: OnceLock<Result<BTreeMap<String, Counted>, String>> = OnceLock::new();
    let read = || {
        let all: Vec<Counted> = serde_yaml::from_str(DATA).map_err(|error| error.to_string())?;
        Ok(all
            .into_iter()
            .map(|own| (own.kernel.clone(), own))
            .collect())
    };
    ALL.get_or_init(read)
        .as_ref()
        .map_err(|error| CountError::Data(error.clone()))
}

/// Counts of a launch of the kernel called `name` with `sizes` on `gpu`; `None` where there is nothing to launch. `sizes` are all that
/// the manifest's expressions for the kernel name, but for `sm_count`.
///
/// # Errors
///
/// [`CountError`].
pub fn kernel_counts(
    gpu: &GpuFacts,
    manifest: &Manifest,
    name: &str,
    sizes: &Sizes,
) -> Result<Option<KernelCounts>, CountError> {
    let kernel = manifest.kernel(name)?;
    let own = counted()?.get(name).ok_or_else(|| CountError::NotCounted {
        kernel: name.to_owned(),
    })?;
    let mut sizes = sizes.clone().with("sm_count", u64::from(gpu.sm_count));
    let dims = kernel
        .geometry
        .evaluate(&sizes)
        .map_err(|source| CountError::Geometry {
            kernel: name.to_owned(),
            source,
        })?;
    let Some(dims) = dims else {
        return Ok(None);
    };
    let value = |expr: &Expr, sizes: &Sizes| {
        expr.eval(sizes).map_err(|source| CountError::Eval {
            kernel: name.to_owned(),
            source,
        })
    };
    let work = &kernel.work;
    let read = value(&work.read_bytes, &sizes)?;
    let written = value(&work.written_bytes, &sizes)?;
    let flops = value(&work.flops, &sizes)?;
    let (host_read, host_written) = (
        value(&work.host_read_bytes, &sizes)?,
        value(&work.host_written_bytes, &sizes)?,
    );
    for (constant, value) in &manifest.constants {
        let value = u64::try_from(*value).unwrap_or(0);
        sizes.set(constant.to_ascii_lowercase(), value);
    }
    sizes.set("blocks", dims.blocks());
    sizes.set("read_bytes", read);
    sizes.set("written_bytes", written);
    sizes.set("flops", flops);
    let wavefronts = own.wavefronts.as_ref();
    let occupancy = gpu
        .arch
        .occupancy(own.registers, dims.threads, dims.shared_bytes);
    Ok(Some(KernelCounts {
        blocks: dims.blocks(),
        threads: dims.threads,
        blocks_per_sm: occupancy.blocks_per_sm,
        device_read_bytes: read,
        device_written_bytes: written,
        l2_sectors: value(&own.l2_bytes, &sizes)?.div_ceil(32),
        host_read_bytes: host_read,
        host_written_bytes: host_written,
        shared_wavefronts: wavefronts.map_or(Ok(0), |expr| value(expr, &sizes))?,
        tensor_flops: flops,
        warp_instructions: value(&own.instructions, &sizes)?,
        barriers: 0,
        memory_trips: own.trips,
        bytes_in_flight: own.in_flight,
    }))
}
