//! Tensors that belong to whoever calls, in the host's memory or on the device, with strides: how rows get from them to buffers
//! of a device, and back.
//!
//! | to | use |
//! | --- | --- |
//! | read rows of a slice | [`TensorView::f32`], [`TensorView::bf16`] |
//! | write them | [`TensorViewMut::f32`], [`TensorViewMut::bf16`] |
//! | name memory of the device | [`TensorView::on_device`], [`TensorViewMut::on_device`] |
//!
//! All are `[rows, heads, head_dim]`, and the elements of a head lie side by side.

use std::fmt;
use std::ops::Range;

use half::bf16;

use super::sparse::SparseDevice;
use super::{Activation, DeviceError};

/// An element type of callers' tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TensorType {
    /// 32-bit floats.
    F32,
    /// bfloat16.
    Bf16,
}

impl TensorType {
    /// Bytes of an element.
    pub fn bytes(self) -> usize {
        match self {
            TensorType::F32 => 4,
            TensorType::Bf16 => 2,
        }
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TensorType::F32 => "f32",
            TensorType::Bf16 => "bf16",
        })
    }
}

/// Whose memory a tensor is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TensorPlace {
    /// The host's.
    Host,
    /// The device's.
    Device,
}

/// `[rows, heads, head_dim]`, and the elements from one index of each to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Rows, heads, elements of a head.
    pub shape: [usize; 3],
    /// Elements from one row, head and element to the next.
    pub strides: [usize; 3],
}

impl Layout {
    /// Everything side by side, row after row.
    pub fn packed(shape: [usize; 3]) -> Layout {
        let [_, heads, dim] = shape;
        Layout {
            shape,
            strides: [heads.saturating_mul(dim), dim, 1],
        }
    }

    /// Elements from the first to behind the last; `None` where that is beyond what a machine counts.
    pub fn extent(&self) -> Option<usize> {
        if self.shape.contains(&0) {
            return Some(0);
        }
        let mut pairs = self.shape.iter().zip(&self.strides);
        pairs.try_fold(1_usize, |extent, (size, stride)| {
            extent.checked_add((size - 1).checked_mul(*stride)?)
        })
    }

    /// Whether the elements of a head lie side by side.
    pub fn has_whole_heads(&self) -> bool {
        self.strides[2] == 1 || self.shape[2] <= 1
    }

    /// Whether no two indices are the same element.
    pub fn is_injective(&self) -> bool {
        let pairs = self.shape.iter().zip(&self.strides);
        let mut pairs: Vec<(usize, usize)> = pairs
            .filter(|(size, _)| **size > 1)
            .map(|(size, stride)| (*stride, *size))
            .collect();
        pairs.sort_unstable();
        let mut inner = 1_usize;
        pairs.iter().all(|(stride, size)| {
            let apart = *stride >= inner;
            inner = inner.saturating_add((size - 1).saturating_mul(*stride));
            apart
        })
    }

    /// Whether the heads of a row lie side by side.
    fn has_whole_rows(&self) -> bool {
        self.has_whole_heads() && (self.strides[1] == self.shape[2] || self.shape[1] <= 1)
    }

    fn at(&self, row: usize, head: usize) -> usize {
        row * self.strides[0] + head * self.strides[1]
    }
}

/// A tensor's layout needs more elements than there are.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("shape {shape:?} with strides {strides:?} needs {}, and the slice has {found} elements", .needed.map_or_else(|| "more elements than a machine counts".to_owned(), |needed| format!("{needed} elements")))]
pub struct LayoutError {
    /// The shape.
    pub shape: [usize; 3],
    /// The strides, elements.
    pub strides: [usize; 3],
    /// Elements that they need.
    pub needed: Option<usize>,
    /// Elements that there are.
    pub found: usize,
}

fn fits(layout: &Layout, found: usize) -> Result<(), LayoutError> {
    match layout.extent() {
        Some(needed) if needed <= found => Ok(()),
        needed => Err(LayoutError {
            shape: layout.shape,
            strides: layout.strides,
            needed,
            found,
        }),
    }
}

