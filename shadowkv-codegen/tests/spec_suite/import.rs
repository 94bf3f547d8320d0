//! Imports of published configs: `spec_import/NAME.json` beside `NAME.yaml`, or `NAME.stderr` for a refusal.

use serde_json::{Value, json};
use shadowkv_codegen::spec::import::{ImportError, ImportOptions, ImportedSpec, import};
use shadowkv_codegen::spec::{ModelFamily, RopeScaling, Spec};

use crate::pairs;

#[test]
fn every_config_gives_its_spec_or_its_refusal() {
    pairs::check(
        &pairs::folder("spec_import"),
        "json",
        &["yaml", "stderr"],
        |name, bytes| {
            let json = std::str::from_utf8(bytes).unwrap();
            match import(
                &format!("some/folder/{name}.json"),
                json,
                &ImportOptions::default(),
            ) {
                Ok(imported) => {
                    assert_eq!(
                        Spec::parse("again", &imported.yaml, &[]).unwrap(),
                        imported.spec
                    );
                    ("yaml", imported.yaml)
                }
                Err(error) => ("stderr", format!("{error}\n")),
            }
        },
    );
}

fn config(name: &str, changes: Value) -> Value {
    let path = pairs::folder("spec_import").join(format!("{name}.json"));
    let mut config: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let Value::Object(changes) = changes else {
        panic!("changes are an object")
    };
    for (field, value) in changes {
        config[field] = value;
    }
    config
}

fn imported(name: &str, changes: Value, options: &ImportOptions) -> ImportedSpec {
    import("x/config.json", &config(name, changes).to_string(), options)
        .unwrap_or_else(|error| panic!("{error}"))
}

/// The fields refused, with the reason of the first.
fn refused(name: &str, changes: Value, options: &ImportOptions) -> (Vec<String>, String) {
    match import("config.json", &config(name, changes).to_string(), options) {
        Err(ImportError::Refused { refusals, .. }) => (
            refusals
                .iter()
                .map(|refusal| refusal.field.clone())
                .collect(),
            refusals[0].reason.clone(),
        ),
        other => panic!("{other:?}"),
    }
}

const LLAMA: &str = "Llama-3.1-8B-Instruct";

