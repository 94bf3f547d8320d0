//! How weights are stored, and what they are as f32.

#[cfg(feature = "gguf")]
use candle_core::quantized::{
    GgmlDType,
    k_quants::{self, GgmlType},
};
#[cfg(feature = "gguf")]
use half::{bf16, f16};

use crate::weights::WeightType;

/// Elements of a block of `Q4_0`, `Q4_1` and `Q8_0`.
pub(super) const BLOCK: usize = 32;

/// How the elements of a matrix are stored. Formats that have products of their own are told apart from those that do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    not(feature = "gguf"),
    allow(dead_code, reason = "nothing else brings weights in blocks")
)]
pub(super) enum Format {
    F32,
    F16,
    Bf16,
    /// Blocks of 32: an f16 scale `d`, then 16 bytes; `d (q - 8)`. The low nibbles are the first 16 elements.
    Q4_0,
    /// Blocks of 32: f16 `d` and `m`, then 16 bytes as above; `d q + m`.
    Q4_1,
    /// Blocks of 32: an f16 scale `d`, then 32 signed bytes; `d q`.
    Q8_0,
    /// Any other block format.
    #[cfg(feature = "gguf")]
    Other(GgmlDType),
}

impl Format {
    pub(super) fn new(dtype: WeightType) -> Format {
        match dtype {
            WeightType::F32 => Format::F32,
            WeightType::F16 => Format::F16,
            WeightType::Bf16 => Format::Bf16,
            #[cfg(feature = "gguf")]
            WeightType::Ggml(dtype) => match dtype {
                GgmlDType::F32 => Format::F32,
                GgmlDType::F16 => Format::F16,
                GgmlDType::BF16 => Format::Bf16,
                GgmlDType::Q4_0 => Format::Q4_0,
                GgmlDType::Q4_1 => Format::Q4_1,
                GgmlDType::Q8_0 => Format::Q8_0,
                other => Format::Other(other),
            },
        }
    }

    /// Elements and bytes of what is stored together.
    pub(super) fn block(self) -> (usize, usize) {
        match self {
            Format::F32 => (1, 4),
            Format::F16 | Format::Bf16 => (1, 2),
            Format::Q4_0 => (BLOCK, Q4_0_BYTES),
            Format::Q4_1 => (BLOCK, Q4_1_BYTES),
            Format::Q8_0 => (BLOCK, Q8_0_BYTES),
            #[cfg(feature = "gguf")]
            Format::Other(dtype) => (dtype.block_size(), dtype.type_size()),
        }
    }

    /// Bytes of a row of `elements`, if whole blocks make one.
    pub(super) fn row_bytes(self, elements: usize) -> Option<usize> {
        let (of_block, bytes) = self.block();
        elements
            .is_multiple_of(of_block)
            .then(|| elements / of_block * bytes)
    }

    /// What the address of a row must be a multiple of.
    pub(super) fn alignment(self) -> usize {
        match self {
            Format::F32 => 4,
            #[cfg(feature = "gguf")]
            Format::Other(_) => 4,
            Format::F16 | Format::Bf16 => 2,
            // Read byte by byte.
            Format::Q4_0 | Format::Q4_1 | Format::Q8_0 => 1,
        }
    }

    /// The elements in `bytes`, which are whole blocks at an address of [`Format::alignment`], exactly.
    #[inline(always)]
    pub(super) fn dequantise(self, bytes: &[u8], elements: &mut [f32]) {
        match self {
            Format::F32 => elements.copy_from_slice(bytemuck::cast_slice(bytes)),
            Format::F16 => {
                let halves: &[u16] = bytemuck::cast_slice(bytes);
                for (element, half) in elements.iter_mut().zip(halves) {
                    *element = half_to_f32(*half);
                }
            }
            Format::Bf16 => {
                let halves: &[u16] = bytemuck::cast_slice(bytes);
                for (element, half) in elements.iter_mut().zip(halves) {
                    *element = f32::from_bits(u32::from(*half) << 16);
                }
            }
            Format::Q4_0 => by_block(bytes, elements, q4_0),
            Format::Q4_1 => by_block(bytes, elements, q4_1),
            Format::Q8_0 => by_block(bytes, elements, q8_0),
            #[cfg(feature = "gguf")]
            Format::Other(dtype) => dequantise_with_candle(dtype, bytes, elements),
        }
    }
}

/// An f16 as f32, exactly; written out, so that it becomes vectors where it stands in a loop.
#[inline(always)]
pub(super) fn half_to_f32(half: u16) -> f32 {
    let magnitude = u32::from(half & 0x7fff) << 13;
    // Exponents of f16 are biased by 15, those of f32 by 127; so subnormal numbers come right as well.
    let finite = f32::from_bits(magnitude) * f32::from_bits((127 + 127 - 15) << 23);
    let infinite = f32::from_bits(magnitude | 0xff << 23);
    let value = if half & 0x7c00 == 0x7c00 {
        infinite
    } else {
        finite
    };
    f32::from_bits(value.to_bits() | u32::from(half & 0x8000) << 16)
}

