//! Attention beside the decoder's own store, and beside full attention.

use shadowkv_codegen::spec::Spec;
use shadowkv_runtime::attention::{KeysValues, NewTokens, ShadowKvAttention};
use shadowkv_runtime::decoder::{Decoder, DecoderWeights, NewIds, Output, Wanted};
use shadowkv_runtime::device::cpu::{CpuBuffer, CpuDevice};
use shadowkv_runtime::device::tensors::{Layout, TensorView, TensorViewMut};
use shadowkv_runtime::device::{Activation, Device as _, DeviceError};
use shadowkv_runtime::kv::shadow::{ShadowRoom, ShadowStore, ShadowTile};
use shadowkv_runtime::kv::{Append, KvError, KvStore};
use shadowkv_runtime::model::{Model, ModelOptions};

use crate::driver::{LAYERS, decode, numbers, room, rows, spec};
use crate::golden::folder;
use crate::setup::SMALL;

/// A store that notes what goes in and comes out.
struct Noting {
    store: ShadowStore<CpuDevice>,
    /// Elements of a token's queries and of its keys.
    widths: (usize, usize),
    rows: Vec<usize>,
    calls: Vec<(usize, Vec<f32>, Vec<f32>)>,
}

impl KvStore<CpuDevice> for Noting {
    type Tile = (usize, ShadowTile<CpuDevice>);

    fn admit(&mut self, device: &CpuDevice, prompt: usize, most: usize) -> Result<usize, KvError> {
        self.store.admit(device, prompt, most)
    }

    fn release(&mut self, sequence: usize) {
        self.store.release(sequence);
    }

    fn token_count(&self, sequence: usize) -> usize {
        self.store.token_count(sequence)
    }

    fn capacity(&self, sequence: usize) -> usize {
        self.store.capacity(sequence)
    }

    fn prepare(
        &mut self,
        device: &CpuDevice,
        tiles: &[&[Append]],
    ) -> Result<Vec<Self::Tile>, KvError> {
        let count = |tile: &&[Append]| tile.iter().map(|own| own.count).sum::<usize>();
        self.rows = tiles.iter().map(count).collect();
        let prepared = self.store.prepare(device, tiles)?;
        Ok(self.rows.iter().copied().zip(prepared).collect())
    }

    fn begin_attend(
        &mut self,
        device: &CpuDevice,
        layer: usize,
        ((_, tile), turn): (&Self::Tile, usize),
        qkv: &CpuBuffer<Activation>,
    ) -> Result<(), DeviceError> {
        self.store.begin_attend(device, layer, (tile, turn), qkv)
    }

    fn end_attend(
        &mut self,
        device: &CpuDevice,
        layer: usize,
        ((rows, tile), turn): (&Self::Tile, usize),
        qkv: &CpuBuffer<Activation>,
        output: &mut CpuBuffer<Activation>,
    ) -> Result<(), DeviceError> {
        let store = &mut self.store;
        store.end_attend(device, layer, (tile, turn), qkv, output)?;
        let (queries, width) = self.widths;
        let mut given = vec![0.0; rows * (queries + 2 * width)];
        device.read(qkv, 0, &mut given)?;
        let mut found = vec![0.0; rows * queries];
        device.read(output, 0, &mut found)?;
        self.calls.push((layer, given, found));
        Ok(())
    }

    fn end_layer(&mut self, device: &CpuDevice, layer: usize) -> Result<(), DeviceError> {
        self.store.end_layer(device, layer)
    }

    fn advance(&mut self, new: &[Append]) {
        self.store.advance(new);
    }

    fn bytes(&self) -> u64 {
        self.store.bytes()
    }
}

