use candle_core::quantized::GgmlDType;
use half::{bf16, f16};
use proptest::prelude::*;

use super::*;

const FORMATS: [WeightType; 15] = [
    WeightType::F32,
    WeightType::F16,
    WeightType::Bf16,
    WeightType::Ggml(GgmlDType::BF16),
    WeightType::Ggml(GgmlDType::Q4_0),
    WeightType::Ggml(GgmlDType::Q4_1),
    WeightType::Ggml(GgmlDType::Q5_0),
    WeightType::Ggml(GgmlDType::Q5_1),
    WeightType::Ggml(GgmlDType::Q8_0),
    WeightType::Ggml(GgmlDType::Q2K),
    WeightType::Ggml(GgmlDType::Q3K),
    WeightType::Ggml(GgmlDType::Q4K),
    WeightType::Ggml(GgmlDType::Q5K),
    WeightType::Ggml(GgmlDType::Q6K),
    WeightType::Ggml(GgmlDType::Q8K),
];

/// `weights` in a format, as candle writes it; and what candle reads from it.
fn stored(dtype: WeightType, weights: &[f32]) -> (Vec<u8>, Vec<f32>) {
    let plain = |bytes: Vec<u8>, back: Vec<f32>| (bytes, back);
    match dtype {
        WeightType::F32 => plain(bytemuck::cast_slice(weights).to_vec(), weights.to_vec()),
        WeightType::F16 => {
            let halves: Vec<f16> = weights.iter().map(|w| f16::from_f32(*w)).collect();
            let bytes = halves.iter().flat_map(|half| half.to_le_bytes()).collect();
            plain(bytes, halves.iter().map(|half| half.to_f32()).collect())
        }
        WeightType::Bf16 | WeightType::Ggml(GgmlDType::BF16) => {
            let halves: Vec<bf16> = weights.iter().map(|w| bf16::from_f32(*w)).collect();
            let bytes = halves.iter().flat_map(|half| half.to_le_bytes()).collect();
            plain(bytes, halves.iter().map(|half| half.to_f32()).collect())
        }
        WeightType::Ggml(dtype) => {
            use candle_core::{Device, Tensor, quantized::QTensor};
            let tensor = Tensor::new(weights, &Device::Cpu).unwrap();
            let tensor = QTensor::quantize(&tensor, dtype).unwrap();
            let back = tensor.dequantize(&Device::Cpu).unwrap();
            let bytes = tensor.data().unwrap().into_owned();
            (bytes, back.to_vec1().unwrap())
        }
    }
}

fn product(
    device: &CpuDevice,
    matrix: &CpuMatrix,
    input: &[f32],
    bias: Option<&[f32]>,
) -> Vec<f32> {
    let rows = input.len() / matrix.inputs;
    let input = buffer(device, input);
    let bias = bias.map(|bias| buffer(device, bias));
    let mut output = buffer(device, &vec![f32::NAN; rows * matrix.outputs]);
    device
        .linear(&input, rows, matrix, bias.as_ref(), &mut output)
        .unwrap();
    output.values
}

