//! `sample`: which tokens may be drawn, how probable each is, and which one a random number picks.

#![expect(
    clippy::float_cmp,
    reason = "what is equal to the highest logit is, also where it is infinite"
)]

/// How the next token is chosen.
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    /// Divisor of the logits, whose inverse is an `f32`: none above the largest of these. The most probable token if it is
    /// not above 0.
    pub temperature: f64,
    /// Most tokens that may be drawn; all if not above 0.
    pub top_k: i64,
    /// Probability that the tokens must reach; all if not below 1.
    pub top_p: f64,
}

/// The tokens that may be drawn with their probabilities, which add up to 1, in the order of the tokens. None if there is no
/// logit above minus infinity.
pub fn distribution(logits: &[f64], choice: &Choice) -> Vec<(usize, f64)> {
    let mut tokens: Vec<(usize, f64)> = logits
        .iter()
        .copied()
        .enumerate()
        .filter(|(_, logit)| !logit.is_nan() && *logit > f64::NEG_INFINITY)
        .collect();
    // Stable: equal ones stay in the order of the tokens. A zero has no sign here.
    tokens.sort_by(|(_, left), (_, right)| (right + 0.0).total_cmp(&(left + 0.0)));
    let Some((_, highest)) = tokens.first().copied() else {
        return tokens;
    };
    if choice.temperature.is_nan() || choice.temperature <= 0.0 {
        tokens.truncate(1);
    }
    if choice.top_k > 0 {
        tokens.truncate(choice.top_k as usize);
    }
    for (_, logit) in &mut tokens {
        let below = if *logit == highest {
            0.0
        } else {
            *logit - highest
        };
        *logit = if tokens_are_equal(choice.temperature) {
            1.0
        } else {
            (below / choice.temperature.max(1.0 / f64::from(f32::MAX))).exp()
        };
    }
    normalise(&mut tokens);
    if choice.top_p < 1.0 {
        let mut reached = 0.0;
        let needed = tokens.iter().take_while(|(_, probability)| {
            let more = reached < choice.top_p;
            reached += probability;
            more
        });
        let needed = needed.count().max(1);
        tokens.truncate(needed);
        normalise(&mut tokens);
    }
    tokens.sort_unstable_by_key(|(token, _)| *token);
    tokens
}

/// Whether the temperature leaves no difference between finite logits.
fn tokens_are_equal(temperature: f64) -> bool {
    temperature == f64::INFINITY
}

fn normalise(tokens: &mut [(usize, f64)]) {
    let sum: f64 = tokens.iter().map(|(_, probability)| probability).sum();
    for (_, probability) in tokens {
        *probability /= sum;
    }
}

/// Whether `uniform`, between 0 and 1, may pick `token`: it falls into the token's share of the unit interval, in the order
/// of the tokens, or no further beside it than `slack`.
pub fn may_pick(distribution: &[(usize, f64)], uniform: f64, token: usize, slack: f64) -> bool {
    let mut end = 0.0;
    for (own, probability) in distribution {
        let begin = end;
        end += probability;
        if *own == token {
            return uniform >= begin - slack && uniform <= end + slack;
        }
    }
    false
}

/// The log probability of a token in the softmax of the unmodified logits.
pub fn log_probability(logits: &[f64], token: usize) -> f64 {
    let choice = Choice {
        temperature: 1.0,
        top_k: 0,
        top_p: 1.0,
    };
    let all = distribution(logits, &choice);
    let highest = all
        .iter()
        .map(|(token, _)| logits[*token])
        .fold(f64::NEG_INFINITY, f64::max);
    let of_highest = all.iter().find(|(token, _)| logits[*token] == highest);
    let below = if logits[token] == highest {
        0.0
    } else {
        logits[token] - highest
    };
    below + of_highest.map_or(f64::NAN, |(_, probability)| probability.ln())
}

