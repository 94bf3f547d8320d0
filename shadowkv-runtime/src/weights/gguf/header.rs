//! Candle's reader, watched: its errors do not say where they arose, and it divides by an alignment that it does not check.

use std::io::{self, Cursor, Read, Seek, SeekFrom};

use candle_core::quantized::gguf_file::Content;

/// Largest header that is looked at. Those of models with 256 K tokens have some 12 MB; the reader keeps 32 bytes for each
/// byte of a damaged one at worst.
const HEADER_BYTES_MAX: usize = 1 << 26;

/// The key whose value is divided by.
const ALIGNMENT: &[u8] = b"general.alignment";

/// Reads the header of a file.
pub(super) fn read(file: &[u8]) -> Result<Content, String> {
    let begin = file.get(..HEADER_BYTES_MAX).unwrap_or(file);
    let mut watched = Watched::new(begin);
    Content::read(&mut watched).map_err(|error| {
        let text = error.to_string();
        // Candle appends a backtrace where the environment asks for one.
        let reason = text.lines().next().unwrap_or_default();
        match watched.last_name() {
            Some(name) => format!("at `{name}`: {reason}"),
            None => reason.to_owned(),
        }
    })
}

/// Remembers the last string that was read, which is the key or the tensor being read or a value of it.
struct Watched<'a> {
    inner: Cursor<&'a [u8]>,
    /// What the last eight bytes say as a length.
    length: Option<u64>,
    last: Vec<u8>,
    /// Reads since the alignment's key.
    since_alignment: Option<u32>,
}

impl<'a> Watched<'a> {
    fn new(bytes: &'a [u8]) -> Watched<'a> {
        Watched {
            inner: Cursor::new(bytes),
            length: None,
            last: Vec::new(),
            since_alignment: None,
        }
    }

    fn last_name(&self) -> Option<String> {
        const SHOWN: usize = 64;
        let name = String::from_utf8_lossy(&self.last);
        let plain = |c: char| if c.is_control() { '.' } else { c };
        (!name.is_empty()).then(|| name.chars().take(SHOWN).map(plain).collect())
    }
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        let bytes = &buffer[..count];
        // A string is its length, eight bytes, then as many bytes, each read at once.
        if self.length == Some(count as u64) && count > 0 {
            self.last = bytes.to_vec();
            self.since_alignment = (bytes == ALIGNMENT).then_some(0);
        } else if let Some(reads) = &mut self.since_alignment {
            // First the value's type, then the value.
            *reads += 1;
            if *reads == 2 {
                self.since_alignment = None;
                if bytes.iter().all(|byte| *byte == 0) {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "the alignment is 0",
                    ));
                }
            }
        }
        self.length = <[u8; 8]>::try_from(bytes).ok().map(u64::from_le_bytes);
        Ok(count)
    }
}

impl Seek for Watched<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}
