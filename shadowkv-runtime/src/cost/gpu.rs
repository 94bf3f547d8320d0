//! What the model knows of GPUs: data with sources, in `gpus.yaml`.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use crate::nvrtc::Arch;

const DATA: &str = include_str!("gpus.yaml");

/// A GPU's figures. Units: bytes, hertz, seconds, bytes per second, floating-point operations per second.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GpuFacts {
    /// Name, such as `a100-80`.
    pub name: String,
    /// Architecture its code is compiled for.
    pub arch: Arch,
    /// Device memory, bytes.
    pub memory_bytes: u64,
    /// Streaming multiprocessors.
    pub sm_count: u32,
    /// Clock of the multiprocessors, hertz.
    pub clock: f64,
    /// L2 cache, bytes.
    pub l2_bytes: u64,
    /// Device memory while as much is written as read, both counted, bytes/s.
    pub copy_bandwidth: f64,
    /// Device memory that is only read, bytes/s.
    pub read_bandwidth: f64,
    /// L2 to the multiprocessors, bytes/s.
    pub l2_bandwidth: f64,
    /// Dense bf16 products of a library, operations/s.
    pub tensor_rate: f64,
    /// Dense bf16 products by `mma.sync`, operations/s.
    pub mma_rate: f64,
    /// Pinned host memory by the copy engine, bytes/s.
    pub host_copy_bandwidth: f64,
    /// Pinned host memory read or written by a kernel in rows of 2 KiB, bytes/s.
    pub host_read_bandwidth: f64,
    /// A kernel that reads one row of host memory, seconds.
    pub host_latency: f64,
    /// A trip to device memory under load, seconds.
    pub memory_latency: f64,
    /// A kernel of one wave that does next to nothing, seconds.
    pub kernel_floor: f64,
    /// From one launch into a stream to the next: what the host can enqueue, seconds.
    pub launch_gap: f64,
    /// Where each figure comes from, by its name.
    pub sources: BTreeMap<&'static str, String>,
}

/// Why there are no facts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GpuFactsError {
    /// No such GPU.
    #[error("no GPU `{name}`: {} are known", known.join(", "))]
    Unknown {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// The built-in data cannot be read.
    #[error("the built-in descriptions of GPUs cannot be read: {0}")]
    Data(String),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Figure<T> {
    value: T,
    source: String,
}

macro_rules! written {
    ($($field:ident: $type:ty),+ $(,)?) => {
        /// As the data have it.
        #[derive(Clone, Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Written {
            name: String,
            arch: Arch,
            $($field: Figure<$type>,)+
        }

        impl From<Written> for GpuFacts {
            fn from(written: Written) -> GpuFacts {
                GpuFacts {
                    name: written.name,
                    arch: written.arch,
                    $($field: written.$field.value,)+
                    sources: BTreeMap::from([$((stringify!($field), written.$field.source)),+]),
                }
            }
        }
    };
}

written! {
    memory_bytes: u64,
    sm_count: u32,
    clock: f64,
    l2_bytes: u64,
    copy_bandwidth: f64,
    read_bandwidth: f64,
    l2_bandwidth: f64,
    tensor_rate: f64,
    mma_rate: f64,
    host_copy_bandwidth: f64,
    host_read_bandwidth: f64,
    host_latency: f64,
    memory_latency: f64,
    kernel_floor: f64,
    launch_gap: f64,
}

/// All GPUs that are known.
///
/// # Errors
///
/// [`GpuFactsError::Data`], which the built-in data do not give.
pub fn gpus() -> Result<&'static [GpuFacts], GpuFactsError> {
    static ALL: OnceLock<Result<Vec<GpuFacts>, GpuFactsError>> = OnceLock::new();
    let read = || {
        let written: Vec<Written> =
            serde_yaml::from_str(DATA).map_err(|error| GpuFactsError::Data(error.to_string()))?;
        Ok(written.into_iter().map(GpuFacts::from).collect())
    };
    ALL.get_or_init(read)
        .as_deref()
        .map_err(GpuFactsError::clone)
}

/// The GPU called `name`, in any case.
///
/// # Errors
///
/// [`GpuFactsError::Unknown`], with the names there are.
pub fn gpu(name: &str) -> Result<&'static GpuFacts, GpuFactsError> {
    let all = gpus()?;
    let found = all.iter().find(|gpu| gpu.name.eq_ignore_ascii_case(name));
    found.ok_or_else(|| GpuFactsError::Unknown {
        name: name.to_owned(),
        known: all.iter().map(|gpu| gpu.name.clone()).collect(),
    })
}

/// The GPU that stands for an architecture where only that is known: `a100-80` or `h100`.
///
/// # Errors
///
/// [`GpuFactsError::Unknown`] for an architecture that none has.
pub fn gpu_of(arch: Arch) -> Result<&'static GpuFacts, GpuFactsError> {
    let all = gpus()?;
    let preferred = match arch {
        Arch::Sm90 => "h100",
        _ => "a100-80",
    };
    let found = all
        .iter()
        .find(|gpu| gpu.arch == arch && gpu.name == preferred);
    found.ok_or_else(|| GpuFactsError::Unknown {
        name: arch.name().to_owned(),
        known: all.iter().map(|gpu| gpu.arch.name().to_owned()).collect(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

    use super::*;

    #[test]
    fn every_figure_is_positive_and_has_a_source() {
        let all = gpus().unwrap();
        assert_eq!(all.len(), 4);
        for gpu in all {
            let own = serde_json::to_value(gpu).unwrap();
            for (figure, source) in &gpu.sources {
                assert!(
                    own[figure].as_f64().unwrap() > 0.0,
                    "{}: {figure}",
                    gpu.name
                );
                assert!(source.len() > 8, "{}: {figure}: `{source}`", gpu.name);
            }
            // All but the name, the architecture and the sources themselves.
            assert_eq!(own.as_object().unwrap().len(), gpu.sources.len() + 3);
            assert!(gpu.copy_bandwidth < gpu.read_bandwidth);
            assert!(gpu.host_read_bandwidth < gpu.host_copy_bandwidth);
        }
    }

    #[test]
    fn names() {
        assert_eq!(gpu("A100-80").unwrap().sm_count, 108);
        assert_eq!(gpu_of(Arch::Sm90).unwrap().name, "h100");
        assert!(gpu_of(Arch::Sm120).is_err());
        assert_eq!(
            gpu("b300").unwrap_err().to_string(),
            "no GPU `b300`: a100-40, a100-80, h100, h200 are known"
        );
    }
}
