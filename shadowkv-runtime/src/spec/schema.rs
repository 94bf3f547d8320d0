//! The JSON schema of a spec: what editors complete from, and what the structure of a spec is checked against.

use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::raw::RawSpec;

static SCHEMA: LazyLock<Value> = LazyLock::new(generate);

/// The JSON schema (draft 2020-12) of a spec, without `$ref`.
pub fn json_schema() -> Value {
    SCHEMA.clone()
}

/// The same, shared.
pub(super) fn schema() -> &'static Value {
    &SCHEMA
}

fn generate() -> Value {
    let generator = SchemaSettings::draft2020_12()
        .with(|settings| settings.inline_subschemas = true)
        .into_generator();
    let mut schema = generator.into_root_schema_for::<RawSpec>().to_value();
    simplify(&mut schema);
    if let Value::Object(object) = &mut schema {
        // What the schema is comes before what it holds.
        for (place, key) in ["$schema", "title", "description"].into_iter().enumerate() {
            if let Some(value) = object.shift_remove(key) {
                object.shift_insert(place, key.to_owned(), value);
            }
        }
    }
    schema
}

/// Removes what only Rust means: `null` for an absent field (to leave a field out is to leave out its key), integer
/// formats, and line breaks inside descriptions.
fn simplify(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            // Only a format written by the derive is a string here; a field could carry the same name.
            if object.get("format").is_some_and(Value::is_string) {
                object.shift_remove("format");
            }
            if let Some(Value::String(text)) = object.get_mut("description") {
                *text = text
                    .replace("\n\n", "\u{0}")
                    .replace('\n', " ")
                    .replace('\u{0}', "\n\n");
            }
            if let Some(Value::Array(types)) = object.get_mut("type") {
                types.retain(|kind| kind != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    object.insert("type".to_owned(), only);
                }
            }
            if let Some(Value::Array(variants)) = object.get_mut("anyOf") {
                variants.retain(|variant| variant.get("type").is_none_or(|kind| kind != "null"));
                if let [Value::Object(only)] = variants.as_slice() {
                    let only = only.clone();
                    object.shift_remove("anyOf");
                    for (key, value) in only {
                        // A field's own description is nearer the point than its type's.
                        object.entry(key).or_insert(value);
                    }
                }
            }
            for value in object.values_mut() {
                simplify(value);
            }
        }
        Value::Array(values) => values.iter_mut().for_each(simplify),
        _ => {}
    }
}
