//! The GGUF format of llama.cpp, read by candle.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::Mmap;

use super::{Naming, Tensor, WeightSource, WeightType, WeightsError, map};

mod header;
mod metadata;
mod rows;

pub use metadata::Metadata;

/// Weights and metadata in a GGUF file. Quantised tensors stay as they are.
#[derive(Debug)]
pub struct Gguf {
    path: PathBuf,
    map: Arc<Mmap>,
    metadata: Metadata,
    tensors: BTreeMap<String, Place>,
}

/// A tensor whose bytes are known to be in the file.
#[derive(Debug)]
struct Place {
    dtype: WeightType,
    shape: Vec<usize>,
    begin: usize,
    end: usize,
}

impl Gguf {
    /// Opens the file at `path`.
    ///
    /// # Errors
    ///
    /// It cannot be read, it is damaged or truncated, or it holds a tensor of a type that is not read.
    pub fn open(path: impl AsRef<Path>) -> Result<Gguf, WeightsError> {
        let path = path.as_ref();
        let map = map::map(path)?;
        let content = header::read(&map).map_err(|reason| WeightsError::Header {
            path: path.to_owned(),
            format: "GGUF",
            reason,
        })?;
        // From a hash map into an ordered one; no order is lost.
        #[allow(clippy::iter_over_hash_type, reason = "the destination is ordered")]
        let infos: BTreeMap<_, _> = content.tensor_infos.into_iter().collect();
        let mut tensors = BTreeMap::new();
        for (name, info) in infos {
            let dtype = WeightType::from(info.ggml_dtype);
            let shape = info.shape.dims().to_vec();
            let begin = content.tensor_data_offset.saturating_add(info.offset);
            let place =
                place(&map, begin, dtype, shape).map_err(|fault| fault.of(path, &name, &map))?;
            tensors.insert(name, place);
        }
        Ok(Gguf {
            path: path.to_owned(),
            map,
            metadata: Metadata::new(path, content.metadata),
            tensors,
        })
    }

    /// What the file says of its model and vocabulary.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }
}

/// What is wrong with a tensor.
enum Fault {
    Shape(WeightType, Vec<usize>),
    Truncated(u64),
}

impl Fault {
    fn of(self, path: &Path, tensor: &str, map: &Mmap) -> WeightsError {
        let (path, tensor) = (path.to_owned(), tensor.to_owned());
        match self {
            Fault::Shape(dtype, shape) => WeightsError::Tensor {
                path,
                tensor,
                reason: format!(
                    "cannot have the shape {shape:?}: rows of {dtype} are whole blocks of {} elements",
                    dtype.block_elements()
                ),
            },
            Fault::Truncated(needed) => WeightsError::Truncated {
                path,
                tensor,
                needed,
                found: map.len() as u64,
            },
        }
    }
}

fn place(map: &Mmap, begin: u64, dtype: WeightType, shape: Vec<usize>) -> Result<Place, Fault> {
    let Some(bytes) = dtype.bytes(&shape) else {
        return Err(Fault::Shape(dtype, shape));
    };
    let end = begin.saturating_add(bytes as u64);
    if end > map.len() as u64 {
        return Err(Fault::Truncated(end));
    }
    Ok(Place {
        dtype,
        shape,
        begin: begin as usize,
        end: end as usize,
    })
}

impl WeightSource for Gguf {
    fn path(&self) -> &Path {
        &self.path
    }

    fn naming(&self) -> Naming {
        Naming::Gguf
    }

    fn names(&self) -> Vec<&str> {
        self.tensors.keys().map(String::as_str).collect()
    }

    fn tensor(&self, name: &str) -> Result<Tensor, WeightsError> {
        let place = self
            .tensors
            .get(name)
            .ok_or_else(|| WeightsError::Missing {
                path: self.path.clone(),
                tensor: name.to_owned(),
            })?;
        let rows = place.shape.first().copied().unwrap_or(1);
        let row_order =
            rows::order(&self.metadata, name, rows).map_err(|reason| WeightsError::Tensor {
                path: self.path.clone(),
                tensor: name.to_owned(),
                reason,
            })?;
        Ok(Tensor {
            name: name.to_owned(),
            dtype: place.dtype,
            shape: place.shape.clone(),
            data: map::bytes(&self.map, place.begin, place.end),
            row_order,
        })
    }
}
