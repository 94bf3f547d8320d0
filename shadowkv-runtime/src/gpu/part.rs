//! Parts of memory, checked to be within it when they are made.

use std::fmt::Debug;

use super::{Gpu, GpuError};

/// Memory at an address.
pub trait GpuMemory: Debug + Send + Sync {
    /// Name given to the allocation.
    fn name(&self) -> &str;

    /// First address, as kernels see it.
    fn address(&self) -> u64;

    /// Its length, bytes.
    fn bytes(&self) -> u64;

    /// All of it.
    fn whole(&self) -> Slice<'_, Self>
    where
        Self: Sized,
    {
        Slice {
            memory: self,
            offset: 0,
            bytes: self.bytes(),
        }
    }

    /// `bytes` bytes from `offset` on.
    ///
    /// # Errors
    ///
    /// [`GpuError::OutOfRange`].
    fn part(&self, offset: u64, bytes: u64) -> Result<Slice<'_, Self>, GpuError>
    where
        Self: Sized,
    {
        check(self, offset, bytes)?;
        Ok(Slice {
            memory: self,
            offset,
            bytes,
        })
    }
}

/// Whether `bytes` bytes from `offset` on are within `memory`.
fn check(memory: &impl GpuMemory, offset: u64, bytes: u64) -> Result<(), GpuError> {
    let size = memory.bytes();
    if offset > size || bytes > size - offset {
        return Err(GpuError::OutOfRange {
            name: memory.name().to_owned(),
            offset,
            bytes,
            size,
        });
    }
    Ok(())
}

/// Part of a GPU's memory.
pub type Part<'a, G> = Slice<'a, <G as Gpu>::Memory>;

/// Part of a GPU's pinned host memory.
pub type HostPart<'a, G> = Slice<'a, <G as Gpu>::HostMemory>;

/// Part of memory.
#[derive(Debug)]
pub struct Slice<'a, M> {
    memory: &'a M,
    offset: u64,
    bytes: u64,
}

impl<M> Clone for Slice<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for Slice<'_, M> {}

impl<'a, M: GpuMemory> Slice<'a, M> {
    /// The memory that it is part of.
    pub fn memory(&self) -> &'a M {
        self.memory
    }

    /// Where it begins there, bytes.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Its length, bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// First address, as kernels see it.
    pub fn address(&self) -> u64 {
        self.memory.address() + self.offset
    }

    /// The common length of this part and one that it is copied to, bytes.
    ///
    /// # Errors
    ///
    /// [`GpuError::Invalid`] where they differ.
    pub fn bytes_to_copy<T: GpuMemory>(self, to: Slice<'_, T>) -> Result<u64, GpuError> {
        if self.bytes == to.bytes {
            return Ok(self.bytes);
        }
        Err(GpuError::Invalid {
            operation: format!("copy `{}` to `{}`", self.memory.name(), to.memory.name()),
            message: format!("{} bytes do not fit {}", self.bytes, to.bytes),
        })
    }
}

/// Rows that are copied from one pitch to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopiedRows {
    /// How many.
    pub count: u64,
    /// Bytes of each.
    pub bytes: u64,
    /// Bytes from the beginning of a row to that of the next, where they come from.
    pub from_pitch: u64,
    /// The same where they go to.
    pub to_pitch: u64,
}

impl CopiedRows {
    /// Whether all rows are within their parts, and none overlaps the next where they go to.
    ///
    /// # Errors
    ///
    /// [`GpuError::OutOfRange`], [`GpuError::Invalid`].
    pub fn check<M: GpuMemory>(
        &self,
        from: Slice<'_, M>,
        to: Slice<'_, M>,
    ) -> Result<(), GpuError> {
        let CopiedRows {
            count,
            bytes,
            from_pitch,
            to_pitch,
        } = *self;
        if count > 1 && to_pitch < bytes {
            return Err(GpuError::Invalid {
                operation: format!("copy rows of `{}`", from.memory().name()),
                message: format!(
                    "rows of {bytes} bytes overlap where {to_pitch} bytes lead to the next"
                ),
            });
        }
        for (part, pitch) in [(from, from_pitch), (to, to_pitch)] {
            let last = count.saturating_sub(1).saturating_mul(pitch);
            let end = if count == 0 {
                0
            } else {
                last.saturating_add(bytes)
            };
            if end > part.bytes() {
                return Err(GpuError::OutOfRange {
                    name: part.memory().name().to_owned(),
                    offset: part.offset(),
                    bytes: end,
                    size: part.bytes(),
                });
            }
        }
        Ok(())
    }
}
