//! Blocks of weights, from their stored form to vectors.

use pulp::Simd;

use crate::device::cpu::format::{self, BLOCK};

/// Blocks whose scales are made f32 together.
const TOGETHER: usize = 16;

/// Floats of room for the scales of a row of `elements`: two a block.
pub(super) fn scale_floats(elements: usize) -> usize {
    elements.div_ceil(BLOCK).next_multiple_of(TOGETHER) * 2
}

/// How to read the weights of a row in blocks.
pub(super) trait Blocks: Copy {
    /// 1 where a block has scales, else 0.
    const SCALES: usize = 0;

    /// The scales of all blocks of `row`, as [`Blocks::read`] wants them: many halves become f32 at a time.
    fn scales<S: Simd>(self, simd: S, row: &[u8], scales: &mut [f32]) {
        let _ = (simd, row, scales);
    }

    /// Block `block` of `row` as f32, exactly; zeros after the row's end.
    fn read<S: Simd>(self, simd: S, row: &[u8], scales: &[[f32; 2]], block: usize) -> [f32; BLOCK];
}

#[derive(Clone, Copy)]
pub(super) struct F32;
#[derive(Clone, Copy)]
pub(super) struct F16;
#[derive(Clone, Copy)]
pub(super) struct Bf16;
#[derive(Clone, Copy)]
pub(super) struct Q4_0;
#[derive(Clone, Copy)]
pub(super) struct Q4_1;
#[derive(Clone, Copy)]
pub(super) struct Q8_0;

/// Elements of a block, or of what is left of the row, and zeros.
#[inline(always)]
fn elements<T: bytemuck::Pod + Default>(row: &[u8], block: usize) -> [T; BLOCK] {
    let bytes = BLOCK * size_of::<T>();
    let row = &row[block * bytes..];
    if row.len() >= bytes {
        return std::array::from_fn(|i| {
            bytemuck::pod_read_unaligned(&row[i * size_of::<T>()..(i + 1) * size_of::<T>()])
        });
    }
    let mut elements = [T::default(); BLOCK];
    for (element, bytes) in elements.iter_mut().zip(row.chunks_exact(size_of::<T>())) {
        *element = bytemuck::pod_read_unaligned(bytes);
    }
    elements
}

impl Blocks for F32 {
    #[inline(always)]
    fn read<S: Simd>(self, _: S, row: &[u8], _: &[[f32; 2]], block: usize) -> [f32; BLOCK] {
        elements(row, block)
    }
}

impl Blocks for F16 {
    #[inline(always)]
    fn read<S: Simd>(self, _: S, row: &[u8], _: &[[f32; 2]], block: usize) -> [f32; BLOCK] {
        let halves = elements(row, block);
        let mut weights = [0.0; BLOCK];
        for (weight, half) in weights.iter_mut().zip(halves) {
            *weight = format::half_to_f32(half);
        }
        weights
    }
}

impl Blocks for Bf16 {
    #[inline(always)]
    fn read<S: Simd>(self, _: S, row: &[u8], _: &[[f32; 2]], block: usize) -> [f32; BLOCK] {
        let halves: [u16; BLOCK] = elements(row, block);
        let mut weights = [0.0; BLOCK];
        for (weight, half) in weights.iter_mut().zip(halves) {
            *weight = f32::from_bits(u32::from(half) << 16);
        }
        weights
    }
}

impl Blocks for Q4_0 {
    const SCALES: usize = 1;

    #[inline(always)]
    fn scales<S: Simd>(self, _: S, row: &[u8], scales: &mut [f32]) {
        halves::<S, { format::Q4_0_BYTES }>(row, scales);
        // `d (q - 8)` as `d q - 8 d`: all of it is exact.
        for [scale, least] in scales.as_chunks_mut().0 {
            *least = -8.0 * *scale;
        }
    }

    #[inline(always)]
    fn read<S: Simd>(self, _: S, row: &[u8], scales: &[[f32; 2]], block: usize) -> [f32; BLOCK] {
        nibbles::<S, _, 2>(nth::<{ format::Q4_0_BYTES }>(row, block), scales[block])
    }
}

