//! Typed access to the metadata of a GGUF file.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::quantized::gguf_file::Value;

use super::super::WeightsError;

/// Keys and values of a GGUF file.
#[derive(Debug)]
pub struct Metadata {
    path: PathBuf,
    values: HashMap<String, Value>,
}

impl Metadata {
    pub(super) fn new(path: &Path, values: HashMap<String, Value>) -> Metadata {
        Metadata {
            path: path.to_owned(),
            values,
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the key is there.
    pub fn has(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    /// A text.
    ///
    /// # Errors
    ///
    /// It is something else.
    pub fn text(&self, key: &str) -> Result<Option<&str>, WeightsError> {
        self.typed(key, "a text", text)
    }

    /// A whole number.
    ///
    /// # Errors
    ///
    /// It is something else.
    pub fn whole(&self, key: &str) -> Result<Option<u32>, WeightsError> {
        self.typed(key, "a whole number below 2^32", whole)
    }

    /// A number.
    ///
    /// # Errors
    ///
    /// It is something else.
    pub fn number(&self, key: &str) -> Result<Option<f64>, WeightsError> {
        self.typed(key, "a number", number)
    }

    /// `true` or `false`.
    ///
    /// # Errors
    ///
    /// It is something else.
    pub fn flag(&self, key: &str) -> Result<Option<bool>, WeightsError> {
        self.typed(key, "`true` or `false`", |value| match value {
            Value::Bool(flag) => Some(*flag),
            _ => None,
        })
    }

    /// A list of texts.
    ///
    /// # Errors
    ///
    /// It is something else.
    pub fn texts(&self, key: &str) -> Result<Option<Vec<&str>>, WeightsError> {
        self.typed(key, "a list of texts", |value| list(value, text))
    }

    /// A list of whole numbers.
    ///
    /// # Errors
    ///
    /// It is something else.
    pub fn wholes(&self, key: &str) -> Result<Option<Vec<u32>>, WeightsError> {
        self.typed(key, "a list of whole numbers", |value| list(value, whole))
    }

    /// A list of numbers.
    ///
    /// # Errors
    ///
    /// It is something else.
    pub fn numbers(&self, key: &str) -> Result<Option<Vec<f64>>, WeightsError> {
        self.typed(key, "a list of numbers", |value| list(value, number))
    }

    /// `value`, or an error that names `key`.
    #[cfg(feature = "decoder")]
    pub(crate) fn required<T>(&self, key: &str, value: Option<T>) -> Result<T, WeightsError> {
        value.ok_or_else(|| self.invalid(format!("it has no `{key}`")))
    }

    pub(crate) fn invalid(&self, reason: String) -> WeightsError {
        WeightsError::Header {
            path: self.path.clone(),
            format: "GGUF",
            reason,
        }
    }

    fn typed<'a, T>(
        &'a self,
        key: &str,
        wanted: &str,
        convert: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, WeightsError> {
        let Some(value) = self.values.get(key) else {
            return Ok(None);
        };
        let converted = convert(value);
        if converted.is_none() {
            let found = value.value_type();
            return Err(self.invalid(format!(
                "`{key}` must be {wanted}, but it is of type {found:?}"
            )));
        }
        Ok(converted)
    }
}

fn list<'a, T>(value: &'a Value, convert: impl Fn(&'a Value) -> Option<T>) -> Option<Vec<T>> {
    let Value::Array(values) = value else {
        return None;
    };
    values.iter().map(convert).collect()
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::String(text) => Some(text),
        _ => None,
    }
}

fn whole(value: &Value) -> Option<u32> {
    match value {
        Value::U8(value) => Some(u32::from(*value)),
        Value::U16(value) => Some(u32::from(*value)),
        Value::U32(value) => Some(*value),
        Value::U64(value) => u32::try_from(*value).ok(),
        Value::I8(value) => u32::try_from(*value).ok(),
        Value::I16(value) => u32::try_from(*value).ok(),
        Value::I32(value) => u32::try_from(*value).ok(),
        Value::I64(value) => u32::try_from(*value).ok(),
        _ => None,
    }
}

/// A number; of an `f32`, the shortest decimal that means it, which is what its writer had.
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::F32(value) => value.to_string().parse().ok(),
        Value::F64(value) => Some(*value),
        other => whole(other).map(f64::from),
    }
}
