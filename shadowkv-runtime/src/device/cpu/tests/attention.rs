use proptest::prelude::*;

use super::*;

/// Sequences `(new tokens, all tokens)` with gaps between them.
fn placed(sequences: &[(usize, usize)]) -> (Tokens, usize) {
    let (mut begin, mut row) = (0, 3);
    let mut tokens = Tokens::default();
    for (count, total) in sequences {
        let mut new = sequence(begin, *count, *total, row);
        new.row_capacity = total + 2;
        tokens.sequences.push(new);
        begin += count;
        row += total + 7;
    }
    (tokens, row)
}

fn attend(spec: &Spec, tokens: &Tokens, queries: &[f32], keys: &[f32], values: &[f32]) -> Vec<f32> {
    let device = device(spec);
    let tokens = device.tokens(tokens).unwrap();
    let [queries, keys, values] = [queries, keys, values].map(|floats| buffer(&device, floats));
    let mut output = buffer(&device, &vec![f32::NAN; queries.values.len()]);
    device
        .attention(&tokens, &queries, &keys, &values, &mut output)
        .unwrap();
    output.values
}

fn exact(spec: &Spec, tokens: &Tokens, queries: &[f32], keys: &[f32], values: &[f32]) -> Vec<f64> {
    let d = spec.attention.head_dim as usize;
    let width = spec.attention.key_width() as usize;
    let group = spec.attention.gqa_ratio as usize;
    let dot = |x: &[f32], y: &[f32]| -> f64 {
        x.iter()
            .zip(y)
            .map(|(x, y)| f64::from(*x) * f64::from(*y))
            .sum()
    };
    let mut output = Vec::new();
    for sequence in &tokens.sequences {
        for token in 0..sequence.count {
            for head in 0..width / d * group {
                let query =
                    &queries[((sequence.begin + token) * (width / d) * group + head) * d..][..d];
                let at = |position| (sequence.row_begin + position) * width + head / group * d;
                let seen = 0..=sequence.first_position() + token;
                let score = |p| dot(query, &keys[at(p)..][..d]) / (d as f64).sqrt();
                let weights: Vec<f64> = seen.map(|position| score(position).exp()).collect();
                let sum: f64 = weights.iter().sum();
                for i in 0..d {
                    let value = |(p, w): (usize, &f64)| w / sum * f64::from(values[at(p) + i]);
                    output.push(weights.iter().enumerate().map(value).sum());
                }
            }
        }
    }
    output
}

fn check(spec: &Spec, sequences: &[(usize, usize)], seed: u64) {
    let (tokens, rows) = placed(sequences);
    let width = spec.attention.key_width() as usize;
    let query_width = width * spec.attention.gqa_ratio as usize;
    let queries: Vec<f32> = floats(seed, tokens.rows() * query_width)
        .iter()
        .map(|query| query * 4.0)
        .collect();
    // What belongs to no sequence must not be looked at.
    let mut keys = vec![f32::NAN; rows * width];
    let mut values = keys.clone();
    for (place, sequence) in tokens.sequences.iter().enumerate() {
        let at = sequence.row_begin * width;
        let count = sequence.total * width;
        keys[at..at + count].copy_from_slice(&floats(seed + 10 + place as u64, count));
        values[at..at + count].copy_from_slice(&floats(seed + 20 + place as u64, count));
    }
    let run = |tokens: &Tokens, queries: &[f32]| attend(spec, tokens, queries, &keys, &values);
    let ours = on_threads(1, || run(&tokens, &queries));
    let theirs = exact(spec, &tokens, &queries, &keys, &values);
    // Scores up to 4 sqrt(d) / 3 and sums of values below 1.
    assert_close(&ours, &theirs, |_| 1e-5);
    let again = on_threads(2, || run(&tokens, &queries));
    assert!(ours == again, "depends on the number of threads");
    for sequence in &tokens.sequences {
        let range = sequence.begin * query_width..(sequence.begin + sequence.count) * query_width;
        let mut alone = *sequence;
        alone.begin = 0;
        let alone = Tokens {
            sequences: vec![alone],
        };
        let alone = run(&alone, &queries[range.clone()]);
        assert!(ours[range] == alone, "depends on the other sequences");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn ragged_batches(
        dim in 4..33_usize,
        kv_heads in 1..4_usize,
        group in 1..6_usize,
        sequences in prop::collection::vec((1..90_usize, 0..200_usize), 1..4),
        seed in 0..1_u64 << 60,
    ) {
        let spec = spec(dim * 8, kv_heads, group, "");
        let sequences: Vec<_> = sequences.iter().map(|(new, old)| (*new, new + old)).collect();
        check(&spec, &sequences, seed);
    }

    #[test]
    fn steps(
        dim in 4..33_usize,
        kv_heads in 1..4_usize,
        group in 1..17_usize,
        totals in prop::collection::vec(1..900_usize, 1..4),
        seed in 0..1_u64 << 60,
    ) {
        let spec = spec(dim * 8, kv_heads, group, "");
        let sequences: Vec<_> = totals.iter().map(|total| (1, *total)).collect();
        check(&spec, &sequences, seed);
    }
}

#[test]
fn edges_of_tiles() {
    let spec = spec(64, 3, 3, "");
    for total in [1, 63, 64, 65, 255, 256, 257, 512, 513] {
        check(
            &spec,
            &[(1, total), (total, total), (2.min(total), total)],
            3,
        );
    }
}

#[test]
fn what_is_not_a_number_stays_so() {
    let spec = spec(64, 1, 1, "");
    for count in [1, 2] {
        let tokens = Tokens {
            sequences: vec![sequence(0, count, 2, 0)],
        };
        let mut keys = floats(1, 128);
        keys[0] = f32::NAN;
        let output = attend(
            &spec,
            &tokens,
            &floats(2, count * 64),
            &keys,
            &floats(3, 128),
        );
        assert!(output.iter().all(|value| value.is_nan()), "{output:?}");
    }
}

#[test]
fn scores_far_apart_do_not_overflow() {
    let spec = spec(32, 1, 1, "");
    let mut keys = vec![-1e4; 100 * 32];
    keys[50 * 32..51 * 32].fill(1e4);
    let values = floats(1, 100 * 32);
    for count in [1, 2] {
        let tokens = Tokens {
            sequences: vec![sequence(0, count, 100, 0)],
        };
        let output = attend(&spec, &tokens, &vec![10.0; count * 32], &keys, &values);
        assert_eq!(output[..32], values[50 * 32..51 * 32]);
    }
}
