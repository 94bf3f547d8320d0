//! Reading and writing `manifest.json`.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Kernel, MANIFEST_SCHEMA, Manifest};
use crate::spec::{Override, Spec, SpecError};

/// Why a manifest cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// The file cannot be read.
    #[error("cannot read manifest `{}`: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The text is no manifest.
    #[error("{}:{line}:{column}: {}{message}", origin(.path.as_deref()), at(.field))]
    Parse {
        /// The file; absent when the text came from elsewhere.
        path: Option<PathBuf>,
        /// Line, from 1.
        line: usize,
        /// Column, from 1 (0 where the parser knows only the line).
        column: usize,
        /// Path of the field, such as `kernels[2].geometry.grid[0]`; empty at the top.
        field: String,
        /// What is wrong there.
        message: String,
    },
    /// A manifest of another schema version.
    #[error(
        "{}: manifest of schema version {found}, this program reads version {expected}; generate the package again",
        origin(.path.as_deref())
    )]
    Schema {
        /// The file; absent when the text came from elsewhere.
        path: Option<PathBuf>,
        /// Version in the file.
        found: u64,
        /// [`MANIFEST_SCHEMA`].
        expected: u32,
    },
    /// The manifest cannot be written as JSON.
    #[error("cannot write the manifest of `{package}` as JSON: {source}")]
    Encode {
        /// Name of the package.
        package: String,
        /// What the encoder says.
        source: serde_json::Error,
    },
    /// No kernel of that name.
    #[error("package `{package}` has no kernel `{name}`; it has: {}", known.join(", "))]
    UnknownKernel {
        /// Name of the package.
        package: String,
        /// The name asked for.
        name: String,
        /// The names there are, in the manifest's order.
        known: Vec<String>,
    },
}

fn origin(path: Option<&Path>) -> String {
    path.map_or_else(|| "manifest".to_owned(), |path| path.display().to_string())
}

fn at(field: &str) -> String {
    match field {
        // The decoder's own words for the top and for a place it cannot name.
        "" | "." | "?" => String::new(),
        field => format!("{field}: "),
    }
}

impl Manifest {
    /// Reads the manifest at `path`.
    ///
    /// # Errors
    /// An unreadable file, a text that is no manifest, or another schema version.
    pub fn load(path: impl AsRef<Path>) -> Result<Manifest, ManifestError> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(|source| ManifestError::Io {
            path: path.to_owned(),
            source,
        })?;
        decode(&text, Some(path))
    }

    /// Reads a manifest from text.
    ///
    /// # Errors
    /// A text that is no manifest, or another schema version.
    pub fn from_json(text: &str) -> Result<Manifest, ManifestError> {
        decode(text, None)
    }

    /// The manifest as indented JSON with a newline at the end; equal manifests give equal bytes.
    ///
    /// # Errors
    /// [`ManifestError::Encode`], which no manifest built from this module's types should meet.
    pub fn to_json(&self) -> Result<String, ManifestError> {
        let mut text =
            serde_json::to_string_pretty(self).map_err(|source| ManifestError::Encode {
                package: self.package.clone(),
                source,
            })?;
        text.push('\n');
        Ok(text)
    }

    /// The package's spec, `overrides` applied; errors call it `source_name`.
    ///
    /// # Errors
    /// [`SpecError`] where it is no valid spec, with them or without.
    pub fn spec(&self, source_name: &str, overrides: &[Override]) -> Result<Spec, SpecError> {
        // JSON is YAML, and a resolved spec is a spec but for what it says is absent.
        let mut spec = self.spec.clone();
        remove_nulls(&mut spec);
        Spec::parse(source_name, &spec.to_string(), overrides)
    }

    /// The kernel called `name` (its short name, not the entry point's).
    ///
    /// # Errors
    /// [`ManifestError::UnknownKernel`], with the names there are.
    pub fn kernel(&self, name: &str) -> Result<&Kernel, ManifestError> {
        let found = self.kernels.iter().find(|kernel| kernel.name == name);
        found.ok_or_else(|| ManifestError::UnknownKernel {
            package: self.package.clone(),
            name: name.to_owned(),
            known: self
                .kernels
                .iter()
                .map(|kernel| kernel.name.clone())
                .collect(),
        })
    }
}

fn remove_nulls(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(remove_nulls);
        }
        serde_json::Value::Array(values) => values.iter_mut().for_each(remove_nulls),
        _ => {}
    }
}

/// Only the version, whatever else a later schema may hold.
#[derive(Deserialize)]
struct Version {
    schema: u64,
}

