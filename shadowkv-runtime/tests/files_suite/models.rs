//! Models opened: the right spec, the right tensors, and errors that name what does not fit.

use std::collections::BTreeMap;
use std::fs;

use shadowkv_runtime::manifest::Manifest;
use shadowkv_runtime::model::{Locator, Model, ModelError, ModelOptions, SpecSource};
use shadowkv_runtime::spec::{ModelFamily, RopeLayout, RopeScaling, Spec, TensorNames};
use shadowkv_runtime::weights::Tensor;

use crate::support::{self, MODELS, Raw};

fn open(path: &std::path::Path, options: &ModelOptions) -> Result<Model, ModelError> {
    Model::open(path.to_str(), options, &|_| {})
}

fn rows(tensors: &[Tensor]) -> Vec<usize> {
    tensors.iter().map(|tensor| tensor.shape[0]).collect()
}

#[test]
fn all_golden_models_open() {
    for name in MODELS {
        let model = open(&support::golden(name), &ModelOptions::default()).unwrap();
        let decoder = model.spec.decoder.as_ref().unwrap();
        let attention = &model.spec.attention;
        let (hidden, ffn) = (decoder.hidden as usize, decoder.ffn as usize);
        let head_dim = attention.head_dim as usize;
        let query = attention.query_heads() as usize * head_dim;
        let key = attention.key_width() as usize;
        assert_eq!(model.spec.name, name);
        assert_eq!(model.weights.layers.len(), 2, "{name}");
        let mut bytes = 0;
        for tensor in model.weights.tensors() {
            assert_eq!(
                tensor.data.len(),
                tensor.shape.iter().product::<usize>() * 4
            );
            bytes += tensor.data.len() as u64;
        }
        assert_eq!(model.weights.bytes(), bytes);
        for layer in &model.weights.layers {
            let fused = decoder.family == ModelFamily::Phi3;
            let qkv = if fused {
                vec![query + 2 * key]
            } else {
                vec![query, key, key]
            };
            assert_eq!(rows(&layer.qkv), qkv, "{name}");
            let gated = matches!(decoder.family, ModelFamily::Phi3 | ModelFamily::Glm);
            let gate_up = if gated { vec![2 * ffn] } else { vec![ffn, ffn] };
            assert_eq!(rows(&layer.gate_up), gate_up, "{name}");
            let biased = matches!(decoder.family, ModelFamily::Qwen2 | ModelFamily::Glm);
            assert_eq!(
                rows(&layer.qkv_bias),
                if biased { qkv } else { vec![] },
                "{name}"
            );
            assert_eq!(layer.output.shape, [hidden, query]);
            assert_eq!(layer.down.shape, [hidden, ffn]);
            let normed = decoder.family == ModelFamily::Qwen3;
            assert_eq!(layer.head_norms.is_some(), normed, "{name}");
        }
        let tied = name == "smollm2-135m";
        assert_eq!(model.weights.lm_head.is_none(), tied, "{name}");
        assert_eq!(
            model.weights.lm_head().shape,
            [decoder.vocab as usize, hidden]
        );
        // Every tensor of the file has found its place.
        let all = support::tensors(&support::golden(name).join("model.safetensors"));
        assert_eq!(model.weights.tensors().count(), all.len(), "{name}");
        for tensor in model.weights.tensors() {
            assert_eq!(
                tensor.data[..],
                all[&tensor.name].bytes[..],
                "{name}: {}",
                tensor.name
            );
        }
    }
}

