//! Sequences in files.
//!
//! A file is a `safetensors` file: names, types and shapes of the arrays, and one entry of metadata, `shadowkv`, that says whose
//! state it is. That entry ends in the SHA-256 of the whole file, with zeros where it is itself; so any bit that changed is
//! found, and the file is written and read piece by piece however large it is.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use sha2::{Digest as _, Sha256};

use super::{Array, FIELDS, Field, Place, Sequence, ShadowStore};
use crate::device::DeviceError;
use crate::device::sparse::SparseDevice;
use crate::digest::hex;
use crate::files::{WriteError, write_whole_by};
use crate::kv::{KvError, KvStore as _};

/// Version of the files. Another one is refused: their layout is that of the stores.
const VERSION: u32 = 1;

/// What the files' metadata is called.
const KEY: &str = "shadowkv";

/// Where the checksum goes.
const NO_CHECKSUM: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Bytes of the longest header; as many as `safetensors` allows.
const MOST_HEADER_BYTES: u64 = 100_000_000;

/// Why a sequence is not saved or restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The file is not written; what was there is as it was.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The file is not read.
    #[error("cannot read `{}`: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Not such a file, or no longer.
    #[error("`{}` is no sequence's state, or is damaged: {message}; save it again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A file of another version.
    #[error("`{}` has version {found} of the format, and this program reads {VERSION}: save it again", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// A sequence of something else.
    #[error("`{}` is of another {what}: {found}, not {expected}", path.display())]
    Other {
        /// The file.
        path: PathBuf,
        /// Of what.
        what: &'static str,
        /// What the file says.
        found: String,
        /// What this store is.
        expected: String,
    },
    /// The store has no room, or no such sequence.
    #[error(transparent)]
    Kv(#[from] KvError),
}

impl From<DeviceError> for StateError {
    fn from(error: DeviceError) -> StateError {
        StateError::Kv(error.into())
    }
}

/// Whose state a file is.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Header {
    version: u32,
    spec: String,
    spec_sha256: String,
    /// `f32` or `bf16`.
    activation: String,
    layers: usize,
    tokens: usize,
    chunks: usize,
    rope_table: usize,
    /// The last field: see the module's head.
    sha256: String,
}

/// An array in a file.
struct Stored {
    layer: usize,
    field: Field,
    spans: Vec<std::ops::Range<usize>>,
}

fn activation(bytes: u64) -> (&'static str, Dtype) {
    if bytes == 4 {
        ("f32", Dtype::F32)
    } else {
        ("bf16", Dtype::BF16)
    }
}

impl<D: SparseDevice> ShadowStore<D> {
    /// Writes what `sequence` is made of to the file `path`, whole or not at all. Waits for all that was called before.
    ///
    /// # Errors
    ///
    /// [`StateError`]: no such sequence, one in a step that failed, the device, the file.
    pub fn save(&mut self, device: &D, sequence: usize, path: &Path) -> Result<(), StateError> {
        let place = self.whole(sequence)?;
        let stored = self.arrays(device, place)?;
        let header = self.header(device, place);
        let text = self.file_header(device, &header, &stored)?;
        let failed = |source: io::Error| WriteError {
            operation: "write",
            path: path.to_owned(),
            source,
        };
        write_whole_by(path, |file| {
            let mut hash = Sha256::new();
            let mut write = |file: &mut File, bytes: &[u8]| {
                hash.update(bytes);
                file.write_all(bytes).map_err(failed)
            };
            write(file, &(text.len() as u64).to_le_bytes())?;
            write(file, text.as_bytes())?;
            for own in &stored {
                let array = own.field.array(&mut self.memory.layers[own.layer]);
                for span in &own.spans {
                    write(file, &array.read(device, span.clone())?)?;
                }
            }
            let checksum = hex(&hash.finalize());
            let at = text.find(NO_CHECKSUM).unwrap_or(0) as u64;
            file.seek(SeekFrom::Start(8 + at)).map_err(failed)?;
            file.write_all(checksum.as_bytes()).map_err(failed)?;
            Ok(())
        })
    }

    /// Takes in the sequence of the file `path`, with room for up to `capacity` tokens or as many as it has; its number.
    ///
    /// # Errors
    ///
    /// [`StateError`]: no room, a file that is damaged or of another spec, layer count or element type, the device. The store is
    /// then as it was.
    pub fn restore(
        &mut self,
        device: &D,
        path: &Path,
        capacity: usize,
    ) -> Result<usize, StateError> {
        let mut opened = Opened::open(path)?;
        self.check(device, path, &opened.header)?;
        let Header { tokens, chunks, .. } = opened.header;
        let entry = self.admit(device, tokens, capacity.max(tokens))?;
        let sequence = Sequence {
            tokens,
            chunks,
            rope_table: opened.header.rope_table,
            ..self.sequences[entry].unwrap_or(Sequence::EMPTY)
        };
        self.take_on(entry, &sequence);
        let restored = self.fill(device, Place { entry, sequence }, &mut opened);
        if restored.is_err() {
            self.release(entry);
        }
        restored?;
        Ok(entry)
    }

