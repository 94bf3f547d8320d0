//! Rotations of single tokens, as fast as the products that make the keys.

use pulp::Simd;

use crate::device::cpu::simd::{MOST_LANES, load, store};
use crate::spec::{RopeLayout, Spec};

/// Frequencies of a spec, padded to whole vectors.
#[derive(Clone, Debug)]
pub(super) struct Angles {
    /// Per table.
    frequencies: Vec<Vec<f32>>,
    factor: f32,
    layout: RopeLayout,
    pairs: usize,
}

impl Angles {
    pub(super) fn new(spec: &Spec) -> Angles {
        let tables = spec.rope.tables();
        let pairs = spec.rope.rotary_dim as usize / 2;
        let padded = |own: &Vec<f32>| {
            let mut own = own.clone();
            own.resize(pairs.next_multiple_of(MOST_LANES), 0.0);
            own
        };
        Angles {
            frequencies: tables.inverse_frequencies.iter().map(padded).collect(),
            factor: tables.attention_factor,
            layout: spec.rope.layout,
            pairs,
        }
    }

    /// Floats of [`Angles::turn`]'s result.
    pub(super) fn floats(&self) -> usize {
        2 * self.pairs.next_multiple_of(MOST_LANES)
    }

    /// Cosines, then sines, of `position` in table `table`.
    #[inline(always)]
    pub(super) fn turn<S: Simd>(&self, simd: S, table: usize, position: usize, turned: &mut [f32]) {
        let frequencies = &self.frequencies[table];
        let (cosines, sines) = turned[..self.floats()].split_at_mut(frequencies.len());
        let position = simd.splat_f32s(position as f32);
        let factor = simd.splat_f32s(self.factor);
        for at in (0..frequencies.len()).step_by(S::F32_LANES) {
            // SAFETY: whole vectors of all three.
            unsafe {
                // Rounded to f32 before it is reduced, as the models' own code does.
                let angle = simd.mul_f32s(position, load::<S>(frequencies.as_ptr().add(at)));
                let (sine, cosine) = sin_cos(simd, angle);
                store::<S>(cosines.as_mut_ptr().add(at), simd.mul_f32s(cosine, factor));
                store::<S>(sines.as_mut_ptr().add(at), simd.mul_f32s(sine, factor));
            }
        }
    }

    /// `head` turned -> `output`.
    #[inline(always)]
    pub(super) fn rotate(&self, turned: &[f32], head: &[f32], output: &mut [f32]) {
        let (cosines, sines) = turned[..self.floats()].split_at(self.floats() / 2);
        let (pairs, rotary) = (self.pairs, 2 * self.pairs);
        match self.layout {
            RopeLayout::HalfSplit => {
                let (first, second) = head[..rotary].split_at(pairs);
                let (out_first, out_second) = output[..rotary].split_at_mut(pairs);
                let (cosines, sines) = (&cosines[..pairs], &sines[..pairs]);
                for pair in 0..pairs {
                    let (a, b, c, s) = (first[pair], second[pair], cosines[pair], sines[pair]);
                    out_first[pair] = a * c - b * s;
                    out_second[pair] = b * c + a * s;
                }
            }
            RopeLayout::Interleaved => {
                let (pairs, _) = head[..rotary].as_chunks::<2>();
                let (outs, _) = output[..rotary].as_chunks_mut::<2>();
                for (pair, (&[a, b], out)) in pairs.iter().zip(outs).enumerate() {
                    let (c, s) = (cosines[pair], sines[pair]);
                    *out = [a * c - b * s, b * c + a * s];
                }
            }
        }
        output[rotary..].copy_from_slice(&head[rotary..]);
    }
}

