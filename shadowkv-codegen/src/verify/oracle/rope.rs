//! Rotary position embedding, after the definitions in the models' own code (Hugging Face transformers).

use std::f64::consts::PI;

use crate::spec::{Rope, RopeLayout, RopeScaling};

/// The rotation that a spec's `rope` block means.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_field_names,
    reason = "`rotary_dim` is the spec's own name"
)]
pub struct Rotary {
    /// Radians per position, `[tables][rotary_dim / 2]`: computed in `f64`, rounded once.
    pub frequencies: Vec<Vec<f32>>,
    /// Multiplier of cosine and sine.
    pub factor: f64,
    layout: RopeLayout,
    rotary_dim: usize,
}

/// Cosine and sine of every rotated pair at one position, multiplier included.
pub type Turns = Vec<(f64, f64)>;

impl Rotary {
    /// The rotation of `rope`.
    pub fn new(rope: &Rope) -> Rotary {
        let (tables, factor) = definition(rope);
        Rotary {
            frequencies: tables
                .into_iter()
                .map(|table| table.into_iter().map(|value| value as f32).collect())
                .collect(),
            factor,
            layout: rope.layout,
            rotary_dim: rope.rotary_dim as usize,
        }
    }

    /// The turns of all pairs at `position`. The angle is rounded to `f32`, as the models compute it; its cosine and sine
    /// are not.
    pub fn turns(&self, table: usize, position: usize) -> Turns {
        self.frequencies[table]
            .iter()
            .map(|frequency| {
                let angle = f64::from(position as f32 * frequency);
                (angle.cos() * self.factor, angle.sin() * self.factor)
            })
            .collect()
    }

    /// Elements of a head that pair `pair` turns.
    pub fn pair(&self, pair: usize) -> (usize, usize) {
        match self.layout {
            RopeLayout::HalfSplit => (pair, pair + self.rotary_dim / 2),
            RopeLayout::Interleaved => (2 * pair, 2 * pair + 1),
        }
    }

    /// Turns the leading part of one head of one token; the rest stays.
    pub fn rotate(&self, head: &mut [f64], turns: &Turns) {
        for (pair, (cosine, sine)) in turns.iter().enumerate() {
            let (first, second) = self.pair(pair);
            let (x, y) = (head[first], head[second]);
            head[first] = x * cosine - y * sine;
            head[second] = y * cosine + x * sine;
        }
    }
}

