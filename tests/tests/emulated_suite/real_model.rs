//! SmolLM2-135M-Instruct by the method on the emulated GPU.

use shadowkv_runtime::gpu::emulated::Order;
use shadowkv_runtime::model::{Model, ModelError, ModelOptions};
use shadowkv_runtime::wheel::WheelError;

use crate::golden::Golden;
use crate::setup::{SMALL, compiled, gpu, greedy};

#[test]
fn tokens_of_a_real_model() {
    let options = ModelOptions {
        overrides: SMALL.map(|text| text.parse().unwrap()).to_vec(),
        ..ModelOptions::from_environment()
    };
    let model = match Model::open(None, &options, &|_| {}) {
        Ok(model) => model,
        Err(ModelError::Wheel(
            error @ (WheelError::Offline { .. }
            | WheelError::NoPython { .. }
            | WheelError::NoPip { .. }
            | WheelError::Network { .. }),
        )) => {
            eprintln!("not tried: {error}");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    let compiled = compiled(model);
    let golden = Golden::open("smollm2/reference.safetensors");
    let ids = golden.integers("pytut-classes.token_ids");
    // More than a window, which holds 16 tokens; and after ten tokens a chunk is folded.
    let requests = [greedy(&ids[..72], 10), greedy(&ids[100..130], 10)];
    let runs = [Order::Eager, Order::Random(5)].map(|order| {
        let gpu = gpu(order);
        let device = compiled.device(gpu.clone());
        let run = compiled.shadow(&device, &requests);
        drop(device);
        let findings = gpu.finish();
        assert!(findings.is_empty(), "{order:?}: {findings:?}");
        run
    });
    assert_eq!(runs[0], runs[1]);
    let (generated, statistics) = &runs[0];
    assert!(generated.iter().all(|own| own.ids.len() == 10));
    assert!(
        statistics.missing > 0 && statistics.hits > 0,
        "{statistics:?}"
    );
}
