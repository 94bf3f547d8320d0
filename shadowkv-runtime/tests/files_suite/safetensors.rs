//! Safetensors files: what is read, and what is refused.

use std::collections::BTreeMap;
use std::fs;

use safetensors::Dtype;
use shadowkv_runtime::weights::{Safetensors, WeightSource, WeightType, WeightsError};

use crate::support::{self, Raw};

#[test]
fn every_tensor_of_a_golden_model() {
    let path = support::golden("glm-4-9b-1m").join("model.safetensors");
    let expected = support::tensors(&path);
    assert_eq!(
        support::read_all(&Safetensors::open(&path).unwrap()),
        expected
    );
    // A folder finds its file.
    let of_folder = support::weights("glm-4-9b-1m");
    assert_eq!(of_folder.path().file_name().unwrap(), "model.safetensors");
    assert_eq!(support::read_all(&of_folder), expected);
}

#[test]
fn a_tensor_outlives_its_file() {
    let tensor = support::weights("yi-9b-200k")
        .tensor("model.norm.weight")
        .unwrap();
    assert_eq!(tensor.shape, [48]);
    assert_eq!(tensor.data.len(), 48 * 4);
}

#[test]
fn half_formats() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("half.safetensors");
    let half = |dtype, bytes: &[u8]| Raw {
        dtype,
        shape: vec![2],
        bytes: bytes.to_vec(),
    };
    let tensors = BTreeMap::from([
        ("a".to_owned(), half(Dtype::BF16, &[0x80, 0x3f, 0x00, 0xc0])),
        ("b".to_owned(), half(Dtype::F16, &[0x00, 0x3c, 0x00, 0xc0])),
        ("c".to_owned(), half(Dtype::I16, &[0, 0, 0, 0])),
    ]);
    fs::write(&path, support::file_of(&tensors)).unwrap();
    let file = Safetensors::open(&path).unwrap();
    assert_eq!(file.names(), ["a", "b", "c"]);
    let (a, b) = (file.tensor("a").unwrap(), file.tensor("b").unwrap());
    assert_eq!((a.dtype, b.dtype), (WeightType::Bf16, WeightType::F16));
    assert_eq!(&a.data[..], &[0x80, 0x3f, 0x00, 0xc0]);
    assert_eq!(&b.data[..], &[0x00, 0x3c, 0x00, 0xc0]);
    assert_eq!(
        file.tensor("c").unwrap_err().to_string(),
        format!(
            "`{}`: tensor `c` has elements of type I16; F32, F16 and BF16 are read",
            path.display()
        )
    );
    assert_eq!(
        file.tensor("d").unwrap_err().to_string(),
        format!("`{}` has no tensor `d`", path.display())
    );
}

/// Splits a golden model's tensors over two files.
fn shards(folder: &std::path::Path) -> BTreeMap<String, Raw> {
    let all = support::tensors(&support::golden("llama-3-8b-1m").join("model.safetensors"));
    let mut parts = [BTreeMap::new(), BTreeMap::new()];
    let mut map = serde_json::Map::new();
    for (number, (name, raw)) in all.iter().enumerate() {
        let part = number % 2;
        parts[part].insert(name.clone(), raw.clone());
        map.insert(name.clone(), format!("model-{part}.safetensors").into());
    }
    for (number, part) in parts.iter().enumerate() {
        fs::write(
            folder.join(format!("model-{number}.safetensors")),
            support::file_of(part),
        )
        .unwrap();
    }
    let index = serde_json::json!({ "metadata": { "total_size": 1 }, "weight_map": map });
    fs::write(
        folder.join("model.safetensors.index.json"),
        index.to_string(),
    )
    .unwrap();
    all
}

#[test]
fn shards_and_what_their_index_may_say() {
    let folder = tempfile::tempdir().unwrap();
    let all = shards(folder.path());
    let source = Safetensors::open(folder.path()).unwrap();
    assert_eq!(source.files().count(), 2);
    assert_eq!(support::read_all(&source), all);

    let index = folder.path().join("model.safetensors.index.json");
    let good = fs::read_to_string(&index).unwrap();
    let failure = |text: &str| {
        fs::write(&index, text).unwrap();
        Safetensors::open(folder.path()).unwrap_err()
    };
    let error = failure(&good.replace("model.norm.weight", "model.norms.weight"));
    assert!(
        matches!(&error, WeightsError::Missing { tensor, .. } if tensor == "model.norms.weight"),
        "{error}"
    );
    let error = failure(&good.replace("model-1.safetensors", "model-2.safetensors"));
    assert!(error.to_string().contains("model-2.safetensors"), "{error}");
    let error = failure(&good.replace("model-1.safetensors", "../model-1.safetensors"));
    assert!(error.to_string().contains("no file beside it"), "{error}");
    let error = failure("{}");
    assert!(error.to_string().contains("weight_map"), "{error}");
}

#[test]
fn truncated_and_damaged_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let good = fs::read(support::golden("llama-3-8b-1m").join("model.safetensors")).unwrap();
    let failure = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        Safetensors::open(&path).unwrap_err()
    };
    let error = failure(&good[..good.len() - 100]);
    let WeightsError::Truncated {
        tensor,
        needed,
        found,
        ..
    } = &error
    else {
        panic!("{error}");
    };
    assert_eq!(
        (*needed, *found),
        (good.len() as u64, good.len() as u64 - 100)
    );
    assert!(
        error
            .to_string()
            .contains(&format!("tensor `{tensor}` ends at byte {needed}")),
        "{error}"
    );
    let text = |bytes: &[u8]| failure(bytes).to_string();
    assert!(text(&[]).contains("not even 8 bytes"));
    assert!(text(&good[..500]).contains("its header has"));
    assert!(text(&u64::MAX.to_le_bytes()).contains("larger than 100 MB"));
    assert!(text(&[&good[..], &[0; 3]].concat()).contains("3 bytes follow its last tensor"));
    assert!(
        text(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n")
            .contains("no valid safetensors")
    );
    let error = Safetensors::open(folder.path().join("none.safetensors")).unwrap_err();
    assert!(matches!(error, WeightsError::Read { .. }), "{error}");
    fs::remove_file(&path).unwrap();
    let error = Safetensors::open(folder.path()).unwrap_err();
    assert!(
        error.to_string().ends_with(
            "holds no weights: it has neither model.safetensors nor model.safetensors.index.json"
        ),
        "{error}"
    );
}
