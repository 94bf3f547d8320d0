//! Damaged files: an error or, where the damage does not show, what they say; never a panic.

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use candle_core::quantized::GgmlDType;
use proptest::prelude::*;
use shadowkv_runtime::model::{Model, ModelOptions};
use shadowkv_runtime::tokenizer::Tokenizer;
use shadowkv_runtime::weights::{Gguf, Safetensors, WeightSource};

use crate::support;

struct Fixture {
    bytes: Vec<u8>,
    /// Bytes of the head, where damage does most.
    head: usize,
}

static SAFETENSORS: LazyLock<Fixture> = LazyLock::new(|| {
    let all = support::tensors(&support::golden("yi-9b-200k").join("model.safetensors"));
    let small = all
        .into_iter()
        .filter(|(name, _)| name.contains("norm"))
        .collect();
    let bytes = support::file_of(&small);
    let head = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    Fixture { bytes, head }
});

/// Everything a GGUF file may hold: a model, a vocabulary, a template.
static GGUF: LazyLock<Fixture> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let mut metadata = support::llama_metadata();
    metadata.extend(support::vocabulary(&["1 2", "12 3"], &["<|begin|>"], "smollm").split_off(1));
    support::write_gguf(&path, &metadata, GgmlDType::Q8_0);
    let bytes = fs::read(&path).unwrap();
    let last = "blk.1.ffn_up.weight";
    let head = bytes
        .windows(last.len())
        .position(|window| window == last.as_bytes())
        .unwrap()
        + last.len();
    Fixture { bytes, head }
});

/// Flips bits of the head, mostly, or of anything.
fn flips(fixture: &'static Fixture) -> impl Strategy<Value = Vec<(usize, u8)>> {
    let place = prop_oneof![4 => 0..fixture.head, 1 => 0..fixture.bytes.len()];
    prop::collection::vec((place, 0..8_u8), 1..4)
}

fn flipped(fixture: &Fixture, flips: &[(usize, u8)]) -> Vec<u8> {
    let mut bytes = fixture.bytes.clone();
    for (at, bit) in flips {
        bytes[*at] ^= 1 << bit;
    }
    bytes
}

/// A file of these bytes, and the folder that holds it.
fn file(name: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    (folder, path)
}

/// Reads whatever the file offers.
fn read_safetensors(bytes: &[u8]) -> bool {
    let (_folder, path) = file("model.safetensors", bytes);
    let Ok(source) = Safetensors::open(&path) else {
        return false;
    };
    let read = source.names().into_iter().map(|name| source.tensor(name));
    read.flatten()
        .map(|tensor| tensor.data.len())
        .sum::<usize>()
        > 0
}

fn read_gguf(bytes: &[u8]) -> bool {
    let (_folder, path) = file("model.gguf", bytes);
    if let Ok(gguf) = Gguf::open(&path) {
        for tensor in gguf.names().into_iter().flat_map(|name| gguf.tensor(name)) {
            let rows = tensor.row_order.iter().flat_map(|order| order.iter());
            assert!(rows.copied().all(|row| (row as usize) < tensor.shape[0]));
        }
        if let Ok(tokenizer) = Tokenizer::from_gguf(&gguf) {
            let ids = tokenizer.encode("it is 1234 🙂", true).unwrap_or_default();
            let _ = tokenizer.decode(&ids, false);
        }
    }
    Model::open(path.to_str(), &ModelOptions::default(), &|_| {}).is_ok()
}

#[test]
fn the_fixtures_are_good() {
    assert!(read_safetensors(&SAFETENSORS.bytes));
    assert!(!SAFETENSORS.bytes.is_empty() && SAFETENSORS.head < SAFETENSORS.bytes.len());
    // Its vocabulary is larger than the model's; that is a warning.
    assert!(read_gguf(&GGUF.bytes));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn truncated_safetensors(end in 0..SAFETENSORS.bytes.len()) {
        prop_assert!(!read_safetensors(&SAFETENSORS.bytes[..end]));
    }

    #[test]
    fn flipped_safetensors(flips in flips(&SAFETENSORS)) {
        let _ = read_safetensors(&flipped(&SAFETENSORS, &flips));
    }

    #[test]
    fn truncated_gguf(end in prop_oneof![0..GGUF.head, 0..GGUF.bytes.len() - 32]) {
        prop_assert!(!read_gguf(&GGUF.bytes[..end]));
    }

    #[test]
    fn flipped_gguf(flips in flips(&GGUF)) {
        let _ = read_gguf(&flipped(&GGUF, &flips));
    }
}
