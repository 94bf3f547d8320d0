//! Whether two specs give the same kernels.

use std::fmt;

use serde_json::Value;

use crate::spec::Spec;

/// Fields that no kernel depends on: names, and what the decoder alone needs to know.
const NOT_IN_KERNELS: [&str; 8] = [
    "name",
    "decoder.family",
    "decoder.layers",
    "decoder.qkv_bias",
    "decoder.tied_embeddings",
    "decoder.tensor_names",
    "decoder.bos_token",
    "decoder.eos_tokens",
];

/// A field of which two specs think differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Its path, such as `attention.kv_heads`.
    pub field: String,
    /// Its value in the package's spec, as JSON.
    pub package: String,
    /// Its value in the other spec, as JSON.
    pub other: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Difference {
            field,
            package,
            other,
        } = self;
        write!(f, "{field} is {package} in the package and must be {other}")
    }
}

/// The first field that kernels depend on and that differs, in the order of the spec.
///
/// A package with a `decoder:` block serves a spec without one, since what it has more is not launched.
pub fn difference(package: &Spec, other: &Spec) -> Option<Difference> {
    // A resolved spec holds finite numbers and text keys only, so it is always JSON.
    let json = |spec: &Spec| serde_json::to_value(spec).unwrap_or_default();
    let (package, mut other) = (json(package), json(other));
    if let (Value::Object(package), Value::Object(other)) = (&package, &mut other)
        && other.get("decoder").is_none_or(Value::is_null)
        && let Some(decoder) = package.get("decoder")
    {
        other.insert("decoder".to_owned(), decoder.clone());
    }
    compare("", &package, &other)
}

fn compare(path: &str, package: &Value, other: &Value) -> Option<Difference> {
    if NOT_IN_KERNELS.contains(&path) || package == other {
        return None;
    }
    if let (Value::Object(mine), Value::Object(theirs)) = (package, other) {
        let mut keys: Vec<&String> = mine.keys().collect();
        keys.extend(theirs.keys().filter(|key| !mine.contains_key(*key)));
        return keys.into_iter().find_map(|key| {
            let field = if path.is_empty() {
                key.clone()
            } else {
                format!("{path}.{key}")
            };
            let value = |fields: &serde_json::Map<String, Value>| {
                fields.get(key).cloned().unwrap_or_default()
            };
            compare(&field, &value(mine), &value(theirs))
        });
    }
    Some(Difference {
        field: path.to_owned(),
        package: shown(package),
        other: shown(other),
    })
}

/// A value as JSON, or what a person needs of it.
fn shown(value: &Value) -> String {
    const MOST: usize = 60;
    let text = match value {
        Value::Null => return "absent".to_owned(),
        Value::Object(_) => return "present".to_owned(),
        other => other.to_string(),
    };
    if text.chars().count() <= MOST {
        return text;
    }
    let head: String = text.chars().take(MOST).collect();
    format!("{head}...")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

    use super::*;

    const TEXT: &str = "
name: small
attention: { head_dim: 64, kv_heads: 2, gqa_ratio: 4 }
rope: { base: 10000 }
shadowkv: { rank: 32, chunk_size: 8 }
";
    const DECODER: &str = "
decoder: { family: llama, layers: 2, hidden: 512, ffn: 1024, vocab: 1000, norm_eps: 1e-5, eos_tokens: [] }
";

    fn spec(text: &str, overrides: &[&str]) -> Spec {
        let overrides: Vec<_> = overrides.iter().map(|text| text.parse().unwrap()).collect();
        Spec::parse("spec", text, &overrides).unwrap()
    }

    fn shown_between(text: &str, overrides: &[&str]) -> Option<String> {
        let difference = difference(&spec(text, &[]), &spec(text, overrides));
        difference.map(|difference| difference.to_string())
    }

    #[test]
    fn the_field_is_named() {
        for (set, expected) in [
            (
                "attention.kv_heads=4",
                "attention.kv_heads is 2 in the package and must be 4",
            ),
            (
                "rope.base=500000",
                "rope.base is 10000.0 in the package and must be 500000.0",
            ),
            (
                "shadowkv.chunk_size=16",
                "shadowkv.chunk_size is 8 in the package and must be 16",
            ),
        ] {
            assert_eq!(shown_between(TEXT, &[set]).as_deref(), Some(expected));
        }
    }

    #[test]
    fn what_no_kernel_depends_on_may_differ() {
        let text = format!("{TEXT}{DECODER}");
        for set in ["name=other", "decoder.layers=7"] {
            assert_eq!(shown_between(&text, &[set]), None, "{set}");
        }
        assert_eq!(
            shown_between(&text, &["decoder.norm_eps=1e-6"]).as_deref(),
            Some("decoder.norm_eps is 0.00001 in the package and must be 1e-6")
        );
    }

    #[test]
    fn decoders_that_are_missing() {
        let (with, without) = (spec(&format!("{TEXT}{DECODER}"), &[]), spec(TEXT, &[]));
        assert_eq!(difference(&with, &without), None);
        assert_eq!(
            difference(&without, &with).unwrap().to_string(),
            "decoder is absent in the package and must be present"
        );
    }
}
