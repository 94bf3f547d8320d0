//! Attention driven with random rows, on the CPU and on an emulated GPU.

use std::ops::Range;

use shadowkv_codegen::spec::Spec;
use shadowkv_runtime::attention::{AttentionError, KeysValues, NewTokens, ShadowKvAttention};
use shadowkv_runtime::device::cpu::CpuDevice;
use shadowkv_runtime::device::kernels::KernelDevice;
use shadowkv_runtime::device::tensors::{Layout, TensorDevice, TensorView, TensorViewMut};
use shadowkv_runtime::gpu::emulated::{EmulatedGpu, Order};
use shadowkv_runtime::gpu::{Gpu as _, Priority};
use shadowkv_runtime::kv::shadow::ShadowRoom;
use shadowkv_runtime::nvrtc::Arch;
use shadowkv_runtime::package::{Form, ImageRequest, Images, Package, Target};

use crate::setup::{gpu, package};

pub(crate) const LAYERS: usize = 2;

const SPEC: &str = "
name: small
attention: {head_dim: 32, kv_heads: 2, gqa_ratio: 2}
rope: {base: 10000.0}
shadowkv:
  rank: 48
  chunk_size: 8
  sparse_budget: 32
  local_chunks: 1
  generated_window: 8
  outlier_chunks: 1
  resident_chunks: 6
";

pub(crate) fn spec() -> Spec {
    Spec::parse("small.yaml", SPEC, &[]).unwrap()
}

pub(crate) fn room() -> ShadowRoom {
    ShadowRoom {
        capacities: vec![160; 3],
        prompt_rows: 160,
        call_rows: 24,
    }
}

/// Rows of one layer: queries `[rows, 4, 32]`, keys before RoPE and values `[rows, 2, 32]`.
pub(crate) struct Rows {
    pub(crate) count: usize,
    pub(crate) q: Vec<f32>,
    pub(crate) k_pre: Vec<f32>,
    pub(crate) v: Vec<f32>,
}

/// Numbers that bf16 holds, so that all devices are given the same.
pub(crate) fn numbers(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d;
    (0..count)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            ((state >> 40) % 255) as f32 / 64.0 - 2.0
        })
        .collect()
}

/// Rows of tokens `tokens` of sequence `name` in `layer`.
pub(crate) fn rows(name: u64, layer: usize, tokens: Range<usize>) -> Rows {
    let count = tokens.len();
    let seeds = tokens.map(|token| (name * 1000 + token as u64) * 10 + layer as u64);
    let of = |kind: u64, width: usize| {
        seeds
            .clone()
            .flat_map(|seed| numbers(seed * 3 + kind, width))
            .collect()
    };
    Rows {
        count,
        q: of(0, 128),
        k_pre: of(1, 64),
        v: of(2, 64),
    }
}

pub(crate) fn view(values: &[f32], heads: usize) -> TensorView<'_> {
    let rows = values.len() / (heads * 32);
    TensorView::f32(values, Layout::packed([rows, heads, 32])).unwrap()
}

pub(crate) fn view_mut(values: &mut [f32], heads: usize) -> TensorViewMut<'_> {
    let rows = values.len() / (heads * 32);
    TensorViewMut::f32(values, Layout::packed([rows, heads, 32])).unwrap()
}

impl Rows {
    pub(crate) fn keys_values(&self) -> KeysValues<'_> {
        KeysValues {
            k_pre: view(&self.k_pre, 2),
            v: view(&self.v, 2),
        }
    }
}

/// A prompt of sequence `name` through all layers; outputs layer after layer.
pub(crate) fn prefill<D: TensorDevice>(
    attention: &mut ShadowKvAttention<D>,
    sequence: usize,
    name: u64,
    tokens: usize,
) -> Vec<f32> {
    try_prefill(attention, sequence, name, tokens).unwrap()
}

pub(crate) fn try_prefill<D: TensorDevice>(
    attention: &mut ShadowKvAttention<D>,
    sequence: usize,
    name: u64,
    tokens: usize,
) -> Result<Vec<f32>, AttentionError> {
    let mut outputs = Vec::new();
    for layer in 0..LAYERS {
        let own = rows(name, layer, 0..tokens);
        let mut output = vec![0.0; own.q.len()];
        let new = [NewTokens {
            sequence,
            count: tokens,
        }];
        let attended = Some((&view(&own.q, 4), &mut view_mut(&mut output, 4)));
        attention.prefill(layer, &new, &own.keys_values(), attended)?;
        outputs.extend(output);
    }
    Ok(outputs)
}

/// Tokens `tokens` of sequences, each with its number and name, through all layers.
pub(crate) fn decode<D: TensorDevice>(
    attention: &mut ShadowKvAttention<D>,
    sequences: &[(usize, u64)],
    tokens: Range<usize>,
) -> Vec<f32> {
    let mut outputs = Vec::new();
    for layer in 0..LAYERS {
        let mut all = Rows {
            count: 0,
            q: Vec::new(),
            k_pre: Vec::new(),
            v: Vec::new(),
        };
        let mut new = Vec::new();
        for (sequence, name) in sequences {
            let own = rows(*name, layer, tokens.clone());
            new.push(NewTokens {
                sequence: *sequence,
                count: own.count,
            });
            all.q.extend(own.q);
            all.k_pre.extend(own.k_pre);
            all.v.extend(own.v);
        }
        let mut output = vec![0.0; all.q.len()];
        attention.append(layer, &new, &all.keys_values()).unwrap();
        attention
            .decode(layer, &view(&all.q, 4), &mut view_mut(&mut output, 4))
            .unwrap();
        outputs.extend(output);
    }
    outputs
}

pub(crate) fn on_cpu() -> ShadowKvAttention<CpuDevice> {
    let spec = spec();
    let device = CpuDevice::new(&spec).unwrap();
    ShadowKvAttention::new(device, &spec, LAYERS, &room()).unwrap()
}

/// The kernels of the small spec, as PTX.
pub(crate) fn compiled() -> &'static (Package, Images) {
    static COMPILED: std::sync::OnceLock<(Package, Images)> = std::sync::OnceLock::new();
    COMPILED.get_or_init(|| {
        let package = package(&spec());
        let mut request = ImageRequest::from_environment(Arch::Sm80);
        request.target = Target {
            arch: Arch::Sm80,
            form: Form::Ptx,
        };
        let images = package.images(&request, &|_| {}).unwrap();
        (package, images)
    })
}

/// On a stream that is not the device's own.
pub(crate) fn on_emulated(
    order: Order,
) -> (EmulatedGpu, ShadowKvAttention<KernelDevice<EmulatedGpu>>) {
    on_gpu(gpu(order)).unwrap()
}

/// The same on any emulated GPU.
pub(crate) fn on_gpu(
    gpu: EmulatedGpu,
) -> Result<(EmulatedGpu, ShadowKvAttention<KernelDevice<EmulatedGpu>>), AttentionError> {
    let (package, images) = compiled();
    let stream = gpu.stream("caller's", Priority::Normal).unwrap();
    let spec = spec();
    let device = KernelDevice::on_stream(gpu.clone(), stream, &spec, package, images).unwrap();
    let attention = ShadowKvAttention::new(device, &spec, LAYERS, &room())?;
    Ok((gpu, attention))
}

/// Fails with what the emulated GPU objects to.
pub(crate) fn finished(gpu: &EmulatedGpu) {
    let findings = gpu.finish();
    assert!(findings.is_empty(), "{findings:?}");
}
