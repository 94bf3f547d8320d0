//! The frequency tables of the rotary embedding.

use std::f64::consts::TAU;

use super::resolved::{Rope, RopeScaling};

/// What a kernel needs to rotate: inverse frequencies and the multiplier of cosine and sine.
#[derive(Clone, Debug, PartialEq)]
pub struct RopeTables {
    /// Radians per position of each rotated pair, `[tables][rotary_dim / 2]`. One table, or two for `LongRoPE`:
    /// short (index 0) and long (index 1), whether or not the spec forces one.
    pub inverse_frequencies: Vec<Vec<f32>>,
    /// Multiplier of cosine and sine, the same for every table; 1 unless the scaling is yarn or longrope.
    pub attention_factor: f32,
}

impl Rope {
    /// Which table a sequence uses whose prompt has `prompt` tokens: 0, or 1 for longrope's long one.
    pub fn table_of(&self, prompt: usize) -> usize {
        let RopeScaling::LongRope {
            original_max_position,
            force,
            ..
        } = &self.scaling
        else {
            return 0;
        };
        let long = prompt > *original_max_position as usize;
        force.map_or(usize::from(long), |table| table as usize)
    }

    /// The tables, computed in `f64` and rounded to `f32` once.
    pub fn tables(&self) -> RopeTables {
        let inverse_frequencies = self
            .exact_tables()
            .into_iter()
            .map(|table| {
                table
                    .into_iter()
                    .map(|frequency| frequency as f32)
                    .collect()
            })
            .collect();
        RopeTables {
            inverse_frequencies,
            attention_factor: self.attention_factor() as f32,
        }
    }

    /// The tables before rounding.
    pub(super) fn exact_tables(&self) -> Vec<Vec<f64>> {
        let plain = || (0..self.rotary_dim / 2).map(|i| self.frequency(i));
        match &self.scaling {
            RopeScaling::None => vec![plain().collect()],
            RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position,
            } => {
                let original = f64::from(*original_max_position);
                let scale = |frequency: f64| {
                    // How often the pair turns within the original context.
                    let turns = original * frequency / TAU;
                    let kept = ((turns - low_freq_factor) / (high_freq_factor - low_freq_factor))
                        .clamp(0.0, 1.0);
                    (1.0 - kept) * frequency / factor + kept * frequency
                };
                vec![plain().map(scale).collect()]
            }
            RopeScaling::Yarn {
                factor,
                original_max_position,
                beta_fast,
                beta_slow,
                ..
            } => {
                let (low, high) = self.yarn_ramp(*original_max_position, *beta_fast, *beta_slow);
                let scale = |(i, frequency): (usize, f64)| {
                    let divided = ((i as f64 - low) / (high - low)).clamp(0.0, 1.0);
                    (1.0 - divided) * frequency + divided * frequency / factor
                };
                vec![plain().enumerate().map(scale).collect()]
            }
            RopeScaling::LongRope {
                short_factor,
                long_factor,
                ..
            } => [short_factor, long_factor]
                .map(|factors| {
                    plain()
                        .zip(factors)
                        .map(|(frequency, factor)| frequency / factor)
                        .collect()
                })
                .to_vec(),
        }
    }

    /// `base^(-2i/rotary_dim)`.
    fn frequency(&self, i: u32) -> f64 {
        self.base
            .powf(-2.0 * f64::from(i) / f64::from(self.rotary_dim))
    }

    /// Pair indices between which yarn's ramp runs; the first is below the second.
    fn yarn_ramp(&self, original_max_position: u32, beta_fast: f64, beta_slow: f64) -> (f64, f64) {
        let width = f64::from(self.rotary_dim);
        // The (fractional) pair that turns `rotations` times within the original context.
        let pair = |rotations: f64| {
            width * (f64::from(original_max_position) / (rotations * TAU)).ln()
                / (2.0 * self.base.ln())
        };
        let low = pair(beta_fast).floor().max(0.0);
        let high = pair(beta_slow).ceil().min(width - 1.0);
        // A ramp of no width is a step; the published code steps within 0.001 of a pair.
        (low, high.max(low + 0.001))
    }

    /// Multiplier of cosine and sine.
    fn attention_factor(&self) -> f64 {
        match self.scaling {
            RopeScaling::None | RopeScaling::Llama3 { .. } => 1.0,
            RopeScaling::Yarn {
                attention_factor, ..
            }
            | RopeScaling::LongRope {
                attention_factor, ..
            } => attention_factor,
        }
    }
}