    fn header(&self, device: &D, place: Place) -> Header {
        Header {
            version: VERSION,
            spec: self.spec.name.clone(),
            spec_sha256: self.spec_sha256(),
            activation: activation(device.activation_bytes()).0.to_owned(),
            layers: self.sizes.layers,
            tokens: place.sequence.tokens,
            chunks: place.sequence.chunks,
            rope_table: place.sequence.rope_table,
            sha256: NO_CHECKSUM.to_owned(),
        }
    }

    /// Of the spec all that attention depends on: neither its name nor its decoder.
    fn spec_sha256(&self) -> String {
        let mut spec = self.spec.clone();
        spec.name.clear();
        spec.decoder = None;
        spec.sha256()
    }

    /// The arrays of a sequence, in the order of a file.
    fn arrays(&mut self, device: &D, place: Place) -> Result<Vec<Stored>, DeviceError> {
        let heads = self.spec.attention.kv_heads as usize;
        let mut stored = Vec::new();
        for layer in 0..self.memory.layers.len() {
            let mut counts = vec![0; heads];
            let own = &self.memory.layers[layer].outlier_count;
            device.read(own, place.entry * heads, &mut counts)?;
            let outliers = self.outliers(&counts);
            stored.extend(self.arrays_of(layer, place, &outliers));
        }
        Ok(stored)
    }

    fn outliers(&self, counts: &[i32]) -> Vec<usize> {
        let most = self.sizes.sparse.outlier_capacity;
        let each = counts.iter().map(|count| usize::try_from(*count));
        each.map(|count| count.unwrap_or(0).min(most)).collect()
    }

    fn arrays_of(&self, layer: usize, place: Place, outliers: &[usize]) -> Vec<Stored> {
        let of = |field| Stored {
            layer,
            field,
            spans: self.spans(field, place, outliers),
        };
        FIELDS.into_iter().map(of).collect()
    }

    /// The header of the `safetensors` file.
    fn file_header(
        &mut self,
        device: &D,
        header: &Header,
        stored: &[Stored],
    ) -> Result<String, StateError> {
        let mut tensors = Vec::new();
        let mut offset = 0;
        for own in stored {
            let elements = own.spans.iter().map(ExactSizeIterator::len).sum::<usize>();
            let array = own.field.array(&mut self.memory.layers[own.layer]);
            let bytes = elements * array.element_bytes(device);
            let dtype = match array {
                Array::Activation(_) | Array::Host(_) => activation(device.activation_bytes()).1,
                Array::F32(_) => Dtype::F32,
                Array::I32(_) => Dtype::I32,
                Array::U32(_) => Dtype::U32,
            };
            let info = TensorInfo {
                dtype,
                shape: vec![elements],
                data_offsets: (offset, offset + bytes),
            };
            tensors.push((name(own.layer, own.field), info));
            offset += bytes;
        }
        let invalid = |error: &dyn std::fmt::Display| StateError::Damaged {
            path: PathBuf::new(),
            message: error.to_string(),
        };
        let text = serde_json::to_string(header).map_err(|error| invalid(&error))?;
        let metadata = HashMap::from([(KEY.to_owned(), text)]);
        let metadata = Metadata::new(Some(metadata), tensors).map_err(|error| invalid(&error))?;
        let mut text = serde_json::to_string(&metadata).map_err(|error| invalid(&error))?;
        // Arrays begin at a multiple of eight, as the format has it.
        text.push_str(&" ".repeat(text.len().next_multiple_of(8) - text.len()));
        Ok(text)
    }

    fn check(&self, device: &D, path: &Path, header: &Header) -> Result<(), StateError> {
        let own = |what, found: &str, expected: &str| {
            if found == expected {
                return Ok(());
            }
            Err(StateError::Other {
                path: path.to_owned(),
                what,
                found: found.to_owned(),
                expected: expected.to_owned(),
            })
        };
        let spec = |name: &str, sha256: &str| {
            let short = sha256.get(..12).unwrap_or(sha256);
            format!("`{name}` ({short})")
        };
        let ours = self.spec_sha256();
        if header.spec_sha256 != ours {
            let found = spec(&header.spec, &header.spec_sha256);
            own("spec", &found, &spec(&self.spec.name, &ours))?;
        }
        let layers = self.sizes.layers.to_string();
        own("number of layers", &header.layers.to_string(), &layers)?;
        let (element, _) = activation(device.activation_bytes());
        own("element type", &header.activation, element)?;
        let chunk = self.spec.shadowkv.chunk_size as usize;
        let exact = header.chunks.checked_mul(chunk);
        let exact = exact.and_then(|compressed| header.tokens.checked_sub(compressed));
        if exact.is_none_or(|exact| exact > self.sizes.most_window) || header.rope_table > 1 {
            return Err(StateError::Damaged {
                path: path.to_owned(),
                message: format!(
                    "{} tokens do not go with {} compressed chunks",
                    header.tokens, header.chunks
                ),
            });
        }
        Ok(())
    }

