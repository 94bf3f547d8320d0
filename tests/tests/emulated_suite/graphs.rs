//! Steps that come again as graphs: the same tokens, whatever is in the batch, and a step that is another is no old graph.

use shadowkv_runtime::device::kernels::GraphStatistics;
use shadowkv_runtime::generate::{Generated, Request};
use shadowkv_runtime::gpu::emulated::Order;

use crate::golden::Golden;
use crate::setup::{Compiled, generated, gpu, greedy};
use crate::steps::small;

/// Sequences of different lengths that end at different times: some fold while others do not, one is compressed on the way.
fn requests() -> Vec<Request> {
    let golden = Golden::open("models/llama-3.1/golden.safetensors");
    let ids = golden.integers("input_ids");
    vec![
        greedy(&ids[..48], 24),
        greedy(&ids[..9], 20),
        greedy(&ids[20..80], 7),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attention {
    Full,
    Shadow,
    /// Halves of the batch take turns.
    ShadowInTurn,
}

fn run(
    compiled: &Compiled,
    order: Order,
    graphs: bool,
    attention: Attention,
) -> (Vec<Generated>, GraphStatistics) {
    let gpu = gpu(order);
    let device = compiled.device(gpu.clone());
    device.use_graphs(graphs);
    let requests = requests();
    let generated = if attention == Attention::Full {
        let mut decoder = compiled.decoder(&device, 64);
        let mut store = compiled.full(&device, 256);
        generated(&device, &mut decoder, &mut store, &requests)
    } else {
        let turns = attention == Attention::ShadowInTurn;
        compiled.shadow_by(&device, &requests, turns).0
    };
    let statistics = device.graph_statistics();
    drop(device);
    assert_eq!(gpu.finish(), [], "{order:?}, {graphs}, {attention:?}");
    (generated, statistics)
}

#[test]
fn a_graph_computes_what_its_step_does() {
    let compiled = small();
    let attentions = [Attention::Full, Attention::Shadow, Attention::ShadowInTurn];
    for attention in attentions {
        let (expected, none) = run(&compiled, Order::Eager, false, attention);
        assert_eq!((none.captured, none.replayed), (0, 0));
        for order in [Order::Eager, Order::Lazy, Order::Random(4)] {
            let (found, statistics) = run(&compiled, order, true, attention);
            assert_eq!(found, expected, "{order:?}, {attention:?}");
            assert_eq!(statistics.refused, None);
            // Each batch of three, two and one has its own, with folds and without; most steps need none of their own.
            assert!(statistics.captured >= 2, "{statistics:?}");
            assert!(statistics.replayed > statistics.launched, "{statistics:?}");
        }
    }
}

#[test]
fn a_store_that_moved_gets_graphs_of_its_own() {
    let compiled = small();
    let gpu = gpu(Order::Random(8));
    let device = compiled.device(gpu.clone());
    let requests = requests();
    let (first, _) = compiled.shadow(&device, &requests);
    let before = device.graph_statistics();
    // Decoder and store are new, and lie elsewhere: a graph of the old ones would read what was freed.
    let (second, _) = compiled.shadow(&device, &requests);
    let after = device.graph_statistics();
    assert_eq!(first, second);
    assert!(after.captured > before.captured, "{before:?} {after:?}");
    drop(device);
    assert_eq!(gpu.finish(), []);
}