/// The f16 at `at`.
#[inline(always)]
fn half_at(block: &[u8], at: usize) -> f32 {
    half_to_f32(u16::from_le_bytes([block[at], block[at + 1]]))
}

/// Bytes of a block of `Q4_0`.
pub(super) const Q4_0_BYTES: usize = 18;
/// Bytes of a block of `Q4_1`.
pub(super) const Q4_1_BYTES: usize = 20;
/// Bytes of a block of `Q8_0`.
pub(super) const Q8_0_BYTES: usize = 34;

#[inline(always)]
pub(super) fn q4_0(block: &[u8; Q4_0_BYTES], out: &mut [f32; BLOCK]) {
    let scale = half_at(block, 0);
    nibbles(&block[2..], out, |q| (f32::from(q) - 8.0) * scale);
}

#[inline(always)]
pub(super) fn q4_1(block: &[u8; Q4_1_BYTES], out: &mut [f32; BLOCK]) {
    let (scale, least) = (half_at(block, 0), half_at(block, 2));
    // The product of 11 bits and 4 is exact: fused or not, it is rounded once.
    nibbles(&block[4..], out, |q| f32::from(q) * scale + least);
}

#[inline(always)]
pub(super) fn q8_0(block: &[u8; Q8_0_BYTES], out: &mut [f32; BLOCK]) {
    let scale = half_at(block, 0);
    for (element, q) in out.iter_mut().zip(&block[2..]) {
        *element = f32::from(q.cast_signed()) * scale;
    }
}

#[inline(always)]
fn by_block<const N: usize>(
    bytes: &[u8],
    elements: &mut [f32],
    block: impl Fn(&[u8; N], &mut [f32; BLOCK]),
) {
    let (blocks, _) = bytes.as_chunks::<N>();
    let (outs, _) = elements.as_chunks_mut::<BLOCK>();
    for (bytes, out) in blocks.iter().zip(outs) {
        block(bytes, out);
    }
}

#[inline(always)]
fn nibbles(bytes: &[u8], out: &mut [f32; BLOCK], value: impl Fn(u8) -> f32) {
    let (low, high) = out.split_at_mut(BLOCK / 2);
    for ((low, high), byte) in low.iter_mut().zip(high).zip(bytes) {
        *low = value(byte & 15);
        *high = value(byte >> 4);
    }
}

#[cfg(feature = "gguf")]
fn dequantise_with_candle(dtype: GgmlDType, bytes: &[u8], elements: &mut [f32]) {
    fn of<T: GgmlType>(bytes: &[u8], elements: &mut [f32]) {
        assert!(bytes.as_ptr().cast::<T>().is_aligned());
        let blocks = bytes.len() / size_of::<T>();
        // SAFETY: candle's blocks are `repr(C)` structs of integers and halves without padding, any bytes make one, there are
        // bytes for `blocks` of them, and the address is aligned.
        let blocks = unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast::<T>(), blocks) };
        T::to_float(blocks, elements);
    }
    match dtype {
        GgmlDType::F32 => of::<f32>(bytes, elements),
        GgmlDType::F16 => of::<f16>(bytes, elements),
        GgmlDType::BF16 => of::<bf16>(bytes, elements),
        GgmlDType::Q4_0 => of::<k_quants::BlockQ4_0>(bytes, elements),
        GgmlDType::Q4_1 => of::<k_quants::BlockQ4_1>(bytes, elements),
        GgmlDType::Q5_0 => of::<k_quants::BlockQ5_0>(bytes, elements),
        GgmlDType::Q5_1 => of::<k_quants::BlockQ5_1>(bytes, elements),
        GgmlDType::Q8_0 => of::<k_quants::BlockQ8_0>(bytes, elements),
        GgmlDType::Q8_1 => of::<k_quants::BlockQ8_1>(bytes, elements),
        GgmlDType::Q2K => of::<k_quants::BlockQ2K>(bytes, elements),
        GgmlDType::Q3K => of::<k_quants::BlockQ3K>(bytes, elements),
        GgmlDType::Q4K => of::<k_quants::BlockQ4K>(bytes, elements),
        GgmlDType::Q5K => of::<k_quants::BlockQ5K>(bytes, elements),
        GgmlDType::Q6K => of::<k_quants::BlockQ6K>(bytes, elements),
        GgmlDType::Q8K => of::<k_quants::BlockQ8K>(bytes, elements),
    }
}