#[test]
fn specs_are_those_of_the_configs() {
    let spec = |name: &str| {
        open(&support::golden(name), &ModelOptions::default())
            .unwrap()
            .spec
    };
    let glm = spec("glm-4-9b-1m");
    assert_eq!(
        (
            glm.rope.layout,
            glm.rope.rotary_dim,
            glm.attention.gqa_ratio
        ),
        (RopeLayout::Interleaved, 64, 8)
    );
    assert!(matches!(
        spec("phi-3-mini-128k").rope.scaling,
        RopeScaling::LongRope { .. }
    ));
    assert!(matches!(
        spec("qwen2-7b-128k-orig64").rope.scaling,
        RopeScaling::Yarn { .. }
    ));
    assert!(matches!(
        spec("llama-3.1").rope.scaling,
        RopeScaling::Llama3 { .. }
    ));
    let llama = spec("llama-3-8b-1m");
    assert!((llama.rope.base - 3_580_165_449.0).abs() < 0.5);
}

/// A GLM model in its original form: other names, queries, keys and values fused.
fn chatglm() -> BTreeMap<String, Raw> {
    let glm = support::tensors(&support::golden("glm-4-9b-1m").join("model.safetensors"));
    let mut tensors = BTreeMap::new();
    let mut fused: BTreeMap<String, Vec<Raw>> = BTreeMap::new();
    for (name, raw) in &glm {
        let name = name
            .replace(
                "model.embed_tokens",
                "transformer.embedding.word_embeddings",
            )
            .replace("model.norm", "transformer.encoder.final_layernorm")
            .replace("lm_head", "transformer.output_layer")
            .replace("model.layers", "transformer.encoder.layers")
            .replace("self_attn.o_proj", "self_attention.dense")
            .replace("mlp.gate_up_proj", "mlp.dense_h_to_4h")
            .replace("mlp.down_proj", "mlp.dense_4h_to_h");
        tensors.insert(name, raw.clone());
    }
    for layer in 0..2 {
        for end in ["weight", "bias"] {
            let parts = ["q", "k", "v"].map(|part| {
                format!("transformer.encoder.layers.{layer}.self_attn.{part}_proj.{end}")
            });
            let parts = parts.map(|name| tensors.remove(&name).unwrap());
            let name =
                format!("transformer.encoder.layers.{layer}.self_attention.query_key_value.{end}");
            fused.insert(name, parts.to_vec());
        }
    }
    for (name, parts) in fused {
        let mut whole = parts[0].clone();
        for part in &parts[1..] {
            whole.shape[0] += part.shape[0];
            whole.bytes.extend(&part.bytes);
        }
        tensors.insert(name, whole);
    }
    tensors.insert(
        "transformer.rotary_pos_emb.inv_freq".to_owned(),
        Raw::f32(&[32], &[0.0; 32]),
    );
    tensors
}

#[test]
fn both_forms_of_glm() {
    let folder = support::folder_of("glm-4-9b-1m", &chatglm());
    let config = serde_json::json!({
        "model_type": "chatglm", "hidden_size": 48, "ffn_hidden_size": 120, "padded_vocab_size": 272, "num_layers": 2,
        "num_attention_heads": 16, "multi_query_attention": true, "multi_query_group_num": 2, "kv_channels": 128,
        "rope_ratio": 10000, "seq_length": 1_048_576, "layernorm_epsilon": 1.5625e-7, "add_qkv_bias": true,
        "add_bias_linear": false, "eos_token_id": [2], "rmsnorm": true, "original_rope": true,
        "tie_word_embeddings": false,
    });
    fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    let original = open(folder.path(), &ModelOptions::default()).unwrap();
    let converted = open(&support::golden("glm-4-9b-1m"), &ModelOptions::default()).unwrap();
    assert_eq!(
        original.spec.decoder.as_ref().unwrap().tensor_names,
        TensorNames::ChatGlm
    );
    assert_eq!(original.spec.rope, converted.spec.rope);
    let joined = |tensors: &[Tensor]| {
        tensors
            .iter()
            .flat_map(|tensor| tensor.data.to_vec())
            .collect::<Vec<u8>>()
    };
    for (one, other) in original
        .weights
        .layers
        .iter()
        .zip(&converted.weights.layers)
    {
        assert_eq!((one.qkv.len(), other.qkv.len()), (1, 3));
        assert_eq!(joined(&one.qkv), joined(&other.qkv));
        assert_eq!(joined(&one.qkv_bias), joined(&other.qkv_bias));
        assert_eq!(joined(&one.gate_up), joined(&other.gate_up));
        assert_eq!(one.down.data[..], other.down.data[..]);
    }
    assert_eq!(
        original.weights.lm_head().data[..],
        converted.weights.lm_head().data[..]
    );
}

