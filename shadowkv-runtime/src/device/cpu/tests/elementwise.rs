use proptest::prelude::*;

use super::*;

const DECODER: &str = "\ndecoder: {family: llama, layers: 1, hidden: 64, ffn: 24, vocab: 4, norm_eps: 0.01, eos_tokens: []}";

fn with_decoder() -> Spec {
    let text = format!(
        "name: test\nattention: {{head_dim: 32, kv_heads: 2, gqa_ratio: 1}}\nrope: {{base: 10000}}\n\
         shadowkv: {{rank: 16, chunk_size: 8}}{DECODER}\n"
    );
    Spec::parse("test.yaml", &text, &[]).unwrap()
}

fn normed(x: &[f64], weight: &[f32]) -> Vec<f64> {
    let mean = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
    let scale = 1.0 / (mean + 0.01).sqrt();
    x.iter()
        .zip(weight)
        .map(|(x, w)| x * scale * f64::from(*w))
        .collect()
}

proptest! {
    #[test]
    fn norms(rows in 1..9_usize, hidden in 1..300_usize, add: bool, seed in 0..1_u64 << 60) {
        let device = device(&with_decoder());
        let x = floats(seed, rows * hidden);
        let more = floats(seed + 1, rows * hidden);
        let weight = floats(seed + 2, hidden);
        let addend = add.then(|| buffer(&device, &more));
        let mut residual = buffer(&device, &x);
        let mut output = buffer(&device, &vec![f32::NAN; rows * hidden]);
        let weights = buffer(&device, &weight);
        device.rms_norm(addend.as_ref(), &mut residual, rows, &weights, (&mut output, 0)).unwrap();
        let sums: Vec<f32> = x.iter().zip(&more).map(|(x, y)| if add { x + y } else { *x }).collect();
        prop_assert!(residual.values == sums);
        let sums: Vec<f64> = sums.iter().map(|x| f64::from(*x)).collect();
        let theirs: Vec<f64> = sums.chunks_exact(hidden).flat_map(|x| normed(x, &weight)).collect();
        assert_close(&output.values, &theirs, |place| 4e-6 * theirs[place].abs() + 1e-9);
    }

    #[test]
    fn head_norms(rows in 1..9_usize, seed in 0..1_u64 << 60) {
        let device = device(&with_decoder());
        let x = floats(seed, rows * 6 * 32);
        let weights = [floats(seed + 1, 32), floats(seed + 2, 32)];
        let [query, key] = [0, 1].map(|which| buffer(&device, &weights[which]));
        let mut qkv = buffer(&device, &x);
        device.head_norm(&mut qkv, rows, &query, &key).unwrap();
        let mut theirs = Vec::new();
        for (head, x) in x.chunks_exact(32).enumerate() {
            let x: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
            // Two heads each of queries, keys and values.
            match head % 6 / 2 {
                2 => theirs.extend(x),
                which => theirs.extend(normed(&x, &weights[which])),
            }
        }
        assert_close(&qkv.values, &theirs, |place| 4e-6 * theirs[place].abs());
    }

    #[test]
    fn gates(rows in 1..9_usize, scale in 0.1..60.0_f32, seed in 0..1_u64 << 60) {
        let device = device(&with_decoder());
        let x: Vec<f32> = floats(seed, rows * 2 * 24).iter().map(|x| x * scale).collect();
        let gate_up = buffer(&device, &x);
        // Longer than it need be, as a buffer for more rows is.
        let mut output = buffer(&device, &vec![f32::NAN; rows * 24 + 5]);
        device.silu_mul(&gate_up, rows, &mut output).unwrap();
        let (mut theirs, mut gates) = (Vec::new(), Vec::new());
        for row in x.chunks_exact(48) {
            for i in 0..24 {
                let gate = f64::from(row[i]);
                gates.push(gate.abs());
                theirs.push(gate / (1.0 + (-gate).exp()) * f64::from(row[24 + i]));
            }
        }
        // The exponent is rounded to f32, and a power is off by as much, relatively.
        let bound = |place: usize| (1e-6 + 6e-8 * gates[place]) * theirs[place].abs() + 1e-30;
        assert_close(&output.values[..rows * 24], &theirs, bound);
    }
}

#[test]
fn gates_of_extreme_values() {
    let device = device(&spec(32, 1, 1, ""));
    let gates = [-1e4_f32, -100.0, 0.0, 100.0, 1e4, f32::NAN];
    let mut x = gates.to_vec();
    x.extend([1.0; 6]);
    let gate_up = buffer(&device, &x);
    let mut output = buffer(&device, &[9.0; 6]);
    device.silu_mul(&gate_up, 1, &mut output).unwrap();
    assert!(
        output.values[..2].iter().all(|value| value.abs() < 1e-30),
        "{:?}",
        output.values
    );
    assert_eq!(output.values[2..5], [0.0, 100.0, 1e4]);
    assert!(output.values[5].is_nan());
}