#[test]
fn unsupported_features_are_refused_by_name() {
    let cases = [
        (
            LLAMA,
            json!({"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}),
            "rope_scaling.rope_type",
        ),
        (
            LLAMA,
            json!({"rope_scaling": {"type": "linear", "factor": 2.0}}),
            "rope_scaling.type",
        ),
        (
            LLAMA,
            json!({"rope_scaling": {"factor": 2.0}}),
            "rope_scaling.rope_type",
        ),
        (LLAMA, json!({"rope_scaling": [1]}), "rope_scaling"),
        (LLAMA, json!({"attention_bias": true}), "attention_bias"),
        (LLAMA, json!({"mlp_bias": true}), "mlp_bias"),
        (LLAMA, json!({"hidden_act": "gelu"}), "hidden_act"),
        (
            LLAMA,
            json!({"quantization_config": {"bits": 4}}),
            "quantization_config",
        ),
        (LLAMA, json!({"num_local_experts": 8}), "num_local_experts"),
        (
            LLAMA,
            json!({"partial_rotary_factor": 0.5}),
            "partial_rotary_factor",
        ),
        (LLAMA, json!({"rope_interleaved": true}), "rope_interleaved"),
        (LLAMA, json!({"some_new_block": {"a": 1}}), "some_new_block"),
        (LLAMA, json!({"hidden_size": null}), "hidden_size"),
        (LLAMA, json!({"hidden_size": "4096"}), "hidden_size"),
        (
            LLAMA,
            json!({"num_key_value_heads": 5}),
            "num_attention_heads",
        ),
        (LLAMA, json!({"model_type": "gemma2"}), "model_type"),
        (
            "Mistral-7B-Instruct-v0.3",
            json!({"sliding_window": 4096}),
            "sliding_window",
        ),
        (
            "Qwen2-7B-Instruct",
            json!({"use_sliding_window": true, "sliding_window": 4096, "max_window_layers": 20}),
            "sliding_window",
        ),
        (
            "Qwen2-7B-Instruct-yarn128k",
            json!({"rope_scaling": {"type": "yarn", "factor": 4.0, "mscale": 0.7}}),
            "rope_scaling.mscale",
        ),
        (
            "Qwen3-8B",
            json!({"attention_bias": true}),
            "attention_bias",
        ),
        ("glm-4-9b-chat-1m", json!({"rmsnorm": false}), "rmsnorm"),
        (
            "glm-4-9b-chat-1m",
            json!({"add_bias_linear": true}),
            "add_bias_linear",
        ),
        (
            "glm-4-9b-chat-1m",
            json!({"original_rope": false}),
            "original_rope",
        ),
        (
            "glm-4-9b-chat-1m",
            json!({"post_layer_norm": false}),
            "post_layer_norm",
        ),
        (
            "glm-4-9b-chat-1m",
            json!({"num_hidden_layers": 28}),
            "num_hidden_layers",
        ),
        (
            "glm-4-9b-chat-1m",
            json!({"prefix_projection": true}),
            "prefix_projection",
        ),
    ];
    for (name, changes, field) in cases {
        let (fields, reason) = refused(name, changes.clone(), &ImportOptions::default());
        assert!(
            fields.contains(&field.to_owned()),
            "{name} {changes}: {fields:?} {reason}"
        );
    }
}

#[test]
fn all_refusals_come_at_once() {
    let changes = json!({"hidden_act": "gelu", "mlp_bias": true, "logit_scale": 0.5});
    let (fields, _) = refused(LLAMA, changes, &ImportOptions::default());
    assert_eq!(fields, ["mlp_bias", "hidden_act", "logit_scale"]);
}

#[test]
fn a_field_can_be_passed_over() {
    let options = ImportOptions {
        ignore: vec!["logit_scale".to_owned()],
        ..ImportOptions::default()
    };
    imported(LLAMA, json!({"logit_scale": 1.0}), &options);
}

#[test]
fn a_head_dim_without_kernels_is_an_error_of_the_spec() {
    let text = config(LLAMA, json!({"head_dim": 100})).to_string();
    let error = import("config.json", &text, &ImportOptions::default()).unwrap_err();
    assert!(matches!(error, ImportError::Invalid { .. }));
    assert!(
        error
            .to_string()
            .contains("`attention.head_dim` cannot be 100"),
        "{error}"
    );
}

#[test]
fn texts_that_are_no_config() {
    let error = |text: &str| {
        import("c.json", text, &ImportOptions::default())
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        error("[1]"),
        "c.json: a config is a JSON object, this is a list"
    );
    assert_eq!(
        error("{\n  \"a\": nope}"),
        "c.json:2:9: not valid JSON: expected ident"
    );
    assert_eq!(
        error("{}"),
        "c.json cannot be imported:\n  `model_type`: it is missing"
    );
}

#[test]
fn the_newer_rope_block_means_the_same() {
    let options = ImportOptions {
        name: Some("same".to_owned()),
        ..ImportOptions::default()
    };
    let older = imported(LLAMA, json!({}), &options).spec;
    let mut newer = config(LLAMA, json!({"rope_scaling": null, "rope_theta": null}));
    newer["rope_parameters"] = json!({
        "rope_type": "llama3", "rope_theta": 500_000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192, "partial_rotary_factor": 1.0
    });
    assert_eq!(
        import("x.json", &newer.to_string(), &options).unwrap().spec,
        older
    );

    let glm = imported("glm-4-9b-chat-1m-hf", json!({}), &options).spec;
    let mut newer = config(
        "glm-4-9b-chat-1m-hf",
        json!({"rope_theta": null, "partial_rotary_factor": null}),
    );
    assert_eq!(
        import(
            "x.json",
            &{
                let mut c = newer.clone();
                c["rope_theta"] = json!(1e8);
                c
            }
            .to_string(),
            &options
        )
        .unwrap()
        .spec,
        glm
    );
    newer["rope_parameters"] =
        json!({"rope_type": "default", "rope_theta": 1e8, "partial_rotary_factor": 0.5});
    assert_eq!(
        import("x.json", &newer.to_string(), &options).unwrap().spec,
        glm
    );

    let conflict = json!({"rope_parameters": {"rope_type": "default", "rope_theta": 1e4}, "rope_scaling": null});
    let (fields, reason) = refused(LLAMA, conflict, &ImportOptions::default());
    assert_eq!(
        (fields.as_slice(), reason.as_str()),
        (
            ["rope_theta".to_owned()].as_slice(),
            "it is 500000 outside the scaling block and 10000 inside"
        )
    );
}

#[test]
fn the_1m_model_is_imported_up_to_its_original_length() {
    let name = "Qwen2.5-7B-Instruct-1M";
    let limited = |max| ImportOptions {
        max_position: Some(max),
        ..ImportOptions::default()
    };
    assert_eq!(
        imported(name, json!({}), &limited(262_144))
            .spec
            .rope
            .max_position,
        262_144
    );
    assert_eq!(
        refused(name, json!({}), &limited(262_145)).0,
        ["dual_chunk_attention_config"]
    );
}

#[test]
fn positions_can_be_limited_but_not_added() {
    let limited = |max| ImportOptions {
        max_position: Some(max),
        ..ImportOptions::default()
    };
    assert_eq!(
        refused(LLAMA, json!({}), &limited(131_073)).0,
        ["max_position_embeddings"]
    );
    let window = json!({"sliding_window": 4096});
    assert_eq!(
        imported("Mistral-7B-Instruct-v0.3", window, &limited(4096))
            .spec
            .rope
            .max_position,
        4096
    );
    // longrope's factor belongs to the model's lengths, not to the limit.
    let phi = imported("Phi-3-mini-128k-instruct", json!({}), &limited(65_536)).spec;
    let RopeScaling::LongRope {
        attention_factor, ..
    } = phi.rope.scaling
    else {
        panic!("not longrope")
    };
    assert!((attention_factor - (17.0_f64 / 12.0).sqrt()).abs() < 1e-12);
}

#[test]
fn older_and_missing_fields() {
    let su = config("Phi-3-mini-128k-instruct", json!({}));
    let mut block = su["rope_scaling"].clone();
    block["type"] = json!("su");
    let plain = ImportOptions::default();
    assert_eq!(
        imported(
            "Phi-3-mini-128k-instruct",
            json!({"rope_scaling": block}),
            &plain
        )
        .spec
        .rope,
        imported("Phi-3-mini-128k-instruct", json!({}), &plain)
            .spec
            .rope
    );
    // No KV head count: one per query head. No theta: the library's default.
    let spec = imported(
        LLAMA,
        json!({"num_key_value_heads": null, "rope_theta": null}),
        &plain,
    )
    .spec;
    assert_eq!((spec.attention.kv_heads, spec.attention.gqa_ratio), (32, 1));
    assert!((spec.rope.base - 10_000.0).abs() < f64::EPSILON);
    assert_eq!(
        imported("Qwen3-8B", json!({}), &plain)
            .spec
            .decoder
            .map(|d| (d.family, d.qk_norm)),
        Some((ModelFamily::Qwen3, true))
    );
}

#[test]
fn a_converted_glm_without_its_ratio_is_warned_about() {
    let imported = imported(
        "glm-4-9b-chat-1m-hf",
        json!({"rope_theta": 10_000.0}),
        &ImportOptions::default(),
    );
    assert_eq!(imported.warnings.len(), 1);
    assert!(imported.yaml.contains("# Check: rope_theta is 10000"));
}

#[test]
fn names_come_from_the_file_its_folder_or_the_config() {
    let name = |source: &str, config_name: &str| {
        let text = config(LLAMA, json!({"_name_or_path": config_name})).to_string();
        import(source, &text, &ImportOptions::default())
            .unwrap()
            .spec
            .name
    };
    assert_eq!(name("a/My Model.json", ""), "my-model");
    assert_eq!(name("/a/GLM-4/config.json", "org/Inner"), "glm-4");
    assert_eq!(name("config.json", "org/Inner"), "inner");
    assert_eq!(name("config.json", ""), "llama");
}

#[test]
fn options_set_the_method() {
    let options = ImportOptions {
        name: Some("n".to_owned()),
        rank: Some(64),
        chunk_size: Some(16),
        sparse_budget: Some(1024),
        outlier_chunks: Some(8),
        ..ImportOptions::default()
    };
    let s = imported(LLAMA, json!({}), &options).spec.shadowkv;
    assert_eq!(
        (s.rank, s.chunk_size, s.sparse_budget, s.outlier_chunks),
        (64, 16, 1024, 8)
    );
    // Keys of 48 elements allow no rank above 48.
    let tiny = json!({"head_dim": 48, "num_key_value_heads": 1, "num_attention_heads": 4});
    assert_eq!(
        imported(LLAMA, tiny, &ImportOptions::default())
            .spec
            .shadowkv
            .rank,
        48
    );
}
