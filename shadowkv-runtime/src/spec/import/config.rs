//! Reading a JSON object field by field, remembering what was read.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::error::{ImportError, Refusal};
use super::fields;

/// A block of a config.
pub(super) struct Block {
    /// Before every field's name in messages: empty, or `rope_scaling.`.
    prefix: String,
    fields: Map<String, Value>,
    read: BTreeSet<String>,
    refusals: Vec<Refusal>,
}

/// A whole config.
pub(super) struct Config {
    source_name: String,
    pub(super) top: Block,
}

impl Config {
    pub(super) fn parse(source_name: &str, json: &str) -> Result<Self, ImportError> {
        let json = json.strip_prefix('\u{feff}').unwrap_or(json);
        let value = serde_json::from_str(json).map_err(|error| {
            let text = error.to_string();
            ImportError::Json {
                source_name: source_name.to_owned(),
                line: error.line(),
                column: error.column(),
                reason: text
                    .split(" at line ")
                    .next()
                    .unwrap_or_default()
                    .to_owned(),
            }
        })?;
        match value {
            Value::Object(fields) => Ok(Config {
                source_name: source_name.to_owned(),
                top: Block::new(String::new(), fields),
            }),
            other => Err(ImportError::NotAnObject {
                source_name: source_name.to_owned(),
                found: kind(&other),
            }),
        }
    }

    /// Refuses what nothing read.
    pub(super) fn refuse_unread(&mut self, ignored: &[String]) {
        self.top.refuse_unread(ignored);
    }

    /// The facts, if nothing was refused.
    pub(super) fn finish<T>(self, facts: Option<T>) -> Result<T, ImportError> {
        match facts {
            Some(facts) if self.top.refusals.is_empty() => Ok(facts),
            _ => Err(ImportError::Refused {
                source_name: self.source_name,
                refusals: self.top.refusals,
            }),
        }
    }
}

impl Block {
    fn new(prefix: String, fields: Map<String, Value>) -> Self {
        Block {
            prefix,
            fields,
            read: BTreeSet::new(),
            refusals: Vec::new(),
        }
    }

    pub(super) fn refuse(&mut self, name: &str, reason: impl Into<String>) {
        let refusal = Refusal {
            field: format!("{}{name}", self.prefix),
            reason: reason.into(),
        };
        if !self
            .refusals
            .iter()
            .any(|earlier| earlier.field == refusal.field)
        {
            self.refusals.push(refusal);
        }
    }

    /// The value of a field; `null` is absence.
    pub(super) fn value(&mut self, name: &str) -> Option<Value> {
        self.read.insert(name.to_owned());
        self.fields
            .get(name)
            .filter(|value| !value.is_null())
            .cloned()
    }

    /// Counts every field as read, where one refusal covers them all.
    pub(super) fn read_all(&mut self) {
        self.read.extend(self.fields.keys().cloned());
    }

    /// Whether a field is there, without reading it.
    pub(super) fn has(&self, name: &str) -> bool {
        self.fields.get(name).is_some_and(|value| !value.is_null())
    }

    fn typed<T>(
        &mut self,
        name: &str,
        wanted: &str,
        convert: impl Fn(&Value) -> Option<T>,
    ) -> Option<T> {
        let value = self.value(name)?;
        let converted = convert(&value);
        if converted.is_none() {
            self.refuse(
                name,
                format!("it must be {wanted}, but it is {}", shown(&value)),
            );
        }
        converted
    }

    pub(super) fn whole(&mut self, name: &str) -> Option<u32> {
        self.typed(name, "a whole number", whole)
    }

    pub(super) fn number(&mut self, name: &str) -> Option<f64> {
        self.typed(name, "a number", Value::as_f64)
    }

    pub(super) fn flag(&mut self, name: &str) -> Option<bool> {
        self.typed(name, "`true` or `false`", Value::as_bool)
    }

    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        self.typed(name, "text", |value| value.as_str().map(str::to_owned))
    }

    pub(super) fn numbers(&mut self, name: &str) -> Option<Vec<f64>> {
        self.typed(name, "a list of numbers", |value| {
            value.as_array()?.iter().map(Value::as_f64).collect()
        })
    }

    /// One whole number or a list of them.
    pub(super) fn wholes(&mut self, name: &str) -> Option<Vec<u32>> {
        self.typed(
            name,
            "a whole number or a list of them",
            |value| match value {
                Value::Array(values) => values.iter().map(whole).collect(),
                single => whole(single).map(|value| vec![value]),
            },
        )
    }

    /// A field that has no default.
    pub(super) fn required<T>(
        &mut self,
        name: &str,
        read: impl Fn(&mut Self, &str) -> Option<T>,
    ) -> Option<T> {
        let value = read(self, name);
        if value.is_none() {
            self.refuse(name, "it is missing");
        }
        value
    }

    /// A field that changes the computation in a way a spec cannot say, unless it has one of these values.
    pub(super) fn only(&mut self, name: &str, honoured: &[Value], reason: &str) {
        if let Some(value) = self.value(name)
            && !honoured.contains(&value)
        {
            self.refuse(
                name,
                format!("{} is not supported: {reason}", shown(&value)),
            );
        }
    }

    /// Opens a block inside this one.
    pub(super) fn block(&mut self, name: &str) -> Option<Block> {
        let wanted = "a block";
        let fields = self.typed(name, wanted, |value| value.as_object().cloned())?;
        Some(Block::new(format!("{}{name}.", self.prefix), fields))
    }

    /// Takes over what a block inside refused; what it did not read is refused too.
    pub(super) fn close(&mut self, mut block: Block) {
        block.refuse_unread(&[]);
        self.refusals.append(&mut block.refusals);
    }

    fn refuse_unread(&mut self, ignored: &[String]) {
        let unread: Vec<String> = self
            .fields
            .iter()
            .filter(|(name, value)| {
                !value.is_null() && !self.read.contains(*name) && !ignored.contains(name)
            })
            .filter(|(name, _)| {
                !self.prefix.is_empty() || !fields::IMMATERIAL.contains(&name.as_str())
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in unread {
            let reason = fields::reason(&name).map_or_else(
                || {
                    let ignore =
                        format!("; if it does not change the computation, pass `--ignore {name}`");
                    let ignore = if self.prefix.is_empty() {
                        ignore
                    } else {
                        String::new()
                    };
                    format!("nothing here reads this field{ignore}")
                },
                str::to_owned,
            );
            self.refuse(&name, reason);
        }
    }
}

fn whole(value: &Value) -> Option<u32> {
    let integer = value.as_u64().and_then(|value| u32::try_from(value).ok());
    // Some configs write counts as `4096.0`.
    let float = || {
        value
            .as_f64()
            .filter(|v| v.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(v))
            .map(|v| v as u32)
    };
    integer.or_else(float)
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a block",
    }
}

/// A value in a message: in full if short.
pub(super) fn shown(value: &Value) -> String {
    let text = value.to_string();
    if text.len() <= 40 {
        format!("`{text}`")
    } else {
        kind(value).to_owned()
    }
}
