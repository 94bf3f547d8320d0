//! The YAML of an imported spec.

use std::fmt::{Display, Write};

use super::ImportOptions;
use super::family::{Facts, Noted};
use super::scaling::Scaling;
use crate::spec::limits as l;
use crate::spec::resolve::{family_name, names_name};
use crate::spec::resolved::RopeLayout;

const DEFAULT_RANK: u32 = 160;
pub(crate) const DEFAULT_CHUNK_SIZE: u32 = 8;

/// The rank of a model whose keys are `width` wide.
pub(crate) fn default_rank(width: u32) -> u32 {
    DEFAULT_RANK.min(width / l::RANK_STEP * l::RANK_STEP)
}

/// How a comment names the config: its file name, with the folder's if that says more.
pub(super) fn origin(source_name: &str) -> String {
    let mut parts = source_name
        .rsplit(['/', '\\'])
        .filter(|part| !part.is_empty());
    let file = parts.next().unwrap_or("config.json");
    let named = if file == "config.json" {
        parts
            .next()
            .map_or_else(|| file.to_owned(), |folder| format!("{folder}/{file}"))
    } else {
        file.to_owned()
    };
    named
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// A package name from the file's name, its folder's, the name inside the config, or the model type.
pub(super) fn name(source_name: &str, facts: &Facts) -> String {
    let mut parts = source_name
        .rsplit(['/', '\\'])
        .map(|part| part.strip_suffix(".json").unwrap_or(part));
    let file = parts.next().filter(|file| *file != "config");
    let folder = parts.next();
    let inner = facts
        .original_name
        .as_deref()
        .and_then(|name| name.rsplit('/').next());
    [file, folder, inner, Some(facts.model_type.as_str())]
        .into_iter()
        .flatten()
        .map(package_name)
        .find(|name| !name.is_empty())
        .unwrap_or_default()
}

pub(crate) fn package_name(text: &str) -> String {
    let word: String = text
        .to_ascii_lowercase()
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "._-".contains(c) {
                c
            } else {
                '-'
            }
        })
        .take(l::NAME_LENGTH_MAX)
        .collect();
    word.trim_start_matches(['.', '_', '-'])
        .trim_end_matches(['.', '-'])
        .to_owned()
}

/// Lines at one depth; writing to a string does not fail.
struct Lines(String);

impl Lines {
    fn block(&mut self, name: &str) {
        let _ = write!(self.0, "\n{name}:\n");
    }

    fn field(&mut self, indent: usize, name: &str, value: impl Display, note: Option<&str>) {
        let _ = write!(self.0, "{:indent$}{name}: {value}", "");
        if let Some(note) = note {
            let _ = write!(self.0, " # {note}");
        }
        self.0.push('\n');
    }

    fn noted<T: Display>(&mut self, name: &str, noted: &Noted<T>) {
        self.field(2, name, &noted.value, noted.note.as_deref());
    }
}

pub(super) fn yaml(name: &str, origin: &str, facts: &Facts, options: &ImportOptions) -> String {
    let mut out = Lines(format!(
        "# Imported from {origin} (model_type {}).\n",
        facts.model_type
    ));
    for warning in &facts.warnings {
        let _ = writeln!(out.0, "# Check: {warning}.");
    }
    out.field(0, "name", quoted(name), None);

    out.block("attention");
    out.noted("head_dim", &facts.head_dim);
    out.noted("kv_heads", &facts.kv_heads);
    out.field(
        2,
        "gqa_ratio",
        facts.gqa_ratio,
        Some("num_attention_heads / kv heads"),
    );

    out.block("rope");
    out.field(
        2,
        "base",
        float(facts.base.value),
        facts.base.note.as_deref(),
    );
    let layout = match facts.layout {
        RopeLayout::HalfSplit => "half_split",
        RopeLayout::Interleaved => "interleaved",
    };
    out.field(2, "layout", layout, Some("by family"));
    if facts.rotary_dim.value != facts.head_dim.value {
        out.noted("rotary_dim", &facts.rotary_dim);
    }
    out.noted("max_position", &facts.max_position);
    scaling(&mut out, &facts.scaling);

    out.block("shadowkv");
    let width = facts.kv_heads.value.saturating_mul(facts.head_dim.value);
    let rank = options.rank.unwrap_or_else(|| default_rank(width));
    out.field(2, "rank", rank, None);
    let chunk_size = options.chunk_size.unwrap_or(DEFAULT_CHUNK_SIZE);
    out.field(2, "chunk_size", chunk_size, None);
    out.field(
        2,
        "sparse_budget",
        options.sparse_budget.unwrap_or(l::DEFAULT_SPARSE_BUDGET),
        None,
    );
    out.field(
        2,
        "outlier_chunks",
        options.outlier_chunks.unwrap_or(l::DEFAULT_OUTLIER_CHUNKS),
        None,
    );

    decoder(&mut out, facts);
    out.0
}