#[test]
fn missing_tensors_are_named_all_of_them() {
    let mut tensors = support::tensors(&support::golden("qwen2-7b-128k").join("model.safetensors"));
    tensors
        .remove("model.layers.1.self_attn.k_proj.bias")
        .unwrap();
    tensors.remove("model.norm.weight").unwrap();
    let folder = support::folder_of("qwen2-7b-128k", &tensors);
    let error = open(folder.path(), &ModelOptions::default()).unwrap_err();
    let ModelError::Missing { tensors, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(
        tensors,
        &["model.layers.1.self_attn.k_proj.bias", "model.norm.weight"]
    );
    let text = error.to_string();
    assert!(text.contains("lacks 2 tensors that the spec demands:\n  `model.layers.1.self_attn.k_proj.bias`\n  `model.norm.weight`"), "{text}");
}

#[test]
fn a_spec_that_does_not_fit() {
    let options = |overrides: &[&str]| ModelOptions {
        overrides: overrides.iter().map(|text| text.parse().unwrap()).collect(),
        ..ModelOptions::default()
    };
    let path = support::golden("llama-3-8b-1m");
    let error = open(
        &path,
        &options(&["attention.gqa_ratio=2", "shadowkv.rank=64"]),
    )
    .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("`model.layers.0.self_attn.q_proj.weight`: the spec demands [256, 56], the file has [512, 56]"),
        "{text}"
    );
    assert!(
        matches!(&error, ModelError::Shapes { mismatches, .. } if mismatches.len() == 4),
        "{text}"
    );
    // What the spec has no place for is not passed over.
    let error = open(&path, &options(&["decoder.layers=1"])).unwrap_err();
    assert!(
        matches!(&error, ModelError::Unread { tensors, .. } if tensors.len() == 9),
        "{error}"
    );
    assert!(error.to_string().contains("and 1 more"), "{error}");
    let error = open(
        &support::golden("qwen2-7b-128k"),
        &options(&["decoder.qkv_bias=false"]),
    )
    .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("6 tensors that the spec has no place for"),
        "{error}"
    );
    let error = open(&path, &options(&["decoder.layers=30"])).unwrap_err();
    assert!(error.to_string().contains("and 244 more"), "{error}");
}

#[test]
fn qwen3_has_norms_of_heads() {
    let mut tensors = support::tensors(&support::golden("llama-3-8b-1m").join("model.safetensors"));
    for layer in 0..2 {
        for part in ["q", "k"] {
            tensors.insert(
                format!("model.layers.{layer}.self_attn.{part}_norm.weight"),
                Raw::f32(&[128], &[1.0; 128]),
            );
        }
    }
    let folder = support::folder_of("llama-3-8b-1m", &tensors);
    let config = fs::read_to_string(folder.path().join("config.json")).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&config).unwrap();
    config["model_type"] = "qwen3".into();
    fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    let model = open(folder.path(), &ModelOptions::default()).unwrap();
    for layer in &model.weights.layers {
        let (q_norm, k_norm) = layer.head_norms.as_ref().unwrap();
        assert_eq!(
            (&q_norm.shape[..], &k_norm.shape[..]),
            (&[128][..], &[128][..])
        );
    }
}

