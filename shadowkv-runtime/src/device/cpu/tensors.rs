//! Callers' tensors, which the CPU reads where they are.

use std::ops::Range;

use super::{CpuBuffer, CpuDevice};
use crate::device::tensors::{
    Columns, TensorDevice, TensorPlace, TensorType, TensorView, TensorViewMut,
};
use crate::device::{Activation, DeviceError};

impl TensorDevice for CpuDevice {
    type Entered = ();

    fn enter(&self) {}

    fn takes(&self, place: TensorPlace, _element: TensorType) -> bool {
        place == TensorPlace::Host
    }

    fn wait(&self) -> Result<(), DeviceError> {
        Ok(())
    }

    fn gather(
        &self,
        from: &TensorView<'_>,
        rows: Range<usize>,
        to: &mut CpuBuffer<Activation>,
        columns: Columns,
    ) -> Result<(), DeviceError> {
        let dim = from.layout().shape[2];
        from.each_row(rows, |row, head, values| {
            let at = row * columns.pitch + columns.begin + head * dim;
            to.values[at..at + dim].copy_from_slice(values);
        });
        Ok(())
    }

    fn scatter(
        &self,
        from: &CpuBuffer<Activation>,
        to: &mut TensorViewMut<'_>,
        rows: Range<usize>,
    ) -> Result<(), DeviceError> {
        let [_, heads, dim] = to.layout().shape;
        to.set_rows(rows.start, &from.values[..rows.len() * heads * dim]);
        Ok(())
    }
}