/// The random number of a seed and a step, in [0, 1): the first 64 bits of Philox4x32-10 over 2^64.
pub fn uniform(seed: u64, step: u32) -> f64 {
    const MULTIPLIERS: [u64; 2] = [0xD251_1F53, 0xCD9E_8D57];
    const WEYL: [u64; 2] = [0x9E37_79B9, 0xBB67_AE85];
    let half = |product: u64| (product >> 32, product & 0xFFFF_FFFF);
    let mut counter = [u64::from(step), 0, 0, 0];
    for round in 0..10 {
        let key = |which: usize| {
            let begin = seed >> (32 * which) & 0xFFFF_FFFF;
            (begin + round * WEYL[which]) & 0xFFFF_FFFF
        };
        let (high_0, low_0) = half(MULTIPLIERS[0] * counter[0]);
        let (high_1, low_1) = half(MULTIPLIERS[1] * counter[2]);
        counter = [
            high_1 ^ counter[1] ^ key(0),
            low_1,
            high_0 ^ counter[3] ^ key(1),
            low_0,
        ];
    }
    (counter[1] as f64 + counter[0] as f64 / 2.0_f64.powi(32)) / 2.0_f64.powi(32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(temperature: f64, top_k: i64, top_p: f64) -> Choice {
        Choice {
            temperature,
            top_k,
            top_p,
        }
    }

    /// Weights 4, 1, 2, 1 of 8, and two that cannot be drawn.
    fn logits() -> Vec<f64> {
        let weights = [4.0, 1.0, f64::NAN, 2.0, 0.0, 1.0];
        weights.iter().map(|weight: &f64| weight.ln()).collect()
    }

    fn rounded(logits: &[f64], choice: &Choice) -> Vec<(usize, f64)> {
        let all = distribution(logits, choice);
        all.into_iter()
            .map(|(token, probability)| (token, (probability * 1e9).round() / 1e9))
            .collect()
    }

    #[test]
    fn what_may_be_drawn() {
        let logits = logits();
        let all = [(0, 0.5), (1, 0.125), (3, 0.25), (5, 0.125)];
        assert_eq!(rounded(&logits, &choice(1.0, 0, 1.0)), all);
        assert_eq!(rounded(&logits, &choice(0.0, 0, 1.0)), [(0, 1.0)]);
        let equal = [(0, 0.25), (1, 0.25), (3, 0.25), (5, 0.25)];
        assert_eq!(rounded(&logits, &choice(f64::INFINITY, 0, 1.0)), equal);
        // Of equals the first; and top_p is a share of what top_k left.
        assert_eq!(
            rounded(&logits, &choice(1.0, 3, 0.8)),
            [(0, 0.666_666_667), (3, 0.333_333_333)]
        );
        assert_eq!(rounded(&logits, &choice(1.0, 0, 0.0)), [(0, 1.0)]);
        assert!(distribution(&[f64::NAN, f64::NEG_INFINITY], &choice(1.0, 0, 1.0)).is_empty());
        let infinite = [f64::INFINITY, 1.0, f64::INFINITY];
        assert_eq!(
            rounded(&infinite, &choice(0.5, 0, 1.0)),
            [(0, 0.5), (1, 0.0), (2, 0.5)]
        );
    }

    #[test]
    fn what_a_number_picks() {
        let all = distribution(&logits(), &choice(1.0, 0, 1.0));
        assert!(may_pick(&all, 0.45, 0, 0.0) && !may_pick(&all, 0.55, 0, 0.01));
        assert!(may_pick(&all, 0.505, 0, 0.01) && may_pick(&all, 0.505, 1, 0.01));
        assert!(!may_pick(&all, 0.5, 2, 1.0));
        assert!((log_probability(&logits(), 3) - 0.25_f64.ln()).abs() < 1e-12);
    }

    #[test]
    fn random_numbers_are_philox() {
        let expected = (f64::from(0xe169_c58d_u32) + f64::from(0x6627_e8d5_u32) / 4_294_967_296.0)
            / 4_294_967_296.0;
        assert_eq!(uniform(0, 0), expected);
        assert_ne!(uniform(1, 0), uniform(0, 1));
    }
}
