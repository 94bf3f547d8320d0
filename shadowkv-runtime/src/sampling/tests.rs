use super::*;

fn drawn(seed: u64) -> Settings {
    Settings {
        temperature: 1.0,
        seed,
        ..Settings::greedy()
    }
}

/// How often each of `tokens` tokens is drawn by `draws` seeds.
fn histogram(logits: &[f32], settings: Settings, draws: u64) -> Vec<u32> {
    let mut counts = vec![0; logits.len()];
    for seed in 0..draws {
        let sampled = sample(logits, &Settings { seed, ..settings });
        counts[sampled.token as usize] += 1;
    }
    counts
}

#[test]
fn the_most_probable_token_and_of_equals_the_first() {
    let greedy = Settings::greedy();
    let sampled = sample(&[1.0, 4.0, f32::NAN, 4.0], &greedy);
    assert_eq!(sampled.token, 1);
    let exact = -(2.0 + (-3.0_f64).exp()).ln();
    assert!((f64::from(sampled.logprob) - exact).abs() < 1e-6);
    for temperature in [-1.0, -0.0, f32::NAN] {
        let settings = Settings {
            temperature,
            ..greedy
        };
        assert_eq!(sample(&[0.0, -0.0, -1.0], &settings).token, 0);
    }
    assert_eq!(sample(&[-0.0, 0.0], &greedy).token, 0);
}

#[test]
fn what_is_no_number_is_never_chosen() {
    for settings in [Settings::greedy(), drawn(5)] {
        for logits in [&[][..], &[f32::NAN], &[f32::NEG_INFINITY, f32::NAN]] {
            let sampled = sample(logits, &settings);
            assert_eq!(sampled.token, -1);
            assert!(sampled.logprob.is_nan());
        }
        let sampled = sample(&[f32::NAN, -3e38, f32::NEG_INFINITY], &settings);
        assert_eq!((sampled.token, sampled.logprob), (1, 0.0));
    }
    // Infinite ones share everything.
    let infinite = [3.0, f32::INFINITY, f32::INFINITY];
    let counts = histogram(&infinite, drawn(0), 400);
    assert!(
        counts[0] == 0 && counts[1] > 150 && counts[2] > 150,
        "{counts:?}"
    );
    let logprob = sample(&infinite, &drawn(0)).logprob;
    assert!((f64::from(logprob) + 2.0_f64.ln()).abs() < 1e-6);
}

#[test]
fn draws_have_the_probabilities_they_should() {
    let logits = [0.0_f32, 1.0, 2.0, -1.0, 2.0];
    for temperature in [0.5_f32, 1.0, 3.0] {
        let settings = Settings {
            temperature,
            ..drawn(0)
        };
        let draws = 20_000;
        let counts = histogram(&logits, settings, draws);
        let weights = logits.map(|logit| f64::from(logit / temperature).exp());
        let sum: f64 = weights.iter().sum();
        for (count, weight) in counts.iter().zip(weights) {
            let expected = draws as f64 * weight / sum;
            // Five times the standard deviation.
            let allowed = 5.0 * expected.sqrt() + 1.0;
            assert!((f64::from(*count) - expected).abs() < allowed, "{counts:?}");
        }
    }
}

#[test]
fn top_k_keeps_the_first_of_equals() {
    let logits = [1.0, 2.0, 1.0, 1.0, 0.0];
    let settings = Settings {
        top_k: 3,
        ..drawn(0)
    };
    let counts = histogram(&logits, settings, 500);
    assert!(counts[..3].iter().all(|count| *count > 50), "{counts:?}");
    assert_eq!(counts[3..], [0, 0]);
    let all = Settings {
        top_k: -1,
        ..drawn(0)
    };
    assert!(histogram(&logits, all, 500).iter().all(|count| *count > 0));
}

#[test]
fn top_p_keeps_as_few_as_reach_it() {
    // Weights 4, 2, 1, 1 of 8.
    let logits = [8.0_f32, 4.0, 2.0, 2.0].map(f32::ln);
    let settings = |top_p, top_k| Settings {
        top_k,
        top_p,
        ..drawn(0)
    };
    let kept = |top_p, top_k| {
        let counts = histogram(&logits, settings(top_p, top_k), 300);
        counts.iter().filter(|count| **count > 0).count()
    };
    for (top_p, tokens) in [
        (-1.0, 1),
        (0.0, 1),
        (0.4, 1),
        (0.55, 2),
        (0.8, 3),
        (0.9, 4),
        (1.0, 4),
        (f32::NAN, 4),
    ] {
        assert_eq!(kept(top_p, 0), tokens, "{top_p}");
    }
    // The share is of what top_k left: 8 of 12 here.
    assert_eq!(kept(0.6, 2), 1);
    assert_eq!(kept(0.7, 2), 2);
}

#[test]
fn many_tokens_are_needed_or_few() {
    // All equal: each has the same weight, and the first of them are kept.
    let flat = vec![0.25_f32; 10_000];
    for (top_p, needed) in [(0.5_f32, 5000), (0.25, 2500), (1e-9, 1)] {
        let candidates: Vec<Candidate> = (0..10_000)
            .map(|id| Candidate {
                id,
                logit: 0.25,
                weight: 1 << 39,
            })
            .collect();
        let settings = Settings { top_p, ..drawn(0) };
        let kept = most_probable(candidates, &settings);
        assert_eq!(kept.len(), needed);
        assert!(
            kept.iter()
                .enumerate()
                .all(|(i, kept)| kept.id as usize == i)
        );
        assert!(sample(&flat, &settings).token < needed as i32);
    }
}

#[test]
fn extreme_temperatures() {
    let logits = [1.0, 1.5, -100.0];
    let at = |temperature| Settings {
        temperature,
        ..drawn(0)
    };
    for temperature in [1e-30, f32::MIN_POSITIVE / 8.0] {
        assert_eq!(histogram(&logits, at(temperature), 50), [0, 50, 0]);
    }
    for temperature in [1e30, f32::INFINITY] {
        let counts = histogram(&logits, at(temperature), 300);
        assert!(counts.iter().all(|count| *count > 60), "{counts:?}");
    }
}

#[test]
fn a_token_is_a_function_of_seed_and_step() {
    let logits: Vec<f32> = (0..1000).map(|i| (i % 17) as f32 * 0.3).collect();
    let at = |seed, step| {
        sample(
            &logits,
            &Settings {
                step,
                ..drawn(seed)
            },
        )
        .token
    };
    assert_eq!(at(3, 4), at(3, 4));
    let tokens: std::collections::BTreeSet<i32> = (0..50).map(|step| at(3, step)).collect();
    assert!(tokens.len() > 40);
    assert_ne!(at(3, 0), at(3 + (1 << 32), 0));
}