impl Blocks for Q4_1 {
    const SCALES: usize = 1;

    #[inline(always)]
    fn scales<S: Simd>(self, _: S, row: &[u8], scales: &mut [f32]) {
        halves::<S, { format::Q4_1_BYTES }>(row, scales);
    }

    #[inline(always)]
    fn read<S: Simd>(self, _: S, row: &[u8], scales: &[[f32; 2]], block: usize) -> [f32; BLOCK] {
        nibbles::<S, _, 4>(nth::<{ format::Q4_1_BYTES }>(row, block), scales[block])
    }
}

impl Blocks for Q8_0 {
    const SCALES: usize = 1;

    #[inline(always)]
    fn scales<S: Simd>(self, _: S, row: &[u8], scales: &mut [f32]) {
        halves::<S, { format::Q8_0_BYTES }>(row, scales);
    }

    #[inline(always)]
    fn read<S: Simd>(self, _: S, row: &[u8], scales: &[[f32; 2]], block: usize) -> [f32; BLOCK] {
        let [scale, _] = scales[block];
        let block = nth::<{ format::Q8_0_BYTES }>(row, block);
        let mut weights = [0.0; BLOCK];
        for (weight, q) in weights.iter_mut().zip(&block[2..]) {
            *weight = f32::from(q.cast_signed()) * scale;
        }
        weights
    }
}

/// Block `block` of `row`, whose blocks have `N` bytes; zeros where it ends. It costs no division.
#[inline(always)]
fn nth<const N: usize>(row: &[u8], block: usize) -> &[u8; N] {
    row[block * N..].first_chunk().unwrap_or(&[0; N])
}

/// The first two f16 of each block of `N` bytes, as f32.
#[inline(always)]
fn halves<S: Simd, const N: usize>(row: &[u8], scales: &mut [f32]) {
    let (blocks, _) = row.as_chunks::<N>();
    let (scales, _) = scales.as_chunks_mut::<{ 2 * TOGETHER }>();
    for (scales, blocks) in scales.iter_mut().zip(blocks.chunks(TOGETHER)) {
        let mut pairs = [0; TOGETHER];
        for (pair, block) in pairs.iter_mut().zip(blocks) {
            *pair = u32::from_le_bytes([block[0], block[1], block[2], block[3]]);
        }
        #[cfg(target_arch = "x86_64")]
        if is_avx512::<S>() {
            // SAFETY: whoever has a `V4` has its instructions.
            unsafe { avx512::halves(&pairs, scales) };
            continue;
        }
        for (scales, pair) in scales.as_chunks_mut::<2>().0.iter_mut().zip(pairs) {
            *scales = [pair as u16, (pair >> 16) as u16].map(format::half_to_f32);
        }
    }
}

/// Whether the vectors of `S` are those of AVX-512: known when it is compiled.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn is_avx512<S: Simd>() -> bool {
    std::any::TypeId::of::<S>() == std::any::TypeId::of::<pulp::x86::V4>()
}

/// `scale q + least` of the 32 nibbles of a block, from byte `BEGIN` on. It is rounded once: the product of 11 bits and 4 is
/// exact.
#[inline(always)]
fn nibbles<S: Simd, const N: usize, const BEGIN: usize>(
    block: &[u8; N],
    [scale, least]: [f32; 2],
) -> [f32; BLOCK] {
    let mut weights = [0.0; BLOCK];
    #[cfg(target_arch = "x86_64")]
    if is_avx512::<S>() {
        const { assert!(BEGIN + BLOCK / 2 <= N) };
        // SAFETY: whoever has a `V4` has its instructions, and the block has 16 bytes from `BEGIN` on.
        unsafe { avx512::nibbles(block.as_ptr().add(BEGIN), scale, least, &mut weights) };
        return weights;
    }
    let (low, high) = weights.split_at_mut(BLOCK / 2);
    for ((low, high), byte) in low.iter_mut().zip(high).zip(&block[BEGIN..]) {
        *low = f32::from(byte & 15) * scale + least;
        *high = f32::from(byte >> 4) * scale + least;
    }
    weights
}

