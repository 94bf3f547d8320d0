use proptest::prelude::*;

use super::*;
use crate::device::CacheRows;
use crate::spec::RopeLayout;

/// Queries, keys, values and keys before the rotation after [`Device::rope_append`].
fn append(spec: &Spec, tokens: &Tokens, qkv: &[f32], rows: usize) -> [Vec<f32>; 4] {
    let device = device(spec);
    let width = spec.attention.key_width() as usize;
    let tokens_there = device.tokens(tokens).unwrap();
    let qkv = buffer(&device, qkv);
    let blank = |elements| buffer::<Activation>(&device, &vec![-7.0; elements]);
    let mut queries = blank(tokens.rows() * width * spec.attention.gqa_ratio as usize);
    let (mut keys, mut values, mut k_pre) = (
        blank(rows * width),
        blank(rows * width),
        blank(rows * width),
    );
    let cache = CacheRows {
        keys: &mut keys,
        values: &mut values,
        k_pre: Some(&mut k_pre),
    };
    device
        .rope_append(&tokens_there, &qkv, &mut queries, cache)
        .unwrap();
    [queries, keys, values, k_pre].map(|buffer| buffer.values)
}

/// `head` at `position`, in f64 from the angle on.
fn turned(spec: &Spec, table: usize, position: usize, head: &[f32]) -> Vec<f64> {
    let tables = spec.rope.tables();
    let mut output: Vec<f64> = head.iter().map(|x| f64::from(*x)).collect();
    let pairs = spec.rope.rotary_dim as usize / 2;
    for pair in 0..pairs {
        let angle = position as f32 * tables.inverse_frequencies[table][pair];
        let (sine, cosine) = f64::from(angle).sin_cos();
        let (i, j) = match spec.rope.layout {
            RopeLayout::HalfSplit => (pair, pair + pairs),
            RopeLayout::Interleaved => (2 * pair, 2 * pair + 1),
        };
        let (a, b) = (f64::from(head[i]), f64::from(head[j]));
        let factor = f64::from(tables.attention_factor);
        output[i] = (a * cosine - b * sine) * factor;
        output[j] = (b * cosine + a * sine) * factor;
    }
    output
}

fn check(spec: &Spec, sequences: Vec<NewTokens>, rows: usize, seed: u64) {
    let tokens = Tokens { sequences };
    let d = spec.attention.head_dim as usize;
    let width = spec.attention.key_width() as usize;
    let query_width = width * spec.attention.gqa_ratio as usize;
    let row_width = query_width + 2 * width;
    let qkv = floats(seed, tokens.rows() * row_width);
    let [queries, keys, values, k_pre] = append(spec, &tokens, &qkv, rows);
    let mut places = vec![None; rows];
    for sequence in &tokens.sequences {
        for token in 0..sequence.count {
            let (row, position) = (sequence.begin + token, sequence.first_position() + token);
            places[sequence.row_begin + position % sequence.row_capacity] =
                Some((row, position, sequence.rope_table));
            let theirs: Vec<f64> = qkv[row * row_width..][..query_width]
                .chunks_exact(d)
                .flat_map(|head| turned(spec, sequence.rope_table, position, head))
                .collect();
            assert_close(
                &queries[row * query_width..][..query_width],
                &theirs,
                |_| 1e-6,
            );
        }
    }
    for (place, new) in places.into_iter().enumerate() {
        let at = place * width..(place + 1) * width;
        let Some((row, position, table)) = new else {
            let untouched = [&keys[at.clone()], &values[at.clone()], &k_pre[at]];
            assert!(
                untouched
                    .concat()
                    .iter()
                    .all(|x| x.to_bits() == (-7.0_f32).to_bits())
            );
            continue;
        };
        let new = &qkv[row * row_width + query_width..][..2 * width];
        assert_eq!(k_pre[at.clone()], new[..width]);
        assert_eq!(values[at.clone()], new[width..]);
        let heads = new[..width].chunks_exact(d);
        let theirs: Vec<f64> = heads
            .flat_map(|head| turned(spec, table, position, head))
            .collect();
        assert_close(&keys[at], &theirs, |_| 1e-6);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn heads_turn_and_land_in_their_rows(
        dim in 4..17_usize,
        kv_heads in 1..4_usize,
        group in 1..4_usize,
        part in 1..9_usize,
        interleaved: bool,
        new in prop::collection::vec((1..20_usize, 0..1_usize << 20, 5..40_usize), 1..4),
        seed in 0..1_u64 << 60,
    ) {
        let layout = if interleaved { "interleaved" } else { "half_split" };
        let more = format!(", layout: {layout}, rotary_dim: {}", (dim * part / 2 * 2).max(2));
        let spec = spec(dim * 8, kv_heads, group, &more);
        let (mut begin, mut row) = (0, 2);
        let mut sequences = Vec::new();
        for (count, before, capacity) in new {
            let mut sequence = sequence(begin, count, before + count, row);
            // A ring, which new tokens may go around more than once.
            sequence.row_capacity = capacity;
            sequences.push(sequence);
            begin += count;
            row += capacity + 1;
        }
        check(&spec, sequences, row, seed);
    }
}

#[test]
fn each_sequence_has_its_table_and_the_factor_applies() {
    let ones = vec!["1.0"; 16].join(", ");
    let twos = vec!["2.0"; 16].join(", ");
    let more = format!(
        ", scaling: {{kind: longrope, original_max_position: 4096, short_factor: [{ones}], long_factor: [{twos}]}}"
    );
    let spec = spec(32, 1, 2, &more);
    let mut long = sequence(3, 2, 5000, 3);
    long.rope_table = 1;
    long.row_capacity = 4;
    let mut short = sequence(0, 3, 3, 0);
    short.row_capacity = 3;
    check(&spec, vec![short, long], 8, 1);
}
