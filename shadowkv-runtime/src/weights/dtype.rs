//! Sizes and names of element types.

use std::fmt;

#[cfg(feature = "gguf")]
use candle_core::quantized::GgmlDType;

use super::WeightType;

impl WeightType {
    /// Elements that are stored together: 1, or the block of a GGML format.
    pub fn block_elements(self) -> usize {
        match self {
            #[cfg(feature = "gguf")]
            WeightType::Ggml(dtype) => dtype.block_size(),
            _ => 1,
        }
    }

    /// Bytes of a block.
    pub fn block_bytes(self) -> usize {
        match self {
            WeightType::F32 => 4,
            WeightType::F16 | WeightType::Bf16 => 2,
            #[cfg(feature = "gguf")]
            WeightType::Ggml(dtype) => dtype.type_size(),
        }
    }

    /// Bytes of a tensor of that shape; `None` where rows hold no whole number of blocks, or nothing so large exists.
    pub fn bytes(self, shape: &[usize]) -> Option<usize> {
        let row = shape.last().copied().unwrap_or(1);
        if !row.is_multiple_of(self.block_elements()) {
            return None;
        }
        let elements = shape
            .iter()
            .try_fold(1_usize, |product, extent| product.checked_mul(*extent))?;
        (elements / self.block_elements()).checked_mul(self.block_bytes())
    }
}

#[cfg(feature = "gguf")]
impl From<GgmlDType> for WeightType {
    /// Formats without blocks are what they are elsewhere.
    fn from(dtype: GgmlDType) -> WeightType {
        match dtype {
            GgmlDType::F32 => WeightType::F32,
            GgmlDType::F16 => WeightType::F16,
            GgmlDType::BF16 => WeightType::Bf16,
            blocks => WeightType::Ggml(blocks),
        }
    }
}

impl fmt::Display for WeightType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WeightType::F32 => f.write_str("F32"),
            WeightType::F16 => f.write_str("F16"),
            WeightType::Bf16 => f.write_str("BF16"),
            #[cfg(feature = "gguf")]
            WeightType::Ggml(dtype) => write!(f, "{dtype:?}"),
        }
    }
}

#[cfg(all(test, feature = "gguf"))]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_blocks_and_of_what_cannot_be() {
        let q4_1 = WeightType::from(GgmlDType::Q4_1);
        assert_eq!((q4_1.block_elements(), q4_1.block_bytes()), (32, 20));
        assert_eq!(q4_1.bytes(&[3, 64]), Some(120));
        assert_eq!(q4_1.bytes(&[64, 3]), None, "blocks do not cross rows");
        assert_eq!(WeightType::from(GgmlDType::BF16).bytes(&[5, 3]), Some(30));
        assert_eq!(WeightType::F32.bytes(&[usize::MAX, 2]), None);
        assert_eq!(WeightType::F32.bytes(&[]), Some(4));
    }
}
