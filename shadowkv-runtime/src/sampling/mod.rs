//! The next token from its logits: the function that the kernel `sample` computes, for a CPU, bit for bit.
//!
//! Temperature, then `top_k`, then `top_p`, as the processors of transformers do, and then a draw from what is left:
//!
//! 1. A logit that is not a number counts as minus infinity. Where no other is left, the token is -1 and its log
//!    probability not a number.
//! 2. A token's weight is `e^((logit - highest) / temperature)` in units of 2^-39, truncated, and 0 below `e^-27`; the
//!    inverse of the temperature is at most the largest `f32`. Sums of weights are exact, whatever their order; tokens of
//!    weight 0 are left out from here on. The most probable tokens are those with the highest logits, and of equal ones
//!    those with the lowest ids.
//! 3. `top_k` keeps that many of the most probable tokens.
//! 4. `top_p` keeps the fewest of the most probable tokens whose weights reach that share of the sum of what is left.
//! 5. A random number below the sum of what is left then falls into the weight of one token, in the order of the ids. It
//!    is a function of `seed` and `step` alone (Philox4x32-10), so that a sequence's tokens depend neither on its batch nor
//!    on the device.
//!
//! Every operation of `f32` is rounded to nearest by itself: no fused products, no function of a mathematics library.
//!
//! ```
//! use shadowkv_runtime::sampling::{Settings, sample};
//!
//! let logits = [0.5, 3.0, f32::NAN, 2.5];
//! assert_eq!(sample(&logits, &Settings::greedy()).token, 1);
//! let settings = Settings { temperature: 0.7, top_p: 0.9, seed: 42, step: 3, ..Settings::greedy() };
//! let drawn = sample(&logits, &settings);
//! assert!(drawn.token == 1 || drawn.token == 3);
//! assert!(drawn.logprob < 0.0);
//! ```

#![expect(
    clippy::float_cmp,
    reason = "what is equal to the highest logit is, in every bit"
)]

mod function;
mod philox;
mod request;

use function::{FAINTEST, ln_of, weight_of};
pub use philox::philox4x32;
pub use request::Sampling;

/// How the next token of a sequence is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Divisor of the logits; where it is not above 0, the first of the most probable tokens is chosen.
    pub temperature: f32,
    /// How many of the most probable tokens may be drawn; all if not above 0.
    pub top_k: i32,
    /// Share of the probability that the most probable tokens must reach, of which none more may be drawn; all if not below
    /// 1. Units of 2^-32 count, smaller ones are cut off.
    pub top_p: f32,
    /// Key of the random numbers.
    pub seed: u64,
    /// Counter of the random numbers: another for every token of a sequence.
    pub step: u32,
}

impl Settings {
    /// The most probable token.
    pub fn greedy() -> Settings {
        Settings {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            seed: 0,
            step: 0,
        }
    }
}

/// A token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampled {
    /// Its id; -1 where no logit is above minus infinity.
    pub token: i32,
    /// Its log probability in the softmax of the unmodified logits, to about 1e-6; not a number for the token -1.
    pub logprob: f32,
}

/// A token that may be drawn.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    id: u32,
    logit: f32,
    weight: u64,
}

/// Chooses the next token.
pub fn sample(logits: &[f32], settings: &Settings) -> Sampled {
    let none = Sampled {
        token: -1,
        logprob: f32::NAN,
    };
    // The larger of a number and what is none is the number.
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if highest == f32::NEG_INFINITY {
        return none;
    }
    let below = |logit: f32| {
        if logit == highest {
            0.0
        } else {
            logit - highest
        }
    };
    let ln_sum = ln_of(logits.iter().map(|logit| weight_of(below(*logit))).sum());
    let sampled = |(id, logit): (usize, f32)| Sampled {
        token: id as i32,
        logprob: below(logit) - ln_sum,
    };
    if settings.temperature.is_nan() || settings.temperature <= 0.0 {
        let first = logits.iter().position(|logit| *logit == highest);
        return first.map_or(none, |id| sampled((id, highest)));
    }
    let inverse_temperature = (1.0 / settings.temperature).min(f32::MAX);
    let mut candidates = Vec::new();
    for (id, logit) in logits.iter().enumerate() {
        let scaled = below(*logit) * inverse_temperature;
        if scaled >= FAINTEST {
            candidates.push(Candidate {
                id: id as u32,
                logit: *logit,
                weight: weight_of(scaled),
            });
        }
    }
    let filtered = most_probable(candidates, settings);
    let sum = sum_of(&filtered);
    let [low, high, ..] = philox4x32([settings.step, 0, 0, 0], settings.seed);
    let random = u64::from(high) << 32 | u64::from(low);
    let mut rest = ((u128::from(random) * u128::from(sum)) >> 64) as u64;
    for candidate in &filtered {
        if rest < candidate.weight {
            return sampled((candidate.id as usize, candidate.logit));
        }
        rest -= candidate.weight;
    }
    none
}

/// Those of `candidates` that the settings leave, in the order of their ids.
fn most_probable(mut candidates: Vec<Candidate>, settings: &Settings) -> Vec<Candidate> {
    let top_k = usize::try_from(settings.top_k).unwrap_or(0);
    let limited = top_k > 0 && top_k < candidates.len();
    if limited {
        keep_first(&mut candidates, top_k);
    }
    if settings.top_p < 1.0 {
        let wanted = share_of(sum_of(&candidates), settings.top_p);
        keep_share(&mut candidates, wanted);
    } else if !limited {
        return candidates;
    }
    candidates.sort_unstable_by_key(|candidate| candidate.id);
    candidates
}

/// The more probable first, and of equals the lower id. No logit is other than a number here.
fn by_probability(left: &Candidate, right: &Candidate) -> std::cmp::Ordering {
    let by_logit = right.logit.partial_cmp(&left.logit);
    by_logit
        .unwrap_or(std::cmp::Ordering::Equal)
        .then(left.id.cmp(&right.id))
}

/// Keeps the `count` most probable, in any order.
fn keep_first(candidates: &mut Vec<Candidate>, count: usize) {
    if count < candidates.len() {
        candidates.select_nth_unstable_by(count, by_probability);
        candidates.truncate(count);
    }
}

/// Keeps the fewest of the most probable whose weights reach `wanted`, in any order.
fn keep_share(candidates: &mut Vec<Candidate>, wanted: u64) {
    // Few of many are usual: sort no more than it takes.
    let mut sorted = 256;
    while sorted < candidates.len() {
        candidates.select_nth_unstable_by(sorted, by_probability);
        if sum_of(&candidates[..sorted]) >= wanted {
            candidates.truncate(sorted);
            break;
        }
        sorted *= 8;
    }
    candidates.sort_unstable_by(by_probability);
    let mut reached = 0;
    let needed = candidates.iter().take_while(|candidate| {
        let more = reached < wanted;
        reached += candidate.weight;
        more
    });
    let needed = needed.count();
    candidates.truncate(needed);
}

fn sum_of(candidates: &[Candidate]) -> u64 {
    candidates.iter().map(|candidate| candidate.weight).sum()
}

/// The share `top_p` of `sum`, rounded up, and something at least.
fn share_of(sum: u64, top_p: f32) -> u64 {
    // In units of 2^-32; what is negative or not a number becomes 0.
    let share = (top_p * 4_294_967_296.0) as u64;
    let product = u128::from(sum) * u128::from(share);
    (product.div_ceil(1 << 32) as u64).max(1)
}

#[cfg(test)]
mod tests;
