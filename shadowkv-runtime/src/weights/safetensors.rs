//! The safetensors format: one file, or shards with an index.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use memmap2::Mmap;
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde::Deserialize;

use super::{Naming, Tensor, WeightSource, WeightType, WeightsError, map};

/// Name of the one file of a folder.
const SINGLE: &str = "model.safetensors";
/// Name of a folder's index of shards.
const INDEX: &str = "model.safetensors.index.json";
/// The length of the header comes first.
const LENGTH_BYTES: usize = 8;
/// Largest header; the format's own limit.
const HEADER_BYTES_MAX: usize = 100_000_000;

/// Weights in safetensors files.
#[derive(Debug)]
pub struct Safetensors {
    path: PathBuf,
    files: Vec<Shard>,
    /// Which file holds a tensor.
    places: BTreeMap<String, usize>,
}

#[derive(Debug)]
struct Shard {
    path: PathBuf,
    map: Arc<Mmap>,
    metadata: Metadata,
    /// Byte of the file at which the tensors begin.
    data_begin: usize,
}

/// `model.safetensors.index.json`; what else it holds is of no use.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Safetensors {
    /// Opens a `.safetensors` file, an index (`*.json`) with its shards, or a folder that holds either.
    ///
    /// # Errors
    ///
    /// Whatever is missing, unreadable or damaged, by name.
    pub fn open(path: impl AsRef<Path>) -> Result<Safetensors, WeightsError> {
        let path = path.as_ref();
        if path.is_dir() {
            return Safetensors::open_folder(path);
        }
        if path.extension().is_some_and(|end| end == "json") {
            return Safetensors::open_index(path);
        }
        let shard = Shard::open(path)?;
        let places = shard.names().map(|name| (name, 0)).collect();
        Ok(Safetensors {
            path: path.to_owned(),
            files: vec![shard],
            places,
        })
    }

    fn open_folder(folder: &Path) -> Result<Safetensors, WeightsError> {
        let found = [SINGLE, INDEX]
            .map(|name| folder.join(name))
            .into_iter()
            .find(|path| path.exists());
        let found = found.ok_or_else(|| WeightsError::NoWeights {
            folder: folder.to_owned(),
            wanted: vec![SINGLE, INDEX],
        })?;
        Safetensors::open(found)
    }

    fn open_index(path: &Path) -> Result<Safetensors, WeightsError> {
        let invalid = |reason: String| WeightsError::Header {
            path: path.to_owned(),
            format: "safetensors index",
            reason,
        };
        let text = std::fs::read(path).map_err(|source| WeightsError::Read {
            path: path.to_owned(),
            source,
        })?;
        let index: Index =
            serde_json::from_slice(&text).map_err(|error| invalid(error.to_string()))?;
        let names: BTreeSet<&String> = index.weight_map.values().collect();
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut files = Vec::new();
        for name in &names {
            if !is_inside(name) {
                return Err(invalid(format!("shard `{name}` is no file beside it")));
            }
            files.push(Shard::open(&folder.join(name))?);
        }
        let numbers: BTreeMap<&String, usize> = names
            .iter()
            .enumerate()
            .map(|(number, name)| (*name, number))
            .collect();
        let mut places = BTreeMap::new();
        for (tensor, file) in &index.weight_map {
            let number = numbers[file];
            if files[number].metadata.info(tensor).is_none() {
                return Err(WeightsError::Missing {
                    path: files[number].path.clone(),
                    tensor: tensor.clone(),
                });
            }
            places.insert(tensor.clone(), number);
        }
        Ok(Safetensors {
            path: path.to_owned(),
            files,
            places,
        })
    }

    /// The files, an index not among them.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|file| file.path.as_path())
    }
}

/// Whether a name stays in the folder it is joined to.
fn is_inside(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    !name.is_empty() && parts.all(|part| matches!(part, Component::Normal(_)))
}

impl WeightSource for Safetensors {
    fn path(&self) -> &Path {
        &self.path
    }

    fn naming(&self) -> Naming {
        Naming::Published
    }

    fn names(&self) -> Vec<&str> {
        self.places.keys().map(String::as_str).collect()
    }

    fn tensor(&self, name: &str) -> Result<Tensor, WeightsError> {
        let file = self
            .places
            .get(name)
            .and_then(|number| self.files.get(*number));
        let found = file.and_then(|file| Some((file, file.metadata.info(name)?)));
        let (file, info) = found.ok_or_else(|| WeightsError::Missing {
            path: self.path.clone(),
            tensor: name.to_owned(),
        })?;
        file.tensor(name, info)
    }
}

impl Shard {
    fn open(path: &Path) -> Result<Shard, WeightsError> {
        let map = map::map(path)?;
        let invalid = |reason: String| WeightsError::Header {
            path: path.to_owned(),
            format: "safetensors",
            reason,
        };
        let length = map
            .get(..LENGTH_BYTES)
            .and_then(|bytes| bytes.try_into().ok());
        let length = u64::from_le_bytes(
            length.ok_or_else(|| invalid("it has not even 8 bytes".to_owned()))?,
        );
        let length = usize::try_from(length)
            .ok()
            .filter(|length| *length <= HEADER_BYTES_MAX);
        let length =
            length.ok_or_else(|| invalid("its header would be larger than 100 MB".to_owned()))?;
        let data_begin = LENGTH_BYTES + length;
        let header = map.get(LENGTH_BYTES..data_begin).ok_or_else(|| {
            invalid(format!(
                "its header has {length} bytes, the whole file {}",
                map.len()
            ))
        })?;
        // The crate checks that tensors follow each other without gaps and are as long as their shapes say.
        let metadata: Metadata =
            serde_json::from_slice(header).map_err(|error| invalid(error.to_string()))?;
        let shard = Shard {
            path: path.to_owned(),
            map,
            metadata,
            data_begin,
        };
        shard.check_length()?;
        Ok(shard)
    }

    fn names(&self) -> impl Iterator<Item = String> {
        self.metadata.offset_keys().into_iter()
    }

    /// The tensors end where the file does.
    fn check_length(&self) -> Result<(), WeightsError> {
        let found = self.map.len() - self.data_begin;
        let end_of = |name: &str| {
            self.metadata
                .info(name)
                .map_or(0, |info| info.data_offsets.1)
        };
        if let Some(tensor) = self.names().find(|name| end_of(name) > found) {
            return Err(WeightsError::Truncated {
                path: self.path.clone(),
                needed: (self.data_begin as u64).saturating_add(end_of(&tensor) as u64),
                found: self.map.len() as u64,
                tensor,
            });
        }
        let spare = found - self.metadata.data_len();
        if spare > 0 {
            return Err(WeightsError::Header {
                path: self.path.clone(),
                format: "safetensors",
                reason: format!("{spare} bytes follow its last tensor"),
            });
        }
        Ok(())
    }

    fn tensor(&self, name: &str, info: &TensorInfo) -> Result<Tensor, WeightsError> {
        let dtype = match info.dtype {
            Dtype::F32 => WeightType::F32,
            Dtype::F16 => WeightType::F16,
            Dtype::BF16 => WeightType::Bf16,
            other => {
                return Err(WeightsError::Type {
                    path: self.path.clone(),
                    tensor: name.to_owned(),
                    found: other.to_string(),
                    allowed: "F32, F16 and BF16",
                });
            }
        };
        // Checked when the file was opened, all of it.
        let (begin, end) = info.data_offsets;
        Ok(Tensor {
            name: name.to_owned(),
            dtype,
            shape: info.shape.clone(),
            data: map::bytes(&self.map, self.data_begin + begin, self.data_begin + end),
            row_order: None,
        })
    }
}