/// Sine and cosine of angles up to 2^21, to 1.2e-7.
#[inline(always)]
#[allow(
    clippy::excessive_precision,
    reason = "pi / 2 in three parts, each the nearest float"
)]
fn sin_cos<S: Simd>(simd: S, angle: S::f32s) -> (S::f32s, S::f32s) {
    // Adding it rounds to a whole number, whose low bits are then the lowest.
    const MAGIC: f32 = 12_582_912.0;
    const HALF_PI: [f32; 3] = [1.570_796_4, -4.371_139e-8, -1.715_125e-15];
    const SINE: [f32; 3] = [-1.951_529_6e-4, 8.332_161e-3, -1.666_665_5e-1];
    const COSINE: [f32; 3] = [2.443_315_7e-5, -1.388_731_6e-3, 4.166_664_6e-2];
    let splat = |value: f32| simd.splat_f32s(value);
    let shifted = simd.mul_add_f32s(angle, splat(std::f32::consts::FRAC_2_PI), splat(MAGIC));
    let quarters = simd.neg_f32s(simd.sub_f32s(shifted, splat(MAGIC)));
    let mut rest = angle;
    // The first product is exact, and so is the difference: multiples of 2^-23 below 1.
    for part in HALF_PI {
        rest = simd.mul_add_f32s(quarters, splat(part), rest);
    }
    let square = simd.mul_f32s(rest, rest);
    let series = |terms: [f32; 3]| {
        let sum = simd.mul_add_f32s(splat(terms[0]), square, splat(terms[1]));
        simd.mul_add_f32s(sum, square, splat(terms[2]))
    };
    let cubed = simd.mul_f32s(square, rest);
    let sine = simd.mul_add_f32s(series(SINE), cubed, rest);
    let fourth = simd.mul_f32s(square, square);
    let near_one = simd.mul_add_f32s(square, splat(-0.5), splat(1.0));
    let cosine = simd.mul_add_f32s(series(COSINE), fourth, near_one);
    let quarter = simd.transmute_u32s_f32s(shifted);
    let up = |bits, by: u32| simd.wrapping_dyn_shl_u32s(bits, simd.splat_u32s(by));
    // The lowest bit as the sign of 1: in odd quarters sine and cosine change places.
    let odd = simd.or_u32s(up(quarter, 31), simd.splat_u32s(1.0_f32.to_bits()));
    let odd = simd.less_than_f32s(simd.transmute_f32s_u32s(odd), splat(0.0));
    let signed = |value: S::f32s, quarter: S::u32s| {
        let sign = simd.and_u32s(up(quarter, 30), simd.splat_u32s(1 << 31));
        let value = simd.transmute_u32s_f32s(value);
        simd.transmute_f32s_u32s(simd.xor_u32s(value, sign))
    };
    let next = simd.add_u32s(quarter, simd.splat_u32s(1));
    (
        signed(simd.select_f32s(odd, cosine, sine), quarter),
        signed(simd.select_f32s(odd, sine, cosine), next),
    )
}

#[cfg(test)]
mod tests {
    use pulp::{Arch, WithSimd};

    use super::*;

    struct All<'a>(&'a [f32], &'a mut Vec<(f32, f32)>);

    impl WithSimd for All<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            for angle in self.0 {
                let (sine, cosine) = sin_cos(simd, simd.splat_f32s(*angle));
                let first = |vector: S::f32s| bytemuck::cast_slice::<S::f32s, f32>(&[vector])[0];
                self.1.push((first(sine), first(cosine)));
            }
        }
    }

    #[test]
    fn sines_and_cosines_of_every_size_of_angle() {
        let mut angles = vec![0.0, 1.0e-30, 2_097_152.0, 2_097_151.0];
        let mut bits = 0x3000_0000_u32;
        while bits < 2_097_152.0_f32.to_bits() {
            angles.push(f32::from_bits(bits));
            bits += 4999;
        }
        let mut found = Vec::new();
        Arch::new().dispatch(All(&angles, &mut found));
        let mut worst = 0.0_f64;
        for (angle, (sine, cosine)) in angles.iter().zip(&found) {
            let (s, c) = f64::from(*angle).sin_cos();
            worst = worst.max((f64::from(*sine) - s).abs());
            worst = worst.max((f64::from(*cosine) - c).abs());
        }
        assert!(worst < 1.2e-7, "{worst:e}");
    }
}
