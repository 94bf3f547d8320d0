//! Tensors as f32.

#[cfg(feature = "gguf")]
use candle_core::quantized::ggml_file::qtensor_from_ggml;
use half::{bf16, f16};

use super::{Tensor, WeightType};

/// Why a tensor has no f32 form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// More or fewer bytes than its shape and type say.
    #[error("`{name}` has {found} bytes, and its shape {shape:?} takes {expected}")]
    Length {
        /// Name of the tensor.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
        /// Bytes there are.
        found: usize,
        /// Bytes there must be.
        expected: usize,
    },
    /// Blocks that cannot be read.
    #[error("`{name}`: {message}")]
    Blocks {
        /// Name of the tensor.
        name: String,
        /// What is wrong.
        message: String,
    },
}

impl Tensor {
    /// Elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Its elements as f32, rows in order.
    ///
    /// # Errors
    ///
    /// [`ConvertError`].
    pub fn to_f32(&self) -> Result<Vec<f32>, ConvertError> {
        let elements = self.elements();
        let simple = |size: usize, convert: fn(&[u8]) -> f32| {
            self.check_length(elements * size)?;
            Ok(self.data.chunks_exact(size).map(convert).collect())
        };
        let stored: Vec<f32> = match self.dtype {
            WeightType::F32 => simple(4, |bytes| f32::from_bits(word(bytes)))?,
            WeightType::F16 => simple(2, |bytes| f16::from_bits(word(bytes) as u16).to_f32())?,
            WeightType::Bf16 => simple(2, |bytes| bf16::from_bits(word(bytes) as u16).to_f32())?,
            #[cfg(feature = "gguf")]
            WeightType::Ggml(dtype) => {
                let blocks = elements.div_ceil(dtype.block_size());
                self.check_length(blocks * dtype.type_size())?;
                let device = candle_core::Device::Cpu;
                qtensor_from_ggml(dtype, &self.data, vec![elements], &device)
                    .and_then(|tensor| tensor.dequantize(&device)?.to_vec1())
                    .map_err(|error| ConvertError::Blocks {
                        name: self.name.clone(),
                        message: error.to_string(),
                    })?
            }
        };
        let Some(order) = &self.row_order else {
            return Ok(stored);
        };
        let columns = elements / order.len().max(1);
        let row = |row: &u32| stored.chunks_exact(columns.max(1)).nth(*row as usize);
        Ok(order.iter().filter_map(row).flatten().copied().collect())
    }

    fn check_length(&self, expected: usize) -> Result<(), ConvertError> {
        if self.data.len() == expected {
            return Ok(());
        }
        Err(ConvertError::Length {
            name: self.name.clone(),
            shape: self.shape.clone(),
            found: self.data.len(),
            expected,
        })
    }
}

/// Up to four bytes, the lowest first.
fn word(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .rev()
        .fold(0, |word, byte| word << 8 | u32::from(*byte))
}

#[cfg(all(test, feature = "gguf"))]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use std::sync::Arc;

    use candle_core::quantized::GgmlDType;

    use super::*;
    use crate::weights::Bytes;

    fn tensor(dtype: WeightType, shape: &[usize], bytes: Vec<u8>) -> Tensor {
        let end = bytes.len();
        Tensor {
            name: "t".to_owned(),
            dtype,
            shape: shape.to_vec(),
            data: Bytes::new(Arc::new(bytes), 0, end),
            row_order: None,
        }
    }

    #[test]
    fn plain_formats() {
        let of = |dtype, bytes: &[u8]| tensor(dtype, &[2], bytes.to_vec()).to_f32();
        let f32s = [1.5_f32.to_le_bytes(), (-0.25_f32).to_le_bytes()].concat();
        assert_eq!(of(WeightType::F32, &f32s), Ok(vec![1.5, -0.25]));
        assert_eq!(
            of(WeightType::F16, &[0, 0x3c, 0, 0xc0]),
            Ok(vec![1.0, -2.0])
        );
        assert_eq!(
            of(WeightType::Bf16, &[0x80, 0x3f, 0, 0xc0]),
            Ok(vec![1.0, -2.0])
        );
        let short = of(WeightType::F32, &f32s[..7]).unwrap_err().to_string();
        assert_eq!(short, "`t` has 7 bytes, and its shape [2] takes 8");
    }

    #[test]
    fn blocks_and_the_order_of_rows() {
        // Two blocks of Q8_0: a half for the scale, and 32 integers.
        let mut bytes = vec![0, 0x3c];
        bytes.extend(0..32_u8);
        bytes.extend([0, 0x40]);
        bytes.extend(0..32_u8);
        let mut tensor = tensor(WeightType::Ggml(GgmlDType::Q8_0), &[2, 32], bytes);
        tensor.row_order = Some(Arc::new([1, 0]));
        let values = tensor.to_f32().unwrap();
        assert_eq!((values[3], values[32 + 3]), (6.0, 3.0));
    }
}
