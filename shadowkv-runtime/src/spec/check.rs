//! The structure of a spec against its schema: unknown and missing fields, wrong types. Every problem is found in one
//! pass, each with its place.
//!
//! An unknown field is reported once. If it is plainly a misspelt one that is not there otherwise, the checks go on as if
//! it were spelt right; if not, as if it were not there.

use serde_json::{Map, Value};

use super::node::{Data, Node};
use super::problem::{Problem, ProblemKind, nearest, quoted_list};
use super::scalar::Scalar;
use super::schema;
use super::source::Place;

/// Longest key or word, bytes, for which a similar name is looked for.
const NEAR_MAX: usize = 60;

/// Checks `root` and mends or removes unknown fields from it, so that the rest can still be checked.
pub(super) fn structure(root: &mut Node, problems: &mut Vec<Problem>) {
    let place = match &root.data {
        Data::Map(entries) => entries.first().map(|entry| entry.key_place.clone()),
        _ => None,
    };
    let place = place.unwrap_or_else(|| root.place.clone());
    check(root, schema::schema(), "", &place, problems);
}

fn check(
    node: &mut Node,
    schema: &Value,
    path: &str,
    key_place: &Place,
    problems: &mut Vec<Problem>,
) {
    if let Some(choices) = choices(schema) {
        let right = matches!(&node.data, Data::Scalar(Scalar::Text(text)) if choices.contains(&text.as_str()));
        if !right {
            problems.push(wrong_choice(node, path, &choices));
        }
        return;
    }
    let expected = schema
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let right = match (expected, &mut node.data) {
        ("object", Data::Map(_)) => {
            check_fields(node, schema, path, key_place, problems);
            true
        }
        ("array", Data::List(items)) => {
            if let Some(schema) = schema.get("items") {
                for (i, item) in items.iter_mut().enumerate() {
                    let place = item.place.clone();
                    check(item, schema, &format!("{path}[{i}]"), &place, problems);
                }
            }
            true
        }
        ("integer", Data::Scalar(Scalar::Integer(value))) => u32::try_from(*value).is_ok(),
        ("number", Data::Scalar(Scalar::Integer(_) | Scalar::Float(_)))
        | ("string", Data::Scalar(Scalar::Text(_)))
        | ("boolean", Data::Scalar(Scalar::Bool(_))) => true,
        _ => false,
    };
    if !right {
        problems.push(wrong_type(node, schema, expected, path));
    }
}

fn check_fields(
    node: &mut Node,
    schema: &Value,
    path: &str,
    key_place: &Place,
    problems: &mut Vec<Problem>,
) {
    let Data::Map(entries) = &mut node.data else {
        return;
    };
    let empty = Map::new();
    let fields = schema
        .get("properties")
        .and_then(Value::as_object)
        .unwrap_or(&empty);
    let mut present: Vec<String> = entries.iter().map(|entry| entry.key.clone()).collect();
    entries.retain_mut(|entry| {
        if fields.contains_key(&entry.key) {
            return true;
        }
        problems.push(unknown_field(&entry.key, path, &entry.key_place, fields));
        let meant =
            nearest_field(&entry.key, fields).filter(|name| !present.iter().any(|key| key == name));
        if let Some(name) = meant {
            name.clone_into(&mut entry.key);
            present.push(name.to_owned());
        }
        meant.is_some()
    });
    let required = schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    for name in required {
        if !entries.iter().any(|entry| entry.key == name) {
            let message = format!("missing field `{name}`{}", inside(path));
            let mut problem = Problem::new(
                ProblemKind::MissingField,
                &join(path, name),
                key_place.clone(),
                message,
            );
            if let Some(text) = fields.get(name).and_then(description) {
                problem = problem.help(format!("add `{name}`: {text}"));
            }
            problems.push(problem);
        }
    }
    for entry in entries {
        if let Some(schema) = fields.get(&entry.key) {
            check(
                &mut entry.value,
                schema,
                &join(path, &entry.key),
                &entry.key_place,
                problems,
            );
        }
    }
}

fn unknown_field(key: &str, path: &str, place: &Place, fields: &Map<String, Value>) -> Problem {
    // The key comes from the file and may be of any length.
    let shown: String = key.chars().take(NEAR_MAX).collect();
    let message = format!("unknown field `{}`{}", shown.escape_debug(), inside(path));
    let problem = Problem::new(
        ProblemKind::UnknownField,
        &join(path, &shown),
        place.clone(),
        message,
    )
    .allowed(quoted_list(fields.keys().map(String::as_str)));
    if let Some(name) = nearest_field(key, fields) {
        return problem.help(format!("did you mean `{name}`?"));
    }
    // Perhaps it only stands in the wrong place.
    let everywhere = paths(schema::schema(), "");
    let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
    let names: Vec<String> = everywhere.iter().map(|path| last(path)).collect();
    let meant = (key.len() <= NEAR_MAX)
        .then(|| nearest(key, names.iter().map(String::as_str)))
        .flatten();
    match everywhere
        .iter()
        .find(|path| meant == Some(last(path).as_str()))
    {
        Some(elsewhere) => problem.help(format!("did you mean `{elsewhere}`?")),
        None => problem.help("remove it, or see the schema `model-specs/spec.schema.json`"),
    }
}