#[derive(Clone, Copy)]
enum Source<'a> {
    F32(&'a [f32]),
    Bf16(&'a [bf16]),
    Device(u64, TensorType),
}

/// A tensor that is read.
#[derive(Clone, Copy)]
pub struct TensorView<'a> {
    source: Source<'a>,
    layout: Layout,
}

impl<'a> TensorView<'a> {
    /// 32-bit floats of the host's, the first at `values[0]`.
    ///
    /// # Errors
    ///
    /// [`LayoutError`] where the layout is beyond the slice.
    pub fn f32(values: &'a [f32], layout: Layout) -> Result<TensorView<'a>, LayoutError> {
        fits(&layout, values.len())?;
        let source = Source::F32(values);
        Ok(TensorView { source, layout })
    }

    /// bfloat16 of the host's.
    ///
    /// # Errors
    ///
    /// As [`TensorView::f32`].
    pub fn bf16(values: &'a [bf16], layout: Layout) -> Result<TensorView<'a>, LayoutError> {
        fits(&layout, values.len())?;
        let source = Source::Bf16(values);
        Ok(TensorView { source, layout })
    }

    /// Memory of the device, from `address` on.
    ///
    /// # Safety
    ///
    /// The memory is the device's that the tensor is given to, has every element of the layout, and stays allocated and as it is
    /// until what is enqueued with it on the device's stream has run.
    pub unsafe fn on_device(
        address: u64,
        element: TensorType,
        layout: Layout,
    ) -> TensorView<'static> {
        TensorView {
            source: Source::Device(address, element),
            layout,
        }
    }

    /// Shape and strides.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Whose memory it is in, and what its elements are.
    pub fn kind(&self) -> (TensorPlace, TensorType) {
        match self.source {
            Source::F32(_) => (TensorPlace::Host, TensorType::F32),
            Source::Bf16(_) => (TensorPlace::Host, TensorType::Bf16),
            Source::Device(_, element) => (TensorPlace::Device, element),
        }
    }

    /// Memory of the device from row `row` on: its address, and the bytes to the end.
    pub(crate) fn device_part(&self, row: usize) -> Option<(u64, u64)> {
        let Source::Device(address, element) = self.source else {
            return None;
        };
        let bytes = element.bytes() as u64;
        let skipped = row as u64 * self.layout.strides[0] as u64;
        let extent = self.layout.extent()? as u64;
        Some((
            address + skipped * bytes,
            extent.saturating_sub(skipped) * bytes,
        ))
    }

    /// Whether it lies on a device in rows that are packed `width` elements apart.
    pub(crate) fn has_pitch(&self, width: usize) -> bool {
        let Layout { shape, strides } = self.layout;
        self.layout.has_whole_rows() && (strides[0] == width || shape[0] <= 1)
    }

    /// The host's rows `rows`, one after the other, each to `row(index)`, as f32.
    pub(crate) fn each_row(&self, rows: Range<usize>, mut row: impl FnMut(usize, usize, &[f32])) {
        let [_, heads, dim] = self.layout.shape;
        let mut widened = vec![0.0; dim];
        for (index, from) in rows.enumerate() {
            for head in 0..heads {
                let at = self.layout.at(from, head);
                match self.source {
                    Source::F32(values) => row(index, head, &values[at..at + dim]),
                    Source::Bf16(values) => {
                        for (to, from) in widened.iter_mut().zip(&values[at..at + dim]) {
                            *to = from.to_f32();
                        }
                        row(index, head, &widened);
                    }
                    Source::Device(..) => {}
                }
            }
        }
    }
}

impl fmt::Debug for TensorView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TensorView({:?}, {:?})", self.kind(), self.layout)
    }
}

enum Target<'a> {
    F32(&'a mut [f32]),
    Bf16(&'a mut [bf16]),
    Device(u64, TensorType),
}

/// A tensor that is written.
pub struct TensorViewMut<'a> {
    target: Target<'a>,
    layout: Layout,
}