/// All layers of a tiny model, their rows as they came in the decoder: the same attention, bit for bit.
#[test]
fn a_models_layers_as_the_decoder_has_them() {
    let path = folder().join("models/llama-3.1");
    let options = ModelOptions {
        overrides: SMALL.iter().map(|text| text.parse().unwrap()).collect(),
        ..ModelOptions::default()
    };
    let model = Model::open(path.to_str(), &options, &|_| {}).unwrap();
    let spec = &model.spec;
    let layers = model.weights.layers.len();
    let room = ShadowRoom {
        capacities: vec![120],
        prompt_rows: 90,
        call_rows: 90,
    };
    let device = CpuDevice::new(spec).unwrap();
    let weights = DecoderWeights::load(&device, &model.weights, &mut |_| {}).unwrap();
    let mut decoder = Decoder::new(&device, spec, weights, 90).unwrap();
    let heads = (
        spec.attention.query_heads() as usize,
        spec.attention.kv_heads as usize,
    );
    let dim = spec.attention.head_dim as usize;
    let mut store = Noting {
        store: ShadowStore::new(&device, spec, layers, &room).unwrap(),
        widths: (heads.0 * dim, heads.1 * dim),
        rows: Vec::new(),
        calls: Vec::new(),
    };
    let sequence = store.admit(&device, 90, 120).unwrap();
    let ids: Vec<i32> = (0..110).map(|index| index * 7 % 200 + 3).collect();
    let steps: Vec<&[i32]> = std::iter::once(&ids[..90])
        .chain(ids[90..].chunks(1))
        .collect();
    for ids in steps {
        let new = [NewIds { sequence, ids }];
        let mut ignored = |_: usize, _: &[f32]| {};
        let output = Output::Logits(Wanted::Last, &mut ignored);
        decoder
            .forward(&device, &mut store, &new, output, &mut |_, _| {})
            .unwrap();
    }
    let device = CpuDevice::new(spec).unwrap();
    let mut attention = ShadowKvAttention::new(device, spec, layers, &room).unwrap();
    let own = attention.admit(90, 120).unwrap();
    for (layer, given, expected) in &store.calls {
        let pitch = (heads.0 + 2 * heads.1) * dim;
        let count = given.len() / pitch;
        // Columns of the fused rows.
        let column = |begin: usize, heads: usize| {
            let layout = Layout {
                shape: [count, heads, dim],
                strides: [pitch, dim, 1],
            };
            TensorView::f32(&given[begin * dim..], layout).unwrap()
        };
        let q = column(0, heads.0);
        let keys_values = KeysValues {
            k_pre: column(heads.0, heads.1),
            v: column(heads.0 + heads.1, heads.1),
        };
        let mut found = vec![0.0; expected.len()];
        let layout = Layout::packed([count, heads.0, dim]);
        let mut output = TensorViewMut::f32(&mut found, layout).unwrap();
        let new = [NewTokens {
            sequence: own,
            count,
        }];
        if count > 1 {
            let attended = Some((&q, &mut output));
            attention
                .prefill(*layer, &new, &keys_values, attended)
                .unwrap();
        } else {
            attention.append(*layer, &new, &keys_values).unwrap();
            attention.decode(*layer, &q, &mut output).unwrap();
        }
        assert_eq!(&found, expected, "layer {layer}");
    }
    assert_eq!(store.calls.len(), 21 * layers);
    let statistics = attention.statistics(own).unwrap();
    assert!(
        statistics.missing > 0,
        "nothing was fetched: {statistics:?}"
    );
}

/// Softmax attention of one token's queries `[4, 32]` over keys that are rotated here, in f64.
fn full(spec: &Spec, layer: usize, token: usize) -> Vec<f64> {
    let rotated = |values: &[f32], position: usize| {
        let mut to = vec![0.0; 32];
        for pair in 0..16 {
            let angle = position as f64 / spec.rope.base.powf(pair as f64 / 16.0);
            let (one, other) = (f64::from(values[pair]), f64::from(values[pair + 16]));
            to[pair] = one * angle.cos() - other * angle.sin();
            to[pair + 16] = other * angle.cos() + one * angle.sin();
        }
        to
    };
    let all = rows(1, layer, 0..token + 1);
    let mut output = Vec::new();
    for head in 0..4 {
        let q = rotated(&all.q[(token * 4 + head) * 32..][..32], token);
        let place = |position: usize| (position * 2 + head / 2) * 32;
        let scores: Vec<f64> = (0..=token)
            .map(|position| {
                let key = rotated(&all.k_pre[place(position)..][..32], position);
                let dot: f64 = q.iter().zip(&key).map(|(one, other)| one * other).sum();
                dot / 32f64.sqrt()
            })
            .collect();
        let most = scores.iter().copied().fold(f64::MIN, f64::max);
        let weights: Vec<f64> = scores.iter().map(|score| (score - most).exp()).collect();
        let sum: f64 = weights.iter().sum();
        for element in 0..32 {
            let weighted = weights.iter().enumerate();
            let value = weighted
                .map(|(position, weight)| weight * f64::from(all.v[place(position) + element]));
            output.push(value.sum::<f64>() / sum);
        }
    }
    output
}

/// With all of the rank and a budget for every chunk nothing is lost but rounding.
#[test]
fn full_attention_at_full_rank_and_budget() {
    let mut spec = spec();
    spec.shadowkv.rank = 64;
    spec.shadowkv.sparse_budget = 128;
    spec.shadowkv.resident_chunks = 20;
    let device = CpuDevice::new(&spec).unwrap();
    let mut attention = ShadowKvAttention::new(device, &spec, LAYERS, &room()).unwrap();
    let sequence = attention.admit(60, 120).unwrap();
    let prompt = crate::driver::prefill(&mut attention, sequence, 1, 60);
    let near = |found: &[f32], token: usize, layer: usize| {
        for (found, expected) in found.iter().zip(full(&spec, layer, token)) {
            let off = (f64::from(*found) - expected).abs();
            assert!(
                off < 2e-4,
                "token {token}, layer {layer}: {found}, not {expected}"
            );
        }
    };
    for layer in 0..LAYERS {
        for token in [0, 31, 59] {
            near(&prompt[(layer * 60 + token) * 128..][..128], token, layer);
        }
    }
    for token in 60..100 {
        let found = decode(&mut attention, &[(sequence, 1)], token..token + 1);
        for layer in 0..LAYERS {
            near(&found[layer * 128..][..128], token, layer);
        }
    }
    assert_ne!(numbers(1, 4), numbers(2, 4));
}
