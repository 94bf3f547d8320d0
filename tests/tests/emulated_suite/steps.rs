//! Steps of the method in every order that events permit.

use shadowkv_runtime::device::cpu::CpuDevice;
use shadowkv_runtime::gpu::emulated::Order;

use crate::golden::Golden;
use crate::setup::{Compiled, SMALL, gpu, greedy, tiny};

/// A long prompt, a short one that is compressed later, and one in between, each with its own end.
fn requests() -> Vec<shadowkv_runtime::generate::Request> {
    let golden = Golden::open("models/llama-3.1/golden.safetensors");
    let ids = golden.integers("input_ids");
    vec![
        greedy(&ids[..120], 24),
        greedy(&ids[..9], 30),
        greedy(&ids[20..80], 11),
    ]
}

pub(crate) fn small() -> Compiled {
    tiny("llama-3.1", &SMALL)
}

#[test]
fn every_order_gives_the_same_tokens() {
    let compiled = small();
    let requests = requests();
    let orders = [
        Order::Eager,
        Order::Lazy,
        Order::Random(1),
        Order::Random(2),
        Order::Random(3),
    ];
    let runs = orders.map(|order| {
        let gpu = gpu(order);
        let device = compiled.device(gpu.clone());
        let run = compiled.shadow(&device, &requests);
        drop(device);
        let findings = gpu.finish();
        assert!(findings.is_empty(), "{order:?}: {findings:?}");
        run
    });
    let (_, statistics) = &runs[0];
    assert!(
        statistics.missing > 0 && statistics.hits > 0,
        "{statistics:?}"
    );
    for (run, order) in runs.iter().zip(&orders) {
        assert_eq!(run, &runs[0], "{order:?}");
    }
    // The CPU selects as many, and finds about as many in their slots.
    let cpu = CpuDevice::new(&compiled.model.spec).unwrap();
    let (_, ours) = compiled.shadow(&cpu, &requests);
    assert_eq!(ours.selected, statistics.selected);
    let share = |hits: u64| hits as f64 / ours.selected as f64;
    let apart = (share(ours.hits) - share(statistics.hits)).abs();
    assert!(apart < 0.1, "{ours:?} {statistics:?}");
}

#[test]
fn halves_that_take_turns_are_the_batch() {
    let compiled = small();
    let requests = requests();
    let run = |order: Order, turns: bool| {
        let gpu = gpu(order);
        let device = compiled.device(gpu.clone());
        let (generated, statistics) = compiled.shadow_by(&device, &requests, turns);
        drop(device);
        assert_eq!(gpu.finish(), [], "{order:?}, {turns}");
        (generated, statistics)
    };
    let whole = run(Order::Lazy, false);
    for order in [Order::Lazy, Order::Random(5), Order::Random(6)] {
        // The same selections, hits and bits, not only the same tokens.
        assert_eq!(run(order, true), whole, "{order:?}");
    }
}

#[test]
fn a_batch_is_its_sequences() {
    let compiled = small();
    let device = compiled.device(gpu(Order::Lazy));
    let requests = requests();
    let (batch, _) = compiled.shadow(&device, &requests);
    for (request, among) in requests.iter().zip(&batch) {
        let (alone, _) = compiled.shadow(&device, std::slice::from_ref(request));
        assert_eq!(alone[0].ids, among.ids);
    }
}