/// Products of all formats and shapes, against f64; and what they must not depend on.
fn check(dtypes: &[WeightType], rows: usize, outputs: usize, inputs: usize, seed: u64) {
    let device = device(&spec(32, 1, 1, ""));
    let mut weights = Vec::new();
    let mut parts = Vec::new();
    for (place, dtype) in dtypes.iter().enumerate() {
        let plain = floats(seed + place as u64, outputs * inputs);
        let (bytes, back) = stored(*dtype, &plain);
        weights.extend(back);
        parts.push(tensor(*dtype, outputs, inputs, bytes));
    }
    let outputs = outputs * dtypes.len();
    let matrix = device.matrix("test", &parts).unwrap();
    let input = floats(seed + 100, rows * inputs);
    let bias = floats(seed + 200, outputs);
    let ours = on_threads(1, || product(&device, &matrix, &input, Some(&bias)));
    let mut theirs = Vec::new();
    for x in input.chunks_exact(inputs) {
        for (weights, bias) in weights.chunks_exact(inputs).zip(&bias) {
            let products = x
                .iter()
                .zip(weights)
                .map(|(x, w)| f64::from(*x) * f64::from(*w));
            theirs.push(products.sum::<f64>() + f64::from(*bias));
        }
    }
    // A sum of n terms below 1 (and Q8K, whose 8 bits round a little above) in f32, in any order.
    let bound = (inputs + 2) as f64 * inputs as f64 * 6e-8 + 1e-6;
    assert_close(&ours, &theirs, |_| bound.min(1e-3));
    let again = on_threads(2, || product(&device, &matrix, &input, Some(&bias)));
    assert!(ours == again, "depends on the number of threads");
    let half = rows / 2;
    let same_way = (rows <= 16) == (half <= 16);
    if half > 0 && same_way {
        let first = product(&device, &matrix, &input[..half * inputs], Some(&bias));
        assert!(ours[..half * outputs] == first, "depends on the other rows");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn plain_formats(rows in 1..70_usize, outputs in 1..90_usize, inputs in 1..700_usize, seed: u64) {
        for dtype in &FORMATS[..4] {
            check(&[*dtype], rows, outputs, inputs, seed >> 1);
        }
    }

    #[test]
    fn block_formats(rows in 1..40_usize, outputs in 1..40_usize, blocks in 1..4_usize, seed: u64) {
        for dtype in &FORMATS[4..] {
            check(&[*dtype], rows, outputs, 256 * blocks, seed >> 1);
        }
        check(&[FORMATS[4]], rows, outputs, 32 * blocks, seed >> 1);
        check(&[FORMATS[5]], rows, outputs, 32 * blocks, seed >> 1);
        check(&[FORMATS[8]], rows, outputs, 32 * blocks, seed >> 1);
    }
}

#[test]
fn parts_of_several_formats() {
    for rows in [1, 3, 17, 130] {
        check(&[FORMATS[0], FORMATS[5], FORMATS[13]], rows, 19, 1280, 5);
    }
}

#[test]
fn every_half_is_read_exactly() {
    let bytes: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    let mut floats = vec![0.0; 1 << 16];
    format::Format::F16.dequantise(&bytes, &mut floats);
    for (bits, float) in floats.iter().enumerate() {
        let theirs = f16::from_bits(bits as u16).to_f32();
        assert!(
            float.to_bits() == theirs.to_bits() || float.is_nan() && theirs.is_nan(),
            "{bits:x}"
        );
    }
}

#[test]
fn rows_in_another_order_and_at_odd_addresses() {
    let device = device(&spec(32, 1, 1, ""));
    let weights = floats(1, 3 * 5);
    let mut bytes = vec![0_u8];
    bytes.extend_from_slice(bytemuck::cast_slice(&weights));
    let end = bytes.len();
    let mut odd = tensor(WeightType::F32, 3, 5, Vec::new());
    odd.data = Bytes::new(Arc::new(bytes), 1, end);
    let mut turned = odd.clone();
    turned.row_order = Some(Arc::from([2, 0, 1]));
    let matrix = device.matrix("test", &[odd, turned]).unwrap();
    let ids = buffer::<i32>(&device, &[0, 3, 5, 6, -1]);
    let mut output = buffer::<Activation>(&device, &[0.0; 25]);
    device.embed(&ids, 5, &matrix, &mut output).unwrap();
    let row = |row: usize| &weights[row * 5..(row + 1) * 5];
    assert_eq!(output.values[..15], [row(0), row(2), row(1)].concat());
    assert!(output.values[15..].iter().all(|value| value.is_nan()));
}

#[test]
fn weights_that_do_not_fit_are_refused() {
    let device = device(&spec(32, 1, 1, ""));
    let message = |parts: &[Tensor]| device.matrix("test", parts).unwrap_err().to_string();
    let good = tensor(WeightType::F32, 2, 3, vec![0; 24]);
    let with = |change: &dyn Fn(&mut Tensor)| {
        let mut tensor = good.clone();
        change(&mut tensor);
        tensor
    };
    assert!(message(&[]).contains("no tensor"));
    let other = message(&[good.clone(), with(&|t| t.shape = vec![3, 2])]);
    assert_eq!(other, "weights `test`: 2 columns beside 3");
    assert!(message(&[with(&|t| t.shape = vec![3, 3])]).contains("no 3 rows of 12"));
    assert!(message(&[with(&|t| t.shape = vec![6])]).contains("no matrix"));
    assert!(message(&[with(&|t| t.row_order = Some(Arc::from([0])))]).contains("1 rows in order"));
    assert!(message(&[with(&|t| t.row_order = Some(Arc::from([0, 2])))]).contains("no 3 rows"));
    let ggml = WeightType::Ggml(GgmlDType::Q4_1);
    assert!(message(&[with(&|t| t.dtype = ggml)]).contains("no whole blocks of 32"));
}

#[test]
fn logits_are_of_the_rows_asked_for() {
    let device = device(&spec(32, 1, 1, ""));
    let weights = tensor(
        WeightType::F32,
        1,
        2,
        bytemuck::cast_slice(&[1.0_f32, 10.0]).to_vec(),
    );
    let matrix = device.matrix("test", &[weights]).unwrap();
    let input = buffer::<Activation>(&device, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let mut output = buffer::<f32>(&device, &[0.0; 2]);
    device.logits(&input, 1, 2, &matrix, &mut output).unwrap();
    assert_eq!(output.values, [43.0, 65.0]);
}
