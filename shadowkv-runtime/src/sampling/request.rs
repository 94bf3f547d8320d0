//! How the decoder asks for a token.

use super::Settings;

/// How one sequence's next token is chosen: temperature, then the `top_k` likeliest, then the fewest whose probability
/// reaches `top_p`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Divisor of the logits; 0 takes the likeliest token.
    pub temperature: f32,
    /// Tokens to choose among; 0 for all.
    pub top_k: u32,
    /// Probability to choose within; 1 for all.
    pub top_p: f32,
    /// Seed of the sequence.
    pub seed: u64,
    /// Number of the token within the sequence: every step draws anew.
    pub step: u32,
}

impl From<&Sampling> for Settings {
    fn from(sampling: &Sampling) -> Settings {
        Settings {
            temperature: sampling.temperature,
            // No vocabulary has as many tokens.
            top_k: i32::try_from(sampling.top_k).unwrap_or(i32::MAX),
            top_p: sampling.top_p,
            seed: sampling.seed,
            step: sampling.step,
        }
    }
}