/// Frequency tables and the multiplier of cosine and sine.
fn definition(rope: &Rope) -> (Vec<Vec<f64>>, f64) {
    let dim = f64::from(rope.rotary_dim);
    // inv_freq = 1 / base^(arange(0, dim, 2) / dim)
    let wavelength_over_2pi: Vec<f64> = (0..rope.rotary_dim)
        .step_by(2)
        .map(|index| rope.base.powf(f64::from(index) / dim))
        .collect();
    let plain = wavelength_over_2pi.iter().map(|value| 1.0 / value);
    match &rope.scaling {
        RopeScaling::None => (vec![plain.collect()], 1.0),
        RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_max_position,
        } => {
            let original = f64::from(*original_max_position);
            let scaled = |frequency: f64| {
                let wavelength = 2.0 * PI / frequency;
                if wavelength < original / high_freq_factor {
                    frequency
                } else if wavelength > original / low_freq_factor {
                    frequency / factor
                } else {
                    let smooth = (original / wavelength - low_freq_factor)
                        / (high_freq_factor - low_freq_factor);
                    (1.0 - smooth) * frequency / factor + smooth * frequency
                }
            };
            (vec![plain.map(scaled).collect()], 1.0)
        }
        RopeScaling::Yarn {
            factor,
            original_max_position,
            beta_fast,
            beta_slow,
            attention_factor,
        } => {
            // The dimension that turns `rotations` times within the original context.
            let dimension = |rotations: f64| {
                dim * (f64::from(*original_max_position) / (rotations * 2.0 * PI)).ln()
                    / (2.0 * rope.base.ln())
            };
            let low = dimension(*beta_fast).floor().max(0.0);
            let high = dimension(*beta_slow).ceil().min(dim - 1.0);
            let high = if high - low == 0.0 {
                high + 0.001
            } else {
                high
            };
            let scaled = |(index, frequency): (usize, f64)| {
                let ramp = ((index as f64 - low) / (high - low)).clamp(0.0, 1.0);
                let interpolated = frequency / factor;
                interpolated * ramp + frequency * (1.0 - ramp)
            };
            (
                vec![plain.enumerate().map(scaled).collect()],
                *attention_factor,
            )
        }
        RopeScaling::LongRope {
            short_factor,
            long_factor,
            attention_factor,
            ..
        } => {
            let table = |factors: &Vec<f64>| {
                let scaled = factors.iter().zip(&wavelength_over_2pi);
                scaled
                    .map(|(factor, wavelength)| 1.0 / (factor * wavelength))
                    .collect()
            };
            (
                vec![table(short_factor), table(long_factor)],
                *attention_factor,
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rope(layout: RopeLayout, rotary_dim: u32, scaling: RopeScaling) -> Rope {
        Rope {
            base: 10_000.0,
            layout,
            rotary_dim,
            max_position: 131_072,
            scaling,
        }
    }

    #[test]
    fn pairs_turn_by_their_own_angle_and_the_rest_stays() {
        let head = [1.0, 2.0, 3.0, 4.0, 5.0];
        for (layout, pairs) in [
            (RopeLayout::HalfSplit, [(0, 2), (1, 3)]),
            (RopeLayout::Interleaved, [(0, 1), (2, 3)]),
        ] {
            let rotary = Rotary::new(&rope(layout, 4, RopeScaling::None));
            assert_eq!(rotary.frequencies, [[1.0, 0.01]]);
            let mut turned = head;
            rotary.rotate(&mut turned, &rotary.turns(0, 3));
            for ((first, second), angle) in pairs.into_iter().zip([3.0, f64::from(0.03_f32)]) {
                let (x, y): (f64, f64) = (head[first], head[second]);
                assert!((turned[first] - (x * angle.cos() - y * angle.sin())).abs() < 1e-6);
                assert!((turned[second] - (y * angle.cos() + x * angle.sin())).abs() < 1e-6);
            }
            assert_eq!(turned[4], 5.0);
        }
    }

    #[test]
    fn an_angle_is_rounded_to_f32_before_its_sine() {
        let rotary = Rotary::new(&rope(RopeLayout::HalfSplit, 64, RopeScaling::None));
        let position = 1_000_003;
        let frequency = rotary.frequencies[0][5];
        let exact = f64::from(frequency) * f64::from(position);
        let (cosine, _) = rotary.turns(0, position as usize)[5];
        assert_eq!(cosine, f64::from(exact as f32).cos());
        assert_ne!(cosine, exact.cos());
    }

    #[test]
    fn the_bands_of_llama3() {
        let scaling = RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position: 8192,
        };
        let plain = Rotary::new(&rope(RopeLayout::HalfSplit, 128, RopeScaling::None));
        let scaled = Rotary::new(&rope(RopeLayout::HalfSplit, 128, scaling));
        let (plain, scaled) = (&plain.frequencies[0], &scaled.frequencies[0]);
        assert_eq!(scaled[0], plain[0]);
        assert_eq!(scaled[63], plain[63] / 8.0);
        let between = (0..64).filter(|&i| scaled[i] < plain[i] && scaled[i] > plain[i] / 7.99);
        assert!(between.count() > 2);
    }

    #[test]
    fn longrope_has_two_tables_and_a_factor() {
        let scaling = RopeScaling::LongRope {
            short_factor: vec![1.0, 2.0],
            long_factor: vec![4.0, 8.0],
            original_max_position: 4096,
            attention_factor: 1.25,
            force: None,
        };
        let rotary = Rotary::new(&rope(RopeLayout::HalfSplit, 4, scaling));
        assert_eq!(rotary.frequencies, [[1.0, 0.005], [0.25, 0.00125]]);
        assert_eq!(rotary.turns(1, 0), [(1.25, 0.0), (1.25, 0.0)]);
    }
}
