//! Calls that fail in the middle of a generation: the error says what, nothing is left allocated, nothing that was right is
//! objected to, and what comes after it on the same store is what it would have been without.

use shadowkv_runtime::decoder::{Decoder, DecoderError, DecoderWeights, NewIds, Output};
use shadowkv_runtime::device::DeviceError;
use shadowkv_runtime::generate::{Generated, Request, generate};
use shadowkv_runtime::gpu::GpuError;
use shadowkv_runtime::gpu::emulated::{EmulatedGpu, EmulatedOptions, Faults, GpuModel, Order};
use shadowkv_runtime::kv::shadow::{ShadowRoom, ShadowStore};
use shadowkv_runtime::kv::{KvError, KvStore as _};
use shadowkv_runtime::model::Model;

use crate::golden::Golden;
use crate::setup::{Compiled, Silent, greedy};
use crate::steps::small;

/// What became of a run with a fault.
#[derive(Debug)]
enum Ended {
    /// It struck before there was anything to generate with.
    SetUp,
    /// It struck in a generation. Then: what the next one gave.
    Struck(DeviceError, Result<Vec<Generated>, DecoderError>),
    /// It did not strike.
    Done(Vec<Generated>),
}

/// A long prompt and a short one: what follows selects, fetches, folds and, at last, compresses the short one.
fn requests() -> Vec<Request> {
    let golden = Golden::open("models/llama-3.1/golden.safetensors");
    let ids = golden.integers("input_ids");
    vec![greedy(&ids[..48], 10), greedy(&ids[..9], 10)]
}

/// What the device says is the matter, whoever passed it on.
fn device_error(error: DecoderError) -> DeviceError {
    match error {
        DecoderError::Device(error) | DecoderError::Store(KvError::Device(error)) => error,
        other => panic!("{other}"),
    }
}

/// How steps are given to the GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Steps {
    /// One operation after the other.
    Launched,
    /// As graphs, where they come again.
    Graphs,
    /// One operation after the other, two sequences taking turns.
    InTurn,
}

/// Generates with a fault, and if it strikes once more on the same store.
fn attempt(
    compiled: &Compiled,
    requests: &[Request],
    (order, steps): (Order, Steps),
    faults: Faults,
) -> Ended {
    let options = EmulatedOptions::new(GpuModel::a100_80gb());
    let gpu = EmulatedGpu::new(options.with_order(order).with_faults(faults));
    let ended = ended(compiled, &gpu, steps, requests);
    let findings = gpu.finish();
    assert!(
        findings.is_empty(),
        "{faults:?} in {order:?}, {steps:?}: {findings:?}\n{ended:?}"
    );
    ended
}

fn ended(compiled: &Compiled, gpu: &EmulatedGpu, steps: Steps, requests: &[Request]) -> Ended {
    let Ok(device) = compiled.opened(gpu.clone()) else {
        return Ended::SetUp;
    };
    device.use_graphs(steps == Steps::Graphs);
    let Model { spec, weights, .. } = &compiled.model;
    let room = ShadowRoom {
        capacities: vec![64, 64],
        prompt_rows: 64,
        call_rows: 64,
    };
    let layers = weights.layers.len();
    let Ok(weights) = DecoderWeights::load(&device, weights, &mut |_| {}) else {
        return Ended::SetUp;
    };
    let decoder = Decoder::new(&device, spec, weights, 64);
    let store = ShadowStore::new(&device, spec, layers, &room);
    let (Ok(mut decoder), Ok(mut store)) = (decoder, store) else {
        return Ended::SetUp;
    };
    store.set_turns(Some(steps == Steps::InTurn));
    let mut once = || generate(&device, &mut decoder, &mut store, requests, &mut Silent);
    match once() {
        Ok((generated, _)) => Ended::Done(generated),
        Err(error) => Ended::Struck(device_error(error), once().map(|(generated, _)| generated)),
    }
}

/// Lets the calls `numbers` fail, until none does any more; how many failed in the generation.
fn each(
    numbers: impl Iterator<Item = u64>,
    how: (Order, Steps),
    fault: fn(u64) -> Faults,
    is_it: fn(&DeviceError) -> bool,
) -> usize {
    let (compiled, requests) = (small(), requests());
    let Ended::Done(expected) = attempt(&compiled, &requests, how, Faults::default()) else {
        panic!("no fault, and it fails");
    };
    let mut struck = 0;
    for number in numbers {
        match attempt(&compiled, &requests, how, fault(number)) {
            Ended::SetUp => {}
            Ended::Struck(error, again) => {
                assert!(is_it(&error), "{number} in {how:?}: {error}");
                assert_eq!(again.as_ref(), Ok(&expected), "after {number} in {how:?}");
                struck += 1;
            }
            Ended::Done(generated) => {
                assert_eq!(generated, expected);
                break;
            }
        }
    }
    struck
}

