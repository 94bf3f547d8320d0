//! `chunk_landmarks`, and what `fold_chunk` does alike: means of chunks' rotated keys, and how badly they represent them.

use pulp::Simd;

use crate::device::cpu::simd::dot;

/// Mean of one chunk's rotated keys -> `mean` `[d]`; the lowest cosine between one of them and the mean. `keys` begins with
/// the first one, and they are `stride` apart.
#[inline(always)]
pub(super) fn chunk_landmark<S: Simd>(
    simd: S,
    keys: &[f32],
    stride: usize,
    chunk: usize,
    mean: &mut [f32],
) -> f32 {
    let d = mean.len();
    let members = || (0..chunk).map(|token| &keys[token * stride..][..d]);
    mean.fill(0.0);
    for key in members() {
        for (mean, element) in mean.iter_mut().zip(key) {
            *mean += element;
        }
    }
    let share = 1.0 / chunk as f32;
    for mean in &mut *mean {
        *mean *= share;
    }
    let length = dot(simd, mean, mean).sqrt();
    let mut lowest = f32::INFINITY;
    for key in members() {
        let lengths = length * dot(simd, key, key).sqrt();
        // Of no length, no direction.
        let cosine = if lengths == 0.0 {
            0.0
        } else {
            dot(simd, key, mean) / lengths
        };
        lowest = lowest.min(cosine);
    }
    lowest
}
