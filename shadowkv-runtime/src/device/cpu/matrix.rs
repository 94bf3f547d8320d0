//! Matrices of weights, kept as their files store them.

use std::fmt;
use std::ops::Range;

use super::format::Format;
use super::memory::{Account, Entry, zeroed};
use crate::device::DeviceError;
use crate::weights::{Bytes, Tensor};

/// Weights `[outputs, inputs]`: parts one below the other, each in its own format.
pub struct CpuMatrix {
    pub(super) outputs: usize,
    pub(super) inputs: usize,
    pub(super) parts: Vec<Part>,
}

/// Rows in one format.
pub(super) struct Part {
    pub(super) format: Format,
    /// First row in the matrix, and how many.
    pub(super) begin: usize,
    pub(super) rows: usize,
    pub(super) row_bytes: usize,
    data: Data,
    _entry: Entry,
}

/// The rows as stored, in order.
enum Data {
    /// In a mapped file, as a rule.
    Referenced(Bytes),
    /// Copied, because the file has them in another order or at odd addresses.
    Copied(Vec<u32>),
}

impl Part {
    /// The bytes of rows `rows` of this part.
    pub(super) fn bytes(&self, rows: Range<usize>) -> &[u8] {
        let all = match &self.data {
            Data::Referenced(bytes) => bytes,
            Data::Copied(words) => bytemuck::cast_slice(words),
        };
        &all[rows.start * self.row_bytes..rows.end * self.row_bytes]
    }
}

impl CpuMatrix {
    pub(super) fn new(
        account: &Account,
        name: &str,
        tensors: &[Tensor],
    ) -> Result<CpuMatrix, DeviceError> {
        let inputs = tensors
            .first()
            .and_then(|tensor| tensor.shape.last().copied())
            .ok_or_else(|| refused(name, "there is no tensor, or one without extents"))?;
        let mut parts = Vec::with_capacity(tensors.len());
        let mut outputs = 0;
        for tensor in tensors {
            let part = Part::new(account, tensor, inputs, outputs)?;
            outputs += part.rows;
            parts.push(part);
        }
        Ok(CpuMatrix {
            outputs,
            inputs,
            parts,
        })
    }

    /// Row `row` as f32; nothing if there is no such row.
    pub(super) fn row(&self, row: usize, elements: &mut [f32]) -> Option<()> {
        let part = self.parts.partition_point(|part| part.begin <= row);
        let part = self.parts.get(part.checked_sub(1)?)?;
        let row = row - part.begin;
        if row >= part.rows {
            return None;
        }
        part.format.dequantise(part.bytes(row..row + 1), elements);
        Some(())
    }
}

impl Part {
    fn new(
        account: &Account,
        tensor: &Tensor,
        inputs: usize,
        begin: usize,
    ) -> Result<Part, DeviceError> {
        let refused = |message: &str| refused(&tensor.name, message);
        let &[rows, columns] = tensor.shape.as_slice() else {
            return Err(refused(&format!("shape {:?} is no matrix's", tensor.shape)));
        };
        if columns != inputs {
            return Err(refused(&format!("{columns} columns beside {inputs}")));
        }
        let format = Format::new(tensor.dtype);
        let row_bytes = format.row_bytes(columns).ok_or_else(|| {
            let block = format.block().0;
            refused(&format!("{columns} columns are no whole blocks of {block}"))
        })?;
        let stored = tensor.data.len().checked_div(row_bytes).unwrap_or(0);
        let order = tensor.row_order.as_deref();
        let last = match order {
            None => rows,
            Some(order) if order.len() != rows => {
                let ordered = order.len();
                return Err(refused(&format!("{ordered} rows in order, not {rows}")));
            }
            Some(order) => order.iter().max().map_or(0, |&row| row as usize + 1),
        };
        if stored < last {
            let bytes = tensor.data.len();
            return Err(refused(&format!(
                "{bytes} bytes hold no {last} rows of {row_bytes}"
            )));
        }
        let aligned = tensor.data.as_ptr().align_offset(format.alignment()) == 0;
        let (data, entry) = match order {
            None if aligned => {
                let entry = account.refer((rows * row_bytes) as u64);
                (Data::Referenced(tensor.data.clone()), entry)
            }
            _ => {
                let (words, entry) = copied(account, tensor, rows, row_bytes)?;
                (Data::Copied(words), entry)
            }
        };
        Ok(Part {
            format,
            begin,
            rows,
            row_bytes,
            data,
            _entry: entry,
        })
    }
}

/// The rows of `tensor` in order.
fn copied(
    account: &Account,
    tensor: &Tensor,
    rows: usize,
    row_bytes: usize,
) -> Result<(Vec<u32>, Entry), DeviceError> {
    let words = (rows * row_bytes).div_ceil(4);
    let (mut words, entry) = zeroed::<u32>(account, &tensor.name, words)?;
    let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut words);
    for (place, row) in bytes
        .chunks_exact_mut(row_bytes.max(1))
        .take(rows)
        .enumerate()
    {
        let from = match &tensor.row_order {
            Some(order) => order[place] as usize,
            None => place,
        };
        row.copy_from_slice(&tensor.data[from * row_bytes..][..row_bytes]);
    }
    Ok((words, entry))
}

fn refused(name: &str, message: &str) -> DeviceError {
    DeviceError::Weights {
        name: name.to_owned(),
        message: message.to_owned(),
    }
}

impl fmt::Debug for CpuMatrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let formats: Vec<Format> = self.parts.iter().map(|part| part.format).collect();
        write!(
            f,
            "CpuMatrix([{}, {}], {formats:?})",
            self.outputs, self.inputs
        )
    }
}
