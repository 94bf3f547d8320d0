//! The CPU device at the shapes of SmolLM2-135M: how near the products and attention of a step come to the bandwidth of
//! memory, and those of a prompt to what the arithmetic units do.
//!
//! `cargo bench -p shadowkv-runtime --bench cpu`

#![expect(
    clippy::unwrap_used,
    reason = "a bench that cannot begin has nothing to report"
)]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use candle_core::quantized::GgmlDType;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rayon::prelude::*;
use shadowkv_runtime::device::cpu::{CpuBuffer, CpuDevice, CpuMatrix};
use shadowkv_runtime::device::{Activation, Device, NewTokens, Tokens};
use shadowkv_runtime::spec::Spec;
use shadowkv_runtime::weights::{Bytes, Tensor, WeightType};

/// Outputs and inputs of a layer's products: q, k and v; output; gate and up; down.
const LAYER: [(usize, usize); 4] = [(960, 576), (576, 576), (3072, 576), (576, 1536)];
/// Layers: more than caches hold.
const LAYERS: usize = 30;

fn device() -> (CpuDevice, Spec) {
    let specs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model-specs");
    let spec = Spec::load(specs.join("smollm2-135m.yaml"), &[]).unwrap();
    (CpuDevice::new(&spec).unwrap(), spec)
}

fn buffer(device: &CpuDevice, elements: usize) -> CpuBuffer<Activation> {
    let values: Vec<f32> = (0..elements)
        .map(|i| (i % 17) as f32 / 17.0 - 0.5)
        .collect();
    let mut buffer = device.allocate("bench", elements).unwrap();
    device.write(&mut buffer, 0, &values).unwrap();
    buffer
}

/// Weights with every scale near 0.01.
fn matrix(device: &CpuDevice, dtype: WeightType, (outputs, inputs): (usize, usize)) -> CpuMatrix {
    let (block, bytes) = match dtype {
        WeightType::F32 => (1, 0.01_f32.to_le_bytes().to_vec()),
        WeightType::F16 => (1, vec![0x00, 0x21]),
        WeightType::Bf16 => (1, vec![0x24, 0x3c]),
        WeightType::Ggml(dtype) => {
            let mut bytes = vec![0x21; dtype.type_size()];
            bytes[0] = 0;
            (dtype.block_size(), bytes)
        }
        other => unreachable!("{other} is not measured"),
    };
    let data = bytes.repeat(outputs * inputs / block);
    let end = data.len();
    let tensor = Tensor {
        name: "bench".to_owned(),
        dtype,
        shape: vec![outputs, inputs],
        data: Bytes::new(Arc::new(data), 0, end),
        row_order: None,
    };
    device.matrix("bench", &[tensor]).unwrap()
}

/// Runs `work` on a thread of the pool, as a decoder does.
fn in_pool(mut work: impl FnMut() + Send) {
    rayon::scope(|_| work());
}

fn memory(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("memory");
    let floats = vec![1.0_f32; 64 << 20];
    group.throughput(Throughput::Bytes(size_of_val(floats.as_slice()) as u64));
    let sum = |part: &[f32]| {
        let mut sums = [0.0_f32; 64];
        for part in part.as_chunks::<64>().0 {
            for (sum, float) in sums.iter_mut().zip(part) {
                *sum += float;
            }
        }
        sums.iter().sum::<f32>()
    };
    group.bench_function("read", |bencher| {
        bencher.iter(|| floats.par_chunks(1 << 20).map(sum).sum::<f32>());
    });
}

fn layers(device: &CpuDevice, dtype: WeightType) -> Vec<CpuMatrix> {
    let shapes = (0..LAYERS).flat_map(|_| LAYER);
    shapes.map(|shape| matrix(device, dtype, shape)).collect()
}

fn products(criterion: &mut Criterion) {
    let (device, _) = device();
    let formats = [
        ("q4_0", WeightType::Ggml(GgmlDType::Q4_0)),
        ("q4_1", WeightType::Ggml(GgmlDType::Q4_1)),
        ("q8_0", WeightType::Ggml(GgmlDType::Q8_0)),
        ("bf16", WeightType::Bf16),
        ("f16", WeightType::F16),
        ("f32", WeightType::F32),
    ];
    let weights: usize = LAYERS
        * LAYER
            .iter()
            .map(|(outputs, inputs)| outputs * inputs)
            .sum::<usize>();
    for (name, dtype) in formats {
        let before = device.allocated_bytes();
        let matrices = layers(&device, dtype);
        let bytes = device.allocated_bytes() - before;
        let run = |criterion: &mut Criterion, rows: usize| {
            let few = rows <= 8;
            let mut group = criterion.benchmark_group(if few {
                "products/step"
            } else {
                "products/prompt"
            });
            // Of prompts, multiplications and additions.
            group.throughput(if few {
                Throughput::Bytes(bytes)
            } else {
                Throughput::Elements((2 * weights * rows) as u64)
            });
            group.sample_size(10);
            let input = buffer(&device, rows * 1536);
            let mut output = buffer(&device, rows * 3072);
            group.bench_function(BenchmarkId::new(name, rows), |bencher| {
                bencher.iter(|| {
                    in_pool(|| {
                        for matrix in &matrices {
                            device
                                .linear(&input, rows, matrix, None, &mut output)
                                .unwrap();
                        }
                    });
                });
            });
        };
        let rows: &[usize] = if name == "q4_1" {
            &[1, 4, 8, 32, 128, 512]
        } else {
            &[1, 512]
        };
        for rows in rows {
            run(criterion, *rows);
        }
    }
}

fn attention(criterion: &mut Criterion) {
    let (device, spec) = device();
    let width = spec.attention.key_width() as usize;
    let query_width = width * spec.attention.gqa_ratio as usize;
    for total in [512, 2048, 8192] {
        // As many layers as a model has, so that no cache holds their keys.
        let caches: Vec<_> = (0..LAYERS)
            .map(|_| {
                (
                    buffer(&device, total * width),
                    buffer(&device, total * width),
                )
            })
            .collect();
        for count in [1, 512] {
            let tokens = Tokens {
                sequences: vec![NewTokens {
                    begin: 0,
                    count,
                    total,
                    row_begin: 0,
                    row_capacity: total,
                    rope_table: 0,
                }],
            };
            let tokens = device.tokens(&tokens).unwrap();
            let queries = buffer(&device, count * query_width);
            let mut output = buffer(&device, count * query_width);
            let step = count == 1;
            let mut group = criterion.benchmark_group(if step {
                "attention/step"
            } else {
                "attention/prompt"
            });
            group.sample_size(10);
            // Of prompts, multiplications and additions; of layers, one where it is slow.
            let layers = if step { LAYERS } else { 2 };
            let seen = count * (total - count) + count * (count + 1) / 2;
            group.throughput(if step {
                Throughput::Bytes((layers * 2 * total * width * 4) as u64)
            } else {
                Throughput::Elements((layers * 4 * seen * query_width) as u64)
            });
            group.bench_function(BenchmarkId::from_parameter(total), |bencher| {
                bencher.iter(|| {
                    in_pool(|| {
                        for (keys, values) in &caches[..layers] {
                            device
                                .attention(&tokens, &queries, keys, values, &mut output)
                                .unwrap();
                        }
                    });
                    black_box(&output);
                });
            });
        }
    }
}

criterion_group!(benches, memory, products, attention);
criterion_main!(benches);
