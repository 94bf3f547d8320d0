//! Callers' tensors: in the GPU's memory they are copied in the order of the main stream, or used where they are.

use std::ops::Range;

use super::memory::round;
use super::{KernelBuffer, KernelDevice, STAGED_BYTES};
use crate::device::tensors::{
    Columns, RowCopies, TensorDevice, TensorPlace, TensorType, TensorView, TensorViewMut,
};
use crate::device::{Activation, Device as _, DeviceError};
use crate::gpu::{CopiedRows, Gpu, GpuMemory as _};

/// Bytes of an activation.
const BYTES: u64 = 2;

/// What addresses must be multiples of, bytes: the widest load of the kernels.
const ALIGNMENT: u64 = 16;

impl<G: Gpu> KernelDevice<G> {
    /// Rows `rows` of a tensor in the GPU's memory, and of a packed buffer, from one to the other.
    fn copy_rows(
        &self,
        tensor: &TensorView<'_>,
        rows: &Range<usize>,
        buffer: &KernelBuffer<Activation, G>,
        columns: Columns,
        is_gather: bool,
    ) -> Result<(), DeviceError> {
        let Some((address, bytes)) = tensor.device_part(rows.start) else {
            return Ok(());
        };
        // SAFETY: whoever made the tensor vouches for its memory.
        let lent = unsafe { self.gpu.borrow("a caller's tensor", address, bytes)? };
        let RowCopies {
            elements,
            begins,
            pitch,
        } = RowCopies::of(tensor.layout());
        let of_tensor = pitch as u64 * BYTES;
        let of_buffer = columns.pitch as u64 * BYTES;
        let count = rows.len() as u64;
        let row_bytes = elements as u64 * BYTES;
        let span = |pitch: u64| count.saturating_sub(1) * pitch + row_bytes.min(count * row_bytes);
        for (from_tensor, from_buffer) in begins {
            let begin = (columns.begin + from_buffer) as u64;
            let tensor = lent.part(from_tensor as u64 * BYTES, span(of_tensor))?;
            let buffer = buffer.memory.part(begin * BYTES, span(of_buffer))?;
            let copied = |from_pitch, to_pitch| CopiedRows {
                count,
                bytes: row_bytes,
                from_pitch,
                to_pitch,
            };
            let (gpu, stream) = (&self.gpu, &self.main);
            if is_gather {
                gpu.copy_rows(stream, tensor, buffer, copied(of_tensor, of_buffer))?;
            } else {
                gpu.copy_rows(stream, buffer, tensor, copied(of_buffer, of_tensor))?;
            }
        }
        Ok(())
    }
}

impl<G: Gpu> TensorDevice for KernelDevice<G> {
    type Entered = G::Entered;

    fn enter(&self) -> G::Entered {
        self.gpu.enter()
    }

    fn takes(&self, place: TensorPlace, element: TensorType) -> bool {
        place == TensorPlace::Host || element == TensorType::Bf16
    }

    fn wait(&self) -> Result<(), DeviceError> {
        self.synchronise()
    }

    fn gather(
        &self,
        from: &TensorView<'_>,
        rows: Range<usize>,
        to: &mut KernelBuffer<Activation, G>,
        columns: Columns,
    ) -> Result<(), DeviceError> {
        if from.kind().0 == TensorPlace::Device {
            return self.copy_rows(from, &rows, to, columns, true);
        }
        let [_, heads, dim] = from.layout().shape;
        let row_bytes = heads * dim * BYTES as usize;
        let mut bytes = vec![0; rows.len() * row_bytes];
        let count = rows.len() as u64;
        from.each_row(rows, |row, head, values| {
            let at = row * row_bytes + head * dim * BYTES as usize;
            round(values, &mut bytes[at..at + dim * BYTES as usize]);
        });
        if bytes.is_empty() {
            return Ok(());
        }
        let staged = self.send(&bytes)?;
        let pitch = columns.pitch as u64 * BYTES;
        let row_bytes = row_bytes as u64;
        let span = (count - 1) * pitch + row_bytes;
        self.gpu.copy_rows(
            &self.main,
            staged.part(bytes.len() as u64)?,
            to.memory.part(columns.begin as u64 * BYTES, span)?,
            CopiedRows {
                count,
                bytes: row_bytes,
                from_pitch: row_bytes,
                to_pitch: pitch,
            },
        )?;
        if bytes.len() > STAGED_BYTES {
            // Else a long prompt would be pinned as a whole.
            self.synchronise()?;
        }
        Ok(())
    }

    fn scatter(
        &self,
        from: &KernelBuffer<Activation, G>,
        to: &mut TensorViewMut<'_>,
        rows: Range<usize>,
    ) -> Result<(), DeviceError> {
        let [_, heads, dim] = to.layout().shape;
        if let Some(view) = to.device_view() {
            let columns = Columns {
                begin: 0,
                pitch: heads * dim,
            };
            return self.copy_rows(&view, &rows, from, columns, false);
        }
        let mut values = vec![0.0; rows.len() * heads * dim];
        self.read(from, 0, &mut values)?;
        to.set_rows(rows.start, &values);
        Ok(())
    }

    fn lent(
        &self,
        tensor: &TensorView<'_>,
        row: usize,
    ) -> Result<Option<KernelBuffer<Activation, G>>, DeviceError> {
        let Some((address, bytes)) = tensor.device_part(row) else {
            return Ok(None);
        };
        if tensor.kind().1 != TensorType::Bf16 || !address.is_multiple_of(ALIGNMENT) {
            return Ok(None);
        }
        // SAFETY: whoever made the tensor vouches for its memory.
        let memory = unsafe { self.gpu.borrow("a caller's tensor", address, bytes)? };
        Ok(Some(KernelBuffer::lent(memory)))
    }
}
