//! Cases of `sample`.

use std::collections::BTreeMap;

use shadowkv_runtime::manifest::Sizes;
use shadowkv_runtime::sampling::{Sampled, Settings, sample};

use super::{Layer, LayerSketch, Sketch, Target};
use crate::verify::case::{
    Case, Content, Expected, Misjudged, Outcome, Region, Segment, Values, bytes_of,
};
use crate::verify::oracle::sample::{Choice, distribution, log_probability, may_pick, uniform};
use crate::verify::random::Stream;
use crate::verify::tolerance::{LN, draw};

/// What the logits of a sequence are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Logits {
    /// Like a model's: a few stand out.
    Usual,
    /// Close together: most tokens are as probable as each other, almost.
    Flat,
    /// A few values, and both zeros.
    Ties,
    /// All the same.
    Equal,
    /// Some are no numbers or infinitely low.
    Holes,
    /// Two are infinite.
    Infinite,
    /// Nothing to choose.
    Nothing,
    /// From the largest numbers to the smallest.
    Wide,
    /// Smaller than normal numbers.
    Tiny,
}

/// One sequence: logits, temperature, `top_k`, `top_p`.
type Sequence = (Logits, f32, i32, f32);

pub(super) fn cases(target: &Target) -> Vec<Sketch> {
    let vocab = target.constant("VOCAB") as i32;
    // More than shared memory keeps.
    let many = target.constant("KEPT") as i32 + 1;
    let trials: [(&'static str, Vec<Sequence>); 8] = [
        (
            "the most probable",
            vec![
                (Logits::Usual, 0.0, 0, 1.0),
                (Logits::Ties, -1.0, 5, 0.5),
                (Logits::Equal, f32::NAN, 0, 1.0),
            ],
        ),
        (
            "any token",
            vec![
                (Logits::Usual, 1.0, 0, 1.0),
                (Logits::Usual, 0.3, -7, 2.0),
                (Logits::Flat, 4.0, 0, f32::NAN),
            ],
        ),
        (
            "top k",
            vec![
                (Logits::Usual, 1.0, 1, 1.0),
                (Logits::Flat, 1.5, 50, 1.0),
                (Logits::Ties, 0.8, many, 1.0),
                (Logits::Usual, 2.0, vocab, 1.0),
            ],
        ),
        (
            "top p",
            vec![
                (Logits::Usual, 0.7, 0, 0.9),
                (Logits::Flat, 1.0, 0, 0.95),
                (Logits::Equal, 1.0, 0, 0.5),
                (Logits::Usual, 1.0, 0, 0.0),
            ],
        ),
        (
            "top k, then top p",
            vec![
                (Logits::Usual, 0.7, 50, 0.9),
                (Logits::Ties, 1.0, 3, 0.6),
                (Logits::Flat, 3.0, many, 0.7),
                (Logits::Equal, 2.0, many, 0.3),
            ],
        ),
        (
            "no numbers and infinite ones",
            vec![
                (Logits::Nothing, 0.0, 0, 1.0),
                (Logits::Holes, 1.0, 40, 0.9),
                (Logits::Infinite, 0.5, 0, 0.9),
                (Logits::Nothing, 1.0, 5, 0.5),
                (Logits::Holes, 0.0, 0, 1.0),
            ],
        ),
        (
            "large and small",
            vec![
                (Logits::Wide, 1.0, 0, 0.9),
                (Logits::Tiny, 1e-40, 20, 0.9),
                (Logits::Wide, f32::INFINITY, 20, 1.0),
                (Logits::Usual, 1e-4, 0, 0.99),
            ],
        ),
        ("one sequence", vec![(Logits::Usual, 1.0, 0, 0.999)]),
    ];
    trials
        .into_iter()
        .map(|(name, sequences)| {
            Sketch::new(name, move |target, stream| case(target, stream, &sequences))
        })
        .collect()
}

/// The end of a step with usual settings.
pub(super) fn layer(_target: &Target, layer: &Layer) -> LayerSketch {
    let sequences = vec![(Logits::Usual, 0.7, 50, 0.9); layer.batch as usize];
    LayerSketch {
        tokens: layer.context,
        sketch: Sketch::of_layer(move |target, stream| case(target, stream, &sequences)),
    }
}

fn logits(kind: Logits, vocab: usize, stream: &mut Stream) -> Vec<f32> {
    let usual = |stream: &mut Stream| {
        let peak = if stream.chance(200) { 9.0 } else { 0.0 };
        (2.0 * stream.normal() + peak) as f32
    };
    let mut logits: Vec<f32> = (0..vocab)
        .map(|_| match kind {
            Logits::Usual | Logits::Holes | Logits::Infinite => usual(stream),
            Logits::Flat => (0.3 * stream.normal() - 1.0) as f32,
            Logits::Ties => [2.0, -1.0, 0.0, -0.0, 1.0][stream.below(5) as usize],
            Logits::Equal => -3.5,
            Logits::Nothing => [f32::NAN, f32::NEG_INFINITY][stream.below(2) as usize],
            Logits::Wide => {
                let size = 10.0_f64.powi(stream.below(77) as i32 - 38);
                (stream.normal() * size) as f32
            }
            Logits::Tiny => (stream.normal() * 1e-39) as f32,
        })
        .collect();
    if kind == Logits::Holes {
        for _ in 0..vocab / 3 {
            let place = stream.below(vocab as u64) as usize;
            logits[place] = [f32::NAN, f32::NEG_INFINITY, -f32::NAN][stream.below(3) as usize];
        }
    }
    if kind == Logits::Infinite {
        for _ in 0..2 {
            logits[stream.below(vocab as u64) as usize] = f32::INFINITY;
        }
    }
    logits
}

/// One sequence of a case.
struct Drawn {
    logits: Vec<f32>,
    settings: Settings,
    sampled: Sampled,
}

fn case(target: &Target, stream: &Stream, sequences: &[Sequence]) -> Case {
    let vocab = target.constant("VOCAB") as usize;
    let drawn: Vec<Drawn> = sequences
        .iter()
        .enumerate()
        .map(|(index, (kind, temperature, top_k, top_p))| {
            let mut stream = stream.fork(&format!("sequence {index}"));
            let settings = Settings {
                temperature: *temperature,
                top_k: *top_k,
                top_p: *top_p,
                seed: stream.bits(),
                step: stream.bits() as u32,
            };
            let logits = logits(*kind, vocab, &mut stream);
            let sampled = sample(&logits, &settings);
            Drawn {
                logits,
                settings,
                sampled,
            }
        })
        .collect();
    let floats = |of: fn(&Settings) -> f32| {
        let values = drawn.iter().map(|drawn| of(&drawn.settings));
        Content::Memory(vec![Segment::f32s(0, values)])
    };
    let settings = || drawn.iter().map(|drawn| drawn.settings);
    let rows = |(row, drawn): (usize, &Drawn)| {
        Segment::f32s((row * vocab) as u64, drawn.logits.iter().copied())
    };
    let arguments = BTreeMap::from([
        (
            "logits",
            Content::Memory(drawn.iter().enumerate().map(rows).collect()),
        ),
        ("temperature", floats(|settings| settings.temperature)),
        (
            "top_k",
            Content::i32s(settings().map(|settings| settings.top_k)),
        ),
        ("top_p", floats(|settings| settings.top_p)),
        (
            "seed",
            Content::i64s(settings().map(|settings| settings.seed as i64)),
        ),
        (
            "step",
            Content::u32s(settings().map(|settings| settings.step)),
        ),
        ("token_ids", Content::output()),
        ("logprob", Content::output()),
    ]);
    let likely = regions(&drawn);
    let sizes = Sizes::new().with("batch", drawn.len() as u64);
    let expected = if target.compared() {
        Expected::Chosen {
            likely,
            // What the oracle allows first: then the runtime's function must agree in every bit.
            judge: Box::new(move |outcome| {
                for (sequence, drawn) in drawn.iter().enumerate() {
                    drawn.judge(sequence, outcome)?;
                }
                Ok(regions(&drawn))
            }),
        }
    } else {
        Expected::Fixed(likely)
    };
    Case {
        sizes,
        arguments,
        expected,
    }
}

/// What the runtime's function makes of the sequences.
fn regions(drawn: &[Drawn]) -> Vec<Region> {
    let region = |argument, bytes| Region {
        argument,
        first: 0,
        shared: Vec::new(),
        axes: vec![("sequence", 0, drawn.len() as u64)],
        values: Values::Exact(bytes),
    };
    let sampled = || drawn.iter().map(|drawn| drawn.sampled);
    vec![
        region(
            "token_ids",
            bytes_of(sampled().map(|sampled| sampled.token.to_le_bytes())),
        ),
        region(
            "logprob",
            bytes_of(sampled().map(|sampled| sampled.logprob.to_le_bytes())),
        ),
    ]
}

impl Drawn {
    /// Whether the oracle allows the token and its probability that the launch left for a sequence.
    fn judge(&self, sequence: usize, outcome: &dyn Outcome) -> Result<(), Misjudged> {
        let left = |argument| outcome.integers(argument, sequence as u64, 1)[0];
        let misjudged = |argument, found, allowed| {
            Err(Misjudged {
                argument,
                place: format!("[sequence {sequence}]"),
                found,
                allowed,
            })
        };
        let found = left("token_ids");
        if !self.allows(found) {
            let allowed = format!("the oracle does not draw it with {:?}", self.settings);
            return misjudged("token_ids", format!("token {found}"), allowed);
        }
        let logprob = f64::from(f32::from_bits(left("logprob") as u32));
        let exact: Vec<f64> = self.logits.iter().map(|logit| f64::from(*logit)).collect();
        let Ok(token) = usize::try_from(found) else {
            return Ok(());
        };
        let expected = log_probability(&exact, token);
        let slack = draw(exact.len()) + LN * expected.abs().max(1.0);
        if (logprob - expected).abs() <= slack {
            return Ok(());
        }
        misjudged(
            "logprob",
            format!("token {token} has {logprob}"),
            format!("{expected} within {slack:.1e}"),
        )
    }

    /// Whether the oracle may draw this token.
    fn allows(&self, token: i32) -> bool {
        let exact: Vec<f64> = self.logits.iter().map(|logit| f64::from(*logit)).collect();
        let slack = draw(exact.len());
        let uniform = uniform(self.settings.seed, self.settings.step);
        // Where the sum all but reaches top_p, a token more or less may be in.
        [0.0, -slack, slack].into_iter().any(|more| {
            let choice = Choice {
                temperature: f64::from(self.settings.temperature),
                top_k: self.settings.top_k.into(),
                top_p: f64::from(self.settings.top_p) + more,
            };
            let distribution = distribution(&exact, &choice);
            match usize::try_from(token) {
                Ok(token) => may_pick(&distribution, uniform, token, slack),
                Err(_) => distribution.is_empty(),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The runtime's function draws what the oracle allows, whatever the settings.
    #[test]
    fn the_runtime_s_function_is_the_oracle_s() {
        let kinds = [
            Logits::Usual,
            Logits::Flat,
            Logits::Ties,
            Logits::Equal,
            Logits::Holes,
            Logits::Infinite,
            Logits::Nothing,
            Logits::Wide,
            Logits::Tiny,
        ];
        let mut stream = Stream::new(11);
        for round in 0..600 {
            let kind = kinds[round % kinds.len()];
            let vocab = 1 + stream.below(700) as usize;
            let logits = logits(kind, vocab, &mut stream);
            let settings = Settings {
                temperature: [0.0, 0.2, 0.9, 1.0, 2.5][stream.below(5) as usize],
                top_k: stream.below(60) as i32 - 10,
                top_p: [0.05, 0.5, 0.9, 0.99, 1.0][stream.below(5) as usize],
                seed: stream.bits(),
                step: stream.bits() as u32,
            };
            let sampled = sample(&logits, &settings);
            let drawn = Drawn {
                logits,
                settings,
                sampled,
            };
            assert!(
                drawn.allows(sampled.token),
                "{kind:?}, {vocab} tokens, {settings:?}: {sampled:?}"
            );
            let others = (0..vocab as i32).filter(|token| drawn.allows(*token));
            let others = others.count();
            assert!(others <= 3 || settings.temperature > 0.0, "{others} tokens");
        }
    }
}