#[test]
fn specs_from_elsewhere() {
    let path = support::golden("llama-3-8b-1m");
    let imported = open(&path, &ModelOptions::default()).unwrap().spec;
    let with = |spec: SpecSource| ModelOptions {
        spec: Some(spec),
        ..ModelOptions::default()
    };
    // A resolved spec, as a package's manifest has it, is a spec.
    let text = serde_json::to_string(&imported).unwrap();
    assert_eq!(
        open(&path, &with(SpecSource::Text(text))).unwrap().spec,
        imported
    );
    let packages = support::root().join("kernels-generated");
    let wrong = open(
        &path,
        &with(SpecSource::Path(packages.join("smollm2-135m"))),
    )
    .unwrap_err();
    assert!(
        matches!(
            wrong,
            ModelError::Missing { .. } | ModelError::Shapes { .. }
        ),
        "{wrong}"
    );
    let yaml = support::root().join("tests/specs");
    let bare = fs::read_dir(yaml)
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .find(|path| {
            path.extension().is_some_and(|end| end == "yaml")
                && Spec::load(path, &[]).is_ok_and(|spec| spec.decoder.is_none())
        });
    let error = open(&path, &with(SpecSource::Path(bare.unwrap()))).unwrap_err();
    assert!(matches!(error, ModelError::NoDecoder { .. }), "{error}");
}

#[test]
fn every_package_carries_its_spec() {
    for entry in fs::read_dir(support::root().join("kernels-generated")).unwrap() {
        let folder = entry.unwrap().path();
        if !folder.join("manifest.json").exists() {
            continue;
        }
        let manifest = Manifest::load(folder.join("manifest.json")).unwrap();
        let spec = manifest.spec("manifest", &[]).unwrap();
        assert_eq!(spec.sha256(), manifest.spec_sha256, "{}", folder.display());
    }
}

#[test]
fn what_is_no_model() {
    let folder = tempfile::tempdir().unwrap();
    let open_text =
        |text: &str| Model::open(Some(text), &ModelOptions::default(), &|_| {}).unwrap_err();
    assert!(matches!(open_text("./nowhere"), ModelError::NoModel { .. }));
    let file = folder.path().join("weights.bin");
    fs::write(&file, "").unwrap();
    assert!(matches!(
        open_text(file.to_str().unwrap()),
        ModelError::NoModel { .. }
    ));
    assert!(matches!(
        open_text(folder.path().to_str().unwrap()),
        ModelError::Weights(_)
    ));
    assert!(matches!(
        Locator::new("owner/name@v1").unwrap(),
        Locator::Hub(_)
    ));
    // Weights alone do not say what they are.
    fs::copy(
        support::golden("yi-9b-200k").join("model.safetensors"),
        folder.path().join("model.safetensors"),
    )
    .unwrap();
    let error = open_text(folder.path().to_str().unwrap());
    assert!(
        error
            .to_string()
            .contains("no config.json to make a spec from: give one with --spec"),
        "{error}"
    );
    fs::write(folder.path().join("config.json"), "{").unwrap();
    assert!(matches!(
        open_text(folder.path().to_str().unwrap()),
        ModelError::Import(_)
    ));
}

#[test]
fn all_tokens_that_end_a_turn() {
    let tensors = support::tensors(&support::golden("llama-3-8b-1m").join("model.safetensors"));
    let folder = support::folder_of("llama-3-8b-1m", &tensors);
    let path = folder.path().join("generation_config.json");
    let eos = || open(folder.path(), &ModelOptions::default()).map(|model| model.eos_tokens);
    assert_eq!(eos().unwrap(), [2], "the config's");
    fs::write(
        &path,
        r#"{"eos_token_id": [7, 5, 100000], "temperature": 0.6}"#,
    )
    .unwrap();
    assert_eq!(eos().unwrap(), [2, 5, 7]);
    fs::write(&path, r#"{"eos_token_id": "x"}"#).unwrap();
    assert!(
        eos()
            .unwrap_err()
            .to_string()
            .contains("generation_config.json")
    );
}