/// What portable vectors have no words for. The functions are inlined where AVX-512 is turned on; they do not turn it on
/// themselves, or else they would be called, and every sum saved to memory.
#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::{
        _mm_loadu_si128, _mm256_loadu_si256, _mm512_cvtepu8_epi32, _mm512_cvtph_ps,
        _mm512_fmadd_ps, _mm512_permutexvar_ps, _mm512_set1_ps, _mm512_setr_ps, _mm512_srli_epi32,
        _mm512_storeu_ps,
    };

    use super::{BLOCK, TOGETHER};

    /// Pairs of f16 as f32.
    ///
    /// # Safety
    ///
    /// The processor has AVX-512F.
    #[inline(always)]
    pub(super) unsafe fn halves(pairs: &[u32; TOGETHER], floats: &mut [f32; 2 * TOGETHER]) {
        let pairs = pairs.as_ptr().cast::<u8>();
        let floats = floats.as_mut_ptr();
        // SAFETY: twice 32 bytes make twice 16 floats.
        unsafe {
            let low = _mm512_cvtph_ps(_mm256_loadu_si256(pairs.cast()));
            let high = _mm512_cvtph_ps(_mm256_loadu_si256(pairs.add(32).cast()));
            _mm512_storeu_ps(floats, low);
            _mm512_storeu_ps(floats.add(TOGETHER), high);
        }
    }

    /// `scale q + least` of the low nibbles of 16 bytes, then of the high ones: all sixteen values there can be are computed
    /// at once, and the nibbles look them up.
    ///
    /// # Safety
    ///
    /// The processor has AVX-512F, and 16 bytes can be read at `bytes`.
    #[inline(always)]
    pub(super) unsafe fn nibbles(
        bytes: *const u8,
        scale: f32,
        least: f32,
        weights: &mut [f32; BLOCK],
    ) {
        let weights = weights.as_mut_ptr();
        // SAFETY: the caller's; a look-up regards the lowest four bits of each index alone; 32 floats are written.
        unsafe {
            let numbers = _mm512_setr_ps(
                0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0,
                15.0,
            );
            let values = _mm512_fmadd_ps(numbers, _mm512_set1_ps(scale), _mm512_set1_ps(least));
            let bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128(bytes.cast()));
            let low = _mm512_permutexvar_ps(bytes, values);
            let high = _mm512_permutexvar_ps(_mm512_srli_epi32::<4>(bytes), values);
            _mm512_storeu_ps(weights, low);
            _mm512_storeu_ps(weights.add(BLOCK / 2), high);
        }
    }
}

#[cfg(test)]
mod tests {
    use pulp::{Arch, Scalar, WithSimd};

    use super::*;
    use crate::device::cpu::format::Format;

    /// All blocks of a row of 1024, read with whatever vectors.
    struct Read<'a, B>(B, &'a [u8]);

    impl<B: Blocks> WithSimd for Read<'_, B> {
        type Output = Vec<f32>;

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> Vec<f32> {
            let mut scales = vec![f32::NAN; scale_floats(1024)];
            self.0.scales(simd, self.1, &mut scales);
            let scales = scales.as_chunks().0;
            let read = |block| self.0.read(simd, self.1, scales, block);
            (0..1024 / BLOCK).flat_map(read).collect()
        }
    }

    fn check<B: Blocks>(blocks: B, format: Format) {
        let (_, block_bytes) = format.block();
        // Halves have no bits in their exponents' upper half: none is infinite.
        let byte = |i: usize| match i % block_bytes {
            1 | 3 => (i * 37 % 64) as u8,
            _ => (i * 151 % 256) as u8,
        };
        let row: Vec<u8> = (0..format.row_bytes(1024).unwrap_or(0)).map(byte).collect();
        let mut expected = vec![0.0; 1024];
        format.dequantise(&row, &mut expected);
        assert_eq!(Scalar::new().vectorize(Read(blocks, &row)), expected);
        assert_eq!(Arch::new().dispatch(Read(blocks, &row)), expected);
    }

    #[test]
    fn all_vectors_read_the_same() {
        check(Q4_0, Format::Q4_0);
        check(Q4_1, Format::Q4_1);
        check(Q8_0, Format::Q8_0);
    }
}
