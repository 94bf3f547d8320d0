//! The JSON schema: current, accepting what the reader accepts, refusing what it can refuse.

use serde_json::{Value, json};
use shadowkv_codegen::spec::{Spec, json_schema};

use crate::pairs;

fn to_json(yaml: &str) -> Value {
    serde_yaml::from_str(yaml).unwrap()
}

#[test]
fn the_schema_file_is_current() {
    let path = pairs::model_specs().join("spec.schema.json");
    let expected = serde_json::to_string_pretty(&json_schema()).unwrap() + "\n";
    if std::env::var_os("BLESS").is_some_and(|value| value == "1") {
        std::fs::write(&path, &expected).unwrap();
    }
    let actual = std::fs::read_to_string(&path)
        .unwrap_or_default()
        .replace("\r\n", "\n");
    assert!(
        actual == expected,
        "model-specs/spec.schema.json is out of date; BLESS=1 writes it anew"
    );
}

#[test]
fn shipped_specs_are_valid() {
    let schema = json_schema();
    jsonschema::meta::validate(&schema).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for stem in pairs::stems(&pairs::model_specs(), "yaml") {
        let text =
            std::fs::read_to_string(pairs::model_specs().join(format!("{stem}.yaml"))).unwrap();
        let errors: Vec<String> = validator
            .iter_errors(&to_json(&text))
            .map(|error| error.to_string())
            .collect();
        assert!(errors.is_empty(), "{stem}: {errors:?}");
    }
}

/// What a schema can say, it says: each of these is refused by the schema as well as by the reader.
#[test]
fn bad_specs_are_refused() {
    let validator = jsonschema::validator_for(&json_schema()).unwrap();
    let folder = pairs::folder("spec_errors");
    for stem in [
        "unknown_field",
        "wrong_type",
        "wrong_type_fraction",
        "missing_field",
        "missing_block",
        "empty_value",
        "head_dim_100",
        "gqa_ratio_0",
        "gqa_ratio_17",
        "rank_not_multiple_of_16",
        "chunk_size_7",
        "budget_zero",
        "local_chunks_0",
        "rotary_dim_odd",
        "max_position",
        "base_one",
        "base_negative",
        "scaling_unknown_kind",
        "scaling_unknown_field",
        "longrope_list_value",
        "storage_type",
        "name_upper_case",
        "name_is_a_number",
        "decoder_zero_sizes",
        "decoder_widths",
        "decoder_family",
        "list",
    ] {
        let text = std::fs::read_to_string(folder.join(format!("{stem}.yaml"))).unwrap();
        assert!(
            !validator.is_valid(&to_json(&text)),
            "the schema accepts {stem}"
        );
        assert!(
            Spec::parse(stem, &text, &[]).is_err(),
            "the reader accepts {stem}"
        );
    }
}

#[test]
fn editors_get_what_they_show() {
    let schema = json_schema();
    assert_eq!(
        schema["$schema"],
        "https://json-schema.org/draft/2020-12/schema"
    );
    assert_eq!(schema["title"], "ShadowKV model spec");
    assert_eq!(
        schema["required"],
        json!(["name", "attention", "rope", "shadowkv"])
    );
    let head_dim = &schema["properties"]["attention"]["properties"]["head_dim"];
    assert_eq!(
        (
            &head_dim["minimum"],
            &head_dim["maximum"],
            &head_dim["multipleOf"]
        ),
        (&json!(32), &json!(256), &json!(8))
    );
    assert_eq!(
        schema["properties"]["shadowkv"]["properties"]["sparse_budget"]["default"],
        2048
    );
    objects_are_closed_and_described(&schema, "spec");
}

fn objects_are_closed_and_described(schema: &Value, path: &str) {
    assert!(
        schema["description"].is_string(),
        "{path} has no description"
    );
    assert!(!schema.to_string().contains("null"), "{path} allows null");
    if let Some(fields) = schema["properties"].as_object() {
        assert_eq!(schema["additionalProperties"], false, "{path}");
        for (name, field) in fields {
            objects_are_closed_and_described(field, &format!("{path}.{name}"));
        }
    }
}