impl<'a> TensorViewMut<'a> {
    /// 32-bit floats of the host's, the first at `values[0]`.
    ///
    /// # Errors
    ///
    /// [`LayoutError`] where the layout is beyond the slice.
    pub fn f32(values: &'a mut [f32], layout: Layout) -> Result<TensorViewMut<'a>, LayoutError> {
        fits(&layout, values.len())?;
        let target = Target::F32(values);
        Ok(TensorViewMut { target, layout })
    }

    /// bfloat16 of the host's.
    ///
    /// # Errors
    ///
    /// As [`TensorViewMut::f32`].
    pub fn bf16(values: &'a mut [bf16], layout: Layout) -> Result<TensorViewMut<'a>, LayoutError> {
        fits(&layout, values.len())?;
        let target = Target::Bf16(values);
        Ok(TensorViewMut { target, layout })
    }

    /// Memory of the device, from `address` on.
    ///
    /// # Safety
    ///
    /// As [`TensorView::on_device`]; and nothing else uses the memory before what is enqueued with it has run.
    pub unsafe fn on_device(
        address: u64,
        element: TensorType,
        layout: Layout,
    ) -> TensorViewMut<'static> {
        TensorViewMut {
            target: Target::Device(address, element),
            layout,
        }
    }

    /// Shape and strides.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Whose memory it is in, and what its elements are.
    pub fn kind(&self) -> (TensorPlace, TensorType) {
        match self.target {
            Target::F32(_) => (TensorPlace::Host, TensorType::F32),
            Target::Bf16(_) => (TensorPlace::Host, TensorType::Bf16),
            Target::Device(_, element) => (TensorPlace::Device, element),
        }
    }

    /// The same where it is on the device, for what copies there.
    pub(crate) fn device_view(&self) -> Option<TensorView<'static>> {
        let Target::Device(address, element) = self.target else {
            return None;
        };
        Some(TensorView {
            source: Source::Device(address, element),
            layout: self.layout,
        })
    }

    /// Packed `values` to the host's rows from `first` on, rounded where they must be.
    pub(crate) fn set_rows(&mut self, first: usize, values: &[f32]) {
        let [_, heads, dim] = self.layout.shape;
        for (row, values) in values.chunks_exact((heads * dim).max(1)).enumerate() {
            for (head, values) in values.chunks_exact(dim.max(1)).enumerate() {
                let at = self.layout.at(first + row, head);
                match &mut self.target {
                    Target::F32(target) => target[at..at + dim].copy_from_slice(values),
                    Target::Bf16(target) => {
                        for (to, from) in target[at..at + dim].iter_mut().zip(values) {
                            *to = bf16::from_f32(*from);
                        }
                    }
                    Target::Device(..) => {}
                }
            }
        }
    }
}

impl fmt::Debug for TensorViewMut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TensorViewMut({:?}, {:?})", self.kind(), self.layout)
    }
}

/// Copies of rows on a device: as many as there are columns of them.
pub(crate) struct RowCopies {
    /// Elements of a row of one copy.
    pub(crate) elements: usize,
    /// Copies: elements to skip in the tensor and in the packed row.
    pub(crate) begins: Vec<(usize, usize)>,
    /// Elements from a row of the tensor to the next.
    pub(crate) pitch: usize,
}

impl RowCopies {
    pub(crate) fn of(layout: &Layout) -> RowCopies {
        let [_, heads, dim] = layout.shape;
        let [pitch, head_stride, _] = layout.strides;
        if layout.has_whole_rows() {
            return RowCopies {
                elements: heads * dim,
                begins: vec![(0, 0)],
                pitch,
            };
        }
        RowCopies {
            elements: dim,
            begins: (0..heads)
                .map(|head| (head * head_stride, head * dim))
                .collect(),
            pitch,
        }
    }
}

/// Columns of the rows of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Columns {
    /// The first of them.
    pub begin: usize,
    /// Elements from a row to the next.
    pub pitch: usize,
}

/// A device that reads and writes callers' tensors.
pub trait TensorDevice: SparseDevice {
    /// What gives the calling thread back what it had when it is dropped.
    type Entered;

