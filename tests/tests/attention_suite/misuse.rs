//! Calls that make no sense: what is wrong is said, and nothing has changed.

use shadowkv_runtime::attention::{AttentionError, KeysValues, NewTokens};
use shadowkv_runtime::device::tensors::{Layout, TensorType, TensorView, TensorViewMut};

use shadowkv_runtime::gpu::emulated::{EmulatedGpu, EmulatedOptions, Faults, GpuModel, Order};

use crate::driver::{
    decode, finished, on_cpu, on_emulated, on_gpu, prefill, rows, try_prefill, view, view_mut,
};

fn new(sequence: usize, count: usize) -> [NewTokens; 1] {
    [NewTokens { sequence, count }]
}

#[test]
fn tensors_that_do_not_fit() {
    let mut attention = on_cpu();
    let sequence = attention.admit(4, 20).unwrap();
    let own = rows(1, 0, 0..4);
    let mut refused = |keys_values: &KeysValues<'_>, expected: &str| {
        let error = attention.prefill(0, &new(sequence, 4), keys_values, None);
        let error = error.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    let good = own.keys_values();
    let short = KeysValues {
        v: view(&own.v[64..], 2),
        ..good
    };
    refused(&short, "`v` is [3, 2, 32], not [4, 2, 32]");
    let interleaved = Layout {
        shape: [4, 2, 32],
        strides: [64, 1, 2],
    };
    let interleaved = TensorView::f32(&own.k_pre, interleaved).unwrap();
    let interleaved = KeysValues {
        k_pre: interleaved,
        ..good
    };
    refused(&interleaved, "`k_pre` has strides [64, 1, 2]");
    // SAFETY: it is refused before anybody looks there.
    let elsewhere =
        unsafe { TensorView::on_device(256, TensorType::Bf16, Layout::packed([4, 2, 32])) };
    let elsewhere = KeysValues {
        v: elsewhere,
        ..good
    };
    refused(&elsewhere, "`v` is bf16 in the device's memory");

    let mut output = vec![0.0; 4 * 128];
    let overlapping = Layout {
        shape: [4, 4, 32],
        strides: [0, 32, 1],
    };
    let mut overlapping = TensorViewMut::f32(&mut output, overlapping).unwrap();
    let q = view(&own.q, 4);
    let attended = Some((&q, &mut overlapping));
    let error = attention.prefill(0, &new(sequence, 4), &good, attended);
    assert!(matches!(
        error,
        Err(AttentionError::Strides {
            argument: "output",
            ..
        })
    ));
    // As if nothing had been.
    let expected = prefill_alone();
    assert_eq!(prefill(&mut attention, sequence, 1, 4), expected);
}

fn prefill_alone() -> Vec<f32> {
    let mut attention = on_cpu();
    let sequence = attention.admit(4, 20).unwrap();
    prefill(&mut attention, sequence, 1, 4)
}

#[test]
fn calls_out_of_order() {
    let mut attention = on_cpu();
    let sequence = attention.admit(30, 40).unwrap();
    let own = rows(1, 0, 0..30);
    let one = rows(1, 0, 30..31);
    let mut output = vec![0.0; 128];
    let message = |result: Result<(), AttentionError>| result.unwrap_err().to_string();

    let q = view(&one.q, 4);
    let error = message(attention.decode(0, &q, &mut view_mut(&mut output, 4)));
    assert!(error.contains("nothing was appended in layer 0"), "{error}");
    let error = message(attention.prefill(5, &new(sequence, 30), &own.keys_values(), None));
    assert!(error.contains("there is no layer 5"), "{error}");
    let error = message(attention.prefill(0, &new(2, 30), &own.keys_values(), None));
    assert!(error.contains("there is no sequence 2"), "{error}");
    let error = message(attention.prefill(0, &[], &own.keys_values(), None));
    assert!(error.contains("without tokens"), "{error}");

    attention
        .prefill(0, &new(sequence, 30), &own.keys_values(), None)
        .unwrap();
    let error = message(attention.prefill(0, &new(sequence, 30), &own.keys_values(), None));
    assert!(error.contains("layers 1 have not seen"), "{error}");
    let error = message(attention.append(1, &new(sequence, 1), &one.keys_values()));
    assert!(error.contains("other new tokens"), "{error}");
    let error = attention.fork(sequence, 40).unwrap_err().to_string();
    assert!(error.contains("finish or abandon it to fork"), "{error}");
    let error = message(attention.remove(sequence));
    assert!(error.contains("remove one of its sequences"), "{error}");
    let of_layer = rows(1, 1, 0..30);
    attention
        .prefill(1, &new(sequence, 30), &of_layer.keys_values(), None)
        .unwrap();
    assert_eq!(attention.token_count(sequence), 30);

    let error = message(attention.prefill(0, &new(sequence, 1), &one.keys_values(), None));
    assert!(error.contains("has 30 tokens already"), "{error}");
    let eleven = rows(1, 0, 30..41);
    let error = message(attention.append(0, &new(sequence, 11), &eleven.keys_values()));
    assert!(error.contains("would have 41 tokens"), "{error}");
}

#[test]
fn a_step_that_is_given_up_takes_its_sequence_with_it() {
    let mut attention = on_cpu();
    let given_up = attention.admit(30, 40).unwrap();
    let other = attention.admit(4, 40).unwrap();
    prefill(&mut attention, other, 1, 4);
    let own = rows(1, 0, 0..30);
    attention
        .prefill(0, &new(given_up, 30), &own.keys_values(), None)
        .unwrap();
    attention.abandon();
    let error = attention.prefill(0, &new(given_up, 30), &own.keys_values(), None);
    assert!(error.unwrap_err().to_string().contains("release it"));
    // Others are as they were, and so is the next in its place.
    decode(&mut attention, &[(other, 1)], 4..5);
    attention.remove(given_up).unwrap();
    let next = attention.admit(4, 20).unwrap();
    assert_eq!(prefill(&mut attention, next, 1, 4), prefill_alone());
}

/// A launch that fails takes the step's sequence with it, and nothing else.
#[test]
fn a_device_that_fails_once() {
    let (_, mut whole) = on_emulated(Order::Eager);
    let sequence = whole.admit(60, 100).unwrap();
    let expected = prefill(&mut whole, sequence, 1, 60);
    let mut struck = 0;
    for launch in (1..24).step_by(3) {
        let faults = Faults {
            launch: Some(launch),
            ..Faults::default()
        };
        let options = EmulatedOptions::new(GpuModel::a100_80gb()).with_faults(faults);
        let (gpu, mut attention) = on_gpu(EmulatedGpu::new(options)).unwrap();
        let sequence = attention.admit(60, 100).unwrap();
        if let Err(error) = try_prefill(&mut attention, sequence, 1, 60) {
            assert!(error.to_string().contains("a fault on demand"), "{error}");
            let error = try_prefill(&mut attention, sequence, 1, 60).unwrap_err();
            assert!(
                error.to_string().contains("remove its sequences"),
                "{error}"
            );
            struck += 1;
        }
        attention.remove(sequence).unwrap();
        let next = attention.admit(60, 100).unwrap();
        assert_eq!(prefill(&mut attention, next, 1, 60), expected);
        drop(attention);
        finished(&gpu);
    }
    assert!(struck > 4, "{struck} launches failed");
}