/// The field of this mapping that a key most likely means.
fn nearest_field<'a>(key: &str, fields: &'a Map<String, Value>) -> Option<&'a str> {
    // A longer key is no misspelling, and comparing takes time.
    (key.len() <= NEAR_MAX)
        .then(|| nearest(key, fields.keys().map(String::as_str)))
        .flatten()
}

/// Every field of the schema, by path.
fn paths(schema: &Value, path: &str) -> Vec<String> {
    let fields = schema.get("properties").and_then(Value::as_object);
    let below = |(name, schema): (&String, &Value)| {
        let here = join(path, name);
        let mut found = vec![here.clone()];
        found.extend(paths(schema, &here));
        found
    };
    fields.into_iter().flatten().flat_map(below).collect()
}

fn wrong_type(node: &Node, schema: &Value, expected: &str, path: &str) -> Problem {
    let limit = |key: &str, fallback| schema.get(key).and_then(Value::as_u64).unwrap_or(fallback);
    let wanted = match expected {
        "object" => "a mapping of fields".to_owned(),
        "array" => "a list".to_owned(),
        "integer" => {
            let (least, most) = (limit("minimum", 0), limit("maximum", u64::from(u32::MAX)));
            format!("a whole number from {least} to {most}")
        }
        "number" => "a number".to_owned(),
        "string" => "text".to_owned(),
        _ => "`true` or `false`".to_owned(),
    };
    let subject = if path.is_empty() {
        "the spec".to_owned()
    } else {
        format!("`{path}`")
    };
    let message = format!("{subject} must be {wanted}, but it is {}", node.describe());
    let mut problem = Problem::new(ProblemKind::WrongType, path, node.place.clone(), message);
    if let Some(fields) = schema.get("properties").and_then(Value::as_object) {
        problem = problem.allowed(quoted_list(fields.keys().map(String::as_str)));
    }
    let help = match (expected, &node.data) {
        ("string", Data::Scalar(Scalar::Null)) => None,
        ("string", Data::Scalar(_)) => Some("put it in quotes"),
        ("integer" | "number", Data::Scalar(Scalar::Text(text))) if text.contains(['_', ',']) => {
            Some("write the digits without separators")
        }
        ("integer" | "number", Data::Scalar(Scalar::Text(text))) if text.parse::<f64>().is_ok() => {
            Some("write it without quotes")
        }
        (_, Data::Scalar(Scalar::Null)) if !path.is_empty() => {
            Some("give a value, or remove the key")
        }
        _ => None,
    };
    match help {
        Some(help) => problem.help(help),
        None => problem,
    }
}

fn wrong_choice(node: &Node, path: &str, choices: &[&str]) -> Problem {
    let found = match &node.data {
        Data::Scalar(Scalar::Text(text)) if text.len() <= NEAR_MAX => {
            format!("`{}`", text.escape_debug())
        }
        _ => node.describe(),
    };
    let message = format!("`{path}` cannot be {found}");
    let problem = Problem::new(ProblemKind::WrongType, path, node.place.clone(), message)
        .allowed(quoted_list(choices.iter().copied()));
    match &node.data {
        Data::Scalar(Scalar::Text(text)) if text.len() <= NEAR_MAX => {
            match nearest(text, choices.iter().copied()) {
                Some(choice) => problem.help(format!("did you mean `{choice}`?")),
                None => problem,
            }
        }
        _ => problem,
    }
}

/// The words a text may be, if the schema lists them.
fn choices(schema: &Value) -> Option<Vec<&str>> {
    let listed = schema
        .get("enum")
        .and_then(Value::as_array)
        .map(|words| words.iter().filter_map(Value::as_str).collect());
    let one_of = schema
        .get("oneOf")
        .and_then(Value::as_array)
        .map(|variants| {
            variants
                .iter()
                .filter_map(|variant| variant.get("const").and_then(Value::as_str))
                .collect()
        });
    listed
        .or(one_of)
        .filter(|words: &Vec<&str>| !words.is_empty())
}

fn description(schema: &Value) -> Option<&str> {
    schema.get("description").and_then(Value::as_str)
}

fn inside(path: &str) -> String {
    if path.is_empty() {
        String::new()
    } else {
        format!(" in `{path}`")
    }
}

pub(super) fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}
