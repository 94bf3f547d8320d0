//! The rotary embedding of a config: theta, rotated part, scaling block in its older and newer forms.

use serde_json::json;

use super::config::Block;

/// What a config says about the frequencies.
pub(super) struct Rope {
    pub(super) theta: Option<f64>,
    /// Rotated share of a head.
    pub(super) partial: Option<f64>,
    pub(super) scaling: Scaling,
    /// Positions the scaling reaches, if the block says so.
    pub(super) reach: Option<u32>,
}

/// The scaling, in the terms of a spec.
pub(super) enum Scaling {
    None,
    Llama3 {
        factor: f64,
        low: f64,
        high: f64,
        original: u32,
    },
    Yarn {
        factor: f64,
        original: u32,
        fast: Option<f64>,
        slow: Option<f64>,
        attention: Option<f64>,
    },
    LongRope {
        short: Vec<f64>,
        long: Vec<f64>,
        original: u32,
        attention: Option<f64>,
    },
}

/// Reads `rope_theta`, `partial_rotary_factor`, and `rope_scaling` or `rope_parameters`.
/// `positions` is the config's `max_position_embeddings`.
pub(super) fn read(top: &mut Block, phi3: bool, positions: Option<u32>) -> Rope {
    let mut theta = top.number("rope_theta");
    let mut partial = top.number("partial_rotary_factor");
    let outer_original = top.whole("original_max_position_embeddings");
    if top.has("rope_scaling") && top.has("rope_parameters") {
        top.refuse(
            "rope_parameters",
            "the config has `rope_scaling` too: remove the one that is out of date",
        );
    }
    let name = if top.has("rope_parameters") {
        "rope_parameters"
    } else {
        "rope_scaling"
    };
    top.value("rope_scaling");
    top.value("rope_parameters");
    let mut scaling = Scaling::None;
    let mut reach = None;
    if let Some(mut block) = top.block(name) {
        agree(top, &mut block, &mut theta, "rope_theta");
        agree(top, &mut block, &mut partial, "partial_rotary_factor");
        let inner = block.whole("original_max_position_embeddings");
        if let (Some(inner), Some(outer)) = (inner, outer_original)
            && inner != outer
        {
            let reason = format!("it is {inner} here and {outer} outside the block");
            block.refuse("original_max_position_embeddings", reason);
        }
        let original = inner.or(outer_original);
        if let Some(kind) = kind(&mut block, phi3) {
            (scaling, reach) = match kind.as_str() {
                "default" | "none" => (Scaling::None, None),
                "llama3" => (llama3(&mut block, original), None),
                "yarn" => yarn(&mut block, original, positions),
                "longrope" => (longrope(&mut block, original, positions), None),
                _ => {
                    block.refuse(
                        if block.has("rope_type") { "rope_type" } else { "type" },
                        format!("scaling `{kind}` is not supported; supported: default, llama3, yarn, longrope"),
                    );
                    block.read_all();
                    (Scaling::None, None)
                }
            };
        }
        top.close(block);
    }
    Rope {
        theta,
        partial,
        scaling,
        reach,
    }
}

/// A number that may stand outside the block, inside it, or in both places alike.
fn agree(top: &mut Block, block: &mut Block, outer: &mut Option<f64>, name: &str) {
    match (*outer, block.number(name)) {
        (None, inner) => *outer = inner,
        (Some(outside), Some(inside)) if outside.to_bits() != inside.to_bits() => {
            top.refuse(
                name,
                format!("it is {outside} outside the scaling block and {inside} inside"),
            );
        }
        _ => {}
    }
}

/// The kind, under its newer or older key, in its newer name.
fn kind(block: &mut Block, phi3: bool) -> Option<String> {
    let newer = |kind: String| {
        if phi3 && kind == "su" {
            "longrope".to_owned()
        } else {
            kind
        }
    };
    let (a, b) = (
        block.text("rope_type").map(newer),
        block.text("type").map(newer),
    );
    if let (Some(a), Some(b)) = (&a, &b)
        && a != b
    {
        block.refuse("type", format!("it is `{b}` and `rope_type` is `{a}`"));
    }
    let kind = a.or(b);
    if kind.is_none() {
        block.refuse(
            "rope_type",
            "it is missing, so the kind of scaling is unknown",
        );
        block.read_all();
    }
    kind
}

/// The stand-ins for missing numbers are never used: a missing number is a refusal.
fn llama3(block: &mut Block, original: Option<u32>) -> Scaling {
    let mut number = |name: &str| block.required(name, Block::number).unwrap_or(1.0);
    let (factor, low, high) = (
        number("factor"),
        number("low_freq_factor"),
        number("high_freq_factor"),
    );
    Scaling::Llama3 {
        factor,
        low,
        high,
        original: required_original(block, original),
    }
}

fn yarn(
    block: &mut Block,
    original: Option<u32>,
    positions: Option<u32>,
) -> (Scaling, Option<u32>) {
    let factor = block.required("factor", Block::number).unwrap_or(1.0);
    let (fast, slow) = (block.number("beta_fast"), block.number("beta_slow"));
    let attention = block.number("attention_factor");
    let reason = "the ramp's ends are rounded to whole pairs here";
    block.only("truncate", &[json!(true)], reason);
    for name in ["mscale", "mscale_all_dim"] {
        block.only(
            name,
            &[],
            "this form of the attention factor is not read; give `attention_factor`",
        );
    }
    // Absent, the published code takes the model's own length.
    let original = original.or(positions).unwrap_or(1);
    let reach = (f64::from(original) * factor).floor() as u32;
    (
        Scaling::Yarn {
            factor,
            original,
            fast,
            slow,
            attention,
        },
        Some(reach),
    )
}

fn longrope(block: &mut Block, original: Option<u32>, positions: Option<u32>) -> Scaling {
    let short = block
        .required("short_factor", Block::numbers)
        .unwrap_or_default();
    let long = block
        .required("long_factor", Block::numbers)
        .unwrap_or_default();
    let original = required_original(block, original);
    let ratio = positions.map(|positions| f64::from(positions) / f64::from(original.max(1)));
    if let (Some(factor), Some(ratio)) = (block.number("factor"), ratio)
        && (factor - ratio).abs() > 1e-6 * ratio
    {
        let reason =
            format!("it is {factor}, but the lengths of the config have the ratio {ratio}");
        block.refuse("factor", reason);
    }
    let attention = block.number("attention_factor").or_else(|| {
        // The published code scales nothing where the context is not longer than the original.
        ratio.filter(|ratio| *ratio <= 1.0).map(|_| 1.0)
    });
    Scaling::LongRope {
        short,
        long,
        original,
        attention,
    }
}

fn required_original(block: &mut Block, original: Option<u32>) -> u32 {
    if original.is_none() {
        block.refuse(
            "original_max_position_embeddings",
            "it is missing, inside the block and outside",
        );
    }
    original.unwrap_or(1)
}
