//! A decode step of one layer of Llama-3.1-8B on the CPU, everything but its dense products: full attention over all keys and
//! values beside the method's landmarks, selection, fetches, attention and folds.
//!
//! `cargo bench -p shadowkv-runtime --bench shadow`, or with `-- 8192` behind for one context. Both are measured in one run, over
//! several layers in turn, so that no cache holds what a model's other layers would have pushed out. Keys are noise around a mean
//! of their own for each stretch of text, and queries wander, so that about two thirds of the chunks are chosen again; how many
//! is printed.
//!
//! `prompt` is what the method does once at the end of each layer of a prompt.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench that cannot begin has nothing to report"
)]

use std::path::Path;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use shadowkv_runtime::device::cpu::{CpuBuffer, CpuDevice};
use shadowkv_runtime::device::{Activation, CacheRows, Device, NewTokens, Tokens};
use shadowkv_runtime::kv::shadow::{ShadowRoom, ShadowStore, ShadowTile};
use shadowkv_runtime::kv::{Append, KvStore};
use shadowkv_runtime::spec::Spec;

/// Tokens of the prompt, and layers that take turns.
const CONTEXTS: [(usize, usize); 3] = [(8192, 8), (32_768, 4), (124_928, 2)];
/// Tokens that may be generated in a bench.
const LATER: usize = 16_384;
/// Rows of a call.
const ROWS: usize = 512;
/// Tokens whose keys have a mean in common.
const STRETCH: usize = 64;
/// How much of a query is the last one's.
const INERTIA: f32 = 0.9;

/// Normal numbers, more or less.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f32 {
        let mut sum = 0.0;
        for _ in 0..4 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            sum += (self.0 >> 40) as f32 / (1 << 24) as f32 - 0.5;
        }
        sum * 1.7
    }

    fn vector(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.next()).collect()
    }
}

/// Queries, keys and values of a text.
struct Text {
    noise: Noise,
    query: Vec<f32>,
    mean: Vec<f32>,
    tokens: usize,
}

impl Text {
    fn new(spec: &Spec) -> Text {
        let mut noise = Noise(0x5ad0_0f4b);
        let width = spec.attention.key_width() as usize;
        Text {
            query: noise.vector(width * spec.attention.gqa_ratio as usize),
            mean: vec![0.0; width],
            noise,
            tokens: 0,
        }
    }

    /// Appends a row.
    fn row(&mut self, qkv: &mut Vec<f32>) {
        if self.tokens.is_multiple_of(STRETCH) {
            self.mean = self.noise.vector(self.mean.len());
        }
        self.tokens += 1;
        let rest = (1.0 - INERTIA * INERTIA).sqrt();
        for element in &mut self.query {
            *element = INERTIA * *element + rest * self.noise.next();
        }
        qkv.extend_from_slice(&self.query);
        for mean in &self.mean {
            qkv.push(mean + 0.5 * self.noise.next());
        }
        for _ in 0..self.mean.len() {
            qkv.push(self.noise.next());
        }
    }
}

struct Setup {
    device: CpuDevice,
    spec: Spec,
    text: Text,
    qkv: CpuBuffer<Activation>,
    output: CpuBuffer<Activation>,
    /// Rows that steps take in turn.
    steps: Vec<Vec<f32>>,
}

impl Setup {
    fn new() -> Setup {
        let specs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model-specs");
        let spec = Spec::load(specs.join("llama-3.1-8b.yaml"), &[]).unwrap();
        let device = CpuDevice::new(&spec).unwrap();
        let width = spec.attention.key_width() as usize;
        let query_width = width * spec.attention.gqa_ratio as usize;
        let qkv = device
            .allocate("qkv", ROWS * (query_width + 2 * width))
            .unwrap();
        let output = device.allocate("output", ROWS * query_width).unwrap();
        Setup {
            text: Text::new(&spec),
            device,
            spec,
            qkv,
            output,
            steps: Vec::new(),
        }
    }

    /// The next `rows` rows of the text to the device.
    fn write(&mut self, rows: usize) {
        let mut values = Vec::new();
        for _ in 0..rows {
            self.text.row(&mut values);
        }
        self.device.write(&mut self.qkv, 0, &values).unwrap();
    }

    fn make_steps(&mut self) {
        self.steps = (0..64)
            .map(|_| {
                let mut row = Vec::new();
                self.text.row(&mut row);
                row
            })
            .collect();
    }
}

fn append(sequence: usize, count: usize, offset: usize) -> Append {
    Append {
        sequence,
        count,
        offset,
    }
}

