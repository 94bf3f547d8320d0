//! Files in memory.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use memmap2::Mmap;

use super::{Bytes, WeightsError};

/// Maps a file to be read.
pub(super) fn map(path: &Path) -> Result<Arc<Mmap>, WeightsError> {
    let failed = |source| WeightsError::Read {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.is_dir() {
        return Err(failed(std::io::ErrorKind::IsADirectory.into()));
    }
    // SAFETY: the mapping is read-only and private. Whoever cuts the file short while it is mapped ends this process, as
    // with every program that maps its weights; what is written into it changes numbers, which no reader relies on to be in
    // bounds: headers are parsed once, and bounds come from their parsed copy.
    let map = unsafe { Mmap::map(&file) }.map_err(failed)?;
    Ok(Arc::new(map))
}

/// `begin..end` of a mapped file, which the bytes keep mapped.
pub(super) fn bytes(map: &Arc<Mmap>, begin: usize, end: usize) -> Bytes {
    let owner: Arc<dyn AsRef<[u8]> + Send + Sync> = Arc::<Mmap>::clone(map);
    Bytes::new(owner, begin, end)
}
