//! SmolLM2-135M-Instruct by the method on the emulated GPU.
//!
//! **Beside the CPU**, which computes in f32 and selects by itself. What the GPU generated is given to the CPU token by token: the
//! CPU, too, must find each of them all but best. A row is rounded to bf16 twelve times in each of 30 layers and once at
//! the end (`tiny_models.rs` counts them), by up to `2^-9` of it, and one way as often as the other: that moves a logit by
//! about `sqrt(361)` times `2^-9` of the largest, and the best and the chosen one may move towards each other. How many
//! chunks are selected depends on lengths alone and is equal. Which ones are may differ where scores are near: hits differ by at most
//! a twentieth of what is selected.

use shadowkv_runtime::decoder::{NewIds, Output, Wanted};
use shadowkv_runtime::device::cpu::CpuDevice;
use shadowkv_runtime::generate::{Generated, Request};
use shadowkv_runtime::gpu::emulated::Order;
use shadowkv_runtime::kv::KvStore as _;
use shadowkv_runtime::kv::shadow::{ShadowRoom, ShadowStore, Statistics};
use shadowkv_runtime::model::{Model, ModelError, ModelOptions};
use shadowkv_runtime::wheel::WheelError;

use crate::golden::Golden;
use crate::setup::{Compiled, SMALL, compiled, gpu, greedy};

/// The model with small stores; nothing where it cannot be had.
fn opened() -> Option<Compiled> {
    let options = ModelOptions {
        overrides: SMALL.map(|text| text.parse().unwrap()).to_vec(),
        ..ModelOptions::from_environment()
    };
    match Model::open(None, &options, &|_| {}) {
        Ok(model) => Some(compiled(model)),
        Err(ModelError::Wheel(
            error @ (WheelError::Offline { .. }
            | WheelError::NoPython { .. }
            | WheelError::NoPip { .. }
            | WheelError::Network { .. }),
        )) => {
            eprintln!("not tried: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn run(compiled: &Compiled, requests: &[Request], order: Order) -> (Vec<Generated>, Statistics) {
    let gpu = gpu(order);
    let device = compiled.device(gpu.clone());
    let run = compiled.shadow(&device, requests);
    drop(device);
    let findings = gpu.finish();
    assert!(findings.is_empty(), "{order:?}: {findings:?}");
    run
}

#[test]
fn tokens_of_a_real_model() {
    let Some(compiled) = opened() else {
        return;
    };
    let golden = Golden::open("smollm2/reference.safetensors");
    let ids = golden.integers("pytut-classes.token_ids");
    // Windows hold 16 tokens: two prompts are compressed, one of them to three times what is selected, and after ten tokens
    // a chunk is folded. The third is compressed at last, in the step in which its window overflows.
    let requests = [
        greedy(&ids[..130], 10),
        greedy(&ids[400..430], 10),
        greedy(&ids[600..609], 10),
    ];
    let first = run(&compiled, &requests, Order::Eager);
    // `steps.rs` has more orders, of a model that is quicker.
    for order in [Order::Lazy, Order::Random(1)] {
        assert_eq!(run(&compiled, &requests, order), first, "{order:?}");
    }
    let (generated, statistics) = &first;
    assert!(generated.iter().all(|own| own.ids.len() == 10));
    assert!(
        statistics.missing > 0 && statistics.hits > 0,
        "{statistics:?}"
    );
    let cpu = CpuDevice::new(&compiled.model.spec).unwrap();
    let theirs = beside_the_cpu(&compiled, &cpu, &requests, generated);
    assert_eq!(theirs.selected, statistics.selected);
    let apart = theirs.hits.abs_diff(statistics.hits);
    assert!(
        apart * 20 <= theirs.selected,
        "{theirs:?} on the CPU, {statistics:?}"
    );
}

/// How often the CPU fetches for the same tokens, each of which it finds all but best.
fn beside_the_cpu(
    compiled: &Compiled,
    cpu: &CpuDevice,
    requests: &[Request],
    generated: &[Generated],
) -> Statistics {
    let mut decoder = compiled.decoder(cpu, 64);
    let room = ShadowRoom {
        capacities: vec![140; requests.len()],
        prompt_rows: 130,
        call_rows: 64,
    };
    let layers = compiled.model.weights.layers.len();
    let mut store = ShadowStore::new(cpu, &compiled.model.spec, layers, &room).unwrap();
    let moved = f32::sqrt(12.0 * layers as f32 + 1.0) / 512.0;
    for (request, generated) in requests.iter().zip(generated) {
        let sequence = store.admit(cpu, request.prompt.len(), 140).unwrap();
        let mut new_ids = request.prompt.clone();
        for (step, id) in generated.ids.iter().enumerate() {
            let mut logits = Vec::new();
            let mut sink = |_: usize, values: &[f32]| logits = values.to_vec();
            let new = [NewIds {
                sequence,
                ids: &new_ids,
            }];
            let output = Output::Logits(Wanted::Last, &mut sink);
            decoder
                .forward(cpu, &mut store, &new, output, &mut |_, _| {})
                .unwrap();
            let best = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let largest = logits.iter().fold(0.0_f32, |most, own| most.max(own.abs()));
            let behind = best - logits[*id as usize];
            let bound = 2.0 * moved * largest;
            assert!(
                behind <= bound,
                "token {step}: {behind} behind, {bound} is the bound"
            );
            new_ids = vec![*id];
        }
    }
    store.total_statistics(cpu).unwrap()
}
