//! Sequences that are copied, saved, restored and removed.

use std::path::Path;

use shadowkv_runtime::attention::{AttentionError, ShadowKvAttention};
use shadowkv_runtime::device::cpu::CpuDevice;
use shadowkv_runtime::device::tensors::TensorDevice;
use shadowkv_runtime::gpu::emulated::Order;
use shadowkv_runtime::kv::shadow::StateError;

use crate::driver::{LAYERS, decode, finished, on_cpu, on_emulated, prefill, room, spec};

/// A compressed prompt, and one that fits its window until the continuation overflows it.
const PROMPTS: [usize; 2] = [100, 12];

/// Saves after some steps, restores into another store beside another sequence, and goes on in both: the same bits, through
/// folds, and through the first compression of the short prompt.
fn goes_on<D: TensorDevice>(
    mut first: ShadowKvAttention<D>,
    mut second: ShadowKvAttention<D>,
    folder: &Path,
) {
    for prompt in PROMPTS {
        let path = folder.join(format!("{prompt}.safetensors"));
        let own = first.admit(prompt, 150).unwrap();
        prefill(&mut first, own, 1, prompt);
        decode(&mut first, &[(own, 1)], prompt..prompt + 3);
        first.save(own, &path).unwrap();
        let saved = std::fs::read(&path).unwrap();
        first.save(own, &path).unwrap();
        assert_eq!(saved, std::fs::read(&path).unwrap(), "the same bytes");

        // Other places: the first entry has a sequence, whose outliers and slots must not show.
        let other = second.admit(60, 160).unwrap();
        prefill(&mut second, other, 9, 60);
        let restored = second.restore(&path, 160).unwrap();
        assert_eq!(second.token_count(restored), prompt + 3);
        for step in 0..20 {
            let tokens = prompt + 3 + step..prompt + 4 + step;
            let expected = decode(&mut first, &[(own, 1)], tokens.clone());
            let found = decode(&mut second, &[(restored, 1)], tokens);
            assert_eq!(expected, found, "prompt of {prompt}, step {step}");
        }
        first.remove(own).unwrap();
        second.remove(restored).unwrap();
        second.remove(other).unwrap();
    }
}

/// Two copies that go on differently, and the original beside one that was never copied.
fn forks<D: TensorDevice>(mut attention: ShadowKvAttention<D>, mut alone: ShadowKvAttention<D>) {
    for prompt in PROMPTS {
        let original = attention.admit(prompt, 140).unwrap();
        prefill(&mut attention, original, 1, prompt);
        let copy = attention.fork(original, 150).unwrap();
        assert_ne!(original, copy);
        let same = alone.admit(prompt, 140).unwrap();
        let other = alone.admit(prompt, 140).unwrap();
        for sequence in [same, other] {
            prefill(&mut alone, sequence, 1, prompt);
        }
        for step in 0..12 {
            let tokens = prompt + step..prompt + step + 1;
            // The copy's new tokens are those of another sequence.
            let both = decode(&mut attention, &[(original, 1), (copy, 5)], tokens.clone());
            let apart = decode(&mut alone, &[(same, 1), (other, 5)], tokens);
            assert_eq!(both, apart, "prompt of {prompt}, step {step}");
        }
        for sequence in [original, copy] {
            attention.remove(sequence).unwrap();
        }
        for sequence in [same, other] {
            alone.remove(sequence).unwrap();
        }
    }
}

#[test]
fn restored_sequences_go_on_on_the_cpu() {
    let folder = tempfile::tempdir().unwrap();
    goes_on(on_cpu(), on_cpu(), folder.path());
}

#[test]
fn restored_sequences_go_on_on_an_emulated_gpu() {
    let folder = tempfile::tempdir().unwrap();
    let (first_gpu, first) = on_emulated(Order::Random(1));
    let (second_gpu, second) = on_emulated(Order::Lazy);
    goes_on(first, second, folder.path());
    finished(&first_gpu);
    finished(&second_gpu);
}

#[test]
fn copies_are_independent_on_the_cpu() {
    forks(on_cpu(), on_cpu());
}

#[test]
fn copies_are_independent_on_an_emulated_gpu() {
    let (first_gpu, first) = on_emulated(Order::Random(2));
    let (second_gpu, second) = on_emulated(Order::Eager);
    forks(first, second);
    finished(&first_gpu);
    finished(&second_gpu);
}

