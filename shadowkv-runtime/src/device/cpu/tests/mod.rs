//! Every operation against its definition in f64.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::Arc;

use super::*;
use crate::device::NewTokens;
use crate::weights::{Bytes, WeightType};

mod attention;
mod elementwise;
// Weights in blocks come from candle.
#[cfg(feature = "gguf")]
mod product;
mod rope;

/// Floats between -1 and 1, the same for the same seed.
pub(super) fn floats(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / 8_388_608.0 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// A spec with heads of the given shape; `more` follows in its `rope:` block.
pub(super) fn spec(head_dim: usize, kv_heads: usize, group: usize, more: &str) -> Spec {
    let rank = 16;
    let text = format!(
        "name: test\nattention: {{head_dim: {head_dim}, kv_heads: {kv_heads}, gqa_ratio: {group}}}\n\
         rope: {{base: 10000, max_position: 2097152{more}}}\nshadowkv: {{rank: {rank}, chunk_size: 8}}\n"
    );
    Spec::parse("test.yaml", &text, &[]).unwrap()
}

pub(super) fn device(spec: &Spec) -> CpuDevice {
    CpuDevice::new(spec).unwrap()
}

/// A buffer of `values`.
pub(super) fn buffer<T: Element>(device: &CpuDevice, values: &[T::Host]) -> CpuBuffer<T> {
    let mut buffer = device.allocate("test", values.len()).unwrap();
    device.write(&mut buffer, 0, values).unwrap();
    buffer
}

/// Calls `work` on so many threads.
pub(super) fn on_threads<R: Send>(threads: usize, work: impl FnOnce() -> R + Send) -> R {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
    pool.build().unwrap().install(work)
}

/// Fails if any of `ours` is further from `theirs` than `bound` of its place.
#[track_caller]
pub(super) fn assert_close(ours: &[f32], theirs: &[f64], bound: impl Fn(usize) -> f64) {
    assert_eq!(ours.len(), theirs.len());
    for (place, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
        let off = (f64::from(*ours) - theirs).abs();
        assert!(
            off <= bound(place),
            "{place}: {ours} and not {theirs}, off by {off:e}"
        );
    }
}

pub(super) fn tensor(dtype: WeightType, rows: usize, columns: usize, bytes: Vec<u8>) -> Tensor {
    let end = bytes.len();
    Tensor {
        name: "test".to_owned(),
        dtype,
        shape: vec![rows, columns],
        data: Bytes::new(Arc::new(bytes), 0, end),
        row_order: None,
    }
}

pub(super) fn sequence(begin: usize, count: usize, total: usize, row_begin: usize) -> NewTokens {
    NewTokens {
        begin,
        count,
        total,
        row_begin,
        row_capacity: total,
        rope_table: 0,
    }
}

#[test]
fn memory_is_counted_and_its_lack_is_an_error() {
    let device = device(&spec(32, 1, 1, ""));
    let buffer = device.allocate::<f32>("a", 10).unwrap();
    let weights = tensor(WeightType::F32, 2, 3, vec![0; 24]);
    let matrix = device.matrix("b", &[weights]).unwrap();
    assert_eq!(device.allocated_bytes(), 40 + 24);
    drop((buffer, matrix));
    assert_eq!(device.allocated_bytes(), 0);
    for elements in [usize::MAX, usize::MAX / 4, isize::MAX as usize / 4] {
        let error = device.allocate::<f32>("too much", elements).unwrap_err();
        assert!(error.to_string().contains("`too much`"), "{error}");
    }
}

#[test]
fn tokens_are_sampled() {
    let device = device(&spec(32, 1, 1, ""));
    let logits = buffer::<f32>(&device, &[0.0, 2.0, 2.0, 1.0, 5.0, f32::NAN, 0.0, 1.0]);
    let greedy = Sampling {
        temperature: 0.0,
        top_k: 0,
        top_p: 1.0,
        seed: 0,
        step: 0,
    };
    let mut ids = buffer::<i32>(&device, &[7, 7]);
    device.sample(&logits, &[greedy; 2], &mut ids).unwrap();
    assert_eq!(ids.values, [1, 0]);
}
