//! Weights of dense products, in bf16.

use std::fmt;

use super::KernelDevice;
use super::memory::{Entry, round};
use crate::device::DeviceError;
use crate::gpu::{Gpu, GpuMemory as _};
use crate::weights::{Tensor, WeightType};

/// Weights `[outputs, inputs]` bf16 in a GPU's memory.
pub struct KernelMatrix<G: Gpu> {
    pub(super) memory: G::Memory,
    pub(super) outputs: u64,
    pub(super) inputs: u64,
    _entry: Entry,
}

impl<G: Gpu> KernelMatrix<G> {
    pub(super) fn new(
        device: &KernelDevice<G>,
        name: &str,
        parts: &[Tensor],
    ) -> Result<KernelMatrix<G>, DeviceError> {
        let refused = |name: &str, message: String| DeviceError::Weights {
            name: name.to_owned(),
            message,
        };
        let mut outputs = 0;
        let mut inputs = None;
        for part in parts {
            let &[rows, columns] = part.shape.as_slice() else {
                let message = format!("shape {:?} is no matrix's", part.shape);
                return Err(refused(&part.name, message));
            };
            if *inputs.get_or_insert(columns) != columns {
                return Err(refused(
                    &part.name,
                    format!("{columns} columns beside others"),
                ));
            }
            outputs += rows as u64;
        }
        let inputs = inputs.ok_or_else(|| refused(name, "there is no tensor".to_owned()))? as u64;
        device.replay.breaks();
        let memory = device.gpu.allocate(name, outputs * inputs * 2)?;
        let mut offset = 0;
        for part in parts {
            offset += write(device, part, &memory, offset)?;
        }
        Ok(KernelMatrix {
            _entry: device.account.enter(memory.bytes()),
            memory,
            outputs,
            inputs,
        })
    }
}

/// Writes a tensor from byte `offset` on; its bytes.
fn write<G: Gpu>(
    device: &KernelDevice<G>,
    tensor: &Tensor,
    memory: &G::Memory,
    offset: u64,
) -> Result<u64, DeviceError> {
    let bytes = tensor.elements() as u64 * 2;
    let to = memory.part(offset, bytes)?;
    if tensor.dtype == WeightType::Bf16
        && tensor.row_order.is_none()
        && tensor.data.len() as u64 == bytes
    {
        device.gpu.write(&device.main, &tensor.data, to)?;
        return Ok(bytes);
    }
    let values = tensor.to_f32().map_err(|error| DeviceError::Weights {
        name: tensor.name.clone(),
        message: error.to_string(),
    })?;
    let mut rounded = vec![0; values.len() * 2];
    round(&values, &mut rounded);
    device.gpu.write(&device.main, &rounded, to)?;
    Ok(bytes)
}

impl<G: Gpu> fmt::Debug for KernelMatrix<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KernelMatrix([{}, {}])", self.outputs, self.inputs)
    }
}