/// A file of a compressed sequence, and its bytes.
fn saved(folder: &Path) -> (std::path::PathBuf, Vec<u8>) {
    let mut attention = on_cpu();
    let sequence = attention.admit(100, 150).unwrap();
    prefill(&mut attention, sequence, 1, 100);
    let path = folder.join("prompt.safetensors");
    attention.save(sequence, &path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    (path, bytes)
}

#[test]
fn damaged_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (path, bytes) = saved(folder.path());
    let mut attention = on_cpu();
    let mut refused = |bytes: &[u8], what: &str| {
        std::fs::write(&path, bytes).unwrap();
        let error = attention.restore(&path, 150).unwrap_err();
        assert!(
            matches!(error, AttentionError::State(StateError::Damaged { .. })),
            "{what}: {error}"
        );
        assert!(error.to_string().contains("prompt.safetensors"), "{error}");
    };
    // A bit anywhere: length, header, checksum, arrays.
    let step = bytes.len() / 61;
    for at in (0..bytes.len()).step_by(step).chain([bytes.len() - 1]) {
        let mut changed = bytes.clone();
        changed[at] ^= 4;
        refused(&changed, &format!("byte {at}"));
    }
    for length in [0, 7, 8, 100, bytes.len() / 2, bytes.len() - 1] {
        refused(&bytes[..length], &format!("the first {length} bytes"));
    }
    refused(&[bytes.as_slice(), &[0]].concat(), "a byte too many");
    // Nothing of that is left, and the file as it was is taken.
    std::fs::write(&path, &bytes).unwrap();
    for _ in 0..3 {
        attention.restore(&path, 150).unwrap();
    }
}

#[test]
fn files_of_another_kind_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (path, bytes) = saved(folder.path());
    let mut changed = spec();
    changed.shadowkv.resident_chunks += 1;
    let device = CpuDevice::new(&changed).unwrap();
    let mut other = ShadowKvAttention::new(device, &changed, LAYERS, &room()).unwrap();
    let error = other.restore(&path, 150).unwrap_err().to_string();
    assert!(error.contains("another spec"), "{error}");

    let device = CpuDevice::new(&spec()).unwrap();
    let mut fewer = ShadowKvAttention::new(device, &spec(), 1, &room()).unwrap();
    let error = fewer.restore(&path, 150).unwrap_err().to_string();
    assert!(error.contains("number of layers: 2, not 1"), "{error}");

    let (_, mut emulated) = on_emulated(Order::Eager);
    let error = emulated.restore(&path, 150).unwrap_err().to_string();
    assert!(error.contains("element type: f32, not bf16"), "{error}");

    let name = br#"version\":"#;
    let at = bytes.windows(name.len()).position(|own| own == name);
    let at = at.unwrap() + name.len();
    let mut newer = bytes.clone();
    newer[at] = b'7';
    std::fs::write(&path, newer).unwrap();
    let error = on_cpu().restore(&path, 150).unwrap_err();
    assert!(
        matches!(
            error,
            AttentionError::State(StateError::Version { found: 7, .. })
        ),
        "{error}"
    );
    let error = on_cpu()
        .restore(&folder.path().join("none"), 150)
        .unwrap_err();
    assert!(error.to_string().contains("cannot read"), "{error}");
    let nowhere = folder.path().join("no/folder");
    let mut attention = on_cpu();
    let sequence = attention.admit(10, 20).unwrap();
    let error = attention.save(sequence, &nowhere).unwrap_err();
    assert!(
        matches!(error, AttentionError::State(StateError::Write(_))),
        "{error}"
    );
}

#[test]
fn a_full_store_takes_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _) = saved(folder.path());
    let mut attention = on_cpu();
    for _ in 0..3 {
        attention.restore(&path, 0).unwrap();
    }
    for error in [
        attention.restore(&path, 0).unwrap_err(),
        attention.fork(0, 0).unwrap_err(),
        attention.admit(1, 1).unwrap_err(),
    ] {
        assert!(error.to_string().contains("no room"), "{error}");
    }
    attention.remove(1).unwrap();
    assert_eq!(attention.fork(0, 0).unwrap(), 1);
}
