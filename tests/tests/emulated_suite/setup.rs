//! Models on emulated GPUs.

use std::collections::BTreeMap;

use shadowkv_codegen::emit::emit;
use shadowkv_codegen::plan::Plan;
use shadowkv_runtime::decoder::{Decoder, DecoderWeights};
use shadowkv_runtime::device::kernels::{KernelDevice, KernelsError};
use shadowkv_runtime::device::sparse::SparseDevice;
use shadowkv_runtime::generate::{Generated, Listener, Request, generate};
use shadowkv_runtime::gpu::Gpu;
use shadowkv_runtime::gpu::emulated::{EmulatedGpu, EmulatedOptions, GpuModel, Order};
use shadowkv_runtime::kv::shadow::{ShadowRoom, ShadowStore, Statistics};
use shadowkv_runtime::kv::{FullCache, KvStore};
use shadowkv_runtime::model::{Model, ModelOptions};
use shadowkv_runtime::nvrtc::Arch;
use shadowkv_runtime::package::{Form, ImageRequest, Images, Package, Target};
use shadowkv_runtime::sampling::Sampling;
use shadowkv_runtime::spec::{Override, Spec};

use crate::golden::folder;

/// A model, and the kernels of its spec as PTX.
pub(crate) struct Compiled {
    pub(crate) model: Model,
    package: Package,
    images: Images,
}

/// Stores so small that tests of a few tokens select, fetch and fold.
pub(crate) const SMALL: [&str; 6] = [
    "shadowkv.rank=64",
    "shadowkv.sparse_budget=32",
    "shadowkv.local_chunks=1",
    "shadowkv.generated_window=8",
    "shadowkv.outlier_chunks=1",
    "shadowkv.resident_chunks=6",
];

fn overrides(texts: &[&str]) -> Vec<Override> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// The model of that name in `tests/golden/models`.
pub(crate) fn tiny(name: &str, changes: &[&str]) -> Compiled {
    let path = folder().join("models").join(name);
    let options = ModelOptions {
        overrides: overrides(changes),
        ..ModelOptions::default()
    };
    let model = Model::open(path.to_str(), &options, &|_| {});
    compiled(model.unwrap_or_else(|error| panic!("{name}: {error}")))
}

/// The kernels of `model`'s spec.
pub(crate) fn compiled(model: Model) -> Compiled {
    let package = package(&model.spec);
    let mut request = ImageRequest::from_environment(Arch::Sm80);
    request.target = Target {
        arch: Arch::Sm80,
        form: Form::Ptx,
    };
    let images = package.images(&request, &|_| {}).unwrap();
    Compiled {
        model,
        package,
        images,
    }
}

pub(crate) fn package(spec: &Spec) -> Package {
    let emitted = emit(&Plan::heuristic(spec).unwrap()).unwrap();
    let files: BTreeMap<String, Vec<u8>> = emitted
        .files()
        .map(|file| (file.name.clone(), file.text.clone().into_bytes()))
        .collect();
    Package::from_files(files).unwrap()
}

/// An emulated A100 whose work runs in `order`.
pub(crate) fn gpu(order: Order) -> EmulatedGpu {
    EmulatedGpu::new(EmulatedOptions::new(GpuModel::a100_80gb()).with_order(order))
}

impl Compiled {
    pub(crate) fn opened<G: Gpu>(&self, gpu: G) -> Result<KernelDevice<G>, KernelsError> {
        KernelDevice::new(gpu, &self.model.spec, &self.package, &self.images)
    }

    pub(crate) fn device<G: Gpu>(&self, gpu: G) -> KernelDevice<G> {
        self.opened(gpu).unwrap()
    }

    pub(crate) fn decoder<D: SparseDevice>(&self, device: &D, tile_rows: usize) -> Decoder<D> {
        let weights = DecoderWeights::load(device, &self.model.weights, &mut |_| {}).unwrap();
        Decoder::new(device, &self.model.spec, weights, tile_rows).unwrap()
    }

    pub(crate) fn full<D: SparseDevice>(&self, device: &D, tokens: usize) -> FullCache<D> {
        let layers = self.model.weights.layers.len();
        FullCache::new(device, &self.model.spec, layers, tokens, 512).unwrap()
    }

    /// What becomes of `requests` with the method, and how often it fetched.
    pub(crate) fn shadow<D: SparseDevice>(
        &self,
        device: &D,
        requests: &[Request],
    ) -> (Vec<Generated>, Statistics) {
        self.shadow_by(device, requests, false)
    }

    /// The same, halves of the batch taking turns if `turns`.
    pub(crate) fn shadow_by<D: SparseDevice>(
        &self,
        device: &D,
        requests: &[Request],
        turns: bool,
    ) -> (Vec<Generated>, Statistics) {
        let mut decoder = self.decoder(device, 64);
        let tokens = |request: &Request| request.prompt.len() + request.most_tokens;
        let room = ShadowRoom {
            capacities: requests.iter().map(tokens).collect(),
            prompt_rows: requests.iter().map(|own| own.prompt.len()).max().unwrap(),
            call_rows: 64,
        };
        let layers = self.model.weights.layers.len();
        let mut store = ShadowStore::new(device, &self.model.spec, layers, &room).unwrap();
        store.set_turns(Some(turns));
        let generated = generated(device, &mut decoder, &mut store, requests);
        let statistics = store.total_statistics(device).unwrap();
        (generated, statistics)
    }
}

/// Nobody who listens.
pub(crate) struct Silent;

impl Listener for Silent {
    fn token(&mut self, _sequence: usize, _id: i32) -> bool {
        true
    }
}

pub(crate) fn generated<D: SparseDevice, K: KvStore<D>>(
    device: &D,
    decoder: &mut Decoder<D>,
    store: &mut K,
    requests: &[Request],
) -> Vec<Generated> {
    generate(device, decoder, store, requests, &mut Silent)
        .unwrap()
        .0
}

/// A greedy continuation.
pub(crate) fn greedy(prompt: &[i32], most_tokens: usize) -> Request {
    Request {
        prompt: prompt.to_vec(),
        most_tokens,
        sampling: Sampling {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            seed: 0,
            step: 0,
        },
        stops: Vec::new(),
    }
}