#[test]
fn launches_that_are_refused() {
    // From the prompts to the last step.
    let numbers = (1..).step_by(13);
    let fault = |number| Faults {
        launch: Some(number),
        ..Faults::default()
    };
    let is_it = |error: &DeviceError| matches!(error, DeviceError::Gpu(GpuError::Launch { .. }));
    let struck = each(
        numbers.clone(),
        (Order::Lazy, Steps::Launched),
        fault,
        is_it,
    );
    assert!(struck > 15, "{struck}");
    // A graph is one launch.
    let struck = each(numbers, (Order::Random(5), Steps::Graphs), fault, is_it);
    assert!(struck > 8, "{struck}");
}

#[test]
fn a_launch_refused_between_fork_and_join() {
    // Every launch of a layer's step, wherever it begins.
    let fault = |number| Faults {
        launch: Some(number),
        ..Faults::default()
    };
    let is_it = |error: &DeviceError| matches!(error, DeviceError::Gpu(GpuError::Launch { .. }));
    for steps in [Steps::Launched, Steps::InTurn] {
        let struck = each(200..220, (Order::Random(7), steps), fault, is_it);
        assert_eq!(struck, 20, "{steps:?}");
    }
}

#[test]
fn allocations_that_find_no_memory() {
    let fault = |number| Faults {
        allocation: Some(number),
        ..Faults::default()
    };
    let is_it = |error: &DeviceError| matches!(error, DeviceError::OutOfMemory { .. });
    assert!(each(1.., (Order::Lazy, Steps::Graphs), fault, is_it) > 0);
    let fault = |number| Faults {
        host_allocation: Some(number),
        ..Faults::default()
    };
    let is_it = |error: &DeviceError| matches!(error, DeviceError::OutOfHostMemory { .. });
    assert!(each(1.., (Order::Lazy, Steps::Graphs), fault, is_it) > 0);
}

#[test]
fn copies_that_fail() {
    let fault = |number| Faults {
        copy: Some(number),
        ..Faults::default()
    };
    let is_it = |error: &DeviceError| matches!(error, DeviceError::Gpu(GpuError::Failed { .. }));
    assert!(
        each(
            (1..).step_by(9),
            (Order::Random(3), Steps::Graphs),
            fault,
            is_it
        ) > 3
    );
}

#[test]
fn a_gpu_that_is_lost() {
    let (compiled, requests) = (small(), requests());
    let mut struck = 0;
    for number in (1..).step_by(61) {
        let faults = Faults {
            lost: Some(number),
            ..Faults::default()
        };
        match attempt(&compiled, &requests, (Order::Lazy, Steps::Graphs), faults) {
            Ended::SetUp => {}
            Ended::Struck(error, again) => {
                let lost = matches!(error, DeviceError::Gpu(GpuError::DeviceLost { .. }));
                assert!(lost, "{number}: {error}");
                // It stays lost, and says so every time.
                assert_eq!(again.map_err(device_error), Err(error));
                struck += 1;
            }
            Ended::Done(_) => break,
        }
    }
    assert!(struck > 3, "{struck}");
}

#[test]
fn a_sequence_that_a_step_failed_in() {
    let compiled = small();
    let ids = requests().swap_remove(0).prompt;
    // Of the prompt's step, somewhere in its first layer.
    let faults = Faults {
        launch: Some(5),
        ..Faults::default()
    };
    let options = EmulatedOptions::new(GpuModel::a100_80gb());
    let gpu = EmulatedGpu::new(options.with_faults(faults));
    let device = compiled.device(gpu.clone());
    let mut decoder = compiled.decoder(&device, 64);
    let room = ShadowRoom {
        capacities: vec![64],
        prompt_rows: 64,
        call_rows: 64,
    };
    let layers = compiled.model.weights.layers.len();
    let mut store = ShadowStore::new(&device, &compiled.model.spec, layers, &room).unwrap();
    let sequence = store.admit(&device, ids.len(), 60).unwrap();
    let mut next = Vec::new();
    let new = [NewIds {
        sequence,
        ids: &ids,
    }];
    let sampling = [greedy(&ids, 1).sampling];
    let mut step = |store: &mut ShadowStore<_>| {
        let output = Output::Next(&sampling, &mut next);
        decoder.forward(&device, store, &new, output, &mut |_, _| {})
    };
    let refused = step(&mut store).unwrap_err();
    assert!(matches!(
        device_error(refused),
        DeviceError::Gpu(GpuError::Launch { .. })
    ));
    // Some layers know tokens that others do not: the store does not go on as if nothing had happened.
    let broken = KvError::Broken { sequence };
    assert_eq!(step(&mut store), Err(DecoderError::Store(broken)));
    store.release(sequence);
    assert_eq!(store.admit(&device, ids.len(), 60), Ok(sequence));
    step(&mut store).unwrap();
    assert_eq!(next.len(), 1);
    drop((store, decoder, device));
    assert_eq!(gpu.finish(), []);
}