fn decoder(out: &mut Lines, facts: &Facts) {
    out.block("decoder");
    out.field(2, "family", family_name(facts.family), None);
    out.field(2, "layers", facts.layers, None);
    out.field(2, "hidden", facts.hidden, None);
    out.field(2, "ffn", facts.ffn, None);
    out.field(2, "vocab", facts.vocab, None);
    out.field(2, "norm_eps", float(facts.norm_eps), None);
    out.field(2, "activation", "silu", None);
    out.noted("qkv_bias", &facts.qkv_bias);
    out.field(2, "tied_embeddings", facts.tied, None);
    out.field(2, "tensor_names", names_name(facts.tensor_names), None);
    if let Some(bos) = facts.bos {
        out.field(2, "bos_token", bos, None);
    }
    let eos: Vec<String> = facts.eos.iter().map(u32::to_string).collect();
    out.field(2, "eos_tokens", format!("[{}]", eos.join(", ")), None);
}

fn scaling(out: &mut Lines, scaling: &Scaling) {
    let mut fields: Vec<(&str, String)> = Vec::new();
    let kind = match scaling {
        Scaling::None => return,
        Scaling::Llama3 {
            factor,
            low,
            high,
            original,
        } => {
            fields.push(("factor", float(*factor)));
            fields.push(("low_freq_factor", float(*low)));
            fields.push(("high_freq_factor", float(*high)));
            fields.push(("original_max_position", original.to_string()));
            "llama3"
        }
        Scaling::Yarn {
            factor,
            original,
            fast,
            slow,
            attention,
        } => {
            fields.push(("factor", float(*factor)));
            fields.push(("original_max_position", original.to_string()));
            for (name, value) in [
                ("beta_fast", fast),
                ("beta_slow", slow),
                ("attention_factor", attention),
            ] {
                fields.extend(value.map(|value| (name, float(value))));
            }
            "yarn"
        }
        Scaling::LongRope {
            short,
            long,
            original,
            attention,
        } => {
            fields.push(("original_max_position", original.to_string()));
            fields.extend(attention.map(|value| ("attention_factor", float(value))));
            fields.push(("short_factor", list(short)));
            fields.push(("long_factor", list(long)));
            "longrope"
        }
    };
    out.field(2, "scaling", "", None);
    out.0.truncate(out.0.trim_end().len());
    out.0.push('\n');
    out.field(4, "kind", kind, None);
    for (name, value) in fields {
        out.field(4, name, value, None);
    }
}

/// A flow list, eight numbers to a line.
fn list(values: &[f64]) -> String {
    let lines: Vec<String> = values
        .chunks(8)
        .map(|line| {
            line.iter()
                .map(|value| float(*value))
                .collect::<Vec<_>>()
                .join(", ")
        })
        .collect();
    format!("[\n      {},\n    ]", lines.join(",\n      "))
}

/// A number that reads back as the same `f64`, written so that every YAML reader takes it for a number.
fn float(value: f64) -> String {
    let text = if value != 0.0 && !(1e-4..1e15).contains(&value.abs()) {
        format!("{value:e}")
    } else {
        value.to_string()
    };
    match text.split_once('e') {
        Some((digits, exponent)) if !digits.contains('.') => format!("{digits}.0e{exponent}"),
        _ => text,
    }
}

/// A name in quotes unless it is plainly text.
fn quoted(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        && !["null", "true", "false"].contains(&name.to_ascii_lowercase().as_str());
    if plain {
        name.to_owned()
    } else {
        format!("{name:?}")
    }
}