/// Full attention of a step, `layers` layers in turn.
fn full(setup: &mut Setup, group: &mut Group, context: usize, layers: usize) {
    let device = &setup.device;
    let width = setup.spec.attention.key_width() as usize;
    let capacity = context + LATER;
    let mut caches: Vec<_> = (0..layers)
        .map(|_| {
            let mut buffer = || -> CpuBuffer<Activation> {
                let mut buffer = device.allocate("cache", capacity * width).unwrap();
                let values = setup.text.noise.vector(width * 64);
                for at in (0..capacity * width - values.len()).step_by(values.len()) {
                    device.write(&mut buffer, at, &values).unwrap();
                }
                buffer
            };
            (buffer(), buffer())
        })
        .collect();
    let query_width = width * setup.spec.attention.gqa_ratio as usize;
    let mut queries = device.allocate("queries", query_width).unwrap();
    let mut total = context;
    group.bench_function(BenchmarkId::new("full", context), |bencher| {
        bencher.iter(|| {
            total = context + (total + 1 - context) % LATER;
            let row = &setup.steps[total % setup.steps.len()];
            device.write(&mut setup.qkv, 0, row).unwrap();
            let tokens = Tokens {
                sequences: vec![NewTokens {
                    begin: 0,
                    count: 1,
                    total,
                    row_begin: 0,
                    row_capacity: capacity,
                    rope_table: 0,
                }],
            };
            let tokens = device.tokens(&tokens).unwrap();
            for (keys, values) in &mut caches {
                let rows = CacheRows {
                    keys: &mut *keys,
                    values: &mut *values,
                    k_pre: None,
                };
                device
                    .rope_append(&tokens, &setup.qkv, &mut queries, rows)
                    .unwrap();
                device
                    .attention(&tokens, &queries, keys, values, &mut setup.output)
                    .unwrap();
            }
        });
    });
}

/// The method's step, `layers` layers in turn; and what a prompt took in the end, each layer.
fn shadow(setup: &mut Setup, group: &mut Group, context: usize, layers: usize) {
    let room = ShadowRoom {
        capacities: vec![context + LATER],
        prompt_rows: context,
        call_rows: ROWS,
    };
    let mut store = ShadowStore::new(&setup.device, &setup.spec, layers, &room).unwrap();
    let sequence = store
        .admit(&setup.device, context, context + LATER)
        .unwrap();
    let tiles: Vec<Vec<Append>> = (0..context)
        .step_by(ROWS)
        .map(|offset| vec![append(sequence, ROWS.min(context - offset), offset)])
        .collect();
    let tiles: Vec<&[Append]> = tiles.iter().map(Vec::as_slice).collect();
    let prepared = store.prepare(&setup.device, &tiles).unwrap();
    for (tile, prepared) in tiles.iter().zip(&prepared) {
        setup.write(tile[0].count);
        store
            .take_in(&setup.device, 0, prepared, &setup.qkv)
            .unwrap();
    }
    let mut fastest = Duration::MAX;
    for layer in 0..layers {
        let begin = Instant::now();
        store.end_layer(&setup.device, layer).unwrap();
        fastest = fastest.min(begin.elapsed());
    }
    store.advance(&[append(sequence, context, 0)]);
    println!("prompt/{context}: {fastest:.2?} a layer");
    setup.make_steps();
    let mut step = 0;
    let new = [append(sequence, 1, 0)];
    let before = store.statistics(&setup.device, sequence).unwrap();
    group.bench_function(BenchmarkId::new("shadow", context), |bencher| {
        bencher.iter(|| {
            let Setup {
                device,
                qkv,
                output,
                steps,
                ..
            } = setup;
            device.write(qkv, 0, &steps[step % steps.len()]).unwrap();
            step += 1;
            let prepared = store.prepare(device, &[&new]).unwrap();
            for layer in 0..layers {
                for tile in &prepared {
                    attend(&mut store, device, layer, tile, qkv, output);
                }
            }
            store.advance(&new);
        });
    });
    let statistics = store.statistics(&setup.device, sequence).unwrap();
    let selected = statistics.selected - before.selected;
    let hits = statistics.hits - before.hits;
    println!(
        "shadow/{context}: {:.0} % of the chunks were in their slots, {} chunks folded",
        100.0 * hits as f64 / selected as f64,
        store.chunk_count(sequence) - (context / 8 - 4)
    );
}

fn attend(
    store: &mut ShadowStore<CpuDevice>,
    device: &CpuDevice,
    layer: usize,
    tile: &ShadowTile<CpuDevice>,
    qkv: &CpuBuffer<Activation>,
    output: &mut CpuBuffer<Activation>,
) {
    store.attend(device, layer, tile, qkv, output).unwrap();
    store.end_layer(device, layer).unwrap();
}

type Group<'a> = criterion::BenchmarkGroup<'a, criterion::measurement::WallTime>;

fn decode(criterion: &mut Criterion) {
    let wanted = std::env::args().skip(1).find_map(|own| own.parse().ok());
    for (context, layers) in CONTEXTS {
        if wanted.is_some_and(|wanted: usize| wanted != context) {
            continue;
        }
        let mut setup = Setup::new();
        let mut group = criterion.benchmark_group("decode");
        group.throughput(Throughput::Elements(layers as u64));
        group.sample_size(10);
        shadow(&mut setup, &mut group, context, layers);
        full(&mut setup, &mut group, context, layers);
        group.finish();
    }
}

criterion_group!(benches, decode);
criterion_main!(benches);
