//! GGUF files: tensors, metadata, and the order of rows.

use std::fs;

use candle_core::Device;
use candle_core::quantized::gguf_file::Value;
use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use shadowkv_runtime::model::{Model, ModelError, ModelOptions};
use shadowkv_runtime::spec::Spec;
use shadowkv_runtime::weights::{Gguf, Tensor, WeightSource, WeightType, WeightsError};

use crate::support::{self, Metadata, floats};

/// A tensor's rows as f32, in the model's order.
fn rows(tensor: &Tensor) -> Vec<f32> {
    let values = match tensor.dtype {
        WeightType::Ggml(dtype) => {
            let data = (&tensor.data[..]).into();
            let storage = QStorage::from_data(data, &Device::Cpu, dtype).unwrap();
            let tensor = QTensor::new(storage, tensor.shape.clone()).unwrap();
            tensor
                .dequantize(&Device::Cpu)
                .unwrap()
                .flatten_all()
                .unwrap()
                .to_vec1()
                .unwrap()
        }
        WeightType::F32 => floats(&tensor.data),
        other => panic!("{other}"),
    };
    let Some(order) = &tensor.row_order else {
        return values;
    };
    let columns = tensor.shape[1];
    let row = |row: &u32| values[*row as usize * columns..][..columns].to_vec();
    order.iter().flat_map(row).collect()
}

#[test]
fn rows_come_back_in_the_models_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    for (dtype, tolerance) in [
        (GgmlDType::F32, 0.0),
        (GgmlDType::Q8_0, 0.02),
        (GgmlDType::Q4_1, 0.3),
    ] {
        support::write_gguf(&path, &support::llama_metadata(), dtype);
        let gguf = Gguf::open(&path).unwrap();
        for (name, raw) in
            support::tensors(&support::golden("smollm2-135m").join("model.safetensors"))
        {
            let tensor = gguf.tensor(&support::gguf_name(&name)).unwrap();
            assert_eq!(tensor.shape, raw.shape, "{name}");
            let permuted = name.contains("q_proj") || name.contains("k_proj");
            assert_eq!(tensor.row_order.is_some(), permuted, "{name}");
            let expected = raw.values();
            let largest = expected
                .iter()
                .fold(0.0, |largest: f32, value| largest.max(value.abs()));
            for (found, expected) in rows(&tensor).iter().zip(&expected) {
                assert!(
                    (found - expected).abs() <= tolerance * largest,
                    "{name}: {found} {expected}"
                );
            }
        }
        let gate = gguf.tensor("blk.0.ffn_gate.weight").unwrap();
        assert_eq!(
            gate.dtype,
            WeightType::from(dtype),
            "blocks are not touched"
        );
        assert_eq!(
            gate.data.len(),
            136 * 192 / dtype.block_size() * dtype.type_size()
        );
    }
}

#[test]
fn other_architectures_keep_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    let mut metadata = support::llama_metadata();
    metadata[0].1 = Value::String("qwen2".to_owned());
    support::write_gguf(&path, &metadata, GgmlDType::F32);
    let gguf = Gguf::open(&path).unwrap();
    assert!(
        gguf.tensor("blk.0.attn_q.weight")
            .unwrap()
            .row_order
            .is_none()
    );
}

fn open(metadata: &Metadata, options: &ModelOptions) -> Result<Model, ModelError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    support::write_gguf(&path, metadata, GgmlDType::Q8_0);
    Model::open(path.to_str(), options, &|_| {})
}

#[test]
fn the_metadata_makes_the_spec() {
    let found = open(&support::llama_metadata(), &ModelOptions::default()).unwrap();
    let golden = support::golden("smollm2-135m");
    let expected = Model::open(golden.to_str(), &ModelOptions::default(), &|_| {}).unwrap();
    let renamed = Spec {
        name: "tiny-model".to_owned(),
        ..expected.spec
    };
    assert_eq!(found.spec, renamed);
    assert!(found.weights.lm_head.is_none(), "the embedding serves");
    assert_eq!(found.eos_tokens, [2]);
    assert!(matches!(
        found.tokenizer(),
        Err(ModelError::NoTokenizer { .. })
    ));
    assert!(matches!(
        found.chat_template(),
        Err(ModelError::NoChatTemplate { .. })
    ));
}