fn decode(text: &str, path: Option<&Path>) -> Result<Manifest, ManifestError> {
    let version: Version = decode_as(text, path)?;
    if version.schema != u64::from(MANIFEST_SCHEMA) {
        return Err(ManifestError::Schema {
            path: path.map(Path::to_owned),
            found: version.schema,
            expected: MANIFEST_SCHEMA,
        });
    }
    decode_as(text, path)
}

fn decode_as<T: for<'de> Deserialize<'de>>(
    text: &str,
    path: Option<&Path>,
) -> Result<T, ManifestError> {
    let failure = |field: String, error: &serde_json::Error| {
        // serde_json ends its messages with the place, which has fields of its own here.
        let place = format!(" at line {} column {}", error.line(), error.column());
        let message = error.to_string();
        ManifestError::Parse {
            path: path.map(Path::to_owned),
            line: error.line(),
            column: error.column(),
            field,
            message: message.strip_suffix(&place).unwrap_or(&message).to_owned(),
        }
    };
    let mut decoder = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut decoder)
        .map_err(|error| failure(error.path().to_string(), error.inner()))?;
    decoder
        .end()
        .map_err(|error| failure(String::new(), &error))?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

    use super::*;

    const TEXT: &str = r#"{
  "schema": 1,
  "package": "tiny",
  "generator": "shadowkv-codegen 0.1.0",
  "spec_sha256": "00",
  "spec": {
    "name": "tiny",
    "attention": {
      "kv_heads": 2,
      "head_dim": 64
    }
  },
  "constants": {
    "HEAD_DIM": 64
  },
  "sizes": {
    "tokens": "tokens of the prompt"
  },
  "headers": [],
  "kernels": [
    {
      "name": "key_gram",
      "entry": "key_gram_bf16_d64",
      "summary": "Gram matrix of the keys",
      "source": "key_gram.cu",
      "source_sha256": "00",
      "constants": {},
      "arguments": [
        {
          "name": "keys",
          "dtype": "bf16",
          "access": "read",
          "memory": "device",
          "shape": [
            "tokens",
            "128"
          ],
          "doc": "keys before RoPE"
        }
      ],
      "geometry": {
        "grid": [
          "ceil_div(tokens, 64)",
          "1",
          "1"
        ],
        "threads": 128,
        "shared_bytes": 0
      },
      "work": {
        "read_bytes": "2 * tokens * 128",
        "written_bytes": "4 * 128 * 128",
        "host_read_bytes": "0",
        "host_written_bytes": "0",
        "flops": "2 * tokens * 128 * 128"
      }
    }
  ]
}
"#;

    fn message(text: &str) -> String {
        Manifest::from_json(text).unwrap_err().to_string()
    }

    #[test]
    fn json_round_trips_byte_for_byte() {
        let manifest = Manifest::from_json(TEXT).unwrap();
        assert_eq!(manifest.to_json().unwrap(), TEXT);
    }

    #[test]
    fn kernels_are_found_by_their_short_name() {
        let manifest = Manifest::from_json(TEXT).unwrap();
        assert_eq!(manifest.kernel("key_gram").unwrap().geometry.threads, 128);
        assert_eq!(
            manifest.kernel("keygram").unwrap_err().to_string(),
            "package `tiny` has no kernel `keygram`; it has: key_gram"
        );
    }

    #[test]
    fn another_schema_is_refused_whatever_else_it_holds() {
        assert_eq!(
            message(r#"{"schema": 2, "novelty": []}"#),
            "manifest: manifest of schema version 2, this program reads version 1; generate the package again"
        );
    }

    #[test]
    fn errors_tell_the_place() {
        assert_eq!(message("{"), "manifest:1:1: EOF while parsing an object");
        let text = TEXT.replace("ceil_div(tokens, 64)", "ceil_div(tokens 64)");
        assert_eq!(
            message(&text),
            "manifest:43:31: kernels[0].geometry.grid[0]: expression `ceil_div(tokens 64)`: \
             at byte 16: expected `+`, `-`, `*` or `,`, found `6`"
        );
        let text = TEXT.replace("\"threads\"", "\"thread\"");
        assert!(message(&text).contains("kernels[0].geometry.thread: unknown field `thread`"));
        assert!(message(&(TEXT.to_owned() + "{}")).contains("trailing characters"));
    }

    #[test]
    fn a_missing_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("manifest.json");
        let error = Manifest::load(&path).unwrap_err();
        assert!(matches!(error, ManifestError::Io { .. }));
        assert!(error.to_string().contains("manifest.json"));
        std::fs::write(&path, TEXT).unwrap();
        assert_eq!(Manifest::load(&path).unwrap().package, "tiny");
    }
}