    fn fill(&mut self, device: &D, place: Place, opened: &mut Opened) -> Result<(), StateError> {
        for layer in 0..self.memory.layers.len() {
            let counts = opened.read(&name(layer, Field::OutlierCount))?;
            let counts: Vec<i32> = bytemuck::pod_collect_to_vec(&counts);
            let most = self.sizes.sparse.outlier_capacity as i32;
            if counts.len() != self.spec.attention.kv_heads as usize
                || counts.iter().any(|count| !(0..=most).contains(count))
            {
                return Err(opened.damaged(format!("layer {layer} has {counts:?} outliers")));
            }
            let outliers = self.outliers(&counts);
            for own in self.arrays_of(layer, place, &outliers) {
                let bytes = opened.read(&name(layer, own.field))?;
                let mut array = own.field.array(&mut self.memory.layers[layer]);
                let element = array.element_bytes(device);
                let wanted = own.spans.iter().map(ExactSizeIterator::len).sum::<usize>() * element;
                if bytes.len() != wanted {
                    return Err(opened.damaged(format!(
                        "`{}` has {} bytes, not {wanted}",
                        name(layer, own.field),
                        bytes.len()
                    )));
                }
                let mut at = 0;
                for span in own.spans {
                    let end = at + span.len() * element;
                    array.write(device, span.start, &bytes[at..end])?;
                    at = end;
                }
            }
        }
        Ok(())
    }
}

fn name(layer: usize, field: Field) -> String {
    format!("layers.{layer}.{}", field.name())
}

/// A file whose checksum is right.
struct Opened {
    path: PathBuf,
    file: File,
    header: Header,
    metadata: Metadata,
    /// Where the arrays begin.
    data: u64,
}

impl Opened {
    fn open(path: &Path) -> Result<Opened, StateError> {
        let damaged = |message: String| StateError::Damaged {
            path: path.to_owned(),
            message,
        };
        let failed = |source: io::Error| StateError::Read {
            path: path.to_owned(),
            source,
        };
        let mut file = File::open(path).map_err(failed)?;
        let bytes = file.metadata().map_err(failed)?.len();
        let mut length = [0; 8];
        if bytes >= 8 {
            file.read_exact(&mut length).map_err(failed)?;
        }
        let header_bytes = u64::from_le_bytes(length);
        if bytes < 8 || header_bytes > MOST_HEADER_BYTES.min(bytes - 8) {
            return Err(damaged(format!("its {bytes} bytes are no header")));
        }
        let mut text = vec![0; header_bytes as usize];
        file.read_exact(&mut text).map_err(failed)?;
        let text =
            String::from_utf8(text).map_err(|_| damaged("its header is no text".to_owned()))?;
        let metadata: Metadata =
            serde_json::from_str(&text).map_err(|error| damaged(format!("its header: {error}")))?;
        let of_state = metadata.metadata().as_ref().and_then(|own| own.get(KEY));
        let of_state =
            of_state.ok_or_else(|| damaged(format!("its metadata has no entry `{KEY}`")))?;
        let version = serde_json::from_str(of_state).ok();
        let version = version.and_then(|value: serde_json::Value| value.get("version")?.as_u64());
        if let Some(found) = version
            && found != u64::from(VERSION)
        {
            let path = path.to_owned();
            let found = u32::try_from(found).unwrap_or(u32::MAX);
            return Err(StateError::Version { path, found });
        }
        let header: Header = serde_json::from_str(of_state)
            .map_err(|error| damaged(format!("its entry `{KEY}`: {error}")))?;
        let data = 8 + header_bytes;
        let wanted = data + metadata.data_len() as u64;
        if wanted != bytes {
            return Err(damaged(format!(
                "it has {bytes} bytes, and its header tells of {wanted}"
            )));
        }
        let mut opened = Opened {
            path: path.to_owned(),
            file,
            header,
            metadata,
            data,
        };
        let mut hash = Sha256::new();
        hash.update(length);
        hash.update(text.replacen(&opened.header.sha256, NO_CHECKSUM, 1));
        let mut piece = vec![0; 1 << 20];
        loop {
            match opened.file.read(&mut piece).map_err(failed)? {
                0 => break,
                count => hash.update(&piece[..count]),
            }
        }
        if hex(&hash.finalize()) != opened.header.sha256 {
            return Err(damaged("its checksum is another".to_owned()));
        }
        Ok(opened)
    }

    fn damaged(&self, message: String) -> StateError {
        StateError::Damaged {
            path: self.path.clone(),
            message,
        }
    }

    fn read(&mut self, name: &str) -> Result<Vec<u8>, StateError> {
        let info = self.metadata.info(name);
        let info = info.ok_or_else(|| self.damaged(format!("it has no array `{name}`")))?;
        let (begin, end) = info.data_offsets;
        let mut bytes = vec![0; end - begin];
        let read = self
            .file
            .seek(SeekFrom::Start(self.data + begin as u64))
            .and_then(|_| self.file.read_exact(&mut bytes));
        read.map_err(|source| StateError::Read {
            path: self.path.clone(),
            source,
        })?;
        Ok(bytes)
    }
}