#[test]
fn what_the_metadata_does_not_tell() {
    let with = |key: &'static str, value: Value| {
        let mut metadata = support::llama_metadata();
        metadata.retain(|(known, _)| *known != key);
        metadata.push((key, value));
        open(&metadata, &ModelOptions::default())
            .unwrap_err()
            .to_string()
    };
    let text = |text: &str| Value::String(text.to_owned());
    let error = with("general.architecture", text("qwen2"));
    assert!(
        error.contains("only architecture `llama` does, and this is `qwen2`; give one with --spec"),
        "{error}"
    );
    let error = with("general.architecture", text("gemma3"));
    assert!(
        error.contains("architecture `gemma3`, whose layout is not known"),
        "{error}"
    );
    let error = with("llama.rope.scaling.type", text("yarn"));
    assert!(error.contains("frequencies are scaled (`yarn`)"), "{error}");
    let error = with("llama.rope.dimension_count", Value::U32(32));
    assert!(error.contains("rotates 32 of 64"), "{error}");
    let error = with("llama.expert_count", Value::U32(8));
    assert!(error.contains("mixture of experts"), "{error}");
    let error = with("llama.block_count", text("two"));
    assert!(
        error.contains("`llama.block_count` must be a whole number"),
        "{error}"
    );
    let error = with("llama.attention.head_count", Value::U32(0));
    assert!(error.contains("tiny.gguf"), "{error}");
    let error = with("llama.attention.head_count_kv", Value::U32(2));
    assert!(
        error.contains("3 query heads cannot share 2 KV heads evenly"),
        "{error}"
    );
    let error = with("llama.vocab_size", Value::U32(384));
    assert!(
        error.contains("`token_embd.weight`: the spec demands [384, 192], the file has [256, 192]"),
        "{error}"
    );
    let mut metadata = support::llama_metadata();
    metadata.retain(|(key, _)| *key != "llama.feed_forward_length");
    let error = open(&metadata, &ModelOptions::default())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("it has no `llama.feed_forward_length`"),
        "{error}"
    );
}

#[test]
fn damaged_headers_say_where() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    let mut metadata = support::llama_metadata();
    metadata.push(("general.alignment", Value::U32(32)));
    support::write_gguf(&path, &metadata, GgmlDType::Q8_0);
    let good = fs::read(&path).unwrap();
    let at = |text: &str| {
        good.windows(text.len())
            .position(|window| window == text.as_bytes())
            .unwrap()
            + text.len()
    };
    let failure = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        fs::write(&path, bytes).unwrap();
        Gguf::open(&path).unwrap_err().to_string()
    };
    // Behind the name: dimensions (4 bytes, 2 of 8 each), then the type.
    let name = at("blk.1.ffn_gate.weight");
    let error = failure(&|bytes| bytes[name + 20] = 20);
    assert!(
        error.contains("at `blk.1.ffn_gate.weight`: unknown dtype for tensor 20"),
        "{error}"
    );
    let error = failure(&|bytes| bytes[name + 4 + 7] = 0x7f);
    assert!(error.contains("tensor `blk.1.ffn_gate.weight`"), "{error}");
    let alignment = at("general.alignment");
    let error = failure(&|bytes| bytes[alignment + 4] = 0);
    assert!(
        error.contains("at `general.alignment`: the alignment is 0"),
        "{error}"
    );
    let error = failure(&|bytes| bytes[0] = b'X');
    assert!(
        error.contains("no valid GGUF file: unknown magic"),
        "{error}"
    );
    let error = failure(&|bytes| bytes.truncate(100));
    assert!(error.contains("no valid GGUF file"), "{error}");
    fs::write(&path, &good[..good.len() - 64]).unwrap();
    let error = Gguf::open(&path).unwrap_err();
    assert!(matches!(error, WeightsError::Truncated { .. }), "{error}");
}