    /// Remembers what the calling thread has made current, which calls may change, until the result is dropped.
    fn enter(&self) -> Self::Entered;

    /// Whether it takes such tensors.
    fn takes(&self, place: TensorPlace, element: TensorType) -> bool;

    /// Waits until everything that was called has run.
    ///
    /// # Errors
    ///
    /// Something failed.
    fn wait(&self) -> Result<(), DeviceError>;

    /// Rows `rows` of `from`, of a kind that the device takes, each packed to `columns` of the rows of `to`, from row 0 on. Of
    /// the host's memory everything is read before it returns; it may wait for that.
    ///
    /// # Errors
    ///
    /// The device failed.
    fn gather(
        &self,
        from: &TensorView<'_>,
        rows: Range<usize>,
        to: &mut Self::Buffer<Activation>,
        columns: Columns,
    ) -> Result<(), DeviceError>;

    /// Packed rows of `from`, from row 0 on, to the rows `rows` of `to`, of a kind that the device takes. In the host's memory
    /// they are there when it returns.
    ///
    /// # Errors
    ///
    /// The device failed.
    fn scatter(
        &self,
        from: &Self::Buffer<Activation>,
        to: &mut TensorViewMut<'_>,
        rows: Range<usize>,
    ) -> Result<(), DeviceError>;

    /// The rows of `tensor` from `row` on as a buffer of the device, where they are in its memory and of its own type, and
    /// kernels take their address.
    ///
    /// # Errors
    ///
    /// The device has no such memory.
    fn lent(
        &self,
        _tensor: &TensorView<'_>,
        _row: usize,
    ) -> Result<Option<Self::Buffer<Activation>>, DeviceError> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

    use super::*;

    #[test]
    fn layouts_that_are_beyond_a_slice_or_overlap() {
        let layout = Layout::packed([3, 2, 4]);
        assert_eq!(layout.extent(), Some(24));
        assert!(TensorView::f32(&[0.0; 23], layout).is_err());
        assert!(TensorView::f32(&[0.0; 24], layout).is_ok());
        let transposed = Layout {
            shape: [3, 2, 4],
            strides: [4, 12, 1],
        };
        assert!(transposed.is_injective() && !transposed.has_whole_rows());
        let broadcast = Layout {
            shape: [3, 2, 4],
            strides: [0, 4, 1],
        };
        assert!(!broadcast.is_injective());
        assert_eq!(broadcast.extent(), Some(8));
        let endless = Layout {
            shape: [3, 2, 4],
            strides: [usize::MAX, 4, 1],
        };
        assert_eq!(endless.extent(), None);
        assert_eq!(Layout::packed([0, 2, 4]).extent(), Some(0));
    }

    #[test]
    fn rows_of_any_strides_and_both_types() {
        let values: Vec<f32> = (0..24).map(|value| value as f32).collect();
        let rounded: Vec<bf16> = values.iter().map(|value| bf16::from_f32(*value)).collect();
        let transposed = Layout {
            shape: [3, 2, 4],
            strides: [4, 12, 1],
        };
        let rows = |view: TensorView<'_>| {
            let mut rows = Vec::new();
            view.each_row(1..3, |_, _, values| rows.extend_from_slice(values));
            rows
        };
        let expected = [
            4.0, 5.0, 6.0, 7.0, 16.0, 17.0, 18.0, 19.0, 8.0, 9.0, 10.0, 11.0, 20.0, 21.0, 22.0,
            23.0,
        ];
        assert_eq!(
            rows(TensorView::f32(&values, transposed).unwrap()),
            expected
        );
        assert_eq!(
            rows(TensorView::bf16(&rounded, transposed).unwrap()),
            expected
        );
        let mut back = vec![0.0; 24];
        let mut view = TensorViewMut::f32(&mut back, transposed).unwrap();
        view.set_rows(1, &expected);
        assert_eq!(back[4..12], values[4..12]);
        assert_eq!(back[16..24], values[16..24]);
        assert_eq!(back[..4], [0.0; 4]);
    }
}
